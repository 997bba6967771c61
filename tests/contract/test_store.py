"""One suite of sentences for every store: what `ports.Store` promises."""

import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import orjson
import pytest

from fleetsync.errors import StoreFailed, StoreRefused
from fleetsync.model import Change, Order, Phase, Position
from fleetsync.ports import Batch, Loaded, Store
from fleetsync_adapters.duckdb_store import DuckDBStore
from fleetsync_adapters.memory_store import MemoryStore

AT_MS = 1_790_000_000_000
SYMBOL = "BTC/USDT:USDT"


class Rig(Protocol):
    """A store under test, and how it is closed and found again."""

    @property
    def store(self) -> Store: ...

    def reopen(self) -> Store: ...

    def fail_next(self, *, applied: bool) -> None: ...

    def syncs(self) -> int: ...


class DuckRig:
    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.store: DuckDBStore = DuckDBStore(self.path)

    def reopen(self) -> Store:
        self.store.close()
        self.store = DuckDBStore(self.path)
        return self.store

    def fail_next(self, *, applied: bool) -> None:
        """Break the real connection inside the next commit: before its COMMIT, or right after it."""
        writer = self.store._ready_writer()
        whole = writer.commit

        def broken(write: Any) -> None:
            connection = writer._connection
            if applied:
                whole(write)
            else:
                connection.execute("BEGIN")
                connection.execute("INSERT INTO freezes VALUES ('torn', 1)")
            connection.execute("SELECT error('the disk went away')")

        writer.commit = broken  # type: ignore[method-assign] # the fault goes where a disk's would

    def syncs(self) -> int:
        with self.store._reader("counting") as cursor:
            return int(cursor.execute("SELECT count(*) FROM syncs").fetchall()[0][0])


class MemoryRig:
    def __init__(self) -> None:
        self.store: MemoryStore = MemoryStore()

    def reopen(self) -> Store:
        self.store = self.store.reopened()
        return self.store

    def fail_next(self, *, applied: bool) -> None:
        self.store.fail_next(applied=applied)

    def syncs(self) -> int:
        return len(self.store.syncs)


