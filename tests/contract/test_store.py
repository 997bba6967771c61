"""One suite of sentences for every store: what `ports.Store` promises."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.store_rigs import (
    AT_MS,
    STORES,
    SYMBOL,
    Rig,
    change,
    expected,
    full_batch,
    opened,
    order,
    position,
)

from fleetsync.errors import StoreFailed, StoreRefused
from fleetsync.model import Phase
from fleetsync.ports import Batch, Loaded
from fleetsync_adapters.duckdb_store import DuckDBStore


@pytest.fixture(params=STORES)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with opened(request.param, tmp_path) as rig:
        yield rig


def test_a_new_store_holds_nothing(rig: Rig) -> None:
    assert rig.store.load() == Loaded()
    assert rig.store.changes(0, 10) == []


def test_every_column_of_a_batch_is_found_again_after_a_restart(rig: Rig) -> None:
    rig.store.commit(full_batch(), AT_MS)
    assert rig.store.load() == expected()
    assert rig.reopen().load() == expected()
    assert rig.store.changes(0, 10) == full_batch().changes
    assert rig.syncs() == 1
    assert rig.asked() == full_batch().asked


def test_what_was_asked_is_there_once_however_often_it_is_committed(rig: Rig) -> None:
    rig.store.commit(full_batch(), AT_MS)
    rig.fail_next(applied=True)
    with pytest.raises(StoreFailed):
        rig.store.commit(Batch(asked=full_batch().asked), AT_MS)
    rig.store.commit(Batch(asked=full_batch().asked), AT_MS)
    assert rig.asked() == full_batch().asked


def test_the_highest_number_of_an_event_outlives_the_events(rig: Rig) -> None:
    event = {"id": 5, "robot": "r1", "kind": "manual", "at_ms": 1}
    rig.store.commit(Batch(events={5: event}), 1)
    rig.store.commit(Batch(events={4: event | {"id": 4}, 5: None}), 2)
    assert (sorted(rig.reopen().load().events), rig.store.load().last_event) == ([4], 5)
    rig.store.commit(Batch(events={4: None, 7: None}), 3)  # accepted and served between two commits
    loaded = rig.reopen().load()
    assert (loaded.events, loaded.last_event) == ({}, 7)


def test_a_later_row_replaces_the_earlier_one_whole_and_none_deletes(rig: Rig) -> None:
    rig.store.commit(full_batch(), AT_MS)
    rig.store.commit(Batch(
        robots={"r1": {"account": "main", "symbol": SYMBOL}}, positions={("main", SYMBOL, "long"): None},
        orders={("main", SYMBOL, "77"): order(filled="0.5")}, events={9: None}, accounts={"main": None},
        freezes={"binanceusdm:eu:weight": None},
    ), AT_MS + 1)  # fmt: skip
    after = rig.reopen().load()
    assert after.robots["r1"]["phase"] == Phase.UNKNOWN
    assert after.robots["r1"]["holding_ms"] is None
    assert (after.positions, after.events, after.accounts, after.freezes) == ({}, {}, {}, {})
    assert after.orders == {("main", SYMBOL, "77"): order(filled="0.5")}


def test_a_heartbeat_replaces_the_instants_of_robots_and_nothing_else_of_their_rows(rig: Rig) -> None:
    robots: dict[str, dict[str, Any] | None] = {
        name: {"account": "main", "symbol": SYMBOL, "phase": 1, "flat_ms": 7, "certainty": "agreed"} for name in "abc"}
    rig.store.commit(Batch(robots=robots), AT_MS)
    rig.store.commit(Batch(ages={"a": (1, 2, 3, 4, 5), "c": (6, 7, 8, 9, 10)}), AT_MS)
    rig.store.commit(Batch(ages={"a": (11, 12, 13, 14, 15)}), AT_MS)
    before, after = Loaded(robots={}), rig.reopen().load().robots
    before.robots = {name: {**after["b"], "id": name} for name in "abc"}
    names = ("positions_as_of_ms", "orders_as_of_ms", "conditional_as_of_ms", "last_sync_at_ms", "last_event_at_ms")
    assert after["a"] == {**before.robots["a"], **dict(zip(names, (11, 12, 13, 14, 15), strict=True))}
    assert after["c"] == {**before.robots["c"], **dict(zip(names, (6, 7, 8, 9, 10), strict=True))}
    assert [after["b"][name] for name in ("phase", "flat_ms", *names)] == [1, 7, 0, 0, 0, 0, 0]


def test_a_heartbeat_of_a_robot_without_a_row_or_with_one_in_the_same_batch_is_ignored(rig: Rig) -> None:
    row = {"account": "main", "symbol": SYMBOL, "last_sync_at_ms": 9}
    rig.store.commit(Batch(robots={"gone": row, "new": row}), AT_MS)
    age = (1, 1, 1, 1, 1)
    rig.store.commit(Batch(robots={"gone": None, "new": row}, ages={"gone": age, "new": age, "never": age}), AT_MS)
    after = rig.reopen().load().robots
    assert [*after] == ["new"]
    assert after["new"]["last_sync_at_ms"] == 9


def test_orders_of_one_number_on_two_symbols_are_two(rig: Rig) -> None:
    namesake = order()._replace(symbol="ETH/USDT:USDT")
    both = {("main", SYMBOL, "77"): order(), ("main", "ETH/USDT:USDT", "77"): namesake}
    rig.store.commit(Batch(orders=dict(both)), AT_MS)
    assert rig.reopen().load().orders == both
    rig.store.commit(Batch(orders={("main", SYMBOL, "77"): None}), AT_MS)
    assert rig.reopen().load().orders == {("main", "ETH/USDT:USDT", "77"): namesake}


def test_deleting_what_is_not_there_is_no_error(rig: Rig) -> None:
    rig.store.commit(Batch(robots={"r9": None}, orders={("main", SYMBOL, "1"): None}, events={4: None}), AT_MS)
    assert rig.store.load() == Loaded(last_event=4)


def test_deleting_a_robot_leaves_its_neighbours(rig: Rig) -> None:
    rig.store.commit(Batch(robots={name: {"account": "main", "symbol": SYMBOL} for name in "abc"},
                           orders={("main", SYMBOL, name): order(name) for name in "abc"}), AT_MS)
    rig.store.commit(Batch(robots={"b": None, "d": {"account": "main", "symbol": SYMBOL}},
                           orders={("main", SYMBOL, "a"): None, ("other", SYMBOL, "b"): None}), AT_MS)
    after = rig.reopen().load()
    assert sorted(after.robots) == ["a", "c", "d"]
    assert sorted(after.orders) == [("main", SYMBOL, "b"), ("main", SYMBOL, "c")]


@pytest.mark.parametrize("robots", [
    {"r1": {"account": "main", "symbol": SYMBOL, "api_secret": "s"}},
    {"r1": {"account": "main"}},
    {"r1": {"account": "main", "symbol": SYMBOL, "phase": "holding"}},
    {"r1": {"id": "r2", "account": "main", "symbol": SYMBOL}},
])  # fmt: skip
def test_a_row_with_a_wrong_column_is_a_programming_error_and_nothing_of_its_batch_is_kept(
    rig: Rig, robots: dict[str, dict[str, Any] | None]
) -> None:
    batch = full_batch()
    batch.robots = robots
    with pytest.raises(AssertionError):
        rig.store.commit(batch, AT_MS)
    assert rig.reopen().load() == Loaded()


def test_a_position_under_the_key_of_another_is_a_programming_error(rig: Rig) -> None:
    with pytest.raises(AssertionError):
        rig.store.commit(Batch(positions={("main", SYMBOL, "short"): position()}), AT_MS)
    assert rig.store.load() == Loaded()


def test_changes_come_in_pages_without_gap_or_repeat(rig: Rig) -> None:
    for first in range(1, 100, 11):
        rig.store.commit(Batch(changes=[change(n) for n in range(first, first + 11)]), AT_MS)
    seen: list[int] = []
    while page := rig.store.changes(seen[-1] if seen else 0, 7):
        seen.extend(c.number for c in page)
    assert seen == list(range(1, 100))
    assert rig.store.changes(99, 10) == []
    assert rig.store.changes(1_000, 10) == []


def test_changes_of_one_robot_are_those_that_name_it(rig: Rig) -> None:
    rig.store.commit(Batch(changes=[change(1, "a"), change(2, "b"), change(3, "a", "b"), change(4, "ab")]), AT_MS)
    assert [c.number for c in rig.store.changes(0, 10, "a")] == [1, 3]
    assert [c.number for c in rig.store.changes(1, 1, "b")] == [2]
    assert rig.store.changes(0, 10, "nobody") == []


def test_texts_that_are_no_valid_utf8_are_kept_without_an_error(rig: Rig) -> None:
    bad = order("77\ud800")
    event = {"note": "\udfff"}
    rig.store.commit(Batch(orders={("main", SYMBOL, bad.id): bad}, changes=[change(1, "r\ud800", after=event)],
                           events={1: event}), AT_MS)
    other = order("77\udfff")  # as one key the two would be refused, and the batch with them
    rig.store.commit(Batch(orders={("main", SYMBOL, row.id): row for row in (bad, other)}), AT_MS)
    assert [key[2][:2] for key in rig.reopen().load().orders] == ["77", "77"]
    assert rig.store.load().last_change == 1


def test_exact_decimals_and_every_kind_of_text_survive(rig: Rig) -> None:
    sizes = ["0.000000000000000000000001", "123456789012345678901234567890.123456789", "-0.1", ""]
    texts = ["'; DROP TABLE orders; --", "naïve 漢字 🤖", "a\0b", '"quoted"', "line\nbreak"]
    orders = {("main", SYMBOL, text): order(text, filled=size) for text in texts for size in sizes}
    rig.store.commit(Batch(orders=dict(orders)), AT_MS)
    assert rig.reopen().load().orders == orders


def test_a_reader_in_another_thread_sees_whole_batches_only(rig: Rig) -> None:
    torn: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            count = len(rig.store.changes(0, 10_000))
            if count % 5:
                torn.append(count)

    thread = threading.Thread(target=read)
    thread.start()
    for first in range(1, 300, 5):
        rig.store.commit(Batch(changes=[change(n) for n in range(first, first + 5)]), AT_MS)
    done.set()
    thread.join()
    assert torn == []
    assert len(rig.store.changes(0, 10_000)) == 300


def test_a_snapshot_is_a_store_of_its_own_with_the_same_content(rig: Rig, tmp_path: Path) -> None:
    rig.store.commit(full_batch(), AT_MS)
    target = tmp_path / "it's a snapshot.duckdb"
    rig.store.snapshot(str(target))
    rig.store.commit(Batch(changes=[change(3)]), AT_MS)  # the copy does not follow
    copy = DuckDBStore(str(target), readonly=True)
    assert copy.load() == expected()
    assert copy.changes(0, 10) == full_batch().changes
    copy.close()
    assert target.stat().st_mode & 0o777 == 0o600
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".fleetsync")]


def test_a_snapshot_replaces_no_file(rig: Rig, tmp_path: Path) -> None:
    target = tmp_path / "mine.txt"
    target.write_text("mine")
    with pytest.raises(StoreRefused, match="exists already"):
        rig.store.snapshot(str(target))
    assert target.read_text() == "mine"


def test_loaded_rows_are_the_readers_own(rig: Rig) -> None:
    rig.store.commit(full_batch(), AT_MS)
    loaded = rig.store.load()
    loaded.robots["r1"]["stopped"] = "scribbled"
    loaded.events[9]["kind"] = "scribbled"
    loaded.positions.clear()
    assert rig.store.load() == expected()
