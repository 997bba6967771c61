"""How `fleetsync run` ends: in order by a signal, at once by a second one, and what a kill leaves behind: nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from tests.process.cli_support import (
    BTC,
    ETH,
    Paper,
    Started,
    children_of,
    environment,
    fleet_file,
    paper_exchange,
    started,
    unknown,
    until,
)
from tests.process.crew_support import is_running

from fleetsync_adapters.duckdb_store import DuckDBStore

pytestmark = pytest.mark.process

Send = Callable[[Started], None]


@pytest.fixture(scope="module")
def shared() -> Iterator[Paper]:
    with paper_exchange() as running:
        yield running


@pytest.fixture
def paper(shared: Paper) -> Iterator[Paper]:
    yield shared
    shared.ask("behave")


def ctrl_c(run: Started) -> None:
    """What a terminal does: SIGINT to every process in the foreground, workers included."""
    os.killpg(run.process.pid, signal.SIGINT)


def terminate(run: Started) -> None:
    run.process.send_signal(signal.SIGTERM)


def terminate_all(run: Started) -> None:
    """What a service manager does."""
    os.killpg(run.process.pid, signal.SIGTERM)


@pytest.mark.parametrize("send", [ctrl_c, terminate, terminate_all])
def test_a_signal_ends_a_run_in_order(tmp_path: Path, paper: Paper, send: Send) -> None:
    main = paper.account()
    paper.ask("open_position", main.id, BTC, "buy")
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC, "r2": ETH})
    with started(tmp_path, "run", str(fleet), "--json", "--db", "state.duckdb", **main.variables) as run:
        engine = run.engine(tmp_path / "state.duckdb")
        until(lambda: unknown(engine) == 0, "both robots proven")
        crew = [row["pid"] for row in engine.status()["crew"]]
        send(run)
        result = run.result(within_s=30)
        assert (result["phases"]["holding"], result["phases"]["flat"]) == (1, 1)
        assert not any(is_running(pid) for pid in crew)
        if send is not terminate_all:  # which lets no worker live long enough for a last sync of all robots
            assert result["mismatches"] == 0
            assert result["calls"] == result["exchange"]["calls"]
    assert sorted(os.listdir(tmp_path)) == ["errors.txt", "fleet.toml", "state.duckdb"]  # no log, nothing half-made
    store = DuckDBStore(str(tmp_path / "state.duckdb"), readonly=True)
    held = store.load()
    store.close()
    assert (len(held.positions), len(held.robots), held.last_change) == (1, 2, 1)


def test_an_exchange_that_hangs_does_not_hold_up_the_end(tmp_path: Path, paper: Paper) -> None:
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC, "r2": ETH}, "[engine]\ncall_timeout_s = 60")
    with started(tmp_path, "run", str(fleet), "--json", "--db", "state.duckdb", **paper.account().variables) as run:
        _hang(run, tmp_path, paper)
        run.process.send_signal(signal.SIGINT)
        result = run.result(within_s=30)  # half of what the calls under way may take
        assert result["mismatches"] is None


def test_a_second_ctrl_c_ends_at_once_and_leaves_no_process(tmp_path: Path, paper: Paper) -> None:
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC})
    with started(tmp_path, "run", str(fleet), "--json", "--db", "state.duckdb", **paper.account().variables) as run:
        crew = _hang(run, tmp_path, paper)
        ctrl_c(run)
        time.sleep(0.2)  # two signals at the same instant are one
        ctrl_c(run)
        assert run.ended(within_s=2) == []
        assert run.process.returncode == 130
        until(lambda: not any(is_running(pid) for pid in crew), "the end of the workers")


def _hang(run: Started, folder: Path, paper: Paper) -> list[int]:
    """Let the exchange answer nothing any more, and wait until a call is under way; gives the workers."""
    engine = run.engine(folder / "state.duckdb")
    until(lambda: unknown(engine) == 0, "all robots proven")
    paper.ask("misbehave", "lost_request", count=1_000)
    until(lambda: engine.status()["in_flight"] > 0, "a call without an answer")
    return [row["pid"] for row in engine.status()["crew"]]


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_neither_a_second_signal_nor_a_kill_leaves_a_process_of_the_demo_behind(tmp_path: Path,
                                                                              by: signal.Signals) -> None:
    with started(tmp_path, "run", "--db", "demo.duckdb", "--robots", "20", "--accounts", "2") as run:
        engine = run.engine(tmp_path / "demo.duckdb")
        until(lambda: engine.status()["workers_up"] == 2, "both workers")
        children = children_of(run.process.pid)
        assert any(b"fleetsync_adapters.paper" in command for command in children.values())
        assert len(children) >= 3
        if by is signal.SIGTERM:
            run.process.send_signal(signal.SIGINT)  # two of one kind at once would count as one ...
            time.sleep(0.2)  # ... and so would two at one moment
        run.process.send_signal(by)
        run.ended(within_s=5)
        assert run.process.returncode == (130 if by is signal.SIGTERM else -signal.SIGKILL)
        until(lambda: not any(is_running(pid) for pid in children), "the end of all its processes")


def test_two_signals_at_one_moment_are_one(tmp_path: Path, paper: Paper) -> None:
    """Who ends a command and its group (`timeout` does) signals it twice within a moment: nobody was impatient."""
    main = paper.account()
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC})
    with started(tmp_path, "run", str(fleet), "--json", "--db", "state.duckdb", **main.variables) as run:
        engine = run.engine(tmp_path / "state.duckdb")
        until(lambda: unknown(engine) == 0, "the robot proven")
        terminate(run)
        terminate_all(run)
        assert run.result(within_s=30)["phases"]["flat"] == 1


def test_a_signal_while_a_large_crew_starts_waits_for_none_of_it(tmp_path: Path, paper: Paper) -> None:
    main = paper.account()
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC})
    with started(tmp_path, "run", str(fleet), "--workers", "24", "--db", "state.duckdb", **main.variables) as run:
        until(lambda: len(children_of(run.process.pid)) > 2, "workers are being started")
        crew = children_of(run.process.pid)
        terminate(run)
        assert run.process.wait(timeout=30) in {0, 130}
        until(lambda: not any(is_running(pid) for pid in crew), "no worker is left")


@pytest.mark.parametrize("stderr", ["/dev/full", "closed"])
def test_a_run_that_cannot_say_anything_goes_on(tmp_path: Path, paper: Paper, stderr: str) -> None:
    """A log on the same full disk as the database ended the engine with its first notice."""
    main = paper.account()
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC, "none": "NO/SUCH:COIN"})  # there is something to say
    where = "2>&-" if stderr == "closed" else f"2>{stderr}"
    command = f'exec "$0" -m fleetsync_adapters run {fleet} --for 9 --json --plain --db state.duckdb {where}'
    ended = subprocess.run(["sh", "-c", command, sys.executable], cwd=tmp_path, env=environment(**main.variables),
                           stdout=subprocess.PIPE, text=True, check=False, timeout=90)
    assert ended.returncode == 0
    assert orjson.loads(ended.stdout)["phases"]["flat"] == 1


def test_a_simulation_that_is_told_to_end_leaves_nobody_computing(tmp_path: Path) -> None:
    with started(tmp_path, "simulate", "--seeds", "50", "--robots", "2000", "--jobs", "2") as run:
        until(lambda: len(children_of(run.process.pid)) >= 2, "two processes simulate")
        crew = children_of(run.process.pid)
        terminate(run)
        run.process.wait(timeout=30)
        until(lambda: not any(is_running(pid) for pid in crew), "none is left")
