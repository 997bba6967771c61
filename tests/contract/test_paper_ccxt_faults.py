"""The paper exchange's misbehaviour as the unmodified ccxt client meets it, over real sockets."""

import asyncio
from decimal import Decimal

import aiohttp
import ccxt.async_support as ccxt
import pytest
from tests.contract.paper_lab import BTC, Lab, held, lab

from fleetsync_adapters.paper.faults import Misdeed


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (Misdeed.SERVER_ERROR, ccxt.ExchangeNotAvailable), (Misdeed.MAINTENANCE, ccxt.ExchangeNotAvailable),
        (Misdeed.LOST_REQUEST, ccxt.RequestTimeout),
        (Misdeed.BANNED, ccxt.DDoSProtection), (Misdeed.CLOCK_SKEW, ccxt.InvalidNonce),
        (Misdeed.UNKNOWN_NOT_DONE, ccxt.ExchangeError),
    ],
)  # fmt: skip
def test_a_misdeed_reaches_the_client_as_the_error_it_knows(kind: Misdeed, error: type[Exception]) -> None:
    async def check(lab: Lab) -> None:
        await lab.client.load_markets()
        lab.client.timeout = 300
        lab.misbehave(kind, "balance", delay_ms=70_000)
        with pytest.raises((error, ccxt.OperationFailed)):
            await lab.client.fapiPrivateV3GetBalance()
        if kind is not Misdeed.BANNED:
            assert len(await lab.client.fapiPrivateV3GetBalance()) == 1

    held(check)


def test_a_reset_is_repeated_once_by_the_http_library_and_then_told() -> None:
    """aiohttp asks again by itself when a kept connection breaks under a GET: the exchange counts two requests."""

    async def check(lab: Lab) -> None:
        await lab.client.load_markets()
        before = lab.venue.ledger.total.calls
        lab.misbehave(Misdeed.RESET, "balance")
        assert len(await lab.client.fapiPrivateV3GetBalance()) == 1
        assert lab.venue.ledger.total.calls == before + 2
        lab.misbehave(Misdeed.RESET, "balance")
        lab.misbehave(Misdeed.RESET, "balance")
        with pytest.raises(ccxt.ExchangeNotAvailable):
            await lab.client.fapiPrivateV3GetBalance()
        lab.misbehave(Misdeed.RESET_AFTER, "POST /fapi/v1/order")
        with pytest.raises(ccxt.ExchangeNotAvailable):
            await lab.client.create_order(BTC, "market", "buy", 0.01)
        assert lab.account.positions["BTCUSDT"].size == Decimal("0.01")

    held(check)


def test_an_order_that_timed_out_is_there_and_found_by_its_client_id() -> None:
    async def check(lab: Lab) -> None:
        await lab.client.load_markets()
        lab.client.timeout = 300
        lab.misbehave(Misdeed.LOST_ANSWER, "POST /fapi/v1/order")
        with pytest.raises(ccxt.RequestTimeout):
            await lab.client.create_order(BTC, "market", "buy", 0.01, None, {"clientOrderId": "lost"})
        found = await lab.client.fetch_order(None, BTC, {"origClientOrderId": "lost"})
        assert (found["status"], found["filled"]) == ("closed", 0.01)

    held(check)


def test_unmodified_ccxt_takes_a_broken_body_for_no_positions() -> None:
    """The trap that the paper exchange exists to set: if this ever fails, ccxt has learnt to tell them apart."""

    async def check(lab: Lab) -> None:
        await lab.client.create_order(BTC, "market", "buy", 0.01)
        await lab.client.load_leverage_brackets()
        for kind in (Misdeed.TRUNCATED, Misdeed.HTML, Misdeed.EMPTY_BODY, Misdeed.EMPTY_LIST):
            lab.misbehave(kind, "positionRisk")
            assert await lab.client.fetch_positions() == []
        assert len(await lab.client.fetch_positions()) == 1

    held(check)


def test_requests_that_are_never_answered_do_not_hold_up_the_end() -> None:
    async def check() -> None:
        async with lab() as made:
            made.misbehave(Misdeed.LOST_REQUEST, "time")
            waiting = asyncio.ensure_future(made.client.fetch_time())
            while made.venue.ledger.total.calls == 0:  # noqa: ASYNC110 - the ledger rings no bell
                await asyncio.sleep(0.01)
        with pytest.raises((ccxt.NetworkError, asyncio.CancelledError)):
            await waiting

    asyncio.run(asyncio.wait_for(check(), 4))


def test_a_client_may_play_several_addresses_and_the_ledger_keeps_them_apart() -> None:
    async def check(lab: Lab) -> None:
        async with aiohttp.ClientSession(lab.running.base_url) as session:
            for name in ("egress-1", "egress-2", "egress-2"):
                async with session.get("/fapi/v1/time", headers={"X-Paper-Ip": name}) as response:
                    assert response.status == 200
        assert lab.venue.ledger.summary("egress-2")["calls"] == 2

    held(check)


def test_a_body_that_is_too_large_is_refused() -> None:
    async def check(lab: Lab) -> None:
        async with (
            aiohttp.ClientSession(lab.running.base_url) as session,
            session.post("/fapi/v1/order", data=b"x" * 100_000) as response,
        ):
            assert response.status == 413

    held(check)
