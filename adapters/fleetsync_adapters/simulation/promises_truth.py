"""No false close, no lost fill, no repeated change: each committed change is held against the exchange's history."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from fleetsync.model import Change
from fleetsync.ports import Batch
from fleetsync_adapters.paper.books import BookFill, BookOrder, BookTrigger
from fleetsync_adapters.paper.faults import Misdeed
from fleetsync_adapters.paper.holdings import unified_order, unified_trigger
from fleetsync_adapters.paper.views import now as as_it_is
from fleetsync_adapters.simulation.promises import Promise

Row = Mapping[str, Any]
_FORGETS = frozenset({Misdeed.NOT_FOUND, Misdeed.FORGOTTEN})


class Truth(Promise):
    """Knows for each book how far its reported history has come."""

    name: ClassVar[str] = "truth"
    sentence: ClassVar[str] = "Every change is true: no false close, no lost fill, nothing reported twice or backwards."

    def __init__(self) -> None:
        """Nothing was reported."""
        super().__init__()
        self._last = 0
        self._seen_to: dict[tuple[str, str], int] = {}  # book -> index of the fill up to which it was reported
        self._open: set[tuple[str, str]] = set()
        self._over: set[tuple[str, str]] = set()

    def committed(self, at_ms: int, batch: Batch, served: Sequence[tuple[int, int]]) -> None:
        """Hold each new change against the true books."""
        for change in batch.changes:
            if change.number <= self._last:
                continue  # the same batch once more, after a commit that failed only in name
            self._last = change.number
            book = self.world.book_of(change.account)
            self.world.venue.matching.touch(book, self.world.exchange_ms())
            if change.kind.startswith("position_"):
                self._position(change)
            elif change.kind.startswith("order_"):
                self._order(change)

    # -- positions

    def _position(self, change: Change) -> None:
        """The state it names must have been, and must come after the one that was reported before."""
        book = self.world.book_of(change.account)
        market = self.world.venue.markets.by_symbol[change.symbol]
        fills = book.fills.get(market.id, [])
        key = change.account, change.symbol
        before = self._seen_to.get(key, -1)
        if change.kind == "position_closed":
            assert change.before is not None
            index = self._end_of(fills, change.before, before)
            if index is None:
                self.broken(f"{_told(change)}: no fill closed it")
                return
            if fills[index].size_after:  # the same fill opened what may be told later
                index -= 1
        else:
            assert change.after is not None
            index = self._state_in(fills, change.after, before)
            if index is None:
                self.broken(f"{_told(change)}: it never held {change.after['side']} {change.after['size']} "
                            f"at {change.after['updated_at_ms']} after what was reported before")
                return
        self._seen_to[key] = index

    @staticmethod
    def _end_of(fills: Sequence[BookFill], row: Row, from_index: int) -> int | None:
        """The first fill after the reported state that left nothing, or the other side."""
        sign = 1 if row["side"] == "long" else -1
        for index in range(max(from_index + 1, 0), len(fills)):
            if fills[index].size_after * sign <= 0:
                return index
        return None

    @staticmethod
    def _state_in(fills: Sequence[BookFill], row: Row, from_index: int) -> int | None:
        """The fill, after `from_index`, that left exactly this position."""
        size = Decimal(row["size"]) * (1 if row["side"] == "long" else -1)
        for index in range(len(fills) - 1, from_index, -1):
            fill = fills[index]
            if fill.at_ms < row["updated_at_ms"]:
                return None
            if fill.at_ms == row["updated_at_ms"] and fill.size_after == size and (
                    fill.entry_after == Decimal(row["entry_price"])):
                return index
        return None

    # -- orders

    def _order(self, change: Change) -> None:
        assert change.after is not None
        key, after = (change.account, change.after["id"]), change.after
        order = self._true_order(change.account, after)
        if order is None:
            self.broken(f"{_told(change)}: the exchange never had it")
            return
        if key in self._over:
            self.broken(f"{_told(change)}: its end was reported before")
        elif change.kind == "order_opened" and key in self._open:
            self.broken(f"{_told(change)}: it was reported open before")
        elif change.kind == "order_ended":
            self._ended(change, order, after)
            self._over.add(key)
            self._open.discard(key)
        else:
            self._open.add(key)
            if Decimal(after["filled"]) > (order.filled if isinstance(order, BookOrder) else 0):
                self.broken(f"{_told(change)}: {after['filled']} are filled, it says")
            if change.kind == "order_filled" and change.before is not None and (
                    Decimal(after["filled"]) <= Decimal(change.before["filled"])):
                self.broken(f"{_told(change)}: nothing was filled")

    def _ended(self, change: Change, order: BookOrder | BookTrigger, after: Row) -> None:
        if order.is_open:
            self.broken(f"{_told(change)}: it still rests")
            return
        unified = unified_order(as_it_is(order)) if isinstance(order, BookOrder) else unified_trigger(order)
        if after["filled"] != unified.filled:
            self.broken(f"{_told(change)}: filled {after['filled']}, in truth {unified.filled}")
        if after["status"] == unified.status:
            return
        forgets = (bool(self.world.setup.faults.misdeeds.keys() & _FORGETS)
                   or not self.world.venue.books.remembers(order, self.world.exchange_ms()))
        if after["status"] != "unknown" or not forgets:
            self.broken(f"{_told(change)}: ended {after['status']}, in truth {unified.status}")

    def _true_order(self, account: str, row: Row) -> BookOrder | BookTrigger | None:
        book = self.world.book_of(account)
        number = int(row["id"])
        return book.triggers.get(number) if row["conditional"] else book.orders.get(number)


def _told(change: Change) -> str:
    return f"change {change.number}, {change.kind} {change.key} on {change.account} {change.symbol}"
