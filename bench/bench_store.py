"""The store: what do quiet syncs, changes, and a million robots cost the one file?"""

import os
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time, process_time_ns
from typing import Any

import duckdb
from bench.figures import Figures
from bench.lab import PLENTY, START_MS, Lab, accounts_of, robots_of, unlimited

from fleetsync.config import Settings
from fleetsync.model import Change, Order, Phase, Position
from fleetsync.ports import Batch
from fleetsync_adapters.duckdb_store import DuckDBStore

_A_COMMIT = 400  # changes, when 2,000 a second are committed five times a second
_COMMITS = 60


def changes_batch(first: int, robots: int) -> Batch:
    """A batch as the engine commits it when positions and orders change."""
    batch = Batch()
    for number in range(first, first + _A_COMMIT):
        account, symbol = f"account-{number % robots:07}", "BTC/USDT:USDT"
        position = Position(symbol, "long", str(number), "100", START_MS + number)
        batch.positions[account, symbol, "long"] = position
        batch.orders[account, symbol, str(number % 3)] = Order(
            str(number % 3), "", symbol, "sell", "limit", "110", "1", "0", "open", reduce_only=True,
            conditional=False, created_at_ms=START_MS, updated_at_ms=START_MS + number)
        batch.changes.append(Change(
            number, account, symbol, (f"robot-{number % robots:07}",), "position_grew", "position:long", "external",
            None, {"size": str(number)}, {"surfaces": ["positions"], "orders": []}, START_MS, START_MS + number))
    return batch


def bench_changes_in_batches(benchmark: Any, figures: Figures, tmp_path: Path) -> None:
    """Two thousand changes a second, with their positions and orders, five commits a second."""
    store = DuckDBStore(str(tmp_path / "fleet.duckdb"))
    spans_ms, sizes = list[float](), list[int]()

    def commit() -> None:
        begun_s = perf_counter()
        store.commit(changes_batch(len(spans_ms) * _A_COMMIT + 1, 100_000), START_MS + len(spans_ms))
        spans_ms.append((perf_counter() - begun_s) * 1e3)
        sizes.append(sum(file.stat().st_size for file in tmp_path.iterdir()))

    benchmark.pedantic(commit, rounds=_COMMITS, iterations=1)
    figures.add("store", f"a commit of {_A_COMMIT} changes and their rows, p50", statistics.median(spans_ms), "ms")
    figures.add("store", "the same, the slowest of 60", max(spans_ms), "ms", 250)
    changes = _A_COMMIT * _COMMITS
    figures.add("store", "file and log, a change kept", sizes[-1] / changes, "bytes")
    store.close()
    figures.add("store", "file after closing, a change kept", os.path.getsize(store.path) / changes, "bytes")


def bench_row_by_row(benchmark: Any, figures: Figures, tmp_path: Path) -> None:
    """What a straightforward program does instead: a transaction a change."""
    connection = duckdb.connect(str(tmp_path / "plain.duckdb"))
    connection.execute("CREATE TABLE positions (account VARCHAR PRIMARY KEY, symbol VARCHAR, size VARCHAR)")
    done = [0]

    def write() -> None:
        for _ in range(100):
            done[0] += 1
            connection.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
                               [f"account-{done[0] % 500}", "BTC/USDT:USDT", str(done[0])])

    benchmark.pedantic(write, rounds=5, iterations=1)
    rate = 100 / benchmark.stats.stats.median
    figures.add("store", "a row at a time, each its own commit: rows a second", rate, "/s")
    connection.close()


def filled(lab: Lab, folder: Path, known_ms: int) -> DuckDBStore:
    """A store with the rows of a fleet that is all known, which takes it `known_ms`."""
    store, fleet = DuckDBStore(str(folder / "fleet.duckdb")), lab.core.fleet
    lab.run(lab.now_ms + known_ms)
    assert fleet.phase.count(Phase.FLAT) == len(fleet)
    for slot in fleet.slot_of.values():
        lab.core.journal.robot_changed(slot)
    store.commit(lab.core.take_batch(), lab.now_ms)
    return store


