"""Raw rows and ccxt's unified rows as model rows: pure functions, exact decimals.

Binance's rows are read straight from the body: ccxt's own parsers cost thirty times as much, for fields that nobody
here asks for. A row without its key fields raises (KeyError, TypeError, ValueError): the caller calls that malformed.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Context, Decimal
from operator import itemgetter
from typing import Any

from fleetsync.model import Fill, Order, Position
from fleetsync.units import canonical

Row = Mapping[str, Any]
Name = Callable[[str], str]  # an exchange's market id -> the unified symbol

_STATUSES = {
    "NEW": "open",
    "PARTIALLY_FILLED": "open",
    "ACCEPTED": "open",
    "TRIGGERING": "open",
    "PENDING_CANCEL": "open",  # a fill may still come first
    "FILLED": "closed",
    "TRIGGERED": "closed",
    "FINISHED": "closed",
    "CANCELED": "canceled",
    "CANCELLED": "canceled",
    "REJECTED": "rejected",
    "EXPIRED": "expired",
    "EXPIRED_IN_MATCH": "expired",
}
_UNIFIED_STATUSES = {word: word for word in ("open", "closed", "canceled", "expired", "rejected")}
_CUT_SHORT = dict.fromkeys(("auto_deleveraged", "reduce_only", "position_closed", "reduce_out", "stp"), "canceled")
"""How orders of Gate end (API v4 futures, `finish_as`) beyond what ccxt translates under each of its names for Gate."""
_HEDGED = {"LONG": "long", "SHORT": "short"}
_SIDES = {"buy", "sell"}
_MEAN = Context(prec=16)  # a mean price has no exact value; so many digits are the same in every reading
_END_OF_TIME_MS = 1 << 53  # as far as every reader of JSON can count


position_key: Callable[[Row], tuple[Any, ...]] = itemgetter(
    "symbol", "positionSide", "positionAmt", "entryPrice", "updateTime")
"""The fields whose change makes a position a different one; prices that merely move are not among them."""


def binance_position(row: Row, name: Name) -> Position:
    """One row of positionRisk. An amount of zero stays: the symbol has only orders."""
    amount = _amount(row["positionAmt"])
    short = amount.startswith("-")
    side = _HEDGED.get(row["positionSide"]) or ("short" if short else "long")
    return Position(
        symbol=name(_text(row["symbol"])),
        side=side,
        size=amount.removeprefix("-"),
        entry_price=_amount(row["entryPrice"]),
        updated_at_ms=instant(row["updateTime"]),
        hedged=row["positionSide"] in _HEDGED,
    )


order_key: Callable[[Row], tuple[Any, ...]] = itemgetter(
    "orderId", "symbol", "status", "origQty", "executedQty", "price", "updateTime")
"""The fields of an order that can change while it rests, and its id."""


def binance_order(row: Row, name: Name) -> Order:
    """One row of openOrders, or the answer of order."""
    if Decimal(_amount(row["executedQty"])) > Decimal(_amount(row["origQty"])):
        raise ValueError("more is filled than was ordered")
    return Order(
        id=_id(row["orderId"]),
        client_id=str(row["clientOrderId"]),
        symbol=name(_text(row["symbol"])),
        side=_side(row["side"]),
        type=str(row["type"]).lower(),
        price=_price(row["price"]),
        size=_amount(row["origQty"]),
        filled=_amount(row["executedQty"]),
        status=_STATUSES.get(row["status"], "unknown"),
        reduce_only=_flag(row["reduceOnly"]),
        conditional=False,
        created_at_ms=instant(row["time"]),
        updated_at_ms=instant(row["updateTime"]),
    )


conditional_key: Callable[[Row], tuple[Any, ...]] = itemgetter(
    "algoId", "symbol", "algoStatus", "quantity", "price", "triggerPrice", "updateTime")
"""The same for a conditional order."""


def binance_conditional(row: Row, name: Name) -> Order:
    """One row of openAlgoOrders, or the answer of algoOrder. Its fills are those of the order that it triggers."""
    return Order(
        id=_id(row["algoId"]),
        client_id=str(row["clientAlgoId"]),
        symbol=name(_text(row["symbol"])),
        side=_side(row["side"]),
        type=str(row["orderType"]).lower(),
        price=_price(row["price"]),
        size=_amount(row["quantity"] or "0"),  # a whole position is closed: no quantity of its own
        filled="0",
        status=_STATUSES.get(row["algoStatus"], "unknown"),
        reduce_only=_flag(row.get("reduceOnly", False)) or _flag(row.get("closePosition", False)),
        conditional=True,
        created_at_ms=instant(row["createTime"]),
        updated_at_ms=instant(row["updateTime"]),
    )


def binance_fill(row: Row, name: Name) -> Fill:
    """One row of userTrades."""
    return Fill(
        id=_id(row["id"]),
        order_id=_id(row["orderId"]),
        symbol=name(_text(row["symbol"])),
        side=_side(row["side"]),
        price=_amount(row["price"]),
        size=_amount(row["qty"]),
        at_ms=instant(row["time"]),
    )


def last_of(at_ms: int, unit_ms: int) -> int:
    """The last millisecond that an instant of a coarser unit may mean; 0, not known, stays 0.

    Fills are dated to the millisecond. The one that made a position what its row says lies within its row's second: it
    must not count as a move after that, or it would close the position a second time. Whatever else lies there proves
    nothing either way, and another reading tells.
    """
    return at_ms + unit_ms - 1 if at_ms else 0


def unified_position(row: Row) -> Position:
    """One of ccxt's positions; its contracts are already unsigned on most exchanges.

    Its `timestamp` is the opening's on some exchanges and the answer's on others: whoever took it for the last move
    would count fills that the row already has in it, and prove a close by them. Not known is 0, and proves nothing.
    """
    size = _amount(row["contracts"])
    side = row["side"]
    if side not in {"long", "short"}:
        if size != "0" and not size.startswith("-"):
            raise ValueError("a position without a side")
        side = "short" if size.startswith("-") else "long"
    return Position(
        symbol=_text(row["symbol"]),
        side=side,
        size=size.removeprefix("-"),
        entry_price=canonical(_decimal(row["entryPrice"])),
        updated_at_ms=instant(row.get("lastUpdateTimestamp") or 0),
        hedged=row.get("hedged") is True,
    )


def unified_positions(told: Iterable[tuple[Row, Position]]) -> tuple[Position, ...]:
    """Positions of one symbol and side as one, whatever the margin behind them.

    OKX and others keep what is held on cross margin apart from what is held on isolated margin: the exposure is their
    sum, at the mean of their prices. Of one told twice, by pages between which it moved, the later row counts.

    Args:
        told: ccxt's rows, and the positions they say.
    """
    parts: dict[tuple[str, str], dict[str, Position]] = {}
    for row, position in told:
        parts.setdefault((position.symbol, position.side), {})[str(row.get("marginMode"))] = position
    return tuple(_joined(list(held.values())) for held in parts.values())


def _joined(parts: list[Position]) -> Position:
    filled = [part for part in parts if part.size != "0"]
    if len(filled) < 2:
        return filled[0] if filled else parts[-1]
    sizes = [Decimal(part.size) for part in filled]
    paid = sum((size * Decimal(part.entry_price) for size, part in zip(sizes, filled, strict=True)), Decimal())
    return filled[0]._replace(
        size=canonical(str(sum(sizes))),
        entry_price=canonical(str(_MEAN.divide(paid, sum(sizes)))),
        updated_at_ms=max(part.updated_at_ms for part in filled) if all(part.updated_at_ms for part in filled) else 0,
        hedged=any(part.hedged for part in filled),
    )


def unified_order(row: Row, *, conditional: bool) -> Order:
    """One of ccxt's orders."""
    price = canonical(_decimal(row.get("price")))
    created_at_ms = instant(row.get("timestamp") or 0)
    order = Order(
        id=_text(row["id"]),
        client_id=str(row.get("clientOrderId") or ""),
        symbol=_text(row["symbol"]),
        side=_side(row["side"]),
        type=str(row.get("type") or "").lower(),
        price="" if price == "0" else price,
        size=canonical(_decimal(row["amount"])),
        filled=canonical(_decimal(row.get("filled"))),
        status="unknown",
        reduce_only=bool(row.get("reduceOnly")),
        conditional=conditional,
        created_at_ms=created_at_ms,
        updated_at_ms=instant(row.get("lastUpdateTimestamp") or row.get("lastTradeTimestamp") or created_at_ms),
    )
    return with_status(order, (row["status"],), _UNIFIED_STATUSES | _CUT_SHORT)


