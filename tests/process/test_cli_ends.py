"""How `fleetsync run` ends: in order by a signal, at once by a second one, and what a kill leaves behind: nothing."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.process.cli_support import (
    BTC,
    ETH,
    Paper,
    Started,
    children_of,
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
            run.process.send_signal(signal.SIGINT)  # two of one kind at once would count as one
        run.process.send_signal(by)
        run.ended(within_s=5)
        assert run.process.returncode == (130 if by is signal.SIGTERM else -signal.SIGKILL)
        until(lambda: not any(is_running(pid) for pid in children), "the end of all its processes")
