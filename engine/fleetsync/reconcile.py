"""reconcile(known, snapshot) -> (new knowledge, changes, questions): pure, total, the only place that ends anything.

The rules, each a test in `tests/unit/test_reconcile.py`:
- a failed, partial or malformed surface closes nothing;
- a position that a complete list leaves out is closed by its own fills, by a newer row that shows it at zero, or by a
  second reading, begun later, beside fills as large as it was; by a third one where its fills could not be read, and
  after the grace where they contradict (part of it was closed, or nothing): two empty lists in a row have been seen to
  lie;
- fills prove a close when they were read to the end since the position's last move and net it out; on a hedged
  account they do not tell which side they belong to, and prove nothing;
- a row older than what is known changes nothing, unless reading after reading insists on it: a false proof of ours, or
  an exchange clock that was set back, is so found out; a reading sent before the last one proves no absence;
- a one-way position of the other side replaces the known one: that is a flip;
- a position that was proven closed and is shown anew was closed and opened: two findings;
- orders: see `reconcile_orders`.

Findings: position_opened, position_grew, position_shrank, position_flipped, position_updated, position_closed;
order_opened, order_filled, order_updated, order_ended.
"""

from collections.abc import Collection, Sequence
from decimal import Decimal

from fleetsync.book import Announcement, Book, Doubt, Finding, Question, Reconciled, Rules, Sight, merged
from fleetsync.evidence import Evidence, is_liquidation
from fleetsync.messages import Call
from fleetsync.model import Fill, Order, Position, Surface
from fleetsync.reconcile_orders import OrdersPass, filled_by_own_orders
from fleetsync.unchanged import as_known
from fleetsync.units import ZERO