def bench_quiet_syncs(benchmark: Any, figures: Figures, tmp_path: Path) -> None:
    """100,000 robots on 10,000 accounts without changes: the heartbeat is all that reaches the file."""
    accounts = accounts_of(10_000)
    settings = Settings(calls_per_minute=PLENTY, workers=1, in_flight_per_worker=PLENTY)
    lab = Lab(accounts, robots_of(100_000, accounts), settings, unlimited(), spread_ms=30_000)
    store = filled(lab, tmp_path, 40_000)
    spent_s, rows, sizes = list[float](), list[int](), list[int]()

    def second() -> None:
        lab.step(lab.now_ms + 1_000)
        lab.core.housekeep(lab.now_ms, 1_000)
        begun_s = process_time()
        batch = lab.core.take_batch()
        store.commit(batch, lab.now_ms)
        spent_s.append(process_time() - begun_s)
        rows.append(len(batch.robots) + len(batch.ages))
        sizes.append(sum(file.stat().st_size for file in tmp_path.iterdir()))

    benchmark.pedantic(second, rounds=960, iterations=1)
    add, fleet = figures.add, "100,000 quiet robots"
    add("store", f"{fleet}: rows written a second (the heartbeat)", statistics.median(rows), "rows/s")
    add("store", f"{fleet}: share of a core that writing takes", statistics.median(spent_s), "core", 0.25)
    early, late = max(sizes[:480]), max(sizes[480:])
    add("store", f"{fleet}: file and log at their largest", late / 2**20, "MiB")
    add("store", f"{fleet}: the same, minutes 8 to 16 / minutes 0 to 8", late / early, "x", 1.2)
    store.close()


def bench_ten_thousand_quiet_syncs_a_second(benchmark: Any, figures: Figures, tmp_path: Path) -> None:
    """Every account read each second, for as long as a heartbeat takes to come round: what the store takes of that.

    Everything between the core and the disk is counted: marking rows, building them, and the commits of a second.
    """
    accounts = accounts_of(10_000)
    settings = Settings(calls_per_minute=PLENTY, workers=1, in_flight_per_worker=PLENTY, holding_ms=1_000,
                        working_ms=1_000, flat_ms=1_000)
    lab = Lab(accounts, robots_of(100_000, accounts), settings, unlimited(), spread_ms=1_000)
    store = filled(lab, tmp_path, 6_000)
    spent_us, syncs = list[float](), list[int]()

    def written(work: Callable[[], None]) -> None:
        begun_ns = process_time_ns()
        work()
        spent_us[-1] += (process_time_ns() - begun_ns) / 1e3

    def second() -> None:
        before = lab.dispatched
        spent_us.append(0.0)
        for tenth in range(10):
            lab.step(lab.now_ms + 100)
            if tenth == 0:
                written(lambda: lab.core.housekeep(lab.now_ms, 1_000))
            if tenth % 5 == 4:  # as often as the writer does when nobody waits
                written(lambda: store.commit(lab.core.take_batch(1_000), lab.now_ms))
        syncs.append(lab.dispatched - before)

    benchmark.pedantic(second, rounds=settings.heartbeat_ms // 1_000, iterations=1)
    name = "10,000 accounts read each second, nothing new"
    figures.add("store", f"{name}: syncs a second", statistics.median(syncs), "/s")
    figures.add("store", f"{name}: CPU of the parent for the store, a sync", sum(spent_us) / sum(syncs), "us", 5)
    store.close()


def bench_opening_a_million(benchmark: Any, figures: Figures, tmp_path: Path) -> None:
    """A file with a million robots, as it is opened at a start."""
    path = str(tmp_path / "million.duckdb")
    accounts = accounts_of(1)
    lab = Lab(accounts, robots_of(1_000, accounts), Settings(), unlimited())
    store, row = DuckDBStore(path), lab.core.take_batch().robots["robot-0000000"]
    assert row is not None
    for first in range(0, 1_000_000, 50_000):
        ids = [f"robot-{number:07}" for number in range(first, first + 50_000)]
        store.commit(Batch(robots={robot: {**row, "id": robot} for robot in ids}), START_MS)
    store.close()

    def open_it() -> None:
        opened = DuckDBStore(path)
        assert len(opened.load().robots) == 1_000_000
        opened.close()

    benchmark.pedantic(open_it, rounds=1, iterations=1)
    figures.add("store", "opening a file with 1,000,000 robots and loading them", benchmark.stats.stats.max, "s", 10)
