"""What only the store with a file promises: privacy, full disks, snapshots beside the writer, room."""

import os
import resource
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.contract.store_rigs import order

from fleetsync.errors import StoreFailed
from fleetsync.model import Change
from fleetsync.ports import Batch
from fleetsync.units import DAY_MS
from fleetsync_adapters import store_rows
from fleetsync_adapters.duckdb_store import DuckDBStore, opening

AT_MS = 1_790_000_000_000
SYMBOL = "BTC/USDT:USDT"

Room = Callable[[], AbstractContextManager[tuple[Path, Callable[[], None]]]]  # a full disk, and how to free it


def change(number: int, size: int = 1) -> Change:
    return Change(number=number, account="main", symbol=SYMBOL, robots=("r1",), kind="k", key="position:long",
                  cause="event", before=None, after={"blob": os.urandom(size // 2).hex()}, evidence={},
                  exchange_at_ms=0, seen_at_ms=AT_MS)


def robots(count: int) -> dict[str, dict[str, Any] | None]:
    return {f"r{n}": {"account": "main", "symbol": SYMBOL, "phase": n % 4} for n in range(count)}


def query(store: DuckDBStore, sql: str) -> list[tuple[Any, ...]]:
    with store._reader("asking") as cursor:
        return cursor.execute(sql).fetchall()


# -- privacy


def test_only_the_owner_can_read_the_file_and_its_log_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = DuckDBStore(str(tmp_path / "x.duckdb"))
        for number in range(1, 4):
            store.commit(Batch(changes=[change(number)]), AT_MS)
            query(store, "CHECKPOINT")  # the log is made anew after it
            store.commit(Batch(robots=robots(number)), AT_MS)
            modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in os.listdir(tmp_path)}
            assert modes == {"x.duckdb": 0o600, "x.duckdb.wal": 0o600}
        store.close()
    finally:
        os.umask(before)


def test_closing_leaves_one_file_and_no_log(tmp_path: Path) -> None:
    store = DuckDBStore(str(tmp_path / "x.duckdb"))
    store.commit(Batch(robots=robots(100)), AT_MS)
    store.close()
    store.close()
    assert os.listdir(tmp_path) == ["x.duckdb"]


def test_long_work_draws_no_progress_bar_on_the_terminal(tmp_path: Path) -> None:
    store = DuckDBStore(str(tmp_path / "x.duckdb"))
    assert query(store, "SELECT current_setting('enable_progress_bar')") == [(False,)]
    store.close()


# -- full disks


@contextmanager
def small_disk(mebibytes: int) -> Iterator[Path]:
    """A disk of that size; skips where this user may not mount one."""
    directory = Path(tempfile.mkdtemp())
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "small", str(directory)], capture_output=True, check=False,
    ).returncode == 0  # fmt: skip
    try:
        if not mounted:
            pytest.skip("needs the right to mount a small disk")
        yield directory
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(directory)], check=True)
        directory.rmdir()


@contextmanager
def disk_that_fills() -> Iterator[tuple[Path, Callable[[], None]]]:
    with small_disk(8) as directory:
        ballast = directory / "ballast"
        ballast.write_bytes(bytes(4 << 20))
        yield directory, ballast.unlink


@contextmanager
def file_size_limit() -> Iterator[tuple[Path, Callable[[], None]]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def lift() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with tempfile.TemporaryDirectory() as directory:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, hard))
        try:
            yield Path(directory), lift
        finally:
            lift()


