"""What tests of the crew share: an ear that waits for facts, and the fleet of one exchange and a few accounts."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

from tests.process.echo_exchange import FACTORY

from fleetsync.clock import SystemClock
from fleetsync.config import Settings
from fleetsync.crew import LocalCrew, ProcessCrew
from fleetsync.messages import AddAccount, Answer, Call, Dispatch, FromWorker, OpenExchange, SyncDone, WorkerUp
from fleetsync.model import Account, Secret, Surface
from fleetsync.ports import ExchangeSpec

PATIENCE_S = 30
"""How long a fact may take on a busy machine before the test fails; no test waits this long for a pass."""
T = TypeVar("T")


async def until(fact: Callable[[], T | None], what: str) -> T:
    """Wait until `fact()` is true and give it."""
    by_s = time.monotonic() + PATIENCE_S
    while not (found := fact()):
        assert time.monotonic() < by_s, f"never seen: {what}"
        await asyncio.sleep(0.005)
    return found


class Ear:
    """Hears all that a crew delivers, in order."""

    def __init__(self) -> None:
        self.heard: list[FromWorker] = []

    def __call__(self, messages: Sequence[FromWorker]) -> None:
        self.heard += messages

    def all(self, kind: type[T]) -> list[T]:
        return [message for message in self.heard if isinstance(message, kind)]

    async def next(self, kind: type[T], count: int = 1) -> list[T]:
        """The first `count` messages of a kind, once they are there."""
        return (await until(lambda: found if len(found := self.all(kind)) >= count else [],
                            f"{count} {kind.__name__} in {self.heard}"))[:count]

    async def done(self, sync_id: int) -> SyncDone:
        return await until(lambda: next((done for done in self.all(SyncDone) if done.sync_id == sync_id), None),
                           f"sync {sync_id} in {self.heard}")

    async def answers(self, sync_id: int) -> tuple[Answer, ...]:
        return (await self.done(sync_id)).answers


def order(instruction: str) -> Call:
    """A call that tells the echo exchange how to behave."""
    return Call(Surface.ORDER, "BTC/USDT:USDT", order_id=instruction)


def spec(**options: object) -> ExchangeSpec:
    return ExchangeSpec("echo", factory=FACTORY, options=options, call_timeout_ms=20_000)


def account(name: str = "a") -> Account:
    return Account(name, "echo", Secret("sesame-key"), Secret("sesame-secret"))


class Rig:
    """A started crew with an account `a` on an open exchange in each worker."""

    def __init__(self, settings: Settings | None = None, *, workers: int = 1, of: ExchangeSpec | None = None,
                 respawn_max_ms: int = 0, unsent_max: int = 64 * 2**20) -> None:
        self.clock = SystemClock()
        self.ear = Ear()
        settings = (settings or Settings()).but(workers=workers)
        specs = [of or spec()]
        self.crew: ProcessCrew | LocalCrew = LocalCrew(specs, settings, self.clock) if workers == 0 else ProcessCrew(
            specs, settings, self.clock, respawn_max_ms=respawn_max_ms, unsent_max=unsent_max)
        self._last_id = 1_000

    async def __aenter__(self) -> Self:
        await self.crew.start(self.ear)
        for up in await self.ear.next(WorkerUp, self.crew.size):
            await self.prepare(up.worker)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.crew.stop(0)

    async def prepare(self, worker: int) -> None:
        self.crew.send(worker, AddAccount(account(), ("BTC/USDT:USDT",)))
        self._last_id += 1
        self.crew.send(worker, OpenExchange(self._last_id, "echo", "", self.soon_ms()))
        assert (await self.ear.answers(self._last_id))[0].complete

    def soon_ms(self) -> int:
        return self.clock.now_ms() + PATIENCE_S * 1_000

    def ask(self, sync_id: int, *calls: Call, worker: int = 0, who: str = "a", send_by_ms: int | None = None) -> None:
        by_ms = self.soon_ms() if send_by_ms is None else send_by_ms
        self.crew.send(worker, Dispatch(sync_id, who, calls, by_ms, full=True))

    def pid(self, worker: int = 0) -> int:
        """Of the worker that came up last."""
        return next(up.pid for up in reversed(self.ear.all(WorkerUp)) if up.worker == worker)


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def children() -> set[int]:
    """Our own child processes, zombies included, without multiprocessing's tracker of resources."""
    found = {int(pid) for task in Path("/proc/self/task").iterdir()
             for pid in (task / "children").read_text().split()}
    return {pid for pid in found if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
