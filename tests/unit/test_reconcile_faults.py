"""`reconcile` against 10,000 seeded schedules of faults: no false close, no lost fill, no repeated change."""

import os
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from tests.unit import reconcile_world
from tests.unit.reconcile_world import RETENTION_MS, Reader, Truth

from fleetsync import reconcile, unchanged
from fleetsync.book import Book, Finding, Reconciled, Sight
from fleetsync.model import Order, Position

_SCHEDULES = int(os.environ.get("FLEETSYNC_SCHEDULES", "10000"))
_PARTS = 10


class _Judge:
    """Replays what was found and holds it against the truth."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._judged = 0
        self.held: dict[str, Position] = {}
        self.resting: dict[str, Order] = {}
        self.ended: dict[str, Order] = {}

    def judge(self) -> None:
        """What was found since the last call."""
        for finding in self._reader.findings[self._judged:]:
            if finding.kind.startswith("position"):
                self._position(finding)
            else:
                self._order(finding)
        self._judged = len(self._reader.findings)
        book = self._reader.book
        assert {p.side: _terms(p) for p in book.positions} == {s: _terms(p) for s, p in self.held.items()}
        assert {o.id: _terms(o) for o in book.orders} == {i: _terms(o) for i, o in self.resting.items()}

    def _position(self, finding: Finding) -> None:
        before, after = finding.before, finding.after
        if isinstance(before, Position):
            assert _terms(self.held.pop(before.side)) == _terms(before), finding
        if isinstance(after, Position):
            assert after.side not in self.held, f"opened twice: {finding}"
            self.held[after.side] = after
        assert before is None or after is None or _terms(before) != _terms(after), f"no change: {finding}"
        if finding.kind == "position_closed" and isinstance(before, Position):
            truth, moved_ms = self._reader.truth, before.updated_at_ms
            assert not truth.held_throughout(before.side, moved_ms, finding.seen_at_ms), f"false close: {finding}"

    def _order(self, finding: Finding) -> None:
        before, after = finding.before, finding.after
        assert isinstance(after, Order)
        if isinstance(before, Order):
            assert _terms(self.resting.pop(before.id)) == _terms(before), finding
        assert after.id not in self.resting, f"opened twice: {finding}"
        truth = self._reader.truth.orders[after.id]
        if finding.kind == "order_ended":
            assert after.id not in self.ended, f"ended twice: {finding}"
            assert truth.status != "open", f"false end: {finding}"
            assert after.status in {truth.status, "unknown"}, finding
            assert after.filled == truth.filled, f"lost fill: {finding}"
            self.ended[after.id] = after
        else:
            assert after.id not in self.ended, f"came back: {finding}"
            assert int(after.filled) <= int(truth.filled), finding
            self.resting[after.id] = after


def _terms(row: Position | Order) -> tuple[object, ...]:
    if isinstance(row, Position):
        return row.side, row.size, row.entry_price
    return row.id, row.filled, row.size, row.price, row.conditional


def _run(seed: int) -> None:
    rng = Random(seed)
    truth = Truth(rng, hedged=rng.random() < 0.4)
    reader = Reader(truth, rng)
    judge = _Judge(reader)
    for _ in range(rng.randint(8, 30)):
        if rng.random() < 0.5:
            truth.step()
        reader.poll()
        reader.receive()
        judge.judge()
        truth.now_ms += RETENTION_MS + 20_000 if rng.random() < 0.01 else rng.randint(20, 2_500)
        if rng.random() < 0.3:
            truth.step()
    reader.faulty = False
    for _ in range(22):
        truth.now_ms += 1_000
        reader.poll()
        reader.receive()
        judge.judge()
    shown = {order.id: order for order in truth.orders.values() if order.status == "open"}
    assert {p.side: p for p in reader.book.positions} == truth.held, "the book is not the truth"
    assert {o.id: o for o in reader.book.orders} == shown, "the orders are not the truth"
    assert not reader.book.doubts


@pytest.mark.parametrize("part", range(_PARTS))
def test_no_schedule_of_faults_makes_a_false_close_or_loses_a_fill_or_repeats_a_change(part: int) -> None:
    """Replaying the findings gives the book at every step, and the book is the truth once the faults stop."""
    for seed in range(part, _SCHEDULES, _PARTS):
        try:
            _run(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_the_short_way_through_a_reading_without_news_leads_where_the_long_way_does(
        monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bool] = []

    def both(book: Book, sights: Sequence[Sight], *more: Any) -> Reconciled:
        monkeypatch.setattr(reconcile, "as_known", unchanged.as_known)
        short = reconcile.reconcile(book, sights, *more)
        monkeypatch.setattr(reconcile, "as_known", lambda *_: None)
        assert reconcile.reconcile(book, sights, *more) == short
        taken.append(unchanged.as_known(book, sights) is not None)
        return short

    monkeypatch.setattr(reconcile_world, "reconcile", both)
    for seed in range(300):
        _run(seed)
    assert sum(taken) > len(taken) // 5
