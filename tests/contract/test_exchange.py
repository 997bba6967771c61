"""What every `Exchange` promises about its answers, whichever exchange it is."""

import asyncio
from decimal import Decimal

import pytest
from tests.contract.exchange_scene import (
    CONDITIONAL,
    ORDERS,
    POSITIONS,
    SCENES,
    SYMBOL,
    Scene,
    Stage,
    account_of,
    stage_on,
)  # fmt: skip

from fleetsync.messages import Call, Request
from fleetsync.model import Account, Fault, Fill, Order, Position, Secret, Surface
from fleetsync_adapters.paper.orders import Ticket
from fleetsync_adapters.paper.server import system_now_ms
from fleetsync_adapters.tariffs import load_tariff


@pytest.fixture(params=SCENES)
def stage(request: pytest.FixtureRequest) -> Stage:
    return stage_on(request.param)


def test_opening_loads_the_markets_and_says_which_requests_that_took(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        assert not scene.exchange.lists(SYMBOL)
        answer, requests = await scene.exchange.open()
        assert (answer.call.surface, answer.complete, answer.fault, answer.rows) == (Surface.MARKETS, True, None, None)
        assert scene.exchange.lists(SYMBOL)
        assert not scene.exchange.lists("NOSUCH/USDT:USDT")
        assert [(r.endpoint, r.weight, r.status) for r in requests] == [("GET /fapi/v1/exchangeInfo", 1, 200)]

    stage(play, opened=False)


def test_a_position_and_an_order_are_shown_as_the_exchange_holds_them(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        scene.trade("SELL")
        order_id = scene.trade("BUY", "LIMIT", "0.5", client_id="mine-1")
        position, held = (await scene.ask(POSITIONS))[0], scene.account.positions["BTCUSDT"]
        assert position.complete
        assert position.rows is not None
        (row,) = position.rows
        assert isinstance(row, Position)
        assert (row.symbol, row.side, Decimal(row.size)) == (SYMBOL, "short", -held.size)
        answer, _ = await scene.ask(ORDERS)
        assert answer.rows is not None
        (order,) = answer.rows
        assert isinstance(order, Order)
        assert (order.id, order.client_id, order.symbol, order.side) == (order_id, "mine-1", SYMBOL, "buy")
        assert (order.status, order.type, order.filled, order.conditional) == ("open", "limit", "0", False)
        assert Decimal(order.price) == scene.account.orders[int(order_id)].price

    stage(play)


def test_a_symbol_with_only_orders_is_a_row_of_size_zero_among_the_positions(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        scene.trade("BUY", "LIMIT", "0.5")
        answer, _ = await scene.ask(POSITIONS)
        assert answer.rows is not None
        assert [(row.symbol, row.size) for row in answer.rows if isinstance(row, Position)] == [(SYMBOL, "0")]

    stage(play)


def test_an_answer_that_equals_the_previous_one_carries_no_rows_unless_asked_in_full(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        scene.trade("BUY")
        first, _ = await scene.ask(POSITIONS)
        again, requests = await scene.ask(POSITIONS)
        in_full, _ = await scene.ask(POSITIONS, full=True)
        assert first.rows is not None
        assert (again.unchanged, again.complete, len(requests)) == (True, True, 1)
        assert again.as_of_ms == requests[0].sent_at_ms
        assert in_full.rows == first.rows

    stage(play)


def test_prices_that_merely_move_are_no_difference_and_a_trade_is(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        scene.trade("BUY")
        await scene.ask(POSITIONS)
        market = scene.venue.markets.by_symbol[SYMBOL]
        before, at_ms = market.price(system_now_ms()), system_now_ms()
        async with asyncio.timeout(20):
            while market.price(system_now_ms()) == before:  # noqa: ASYNC110  prices follow the clock, nothing signals them
                await asyncio.sleep(0.05)
        assert (await scene.ask(POSITIONS))[0].unchanged, f"the price moved since {at_ms}"
        scene.trade("BUY")
        assert not (await scene.ask(POSITIONS))[0].unchanged

    stage(play)


def test_an_account_that_is_added_again_starts_from_a_clean_slate(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        scene.trade("BUY")
        await scene.ask(POSITIONS)
        scene.exchange.add_account(account_of(scene.account))
        assert (await scene.ask(POSITIONS))[0].rows
        scene.exchange.remove_account("a")
        scene.exchange.remove_account("a")
        assert (await scene.ask(POSITIONS))[0].fault is Fault.REFUSED

    stage(play)


def test_two_accounts_never_see_each_other_though_they_share_everything(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        other = scene.venue.books.accounts[1]
        scene.exchange.add_account(Account("b", "binanceusdm", Secret(other.keys.api_key), Secret(other.keys.secret)))
        scene.trade("BUY")
        asked = [scene.exchange.ask(name, POSITIONS, full=True) for name in ("a", "b") * 40]
        found = {"a": set[int](), "b": set[int]()}
        for number, (answer, requests) in enumerate(await asyncio.gather(*asked)):
            assert answer.rows is not None, answer.detail
            assert len(requests) == 1
            found["ab"[number % 2]].add(len(answer.rows))
        assert found == {"a": {1}, "b": {0}}

    stage(play)


def test_orders_of_one_symbol_cost_one_and_of_all_symbols_forty(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        tariff = load_tariff("binanceusdm")
        for surface in (Surface.ORDERS, Surface.CONDITIONAL):
            for call in (Call(surface), Call(surface, symbol=SYMBOL)):
                _, (request,) = await scene.ask(call)
                cost = tariff.cost(call)
                assert (request.endpoint, request.weight) == (cost.endpoint, dict(cost.weights)["weight"])

    stage(play)


def test_every_request_is_told_as_the_exchanges_own_ledger_shows_it(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        scene.venue.ledger.clear()
        order_id = scene.trade("BUY", "LIMIT", "0.5")
        calls = [
            POSITIONS, ORDERS, CONDITIONAL, Call(Surface.ORDERS, symbol=SYMBOL), Call(Surface.FILLS, symbol=SYMBOL),
            Call(Surface.ORDER, symbol=SYMBOL, order_id=order_id), Call(Surface.ORDER, symbol=SYMBOL, order_id="7"),
        ]  # fmt: skip
        told: list[Request] = []
        for call in calls:
            told += (await scene.ask(call))[1]
        kept = scene.venue.ledger.rows(-1, 100, None)
        assert [(r.endpoint, r.weight, r.status) for r in told] == [(r.endpoint, r.weight, r.status) for r in kept]
        assert [r.used_weight for r in told][-1] == sum(r.weight for r in told) + 1  # and the markets

    stage(play)


def test_an_order_is_found_by_either_id_and_not_found_is_a_fault_of_its_own(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        order_id = scene.trade("BUY", "LIMIT", "0.5", client_id="mine-7")
        for call in (
            Call(Surface.ORDER, symbol=SYMBOL, order_id=order_id),
            Call(Surface.ORDER, symbol=SYMBOL, client_id="mine-7"),
        ):
            answer, _ = await scene.ask(call)
            assert answer.rows is not None, answer.detail
            assert [(row.id, row.client_id) for row in answer.rows if isinstance(row, Order)] == [(order_id, "mine-7")]
        answer, _ = await scene.ask(Call(Surface.ORDER, symbol=SYMBOL, order_id="424242"))
        assert (answer.fault, answer.rows) == (Fault.NOT_FOUND, None)

    stage(play)


def test_an_ended_order_is_told_as_ended(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        order_id = scene.trade("BUY")
        answer, _ = await scene.ask(Call(Surface.ORDER, symbol=SYMBOL, order_id=order_id))
        assert answer.rows is not None
        (order,) = answer.rows
        assert isinstance(order, Order)
        assert (order.status, order.filled) == ("closed", order.size)

    stage(play)


def test_conditional_orders_are_a_surface_of_their_own(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        market, at_ms = scene.venue.markets.by_symbol[SYMBOL], system_now_ms()
        scene.trade("BUY")
        trigger = (market.price(at_ms) / 2).quantize(Decimal(1).scaleb(-market.price_digits))
        size = market.smallest_size(at_ms, Decimal(500))
        ticket = Ticket(market=market, side="SELL", type="STOP_MARKET", size=size, trigger=trigger, reduce_only=True)
        placed = scene.venue.orders.place_trigger(scene.account, ticket, at_ms)
        assert (await scene.ask(ORDERS))[0].rows == ()
        answer, _ = await scene.ask(CONDITIONAL)
        assert answer.rows is not None
        (order,) = answer.rows
        assert isinstance(order, Order)
        assert (order.id, order.conditional, order.status) == (str(placed.id), True, "open")
        assert (order.side, order.reduce_only) == ("sell", True)
        found, _ = await scene.ask(Call(Surface.ORDER, symbol=SYMBOL, order_id=str(placed.id), conditional=True))
        assert found.rows == (order,)

    stage(play)


def test_fills_come_oldest_first_and_only_since_the_instant_that_was_asked_for(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        began_ms = system_now_ms()
        ids = [scene.trade("BUY"), scene.trade("SELL")]
        answer, _ = await scene.ask(Call(Surface.FILLS, symbol=SYMBOL, since_ms=began_ms))
        assert answer.complete
        assert answer.rows is not None
        fills = [row for row in answer.rows if isinstance(row, Fill)]
        assert [(fill.order_id, fill.side, fill.symbol) for fill in fills] == [
            (ids[0], "buy", SYMBOL), (ids[1], "sell", SYMBOL),
        ]  # fmt: skip
        assert all(fill.at_ms >= began_ms for fill in fills)
        later, _ = await scene.ask(Call(Surface.FILLS, symbol=SYMBOL, since_ms=system_now_ms() + 60_000))
        assert (later.rows, later.complete) == ((), True)

    stage(play)


def test_more_fills_than_pages_are_partial_and_enough_pages_bring_them_all(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        began_ms = system_now_ms()
        for number in range(1_100):
            scene.trade("BUY" if number % 2 else "SELL")
        call = Call(Surface.FILLS, symbol=SYMBOL, since_ms=began_ms)
        cut, requests = await scene.ask(call)
        assert (cut.complete, len(cut.rows or ()), len(requests)) == (False, 1_000, 1)
        whole, requests = await scene.ask(Call(Surface.FILLS, symbol=SYMBOL, since_ms=began_ms, pages=5))
        assert whole.rows is not None
        assert (whole.complete, len({row.id for row in whole.rows if isinstance(row, Fill)})) == (True, 1_100)
        assert len(requests) == 2

    stage(play)
