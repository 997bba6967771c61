"""A run in which everything goes wrong that can, and every place that could tell a secret afterwards."""

import base64
import json
import os
import resource
import signal
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import duckdb
import pytest
from tests.process.cli_support import (
    BTC,
    Holder,
    Paper,
    Started,
    children_of,
    cli,
    fleet_file,
    paper_exchange,
    started,
    until,
)
from tests.process.small_room import no_longer_files

from fleetsync.errors import FleetsyncError
from fleetsync_adapters.control import Running

pytestmark = pytest.mark.process

TOKEN = "public-token-of-the-secrets-test-41"
WRONG = "wrong-secret-of-the-secrets-test-42"
PASSWORD = "proxy-password-of-the-secrets-test-43"
OTHERS = """
[exchanges.binanceusdm.egress.east]
proxy_env = "EAST_PROXY"

[accounts.wrong]
exchange = "binanceusdm"
api_key_env = "WRONG_KEY"
api_secret_env = "WRONG_SECRET"

[accounts.far]
exchange = "binanceusdm"
api_key_env = "FAR_KEY"
api_secret_env = "FAR_SECRET"
egress = "east"

[[robots]]
id = "r2"
account = "wrong"
symbol = "BTC/USDT:USDT"

[[robots]]
id = "r3"
account = "far"
symbol = "BTC/USDT:USDT"
"""
MISDEEDS = ("html", "truncated", "reset", "server_error", "maintenance", "empty_object", "lost_answer", "throttled")
ASKED = ("/v1/status", "/v1/robots", "/v1/robots/r1", "/v1/robots/nobody", "/v1/accounts", "/v1/explain/r3",
         "/v1/changes", "/v1/changes?after=x", "/metrics", "/openapi.json", "/healthz", "/", "/no/such/page")


@pytest.fixture(scope="module")
def paper() -> Iterator[Paper]:
    with paper_exchange() as running:
        yield running


def forms(secret: str) -> set[bytes]:
    """A secret as it stands, and as it would stand in a header, a URL, or a proxy's authorisation."""
    plain = secret.encode()
    return {plain, base64.b64encode(plain), quote(secret, safe="").encode(), plain.hex().encode(),
            base64.b64encode(b"user:" + plain)}


def told_in(places: dict[str, bytes], secrets: Iterable[str]) -> list[tuple[str, str]]:
    """Every place that holds a secret, in whatever form."""
    return [(place, secret) for place, text in places.items() for secret in secrets
            if any(form in text for form in forms(secret))]


def answers(url: str, token: str) -> bytes:
    """All that the HTTP side says: to good and bad questions, to friends and strangers."""
    friend, stranger = {"Authorization": f"Bearer {token}"}, {"Authorization": "Bearer not-the-token-at-all"}
    asked = [Request(url + path, headers=headers) for path in ASKED for headers in (friend, stranger)]
    asked += [Request(f"{url}/v1/events", body, friend | {"Content-Type": "application/json"})
              for body in (b"{", b"[]", b'{"robot": 7}', json.dumps({"robot": "r1", "kind": "boo"}).encode())]
    return b"\n".join(map(_answer, asked))


def _answer(request: Request) -> bytes:
    try:
        with urlopen(request, timeout=30) as response:
            body: bytes = response.read()
            return str(response.headers).encode() + body
    except HTTPError as error:
        with error:
            return str(error.headers).encode() + error.read()


def everything_goes_wrong(run: Started, engine: Running, paper: Paper, main: Holder, db: Path) -> bytes:
    """Faulty answers, a store that fails, a worker that crashes; gives what the engine answered meanwhile."""
    said = []
    for misdeed in MISDEEDS:
        paper.ask("misbehave", misdeed, account=main.id, count=2)
        try:
            engine.sync("r1", timeout_ms=300)
        except FleetsyncError as error:
            said.append(str(error))
    paper.ask("behave")
    with no_longer_files(run.process.pid, os.stat(f"{db}.wal").st_size):
        paper.ask("open_position", main.id, BTC, "buy")
        until(lambda: engine.status()["store_failing_since_ms"], "the store fails")
        said.append(str(engine.status()))
    until(lambda: not engine.status()["store_failing_since_ms"], "and takes commits again")
    crashed = engine.status()["crew"][0]["pid"]
    os.kill(crashed, signal.SIGSEGV)
    until(lambda: engine.status()["crew"][0]["pid"] not in {0, crashed}, "another worker in place of the crashed one")
    return "\n".join(said).encode()