def with_status(order: Order, words: Iterable[Any], meanings: Mapping[str, str]) -> Order:
    """The order with the status that an exchange's words for it mean: the first that has a meaning decides.

    An order that was cut short when nothing of it was left was filled, whatever cut it short. What a conditional order
    has filled is told of the order that it triggers.
    """
    status = next((meanings[word] for word in words if word in meanings), order.status)
    if status == "canceled" and not order.conditional and Decimal(order.filled) >= Decimal(order.size) > 0:
        status = "closed"
    return order._replace(status=status)


def unified_fill(row: Row) -> Fill:
    """One of ccxt's trades of an account."""
    return Fill(
        id=_text(row["id"]),
        order_id=str(row.get("order") or ""),
        symbol=_text(row["symbol"]),
        side=_side(row["side"]),
        price=canonical(_decimal(row["price"])),
        size=canonical(_decimal(row["amount"])),
        at_ms=instant(row["timestamp"]),
    )


def _side(word: Any) -> str:
    side = str(word).lower()
    if side not in _SIDES:
        raise ValueError(f"neither buy nor sell: {side[:16]!r}")
    return side


def _amount(value: Any) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise TypeError(f"no amount: a {type(value).__name__}")
    return canonical(str(value))


def _price(value: Any) -> str:
    price = "0" if value in {None, ""} else _amount(value)
    return "" if price == "0" else price


def _decimal(number: Any) -> str:
    return "0" if number is None else str(number)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a key field is missing")
    return value


def _id(value: Any) -> str:
    return str(value) if type(value) is int else _text(value)


def instant(value: Any) -> int:
    """An instant in ms, as exchanges tell it.

    Raises:
        ValueError: it is none.
    """
    at_ms = int(value)
    if not 0 <= at_ms < _END_OF_TIME_MS:
        raise ValueError("an instant out of reach")
    return at_ms


def _flag(value: Any) -> bool:
    return value is True or value == "true"
