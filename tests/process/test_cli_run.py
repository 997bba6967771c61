"""`fleetsync run` on a fleet file against a paper exchange: what only the exchange can tell, and what others read."""

import asyncio
import json
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process.cli_support import (
    BTC,
    COMMAND,
    ETH,
    Paper,
    cli,
    fleet_file,
    keys_of,
    paper_exchange,
    refused,
    started,
    started_as,
    unknown,
    until,
)

from fleetsync_adapters.paper.process import PaperProcess

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def paper() -> Iterator[Paper]:
    with paper_exchange() as running:
        yield running


def test_a_symbol_that_is_not_listed_stops_its_robot_only(tmp_path: Path, paper: Paper) -> None:
    main = paper.account()
    paper.ask("open_position", main.id, BTC, "buy")
    fleet = fleet_file(tmp_path, paper.base_url, {"good": BTC, "lost": "NOPE/USDT:USDT"})
    with started(tmp_path, "run", str(fleet), "--json", "--db", "state.duckdb", **main.variables) as run:
        engine = run.engine(tmp_path / "state.duckdb")
        until(lambda: engine.status()["phases"]["holding"] == 1 and "lost" in engine.status()["stopped_robots"],
              "one robot proven, the other stopped")
        told = json.loads(cli("status", "--json", "--db", "state.duckdb", cwd=tmp_path).stdout)
        assert told["running"] is True
        assert "does not list NOPE/USDT:USDT" in told["stopped_robots"]["lost"]
        assert told["phases"]["unknown"] == 1
        run.process.send_signal(signal.SIGTERM)
        result = run.result()
        assert result["phases"]["unknown"] == 1
        assert result["age_ms"]["flat"]["p50"] is None, "a stopped robot has no age"
        assert len([line for line in run.errors if "does not list" in line]) == 1
    left = json.loads(cli("status", "--json", "--db", "state.duckdb", cwd=tmp_path).stdout)
    assert (left["running"], list(left["stopped_robots"])) == (False, ["lost"])


def test_a_wrong_signature_stops_its_account_only(tmp_path: Path, paper: Paper) -> None:
    other = '[accounts.other]\nexchange = "binanceusdm"\napi_key_env = "OTHER_KEY"\napi_secret_env = "OTHER_SECRET"\n'
    other += f'[[robots]]\nid = "r2"\naccount = "other"\nsymbol = "{BTC}"\n'
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC}, other)
    keys = {**paper.account("OTHER").variables, **paper.account().variables, "MAIN_SECRET": "not-the-secret"}
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
    with started(tmp_path, "run", str(fleet), "--json", "--db", "state.duckdb", **keys_of(5, 0)) as run:
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


def test_a_run_keeps_its_state_and_the_next_one_goes_on_from_it(tmp_path: Path, paper: Paper) -> None:
    main = paper.account()
    paper.ask("open_position", main.id, BTC, "buy")
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC})
    for _ in range(2):
        with started(tmp_path, "run", str(fleet), "--json", "--db", "state.duckdb", **main.variables) as run:
            engine = run.engine(tmp_path / "state.duckdb")
            until(lambda engine=engine: unknown(engine) == 0, "the robot proven")  # type: ignore[misc]  # bound above
            run.process.send_signal(signal.SIGTERM)
            result = run.result()
            assert (result["mismatches"], result["phases"]["holding"]) == (0, 1)
            assert result["calls"] == result["exchange"]["calls"]
    changes = [json.loads(line) for line in cli("changes", "--json", "--db", "state.duckdb",
                                                cwd=tmp_path).stdout.splitlines()]
    assert [(one["number"], one["kind"], one["robots"]) for one in changes] == [(1, "position_opened", ["r1"])]


def test_while_a_run_goes_on_its_state_can_be_read_and_followed(tmp_path: Path, paper: Paper) -> None:
    main = paper.account()
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC})
    db = str(tmp_path / "state.duckdb")
    with started(tmp_path, "run", str(fleet), "--db", db, **main.variables) as run:
        engine = run.engine(tmp_path / "state.duckdb")
        until(lambda: engine.status()["phases"]["flat"] == 1, "the robot proven")
        other = tmp_path / "follow"
        other.mkdir()
        with started(other, "changes", "--db", db, "--follow", "--json") as follow:
            paper.ask("open_position", main.id, BTC, "sell")
            assert follow.process.stdout is not None
            seen = json.loads(follow.process.stdout.readline())
            assert (seen["number"], seen["kind"], seen["after"]["side"]) == (1, "position_opened", "short")
            follow.process.send_signal(signal.SIGINT)
            assert follow.ended() == []
            assert follow.process.returncode == 0
        rows = cli("query", "--db", db, "--format", "csv", "SELECT symbol, side FROM positions")
        assert rows.stdout == f"symbol,side\n{BTC},short\n"
        assert "is in use by the process" in refused(cli("run", str(fleet), "--db", db, variables=main.variables))
        assert engine.status()["robots"] == 1
        assert "running, PID" in cli("status", "--db", db).stdout


def test_a_run_ends_by_itself_when_its_time_is_over(tmp_path: Path, paper: Paper) -> None:
    main = paper.account()
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC, "r2": ETH})
    with started(tmp_path, "run", str(fleet), "--json", "--for", "1", "--db", "state.duckdb", **main.variables) as run:
        result = run.result()
        assert (result["mismatches"], result["robots"]) == (0, 2)
        assert result["calls"] == result["exchange"]["calls"] > 0


def test_a_run_and_its_workers_may_open_more_files_than_a_shell_gives(tmp_path: Path, paper: Paper) -> None:
    main, (_, hard) = paper.account(), resource.getrlimit(resource.RLIMIT_NOFILE)
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC})
    command = ["sh", "-c", 'ulimit -Sn 250; exec "$@"', "sh", *COMMAND, "run", str(fleet), "--db", "state.duckdb"]
    with started_as(command, tmp_path, main.variables) as run:
        engine = run.engine(tmp_path / "state.duckdb")
        until(lambda: unknown(engine) == 0, "the robot proven")
        for pid in (run.process.pid, *(row["pid"] for row in engine.status()["crew"])):
            soft, same = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            assert same == hard
            assert soft == hard or soft in {65_536, 10_240}  # as many as this user may have, or as are ever needed


def test_a_taken_port_is_told_before_anything_is_started(tmp_path: Path, paper: Paper) -> None:
    address = paper.base_url.removeprefix("http://")
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC})
    before = paper.ask("summary")["calls"]
    told = cli("run", str(fleet), "--http", address, "--db", "state.duckdb", cwd=tmp_path,
               variables=paper.account().variables)
    assert "is taken" in refused(told)
    assert paper.ask("summary")["calls"] == before
    assert "is taken" in refused(cli("run", "--http", address, "--db", "state.duckdb", cwd=tmp_path))  # no demo either
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleet.toml"]
    assert "is taken" in refused(cli("paper-exchange", "--port", address.rpartition(":")[2]))