def shown_by_commands(db: Path) -> bytes:
    """What other commands print about the run."""
    orders = (("status",), ("changes",), ("explain", "r3"), ("query", "SELECT * FROM robots"),
              ("query", "SELECT getenv('MAIN_SECRET')"))
    ended = [cli(name, "--db", str(db), *more) for name, *more in orders]
    return "\n".join(one.stdout + one.stderr for one in ended).encode()


def rows_in(db: Path) -> bytes:
    """Every row of every table, as text: strings in the file may be compressed."""
    with duckdb.connect(str(db), read_only=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        assert "accounts" in tables
        return "\n".join(str(connection.execute(f"FROM {name}").fetchall()) for name in tables).encode()


def files_in(folder: Path) -> dict[str, bytes]:
    """All files below, but the run file, which is there to tell its owner a token."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    for path in found:
        if path.name.endswith((".run.json", ".duckdb", ".wal")):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return {str(path): path.read_bytes() for path in found if not path.name.endswith(".run.json")}


def test_a_run_in_which_everything_goes_wrong_tells_no_secret_anywhere(tmp_path: Path, paper: Paper) -> None:
    main, wrong, far = paper.account(), paper.account("WRONG"), paper.account("FAR")
    fleet, db = fleet_file(tmp_path, paper.base_url, {"r1": BTC}, OTHERS), tmp_path / "state.duckdb"
    keys = {**main.variables, **wrong.variables, **far.variables, "WRONG_SECRET": WRONG, "API_TOKEN": TOKEN,
            "EAST_PROXY": f"http://user:{PASSWORD}@127.0.0.1:9"}
    places: dict[str, bytes] = {}
    with started(tmp_path, "--debug", "run", str(fleet), "--db", str(db), "--json", "--http", "127.0.0.1:0",
                 "--http-token-env", "API_TOKEN", PYTHONFAULTHANDLER="1", **keys) as run:
        engine = run.engine(db)
        _, hard = resource.prlimit(run.process.pid, resource.RLIMIT_CORE)
        assert engine.token is not None
        secrets = {*keys.values(), PASSWORD, engine.token} - {keys["EAST_PROXY"]}
        assert all(len(secret) > 20 for secret in secrets)
        until(lambda: engine.status()["phases"]["flat"] == 1 and "wrong" in engine.status()["stopped_accounts"]
              and "@east: its markets could not be loaded" in "".join(run.errors),
              "one account served, one stopped, one out of reach")
        places["errors told by the engine"] = everything_goes_wrong(run, engine, paper, main, db)
        public = next(line for line in run.errors if "HTTP interface is at" in line).rpartition(" ")[2]
        places["answers of the HTTP side"] = answers(public, TOKEN) + answers(engine.url, engine.token)
        places["commands"] = shown_by_commands(db)
        places["arguments of the run"] = Path(f"/proc/{run.process.pid}/cmdline").read_bytes()
        for pid, command in children_of(run.process.pid).items():
            places[f"arguments of {pid}"] = command
            places[f"environment of {pid}"] = Path(f"/proc/{pid}/environ").read_bytes()
            assert resource.prlimit(pid, resource.RLIMIT_CORE)[0] == 0
        assert len(children_of(run.process.pid)) >= 2
        places |= {f"while it ran: {name}": text for name, text in files_in(tmp_path).items()}
        run.process.send_signal(signal.SIGTERM)
        places["summary"] = "\n".join(run.ended()).encode()
        assert run.process.returncode == 0
    places |= files_in(tmp_path) | {"rows": rows_in(db)}
    assert told_in(places, secrets) == []
    # It was a faulty run, and the search finds what is there.
    log = places[str(tmp_path / "errors.txt")]
    for sign in (b"Fatal Python error: Segmentation fault", b"commit to", b"account wrong stopped",
                 b"markets could not be loaded", b"account main: malformed"):
        assert sign in log, sign
    assert told_in({"canary": b"x" + base64.b64encode(TOKEN.encode())}, secrets) == [("canary", TOKEN)]
    assert not [name for name in os.listdir(tmp_path) if name.startswith("core")]
    assert hard != 0 or resource.getrlimit(resource.RLIMIT_CORE)[1] == 0
