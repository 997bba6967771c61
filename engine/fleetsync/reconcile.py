"""reconcile(known, snapshot) -> (new knowledge, changes, questions): pure, total, the only place that ends anything.

The rules, each a test in `tests/unit/test_reconcile.py`:
- a failed, partial or malformed surface closes nothing;
- a position that a complete list leaves out is closed by a second reading, begun later, or by its own fills, or by a
  newer row that shows it at zero; where fills are known and contradict, a third reading is needed;
- a row older than what is known changes nothing; a reading sent before the last one proves no absence;
- a one-way position of the other side replaces the known one: that is a flip;
- orders: see `reconcile_orders`.

Findings: position_opened, position_grew, position_shrank, position_flipped, position_updated, position_closed;
order_opened, order_filled, order_updated, order_ended.
"""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from fleetsync.book import Announcement, Book, Doubt, Finding, Question, Reconciled, Rules, Sight
from fleetsync.messages import Call
from fleetsync.model import Fill, Order, Position, Surface
from fleetsync.reconcile_orders import Evidence, OrdersPass, filled_by_own_orders, is_liquidation
from fleetsync.units import ZERO

_READS_ENOUGH = 2  # complete readings without it that close a position
_READS_AGAINST_FILLS = 3  # the same where its fills were read and do not explain it
_EXPLAINS = {  # which announced kinds explain which findings; other kinds of event explain any
    "opened": {"position_opened", "position_grew", "position_flipped", "position_updated"},
    "closed": {"position_closed", "position_shrank", "position_flipped"},
    "suspect": set[str](),
}


def reconcile(book: Book, sights: Sequence[Sight], announced: Sequence[Announcement], rules: Rules,
              now_ms: int) -> Reconciled:
    """Hold what a snapshot shows of one book against what is known of it.

    Args:
        book: what is known.
        sights: what the snapshot showed, in any order.
        announced: events since the last reading; they name causes, they prove nothing.
        rules: spans, and the client-id prefixes of the book's robots.
        now_ms: the instant of the decision.
    """
    evidence = Evidence.of(book.symbol, sights)
    orders = OrdersPass(book, evidence, announced, rules, now_ms)
    orders.run(sights)
    positions = _PositionsPass(book, evidence, announced, rules, now_ms, filled_by_own_orders(orders.findings))
    lists = (sight for sight in sights if sight.surface is Surface.POSITIONS)
    for sight in sorted(lists, key=lambda sight: sight.as_of_ms):
        positions.see(sight)
    positions.resolve()
    hinted = positions.hinted and orders.orders_as_of_ms == book.orders_as_of_ms and not orders.known
    return Reconciled(
        Book(
            book.account,
            book.symbol,
            tuple(positions.known[side] for side in sorted(positions.known)),
            tuple(orders.known[key] for key in sorted(orders.known)),
            (*positions.doubts.values(), *orders.doubts.values()),
            orders.ended_kept(),
            positions.as_of_ms,
            orders.orders_as_of_ms,
            orders.conditional_as_of_ms,
            positions.closed_at_ms,
            hinted,
        ),
        (*orders.findings, *positions.findings),
        _merged((*positions.questions, *orders.questions)),
    )


