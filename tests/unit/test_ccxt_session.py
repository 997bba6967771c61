"""Every request is metered where it leaves: once, to the right ask, whatever becomes of it."""

import asyncio
import gc
import warnings
from typing import Any

import pytest
from aiohttp import web
from tests.unit.ccxt_venues import KEY, PASSWORD, SECRET, SYMBOL, account, staged

from fleetsync.messages import Call
from fleetsync.model import Account, Fault, Secret, Surface
from fleetsync.ports import ExchangeSpec
from fleetsync.tariff import Cost
from fleetsync_adapters.ccxt_exchange import CcxtExchange, epoch_ms, open_exchange
from fleetsync_adapters.ccxt_leader import contracts_only
from fleetsync_adapters.ccxt_session import Prices, Sent, fits
from fleetsync_adapters.tariffs import load_tariff

POSITIONS = Call(Surface.POSITIONS)


def test_a_pattern_names_one_part_of_a_path() -> None:
    assert fits("GET /orders/{id}", "GET /orders/7")
    assert not fits("GET /orders/{id}", "GET /orders/7/fills")
    assert not fits("GET /orders/{id}", "POST /orders/7")
    assert fits("GET /orders", "GET /orders")
    assert not fits("GET /orders", "GET /orders/7")


def test_the_questions_own_price_goes_before_that_of_another_question_to_the_same_endpoint() -> None:
    tariff = load_tariff("binanceusdm")
    path = "/fapi/v1/openOrders"
    assert Prices(tariff, tariff.costs["orders"]).of("GET", path) == (f"GET {path}", 40)
    assert Prices(tariff, tariff.costs["orders:symbol"]).of("GET", path) == (f"GET {path}", 1)
    assert Prices(tariff, tariff.costs["orders"]).of("GET", "/fapi/v3/positionRisk") == ("GET /fapi/v3/positionRisk", 5)
    assert Prices(tariff, tariff.costs["orders"]).of("GET", "/fapi/v1/else") == ("GET /fapi/v1/else", 1)


def test_a_cost_for_several_requests_is_shared_among_them() -> None:
    tariff = load_tariff("bybit")
    cost = Cost("GET /v5/market/instruments-info", (("address", 2),))
    assert Prices(tariff, cost, 2).of("GET", "/v5/market/instruments-info") == (cost.endpoint, 1)


def test_codes_and_words_are_found_under_each_exchanges_names() -> None:
    for body, code, words in (
        ({"code": -1003, "msg": "slow"}, "-1003", "slow"),
        ({"retCode": 10006, "retMsg": "slow"}, "10006", "slow"),
        ({"label": "TOO_MANY_REQUESTS", "message": "slow"}, "TOO_MANY_REQUESTS", "slow"),
        ({"status": "error", "err-code": "x", "err-msg": "slow"}, "x", "slow"),
        ([], "", ""),
        (None, "", ""),
    ):
        sent = Sent("GET /", 1, 0)
        sent.heard(body)
        assert (sent.code, sent.words) == (code, words)


def test_asks_that_run_at_once_never_share_a_meter() -> None:
    """Each answer tells of its own request: the number in the header is the one in the row."""
    count = 300

    def answer(query: dict[str, str]) -> Any:
        number = int(query["symbol"].removeprefix("S"))
        row = {
            "symbol": query["symbol"], "positionSide": "BOTH", "positionAmt": str(number), "entryPrice": "1",
            "updateTime": number,
        }  # fmt: skip
        return web.json_response([row], headers={"X-MBX-USED-WEIGHT-1M": str(number)})

    async def play() -> None:
        async with staged("binanceusdm", {"/fapi/v3/positionRisk": answer}) as stage:
            markets = stage.exchange._markets
            assert markets is not None
            markets._ids |= {f"S{number}": f"S{number}" for number in range(1, count)}
            asked = (
                asyncio.create_task(stage.ask(Call(Surface.POSITIONS, symbol=f"S{number}"), full=True))
                for number in range(1, count)
            )
            for answered, requests in await asyncio.gather(*asked):
                assert answered.rows is not None, answered.detail
                assert [str(request.used_weight) for request in requests] == [row.size for row in answered.rows]

    asyncio.run(play())


