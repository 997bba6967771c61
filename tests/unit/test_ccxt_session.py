"""Every request is metered where it leaves: once, to the right ask, whatever becomes of it."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from tests.unit.ccxt_venues import staged

from fleetsync.clock import SystemClock
from fleetsync.messages import Call
from fleetsync.model import Fault, Surface
from fleetsync.ports import ExchangeSpec
from fleetsync.tariff import Cost
from fleetsync_adapters.ccxt_exchange import CcxtExchange, open_exchange
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
        exchange = CcxtExchange(ExchangeSpec("binanceusdm", base_url="http://127.0.0.1:9"), SystemClock().now_ms)
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


def test_an_unknown_exchange_is_refused_with_names_that_look_alike() -> None:
    with pytest.raises(Exception, match="did you mean binanceusdm"):
        open_exchange(ExchangeSpec("binanceusmd"), SystemClock())


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


@pytest.mark.parametrize("wait", ["9" * 30, "9" * 5_000, "-1", "soon", ""])
def test_a_wait_that_is_no_wait_is_none_and_the_refusal_is_told_all_the_same(wait: str) -> None:
    async def refuse(_: web.BaseRequest) -> web.StreamResponse:
        headers = {"Retry-After": wait, "X-MBX-USED-WEIGHT-1M": wait}
        return web.json_response({"code": -1003, "msg": "slow down"}, status=429, headers=headers)

    async def play() -> None:
        async with staged("binanceusdm") as stage:
            stage.venue.raw = refuse
            answer, requests = await stage.ask(POSITIONS)
            assert (answer.fault, answer.retry_after_ms) == (Fault.RATE_LIMITED, 0)
            assert [(request.status, request.used_weight) for request in requests] == [(429, -1)]

    asyncio.run(play())