@pytest.fixture(params=["duckdb", "memory"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    rig: DuckRig | MemoryRig = DuckRig(tmp_path / "fleet.duckdb") if request.param == "duckdb" else MemoryRig()
    yield rig
    rig.store.close()


def position(size: str = "1.5", symbol: str = SYMBOL, side: str = "long") -> Position:
    return Position(symbol=symbol, side=side, size=size, entry_price="64000.25", updated_at_ms=AT_MS - 5)


def order(order_id: str = "77", filled: str = "0") -> Order:
    return Order(id=order_id, client_id="grid-1", symbol=SYMBOL, side="buy", type="limit", price="63000.1",
                 size="0.000000000000000001", filled=filled, status="open", reduce_only=False, conditional=True,
                 created_at_ms=AT_MS - 9, updated_at_ms=AT_MS - 3)


def change(number: int, *robots: str, after: dict[str, Any] | None = None) -> Change:
    return Change(number=number, account="main", symbol=SYMBOL, robots=robots or ("r1",), kind="position_opened",
                  key="position:long", cause="event", before=None, after=after,
                  evidence={"surfaces": ["positions"], "orders": ["77"], "trades": [], "reads": 2},
                  exchange_at_ms=AT_MS - 5, seen_at_ms=AT_MS - 1)


def full_batch() -> Batch:
    return Batch(
        robots={"r1": {"id": "r1", "account": "main", "symbol": SYMBOL, "phase": Phase.HOLDING, "priority": 2.0,
                       "enabled": False, "order_prefix": "grid-", "holding_ms": 1_000, "working_ms": None,
                       "flat_ms": 60_000, "positions_as_of_ms": AT_MS, "orders_as_of_ms": AT_MS - 1,
                       "conditional_as_of_ms": 0, "last_sync_at_ms": AT_MS, "last_event_at_ms": AT_MS - 40,
                       "stopped": "", "certainty": "agreed"}},
        accounts={"main": {"id": "main", "exchange": "binanceusdm", "egress": "eu", "stopped": "wrong key",
                           "last_fault": "auth"}},
        positions={("main", SYMBOL, "long"): position()},
        orders={("main", "77"): order()},
        changes=[change(1, after={"size": "1.5"}), change(2, "r1", "r2")],
        events={9: {"robot": "r1", "kind": "opened", "order_id": None}},
        freezes={"binanceusdm:eu:weight": AT_MS + 120_000},
        syncs=[{"at_ms": AT_MS, "account": "main", "exchange": "binanceusdm", "calls": 2, "weight": 6,
                "due_at_ms": AT_MS - 9, "started_at_ms": AT_MS - 8, "done_at_ms": AT_MS - 1, "robots": 1,
                "changed": True, "fault": ""}],
    )  # fmt: skip


def expected() -> Loaded:
    batch = full_batch()
    return Loaded(
        robots={key: row for key, row in batch.robots.items() if row is not None},
        accounts={key: row for key, row in batch.accounts.items() if row is not None},
        positions={("main", SYMBOL, "long"): position()}, orders={("main", "77"): order()},
        events={9: {"robot": "r1", "kind": "opened", "order_id": None}},
        freezes={"binanceusdm:eu:weight": AT_MS + 120_000}, last_change=2,
    )  # fmt: skip


def test_a_new_store_holds_nothing(rig: Rig) -> None:
    assert rig.store.load() == Loaded()
    assert rig.store.changes(0, 10) == []


def test_every_column_of_a_batch_is_found_again_after_a_restart(rig: Rig) -> None:
    rig.store.commit(full_batch(), AT_MS)
    assert rig.store.load() == expected()
    assert rig.reopen().load() == expected()
    assert rig.store.changes(0, 10) == full_batch().changes
    assert rig.syncs() == 1


def test_a_later_row_replaces_the_earlier_one_whole_and_none_deletes(rig: Rig) -> None:
    rig.store.commit(full_batch(), AT_MS)
    rig.store.commit(Batch(
        robots={"r1": {"account": "main", "symbol": SYMBOL}}, positions={("main", SYMBOL, "long"): None},
        orders={("main", "77"): order(filled="0.5")}, events={9: None}, accounts={"main": None},
        freezes={"binanceusdm:eu:weight": None},
    ), AT_MS + 1)  # fmt: skip
    after = rig.reopen().load()
    assert after.robots["r1"]["phase"] == Phase.UNKNOWN
    assert after.robots["r1"]["holding_ms"] is None
    assert (after.positions, after.events, after.accounts, after.freezes) == ({}, {}, {}, {})
    assert after.orders == {("main", "77"): order(filled="0.5")}


def test_deleting_what_is_not_there_is_no_error(rig: Rig) -> None:
    rig.store.commit(Batch(robots={"r9": None}, orders={("main", "1"): None}, events={4: None}), AT_MS)
    assert rig.store.load() == Loaded()


def test_deleting_a_robot_leaves_its_neighbours(rig: Rig) -> None:
    rig.store.commit(Batch(robots={name: {"account": "main", "symbol": SYMBOL} for name in "abc"},
                           orders={("main", name): order(name) for name in "abc"}), AT_MS)
    rig.store.commit(Batch(robots={"b": None, "d": {"account": "main", "symbol": SYMBOL}},
                           orders={("main", "a"): None, ("other", "b"): None}), AT_MS)
    after = rig.reopen().load()
    assert sorted(after.robots) == ["a", "c", "d"]
    assert sorted(after.orders) == [("main", "b"), ("main", "c")]


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


@pytest.mark.parametrize("numbers", [[2], [0], [1, 3], [2, 1], [1, 1]])
def test_change_numbers_with_a_gap_are_refused(rig: Rig, numbers: list[int]) -> None:
    with pytest.raises(AssertionError):
        rig.store.commit(Batch(changes=[change(n) for n in numbers], events={1: {}}), AT_MS)
    assert rig.reopen().load() == Loaded()


def test_committing_a_batch_again_changes_nothing(rig: Rig) -> None:
    rig.store.commit(full_batch(), AT_MS)
    before = rig.store.changes(0, 10)
    again = full_batch()
    again.syncs = []  # records without a key are for a failed commit only, see below
    rig.store.commit(again, AT_MS + 9)
    assert rig.reopen().load() == expected()
    assert rig.store.changes(0, 10) == before


def test_a_replayed_batch_with_later_changes_adds_only_those(rig: Rig) -> None:
    rig.store.commit(Batch(changes=[change(1), change(2)]), AT_MS)
    rig.store.commit(Batch(changes=[change(2), change(3)]), AT_MS)
    assert [c.number for c in rig.store.changes(0, 10)] == [1, 2, 3]


def test_a_number_that_comes_again_with_another_content_is_refused(rig: Rig) -> None:
    rig.store.commit(Batch(changes=[change(1)]), AT_MS)
    with pytest.raises(AssertionError):
        rig.store.commit(Batch(changes=[change(1, "somebody else")]), AT_MS)
    assert rig.store.changes(0, 10) == [change(1)]


def test_a_commit_that_failed_left_nothing_and_goes_through_when_tried_again(rig: Rig) -> None:
    rig.fail_next(applied=False)
    with pytest.raises(StoreFailed):
        rig.store.commit(full_batch(), AT_MS)
    assert rig.store.load() == Loaded()
    rig.store.commit(full_batch(), AT_MS)
    assert rig.reopen().load() == expected()
    assert rig.syncs() == 1


def test_a_commit_reported_as_failed_that_went_through_is_not_repeated(rig: Rig) -> None:
    rig.fail_next(applied=True)
    with pytest.raises(StoreFailed):
        rig.store.commit(full_batch(), AT_MS)
    again = full_batch()
    again.changes.append(change(3))
    again.syncs.append({"at_ms": AT_MS + 1, "account": "main"})
    rig.store.commit(again, AT_MS + 1)
    assert [c.number for c in rig.store.changes(0, 10)] == [1, 2, 3]
    assert rig.syncs() == 2
    assert rig.reopen().load().last_change == 3


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
    rig.store.commit(Batch(orders={("main", bad.id): bad}, changes=[change(1, "r\ud800", after=event)],
                           events={1: event}), AT_MS)
    rig.store.commit(Batch(orders={("main", bad.id): bad}), AT_MS)
    assert [key[1][:2] for key in rig.reopen().load().orders] == ["77"]
    assert rig.store.load().last_change == 1


def test_exact_decimals_and_every_kind_of_text_survive(rig: Rig) -> None:
    sizes = ["0.000000000000000000000001", "123456789012345678901234567890.123456789", "-0.1", ""]
    texts = ["'; DROP TABLE orders; --", "naïve 漢字 🤖", "a\0b", '"quoted"', "line\nbreak"]
    orders = {("main", text): order(text, filled=size) for text in texts for size in sizes}
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


def replay(changes: list[Change]) -> tuple[dict[tuple[str, str, str], Position], dict[tuple[str, str], Order]]:
    positions: dict[tuple[str, str, str], Position] = {}
    orders: dict[tuple[str, str], Order] = {}
    for c in changes:
        kind, _, name = c.key.partition(":")
        if kind == "position":
            spot = (c.account, c.symbol, name)
            positions.pop(spot, None)
            if c.after is not None:
                positions[spot] = Position(**c.after)
        else:
            orders.pop((c.account, name), None)
            if c.after is not None:
                orders[c.account, name] = Order(**c.after)
    return positions, orders


def random_batch(rng: random.Random, first: int, plain: Callable[[Any], dict[str, Any]]) -> Batch:
    """A consistent batch: each row that moves has its change, in order; the last one of a key is the row."""
    batch = Batch()
    for number in range(first, first + rng.randrange(1, 9)):
        account = rng.choice("ab")
        if rng.random() < 0.5:
            side = rng.choice(["long", "short"])
            held = position(str(rng.randrange(1, 10**9)), side=side) if rng.random() < 0.7 else None
            batch.positions[account, SYMBOL, side] = held
            key, after = f"position:{side}", None if held is None else plain(held)
        else:
            order_id = str(rng.randrange(6))
            rests = order(order_id, str(rng.randrange(100))) if rng.random() < 0.7 else None
            batch.orders[account, order_id] = rests
            key, after = f"order:{order_id}", None if rests is None else plain(rests)
        batch.changes.append(Change(number=number, account=account, symbol=SYMBOL, robots=("r",), kind="k", key=key,
                                    cause="event", before=None, after=after, evidence={}, exchange_at_ms=0,
                                    seen_at_ms=AT_MS))
    return batch


@pytest.mark.parametrize("seed", range(12))
def test_whatever_fails_the_state_is_the_replay_of_the_changes(rig: Rig, seed: int) -> None:
    rng = random.Random(seed)
    store = rig.store
    for _ in range(40):
        batch = random_batch(rng, store.load().last_change + 1, lambda row: orjson.loads(orjson.dumps(row)))
        while True:
            if rng.random() < 0.3:
                rig.fail_next(applied=rng.random() < 0.5)
            try:
                store.commit(batch, AT_MS)
                break
            except StoreFailed:
                if rng.random() < 0.3:  # a crash right then: the batch is forgotten, or was committed
                    store = rig.reopen()
                    break
        if rng.random() < 0.1:
            store = rig.reopen()
        changes = store.changes(0, 10_000)
        loaded = store.load()
        assert [c.number for c in changes] == list(range(1, loaded.last_change + 1))
        assert (loaded.positions, loaded.orders) == replay(changes)
