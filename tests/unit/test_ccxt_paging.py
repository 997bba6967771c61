"""Lists longer than a page are read to the end or are partial, on each exchange by its own rules."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.ccxt_venues import SYMBOL, Stage, staged

from fleetsync.messages import Call
from fleetsync.model import Fault, Fill, Order, Surface
from fleetsync.units import DAY_MS
from fleetsync_adapters.tariffs import load_tariff

HELD = 250
Query = dict[str, str]


def okx_order(number: int) -> dict[str, Any]:
    return {
        "instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordId": str(1000 + number), "clOrdId": f"c{number}",
        "algoId": "9" * 6, "side": "buy", "ordType": "limit", "px": "50000", "sz": "2", "accFillSz": "0.50",
        "state": "partially_filled", "reduceOnly": "false", "cTime": "1700000000000", "uTime": "1700000000001",
    }  # fmt: skip


def bybit_order(number: int) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT", "orderId": f"id-{number}", "orderLinkId": f"c{number}", "side": "Buy",
        "orderType": "Limit", "price": "50000", "qty": "2.0", "cumExecQty": "0.5", "leavesQty": "1.5",
        "orderStatus": "PartiallyFilled", "reduceOnly": False, "createdTime": "1700000000000",
        "updatedTime": "1700000000001", "tpslMode": "Full",
    }  # fmt: skip


def bitget_order(number: int) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT", "orderId": str(1000 + number), "clientOid": f"c{number}", "side": "buy", "size": "2",
        "baseVolume": "0.5", "price": "50000", "orderType": "limit", "status": "partially_filled",
        "reduceOnly": "NO", "cTime": "1700000000000", "uTime": "1700000000001", "posMode": "one_way_mode",
    }  # fmt: skip


def gate_order(number: int) -> dict[str, Any]:
    return {
        "id": 1000 + number, "contract": "BTC_USDT", "text": f"t-c{number}", "size": 4, "left": 3, "price": "50000",
        "tif": "gtc", "status": "open", "is_reduce_only": False, "create_time": 1700000000.0,
        "update_time": 1700000000.001,
    }  # fmt: skip


def okx_pages(query: Query) -> Any:
    ids = [number for number in reversed(range(HELD)) if "after" not in query or 1000 + number < int(query["after"])]
    return {"code": "0", "msg": "", "data": [okx_order(number) for number in ids[: int(query["limit"])]]}


def bybit_pages(query: Query) -> Any:
    start, limit = int(query.get("cursor", 0)), int(query["limit"])
    page = [bybit_order(number) for number in range(HELD)[start : start + limit]]
    return {"retCode": 0, "retMsg": "OK", "result": {"list": page, "nextPageCursor": str(start + len(page))}}


def bitget_pages(query: Query) -> Any:
    ids = [n for n in reversed(range(HELD)) if "idLessThan" not in query or 1000 + n < int(query["idLessThan"])]
    page = [bitget_order(number) for number in ids[: int(query["limit"])]]
    last = page[-1]["orderId"] if page else None
    return {"code": "00000", "msg": "success", "data": {"entrustedList": page or None, "endId": last}}


def gate_pages(query: Query) -> Any:
    ids = [n for n in reversed(range(HELD)) if "last_id" not in query or 1000 + n < int(query["last_id"])]
    return [gate_order(number) for number in ids[: int(query["limit"])]]


PAGED: dict[str, tuple[str, Callable[[Query], Any], int]] = {
    "okx": ("/api/v5/trade/orders-pending", okx_pages, 100),
    "bybit": ("/v5/order/realtime", bybit_pages, 50),
    "bitget": ("/api/v2/mix/order/orders-pending", bitget_pages, 100),
    "gate": ("/api/v4/futures/usdt/orders", gate_pages, 100),
}


def run(exchange_id: str, answers: dict[str, Any], play: Callable[[Stage], Any]) -> None:
    async def show() -> None:
        async with staged(exchange_id, answers) as stage:
            await play(stage)

    asyncio.run(show())


@pytest.mark.parametrize("exchange_id", PAGED)
def test_all_250_orders_are_found_with_enough_pages(exchange_id: str) -> None:
    path, pages, rows_a_page = PAGED[exchange_id]

    async def play(stage: Stage) -> None:
        answer, requests = await stage.ask(Call(Surface.ORDERS, pages=9))
        assert answer.fault is None, answer.detail
        assert answer.complete
        orders = [row for row in answer.rows or () if isinstance(row, Order)]
        assert len({order.id for order in orders}) == len(orders) == HELD
        whole, rest = divmod(HELD, rows_a_page)
        assert len(requests) == whole + (1 if rest or exchange_id == "bybit" else 0)
        tariff = load_tariff(exchange_id)
        assert {request.endpoint for request in requests} == {tariff.costs["orders"].endpoint}
        assert {request.weight for request in requests} == {1}
        assert tariff.page_rows[Surface.ORDERS] == rows_a_page

    run(exchange_id, {path: pages}, play)


@pytest.mark.parametrize("exchange_id", PAGED)
def test_fewer_pages_than_it_takes_make_a_partial_answer_and_no_request_more_than_granted(exchange_id: str) -> None:
    path, pages, rows_a_page = PAGED[exchange_id]

    async def play(stage: Stage) -> None:
        answer, requests = await stage.ask(Call(Surface.ORDERS, pages=2))
        assert (answer.complete, answer.fault) == (False, None)
        assert len(answer.rows or ()) == 2 * rows_a_page
        assert len(requests) == 2
        again, _ = await stage.ask(Call(Surface.ORDERS, pages=2))
        assert again.rows == answer.rows, "a partial answer never counts as unchanged"

    run(exchange_id, {path: pages}, play)


@pytest.mark.parametrize("exchange_id", PAGED)
def test_an_order_is_read_exactly_and_under_its_own_id(exchange_id: str) -> None:
    path, pages, _ = PAGED[exchange_id]

    async def play(stage: Stage) -> None:
        answer, _ = await stage.ask(Call(Surface.ORDERS, pages=9))
        order = next(row for row in answer.rows or () if isinstance(row, Order) and row.client_id.endswith("c7"))
        assert order.id in {"1007", "id-7"}
        assert (order.symbol, order.side, order.type, order.price) == (SYMBOL, "buy", "limit", "50000")
        assert (order.status, order.reduce_only, order.conditional) == ("open", False, False)
        assert (order.size, order.filled) == (("4", "1") if exchange_id == "gate" else ("2", "0.5"))
        assert (order.created_at_ms, order.updated_at_ms) == (1700000000000, 1700000000001)

    run(exchange_id, {path: pages}, play)


@pytest.mark.parametrize("exchange_id", PAGED)
def test_an_equal_list_of_many_pages_is_unchanged(exchange_id: str) -> None:
    path, pages, _ = PAGED[exchange_id]

    async def play(stage: Stage) -> None:
        await stage.ask(Call(Surface.ORDERS, pages=9))
        again, _ = await stage.ask(Call(Surface.ORDERS, pages=9))
        assert (again.unchanged, again.complete) == (True, True)

    run(exchange_id, {path: pages}, play)


def test_the_three_kinds_of_conditional_orders_on_okx_are_three_requests_of_one_list() -> None:
    kinds = ["conditional,oco", "trigger", "move_order_stop"]

    def algos(query: Query) -> Any:
        row = {
            "instId": "BTC-USDT-SWAP", "instType": "SWAP",
            "algoId": str(kinds.index(query["ordType"])), "algoClOrdId": "mine",
            "ordId": "", "side": "sell", "ordType": query["ordType"], "sz": "1", "state": "live", "cTime": "1",
            "uTime": "2", "reduceOnly": "true", "triggerPx": "5",
        }  # fmt: skip
        return {"code": "0", "msg": "", "data": [row]}

    async def play(stage: Stage) -> None:
        cut, requests = await stage.ask(Call(Surface.CONDITIONAL))
        assert (cut.complete, len(cut.rows or ()), len(requests)) == (False, 1, 1)
        whole, requests = await stage.ask(Call(Surface.CONDITIONAL, pages=3))
        orders = [row for row in whole.rows or () if isinstance(row, Order)]
        assert (whole.complete, len(orders), len(requests)) == (True, 3, 3)
        assert {(order.conditional, order.client_id, order.reduce_only) for order in orders} == {(True, "mine", True)}

    run("okx", {"/api/v5/trade/orders-algo-pending": algos}, play)


def test_a_conditional_order_on_gate_is_read_from_its_initial_order() -> None:
    row = {
        "id": 77, "status": "open", "create_time": 1700000000.0,
        "initial": {
            "contract": "BTC_USDT", "size": -3, "price": "0", "tif": "ioc", "text": "t-x", "is_reduce_only": True,
        },
        "trigger": {"price": "40000", "rule": 2},
    }  # fmt: skip

    async def play(stage: Stage) -> None:
        answer, _ = await stage.ask(Call(Surface.CONDITIONAL))
        assert answer.fault is None, answer.detail
        (order,) = answer.rows or ()
        assert isinstance(order, Order)
        assert (order.id, order.client_id, order.side, order.size) == ("77", "t-x", "sell", "3")
        assert (order.conditional, order.reduce_only, order.symbol) == (True, True, SYMBOL)

    run("gate", {"/api/v4/futures/usdt/price_orders": [row]}, play)


def test_an_order_that_bybit_answers_with_an_empty_list_is_not_found() -> None:
    empty = {"retCode": 0, "retMsg": "OK", "result": {"list": [], "nextPageCursor": ""}}

    async def play(stage: Stage) -> None:
        answer, _ = await stage.ask(Call(Surface.ORDER, symbol=SYMBOL, order_id="id-7"))
        assert answer.fault is Fault.NOT_FOUND

    run("bybit", {"/v5/order/realtime": empty}, play)


def test_another_order_than_was_asked_for_is_malformed() -> None:
    body = {"code": "0", "msg": "", "data": [okx_order(1)]}

    async def play(stage: Stage) -> None:
        right, _ = await stage.ask(Call(Surface.ORDER, symbol=SYMBOL, order_id="1001"))
        wrong, _ = await stage.ask(Call(Surface.ORDER, symbol=SYMBOL, order_id="1002"))
        assert (right.fault, wrong.fault) == (None, Fault.MALFORMED)

    run("okx", {"/api/v5/trade/order": body}, play)


def test_a_client_id_is_looked_up_on_gate_with_the_prefix_that_gate_wants() -> None:
    async def play(stage: Stage) -> None:
        for client_id in ("c7", "t-c7"):
            answer, _ = await stage.ask(Call(Surface.ORDER, symbol=SYMBOL, client_id=client_id))
            assert [row.client_id for row in answer.rows or () if isinstance(row, Order)] == ["t-c7"], answer.detail

    run("gate", {"/api/v4/futures/usdt/orders/t-c7": gate_order(7)}, play)


def test_an_order_of_another_symbol_is_none_on_the_symbol_that_was_asked_for() -> None:
    """A hint that named one was a broken answer each time, and its account rested for it again and again."""
    async def play(stage: Stage) -> None:
        answer, _ = await stage.ask(Call(Surface.ORDER, symbol=SYMBOL, order_id="1007"))
        assert answer.fault is Fault.NOT_FOUND

    run("gate", {"/api/v4/futures/usdt/orders/1007": gate_order(7) | {"contract": "ETH_USDT"}}, play)


def test_fills_on_bybit_are_asked_week_by_week_and_funding_is_no_fill() -> None:
    def trades(query: Query) -> Any:
        start = int(query["startTime"])
        kinds = ("Trade", "Funding", "BustTrade")
        page = [
            {
                "symbol": "BTCUSDT", "execId": f"{start}-{kind}", "orderId": "o", "side": "Sell", "execPrice": "5.0",
                "execQty": "1.50", "execTime": str(start + place), "execType": kind, "category": "linear",
            }
            for place, kind in enumerate(kinds)
        ]  # fmt: skip
        return {"retCode": 0, "retMsg": "OK", "result": {"list": page, "nextPageCursor": "more"}}

    async def play(stage: Stage) -> None:
        since_ms = stage.exchange._now_ms() - 15 * DAY_MS
        cut, _ = await stage.ask(Call(Surface.FILLS, symbol=SYMBOL, since_ms=since_ms, pages=2))
        assert not cut.complete
        stage.venue.asked.clear()
        answer, requests = await stage.ask(Call(Surface.FILLS, symbol=SYMBOL, since_ms=since_ms, pages=3))
        assert answer.fault is None, answer.detail
        assert (answer.complete, len(requests)) == (True, 3)
        assert [int(query["startTime"]) for _, query in stage.venue.asked] == [
            since_ms, since_ms + 7 * DAY_MS, since_ms + 14 * DAY_MS,
        ]  # fmt: skip
        assert ["endTime" in query for _, query in stage.venue.asked] == [True, True, False]
        fills = [row for row in answer.rows or () if isinstance(row, Fill)]
        assert len(fills) == 6
        assert [fill.at_ms for fill in fills] == sorted(fill.at_ms for fill in fills)
        assert {(fill.side, fill.price, fill.size) for fill in fills} == {("sell", "5", "1.5")}

    run("bybit", {"/v5/execution/list": trades}, play)


def test_two_executions_of_one_id_are_both_told_where_two_orders_of_one_account_met() -> None:
    def trades(_: Query) -> Any:
        page = [
            {
                "symbol": "BTCUSDT", "execId": "e", "orderId": f"o-{side}", "side": side, "execPrice": "5",
                "execQty": "1", "execTime": "1790000000000", "execType": "Trade", "category": "linear",
            }
            for side in ("Buy", "Sell")
        ]  # fmt: skip
        return {"retCode": 0, "retMsg": "OK", "result": {"list": page, "nextPageCursor": ""}}

    async def play(stage: Stage) -> None:
        since_ms = stage.exchange._now_ms() - DAY_MS
        answer, _ = await stage.ask(Call(Surface.FILLS, symbol=SYMBOL, since_ms=since_ms))
        fills = [row for row in answer.rows or () if isinstance(row, Fill)]
        assert [(fill.id, fill.side) for fill in fills] == [("e", "buy"), ("e", "sell")]

    run("bybit", {"/v5/execution/list": trades}, play)


def test_a_page_that_fails_in_the_middle_fails_the_whole_answer() -> None:
    def second_is_broken(query: Query) -> Any:
        return {} if "after" in query else okx_pages(query)

    async def play(stage: Stage) -> None:
        answer, requests = await stage.ask(Call(Surface.ORDERS, pages=9))
        assert (answer.fault, answer.rows, len(requests)) == (Fault.MALFORMED, None, 2)

    run("okx", {"/api/v5/trade/orders-pending": second_is_broken}, play)


def test_a_list_of_unknown_page_size_that_looks_like_a_full_page_is_partial() -> None:
    def orders(count: int) -> Any:
        rows = [
            {
                "orderId": str(number), "symbol": "BTC-USDT", "side": "BUY", "type": "LIMIT", "price": "5",
                "origQty": "1", "executedQty": "0", "status": "NEW", "time": 1, "updateTime": 2,
            }
            for number in range(count)
        ]  # fmt: skip
        return {"code": 0, "msg": "", "data": {"orders": rows}}

    async def play(stage: Stage) -> None:
        for count, complete in ((20, False), (21, True), (50, False), (0, True)):
            stage.venue.answers["/openApi/swap/v2/trade/openOrders"] = orders(count)
            answer, _ = await stage.ask(Call(Surface.ORDERS))
            assert answer.fault is None, answer.detail
            assert (len(answer.rows or ()), answer.complete) == (count, complete)

    run("bingx", {}, play)
