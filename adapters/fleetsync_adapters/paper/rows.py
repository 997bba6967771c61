"""The rows of Binance USD-M's REST answers: field names, spellings and the fixed digits of its numbers."""

from decimal import Decimal
from typing import Any

from fleetsync_adapters.paper.books import NOTHING, BookAccount, BookFill, Books, BookTrigger
from fleetsync_adapters.paper.markets import Market
from fleetsync_adapters.paper.views import OrderView, PositionView

Json = dict[str, Any]
_MAINTENANCE = Decimal("0.005")
_BRACKETS = (
    # notional up to, highest leverage, maintenance margin
    (50_000, 125, 0.004), (600_000, 100, 0.005), (3_000_000, 75, 0.0065), (12_000_000, 50, 0.01),
    (70_000_000, 25, 0.02), (100_000_000, 20, 0.025),
)


def plain(number: Decimal) -> str:
    """A decimal without exponent."""
    return f"{number:f}"


def position_row(view: PositionView, at_ms: int, leverage: int, *, version: int) -> Json:
    """One row of positionRisk, v3 or v2."""
    market, size = view.market, view.size
    mark = market.price(at_ms)
    notional = mark * size
    profit = (mark - view.entry) * size
    margin = abs(notional) / leverage
    row: Json = {
        "symbol": market.id,
        "positionSide": "BOTH",
        "positionAmt": f"{size:.{market.size_digits}f}",
        "entryPrice": plain(view.entry.normalize()) if view.entry else "0.0",
        "breakEvenPrice": plain(view.entry.normalize()) if view.entry else "0.0",
        "markPrice": f"{mark:.8f}",
        "unRealizedProfit": f"{profit:.8f}",
        "liquidationPrice": "0",
        "isolatedMargin": "0",
        "notional": f"{notional:.8f}",
        "isolatedWallet": "0",
        "updateTime": view.updated_at_ms,
    }
    if version == 3:
        row |= {
            "marginAsset": "USDT",
            "initialMargin": f"{margin:.8f}",
            "maintMargin": f"{abs(notional) * _MAINTENANCE:.8f}",
            "positionInitialMargin": f"{margin:.8f}",
            "openOrderInitialMargin": "0",
            "adl": 2,
            "bidNotional": "0",
            "askNotional": "0",
        }
    else:
        row |= {
            "leverage": str(leverage),
            "maxNotionalValue": "100000000",
            "marginType": "cross",
            "isAutoAddMargin": "false",
            "isolated": False,
            "adlQuantile": 2,
        }
    return row


def order_row(view: OrderView) -> Json:
    """One order, as every order endpoint shows it."""
    order = view.order
    market = order.market
    average = view.quote / view.filled if view.filled else NOTHING
    return {
        "orderId": order.id,
        "symbol": market.id,
        "status": view.status,
        "clientOrderId": order.client_id,
        "price": f"{order.price:.{market.price_digits}f}",
        "avgPrice": f"{average:.{market.price_digits + 2}f}",
        "origQty": f"{order.size:.{market.size_digits}f}",
        "executedQty": f"{view.filled:.{market.size_digits}f}",
        "cumQuote": f"{view.quote:.8f}",
        "timeInForce": order.time_in_force,
        "type": order.type,
        "reduceOnly": order.reduce_only,
        "closePosition": False,
        "side": order.side,
        "positionSide": "BOTH",
        "stopPrice": "0",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": order.type,
        "priceMatch": "NONE",
        "selfTradePreventionMode": "NONE",
        "goodTillDate": 0,
        "time": order.created_at_ms,
        "updateTime": view.updated_at_ms,
    }


def trigger_row(trigger: BookTrigger) -> Json:
    """One conditional ("algo") order."""
    market = trigger.market
    return {
        "algoId": trigger.id,
        "clientAlgoId": trigger.client_id,
        "algoType": "CONDITIONAL",
        "orderType": trigger.type,
        "symbol": market.id,
        "side": trigger.side,
        "positionSide": "BOTH",
        "timeInForce": trigger.time_in_force,
        "quantity": f"{trigger.size:.{market.size_digits}f}",
        "algoStatus": trigger.status,
        "actualOrderId": str(trigger.order_id) if trigger.order_id else "",
        "triggerPrice": f"{trigger.trigger:.{market.price_digits}f}",
        "price": f"{trigger.price:.{market.price_digits}f}",
        "icebergQuantity": None,
        "selfTradePreventionMode": "NONE",
        "workingType": "CONTRACT_PRICE",
        "priceMatch": "NONE",
        "closePosition": trigger.close_position,
        "priceProtect": False,
        "reduceOnly": trigger.reduce_only,
        "createTime": trigger.created_at_ms,
        "updateTime": trigger.updated_at_ms,
        "triggerTime": trigger.ended_at_ms if trigger.order_id else 0,
        "goodTillDate": 0,
    }


