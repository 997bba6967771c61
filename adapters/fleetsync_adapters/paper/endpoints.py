"""The REST endpoints of Binance USD-M that read: markets, positions, orders, fills, balances."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from fleetsync.units import DAY_MS
from fleetsync_adapters.paper import rows, views
from fleetsync_adapters.paper.asked import Asked
from fleetsync_adapters.paper.books import NOTHING, BookFill, BookOrder
from fleetsync_adapters.paper.faults import Misdeed
from fleetsync_adapters.paper.refusals import Refusal, missing, unknown_order
from fleetsync_adapters.paper.venue import bend

WEEK_MS = 7 * DAY_MS
Handler = Callable[[Asked], Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path and method; `handle` gives plain JSON, or ready bytes."""

    name: str  # "GET /fapi/v3/positionRisk"
    handle: Handler
    signed: bool = True


def ping(asked: Asked) -> Any:
    """Nothing, quickly."""
    return {}


def server_time(asked: Asked) -> Any:
    """The exchange's clock."""
    return {"serverTime": asked.shown_ms}


def exchange_info(asked: Asked) -> Any:
    """All markets and limits."""
    rules = asked.venue.limits.rules
    limits = (
        ("REQUEST_WEIGHT", "MINUTE", 1, rules.weight_per_minute),
        ("ORDERS", "MINUTE", 1, rules.orders_per_minute),
        ("ORDERS", "SECOND", 10, rules.orders_per_10s),
    )
    return {
        "timezone": "UTC",
        "serverTime": asked.shown_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": [
            {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}
            for kind, interval, number, limit in limits
        ],
        "exchangeFilters": [],
        "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": _listed(asked, rows.market_row),
    }


def leverage_bracket(asked: Asked) -> Any:
    """Margin tiers of all markets or one."""
    market = asked.market_if_asked()
    return _listed(asked, rows.bracket_row) if market is None else [rows.bracket_row(market)]


_fragments: dict[tuple[int, int, str], orjson.Fragment] = {}


def _listed(asked: Asked, row: Callable[[Any], rows.Json]) -> orjson.Fragment:
    """One row a market; encoded once for each list of markets, which never changes."""
    markets = asked.venue.markets
    key = (markets.seed, len(markets.all), row.__name__)
    if key not in _fragments:
        _fragments[key] = orjson.Fragment(orjson.dumps([row(market) for market in markets.all]))
    return _fragments[key]


def ticker_price(asked: Asked) -> Any:
    """Last prices."""
    only = asked.market_if_asked()
    listed = [
        {"symbol": market.id, "price": rows.plain(market.price(asked.at_ms)), "time": asked.at_ms}
        for market in (asked.venue.markets.all if only is None else (only,))
    ]
    return listed if only is None else listed[0]


def premium_index(asked: Asked) -> Any:
    """Mark prices."""
    only = asked.market_if_asked()
    listed = []
    for market in asked.venue.markets.all if only is None else (only,):
        price = f"{market.price(asked.at_ms):.8f}"
        listed.append({
            "symbol": market.id, "markPrice": price, "indexPrice": price, "estimatedSettlePrice": price,
            "lastFundingRate": "0.00000000", "interestRate": "0.00010000", "nextFundingTime": 0, "time": asked.at_ms,
        })
    return listed if only is None else listed[0]


def position_risk_v3(asked: Asked) -> Any:
    """Symbols with a position or an open order."""
    found = views.positions(asked.account, asked.market_if_asked(), asked.cutoff_ms("positions"))
    leverage = asked.venue.books.rules.leverage
    return [rows.position_row(view, asked.at_ms, leverage, version=3) for view in bend(found, asked.entry)]


def position_risk_v2(asked: Asked) -> Any:
    """Every symbol, held or not."""
    only = asked.market_if_asked()
    found = {one.market.id: one for one in views.positions(asked.account, only, asked.cutoff_ms("positions"))}
    markets = asked.venue.markets.all if only is None else (only,)
    every = [found.get(market.id) or views.PositionView(market, NOTHING, NOTHING, 0) for market in markets]
    leverage = asked.venue.books.rules.leverage
    return [rows.position_row(view, asked.at_ms, leverage, version=2) for view in bend(every, asked.entry)]


def account(asked: Asked) -> Any:
    """Balances and positions."""
    free = asked.venue.orders.available(asked.account, asked.at_ms)
    return rows.account_body(asked.venue.books, asked.account, free, asked.at_ms)


def balance(asked: Asked) -> Any:
    """Balances."""
    free = asked.venue.orders.available(asked.account, asked.at_ms)
    return bend(rows.balance_rows(asked.account, free, asked.at_ms), asked.entry)


def open_orders(asked: Asked) -> Any:
    """Resting orders, of one symbol or of all."""
    found = views.open_orders(asked.account, asked.market_if_asked(), asked.cutoff_ms("orders"))
    return [rows.order_row(view) for view in bend(found, asked.entry)]


def open_order(asked: Asked) -> Any:
    """One resting order."""
    view = _looked_up(asked)
    if view is None or view.status not in {"NEW", "PARTIALLY_FILLED"}:
        raise unknown_order()
    return rows.order_row(view)


