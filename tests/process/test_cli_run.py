"""`fleetsync run` on a fleet file against a paper exchange: its ends, and what only the exchange can tell."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.process.cli_support import cli, fleet_file, keys_of, refused, started, unknown, until
from tests.process.crew_support import is_running

from fleetsync_adapters.paper.process import PaperAdmin, PaperProcess

pytestmark = pytest.mark.process

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
KEYS = keys_of(5, 0)


@pytest.fixture
def paper() -> Iterator[str]:
    """A paper exchange with three accounts; its base url."""
    exchange = PaperProcess(seed=5, accounts=3)
    asyncio.run(exchange.start())
    try:
        yield exchange.base_url
    finally:
        asyncio.run(exchange.stop())


def on_paper(base_url: str, method: str, *arguments: Any, **more: Any) -> Any:
    """One admin request."""

    async def ask() -> Any:
        admin = PaperAdmin(base_url)
        try:
            return await getattr(admin, method)(*arguments, **more)
        finally:
            await admin.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_order_within_3_s(tmp_path: Path, paper: str, number: signal.Signals) -> None:
    on_paper(paper, "open_position", "paper-00000", BTC, "buy")
    fleet = fleet_file(tmp_path, paper, {"r1": BTC, "r2": ETH})
    with started(tmp_path, "run", str(fleet), "--json", "--db", "state.duckdb", **KEYS) as run:
        engine = run.engine(tmp_path / "state.duckdb")
        until(lambda: unknown(engine) == 0, "both robots proven")
        crew = [row["pid"] for row in engine.status()["crew"]]
        began_s = time.monotonic()
        run.process.send_signal(number)
        result = run.result(within_s=30)
        assert time.monotonic() - began_s < 3
        assert (result["phases"]["holding"], result["phases"]["flat"]) == (1, 1)
        assert result["mismatches"] == 0
        assert result["calls"] == result["exchange"]["calls"]
        assert not any(is_running(pid) for pid in crew)
        assert not (tmp_path / "state.duckdb.run.json").exists()


def test_an_exchange_that_hangs_does_not_hold_up_the_end(tmp_path: Path, paper: str) -> None:
    fleet = fleet_file(tmp_path, paper, {"r1": BTC, "r2": ETH})
    with started(tmp_path, "run", str(fleet), "--json", "--db", "state.duckdb", **KEYS) as run:
        engine = run.engine(tmp_path / "state.duckdb")
        until(lambda: unknown(engine) == 0, "both robots proven")
        on_paper(paper, "misbehave", "lost_request", count=1_000)
        until(lambda: engine.status()["in_flight"] > 0, "a call without an answer")
        began_s = time.monotonic()
        run.process.send_signal(signal.SIGINT)
        result = run.result(within_s=30)
        assert time.monotonic() - began_s < 4  # 3 s, and the start of a busy machine's processes
        assert result["mismatches"] is None


def test_a_second_ctrl_c_ends_at_once_and_leaves_no_process(tmp_path: Path, paper: str) -> None:
    fleet = fleet_file(tmp_path, paper, {"r1": BTC})
    with started(tmp_path, "run", str(fleet), "--json", "--db", "state.duckdb", **KEYS) as run:
        engine = run.engine(tmp_path / "state.duckdb")
        until(lambda: unknown(engine) == 0, "the robot proven")
        on_paper(paper, "misbehave", "lost_request", count=1_000)
        until(lambda: engine.status()["in_flight"] > 0, "a call without an answer")
        crew = [row["pid"] for row in engine.status()["crew"]]
        run.process.send_signal(signal.SIGINT)
        time.sleep(0.2)  # two signals at the same instant are one
        run.process.send_signal(signal.SIGINT)
        assert run.ended(within_s=2) == []
        assert run.process.returncode == 130
        until(lambda: not any(is_running(pid) for pid in crew), "the end of the workers")


def test_a_second_ctrl_c_takes_the_demos_exchange_along(tmp_path: Path) -> None:
    with started(tmp_path, "run", "--db", "demo.duckdb", "--robots", "20", "--accounts", "2") as run:
        run.engine(tmp_path / "demo.duckdb")
        children = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()
        (exchange,) = [int(pid) for pid in children if b"fleetsync_adapters.paper" in _command_of(pid)]
        run.process.send_signal(signal.SIGINT)
        run.process.send_signal(signal.SIGTERM)  # two of one kind at once would count as one
        run.ended(within_s=3)
        assert run.process.returncode == 130
        until(lambda: not is_running(exchange), "the end of the paper exchange")


def _command_of(pid: str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_symbol_that_is_not_listed_stops_its_robot_only(tmp_path: Path, paper: str) -> None:
    on_paper(paper, "open_position", "paper-00000", BTC, "buy")
    fleet = fleet_file(tmp_path, paper, {"good": BTC, "lost": "NOPE/USDT:USDT"})
    with started(tmp_path, "run", str(fleet), "--json", "--for", "8", "--db", "state.duckdb", **KEYS) as run:
        engine = run.engine(tmp_path / "state.duckdb")
        until(lambda: engine.status()["phases"]["holding"] == 1 and "lost" in engine.status()["stopped_robots"],
              "one robot proven, the other stopped")
        told = json.loads(cli("status", "--json", "--db", "state.duckdb", cwd=tmp_path).stdout)
        assert told["running"] is True
        assert "does not list NOPE/USDT:USDT" in told["stopped_robots"]["lost"]
        assert told["phases"]["unknown"] == 1
        result = run.result()
        assert result["phases"]["unknown"] == 1
        assert result["age_ms"]["flat"]["p50"] is None, "a stopped robot has no age"
        assert len([line for line in run.errors if "does not list" in line]) == 1
    left = json.loads(cli("status", "--json", "--db", "state.duckdb", cwd=tmp_path).stdout)
    assert (left["running"], list(left["stopped_robots"])) == (False, ["lost"])


def test_a_wrong_signature_stops_its_account_only(tmp_path: Path, paper: str) -> None:
    other = '[accounts.other]\nexchange = "binanceusdm"\napi_key_env = "OTHER_KEY"\napi_secret_env = "OTHER_SECRET"\n'
    other += f'[[robots]]\nid = "r2"\naccount = "other"\nsymbol = "{BTC}"\n'
    fleet = fleet_file(tmp_path, paper, {"r1": BTC}, other)
    keys = {**keys_of(5, 1, "OTHER"), **KEYS, "MAIN_SECRET": "not-the-secret"}
    with started(tmp_path, "run", str(fleet), "--json", "--db", "state.duckdb", **keys) as run:
        engine = run.engine(tmp_path / "state.duckdb")
        until(lambda: engine.status()["phases"]["flat"] == 1 and "main" in engine.status()["stopped_accounts"],
              "one account served, the other stopped")
        assert unknown(engine) == 1
        run.process.send_signal(signal.SIGTERM)
        run.result()
        said = [line for line in run.errors if "account main stopped" in line]
        assert len(said) == 1
        assert "Signature" in said[0]
        everything = "\n".join(run.errors)
        assert not any(secret in everything for secret in keys.values())


def test_an_exchange_that_does_not_answer_is_retried_until_it_does(tmp_path: Path) -> None:
    exchange = PaperProcess(seed=5, accounts=1)
    asyncio.run(exchange.start())
    base_url, port = exchange.base_url, int(exchange.base_url.rpartition(":")[2])
    asyncio.run(exchange.stop())
    fleet = fleet_file(tmp_path, base_url, {"r1": BTC})
    with started(tmp_path, "run", str(fleet), "--json", "--db", "state.duckdb", **KEYS) as run:
        engine = run.engine(tmp_path / "state.duckdb")
        until(lambda: engine.status()["faults"].get("network", 0) >= 2, "more than one try")
        assert unknown(engine) == 1
        again = PaperProcess(seed=5, accounts=1, port=port)
        asyncio.run(again.start())
        try:
            until(lambda: engine.status()["phases"]["flat"] == 1, "the robot proven")
        finally:
            asyncio.run(again.stop())
        run.process.send_signal(signal.SIGINT)
        run.result()
        assert run.errors


def test_a_run_keeps_its_state_and_the_next_one_goes_on_from_it(tmp_path: Path, paper: str) -> None:
    on_paper(paper, "open_position", "paper-00000", BTC, "buy")
    fleet = fleet_file(tmp_path, paper, {"r1": BTC})
    for _ in range(2):
        with started(tmp_path, "run", str(fleet), "--json", "--for", "3", "--db", "state.duckdb", **KEYS) as run:
            result = run.result()
            assert (result["mismatches"], result["phases"]["holding"]) == (0, 1)
            assert result["calls"] == result["exchange"]["calls"]
    changes = [json.loads(line) for line in cli("changes", "--json", "--db", "state.duckdb",
                                                cwd=tmp_path).stdout.splitlines()]
    assert [(one["number"], one["kind"], one["robots"]) for one in changes] == [(1, "position_opened", ["r1"])]


def test_while_a_run_goes_on_its_state_can_be_read_and_followed(tmp_path: Path, paper: str) -> None:
    fleet = fleet_file(tmp_path, paper, {"r1": BTC})
    db = str(tmp_path / "state.duckdb")
    with started(tmp_path, "run", str(fleet), "--db", db, **KEYS) as run:
        engine = run.engine(tmp_path / "state.duckdb")
        until(lambda: engine.status()["phases"]["flat"] == 1, "the robot proven")
        other = tmp_path / "follow"
        other.mkdir()
        with started(other, "changes", "--db", db, "--follow", "--json") as follow:
            on_paper(paper, "open_position", "paper-00000", BTC, "sell")
            assert follow.process.stdout is not None
            seen = json.loads(follow.process.stdout.readline())
            assert (seen["number"], seen["kind"], seen["after"]["side"]) == (1, "position_opened", "short")
            follow.process.send_signal(signal.SIGINT)
            assert follow.ended() == []
            assert follow.process.returncode == 0
        rows = cli("query", "--db", db, "--format", "csv", "SELECT symbol, side FROM positions")
        assert rows.stdout == f"symbol,side\n{BTC},short\n"
        assert "is in use by the process" in refused(cli("run", str(fleet), "--db", db, variables=KEYS))
        assert engine.status()["robots"] == 1
        assert "running, PID" in cli("status", "--db", db).stdout


def test_a_taken_port_is_told_before_anything_is_lost(tmp_path: Path, paper: str) -> None:
    address = paper.removeprefix("http://")
    fleet = fleet_file(tmp_path, paper, {"r1": BTC})
    assert "is taken" in refused(
        cli("run", str(fleet), "--http", address, "--db", "state.duckdb", cwd=tmp_path, variables=KEYS))
    assert "is taken" in refused(cli("paper-exchange", "--port", address.rpartition(":")[2]))
