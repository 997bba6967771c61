"""How Binance USD-M is asked: its raw endpoints, without ccxt's parsers."""

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from fleetsync.messages import Call
from fleetsync.model import Fill, Surface
from fleetsync.units import DAY_MS
from fleetsync_adapters import ccxt_rows as rows
from fleetsync_adapters.ccxt_reading import BadBody, Markets, Reading, list_of, mapping_of, of_its_symbol

FILLS_A_PAGE = 1000
FILLS_WINDOW_MS = 7 * DAY_MS

# Surface -> ccxt's implicit method, the fields to compare a row by, and how to read it. None of the lists has pages.
_LISTS: dict[Surface, tuple[str, Callable[[rows.Row], tuple[Any, ...]], Callable[..., Any]]] = {
    Surface.POSITIONS: ("fapiPrivateV3GetPositionRisk", rows.position_key, rows.binance_position),
    Surface.ORDERS: ("fapiPrivateGetOpenOrders", rows.order_key, rows.binance_order),
    Surface.CONDITIONAL: ("fapiPrivateGetOpenAlgoOrders", rows.conditional_key, rows.binance_conditional),
}
_NAME = itemgetter(0, 1)  # of a key: a position's symbol and side, an order's id and symbol


async def read_binance(client: Any, call: Call, markets: Markets, now_ms: Callable[[], int]) -> Reading:
    """Ask one question.

    Raises:
        BadBody: the answer is not what was asked for.
        Exception: whatever ccxt raises.
    """
    if call.surface is Surface.ORDER:
        return await _order(client, call, markets)
    if call.surface is Surface.FILLS:
        return await _fills(client, call, markets, now_ms)
    method, key, parse = _LISTS[call.surface]
    market_id = markets.id_of(call.symbol) if call.symbol else ""
    raw = list_of(await getattr(client, method)({"symbol": market_id} if market_id else {}))
    if market_id and any(row["symbol"] != market_id for row in raw):
        raise BadBody("rows of another symbol")
    keys = sorted(map(key, raw))
    if len(set(map(_NAME, keys))) < len(keys):
        keys = sorted(set(keys))  # a row told twice is one row
        if len(set(map(_NAME, keys))) < len(keys):
            raise BadBody("one thing in two states")
    return Reading(
        key=keys,
        rows=lambda: tuple(dict.fromkeys(parse(row, markets.symbol_of) for row in raw)),
        complete=True,
    )


async def _order(client: Any, call: Call, markets: Markets) -> Reading:
    request = {"symbol": markets.id_of(call.symbol)}
    if call.conditional:
        request |= {"algoId": call.order_id} if call.order_id else {"clientAlgoId": call.client_id}
        row = mapping_of(await client.fapiPrivateGetAlgoOrder(request))
        order = rows.binance_conditional(row, markets.symbol_of)
    else:
        request |= {"orderId": call.order_id} if call.order_id else {"origClientOrderId": call.client_id}
        row = mapping_of(await client.fapiPrivateGetOrder(request))
        order = rows.binance_order(row, markets.symbol_of)
    if (call.order_id and order.id != call.order_id) or (not call.order_id and order.client_id != call.client_id):
        raise BadBody("another order than was asked for")
    return of_its_symbol(order, call)


async def _fills(client: Any, call: Call, markets: Markets, now_ms: Callable[[], int]) -> Reading:
    """Fills since an instant, oldest first; without an instant the newest page.

    Times and ids exclude each other in this endpoint, and times may span seven days: it is asked week by week, and by
    id from the first full page on.
    """
    market_id = markets.id_of(call.symbol)
    request = _week(market_id, call.since_ms, now_ms())
    found: dict[tuple[str, str], Fill] = {}  # where two orders of ours met, both executions bear one id
    complete = False
    for _ in range(call.pages):
        raw = list_of(await client.fapiPrivateGetUserTrades(request))
        page = [rows.binance_fill(row, markets.symbol_of) for row in raw]
        found |= {(fill.id, fill.order_id): fill for fill in page}
        if len(page) >= FILLS_A_PAGE:
            if not call.since_ms:
                break  # there are older ones, and no way to ask for "the rest"
            request = {"symbol": market_id, "fromId": max(int(fill.id) for fill in page) + 1, "limit": FILLS_A_PAGE}
        elif "endTime" in request:
            request = _week(market_id, int(request["endTime"]) + 1, now_ms())
        else:
            complete = True
            break
    fills = tuple(sorted(found.values(), key=lambda fill: (fill.at_ms, int(fill.id))))
    return Reading(None, lambda: fills, complete=complete)


def _week(market_id: str, since_ms: int, now_ms: int) -> dict[str, Any]:
    request: dict[str, Any] = {"symbol": market_id, "limit": FILLS_A_PAGE}
    if since_ms:
        request["startTime"] = since_ms
        if since_ms + FILLS_WINDOW_MS <= now_ms:
            request["endTime"] = since_ms + FILLS_WINDOW_MS - 1
    return request