def order(asked: Asked) -> Any:
    """One order, resting or ended."""
    view = _looked_up(asked)
    if view is None:
        raise unknown_order()
    return rows.order_row(view)


def _looked_up(asked: Asked) -> views.OrderView | None:
    market = asked.market()
    order_id, client_id = asked.whole("orderId"), asked.text("origClientOrderId")
    if not order_id and not client_id:
        raise missing("orderId")
    view = asked.venue.find_order(asked.entry, asked.account, asked.at_ms, order_id, client_id)
    return view if view is not None and view.order.market is market else None


def all_orders(asked: Asked) -> Any:
    """Orders of one symbol, ended ones too, as far as the exchange remembers."""
    market = asked.market()
    start_ms, end_ms, limit = _window(asked, 500)
    first_id = asked.whole("orderId")
    cutoff_ms = asked.cutoff_ms("all orders")

    def wanted(one: BookOrder) -> bool:
        begun = one.created_at_ms <= (asked.at_ms if cutoff_ms is None else cutoff_ms)
        if one.market is not market or not begun or not asked.venue.books.remembers(one, asked.at_ms):
            return False
        if asked.entry.fault(Misdeed.FORGOTTEN) and not one.is_open:
            return False
        return one.id >= first_id and start_ms <= one.created_at_ms <= end_ms

    found = [one for one in asked.account.orders.values() if wanted(one)]
    page = found[:limit] if first_id or asked.text("startTime") else found[-limit:]
    return [rows.order_row(views.now(one)) for one in bend(page, asked.entry)]


def user_trades(asked: Asked) -> Any:
    """Fills of one symbol."""
    market = asked.market()
    first_id, order_id = asked.whole("fromId"), asked.whole("orderId")
    if first_id and (asked.text("startTime") or asked.text("endTime")):
        raise Refusal(-1128, "Combination of optional parameters invalid.")
    start_ms, end_ms, limit = _window(asked, 500)
    oldest_ms = asked.at_ms - asked.venue.books.rules.fills_kept_ms
    if asked.text("startTime") and start_ms < oldest_ms:
        raise Refusal(-4166, "Search window is restricted to recent 90 days only.")

    def wanted(fill: BookFill) -> bool:
        if fill.at_ms < oldest_ms or (order_id and fill.order_id != order_id):
            return False
        return fill.id >= first_id if first_id else start_ms <= fill.at_ms <= end_ms

    found = [fill for fill in views.fills(asked.account, market, asked.cutoff_ms("fills")) if wanted(fill)]
    page = found[:limit] if first_id or asked.text("startTime") else found[-limit:]
    return [rows.fill_row(fill) for fill in bend(page, asked.entry)]


def _window(asked: Asked, usual: int) -> tuple[int, int, int]:
    """startTime, endTime and limit; both ends are needed to look further back than a week."""
    start_ms, end_ms = asked.whole("startTime"), asked.whole("endTime")
    if start_ms and end_ms and not 0 <= end_ms - start_ms <= WEEK_MS:
        raise Refusal(-1127, "Lookup interval is too big.")
    if not end_ms:
        end_ms = start_ms + WEEK_MS if start_ms else asked.at_ms
    if not start_ms:
        start_ms = end_ms - WEEK_MS
    limit = asked.whole("limit", usual)
    if not 1 <= limit <= 1000:
        raise Refusal(-1130, "Data sent for parameter 'limit' is not valid.")
    return start_ms, end_ms, limit


def open_algo_orders(asked: Asked) -> Any:
    """Waiting conditional orders, of one symbol or of all."""
    found = views.open_triggers(asked.account, asked.market_if_asked(), asked.cutoff_ms("conditional"))
    return [rows.trigger_row(one) for one in bend(found, asked.entry)]


def algo_order(asked: Asked) -> Any:
    """One conditional order."""
    trigger_id, client_id = asked.whole("algoId"), asked.text("clientAlgoId")
    if not trigger_id and not client_id:
        raise missing("algoId")
    trigger = asked.venue.find_trigger(asked.entry, asked.account, asked.at_ms, trigger_id, client_id)
    if trigger is None:
        raise unknown_order()
    return rows.trigger_row(trigger)


def all_algo_orders(asked: Asked) -> Any:
    """Conditional orders of one symbol, ended ones too."""
    market = asked.market()
    start_ms, end_ms, limit = _window(asked, 500)
    found = [
        one
        for one in asked.account.triggers.values()
        if one.market is market
        and asked.venue.books.remembers(one, asked.at_ms)
        and start_ms <= one.created_at_ms <= end_ms
    ]
    return [rows.trigger_row(one) for one in bend(found[-limit:], asked.entry)]


def position_mode(asked: Asked) -> Any:
    """One-way: longs and shorts are netted."""
    return {"dualSidePosition": False}


def currencies(asked: Asked) -> Any:
    """The wallet host's currencies, as few as there are."""
    return [{
        "coin": "USDT", "depositAllEnable": False, "withdrawAllEnable": False, "name": "TetherUS", "free": "0",
        "locked": "0", "freeze": "0", "withdrawing": "0", "ipoing": "0", "ipoable": "0", "storage": "0",
        "isLegalMoney": False, "trading": True, "networkList": [],
    }]


def margin_pairs(asked: Asked) -> Any:
    """The margin host's pairs: none."""
    return []
