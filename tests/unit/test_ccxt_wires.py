"""Each exchange by its wire: the endpoints cost what the tariff says, and positions are read exactly."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.ccxt_venues import MARKETS, SYMBOL, Stage, staged

from fleetsync.messages import Call
from fleetsync.model import Fault, Fill, Position, Surface
from fleetsync.tariff import question
from fleetsync.units import DAY_MS
from fleetsync_adapters.tariffs import load_tariff


def run(exchange_id: str, answers: dict[str, Any], play: Callable[[Stage], Any]) -> None:
    async def show() -> None:
        async with staged(exchange_id, answers) as stage:
            await play(stage)

    asyncio.run(show())


POSITION_ROWS: dict[str, tuple[str, Any]] = {
    "okx": (
        "/api/v5/account/positions",
        {"code": "0", "msg": "", "data": [{
            "instId": "BTC-USDT-SWAP", "instType": "SWAP", "posSide": "net", "pos": "-2.50", "avgPx": "50000.10",
            "mgnMode": "cross", "lever": "10", "uTime": "1700000000001", "cTime": "1700000000000", "markPx": "1",
        }]},
    ),
    "bybit": (
        "/v5/position/list",
        {"retCode": 0, "retMsg": "OK", "result": {"list": [{
            "symbol": "BTCUSDT", "side": "Sell", "size": "2.50", "avgPrice": "50000.10", "positionIdx": 0,
            "updatedTime": "1700000000001", "createdTime": "1700000000000", "markPrice": "1", "leverage": "10",
        }], "nextPageCursor": "x"}},
    ),
    "bitget": (
        "/api/v2/mix/position/all-position",
        {"code": "00000", "msg": "success", "data": [{
            "symbol": "BTCUSDT", "holdSide": "short", "total": "2.50", "openPriceAvg": "50000.10", "leverage": "10",
            "posMode": "one_way_mode", "marginMode": "crossed", "cTime": "1700000000000", "markPrice": "1",
            "uTime": "1700000000001",
        }]},
    ),
    "gate": (
        "/api/v4/futures/usdt/positions",
        [{
            "contract": "BTC_USDT", "size": -25, "mode": "single", "entry_price": "50000.10", "leverage": "0",
            "update_time": 1700000001, "open_time": 1700000000, "mark_price": "1", "value": "1", "margin": "1",
        }],
    ),
}  # fmt: skip


@pytest.mark.parametrize("exchange_id", POSITION_ROWS)
def test_a_position_is_read_exactly(exchange_id: str) -> None:
    path, body = POSITION_ROWS[exchange_id]

    async def play(stage: Stage) -> None:
        answer, requests = await stage.ask(Call(Surface.POSITIONS))
        assert answer.fault is None, answer.detail
        (row,) = answer.rows or ()
        assert isinstance(row, Position)
        assert (row.symbol, row.side, row.entry_price, row.hedged) == (SYMBOL, "short", "50000.1", False)
        # Gate tells the second alone: the last millisecond of it, so that no fill within it counts as a later move.
        assert row.updated_at_ms == (1_700_000_001_999 if exchange_id == "gate" else 1_700_000_000_001)
        assert row.size == ("25" if exchange_id == "gate" else "2.5")
        assert (answer.complete, len(requests)) == (True, 1)
        assert requests[0].endpoint == load_tariff(exchange_id).costs["positions"].endpoint

    run(exchange_id, {path: body}, play)


@pytest.mark.parametrize(
    ("exchange_id", "change"),
    [
        ("okx", {"posSide": "short", "pos": "2.50"}),
        ("bybit", {"positionIdx": 2}),
        ("bitget", {"posMode": "hedge_mode"}),
        ("gate", {"mode": "dual_short"}),
    ],
)
def test_hedge_mode_is_told(exchange_id: str, change: dict[str, Any]) -> None:
    path, body = POSITION_ROWS[exchange_id]
    rows = body if isinstance(body, list) else body.get("data") or body["result"]["list"]

    async def play(stage: Stage) -> None:
        before = dict(rows[0])
        rows[0].update(change)
        try:
            answer, _ = await stage.ask(Call(Surface.POSITIONS))
        finally:
            rows[0].clear()
            rows[0].update(before)
        (row,) = answer.rows or ()
        assert isinstance(row, Position)
        assert (row.side, row.hedged) == ("short", True)

    run(exchange_id, {path: body}, play)


@pytest.mark.parametrize(("exchange_id", "isolated"), [
    ("okx", {"mgnMode": "isolated", "pos": "-1", "avgPx": "50700.10", "posId": "2", "uTime": "1700000000009"}),
    ("bitget", {"marginMode": "isolated", "total": "1", "openPriceAvg": "50700.10", "uTime": "1700000000009"}),
])  # fmt: skip
def test_cross_and_isolated_positions_of_one_side_are_one_exposure(exchange_id: str, isolated: dict[str, Any]) -> None:
    path, body = POSITION_ROWS[exchange_id]
    cross = {**body["data"][0], **({"mgnMode": "cross", "posSide": "net"} if exchange_id == "okx" else {})}
    both = [cross, cross | isolated]

    async def play(stage: Stage) -> None:
        for rows in (both, both[::-1]):
            stage.venue.answers[path] = {**body, "data": rows}
            answer, _ = await stage.ask(Call(Surface.POSITIONS), full=True)
            (row,) = answer.rows or ()
            assert isinstance(row, Position)
            assert (row.side, row.size, row.entry_price) == ("short", "3.5", "50200.1")
            assert row.updated_at_ms == 1_700_000_000_009
        stage.venue.answers[path] = {**body, "data": [*both, both[1] | isolated | {"uTime": "1700000000010"}]}
        answer, _ = await stage.ask(Call(Surface.POSITIONS), full=True)
        (row,) = answer.rows or ()
        assert isinstance(row, Position)
        assert (row.size, row.updated_at_ms) == ("3.5", 1_700_000_000_010)  # told twice, counted once
        stage.venue.answers[path] = {**body, "data": [cross | {"uTime": ""}, both[1]]}
        answer, _ = await stage.ask(Call(Surface.POSITIONS), full=True)
        (row,) = answer.rows or ()
        assert isinstance(row, Position)
        assert (row.size, row.updated_at_ms) == ("3.5", 0)  # when the whole moved last is not known

    run(exchange_id, {}, play)


@pytest.mark.parametrize("exchange_id", MARKETS)
def test_loading_the_markets_costs_what_the_tariff_says(exchange_id: str) -> None:
    async def show() -> None:
        async with staged(exchange_id, opened=False) as stage:
            answer, requests = await stage.exchange.open()
            assert answer.fault is None, answer.detail
            tariff = load_tariff(exchange_id)
            if tariff.exact:
                cost = tariff.costs["markets"]
                assert {request.endpoint for request in requests} == {cost.endpoint}
                assert sum(request.weight for request in requests) == max(weight for _, weight in cost.weights)
            assert len(requests) == len(stage.venue.asked)

    asyncio.run(show())


@pytest.mark.parametrize("exchange_id", ["okx", "bybit", "bitget", "gate", "binanceusdm"])
def test_every_question_in_the_tariff_is_one_request_to_its_endpoint(exchange_id: str) -> None:
    async def play(stage: Stage) -> None:
        tariff = load_tariff(exchange_id)
        for key, cost in tariff.costs.items():
            if key in {"markets", "time"}:
                continue
            name, _, more = key.partition(":")
            one = name in {"order", "fills"} or more == "symbol"
            call = Call(
                Surface(name), symbol=SYMBOL if one else "", order_id="7" if name == "order" else "",
                conditional=more == "conditional",
            )  # fmt: skip
            assert question(call) == key
            _, (request,) = await stage.ask(call)
            assert request.endpoint == cost.endpoint
            assert request.weight == max(weight for _, weight in cost.weights)

    run(exchange_id, {}, play)


def test_what_an_exchange_cannot_be_asked_is_refused_without_a_request() -> None:
    async def play(stage: Stage) -> None:
        call = Call(Surface.ORDER, symbol=SYMBOL, order_id="7", conditional=True)
        answer, requests = await stage.ask(call)
        assert (answer.fault, requests) == (Fault.REFUSED, ())

    run("bitget", {}, play)


@pytest.mark.parametrize(("made_ms", "written_ms"), [
    (1_790_000_000_100, 1_790_000_000_137), (1_790_000_000_137, 1_790_000_000_100)])  # fmt: skip
def test_a_fill_on_okx_is_dated_by_when_it_was_made_and_not_by_when_it_was_written_down(
    made_ms: int, written_ms: int,
) -> None:
    """Written down after its position has moved, it would count as a second move, and might close what it left."""
    row = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "tradeId": "77", "ordId": "9", "billId": "1", "side": "sell",
           "fillPx": "50000", "fillSz": "5", "fillTime": str(made_ms), "ts": str(written_ms), "execType": "T",
           "posSide": "net", "fee": "0", "feeCcy": "USDT", "clOrdId": "", "tag": ""}  # fmt: skip

    async def play(stage: Stage) -> None:
        answer, _ = await stage.ask(Call(Surface.FILLS, symbol=SYMBOL, since_ms=1_790_000_000_000))
        (fill,) = answer.rows or ()
        assert isinstance(fill, Fill)
        assert fill.at_ms == 1_790_000_000_100

    run("okx", {"/api/v5/trade/fills-history": {"code": "0", "msg": "", "data": [row]}}, play)


def test_fills_on_bitget_are_asked_as_far_back_as_it_remembers_and_are_not_complete_beyond() -> None:
    none = {"code": "00000", "msg": "success", "data": {"fillList": None, "endId": None}}

    async def play(stage: Stage) -> None:
        now_ms = stage.exchange._now_ms()
        for age_days, complete in ((80, True), (100, False)):
            stage.venue.asked.clear()
            call = Call(Surface.FILLS, symbol=SYMBOL, since_ms=now_ms - age_days * DAY_MS, pages=20)
            answer, _ = await stage.ask(call)
            assert answer.fault is None, answer.detail
            assert (answer.complete, answer.call.since_ms) == (complete, call.since_ms)
            asked = [int(query["startTime"]) for _, query in stage.venue.asked]
            assert len(asked) == min(age_days, 89) // 7 + 1
            assert now_ms - 90 * DAY_MS < asked[0], "it refuses what is older than three months"

    run("bitget", {"/api/v2/mix/order/fills": none}, play)
