"""Accounts are thin views of one leader: they share what is the exchange's and nothing that is an account's."""

import asyncio
import gc
import warnings
from typing import Any

import pytest
from aiohttp import web
from tests.unit.ccxt_venues import KEY, MARKETS, PASSWORD, SECRET, SYMBOL, account, staged

from fleetsync.messages import Call
from fleetsync.model import Account, Secret, Surface
from fleetsync.ports import ExchangeSpec
from fleetsync_adapters.ccxt_exchange import CcxtExchange
from fleetsync_adapters.paper.server import system_now_ms

POSITIONS = Call(Surface.POSITIONS)


def test_each_request_carries_its_own_accounts_key_and_the_views_share_the_markets() -> None:
    async def play() -> None:
        async with staged("binanceusdm", {"/fapi/v3/positionRisk": []}) as stage:
            for name in ("b", "c"):
                stage.exchange.add_account(Account(name, "binanceusdm", Secret(f"key-{name}"), Secret("s")))
                await stage.exchange.ask(name, POSITIONS, full=False)
            views = [stage.exchange._seats[name].view for name in ("b", "c")]
            assert [view.apiKey for view in views] == ["key-b", "key-c"]
            assert views[0].markets is views[1].markets is stage.exchange._leader.markets
            for name in ("options", "headers", "balance", "clients"):
                assert getattr(views[0], name) is not getattr(views[1], name)
            assert not stage.exchange._leader.apiKey

    asyncio.run(play())


def test_no_key_reaches_a_log_even_at_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        async with staged("binanceusdm", {"/fapi/v3/positionRisk": []}) as stage:
            await stage.ask(POSITIONS)

    with caplog.at_level(1):
        asyncio.run(play())
    assert KEY not in caplog.text
    assert "signature" not in caplog.text


def test_a_proxy_is_used_where_one_is_given() -> None:
    seen: list[str] = []

    async def forward(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.raw_path)
        return web.json_response(MARKETS["binanceusdm"]["/fapi/v1/exchangeInfo"])

    async def play() -> None:
        async with staged("binanceusdm", opened=False) as stage:
            stage.venue.raw = forward
            proxy = stage.exchange._spec.base_url
            spec = ExchangeSpec("binanceusdm", base_url="http://exchange.invalid", proxy=proxy)
            exchange = CcxtExchange(spec, system_now_ms)
            answer, _ = await exchange.open()
            await exchange.close()
            assert (answer.fault, seen) == (None, ["http://exchange.invalid/fapi/v1/exchangeInfo"])

    asyncio.run(play())


def test_a_thousand_accounts_load_and_send_nothing_when_they_are_added() -> None:
    async def play() -> None:
        async with staged("binanceusdm") as stage:
            asked = len(stage.venue.asked)
            for number in range(1_000):
                stage.exchange.add_account(account("binanceusdm", f"account-{number}"))
            assert len(stage.venue.asked) == asked
            assert all(seat.view is None for seat in stage.exchange._seats.values())

    asyncio.run(play())


def test_what_an_account_was_told_is_remembered_by_question_and_never_for_single_orders() -> None:
    paths: dict[str, Any] = {"/fapi/v3/positionRisk": [], "/fapi/v1/openOrders": [], "/fapi/v1/userTrades": []}

    async def play() -> None:
        async with staged("binanceusdm", paths) as stage:
            for number in range(30):
                await stage.ask(Call(Surface.ORDER, symbol=SYMBOL, order_id=str(number)))
                await stage.ask(Call(Surface.FILLS, symbol=SYMBOL, since_ms=system_now_ms() - number))
                await stage.ask(POSITIONS)
            assert list(stage.exchange._seats["a"].seen) == [(Surface.POSITIONS, "")]

    asyncio.run(play())


def test_an_answer_that_comes_late_does_not_hide_a_return_to_what_it_said() -> None:
    """Asked first and answered last: what it says is old, so the next equal answer is news again."""
    gate = asyncio.Event()
    amounts = iter(["1", "2", "1"])

    async def play() -> None:
        async with staged("binanceusdm", {"/fapi/v3/positionRisk": []}) as stage:
            row = {"symbol": "BTCUSDT", "positionSide": "BOTH", "entryPrice": "1", "updateTime": 1}
            read = stage.exchange._read

            async def held_back(client: Any, call: Call, markets: Any, now_ms: Any) -> Any:
                amount = next(amounts)
                stage.venue.answers["/fapi/v3/positionRisk"] = [row | {"positionAmt": amount}]
                reading = await read(client, call, markets, now_ms)
                if amount == "1" and not gate.is_set():
                    await gate.wait()
                return reading

            stage.exchange._read = held_back
            before_ms = system_now_ms()
            first = asyncio.create_task(stage.ask(POSITIONS))
            while len(stage.venue.asked) < 2 or system_now_ms() == before_ms:  # noqa: ASYNC110  the venue signals nothing
                await asyncio.sleep(0.005)
            second, _ = await stage.ask(POSITIONS)
            gate.set()
            late, _ = await first
            assert late.as_of_ms < second.as_of_ms
            assert late.rows is not None
            third, _ = await stage.ask(POSITIONS)
            assert third.rows == late.rows, "the position went back to 1: that is news"

    asyncio.run(play())


@pytest.mark.parametrize("exchange_id", ["binanceusdm", "okx", "bybit", "bitget", "gate", "htx"])
def test_no_secret_is_in_any_answer_or_representation(exchange_id: str) -> None:
    echo = {"code": "1", "retCode": 1, "label": "X", "msg": f"{KEY} {SECRET} {PASSWORD}", "retMsg": f"{KEY}{SECRET}"}

    async def play() -> None:
        async with staged(exchange_id) as stage:
            stage.venue.otherwise = echo
            for status in (200, 400, 401, 403, 503):
                stage.venue.status = status
                answer, requests = await stage.ask(POSITIONS)
                text = f"{answer!r} {requests!r} {stage.exchange!r}"
                assert answer.fault is not None
                assert not [word for word in (KEY, SECRET, PASSWORD, "signature=", "127.0.0.1") if word in text], text

    asyncio.run(play())


def test_closing_is_quick_and_leaves_no_warning_behind() -> None:
    async def play() -> None:
        async with staged("binanceusdm", {"/fapi/v3/positionRisk": []}) as stage:
            for number in range(50):
                stage.exchange.add_account(account("binanceusdm", f"account-{number}"))
                await stage.exchange.ask(f"account-{number}", POSITIONS, full=False)
            began_ms = system_now_ms()
            await stage.exchange.close()
            assert system_now_ms() - began_ms < 250, "ccxt's own close sleeps that long for each client"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(play())
        gc.collect()
