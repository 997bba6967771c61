"""The memory of the store with a file: what was read of it goes again, and what must be written finds room."""

from pathlib import Path
from typing import Any

import pytest
from tests.contract.test_store_file import AT_MS, change, query

from fleetsync.ports import Batch
from fleetsync.units import MINUTE_MS
from fleetsync_adapters.duckdb_store import DuckDBStore, opening

MIB = 2**20
PAGE = 500
CHANGES = 12_000  # of 4,000 bytes that compress to half


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(opening, "CACHE_MAX", "16MiB")
    store = DuckDBStore(str(tmp_path / "x.duckdb"))
    yield store
    store.close()


def write(store: DuckDBStore, *, apart_ms: int) -> None:
    for page, first in enumerate(range(1, CHANGES + 1, PAGE)):
        changes = [change(number, 4_000) for number in range(first, first + PAGE)]
        store.commit(Batch(changes=changes), AT_MS + page * apart_ms)


def held(store: DuckDBStore) -> int:
    return int(query(store, "SELECT sum(memory_usage_bytes) FROM duckdb_memory()")[0][0])


def limit(store: DuckDBStore) -> Any:
    return query(store, "SELECT current_setting('memory_limit')")


def test_what_was_read_of_a_large_file_is_let_go_within_a_minute_down_to_what_may_be_kept(store: DuckDBStore) -> None:
    write(store, apart_ms=0)
    query(store, "CHECKPOINT")
    before = limit(store)
    assert sum(len(store.changes(after, PAGE)) for after in range(0, CHANGES, PAGE)) == CHANGES
    store.commit(Batch(freezes={"x": 1}), AT_MS + MINUTE_MS - 1)
    assert held(store) > 20 * MIB
    store.commit(Batch(freezes={"x": 2}), AT_MS + MINUTE_MS)
    assert held(store) <= 17 * MIB  # the commit's own pages came after that
    assert limit(store) == before
    assert len(store.changes(0, PAGE)) == PAGE


def test_rows_that_need_more_memory_than_may_be_kept_are_committed_all_the_same(store: DuckDBStore) -> None:
    """What is in the log takes memory until the log is folded, and while somebody reads it is not folded."""
    before = limit(store)
    with store._reader("a long reading") as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT count(*) FROM changes").fetchall()
        write(store, apart_ms=MINUTE_MS)
        assert held(store) > 20 * MIB
        cursor.execute("ROLLBACK")
    assert (store.last_change, limit(store)) == (CHANGES, before)


def test_what_may_be_kept_is_stated_and_not_a_share_of_the_machines_memory() -> None:
    assert opening.CACHE_MAX == "512MiB"
