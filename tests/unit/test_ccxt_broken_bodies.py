"""A 200 whose body is not what was asked for must never read as "no positions" or "no such order"."""

import asyncio
from typing import Any

import pytest
from tests.unit.ccxt_venues import SYMBOL, staged

from fleetsync.messages import Call
from fleetsync.model import Fault, Surface
from fleetsync_adapters.ccxt_leader import ENVELOPES, is_half_answer, is_no_answer

CALLS = (
    Call(Surface.POSITIONS),
    Call(Surface.ORDERS),
    Call(Surface.ORDERS, symbol=SYMBOL),
    Call(Surface.ORDER, symbol=SYMBOL, order_id="1"),
    Call(Surface.FILLS, symbol=SYMBOL),
)
BROKEN = {
    "truncated": '{"code": "0", "data": [{"instId": "BTC-USDT-SW',
    "a truncated list": '[{"symbol": "BTCUSDT", "positionAmt": "0.',
    "a page for people": "<html><body>Scheduled maintenance</body></html>",
    "nothing": "",
    "null": "null",
    "an empty object": "{}",
    "a number": "7",
    "a word": '"ok"',
}
EXCHANGES = ("binanceusdm", "okx", "bybit", "bitget", "gate", "kucoinfutures", "htx", "bingx")
EMPTY: dict[str, Any] = {
    "binanceusdm": [],
    "okx": {"code": "0", "msg": "", "data": []},
    "bybit": {"retCode": 0, "retMsg": "OK", "result": {"list": [], "nextPageCursor": ""}},
    "bitget": {"code": "00000", "msg": "success", "data": []},
    "gate": [],
    "kucoinfutures": {"code": "200000", "data": []},
    "htx": {"code": 200, "message": "Success", "data": [], "ts": 1},
    "bingx": {"code": 0, "msg": "", "data": []},
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("exchange_id", EXCHANGES)
def test_a_broken_body_is_malformed_whatever_was_asked(exchange_id: str, body: str) -> None:
    async def play() -> None:
        async with staged(exchange_id) as stage:
            stage.venue.otherwise = body
            for call in CALLS:
                answer, requests = await stage.ask(call)
                assert (answer.fault, answer.rows, answer.complete) == (Fault.MALFORMED, None, False), call
                assert [request.status for request in requests] == [200], call

    asyncio.run(play())


@pytest.mark.parametrize("exchange_id", EXCHANGES)
def test_an_exchange_that_says_that_there_is_nothing_is_believed(exchange_id: str) -> None:
    async def play() -> None:
        async with staged(exchange_id) as stage:
            stage.venue.otherwise = EMPTY[exchange_id]
            answer, _ = await stage.ask(Call(Surface.POSITIONS))
            assert (answer.fault, answer.rows, answer.complete) == (None, (), True), answer.detail

    asyncio.run(play())


@pytest.mark.parametrize("exchange_id", sorted(set(EXCHANGES) - {"binanceusdm", "gate"}))
def test_a_bare_list_is_malformed_where_an_envelope_is_due(exchange_id: str) -> None:
    async def play() -> None:
        async with staged(exchange_id) as stage:
            stage.venue.otherwise = "[]"
            for call in CALLS:
                answer, _ = await stage.ask(call)
                assert (answer.fault, answer.rows) == (Fault.MALFORMED, None), call

    asyncio.run(play())


@pytest.mark.parametrize(
    ("exchange_id", "body"),
    [
        ("okx", {"code": "0", "msg": ""}),
        ("okx", {"code": "0", "msg": "", "data": None}),
        ("okx", {"code": "0", "msg": "", "data": {}}),
        ("bybit", {"retCode": 0, "retMsg": "OK", "result": {}}),
        ("bybit", {"retCode": 0, "retMsg": "OK"}),
        ("bitget", {"code": "00000", "msg": "success"}),
        ("bitget", {"code": "00000", "msg": "success", "data": {}}),
        ("gate", {"positions": []}),
        ("binanceusdm", {"positions": []}),
        ("kucoinfutures", {"code": "200000"}),
        ("bingx", {"code": 0, "msg": ""}),
        ("htx", {"code": 200, "message": "Success", "ts": 1}),
    ],
)
def test_an_envelope_without_its_list_is_malformed(exchange_id: str, body: Any) -> None:
    async def play() -> None:
        async with staged(exchange_id) as stage:
            stage.venue.otherwise = body
            for call in (Call(Surface.POSITIONS), Call(Surface.ORDERS)):
                answer, _ = await stage.ask(call)
                assert (answer.fault, answer.rows) == (Fault.MALFORMED, None), call

    asyncio.run(play())


@pytest.mark.parametrize("row", [{}, {"symbol": "BTCUSDT"}, {"symbol": "BTCUSDT", "positionAmt": "abc"}, None, 7])
def test_a_row_without_its_key_fields_is_malformed(row: Any) -> None:
    async def play() -> None:
        async with staged("binanceusdm", {"/fapi/v3/positionRisk": [row]}) as stage:
            answer, _ = await stage.ask(Call(Surface.POSITIONS))
            assert (answer.fault, answer.rows) == (Fault.MALFORMED, None)

    asyncio.run(play())


@pytest.mark.parametrize("exchange_id", ["binanceusdm", "okx", "bybit"])
def test_markets_that_are_broken_or_empty_leave_the_exchange_closed(exchange_id: str) -> None:
    async def play() -> None:
        async with staged(exchange_id, opened=False) as stage:
            whole = dict(stage.venue.answers)
            bodies: list[Any] = [*BROKEN.values(), {"symbols": []}, EMPTY[exchange_id]]
            for body in bodies:
                stage.venue.answers = dict.fromkeys(whole, body)
                answer, _ = await stage.exchange.open()
                assert answer.fault is Fault.MALFORMED, body
                assert not stage.exchange.lists(SYMBOL)
            stage.venue.answers = whole
            assert (await stage.exchange.open())[0].fault is None

    asyncio.run(play())


def test_the_envelope_is_asked_for_whole_and_an_empty_list_is_no_broken_body() -> None:
    okx = ENVELOPES["okx"]
    assert not is_no_answer([], ())
    assert is_no_answer([], okx)
    nothing: tuple[object, ...] = (None, {}, "text", 7, True)
    assert all(is_no_answer(body, ()) for body in nothing)
    assert not is_half_answer({"code": "0", "data": []}, okx)
    assert is_half_answer({"code": "0"}, okx)
    assert is_half_answer({"code": "0", "data": None}, okx)


@pytest.mark.parametrize("again", [{"positionAmt": "-0.5"}, {"updateTime": 18}, {"entryPrice": "1"}])
def test_a_list_that_tells_one_position_in_two_states_is_malformed(again: dict[str, Any]) -> None:
    told = {"symbol": "BTCUSDT", "positionSide": "BOTH", "positionAmt": "0.5", "entryPrice": "50000", "updateTime": 17}

    async def play() -> None:
        async with staged("binanceusdm") as stage:
            for body, fault in (([told, told], None), ([told, told | again], Fault.MALFORMED)):
                stage.venue.otherwise = body
                answer, _ = await stage.ask(Call(Surface.POSITIONS))
                assert (answer.fault, answer.complete) == (fault, fault is None)

    asyncio.run(play())
