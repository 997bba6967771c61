"""The books in fleetsync's own words: unified symbols, canonical decimals, ccxt's statuses.

Used for the direct port, and by the admin endpoints to say what an account really holds.
"""

from functools import lru_cache
from typing import Any

from fleetsync.model import Fill, Order, Position
from fleetsync.units import canonical
from fleetsync_adapters.paper.books import BookAccount, BookFill, BookTrigger
from fleetsync_adapters.paper.views import OrderView, PositionView, open_orders, open_triggers, positions

_STATUSES = {
    "NEW": "open", "PARTIALLY_FILLED": "open", "FILLED": "closed", "FINISHED": "closed", "CANCELED": "canceled",
    "EXPIRED": "expired",
}


def unified_position(view: PositionView) -> Position:
    """A position, or the size "0" row of a symbol that has only open orders."""
    return Position(
        symbol=view.market.symbol,
        side="short" if view.size < 0 else "long",
        size=canonical(abs(view.size)),
        entry_price=canonical(view.entry),
        updated_at_ms=view.updated_at_ms,
    )


def unified_order(view: OrderView) -> Order:
    """An order as it is seen."""
    order = view.order
    return Order(
        id=str(order.id),
        client_id=order.client_id,
        symbol=order.market.symbol,
        side=order.side.lower(),
        type=order.type.lower(),
        price="" if order.type == "MARKET" else canonical(order.price),
        size=canonical(order.size),
        filled=canonical(view.filled),
        status=_STATUSES[view.status],
        reduce_only=order.reduce_only,
        conditional=False,
        created_at_ms=order.created_at_ms,
        updated_at_ms=view.updated_at_ms,
    )


def unified_trigger(trigger: BookTrigger) -> Order:
    """A conditional order."""
    return Order(
        id=str(trigger.id),
        client_id=trigger.client_id,
        symbol=trigger.market.symbol,
        side=trigger.side.lower(),
        type=trigger.type.lower(),
        price=canonical(trigger.price) if trigger.price else "",
        size=canonical(trigger.size),
        filled="0",
        status=_STATUSES[trigger.status],
        reduce_only=trigger.reduce_only or trigger.close_position,
        conditional=True,
        created_at_ms=trigger.created_at_ms,
        updated_at_ms=trigger.updated_at_ms,
    )


@lru_cache(maxsize=4096)
def unified_fill(fill: BookFill) -> Fill:
    """An execution."""
    return Fill(
        id=str(fill.id),
        order_id=str(fill.order_id),
        symbol=fill.market.symbol,
        side=fill.side.lower(),
        price=canonical(fill.price),
        size=canonical(fill.size),
        at_ms=fill.at_ms,
    )


def account_holdings(account: BookAccount) -> dict[str, Any]:
    """Balance, positions and open orders of one account, as plain JSON."""
    return {
        "balance": canonical(account.balance),
        "positions": [unified_position(one)._asdict() for one in positions(account) if one.size],
        "orders": [unified_order(one)._asdict() for one in open_orders(account)],
        "conditional": [unified_trigger(one)._asdict() for one in open_triggers(account)],
    }


