"""kill -9 of the writing process at random moments: no acknowledged batch lost, none torn, no number skipped."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.process.store_writer import ROWS, SYMBOL

from fleetsync_adapters.duckdb_store import DuckDBStore

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
KILLS = 8  # for each log limit


def spawn(path: str, log_limit: str, seed: int) -> "subprocess.Popen[bytes]":
    """A writer that waits for its start: while one writes, the next one imports."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)])}
    command = [sys.executable, "-m", "tests.process.store_writer", path, log_limit, str(seed)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT)


def last_acknowledged(writer: "subprocess.Popen[bytes]", batches: int, delay_s: float) -> int:
    """Let a writer commit some batches, kill it a moment later, and return the last mark it acknowledged."""
    with writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write(b"begin\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == b"open\n"
        marks = [int(writer.stdout.readline()) for _ in range(batches)]
        time.sleep(delay_s)  # the random moment, somewhere inside a commit; nothing is waited for
        writer.kill()
        marks += [int(line) for line in writer.stdout.read().splitlines()]
    return marks[-1]


@pytest.mark.parametrize("log_limit", ["64MB", "32KB"])
def test_a_killed_writer_loses_no_acknowledged_batch_and_tears_none(tmp_path: Path, log_limit: str) -> None:
    rng = random.Random(log_limit)
    path = str(tmp_path / "x.duckdb")
    before = 0
    following = spawn(path, log_limit, 0)
    for kill in range(1, KILLS + 1):
        writer, following = following, spawn(path, log_limit, kill)
        acknowledged = last_acknowledged(writer, rng.randrange(1, 25), rng.random() * 0.03)
        store = DuckDBStore(path)
        held = store.load()
        mark = held.freezes["mark"]
        assert acknowledged <= mark <= acknowledged + 1  # committed and not yet acknowledged is allowed, once
        assert held.last_change == mark * ROWS
        changes = store.changes(0, 10**9)
        assert [change.number for change in changes] == list(range(1, mark * ROWS + 1))
        state = {change.symbol: change.after["size"] for change in changes if change.after is not None
                 and change.exchange_at_ms == mark}
        assert {symbol: position.size for (_, symbol, _), position in held.positions.items()} == state
        assert held.orders["a", SYMBOL, "1"].size == str(mark)
        assert held.robots["r"]["last_sync_at_ms"] == mark
        assert held.events == {mark: {"mark": mark}}
        with store._reader("counting") as cursor:
            assert cursor.execute("SELECT count(*), max(at_ms) FROM syncs").fetchall() == [(mark, mark)]
        assert mark > before
        before = mark
        store.close()
    with following:
        following.kill()
    assert sorted(os.listdir(tmp_path)) == ["x.duckdb"]
