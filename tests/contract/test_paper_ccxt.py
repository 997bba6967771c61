"""The paper exchange held against the unmodified ccxt client: every unified call, limits and retention."""

import ccxt.async_support as ccxt
import pytest
from tests.contract.paper_lab import BTC, DAY_MS, ETH, Lab, held

from fleetsync_adapters.paper.limits import LimitRules


def test_load_markets_with_default_options_finds_six_hundred_swaps() -> None:
    async def check(lab: Lab) -> None:
        markets = await lab.client.load_markets()
        assert len(markets) == 600
        btc, ours = markets[BTC], lab.venue.markets.by_symbol[BTC]
        assert (btc["swap"], btc["linear"], btc["active"], btc["id"]) == (True, True, True, "BTCUSDT")
        assert (btc["precision"]["price"], btc["precision"]["amount"]) == (float(ours.tick), float(ours.lot))
        assert btc["limits"]["cost"]["min"] == 5
        assert "USDT" in lab.client.currencies

    held(check)


def test_a_market_order_opens_a_position_that_both_versions_of_position_risk_show() -> None:
    async def check(lab: Lab) -> None:
        assert await lab.client.fetch_positions() == []
        made = await lab.client.create_order(BTC, "market", "sell", 0.02, None, {"clientOrderId": "mine-1"})
        assert (made["status"], made["filled"]) == ("closed", 0.02)
        assert (made["clientOrderId"], made["side"]) == ("mine-1", "sell")
        newest = await lab.client.fetch_positions()
        older = await lab.client.fetch_positions([BTC], {"useV2": True})
        for row in (*newest, *older):
            assert (row["symbol"], row["side"], row["contracts"]) == (BTC, "short", 0.02)
            assert row["entryPrice"] == made["average"] == float(lab.account.fills["BTCUSDT"][0].price)
        assert [row["leverage"] for row in (*newest, *older)] == [None, 20]

    held(check)


def test_a_limit_order_lives_through_open_orders_fetch_and_cancel() -> None:
    async def check(lab: Lab) -> None:
        made = await lab.client.create_order(ETH, "limit", "buy", 0.5, lab.price(ETH, -50_000))
        await lab.client.create_order(BTC, "limit", "buy", 0.01, lab.price(BTC, -50_000))
        assert (made["status"], made["filled"], made["remaining"], made["type"]) == ("open", 0, 0.5, "limit")
        assert len(await lab.client.fetch_open_orders()) == 2
        assert [one["id"] for one in await lab.client.fetch_open_orders(ETH)] == [made["id"]]
        assert (await lab.client.fetch_order(made["id"], ETH))["status"] == "open"
        by_client = {"origClientOrderId": made["clientOrderId"]}
        assert (await lab.client.fetch_order(None, ETH, by_client))["id"] == made["id"]
        raw = await lab.client.fapiPrivateV3GetPositionRisk()
        assert {row["symbol"]: float(row["positionAmt"]) for row in raw} == {"ETHUSDT": 0, "BTCUSDT": 0}
        assert (await lab.client.cancel_order(made["id"], ETH))["status"] == "canceled"
        assert (await lab.client.fetch_order(made["id"], ETH))["status"] == "canceled"
        with pytest.raises(ccxt.OrderNotFound, match="-2011"):
            await lab.client.cancel_order(made["id"], ETH)
        await lab.client.cancel_all_orders(BTC)
        assert await lab.client.fetch_open_orders() == []

    held(check)


def test_a_limit_order_is_filled_in_parts_that_its_trades_add_up_to() -> None:
    async def check(lab: Lab) -> None:
        seen = set()
        for _ in range(12):
            made = await lab.client.create_order(BTC, "limit", "buy", 0.05, lab.price(BTC, -60))
            order = made
            while order["status"] == "open":
                lab.clock[0] += 100
                order = await lab.client.fetch_order(made["id"], BTC)
                seen.add(order["filled"] not in {0, 0.05})
            trades = [one for one in await lab.client.fetch_my_trades(BTC) if one["order"] == made["id"]]
            assert round(sum(one["amount"] for one in trades), 8) == order["filled"] == 0.05
            assert {one["takerOrMaker"] for one in trades} == {"maker"}
            if True in seen:
                return
        pytest.fail("no order was seen partly filled")

    held(check, LimitRules(unlimited=True))


def test_reduce_only_closes_what_is_there_and_is_refused_without_a_position() -> None:
    async def check(lab: Lab) -> None:
        with pytest.raises(ccxt.ExchangeError, match="-2022"):
            await lab.client.create_order(BTC, "market", "sell", 0.01, None, {"reduceOnly": True})
        await lab.client.create_order(BTC, "market", "buy", 0.01)
        closed = await lab.client.create_order(BTC, "market", "sell", 0.05, None, {"reduceOnly": True})
        assert (closed["amount"], closed["filled"], closed["reduceOnly"]) == (0.01, 0.01, True)
        assert await lab.client.fetch_positions() == []

    held(check)


