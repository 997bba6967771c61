"""How an exchange without a wire is asked: ccxt's unified methods, as they are.

How many rows a page of such an exchange holds is not known here, so a list whose length is a usual page size is taken
for a page and not for the whole: it is partial, and closes nothing.
"""

from collections.abc import Callable
from typing import Any

import orjson

from fleetsync.messages import Call, Rows
from fleetsync.model import Position, Surface
from fleetsync_adapters import ccxt_rows as rows
from fleetsync_adapters.ccxt_reading import BadBody, Markets, Reading, list_of, mapping_of, of_its_symbol

USUAL_PAGES = frozenset({10, 20, 25, 30, 40, 50, 60, 100, 200, 250, 300, 500, 1000})


async def read_unified(client: Any, call: Call, markets: Markets, _now_ms: Callable[[], int]) -> Reading:
    """Ask one question.

    Raises:
        BadBody: the answer is not what was asked for.
        Exception: whatever ccxt raises.
    """
    if call.symbol:
        markets.id_of(call.symbol)
    symbol = call.symbol or None
    found: Rows
    match call.surface:
        case Surface.POSITIONS:
            raw = list_of(await client.fetch_positions([symbol] if symbol else None))
            found = rows.unified_positions((row, _position(row)) for row in raw)
        case Surface.ORDERS | Surface.CONDITIONAL:
            params = {"trigger": True} if call.surface is Surface.CONDITIONAL else {}
            raw = list_of(await client.fetch_open_orders(symbol, None, None, params))
            found = tuple(rows.unified_order(row, conditional=bool(params)) for row in raw)
        case Surface.FILLS:
            raw = list_of(await client.fetch_my_trades(symbol, call.since_ms or None))
            fills = tuple(sorted((rows.unified_fill(row) for row in raw), key=lambda fill: (fill.at_ms, fill.id)))
            return Reading(None, lambda: fills, complete=len(raw) not in USUAL_PAGES)
        case _:
            return await _order(client, call)
    key = sorted(orjson.dumps([*row]).decode() for row in found)
    return Reading(key, lambda: found, complete=len(raw) not in USUAL_PAGES)


def _position(row: Any) -> Position:
    """An instant that is a whole second may be all that this exchange tells: nobody has looked."""
    position = rows.unified_position(row)
    unit_ms = 1 if position.updated_at_ms % 1_000 else 1_000
    return position._replace(updated_at_ms=rows.last_of(position.updated_at_ms, unit_ms))


async def _order(client: Any, call: Call) -> Reading:
    params: dict[str, Any] = {"trigger": True} if call.conditional else {}
    if not call.order_id:
        params["clientOrderId"] = call.client_id
    row = mapping_of(await client.fetch_order(call.order_id or None, call.symbol, params))
    order = rows.unified_order(row, conditional=call.conditional)
    if call.order_id and order.id != call.order_id:
        raise BadBody("another order than was asked for")
    if not call.order_id and order.client_id != call.client_id:
        raise BadBody("another order than was asked for")
    return of_its_symbol(order, call)
