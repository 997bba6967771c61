"""The REST endpoints of Binance USD-M that change something: orders and conditional orders."""

from decimal import Decimal
from typing import Any

from fleetsync_adapters.paper import endpoints, rows, views
from fleetsync_adapters.paper.asked import Asked
from fleetsync_adapters.paper.endpoints import Endpoint
from fleetsync_adapters.paper.orders import Ticket
from fleetsync_adapters.paper.refusals import cannot_cancel, missing, wrong


def create_order(asked: Asked) -> Any:
    """A market or limit order."""
    order = asked.venue.orders.place(asked.account, _ticket(asked, "type", "newClientOrderId"), asked.at_ms)
    return rows.order_row(views.now(order))


def create_algo_order(asked: Asked) -> Any:
    """A conditional order."""
    if asked.text("algoType") != "CONDITIONAL":
        raise wrong("algoType")
    trigger = asked.venue.orders.place_trigger(asked.account, _ticket(asked, "type", "clientAlgoId"), asked.at_ms)
    return rows.trigger_row(trigger)


def cancel_order(asked: Asked) -> Any:
    """Cancel one order by either id."""
    market = asked.market()
    order_id, client_id = asked.whole("orderId"), asked.text("origClientOrderId")
    if not order_id and not client_id:
        raise missing("orderId")
    asked.venue.matching.touch(asked.account, asked.at_ms)
    order = asked.account.orders.get(order_id or asked.account.by_client_id.get(client_id, 0))
    if order is None or order.market is not market:
        raise cannot_cancel()
    return rows.order_row(views.now(asked.venue.orders.cancel(asked.account, order, asked.at_ms)))


def cancel_all_orders(asked: Asked) -> Any:
    """Cancel every resting order of one symbol."""
    market = asked.market()
    asked.venue.matching.touch(asked.account, asked.at_ms)
    for order in [one for one in asked.account.resting.values() if one.market is market]:
        asked.venue.orders.cancel(asked.account, order, asked.at_ms)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def cancel_algo_order(asked: Asked) -> Any:
    """Cancel one conditional order by either id."""
    trigger_id, client_id = asked.whole("algoId"), asked.text("clientAlgoId")
    if not trigger_id and not client_id:
        raise missing("algoId")
    trigger_id = trigger_id or asked.account.triggers_by_client_id.get(client_id, 0)
    trigger = asked.venue.orders.cancel_trigger(asked.account, asked.account.triggers.get(trigger_id), asked.at_ms)
    return {"algoId": trigger.id, "clientAlgoId": trigger.client_id, "code": "200", "msg": "success"}


def cancel_all_algo_orders(asked: Asked) -> Any:
    """Cancel every conditional order of one symbol."""
    market = asked.market()
    asked.venue.matching.touch(asked.account, asked.at_ms)
    for trigger in [one for one in asked.account.waiting.values() if one.market is market]:
        asked.venue.orders.cancel_trigger(asked.account, trigger, asked.at_ms)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def set_leverage(asked: Asked) -> Any:
    """Accepted and answered; every account trades at the venue's leverage."""
    market = asked.market()
    leverage = asked.whole("leverage")
    if not 1 <= leverage <= 125:
        raise wrong("leverage")
    return {"symbol": market.id, "leverage": leverage, "maxNotionalValue": "100000000"}


def _ticket(asked: Asked, type_name: str, client_name: str) -> Ticket:
    """What was asked for; which values make sense is the order desk's to say."""
    market = asked.market()
    if asked.text("positionSide") not in {"", "BOTH"}:
        raise wrong("positionSide")
    for name in ("side", type_name):
        if not asked.text(name):
            raise missing(name)
    return Ticket(
        market=market,
        side=asked.text("side").upper(),
        type=asked.text(type_name).upper(),
        size=_on_scale(asked.number("quantity")),
        price=asked.number("price"),
        trigger=asked.number("triggerPrice"),
        reduce_only=asked.flag("reduceOnly"),
        close_position=asked.flag("closePosition"),
        time_in_force=asked.text("timeInForce") or "GTC",
        client_id=asked.text(client_name),
    )


def _on_scale(size: Decimal) -> Decimal:
    """Sizes beyond anything that is traded are refused before they reach the arithmetic."""
    if abs(size) >= Decimal("1e12"):
        raise wrong("quantity")
    return size


_ALL = (
    Endpoint("GET /fapi/v1/ping", endpoints.ping, signed=False),
    Endpoint("GET /fapi/v1/time", endpoints.server_time, signed=False),
    Endpoint("GET /fapi/v1/exchangeInfo", endpoints.exchange_info, signed=False),
    Endpoint("GET /fapi/v1/ticker/price", endpoints.ticker_price, signed=False),
    Endpoint("GET /fapi/v1/premiumIndex", endpoints.premium_index, signed=False),
    Endpoint("GET /fapi/v1/leverageBracket", endpoints.leverage_bracket),
    Endpoint("GET /fapi/v2/positionRisk", endpoints.position_risk_v2),
    Endpoint("GET /fapi/v3/positionRisk", endpoints.position_risk_v3),
    Endpoint("GET /fapi/v2/account", endpoints.account),
    Endpoint("GET /fapi/v3/account", endpoints.account),
    Endpoint("GET /fapi/v2/balance", endpoints.balance),
    Endpoint("GET /fapi/v3/balance", endpoints.balance),
    Endpoint("GET /fapi/v1/openOrders", endpoints.open_orders),
    Endpoint("GET /fapi/v1/openOrder", endpoints.open_order),
    Endpoint("GET /fapi/v1/order", endpoints.order),
    Endpoint("GET /fapi/v1/allOrders", endpoints.all_orders),
    Endpoint("GET /fapi/v1/userTrades", endpoints.user_trades),
    Endpoint("GET /fapi/v1/openAlgoOrders", endpoints.open_algo_orders),
    Endpoint("GET /fapi/v1/algoOrder", endpoints.algo_order),
    Endpoint("GET /fapi/v1/allAlgoOrders", endpoints.all_algo_orders),
    Endpoint("GET /fapi/v1/positionSide/dual", endpoints.position_mode),
    Endpoint("GET /sapi/v1/capital/config/getall", endpoints.currencies),
    Endpoint("GET /sapi/v1/margin/allPairs", endpoints.margin_pairs),
    Endpoint("POST /fapi/v1/order", create_order),
    Endpoint("POST /fapi/v1/algoOrder", create_algo_order),
    Endpoint("POST /fapi/v1/leverage", set_leverage),
    Endpoint("DELETE /fapi/v1/order", cancel_order),
    Endpoint("DELETE /fapi/v1/allOpenOrders", cancel_all_orders),
    Endpoint("DELETE /fapi/v1/algoOrder", cancel_algo_order),
    Endpoint("DELETE /fapi/v1/algoOpenOrders", cancel_all_algo_orders),
)
ENDPOINTS = {endpoint.name: endpoint for endpoint in _ALL}
