"""The orders' half of `reconcile`: an order ends with evidence of its own (its status, or its fills), never by absence.

What counts as what:
- a row in a list or a single-order answer is positive evidence, unless it is older than what is known;
- an order that a complete list leaves out is doubted and asked for by id;
- "not found" is no end within the visibility grace, nor without its fills: exchanges answer so just after a create;
- a status that ends an order is the last word on it, whatever instants came with it; the larger filled part is kept;
- a status that is no known word ends nothing: in a list of resting orders it rests, alone it tells as much as none;
- an ended order comes back only by an open row that its end does not explain: newer, and filled no less;
- the end of an order that was never shown as resting is told to those only who announced the order by name: one that
  was looked up for another reason (it may have closed a position) is evidence, and no order of anybody's;
- beyond the exchange's retention the end is `unknown`, and the filled part is kept, also where its fills are more, or
  reach further back, than can ever be read.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from fleetsync.book import MEMORY_MS, Announcement, Book, Doubt, Finding, Question, Rules, Sight
from fleetsync.evidence import Evidence, is_liquidation
from fleetsync.messages import Call
from fleetsync.model import Order, Surface
from fleetsync.units import ZERO, canonical

ENDED_KEPT = 32  # ended orders remembered a book, and ...
_ENDED_MOST = 512  # ... up to so many of a crowd that ended together: a list that lags behind shows all of them again
_NOT_FOUND_ENOUGH = 3  # answers "not found", after the grace, that end an order as `unknown`
_LISTS_ENOUGH = 2  # complete lists without it, likewise
_READS_INSISTING = 3  # rows with the same contradiction, over a grace, that overrule what is known
_LESS = ":less"  # ends the key of a doubt about a row that has filled less than what is known, and is no older


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
        for row in self._evidence.rows.values():
            self._row(row, Surface.ORDER, self._evidence.seen_at_ms[row.id])
        for key in list(self.doubts):
            self._resolve(self.doubts[key])

    def ended_kept(self) -> tuple[Order, ...]:
        """The latest ended orders, bounded."""
        ended = tuple(self.ended.values())
        first = max(len(ended) - ENDED_KEPT, 0)
        crowd_ms = ended[-1].updated_at_ms - 2 * self._rules.visibility_grace_ms if first else 0
        while first and len(ended) - first < _ENDED_MOST and ended[first - 1].updated_at_ms >= crowd_ms:
            first -= 1
        return ended[first:]

    def _list(self, sight: Sight) -> None:
        conditional = sight.surface is Surface.CONDITIONAL
        as_of_ms = self.conditional_as_of_ms if conditional else self.orders_as_of_ms
        late = sight.as_of_ms < as_of_ms
        rows = [row._replace(status="open") if row.status == "unknown" else row for row in sight.rows
                if isinstance(row, Order) and row.symbol == self._book.symbol]
        for row in rows:
            if row.id in self.known or not late:
                self._row(row, sight.surface, sight.as_of_ms)
        if late or not sight.complete:
            return
        shown = {row.id for row in rows}
        for order in self.known.values():
            # The order was shown by an earlier reading than this one. When the exchange says it was created proves
            # nothing: its clock may run ahead of ours by more than the order lived.
            if order.conditional is conditional and order.id not in shown:
                self._doubt(order, sight.as_of_ms)
        if conditional:
            self.conditional_as_of_ms = sight.as_of_ms
        else:
            self.orders_as_of_ms = sight.as_of_ms

    def _row(self, row: Order, surface: Surface, as_of_ms: int) -> None:
        old = self.known.get(row.id)
        if old is None:
            over = self.ended.get(row.id)
            if over is None or _comes_back(row, over):
                self._new(row, surface, as_of_ms)
            return
        if row.status != "open":
            self._end(old, row, surface, as_of_ms)
            return
        filled, before = Decimal(row.filled), Decimal(old.filled)
        older = filled < before or (filled == before and 0 < row.updated_at_ms < old.updated_at_ms)
        if older and not self._insists(row, old, as_of_ms):
            return  # still, it is there (what has filled more is newer by any clock)
        self.doubts.pop(f"order:{row.id}{_LESS}", None)
        doubt = self.doubts.get(f"order:{row.id}")
        if doubt is not None and as_of_ms >= doubt.last_at_ms:
            del self.doubts[doubt.key]
        if _terms(row) != _terms(old):
            kind = "order_filled" if filled > before else "order_updated"
            cause = "fill" if filled > before else self._cause(row)
            self._find(kind, cause, old, row, {"surfaces": [surface.value], "orders": [row.id]}, as_of_ms)
        self.known[row.id] = row

    def _insists(self, row: Order, old: Order, as_of_ms: int) -> bool:
        """Whether a smaller filled part, of the very instant that is known, was shown often and long enough.

        No fill is taken back: what is known came from one answer that was wrong.
        """
        if Decimal(row.filled) >= Decimal(old.filled) or not 0 < old.updated_at_ms <= row.updated_at_ms:
            return False
        key = f"order:{row.id}{_LESS}"
        doubt = self.doubts.get(key)
        if doubt is None or as_of_ms > doubt.last_at_ms:
            first_at_ms, reads = (doubt.first_at_ms, doubt.reads) if doubt is not None else (as_of_ms, 0)
            doubt = self.doubts[key] = Doubt(key, first_at_ms, as_of_ms, reads + 1)
        lasted_ms = doubt.last_at_ms - doubt.first_at_ms
        return doubt.reads >= _READS_INSISTING and lasted_ms >= self._rules.visibility_grace_ms

    def _new(self, row: Order, surface: Surface, as_of_ms: int) -> None:
        evidence = {"surfaces": [surface.value], "orders": [row.id]}
        if row.status == "open":
            self.known[row.id] = row
            self.ended.pop(row.id, None)
            self._find("order_opened", self._cause(row), None, row, evidence, as_of_ms)
        elif announced := [one for one in self._announced if _names(one, row)]:  # it began and ended unseen ...
            self.ended[row.id] = row
            if 0 < row.updated_at_ms < max(one.at_ms for one in announced) - MEMORY_MS:
                return  # ... or was seen, so long before it was announced that it is forgotten
            self._find("order_ended", self._cause(row), None, row, evidence, as_of_ms)

    def _end(self, old: Order, row: Order, surface: Surface, as_of_ms: int) -> None:
        total, trades = self._evidence.filled_by(row)
        most = max(min(total, Decimal(row.size)), Decimal(old.filled))
        if most > Decimal(row.filled):
            row = row._replace(filled=canonical(most))
        evidence = {"surfaces": [surface.value], "orders": [row.id], "trades": [fill.id for fill in trades]}
        cause = "fill" if row.status == "closed" else self._cause(row)
        self._finish(old, row, cause, evidence, as_of_ms)

    def _finish(self, old: Order, row: Order, cause: str, evidence: dict[str, Any], as_of_ms: int) -> None:
        del self.known[old.id]
        self.doubts.pop(f"order:{old.id}", None)
        self.doubts.pop(f"order:{old.id}{_LESS}", None)
        self.ended[old.id] = row
        self._find("order_ended", cause, old, row, evidence, as_of_ms)

    def _doubt(self, order: Order, as_of_ms: int) -> None:
        key = f"order:{order.id}"
        doubt = self.doubts.get(key)
        if doubt is None:
            self.doubts[key] = Doubt(key, as_of_ms, as_of_ms, 1)
        elif as_of_ms > doubt.last_at_ms:
            self.doubts[key] = doubt._replace(last_at_ms=as_of_ms, reads=doubt.reads + 1)

    def _resolve(self, doubt: Doubt) -> None:
        """Try what evidence there is on a doubted order, and ask for what is missing."""
        if doubt.key.endswith(_LESS):
            return  # the next lists tell
        order = self.known.get(doubt.key.removeprefix("order:"))
        if order is None:
            del self.doubts[doubt.key]
            return
        total, trades = self._evidence.filled_by(order)
        evidence: dict[str, Any] = {"surfaces": ["fills"], "orders": [order.id],
                                    "trades": [fill.id for fill in trades], "reads": doubt.reads}
        looks_up = self._rules.looks_up_conditional if order.conditional else self._rules.looks_up
        denied_at_ms = self._evidence.not_found.get((order.id, order.conditional), 0)
        not_found_at_ms = denied_at_ms or (0 if looks_up else doubt.last_at_ms)
        if not_found_at_ms > max(doubt.first_at_ms, doubt.not_found_at_ms):
            doubt = doubt._replace(asked=doubt.asked + 1, not_found_at_ms=not_found_at_ms)
        # Fills end it only when its own status is out of reach: its size may have been amended since it was read.
        graced = doubt.not_found_at_ms >= order.created_at_ms + self._rules.visibility_grace_ms
        if graced and total >= Decimal(order.size) > ZERO:
            last_at_ms = max(order.updated_at_ms, *(fill.at_ms for fill in trades))
            self._finish(order, order._replace(status="closed", filled=order.size, updated_at_ms=last_at_ms), "fill",
                         evidence, self._evidence.told_at_ms)
            return
        if total > Decimal(order.filled):
            order = self._grow(order, canonical(total), evidence)
        if self._evidence.reaches_order(order) and self._evidence.fills_as_of_ms >= doubt.first_at_ms:
            doubt = doubt._replace(fills_read=True)
        self.doubts[doubt.key] = doubt
        past = doubt.not_found_at_ms - order.created_at_ms > self._rules.order_retention_ms
        read = doubt.fills_read or (past and self._evidence.never_reaches(order))
        if graced and read and self._beyond_knowing(order, doubt):
            evidence["surfaces"] = ["orders", "order", *(["fills"] if doubt.fills_read or trades else [])]
            self._finish(order, order._replace(status="unknown"), "retention" if past else "external", evidence,
                         max(not_found_at_ms, self._evidence.told_at_ms, doubt.last_at_ms))
            return
        answered = order.id in self._evidence.rows  # by a row that settled nothing: not to be asked for again at once
        self._ask(order, max(doubt.asked, 1) if answered else doubt.asked)

    def _grow(self, order: Order, filled: str, evidence: dict[str, Any]) -> Order:
        """Executions prove a larger filled part than the order's rows have shown so far: it is kept, come what may."""
        grown = order._replace(filled=filled)
        self._find("order_filled", "fill", order, grown, evidence, self._evidence.told_at_ms)
        self.known[order.id] = grown
        return grown

    def _beyond_knowing(self, order: Order, doubt: Doubt) -> bool:
        if doubt.reads < _LISTS_ENOUGH:
            return False
        age_ms = doubt.not_found_at_ms - order.created_at_ms  # at the answer, however late it came
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
        return _names(announcement, row)
    return announcement.kind != "suspect"


def _names(announcement: Announcement, row: Order) -> bool:
    return row.id == announcement.order_id or bool(row.client_id and row.client_id == announcement.client_id)


def _terms(order: Order) -> tuple[str, str, str, bool]:
    """What a change of an order is a change of."""
    return order.filled, order.size, order.price, order.conditional


def _comes_back(row: Order, over: Order) -> bool:
    """Whether a row shows that an order rests although it was taken for ended."""
    if row.status != "open" or Decimal(row.filled) < Decimal(over.filled):
        return row.status == "open" and row.created_at_ms > over.updated_at_ms > 0  # else an answer from before its end
    if row.updated_at_ms == over.updated_at_ms:
        return over.status == "unknown" or Decimal(row.size) > Decimal(over.size)
    return row.updated_at_ms > over.updated_at_ms


def filled_by_own_orders(findings: Iterable[Finding]) -> list[str]:
    """Ids of known orders whose filled part grew in this pass: they explain a position that moved."""
    return [
        finding.after.id
        for finding in findings
        if isinstance(finding.before, Order) and isinstance(finding.after, Order)
        and Decimal(finding.after.filled) > Decimal(finding.before.filled)
    ]