def fill_row(fill: BookFill) -> Json:
    """One execution, as userTrades shows it: without a client id."""
    market = fill.market
    return {
        "symbol": market.id,
        "id": fill.id,
        "orderId": fill.order_id,
        "side": fill.side,
        "price": f"{fill.price:.{market.price_digits}f}",
        "qty": f"{fill.size:.{market.size_digits}f}",
        "realizedPnl": f"{fill.profit:.8f}",
        "quoteQty": f"{fill.price * fill.size:.8f}",
        "commission": f"{fill.fee:.8f}",
        "commissionAsset": "USDT",
        "time": fill.at_ms,
        "positionSide": "BOTH",
        "buyer": fill.side == "BUY",
        "maker": fill.maker,
    }


def account_body(books: Books, account: BookAccount, available: Decimal, at_ms: int) -> Json:
    """The `account` answer: balances, and open positions in short."""
    leverage = books.rules.leverage
    profit = bound = NOTHING
    positions = []
    for one in account.positions.values():
        mark = one.market.price(at_ms)
        gain, margin = (mark - one.entry) * one.size, abs(one.size) * mark / leverage
        profit += gain
        bound += margin
        positions.append({
            "symbol": one.market.id, "positionSide": "BOTH", "positionAmt": f"{one.size:.{one.market.size_digits}f}",
            "unrealizedProfit": f"{gain:.8f}", "isolatedMargin": "0", "notional": f"{mark * one.size:.8f}",
            "isolatedWallet": "0", "initialMargin": f"{margin:.8f}",
            "maintMargin": f"{margin * leverage * _MAINTENANCE:.8f}", "updateTime": one.updated_at_ms,
        })
    totals = {
        "walletBalance": f"{account.balance:.8f}",
        "unrealizedProfit": f"{profit:.8f}",
        "marginBalance": f"{account.balance + profit:.8f}",
        "initialMargin": f"{bound:.8f}",
        "maintMargin": f"{bound * leverage * _MAINTENANCE:.8f}",
        "positionInitialMargin": f"{bound:.8f}",
        "openOrderInitialMargin": "0.00000000",
        "crossWalletBalance": f"{account.balance:.8f}",
        "crossUnPnl": f"{profit:.8f}",
        "availableBalance": f"{available:.8f}",
        "maxWithdrawAmount": f"{max(available, NOTHING):.8f}",
    }
    return {
        "totalInitialMargin": totals["initialMargin"],
        "totalMaintMargin": totals["maintMargin"],
        "totalWalletBalance": totals["walletBalance"],
        "totalUnrealizedProfit": totals["unrealizedProfit"],
        "totalMarginBalance": totals["marginBalance"],
        "availableBalance": totals["availableBalance"],
        "assets": [{"asset": "USDT", **totals, "updateTime": at_ms}],
        "positions": positions,
    }


def balance_rows(account: BookAccount, available: Decimal, at_ms: int) -> list[Json]:
    """The `balance` answer."""
    return [{
        "accountAlias": account.id, "asset": "USDT", "balance": f"{account.balance:.8f}",
        "crossWalletBalance": f"{account.balance:.8f}", "crossUnPnl": "0.00000000",
        "availableBalance": f"{available:.8f}", "maxWithdrawAmount": f"{max(available, NOTHING):.8f}",
        "marginAvailable": True, "updateTime": at_ms,
    }]


def market_row(market: Market) -> Json:
    """One market of exchangeInfo."""
    tick, lot = plain(market.tick), plain(market.lot)
    return {
        "symbol": market.id,
        "pair": market.id,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": market.base,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": market.price_digits,
        "quantityPrecision": market.size_digits,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "settlePlan": 0,
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "1000000000", "stepSize": lot},
            {"filterType": "MARKET_LOT_SIZE", "minQty": lot, "maxQty": "1000000000", "stepSize": lot},
            {"filterType": "MIN_NOTIONAL", "notional": plain(market.min_notional)},
        ],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }


def bracket_row(market: Market) -> Json:
    """One market of leverageBracket."""
    floor = 0
    brackets = []
    for number, (cap, leverage, ratio) in enumerate(_BRACKETS, start=1):
        brackets.append({
            "bracket": number, "initialLeverage": leverage, "notionalCap": cap, "notionalFloor": floor,
            "maintMarginRatio": ratio, "cum": 0.0,
        })
        floor = cap
    return {"symbol": market.id, "notionalCoef": 1.5, "brackets": brackets}
