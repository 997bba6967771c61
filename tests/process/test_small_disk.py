"""A disk without room and a directory that cannot be written: said, survived, and made up for, by a whole run."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process.cli_support import (
    BTC,
    COMMAND,
    ETH,
    Paper,
    Started,
    cli,
    fleet_file,
    paper_exchange,
    started,
    started_as,
    unknown,
    until,
)
from tests.process.small_room import fill, no_longer_files, small_disk, unprivileged

from fleetsync_adapters.control import Running

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def paper() -> Iterator[Paper]:
    with paper_exchange() as running:
        yield running


def said(run: Started, words: str) -> list[str]:
    return [line for line in run.errors if words in line]


def kinds(engine: Running) -> list[tuple[int, str]]:
    return [(change["number"], change["kind"]) for change in engine.changes()]


def test_a_full_disk_is_said_costs_no_knowledge_and_is_made_up_for_when_there_is_room(tmp_path: Path,
                                                                                     paper: Paper) -> None:
    main = paper.account()
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC, "r2": ETH})
    with small_disk(tmp_path, 8) as disk:
        db = disk / "state.duckdb"
        with started(tmp_path, "run", str(fleet), "--json", "--db", str(db), **main.variables) as run:
            engine = run.engine(db)
            until(lambda: unknown(engine) == 0, "both robots proven")
            paper.ask("open_position", main.id, BTC, "buy")
            until(lambda: kinds(engine) == [(1, "position_opened")], "the first change")

            ballast = fill(disk)
            until(lambda: engine.status()["store_failing_since_ms"], "the status says that the store fails")
            (why,) = until(lambda: said(run, "commit to"), "the log says why")
            assert "it is tried again" in why
            assert "failing     the store" in cli("status", "--db", str(db)).stdout
            # What happens meanwhile is known and counted, and published to nobody.
            paper.ask("close_position", main.id, BTC)
            paper.ask("open_position", main.id, ETH, "sell")
            until(lambda: engine.robot("r2")["phase"] == "holding", "what is found is known in memory")
            until(lambda: engine.robot("r1")["phase"] == "flat", "the close, too")
            assert kinds(engine) == [(1, "position_opened")]

            ballast.unlink()
            until(lambda: {"position_closed", "position_opened"} <= {kind for _, kind in kinds(engine)[1:]},
                  "all changes, once there is room")
            told = kinds(engine)
            assert [number for number, _ in told] == list(range(1, len(told) + 1))
            assert Counter(kind for _, kind in told if "position" in kind) == {"position_opened": 2,
                                                                               "position_closed": 1}
            until(lambda: said(run, "the store takes commits again"), "its end is said")
            assert engine.status()["store_failing_since_ms"] == 0
            run.process.send_signal(signal.SIGTERM)
            assert run.result()["mismatches"] == 0
        assert sorted(os.listdir(disk)) == ["state.duckdb"]


def test_a_run_that_ends_while_its_quota_is_used_up_says_so_and_the_next_one_finds_all_again(tmp_path: Path,
                                                                                            paper: Paper) -> None:
    main = paper.account()
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC, "r2": ETH})
    db = tmp_path / "state.duckdb"
    with started(tmp_path, "run", str(fleet), "--json", "--db", str(db), **main.variables) as run:
        engine = run.engine(db)
        paper.ask("open_position", main.id, BTC, "buy")
        until(lambda: kinds(engine) == [(1, "position_opened")], "the first change")
        with no_longer_files(run.process.pid, os.stat(f"{db}.wal").st_size):
            until(lambda: engine.status()["store_failing_since_ms"], "the status says that the store fails")
            paper.ask("open_position", main.id, ETH, "buy")
            until(lambda: engine.robot("r2")["phase"] == "holding", "the second position")
            run.process.send_signal(signal.SIGTERM)
            run.ended(within_s=10)
            assert run.process.returncode == 0, run.errors
            assert said(run, "the last batch could not be committed")
    with started(tmp_path, "run", str(fleet), "--json", "--db", str(db), **main.variables) as run:
        engine = run.engine(db)
        until(lambda: len(kinds(engine)) == 2, "the change that could not be kept")
        assert kinds(engine) == [(1, "position_opened"), (2, "position_opened")]
        run.process.send_signal(signal.SIGTERM)
        assert run.result()["mismatches"] == 0


def test_a_directory_that_cannot_be_written_any_more_does_not_stop_a_run_and_refuses_the_next(tmp_path: Path,
                                                                                             paper: Paper) -> None:
    main = paper.account()
    fleet = fleet_file(tmp_path, paper.base_url, {"r1": BTC})
    place = tmp_path / "place"
    place.mkdir()
    db = place / "state.duckdb"
    try:
        command = unprivileged([*COMMAND, "run", str(fleet), "--json", "--db", str(db)])
        with started_as(command, tmp_path, main.variables) as run:
            engine = run.engine(db)
            until(lambda: unknown(engine) == 0, "the robot proven")
            place.chmod(0o555)
            paper.ask("open_position", main.id, BTC, "buy")
            until(lambda: kinds(engine) == [(1, "position_opened")], "a commit into the files that are open")
            told = cli("query", "--db", str(db), "SELECT 1")  # needs a copy beside the file
            assert told.returncode != 0
            assert "refused" in told.stderr
            run.process.send_signal(signal.SIGTERM)
            assert run.result()["mismatches"] == 0
        again = cli("run", str(fleet), "--db", str(db), variables=main.variables, through=unprivileged)
        assert again.returncode == 2
        assert "cannot write in directory" in again.stderr
    finally:
        place.chmod(0o755)
    left = json.loads(cli("status", "--json", "--db", str(db)).stdout)
    assert (left["running"], left["positions"], left["last_change"]) == (False, 1, 1)
