"""What a snapshot says of single orders and executions, and what follows from executions: part of `reconcile`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from fleetsync.book import Sight
from fleetsync.model import Fill, Order, Position, Surface
from fleetsync.units import ZERO

_LIQUIDATION_PREFIXES = ("autoclose-", "adl_autoclose", "settlement_autoclose-")
# Binance USD-M client ids of liquidation, auto-deleveraging and delivery orders (its user data stream documentation)


@dataclass(slots=True)
class Evidence:
    """Everything in a snapshot that speaks of single orders or executions, and what a pass has found so far."""

    rows: dict[str, Order] = field(default_factory=dict)
    seen_at_ms: dict[str, int] = field(default_factory=dict)  # as_of of each of the rows
    not_found: dict[tuple[str, bool], int] = field(default_factory=dict)  # order id or client id, conditional -> as_of
    fills: dict[tuple[str, str], Fill] = field(default_factory=dict)  # two of one id: an order of ours met another
    fills_since_ms: int | None = None  # fills are complete from this instant on; None: not read
    fills_as_of_ms: int = 0
    cut_off_since_ms: int | None = None  # fills from this instant on are more than can ever be read; None: not so
    cut_off_as_of_ms: int = 0

    @classmethod
    def of(cls, symbol: str, sights: Sequence[Sight]) -> "Evidence":
        """Collect the evidence on one symbol."""
        evidence = cls()
        for sight in sorted(sights, key=lambda sight: sight.as_of_ms):
            if sight.surface is Surface.ORDER:
                evidence._take_order(symbol, sight)
            elif sight.surface is Surface.FILLS:
                evidence._take_fills(symbol, sight)
        return evidence

    def _take_order(self, symbol: str, sight: Sight) -> None:
        if sight.not_found:
            self.not_found[sight.order_id or sight.client_id, sight.conditional] = sight.as_of_ms
        for row in sight.rows:
            if isinstance(row, Order) and row.symbol == symbol and row.status == "unknown":
                # A word that nobody here understands tells as little.
                self.not_found[row.id, sight.conditional] = sight.as_of_ms
            elif isinstance(row, Order) and row.symbol == symbol:
                before = self.rows.get(row.id)
                if before is None or _progress(row) >= _progress(before):
                    self.rows[row.id], self.seen_at_ms[row.id] = row, sight.as_of_ms

    def _take_fills(self, symbol: str, sight: Sight) -> None:
        for fill in sight.rows:
            if isinstance(fill, Fill) and fill.symbol == symbol:
                self.fills[fill.id, fill.order_id] = fill
        if sight.cut_off:
            self.cut_off_since_ms, self.cut_off_as_of_ms = sight.since_ms, sight.as_of_ms
        if sight.complete and not sight.since_ms:
            self.fills_as_of_ms = sight.as_of_ms  # the latest ones: nothing says how far back the exchange looked
        elif sight.complete:
            # An earlier reading lengthens this one only where it reaches up to its start: between them fills may hide.
            joins = self.fills_since_ms is not None and sight.since_ms <= self.fills_as_of_ms
            self.fills_since_ms = min(self.fills_since_ms or 0, sight.since_ms) if joins else sight.since_ms
            self.fills_as_of_ms = sight.as_of_ms

    def reaches(self, since_ms: int) -> bool:
        """Whether every fill from an instant on was read."""
        return self.fills_since_ms is not None and self.fills_since_ms <= since_ms

    def reaches_order(self, order: Order) -> bool:
        """Whether every fill of an order was read; where it is not known since when it rests, the latest ones were."""
        return self.reaches(order.created_at_ms) if order.created_at_ms else self.fills_as_of_ms > 0

    def never_reaches(self, order: Order) -> bool:
        """Whether the fills of an order were asked for, and are more, or reach further back, than can ever be read."""
        return self.cut_off_since_ms is not None and self.cut_off_since_ms <= order.created_at_ms

    @property
    def told_at_ms(self) -> int:
        """As of when the fills were read, as far as they could be."""
        return self.fills_as_of_ms or self.cut_off_as_of_ms

    def filled_by(self, order: Order) -> tuple[Decimal, tuple[Fill, ...]]:
        """How much of an order its executions prove, each counted once, and which; 0 if they miss its start."""
        if not (self.reaches_order(order) or self.never_reaches(order)):
            return ZERO, ()
        fills = [fill for fill in self.fills.values() if fill.order_id == order.id]
        return sum((Decimal(fill.size) for fill in fills), ZERO), tuple(sorted(fills, key=lambda fill: fill.id))

    def closing(self, position: Position) -> list[Fill]:
        """Executions against a position since its last move, in their order, up to the one that nets it out."""
        left, closing = Decimal(position.size), list[Fill]()
        if not position.updated_at_ms:
            return closing  # they may be from long before it
        for fill in _in_order(self.fills.values()):
            if fill.at_ms <= position.updated_at_ms:
                continue
            if (fill.side == "sell") is (position.side == "long"):
                closing.append(fill)
                left -= Decimal(fill.size)
                if left <= ZERO:
                    break
            elif not position.hedged:
                left += Decimal(fill.size)
        return closing

    def nets_out(self, position: Position) -> bool:
        """Whether the fills since a position's last move are all known, and leave nothing of it in the end."""
        moved_at_ms = position.updated_at_ms
        if position.hedged or not moved_at_ms or not self.reaches(position.moved_from_ms):
            return False
        moves_then = {(fill.at_ms, fill.order_id) for fill in self.fills.values()
                      if position.moved_from_ms <= fill.at_ms <= moved_at_ms}
        if len(moves_then) > 1:
            return False  # within that very instant it moved more than once: its row may have shown the first move
        moves = [Decimal(fill.size) if (fill.side == "buy") is (position.side == "long") else -Decimal(fill.size)
                 for fill in self.fills.values() if fill.at_ms > moved_at_ms]
        return Decimal(position.size) + sum(moves, ZERO) <= ZERO

    def opened_after(self, closed: Position, row: Position) -> bool:
        """Whether the fills since a close are all known, and make just what a row shows, whose instant may be either's.

        A list that lags behind may show what was left of the position shortly before its close.
        """
        if row.hedged or not self.reaches(closed.updated_at_ms):
            return False
        since = [fill for fill in self.fills.values() if closed.updated_at_ms < fill.at_ms <= row.updated_at_ms]
        moves = [Decimal(fill.size) if (fill.side == "buy") is (row.side == "long") else -Decimal(fill.size)
                 for fill in since]
        return bool(moves) and sum(moves, ZERO) == Decimal(row.size)

    def covers(self, position: Position, closing: Sequence[Fill]) -> bool:
        """Whether executions that may have closed a position are as large as it was."""
        return sum((Decimal(fill.size) for fill in closing), ZERO) >= Decimal(position.size)


def is_liquidation(order: Order) -> bool:
    """Whether the exchange itself placed this order to close a position."""
    return order.client_id.startswith(_LIQUIDATION_PREFIXES)


def _in_order(fills: Iterable[Fill]) -> list[Fill]:
    """Executions in the exchange's order."""
    return sorted(fills, key=lambda fill: (fill.at_ms, len(fill.id), fill.id))


def _progress(order: Order) -> tuple[bool, Decimal, int]:
    """Grows over an order's life: of two rows of one order, the one further on is the newer."""
    return order.status != "open", Decimal(order.filled), order.updated_at_ms
