"""What tests of the command line share: the real command as a process of its own, and facts to wait for."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fleetsync_adapters.control import Running, find_running
from fleetsync_adapters.paper.keys import account_keys
from fleetsync_adapters.paper.process import PaperAdmin, PaperProcess

PATIENCE_S = 60
"""How long a fact may take on a busy machine before a test fails; no test waits this long for a pass."""
T = TypeVar("T")
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
COMMAND = [sys.executable, "-m", "fleetsync_adapters"]


def environment(**variables: str) -> dict[str, str]:
    """Ours, with the packages where this process has them."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("FLEETSYNC", "COV"))}
    return {**plain, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **variables}


def cli(*arguments: str, cwd: Path | None = None, variables: Mapping[str, str] | None = None,
        through: Callable[[list[str]], list[str]] | None = None) -> subprocess.CompletedProcess[str]:
    """One command, until it ends by itself; `variables` join our environment."""
    command = [*COMMAND, *arguments]
    return subprocess.run(through(command) if through else command, capture_output=True, text=True, check=False,
                          env=environment(**(variables or {})), timeout=PATIENCE_S * 2, stdin=subprocess.DEVNULL,
                          cwd=cwd)


def refused(ended: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused command says."""
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("fleetsync: ")
    return line


class Started:
    """A command that goes on; its standard error is in a file, so that it never stands still."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self.process = process
        self._errors = errors

    @property
    def errors(self) -> list[str]:
        return self._errors.read_text(encoding="utf-8").splitlines()

    def engine(self, db: Path) -> Running:
        """The engine that this command runs on a database, once it answers."""

        def found() -> Running | None:
            assert self.process.poll() is None, self.errors
            return find_running(str(db))

        return until(found, f"an engine on {db}")

    def ended(self, within_s: float = PATIENCE_S) -> list[str]:
        """Wait for its end; returns the lines it wrote to its standard output."""
        out, _ = self.process.communicate(timeout=within_s)
        return out.splitlines()

    def result(self, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """The JSON object of `run --json`, after an end in order."""
        lines = self.ended(within_s)
        assert self.process.returncode == 0, self.errors
        found: dict[str, Any] = json.loads(lines[-1])
        return found


def started(folder: Path, *arguments: str, **variables: str) -> AbstractContextManager[Started]:
    """A command in the background, in a process group of its own; killed at the end if it is still there."""
    return started_as([*COMMAND, *arguments], folder, variables)


@contextmanager
def started_as(command: list[str], folder: Path, variables: Mapping[str, str]) -> Iterator[Started]:
    """The same for any command line."""
    errors = folder / "errors.txt"
    with errors.open("w", encoding="utf-8") as sink:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True, cwd=folder,
                                   env=environment(**variables), stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield Started(process, errors)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(fact: Callable[[], T | None], what: str) -> T:
    """Wait until `fact()` is true and give it."""
    by_s = time.monotonic() + PATIENCE_S
    while not (found := fact()):
        assert time.monotonic() < by_s, f"never seen: {what}"
        time.sleep(0.05)
    return found


def keys_of(seed: int, number: int, name: str = "MAIN") -> dict[str, str]:
    """The environment that holds one paper account's keys."""
    keys = account_keys(seed, number)
    return {f"{name}_KEY": keys.api_key, f"{name}_SECRET": keys.secret}


def fleet_file(folder: Path, base_url: str, robots: Mapping[str, str], more: str = "") -> Path:
    """A fleet of one account `main` with these robots (id -> symbol), all looked at every second."""
    lines = ["[cadence]", "holding_s = 1", "working_s = 1", "flat_s = 1", "",
             "[exchanges.binanceusdm]", f'base_url = "{base_url}"', "", "[accounts.main]", 'exchange = "binanceusdm"',
             'api_key_env = "MAIN_KEY"', 'api_secret_env = "MAIN_SECRET"', more]
    for robot, symbol in robots.items():
        lines += ["", "[[robots]]", f'id = "{robot}"', 'account = "main"', f'symbol = "{symbol}"']
    path = folder / "fleet.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def unknown(engine: Running) -> int:
    """How many robots the engine knows nothing proven about."""
    return int(engine.status()["phases"].get("unknown", 0))


@dataclass(frozen=True, slots=True)
class Holder:
    """An account at the paper exchange."""

    id: str
    variables: dict[str, str]  # its keys, as the environment of a command


@dataclass(slots=True)
class Paper:
    """A paper exchange that a module's tests share; each takes accounts of its own."""

    process: PaperProcess
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def base_url(self) -> str:
        return self.process.base_url

    def account(self, name: str = "MAIN") -> Holder:
        """One that no other test uses."""
        number = next(self._numbers)
        return Holder(f"paper-{number:05}", keys_of(self.process.seed, number, name))

    def ask(self, method: str, *arguments: Any, **more: Any) -> Any:
        """One admin request."""

        async def ask() -> Any:
            admin = PaperAdmin(self.base_url)
            try:
                return await getattr(admin, method)(*arguments, **more)
            finally:
                await admin.close()

        return asyncio.run(ask())


@contextmanager
def paper_exchange() -> Iterator[Paper]:
    """A paper exchange in its own process."""
    process = PaperProcess(seed=5, accounts=40)
    asyncio.run(process.start())
    try:
        yield Paper(process)
    finally:
        assert asyncio.run(process.stop()) == 0, "the paper exchange ended in disorder"


def children_of(pid: int) -> dict[int, bytes]:
    """The processes that a process has started, with their command lines."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in found}
