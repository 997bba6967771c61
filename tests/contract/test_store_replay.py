"""Numbers, failed commits, and the promise that the state is the replay of the changes; for every store."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
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

from fleetsync.errors import StoreFailed
from fleetsync.model import Change, Order, Position
from fleetsync.ports import Batch, Loaded


@pytest.fixture(params=STORES)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with opened(request.param, tmp_path) as rig:
        yield rig


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


def replay(changes: list[Change]) -> tuple[dict[tuple[str, str, str], Position], dict[tuple[str, str, str], Order]]:
    positions: dict[tuple[str, str, str], Position] = {}
    orders: dict[tuple[str, str, str], Order] = {}
    for c in changes:
        kind, _, name = c.key.partition(":")
        if kind == "position":
            spot = (c.account, c.symbol, name)
            positions.pop(spot, None)
            if c.after is not None:
                positions[spot] = Position(**c.after)
        else:
            orders.pop((c.account, c.symbol, name), None)
            if c.after is not None:
                orders[c.account, c.symbol, name] = Order(**c.after)
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
            batch.orders[account, SYMBOL, order_id] = rests
            key, after = f"order:{order_id}", None if rests is None else plain(rests)
        batch.changes.append(Change(number=number, account=account, symbol=SYMBOL, robots=("r",), kind="k", key=key,
                                    cause="event", before=None, after=after, evidence={}, exchange_at_ms=0,
                                    seen_at_ms=AT_MS))
    return batch


@pytest.mark.parametrize("seed", range(8))
def test_whatever_fails_the_state_is_the_replay_of_the_changes(rig: Rig, seed: int) -> None:
    rng = random.Random(seed)
    store = rig.store
    for _ in range(40):
        batch = random_batch(rng, store.load().last_change + 1, lambda row: orjson.loads(orjson.dumps(row._asdict())))
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
