"""The orders' half of `reconcile`: an order ends with evidence of its own (its status, or its fills), never by absence.

What counts as what:
- a row in a list or a single-order answer is positive evidence, unless it is older than what is known;
- an order that a complete list leaves out is doubted and asked for by id;
- "not found" is no end within the visibility grace, nor without its fills: exchanges answer so just after a create;
- beyond the exchange's retention the end is `unknown`, and the filled part is kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from fleetsync.book import Announcement, Book, Doubt, Finding, Question, Rules, Sight
from fleetsync.messages import Call
from fleetsync.model import Fill, Order, Surface
from fleetsync.units import ZERO, canonical

_ENDED_KEPT = 32  # ended orders remembered a book
_NOT_FOUND_ENOUGH = 3  # answers "not found", after the grace, that end an order as `unknown`
_LISTS_ENOUGH = 2  # complete lists without it, likewise
_LIQUIDATION_PREFIXES = ("autoclose-", "adl_autoclose", "settlement_autoclose-")
# Binance USD-M client ids of liquidation, auto-deleveraging and delivery orders (its user data stream documentation)


@dataclass(slots=True)
class Evidence:
    """Everything in a snapshot that speaks of single orders or executions, and what a pass has found so far."""

    rows: dict[str, Order] = field(default_factory=dict)
    not_found: dict[str, int] = field(default_factory=dict)  # order id or client id -> as_of
    fills: dict[str, Fill] = field(default_factory=dict)
    fills_since_ms: int | None = None  # fills are complete from this instant on; None: not read
    fills_as_of_ms: int = 0

    @classmethod
    def of(cls, symbol: str, sights: Sequence[Sight]) -> "Evidence":
        """Collect the evidence on one symbol."""
        evidence = cls()
        for sight in sights:
            if sight.surface is Surface.ORDER:
                if sight.not_found:
                    evidence.not_found[sight.order_id or sight.client_id] = sight.as_of_ms
                for row in sight.rows:
                    if isinstance(row, Order) and row.symbol == symbol:
                        evidence.rows[row.id] = row
            elif sight.surface is Surface.FILLS:
                for fill in sight.rows:
                    if isinstance(fill, Fill) and fill.symbol == symbol:
                        evidence.fills[fill.id] = fill
                if sight.complete:
                    known = evidence.fills_since_ms
                    evidence.fills_since_ms = sight.since_ms if known is None else min(known, sight.since_ms)
                    evidence.fills_as_of_ms = max(evidence.fills_as_of_ms, sight.as_of_ms)
        return evidence

    def filled_by(self, order: Order) -> tuple[Decimal, tuple[str, ...]]:
        """How much of an order its executions prove, each counted once, and their ids; 0 if they miss its start."""
        if self.fills_since_ms is None or self.fills_since_ms > order.created_at_ms:
            return ZERO, ()
        fills = [fill for fill in self.fills.values() if fill.order_id == order.id]
        return sum((Decimal(fill.size) for fill in fills), ZERO), tuple(sorted(fill.id for fill in fills))


def is_liquidation(order: Order) -> bool:
    """Whether the exchange itself placed this order to close a position."""
    return order.client_id.startswith(_LIQUIDATION_PREFIXES)


class OrdersPass:
    """One pass over one book's orders. Its results are read from its fields when `run` is done."""

    def __init__(self, book: Book, evidence: Evidence, announced: Sequence[Announcement], rules: Rules,
                 now_ms: int) -> None:
        self.known = {order.id: order for order in book.orders}
        self.ended = {order.id: order for order in book.ended}
        self.doubts = {doubt.key: doubt for doubt in book.doubts if doubt.key.startswith("order:")}
        self.findings: list[Finding] = []
        self.questions: list[Question] = []
        self.orders_as_of_ms = book.orders_as_of_ms
        self.conditional_as_of_ms = book.conditional_as_of_ms
        self._book, self._evidence, self._announced = book, evidence, announced
        self._rules, self._now_ms = rules, now_ms

    def run(self, sights: Sequence[Sight]) -> None:
        """Lists in the order of their instants, then the evidence on single orders, then what is still open."""
        lists = (sight for sight in sights if sight.surface in {Surface.ORDERS, Surface.CONDITIONAL})
        for sight in sorted(lists, key=lambda sight: sight.as_of_ms):
            self._list(sight)
        answered_at_ms = max((s.as_of_ms for s in sights if s.surface is Surface.ORDER), default=self._now_ms)
        for row in self._evidence.rows.values():
            self._row(row, Surface.ORDER, answered_at_ms)
        for key in list(self.doubts):
            self._resolve(self.doubts[key])

    def ended_kept(self) -> tuple[Order, ...]:
        """The latest ended orders, bounded."""
        return tuple(self.ended.values())[-_ENDED_KEPT:]

    def _list(self, sight: Sight) -> None:
        conditional = sight.surface is Surface.CONDITIONAL
        as_of_ms = self.conditional_as_of_ms if conditional else self.orders_as_of_ms
        late = sight.as_of_ms < as_of_ms
        rows = [row for row in sight.rows if isinstance(row, Order) and row.symbol == self._book.symbol]
        for row in rows:
            if row.id in self.known or not late:
                self._row(row, sight.surface, sight.as_of_ms)
        if late or not sight.complete:
            return
        shown = {row.id for row in rows}
        for order in self.known.values():
            if order.conditional is conditional and order.id not in shown and order.created_at_ms <= sight.as_of_ms:
                self._doubt(order, sight.as_of_ms)
        if conditional:
            self.conditional_as_of_ms = sight.as_of_ms
        else:
            self.orders_as_of_ms = sight.as_of_ms

    def _row(self, row: Order, surface: Surface, as_of_ms: int) -> None:
        old = self.known.get(row.id)
        if old is None:
            over = self.ended.get(row.id)
            if over is not None and (row.status != "open" or row.updated_at_ms <= over.updated_at_ms):
                return  # an answer from before its end
            self._new(row, surface, as_of_ms)
            return
        filled, before = Decimal(row.filled), Decimal(old.filled)
        if row.updated_at_ms < old.updated_at_ms or filled < before:
            return  # older than what is known; still, it is there
        if row.status != "open":
            self._end(old, row, surface, as_of_ms)
            return
        doubt = self.doubts.get(f"order:{row.id}")
        if doubt is not None and as_of_ms >= doubt.last_at_ms:
            del self.doubts[doubt.key]
        if (row.filled, row.size, row.price) != (old.filled, old.size, old.price):
            kind = "order_filled" if filled > before else "order_updated"
            cause = "fill" if filled > before else self._cause(row)
            self._find(kind, cause, old, row, {"surfaces": [surface.value], "orders": [row.id]}, as_of_ms)
        self.known[row.id] = row

    def _new(self, row: Order, surface: Surface, as_of_ms: int) -> None:
        evidence = {"surfaces": [surface.value], "orders": [row.id]}
        if row.status == "open":
            self.known[row.id] = row
            self._find("order_opened", self._cause(row), None, row, evidence, as_of_ms)
        else:  # it began and ended between two readings, and somebody asked for it by name
            self.ended[row.id] = row
            self._find("order_ended", self._cause(row), None, row, evidence, as_of_ms)

    def _end(self, old: Order, row: Order, surface: Surface, as_of_ms: int) -> None:
        total, trades = self._evidence.filled_by(row)
        if total > Decimal(row.filled):
            row = replace(row, filled=canonical(min(total, Decimal(row.size))))
        evidence = {"surfaces": [surface.value], "orders": [row.id], "trades": list(trades)}
        cause = "fill" if row.status == "closed" else self._cause(row)
        self._finish(old, row, cause, evidence, as_of_ms)

    def _finish(self, old: Order, row: Order, cause: str, evidence: dict[str, Any], as_of_ms: int) -> None:
        del self.known[old.id]
        self.doubts.pop(f"order:{old.id}", None)
        self.ended[old.id] = row
        self._find("order_ended", cause, old, row, evidence, as_of_ms)

    def _doubt(self, order: Order, as_of_ms: int) -> None:
        key = f"order:{order.id}"
        doubt = self.doubts.get(key)
        if doubt is None:
            self.doubts[key] = Doubt(key, as_of_ms, as_of_ms, 1)
        elif as_of_ms > doubt.last_at_ms:
            self.doubts[key] = replace(doubt, last_at_ms=as_of_ms, reads=doubt.reads + 1)

    def _resolve(self, doubt: Doubt) -> None:
        """Try what evidence there is on a doubted order, and ask for what is missing."""
        order = self.known.get(doubt.key.removeprefix("order:"))
        if order is None:
            del self.doubts[doubt.key]
            return
        total, trades = self._evidence.filled_by(order)
        evidence: dict[str, Any] = {"surfaces": ["fills"], "orders": [order.id], "trades": list(trades),
                                    "reads": doubt.reads}
        if total >= Decimal(order.size) > ZERO:
            self._finish(order, replace(order, status="closed", filled=order.size), "fill", evidence,
                         self._evidence.fills_as_of_ms)
            return
        asked = doubt.asked
        if (self._evidence.not_found.get(order.id) or 0) > doubt.first_at_ms:
            asked += 1
            doubt = self.doubts[doubt.key] = replace(doubt, asked=asked)
            fills_read = self._evidence.fills_since_ms is not None
            if fills_read and self._beyond_knowing(order, doubt):
                filled = canonical(max(total, Decimal(order.filled)))
                evidence["surfaces"] = ["orders", "order", "fills"]
                past = self._now_ms - order.created_at_ms > self._rules.order_retention_ms
                self._finish(order, replace(order, status="unknown", filled=filled),
                             "retention" if past else "external", evidence, self._evidence.fills_as_of_ms)
                return
        self._ask(order, asked)

    def _beyond_knowing(self, order: Order, doubt: Doubt) -> bool:
        age_ms = self._now_ms - order.created_at_ms
        if age_ms < self._rules.visibility_grace_ms or doubt.reads < _LISTS_ENOUGH:
            return False
        return age_ms > self._rules.order_retention_ms or doubt.asked >= _NOT_FOUND_ENOUGH

    def _ask(self, order: Order, asked: int) -> None:
        wait_ms = min(self._rules.doubt_retry_ms << min(asked - 1, 10), self._rules.retry_max_ms) if asked else 0
        at_ms = self._now_ms + wait_ms
        lookup = Call(Surface.ORDER, order.symbol, order_id=order.id, conditional=order.conditional)
        self.questions.append(Question(lookup, at_ms))
        if asked:
            surface = Surface.CONDITIONAL if order.conditional else Surface.ORDERS
            self.questions.append(Question(Call(Surface.FILLS, order.symbol, since_ms=order.created_at_ms), at_ms))
            self.questions.append(Question(Call(surface, order.symbol), at_ms))

    def _cause(self, row: Order) -> str:
        if is_liquidation(row):
            return "liquidation"
        if any(_announces(announcement, row) for announcement in self._announced):
            return "event"
        first = self.conditional_as_of_ms if row.conditional else self.orders_as_of_ms
        if not first:
            return "first_sight"
        if row.status == "open" and any(row.client_id.startswith(prefix) for prefix in self._rules.prefixes if prefix):
            return "robot"
        return "external"

    def _find(self, kind: str, cause: str, before: Order | None, after: Order, evidence: dict[str, Any],
              as_of_ms: int) -> None:
        self.findings.append(Finding(kind, f"order:{after.id}", cause, before, after, evidence, after.updated_at_ms,
                                     as_of_ms))


def _announces(announcement: Announcement, row: Order) -> bool:
    if announcement.order_id or announcement.client_id:
        return row.id == announcement.order_id or bool(row.client_id and row.client_id == announcement.client_id)
    return announcement.kind != "suspect"


def filled_by_own_orders(findings: Iterable[Finding]) -> list[str]:
    """Ids of known orders whose filled part grew in this pass: they explain a position that moved."""
    return [
        finding.after.id
        for finding in findings
        if isinstance(finding.before, Order) and isinstance(finding.after, Order)
        and Decimal(finding.after.filled) > Decimal(finding.before.filled)
    ]