_READS_ENOUGH = 2  # complete readings without it that close a position some of whose closing fills were seen
_READS_AGAINST_FILLS = 3  # the same where its fills were not read, or do not explain it
_READS_INSISTING = 3  # complete readings with the same contradiction, over a grace, that overrule what is known
_OLDER = ":older"  # ends the key of a doubt about a row that is older than what is known, and contradicts it
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
    same = as_known(book, sights)
    if same is not None:
        return Reconciled(same)
    evidence = Evidence.of(book.symbol, sights)
    orders = OrdersPass(book, evidence, announced, rules, now_ms)
    orders.run(sights)
    positions = _PositionsPass(book, evidence, announced, rules, now_ms, filled_by_own_orders(orders.findings))
    lists = (sight for sight in sights if sight.surface is Surface.POSITIONS)
    for sight in sorted(lists, key=lambda sight: sight.as_of_ms):
        positions.see(sight)
    positions.resolve()
    hinted = positions.hinted and orders.orders_as_of_ms == book.orders_as_of_ms
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
            tuple(positions.closed[side] for side in sorted(positions.closed)),
            positions.shown_at_ms,
            hinted,
            now_ms if orders.findings or positions.findings else book.told_at_ms,
        ),
        (*orders.findings, *positions.findings),
        merged((*positions.questions, *orders.questions)),
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
        self.closed = {position.side: position for position in book.closed}
        self.shown_at_ms = book.shown_at_ms
        self.hinted = book.hinted
        self._book, self._evidence, self._announced = book, evidence, announced
        self._rules, self._now_ms, self._filled_orders = rules, now_ms, filled_orders

    def see(self, sight: Sight) -> None:
        """One list of positions."""
        rows = [row for row in sight.rows if isinstance(row, Position) and row.symbol == self._book.symbol]
        if sight.as_of_ms < max(self.as_of_ms, self.shown_at_ms):
            self._late(rows, sight.as_of_ms)
            return
        held = [row for row in rows if Decimal(row.size) != ZERO]
        shown = {row.side for row in held}
        for row in held:
            self._shown(row, sight, hedged=len(shown) > 1)
        for row in rows:
            if Decimal(row.size) == ZERO:
                self._zero(row, sight, shown)
        if shown:
            self.shown_at_ms = sight.as_of_ms
        if not sight.complete:
            return
        for side, position in self.known.items():
            if side not in shown:
                self._doubt(f"position:{position.side}", sight.as_of_ms)
        for key in [key for key in self.doubts if key.endswith(_OLDER) and self.doubts[key].last_at_ms < self.as_of_ms]:
            del self.doubts[key]  # not repeated by this reading
        self.as_of_ms = sight.as_of_ms
        self.hinted = bool(rows)

    def _shown(self, row: Position, sight: Sight, *, hedged: bool) -> None:
        """A row with something in it. Who shows both sides at once keeps them apart, whether it says so or not."""
        old = self.known.get(row.side)
        if not row.hedged and (hedged or (old is not None and old.hedged)):
            row = row._replace(hedged=True)
        if not self._is_older(row) or self._insists(row, sight):
            self._row(row, sight)

    def _late(self, rows: Sequence[Position], as_of_ms: int) -> None:
        """A list that was overtaken: what it shows was there between two readings that missed it."""
        for row in rows:
            doubt = self.doubts.get(f"position:{row.side}")
            if doubt is not None and not doubt.proven and doubt.first_at_ms < as_of_ms and Decimal(row.size) > ZERO:
                self.doubts[doubt.key] = doubt._replace(first_at_ms=doubt.last_at_ms, reads=1)

    def resolve(self) -> None:
        """Close what is proven closed, and ask about the rest."""
        for doubt in list(self.doubts.values()):
            position = self.known.get(doubt.key.removeprefix("position:"))
            if doubt.key.endswith(_OLDER):
                side = doubt.key.removeprefix("position:").removesuffix(_OLDER)
                self.doubts[doubt.key] = doubt._replace(asked=doubt.asked + 1)
                self._ask(doubt, None if side in self.known else self.closed.get(side))
            elif position is None:
                del self.doubts[doubt.key]
            else:
                self._resolve(doubt, position)

    def _is_older(self, row: Position) -> bool:
        """Whether a row speaks of a time before what is known: such a row proves nothing of the present."""
        if not row.updated_at_ms:
            return False
        old, over = self.known.get(row.side), self.closed.get(row.side)
        if old is not None:
            return row.updated_at_ms < old.updated_at_ms
        if over is not None and row.moved_from_ms <= over.updated_at_ms:
            return not self._evidence.opened_after(over, row)  # in the second of a close, a row may be from either side
        rivals = () if row.hedged else (*self.known.values(), *self.closed.values())
        return any(row.updated_at_ms < rival.updated_at_ms for rival in rivals)

    def _insists(self, row: Position, sight: Sight) -> bool:
        """Whether an older row that contradicts what is known has been shown often and long enough to be believed."""
        old = self.known.get(row.side)
        missed = self.doubts.get(f"position:{row.side}")
        if missed is not None and not missed.proven:
            self.doubts[missed.key] = missed._replace(reads=0)  # it is there, in whatever state
        if old is not None and (row.size, row.entry_price) == (old.size, old.entry_price):
            return False
        key = f"position:{row.side}{_OLDER}"
        doubt = self._doubt(key, sight.as_of_ms)
        lasted_ms = doubt.last_at_ms - doubt.first_at_ms
        if doubt.reads < _READS_INSISTING or lasted_ms < self._rules.visibility_grace_ms:
            return False
        del self.doubts[key]
        return True

    def _row(self, row: Position, sight: Sight) -> None:
        old = self.known.get(row.side)
        self.doubts.pop(f"position:{row.side}{_OLDER}", None)
        doubt = self.doubts.get(f"position:{row.side}")
        if doubt is not None and old is not None and doubt.proven and row.updated_at_ms > old.updated_at_ms:
            if row.moved_from_ms <= doubt.over_at_ms:
                return  # from before the proven end, or it may be
            self._close(doubt, old)
            old = None
        self.doubts.pop(f"position:{row.side}", None)
        other = next((known for known in self.known.values() if known.side != row.side), None)
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

    def _zero(self, row: Position, sight: Sight, shown: Collection[str]) -> None:
        """A row of size zero, newer than a position that its list does not show, is itself the proof that it closed."""
        for side, position in self.known.items():
            if side in shown or (row.hedged and side != row.side):
                continue
            if row.updated_at_ms > position.updated_at_ms:
                key = f"position:{side}"
                doubt = self.doubts.get(key) or Doubt(key, sight.as_of_ms, sight.as_of_ms, 1)
                self.doubts[key] = doubt._replace(proven="positions", over_at_ms=row.updated_at_ms)

    def _doubt(self, key: str, as_of_ms: int) -> Doubt:
        """One more complete reading that speaks against what is known; one of the same instant is the same reading."""
        doubt = self.doubts.get(key)
        if doubt is None:
            self.doubts[key] = Doubt(key, as_of_ms, as_of_ms, 1)
        elif as_of_ms >= doubt.last_at_ms + max(self._rules.confirm_gap_ms, 1):
            self.doubts[key] = doubt._replace(last_at_ms=as_of_ms, reads=doubt.reads + 1)
        return self.doubts[key]

    def _resolve(self, doubt: Doubt, position: Position) -> None:
        closing = self._evidence.closing(position)
        if self._evidence.fills_since_ms is not None:
            doubt = doubt._replace(fills_read=not (closing and self._evidence.covers(position, closing)))
        if not doubt.proven and closing and self._evidence.nets_out(position):
            last_at_ms = max(doubt.last_at_ms, self._evidence.fills_as_of_ms)
            doubt = doubt._replace(last_at_ms=last_at_ms, proven="fills", over_at_ms=closing[-1].at_ms)
        if not doubt.proven and self._missed_enough(doubt, position, closing):
            doubt = doubt._replace(proven="positions", over_at_ms=closing[-1].at_ms if closing else 0)
        if not doubt.proven:
            self.doubts[doubt.key] = doubt._replace(asked=doubt.asked + 1)
            self._ask(doubt, position)
        elif not self._asks_for_cause(doubt, position, closing):
            self._close(doubt, position)

    def _missed_enough(self, doubt: Doubt, position: Position, closing: list[Fill]) -> bool:
        """Whether enough complete readings left it out; more of them where no fills were seen that explain it."""
        if closing and self._evidence.covers(position, closing):
            return doubt.reads >= _READS_ENOUGH
        # A list that lags behind leaves out what is young: against the fills only readings after the grace count.
        # It was there before it was first missed, even where the exchange's clock is ahead and dates it later.
        moved_at_ms = min(position.updated_at_ms, doubt.first_at_ms)
        seasoned = doubt.last_at_ms >= moved_at_ms + self._rules.visibility_grace_ms
        return doubt.reads >= _READS_AGAINST_FILLS and (seasoned or not doubt.fills_read)

    def _asks_for_cause(self, doubt: Doubt, position: Position, closing: list[Fill]) -> bool:
        """It is closed; whose order closed it (ours, a hand, the exchange) is a question or two away."""
        if self._explained() or doubt.asked >= _READS_AGAINST_FILLS:
            return False
        wanted = []
        if self._evidence.fills_since_ms is None or closing:
            wanted.append(Call(Surface.FILLS, position.symbol, since_ms=position.moved_from_ms))
        if closing:
            last = closing[-1]
            if last.order_id in self._evidence.rows or (last.order_id, False) in self._evidence.not_found:
                return False
            wanted.append(Call(Surface.ORDER, position.symbol, order_id=last.order_id))
        if not wanted:
            return False
        self.doubts[doubt.key] = doubt._replace(asked=doubt.asked + 1)
        self.questions.extend(Question(call, self._now_ms) for call in wanted)
        return True

    def _close(self, doubt: Doubt, position: Position) -> None:
        closing = self._evidence.closing(position)
        at_ms = doubt.over_at_ms or (closing[-1].at_ms if closing else 0)
        del self.doubts[doubt.key]
        del self.known[position.side]
        self.closed[position.side] = position._replace(updated_at_ms=max(at_ms, position.updated_at_ms))
        orders = sorted({fill.order_id for fill in closing} | set(self._filled_orders))
        by_fills = bool(closing) or doubt.proven == "fills"
        self.findings.append(Finding(
            "position_closed", doubt.key, self._cause("position_closed", orders), position, None,
            {"surfaces": ["positions", "fills"] if by_fills else ["positions"], "orders": orders,
             "trades": [fill.id for fill in closing], "reads": doubt.reads},
            at_ms, max(doubt.last_at_ms, self._evidence.fills_as_of_ms if closing else 0)))

    def _ask(self, doubt: Doubt, position: Position | None = None) -> None:
        retry_ms = min(self._rules.doubt_retry_ms << min(max(doubt.asked - 1, 0), 10), self._rules.retry_max_ms)
        soon_ms = doubt.last_at_ms + self._rules.confirm_gap_ms
        at_ms = max(soon_ms, self._now_ms + retry_ms if doubt.asked else 0)
        self.questions.append(Question(Call(Surface.POSITIONS), at_ms))
        if position is not None:
            fills = Call(Surface.FILLS, position.symbol, since_ms=position.moved_from_ms)
            self.questions.append(Question(fills, at_ms))

    def _find(self, kind: str, before: Position | None, after: Position, sight: Sight) -> None:
        orders = list(self._filled_orders) or self._filled_whole(before, after)
        self.findings.append(Finding(
            kind, f"position:{after.side}", self._cause(kind, orders), before, after,
            {"surfaces": ["positions"], "orders": orders}, after.updated_at_ms, sight.as_of_ms))

    def _filled_whole(self, before: Position | None, after: Position) -> list[str]:
        """The known order whose whole remainder is just what the position moved by, though no list told of it yet."""
        moved = _signed(after) - (ZERO if before is None else _signed(before))
        side = "buy" if moved > ZERO else "sell"
        return [order.id for order in self._book.orders
                if order.side == side and Decimal(order.size) - Decimal(order.filled) == abs(moved)][:1]

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
        known = {order.id for order in self._book.orders}
        asked = [row for row in self._evidence.rows.values() if row.id in orders]
        if self._filled_orders or known.intersection(orders) or any(self._is_robots(row) for row in asked):
            return "fill"
        return "external"

    def _is_robots(self, row: Order) -> bool:
        return any(row.client_id.startswith(prefix) for prefix in self._rules.prefixes if prefix)


def _signed(position: Position) -> Decimal:
    return Decimal(position.size) if position.side == "long" else -Decimal(position.size)