def test_stop_orders_live_on_the_conditional_surface_only() -> None:
    async def check(lab: Lab) -> None:
        await lab.client.create_order(BTC, "market", "buy", 0.02)
        stop = {"stopLossPrice": lab.price(BTC, -40_000), "reduceOnly": True, "clientOrderId": "stop-1"}
        made = await lab.client.create_order(BTC, "market", "sell", 0.02, None, stop)
        assert (made["status"], made["clientOrderId"], made["reduceOnly"]) == ("open", "stop-1", True)
        gain = {"takeProfitPrice": lab.price(BTC, 40_000)}
        limit = await lab.client.create_order(BTC, "limit", "sell", 0.02, lab.price(BTC, 41_000), gain)
        assert await lab.client.fetch_open_orders(BTC) == []
        both = await lab.client.fetch_open_orders(None, None, None, {"trigger": True})
        assert [one["id"] for one in both] == [made["id"], limit["id"]]
        assert both[0]["triggerPrice"] == pytest.approx(lab.price(BTC, -40_000), rel=1e-5)
        fetched = await lab.client.fetch_order(made["id"], BTC, {"trigger": True})
        assert fetched["status"] == "open"
        await lab.client.cancel_order(made["id"], BTC, {"trigger": True})
        assert (await lab.client.fetch_order(made["id"], BTC, {"trigger": True}))["status"] == "canceled"
        with pytest.raises(ccxt.OrderNotFound):
            await lab.client.cancel_order(made["id"], BTC, {"trigger": True})

    held(check)


def test_orders_trades_and_balance_tell_one_story() -> None:
    async def check(lab: Lab) -> None:
        await lab.client.create_order(BTC, "market", "buy", 0.02)
        lab.clock[0] += 3_600_000
        await lab.client.create_order(BTC, "market", "sell", 0.02)
        orders = await lab.client.fetch_orders(BTC)
        trades = await lab.client.fetch_my_trades(BTC)
        assert [one["order"] for one in trades] == [one["id"] for one in orders]
        assert [(one["side"], one["filled"], one["status"]) for one in orders] == [
            ("buy", 0.02, "closed"), ("sell", 0.02, "closed"),
        ]
        profit = (trades[1]["price"] - trades[0]["price"]) * 0.02 - sum(one["fee"]["cost"] for one in trades)
        balance = (await lab.client.fetch_balance())["USDT"]
        assert balance["total"] == pytest.approx(100_000 + profit, abs=1e-6)
        assert [one["id"] for one in await lab.client.fetch_my_trades(BTC, lab.clock[0])] == [trades[1]["id"]]

    held(check)


def test_a_client_order_id_is_refused_twice_while_the_first_is_open() -> None:
    async def check(lab: Lab) -> None:
        low, params = lab.price(BTC, -50_000), {"clientOrderId": "twice"}
        await lab.client.create_order(BTC, "limit", "buy", 0.01, low, params)
        with pytest.raises(ccxt.ExchangeError, match="-4116"):
            await lab.client.create_order(BTC, "limit", "buy", 0.01, low, params)

    held(check)


def test_wrong_secrets_unknown_keys_and_wrong_clocks_raise_ccxts_own_errors() -> None:
    async def check(lab: Lab) -> None:
        await lab.client.load_markets()
        for wrong, code in (({"secret": "wrong"}, "-1022"), ({"api_key": "nobody"}, "-2015")):
            client = lab.new_client(**wrong)
            client.set_markets_from_exchange(lab.client)
            with pytest.raises(ccxt.AuthenticationError, match=code):
                await client.fetch_balance()
        now_ms = lab.clock[0]
        for skew_ms in (-11_000, 1_000):
            lab.client.milliseconds = lambda skew_ms=skew_ms: now_ms + skew_ms
            with pytest.raises(ccxt.InvalidNonce, match="-1021"):
                await lab.client.fetch_balance()
        await lab.client.load_time_difference()
        assert (await lab.client.fetch_balance())["USDT"]["total"] == 100_000

    held(check)


def test_the_client_meets_429_with_retry_after_and_418_when_it_goes_on() -> None:
    async def check(lab: Lab) -> None:
        await lab.client.load_markets()
        lab.clock[0] += 60_000
        for _ in range(2):
            await lab.client.fetch_open_orders()
        for status, after in (("429", "60"), ("429", "60"), ("418", "120")):
            with pytest.raises(ccxt.DDoSProtection, match=status):
                await lab.client.fetch_open_orders()
            assert lab.client.last_response_headers["Retry-After"] == after
        lab.clock[0] += 119_999
        with pytest.raises(ccxt.DDoSProtection, match="418"):
            await lab.client.fetch_open_orders()
        lab.clock[0] += 1
        await lab.client.fetch_open_orders()
        assert lab.client.last_response_headers["X-MBX-USED-WEIGHT-1M"] == "40"

    held(check, LimitRules(weight_per_minute=80, refusals_before_ban=2))


def test_an_unfilled_order_cannot_be_asked_for_after_three_days_but_a_filled_one_can() -> None:
    async def check(lab: Lab) -> None:
        filled = await lab.client.create_order(BTC, "market", "buy", 0.01)
        unfilled = await lab.client.create_order(BTC, "limit", "buy", 0.01, lab.price(BTC, -90_000))
        await lab.client.cancel_order(unfilled["id"], BTC)
        lab.clock[0] += 3 * DAY_MS + 1
        with pytest.raises(ccxt.OrderNotFound, match="-2013"):
            await lab.client.fetch_order(unfilled["id"], BTC)
        assert (await lab.client.fetch_order(filled["id"], BTC))["status"] == "closed"
        lab.clock[0] += 87 * DAY_MS
        with pytest.raises(ccxt.OrderNotFound, match="-2013"):
            await lab.client.fetch_order(filled["id"], BTC)

    held(check)
