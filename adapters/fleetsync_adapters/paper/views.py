"""Reading the books, as they are or as they were: every surface of one account at a cutoff.

An older state is what an exchange shows whose surfaces are out of step. It is rebuilt from what the books keep (each
fill knows the position it left, each order when it began and ended), so nothing has to be copied in advance.
"""

from dataclasses import dataclass
from decimal import Decimal

from fleetsync_adapters.paper.books import NOTHING, BookAccount, BookFill, BookOrder, Books, BookTrigger
from fleetsync_adapters.paper.markets import Market


@dataclass(frozen=True, slots=True)
class PositionView:
    """A position, or the empty row of a symbol that has only open orders."""

    market: Market
    size: Decimal  # negative: short
    entry: Decimal
    updated_at_ms: int


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order with the state it had at the cutoff."""

    order: BookOrder
    filled: Decimal
    quote: Decimal
    status: str
    updated_at_ms: int


def positions(account: BookAccount, market: Market | None = None, cutoff_ms: int | None = None) -> list[PositionView]:
    """Symbols with a position or a resting order, as `positionRisk` v3 lists them."""
    if cutoff_ms is not None:
        return _positions_then(account, market, cutoff_ms)
    rows = [
        PositionView(one.market, one.size, one.entry, one.updated_at_ms)
        for one in account.positions.values()
        if market is None or one.market is market
    ]
    listed = {one.market.id for one in rows}
    for order in account.resting.values():
        if order.market.id not in listed and (market is None or order.market is market):
            listed.add(order.market.id)
            rows.append(PositionView(order.market, NOTHING, NOTHING, 0))
    return rows


def _positions_then(account: BookAccount, market: Market | None, cutoff_ms: int) -> list[PositionView]:
    rows = []
    listed = set()
    for fills in account.fills.values():
        last = next((fill for fill in reversed(fills) if fill.at_ms <= cutoff_ms), None)
        if last is not None and last.size_after and (market is None or last.market is market):
            listed.add(last.market.id)
            rows.append(PositionView(last.market, last.size_after, last.entry_after, last.at_ms))
    for order in account.orders.values():
        wanted = order.market.id not in listed and (market is None or order.market is market)
        if wanted and _open_then(order, cutoff_ms):
            listed.add(order.market.id)
            rows.append(PositionView(order.market, NOTHING, NOTHING, 0))
    return rows


def open_orders(account: BookAccount, market: Market | None = None, cutoff_ms: int | None = None) -> list[OrderView]:
    """Resting orders."""
    if cutoff_ms is None:
        return [now(order) for order in account.resting.values() if market is None or order.market is market]
    return [
        _then(account, order, cutoff_ms)
        for order in account.orders.values()
        if _open_then(order, cutoff_ms) and (market is None or order.market is market)
    ]


def open_triggers(
    account: BookAccount, market: Market | None = None, cutoff_ms: int | None = None
) -> list[BookTrigger]:
    """Waiting conditional orders."""
    waiting = account.waiting.values() if cutoff_ms is None else account.triggers.values()
    return [
        one
        for one in waiting
        if (market is None or one.market is market) and (cutoff_ms is None or _open_then(one, cutoff_ms))
    ]


def find_order(
    books: Books, account: BookAccount, at_ms: int, *, order_id: int = 0, client_id: str = "",
    cutoff_ms: int | None = None,
) -> OrderView | None:
    """One order by id, or the newest one by client id; None when it is not there (any more, or yet)."""
    order = account.orders.get(order_id or account.by_client_id.get(client_id, 0))
    if order is None or not books.remembers(order, at_ms):
        return None
    if cutoff_ms is None:
        return now(order)
    return _then(account, order, cutoff_ms) if order.created_at_ms <= cutoff_ms else None


def find_trigger(
    books: Books, account: BookAccount, at_ms: int, *, trigger_id: int = 0, client_id: str = "",
    cutoff_ms: int | None = None,
) -> BookTrigger | None:
    """One conditional order by id or client id."""
    trigger = account.triggers.get(trigger_id or account.triggers_by_client_id.get(client_id, 0))
    if trigger is None or not books.remembers(trigger, at_ms):
        return None
    return None if cutoff_ms is not None and trigger.created_at_ms > cutoff_ms else trigger


def fills(account: BookAccount, market: Market, cutoff_ms: int | None = None) -> list[BookFill]:
    """Every fill on one symbol that is still kept, oldest first."""
    kept = account.fills.get(market.id, [])
    return kept if cutoff_ms is None else [fill for fill in kept if fill.at_ms <= cutoff_ms]


def now(order: BookOrder) -> OrderView:
    """An order as it is."""
    return OrderView(order, order.filled, order.quote, order.status, order.updated_at_ms)


def _open_then(one: BookOrder | BookTrigger, cutoff_ms: int) -> bool:
    return one.created_at_ms <= cutoff_ms and (one.is_open or one.ended_at_ms > cutoff_ms)


def _then(account: BookAccount, order: BookOrder, cutoff_ms: int) -> OrderView:
    if order.updated_at_ms <= cutoff_ms:
        return now(order)
    mine = [f for f in account.fills.get(order.market.id, ()) if f.order_id == order.id and f.at_ms <= cutoff_ms]
    filled = sum((fill.size for fill in mine), NOTHING)
    quote = sum((fill.size * fill.price for fill in mine), NOTHING)
    status = order.status if not _open_then(order, cutoff_ms) else "PARTIALLY_FILLED" if mine else "NEW"
    return OrderView(order, filled, quote, status, mine[-1].at_ms if mine else order.created_at_ms)