def test_a_body_that_is_cut_off_is_a_network_fault_with_status_zero() -> None:
    async def cut(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b"[]")
        assert request.transport is not None
        request.transport.close()
        return response

    async def play() -> None:
        async with staged("binanceusdm") as stage:
            stage.venue.raw = cut
            answer, (request,) = await stage.ask(POSITIONS)
            assert (answer.fault, answer.rows, request.status) == (Fault.NETWORK, None, 0)

    asyncio.run(play())


def test_a_refused_connection_is_a_network_fault_and_its_request_is_told() -> None:
    async def play() -> None:
        exchange = CcxtExchange(ExchangeSpec("binanceusdm", base_url="http://127.0.0.1:9"), epoch_ms)
        answer, requests = await exchange.open()
        assert answer.fault is Fault.NETWORK
        assert [(r.endpoint, r.status) for r in requests] == [("GET /fapi/v1/exchangeInfo", 0)]
        await exchange.close()

    asyncio.run(play())


def test_a_redirect_is_not_followed() -> None:
    def elsewhere(_query: dict[str, str]) -> Any:
        return web.Response(status=302, headers={"Location": "/stolen"})

    async def play() -> None:
        paths = {"/fapi/v3/positionRisk": elsewhere, "/stolen": []}
        async with staged("binanceusdm", paths) as stage:
            answer, (request,) = await stage.ask(POSITIONS)
            assert (answer.fault, answer.rows, request.status) == (Fault.MALFORMED, None, 302)
            assert "/stolen" not in [path for path, _ in stage.venue.asked]

    asyncio.run(play())


def test_cookies_of_one_account_do_not_travel_with_another() -> None:
    cookies: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        cookies.append(request.headers.get("Cookie", ""))
        response = web.json_response([])
        response.set_cookie("session", "of-account-a")
        return response

    async def play() -> None:
        async with staged("binanceusdm") as stage:
            stage.venue.raw = answer
            for _ in range(3):
                await stage.ask(POSITIONS)
        assert cookies == ["", "", ""]

    asyncio.run(play())


def test_the_real_addresses_stay_in_force_so_that_ccxts_table_of_errors_does() -> None:
    fault = {"code": -2027, "msg": "Exceeded the maximum allowable position at current leverage."}

    async def play() -> None:
        async with staged("binanceusdm", {"/fapi/v3/positionRisk": fault}) as stage:
            answer, _ = await stage.ask(POSITIONS)
            assert "OperationRejected" in answer.detail, "with changed addresses ccxt would call it an ExchangeError"

    asyncio.run(play())


def test_the_session_offers_no_method_that_changes_anything() -> None:
    async def play() -> None:
        async with staged("binanceusdm") as stage:
            session = stage.exchange._session
            assert not [name for name in ("put", "delete", "patch", "ws_connect") if hasattr(session, name)]

    asyncio.run(play())


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
                await stage.ask(Call(Surface.FILLS, symbol=SYMBOL, since_ms=epoch_ms() - number))
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
            before_ms = epoch_ms()
            first = asyncio.create_task(stage.ask(POSITIONS))
            while len(stage.venue.asked) < 2 or epoch_ms() == before_ms:  # noqa: ASYNC110  the venue signals nothing
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
            began_ms = epoch_ms()
            await stage.exchange.close()
            assert epoch_ms() - began_ms < 250, "ccxt's own close sleeps that long for each client"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(play())
        gc.collect()


def test_an_unknown_exchange_is_refused_with_names_that_look_alike() -> None:
    with pytest.raises(Exception, match="did you mean binanceusdm"):
        open_exchange(ExchangeSpec("binanceusmd"))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"types": ["spot", "swap", "future"]}, {"types": ["swap", "future"]}),
        ({"types": {"spot": True, "linear": True}}, {"types": {"spot": False, "linear": True}}),
        ({"types": ["spot"]}, {"types": ["spot"]}),
        ({"other": 1}, {"other": 1}),
        (None, None),
    ],
)
def test_only_markets_that_can_hold_positions_are_loaded_where_ccxt_lets_choose(given: Any, kept: Any) -> None:
    assert contracts_only(given) == kept
