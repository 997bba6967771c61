"""The look-up of one order: what it brings is the order that was asked for, none, or a broken body."""

import asyncio
from typing import Any

import pytest
from tests.unit.ccxt_venues import SYMBOL, staged
from tests.unit.test_ccxt_paging import bitget_order, bybit_order, gate_order, okx_order
from tests.unit.test_ccxt_rows import ALGO, ORDER

from fleetsync.messages import Answer, Call
from fleetsync.model import Fault, Surface


def bingx_order(number: int) -> dict[str, Any]:
    return {
        "symbol": "BTC-USDT", "orderId": str(1000 + number), "side": "BUY", "positionSide": "LONG", "type": "LIMIT",
        "origQty": "2", "price": "50000", "executedQty": "0.5", "status": "NEW", "time": 1700000000000,
        "updateTime": 1700000000001, "clientOrderId": f"c{number}",
    }  # fmt: skip


# exchange -> path, its order 7, where it stands in a body, the field of its market, another market, the id to ask for
LOOKUPS: dict[str, tuple[str, dict[str, Any], Any, str, str, str]] = {
    "okx": ("/api/v5/trade/order", okx_order(7), lambda row: {"code": "0", "msg": "", "data": [row]}, "instId",
            "ETH-USDT-SWAP", "1007"),
    "bybit": ("/v5/order/realtime", bybit_order(7), lambda row: {
        "retCode": 0, "retMsg": "OK", "result": {"list": [row], "nextPageCursor": ""}}, "symbol", "ETHUSDT", "id-7"),
    "bitget": ("/api/v2/mix/order/detail", bitget_order(7), lambda row: {
        "code": "00000", "msg": "success", "data": row}, "symbol", "ETHUSDT", "1007"),
    "gate": ("/api/v4/futures/usdt/orders/1007", gate_order(7), lambda row: row, "contract", "ETH_USDT", "1007"),
    "binanceusdm": ("/fapi/v1/order", ORDER, lambda row: row, "symbol", "ETHUSDT", str(ORDER["orderId"])),
    "bingx": ("/openApi/swap/v2/trade/order", bingx_order(7), lambda row: {
        "code": 0, "msg": "", "data": {"order": row}}, "symbol", "ETH-USDT", "1007"),
}  # fmt: skip


def looked_up(exchange_id: str, path: str, body: Any, call: Call) -> Answer:
    async def show() -> Answer:
        async with staged(exchange_id, {path: body}) as stage:
            answer, _ = await stage.ask(call)
            return answer

    return asyncio.run(show())


@pytest.mark.parametrize("exchange_id", LOOKUPS)
def test_an_order_of_another_symbol_is_not_found_here(exchange_id: str) -> None:
    """Some look-ups take no symbol, and a hint names whatever it likes: it must not be asked for for ever."""
    path, row, body, field, other, order_id = LOOKUPS[exchange_id]
    call = Call(Surface.ORDER, SYMBOL, order_id=order_id)
    answer = looked_up(exchange_id, path, body(row), call)
    assert (answer.fault, len(answer.rows or ())) == (None, 1), answer.detail
    answer = looked_up(exchange_id, path, body(row | {field: other}), call)
    assert (answer.fault, answer.rows, answer.complete) == (Fault.NOT_FOUND, None, False), answer.detail


@pytest.mark.parametrize("exchange_id", sorted(LOOKUPS.keys() - {"bingx"}))  # whose market ccxt fills in
def test_a_row_of_another_symbol_that_is_no_whole_order_or_another_one_is_malformed(exchange_id: str) -> None:
    path, row, body, field, other, order_id = LOOKUPS[exchange_id]
    call = Call(Surface.ORDER, SYMBOL, order_id=order_id)
    names = {"orderId", "ordId", "id"} & row.keys()
    for broken in (
        {**row, field: other, **dict.fromkeys(names, 4711)},
        {key: value for key, value in row.items() if key != field},
        {**row, field: other, "side": "HOLD", "size": "much"},
    ):
        answer = looked_up(exchange_id, path, body(broken), call)
        assert (answer.fault, answer.rows) == (Fault.MALFORMED, None), broken


def test_a_conditional_order_of_another_symbol_is_not_found_here_either() -> None:
    call = Call(Surface.ORDER, SYMBOL, order_id=str(ALGO["algoId"]), conditional=True)
    path = "/fapi/v1/algoOrder"
    assert looked_up("binanceusdm", path, ALGO, call).fault is None
    assert looked_up("binanceusdm", path, ALGO | {"symbol": "ETHUSDT"}, call).fault is Fault.NOT_FOUND