class _PositionsPass:
    """One pass over one book's positions. Its results are read from its fields when `resolve` is done."""

    def __init__(self, book: Book, evidence: Evidence, announced: Sequence[Announcement], rules: Rules, now_ms: int,
                 filled_orders: list[str]) -> None:
        self.known = {position.side: position for position in book.positions}
        self.doubts = {doubt.key: doubt for doubt in book.doubts if doubt.key.startswith("position:")}
        self.findings: list[Finding] = []
        self.questions: list[Question] = []
        self.as_of_ms = book.positions_as_of_ms
        self.closed_at_ms = book.closed_at_ms
        self.hinted = book.hinted
        self._book, self._evidence, self._announced = book, evidence, announced
        self._rules, self._now_ms, self._filled_orders = rules, now_ms, filled_orders

    def see(self, sight: Sight) -> None:
        """One list of positions."""
        if sight.as_of_ms < self.as_of_ms:
            return
        rows = [row for row in sight.rows if isinstance(row, Position) and row.symbol == self._book.symbol]
        shown: set[str] = set()
        for row in rows:
            if Decimal(row.size) == ZERO:
                self._zero(row, sight)
                continue
            shown.add(row.side)
            self._row(row, sight)
        if not sight.complete:
            return
        for side, position in self.known.items():
            if side not in shown:
                self._doubt(position, sight.as_of_ms)
        self.as_of_ms = sight.as_of_ms
        self.hinted = bool(rows) and not self.known

    def resolve(self) -> None:
        """Close what is proven closed, and ask about the rest."""
        for doubt in list(self.doubts.values()):
            position = self.known.get(doubt.key.removeprefix("position:"))
            if position is None:
                del self.doubts[doubt.key]
            else:
                self._resolve(doubt, position)

    def _row(self, row: Position, sight: Sight) -> None:
        old = self.known.get(row.side)
        others_ms = 0 if row.hedged else max((known.updated_at_ms for known in self.known.values()), default=0)
        newest_ms = max(self.closed_at_ms, others_ms)
        if row.updated_at_ms and row.updated_at_ms < (old.updated_at_ms if old else newest_ms):
            return  # an answer from before what is known
        if old is None and row.updated_at_ms and row.updated_at_ms == self.closed_at_ms:
            return
        other = next((known for known in self.known.values() if known.side != row.side), None)
        self.doubts.pop(f"position:{row.side}", None)
        if old is None and other is not None and not row.hedged:
            self.doubts.pop(f"position:{other.side}", None)
            del self.known[other.side]
            self._find("position_flipped", other, row, sight)
        elif old is None:
            self._find("position_opened", None, row, sight)
        elif row.size != old.size:
            grew = Decimal(row.size) > Decimal(old.size)
            self._find("position_grew" if grew else "position_shrank", old, row, sight)
        elif row.entry_price != old.entry_price:
            self._find("position_updated", old, row, sight)
        self.known[row.side] = row

    def _zero(self, row: Position, sight: Sight) -> None:
        """A row of size zero, newer than the position, is itself the proof that it closed."""
        for side, position in list(self.known.items()):
            if row.updated_at_ms > position.updated_at_ms and (not row.hedged or side == row.side):
                doubt = self.doubts.get(f"position:{side}")
                self.doubts[f"position:{side}"] = replace(
                    doubt or Doubt(f"position:{side}", sight.as_of_ms, sight.as_of_ms, 1), proven="positions")

    def _doubt(self, position: Position, as_of_ms: int) -> None:
        key = f"position:{position.side}"
        doubt = self.doubts.get(key)
        if doubt is None:
            self.doubts[key] = Doubt(key, as_of_ms, as_of_ms, 1)
        elif as_of_ms >= doubt.last_at_ms + self._rules.confirm_gap_ms:
            self.doubts[key] = replace(doubt, last_at_ms=as_of_ms, reads=doubt.reads + 1)

    def _resolve(self, doubt: Doubt, position: Position) -> None:
        closing = self._closing_fills(position)
        gone = sum((Decimal(fill.size) for fill in closing), ZERO)
        fills_read = self._evidence.fills_since_ms is not None
        proven = doubt.proven
        if not proven and gone >= Decimal(position.size):
            proven = "fills"
        if not proven and doubt.reads >= (_READS_AGAINST_FILLS if fills_read and not closing else _READS_ENOUGH):
            proven = "positions"
        if not proven:
            self.doubts[doubt.key] = replace(doubt, asked=doubt.asked + 1)
            self._ask(doubt, position)
            return
        if self._asks_for_cause(replace(doubt, proven=proven), position, closing):
            return
        self._close(doubt, position, closing)

    def _asks_for_cause(self, doubt: Doubt, position: Position, closing: list[Fill]) -> bool:
        """It is closed; whose order closed it (ours, a hand, the exchange) is a question or two away."""
        if self._explained() or doubt.asked >= _READS_AGAINST_FILLS:
            return False
        wanted = []
        if self._evidence.fills_since_ms is None or closing:
            wanted.append(Call(Surface.FILLS, position.symbol, since_ms=position.updated_at_ms))
        if closing:
            last = max(closing, key=_when)
            if last.order_id in self._evidence.rows or last.order_id in self._evidence.not_found:
                return False
            wanted.append(Call(Surface.ORDER, position.symbol, order_id=last.order_id))
        if not wanted:
            return False
        self.doubts[doubt.key] = replace(doubt, asked=doubt.asked + 1)
        self.questions.extend(Question(call, self._now_ms) for call in wanted)
        return True

    def _close(self, doubt: Doubt, position: Position, closing: list[Fill]) -> None:
        last = max(closing, key=_when, default=None)
        del self.doubts[doubt.key]
        del self.known[position.side]
        at_ms = last.at_ms if last is not None else 0
        self.closed_at_ms = max(self.closed_at_ms, at_ms, position.updated_at_ms)
        orders = sorted({fill.order_id for fill in closing} | set(self._filled_orders))
        surfaces = ["positions", "fills"] if closing else ["positions"]
        self.findings.append(Finding(
            "position_closed", doubt.key, self._cause("position_closed", orders), position, None,
            {"surfaces": surfaces, "orders": orders, "trades": [fill.id for fill in closing], "reads": doubt.reads},
            at_ms, max(doubt.last_at_ms, self._evidence.fills_as_of_ms if closing else 0)))

    def _closing_fills(self, position: Position) -> list[Fill]:
        closing_side = "sell" if position.side == "long" else "buy"
        return [fill for fill in self._evidence.fills.values()
                if fill.side == closing_side and fill.at_ms > position.updated_at_ms]

    def _ask(self, doubt: Doubt, position: Position) -> None:
        retry_ms = min(self._rules.doubt_retry_ms << min(max(doubt.asked - 1, 0), 10), self._rules.retry_max_ms)
        soon_ms = doubt.last_at_ms + self._rules.confirm_gap_ms
        at_ms = max(soon_ms, self._now_ms + retry_ms if doubt.asked else 0)
        self.questions.append(Question(Call(Surface.POSITIONS), at_ms))
        self.questions.append(Question(Call(Surface.FILLS, position.symbol, since_ms=position.updated_at_ms), at_ms))

    def _find(self, kind: str, before: Position | None, after: Position, sight: Sight) -> None:
        orders = list(self._filled_orders)
        self.findings.append(Finding(
            kind, f"position:{after.side}", self._cause(kind, orders), before, after,
            {"surfaces": ["positions"], "orders": orders}, after.updated_at_ms, sight.as_of_ms))

    def _explained(self) -> bool:
        return bool(self._filled_orders) or self._announces("position_closed")

    def _announces(self, kind: str) -> bool:
        return any(kind in _EXPLAINS.get(announcement.kind, {kind}) for announcement in self._announced)

    def _cause(self, kind: str, orders: list[str]) -> str:
        if any(is_liquidation(row) for row in self._evidence.rows.values() if row.id in orders):
            return "liquidation"
        if self._announces(kind):
            return "event"
        if not self._book.positions_as_of_ms:
            return "first_sight"
        if self._filled_orders or any(self._is_robots(row) for row in self._evidence.rows.values() if row.id in orders):
            return "fill"
        return "external"

    def _is_robots(self, row: Order) -> bool:
        return any(row.client_id.startswith(prefix) for prefix in self._rules.prefixes if prefix)


def _when(fill: Fill) -> tuple[int, str]:
    return fill.at_ms, fill.id


def _merged(questions: Sequence[Question]) -> tuple[Question, ...]:
    """Each call once, at its earliest instant; fills of one symbol merge to the earliest start."""
    merged: dict[tuple[str, ...], Question] = {}
    for question in questions:
        call = question.call
        key = (call.surface.value, call.symbol, call.order_id, call.client_id)
        old = merged.setdefault(key, question)
        if old is not question:
            call = replace(call, since_ms=min(call.since_ms, old.call.since_ms))
            merged[key] = Question(call, min(question.not_before_ms, old.not_before_ms))
    return tuple(merged.values())
