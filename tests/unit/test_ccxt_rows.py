"""Raw rows as model rows: exact, complete, and refused when a key field is missing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.units import canonical
from fleetsync_adapters import ccxt_rows as rows

POSITION = {
    "symbol": "BTCUSDT", "positionSide": "BOTH", "positionAmt": "-0.500", "entryPrice": "50000.10",
    "markPrice": "1", "unRealizedProfit": "0", "liquidationPrice": "0", "updateTime": 17,
}  # fmt: skip
ORDER = {
    "orderId": 8389765, "clientOrderId": "mine", "symbol": "BTCUSDT", "status": "NEW", "side": "BUY", "type": "LIMIT",
    "price": "50000.10", "origQty": "1.50", "executedQty": "0.000", "reduceOnly": False, "time": 1, "updateTime": 2,
}  # fmt: skip
ALGO = {
    "algoId": 3358, "clientAlgoId": "mine", "orderType": "STOP_MARKET", "symbol": "BTCUSDT", "side": "SELL",
    "quantity": "0.010", "algoStatus": "NEW", "triggerPrice": "40000", "price": "0.00", "reduceOnly": True,
    "createTime": 1, "updateTime": 2,
}  # fmt: skip
FILL = {
    "id": 5, "orderId": 6, "symbol": "BTCUSDT", "side": "SELL", "price": "5.10", "qty": "0.10", "time": 9,
}  # fmt: skip


def unified(market_id: str) -> str:
    return {"BTCUSDT": "BTC/USDT:USDT"}.get(market_id, market_id)


@pytest.mark.parametrize(
    ("side", "amount", "expected"),
    [
        ("BOTH", "0.500", ("long", "0.5", False)),
        ("BOTH", "-0.500", ("short", "0.5", False)),
        ("BOTH", "0.000", ("long", "0", False)),
        ("LONG", "2", ("long", "2", True)),
        ("SHORT", "-2", ("short", "2", True)),
        ("SHORT", "0", ("short", "0", True)),
    ],
)
def test_a_position_has_the_side_of_its_sign_or_of_hedge_mode(side: str, amount: str, expected: Any) -> None:
    position = rows.binance_position(POSITION | {"positionSide": side, "positionAmt": amount}, unified)
    assert (position.side, position.size, position.hedged) == expected
    assert (position.symbol, position.entry_price, position.updated_at_ms) == ("BTC/USDT:USDT", "50000.1", 17)


def test_a_market_younger_than_the_list_keeps_its_id_and_is_not_lost() -> None:
    assert rows.binance_position(POSITION | {"symbol": "NEWUSDT"}, unified).symbol == "NEWUSDT"


@pytest.mark.parametrize("field", ["markPrice", "unRealizedProfit", "liquidationPrice"])
def test_what_merely_moves_is_no_part_of_a_positions_key(field: str) -> None:
    assert rows.position_key(POSITION) == rows.position_key(POSITION | {field: "123.4"})


@pytest.mark.parametrize("field", ["symbol", "positionSide", "positionAmt", "entryPrice", "updateTime"])
def test_a_position_without_a_key_field_is_refused(field: str) -> None:
    cut = {key: value for key, value in POSITION.items() if key != field}
    with pytest.raises(KeyError):
        rows.position_key(cut)


def test_an_order_is_read_exactly() -> None:
    order = rows.binance_order(ORDER, unified)
    assert (order.id, order.client_id, order.side, order.type) == ("8389765", "mine", "buy", "limit")
    assert (order.price, order.size, order.filled, order.status) == ("50000.1", "1.5", "0", "open")
    assert (order.created_at_ms, order.updated_at_ms, order.conditional) == (1, 2, False)


def test_a_market_order_has_no_price() -> None:
    assert rows.binance_order(ORDER | {"type": "MARKET", "price": "0.00"}, unified).price == ""


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("PARTIALLY_FILLED", "open"), ("PENDING_CANCEL", "open"), ("FILLED", "closed"), ("CANCELED", "canceled"),
        ("EXPIRED", "expired"),
        ("EXPIRED_IN_MATCH", "expired"), ("REJECTED", "rejected"), ("A_NEW_WORD", "unknown"),
    ],
)  # fmt: skip
def test_a_status_is_one_of_our_words_and_a_new_word_is_unknown(told: str, meant: str) -> None:
    assert rows.binance_order(ORDER | {"status": told}, unified).status == meant
    assert rows.binance_conditional(ALGO | {"algoStatus": told}, unified).status == meant


@pytest.mark.parametrize("change", [{"executedQty": "0.5"}, {"status": "FILLED"}, {"price": "1"}, {"updateTime": 3}])
def test_an_orders_key_changes_with_what_can_happen_to_it(change: dict[str, Any]) -> None:
    assert rows.order_key(ORDER) != rows.order_key(ORDER | change)


@pytest.mark.parametrize("change", [{"side": "HOLD"}, {"origQty": "much"}, {"origQty": None}, {"time": "soon"}])
def test_an_order_with_a_senseless_field_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        rows.binance_order(ORDER | change, unified)


def test_a_conditional_order_that_closes_the_whole_position_has_no_size_and_only_reduces() -> None:
    order = rows.binance_conditional(ALGO | {"quantity": "", "reduceOnly": False, "closePosition": True}, unified)
    assert (order.id, order.size, order.reduce_only, order.conditional) == ("3358", "0", True, True)
    assert (order.type, order.price) == ("stop_market", "")


def test_a_fill_is_read_exactly() -> None:
    fill = rows.binance_fill(FILL, unified)
    assert (fill.id, fill.order_id, fill.side, fill.price, fill.size) == ("5", "6", "sell", "5.1", "0.1")


def test_a_unified_position_whose_last_move_is_not_told_is_not_dated_by_its_opening() -> None:
    told = {"symbol": "BTC/USDT:USDT", "side": "long", "contracts": "1", "entryPrice": "5", "timestamp": 17}
    assert rows.unified_position(told).updated_at_ms == 0
    assert rows.unified_position(told | {"lastUpdateTimestamp": 18}).updated_at_ms == 18


def test_a_unified_position_without_a_side_is_refused_unless_it_is_flat() -> None:
    row: dict[str, Any] = {"symbol": "X", "contracts": "0", "entryPrice": None, "side": None}
    assert rows.unified_position(row).size == "0"
    assert rows.unified_position(row | {"contracts": "-2"}).side == "short"
    with pytest.raises(ValueError, match="without a side"):
        rows.unified_position(row | {"contracts": "2"})


@pytest.mark.parametrize("change", [{"id": None}, {"id": ""}, {"symbol": None}, {"side": None}])
def test_a_unified_order_without_a_key_field_is_refused(change: dict[str, Any]) -> None:
    row: dict[str, Any] = {"id": "1", "symbol": "X", "side": "buy", "amount": "1", "status": "open"}
    assert rows.unified_order(row, conditional=False).id == "1"
    with pytest.raises(ValueError, match=r"key field|buy nor sell"):
        rows.unified_order(row | change, conditional=False)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=9))
def test_every_amount_keeps_its_exact_value_and_has_one_spelling(amount: Any) -> None:
    position = rows.binance_position(POSITION | {"positionAmt": f"{amount:f}"}, unified)
    assert position.size == canonical(abs(amount))