@pytest.mark.parametrize("room", [disk_that_fills, file_size_limit])
@pytest.mark.parametrize("log_limit", ["64MB", "100KB"])  # the log meets the end of the disk, or a checkpoint does
def test_a_full_disk_fails_commits_keeps_what_was_committed_and_recovers_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch, log_limit: str, room: Room
) -> None:
    monkeypatch.setitem(opening.CONFIG, "wal_autocheckpoint", log_limit)
    with room() as (directory, make_room):
        store = DuckDBStore(str(directory / "x.duckdb"))
        number = 0

        def next_batch() -> Batch:
            return Batch(changes=[change(number + n, 2_000) for n in range(1, 101)], robots=robots(10),
                         syncs=[{"at_ms": AT_MS, "account": "main"}])

        def goes_through(batch: Batch) -> bool:
            try:
                store.commit(batch, AT_MS)
            except StoreFailed:
                return False
            return True

        pending = next_batch()
        while goes_through(pending):
            number += 100
            pending = next_batch()
        assert number > 0
        for _ in range(3):  # still full: it says so each time, and what is there can be read
            assert not goes_through(pending)
        assert [c.number for c in store.changes(0, 10_000)][:number] == list(range(1, number + 1))
        make_room()
        store.commit(pending, AT_MS)
        number += 100
        assert [c.number for c in store.changes(0, 10_000)] == list(range(1, number + 1))
        assert query(store, "SELECT count(*), max(seq) FROM syncs") == [(number // 100, number // 100)]
        store.close()
        store = DuckDBStore(str(directory / "x.duckdb"))
        assert store.load().last_change == number
        store.close()


def test_a_snapshot_that_finds_no_room_leaves_nothing_and_does_not_harm_the_store(tmp_path: Path) -> None:
    store = DuckDBStore(str(tmp_path / "x.duckdb"))
    store.commit(Batch(changes=[change(n, 2_000) for n in range(1, 1_001)]), AT_MS)
    with small_disk(1) as directory:
        with pytest.raises(StoreFailed, match="snapshot"):
            store.snapshot(str(directory / "copy.duckdb"))
        assert os.listdir(directory) == []
    store.commit(Batch(changes=[change(1_001)]), AT_MS)
    store.snapshot(str(tmp_path / "copy.duckdb"))
    store.close()


def test_a_file_that_vanished_is_not_made_anew_in_silence(tmp_path: Path) -> None:
    store = DuckDBStore(str(tmp_path / "x.duckdb"))
    store.commit(Batch(changes=[change(1)]), AT_MS)
    connection = store._connection
    assert connection is not None
    connection.close()  # as after a fatal error of the library
    os.rename(tmp_path / "x.duckdb", tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(StoreFailed):
            store.commit(Batch(changes=[change(2)]), AT_MS)
    os.rename(tmp_path / "elsewhere", tmp_path / "x.duckdb")
    store.commit(Batch(changes=[change(2)]), AT_MS)
    assert [c.number for c in store.changes(0, 9)] == [1, 2]
    store.close()


# -- beside the writer


def test_snapshots_taken_while_batches_are_committed_hold_whole_batches(tmp_path: Path) -> None:
    store = DuckDBStore(str(tmp_path / "x.duckdb"))
    taken = threading.Event()
    failed: list[Exception] = []

    def take() -> None:
        try:
            for n in range(5):
                store.snapshot(str(tmp_path / f"copy{n}.duckdb"))
        except Exception as error:  # noqa: BLE001 - shown by the test below
            failed.append(error)
        finally:
            taken.set()

    thread = threading.Thread(target=take)
    thread.start()
    number = 0
    while not taken.is_set():
        batch = Batch(changes=[change(number + n) for n in range(1, 8)])
        batch.freezes["last"] = number + 7
        store.commit(batch, AT_MS)
        number += 7
    thread.join()
    store.close()
    assert failed == []
    for n in range(5):
        copy = DuckDBStore(str(tmp_path / f"copy{n}.duckdb"), readonly=True)
        held = copy.load()
        assert held.freezes.get("last", 0) == held.last_change
        copy.close()


# -- room


def test_sync_records_are_dropped_by_age_and_by_number_but_never_the_last(tmp_path: Path) -> None:
    store = DuckDBStore(str(tmp_path / "x.duckdb"), syncs_kept_ms=DAY_MS, syncs_kept=100)
    for day in range(5):
        syncs = [{"at_ms": AT_MS + day * DAY_MS, "account": "main"} for _ in range(150)]
        store.commit(Batch(syncs=syncs), AT_MS + day * DAY_MS)
        ((count, oldest),) = query(store, "SELECT count(*), min(at_ms) FROM syncs")
        assert count <= 100
        assert oldest >= AT_MS + (day - 1) * DAY_MS
    store.commit(Batch(), AT_MS + 1_000 * DAY_MS)
    assert query(store, "SELECT count(*), max(seq) FROM syncs") == [(1, 750)]
    store.close()


def test_what_was_asked_goes_with_the_syncs_of_its_time_but_for_the_settings(tmp_path: Path) -> None:
    store = DuckDBStore(str(tmp_path / "x.duckdb"), syncs_kept_ms=DAY_MS, syncs_kept=100)
    for day in range(3):
        at_ms = AT_MS + day * DAY_MS
        batch = Batch(asked={(at_ms + n, "r1", "sync"): {} for n in range(80)})
        batch.asked[at_ms, "", "start"] = {}
        store.commit(batch, at_ms)
        ((count, oldest),) = query(store, "SELECT count(*), min(at_ms) FROM asked WHERE robot <> ''")
        assert 80 <= count <= 101
        assert oldest >= AT_MS + (day - 1) * DAY_MS
    store.commit(Batch(), AT_MS + 1_000 * DAY_MS)
    assert query(store, "SELECT what, count(*) FROM asked GROUP BY what") == [("start", 3)]
    store.close()


def test_a_file_of_the_schema_before_is_read_as_it_is_and_brought_up_to_date_when_it_is_written(tmp_path: Path) -> None:
    path = str(tmp_path / "x.duckdb")
    store = DuckDBStore(path)
    store.commit(Batch(orders={("main", SYMBOL, "77"): order()}), AT_MS)
    store.close()
    with duckdb.connect(path) as old:
        old.execute("DROP TABLE asked")
        old.execute("CREATE TABLE by_id AS SELECT * FROM orders")
        old.execute("DROP TABLE orders")
        old.execute("ALTER TABLE by_id RENAME TO orders")
        old.execute("ALTER TABLE orders ADD PRIMARY KEY (account, id)")
        old.execute("UPDATE meta SET value = '1' WHERE name = 'schema'")
    reader = DuckDBStore(path, readonly=True)
    assert query(reader, "SELECT value FROM meta WHERE name = 'schema'") == [("1",)]
    reader.close()
    store = DuckDBStore(path)
    store.commit(Batch(asked={(AT_MS, "", "start"): {}}), AT_MS)
    assert query(store, "SELECT value FROM meta WHERE name = 'schema'") == [("2",)]
    assert query(store, "SELECT count(*) FROM asked") == [(1,)]
    namesake = order()._replace(symbol="ETH/USDT:USDT")
    store.commit(Batch(orders={("main", "ETH/USDT:USDT", "77"): namesake}), AT_MS)
    assert store.load().orders == {("main", one.symbol, "77"): one for one in (order(), namesake)}
    store.close()


def test_every_column_of_the_rows_is_in_the_schema_in_the_same_order(tmp_path: Path) -> None:
    store = DuckDBStore(str(tmp_path / "x.duckdb"))
    found: dict[str, list[str]] = {}
    for table, column in query(store, "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal "
                                      "ORDER BY table_name, column_index"):
        found.setdefault(table, []).append(column)
    store.close()
    assert found["robots"] == list(store_rows.ROBOT)
    assert found["accounts"] == list(store_rows.ACCOUNT)
    assert found["positions"] == list(store_rows.POSITION)
    assert found["orders"] == list(store_rows.ORDER)
    assert found["changes"] == list(store_rows.CHANGE)
    assert found["syncs"] == ["seq", *store_rows.SYNC]
    assert found["asked"] == ["at_ms", "robot", "what", "detail"]
