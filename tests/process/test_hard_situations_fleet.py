"""The hard situations of shared books, long lists, other surfaces and restarts; see the table in tests/README.md."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from tests.process.scene import (
    NOT_LIMITED,
    ORDER,
    POSITIONS,
    QUICK,
    STILL,
    Paper,
    now_ms,
    open_accounts,
    paper_exchange,
    robot,
    stage,
)

from fleetsync.clock import SystemClock
from fleetsync.model import Phase

pytestmark = pytest.mark.process
WITH_CONDITIONAL = {**NOT_LIMITED, "surfaces": ["positions", "orders", "conditional"]}


@pytest.fixture(scope="module")
def paper() -> Iterator[Paper]:
    with paper_exchange(seed=9) as running:
        yield running


# -- 8: two robots on one book


def test_two_robots_on_one_book_share_its_calls_and_position_and_keep_their_orders_apart(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, robot("x", prefix="x-"), robot("y", prefix="y-"), settings=STILL) as scene:
            mine = await scene.rest("x", client_id="x-1")
            theirs = await scene.rest("y", side="sell", client_id="y-1")
            await scene.open("x")
            asked = len(await scene.calls(endpoint=POSITIONS))
            await asyncio.gather(scene.engine.sync("x"), scene.engine.sync("y"))
            assert len(await scene.calls(endpoint=POSITIONS)) == asked + 1
            assert [order.id for order in scene.orders("x")] == [mine["id"]]
            assert [order.id for order in scene.orders("y")] == [theirs["id"]]
            assert scene.position("x") == scene.position("y") is not None
            assert (scene.state("x").shared, scene.state("y").shared) == (("y",), ("x",))
            opened = await scene.change("position_opened", "y")
            assert set(opened.robots) == {"x", "y"}  # netted by the exchange: not split by guess

    asyncio.run(act())


# -- 9: the system's clock is set while the engine runs


@pytest.mark.parametrize("workers", [0, 1])
def test_answers_are_dated_by_the_engines_clock_wherever_the_systems_clock_has_gone(paper: Paper, workers: int) -> None:
    clock = SystemClock(SystemClock().base_at_ms - 3_000)  # the system's was set forward after the engine had begun

    async def act() -> None:
        async with stage(paper, settings=STILL.but(workers=workers), clock=clock) as scene:
            for _ in range(5):
                before_ms = clock.now_ms()
                state = await scene.engine.sync("r")
                for surface in (state.positions, state.orders):
                    assert before_ms <= surface.as_of_ms <= clock.now_ms()

    asyncio.run(act())


# -- 13: longer than a page


def test_a_close_behind_more_fills_than_a_page_holds_is_proven_from_all_of_them(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=STILL) as scene:
            await scene.open_and_see(notional="100")
            for side in ("buy", "sell"):
                await asyncio.gather(*(scene.open(side=side, notional="10") for _ in range(520)))
            order = await scene.close()
            await scene.engine.notify("r", "closed", side="long")
            closed = await scene.change("position_closed")
            assert order["id"] in closed.evidence["orders"]
            assert (len(closed.evidence["trades"]), closed.exchange_at_ms) == (521, order["updated_at_ms"])
            assert await scene.kinds() == ["position_opened", "position_closed"]
            assert scene.state().phase is Phase.FLAT

    asyncio.run(act())


# -- 16: conditional orders live elsewhere


def test_conditional_orders_are_a_surface_of_their_own_where_the_tariff_says_so(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=STILL, overrides=WITH_CONDITIONAL) as scene:
            await scene.open_and_see()
            market = scene.market()
            trigger = str((market.price(now_ms()) * Decimal("0.7")).quantize(market.tick))
            placed = await scene.admin.place_order(*scene.at("r"), "sell", "stop_market", str(market.lot),
                                                   trigger=trigger, reduce_only=True)
            await scene.engine.sync("r")
            assert [order.id for order in scene.conditional()] == [placed["trigger_id"]]
            assert scene.orders() == []  # absence in the one list says nothing about the other
            await scene.admin.cancel_order(scene.at("r")[0], placed["trigger_id"])
            await scene.misbehave("empty_list", "openAlgoOrders")
            await scene.engine.sync("r")
            ended = await scene.change("order_ended")
            assert ended.after is not None
            assert (ended.after["id"], ended.after["status"], ended.after["conditional"]) == (
                placed["trigger_id"], "canceled", True)

    asyncio.run(act())


# -- 17: the exchange itself shrinks or ends a reduce-only order


def test_a_reduce_only_order_follows_what_the_exchange_made_of_it(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=STILL) as scene:
            whole = Decimal((await scene.open_and_see(notional="1000")).size)
            order = await scene.rest(side="sell", notional="3000", reduce_only=True)
            await scene.engine.sync("r")
            assert Decimal(scene.orders()[0].size) == whole
            half = scene.market().lot * (whole / scene.market().lot // 2)
            await scene.admin.open_position(*scene.at("r"), "sell", size=str(half))
            await scene.engine.sync("r")
            shrunk = await scene.change("order_updated")
            assert shrunk.after is not None
            assert Decimal(shrunk.after["size"]) == whole - half
            await scene.close()
            await scene.engine.sync("r")
            ended = await scene.change("order_ended")
            assert ended.after is not None
            assert (ended.after["id"], ended.after["status"]) == (order["id"], "expired")

    asyncio.run(act())


# -- 18: an outage longer than the exchange remembers


def test_an_order_that_ended_beyond_the_exchanges_memory_ends_as_unknown_and_not_as_a_guess(paper: Paper) -> None:
    async def act() -> None:
        overrides = {**NOT_LIMITED, "order_retention_ms": 500}
        async with stage(paper, settings=QUICK, overrides=overrides) as scene:
            order = await scene.rest()
            await scene.engine.sync("r")
            await scene.misbehave("maintenance", count=8)
            await scene.misbehave("forgotten", ORDER, count=1_000)
            await scene.admin.cancel_order(scene.at("r")[0], order["id"])
            ended = await scene.change("order_ended")
            assert ended.after is not None
            assert (ended.after["status"], ended.after["filled"], ended.cause) == ("unknown", "0", "retention")
            assert set(ended.evidence["surfaces"]) == {"orders", "order", "fills"}

    asyncio.run(act())


# -- 19: a restart with live orders


def test_a_restart_adopts_live_orders_and_leaves_alone_what_it_cannot_verify(paper: Paper, tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")

    async def act() -> None:
        admin = paper.admin()
        fleet = await open_accounts(admin, ["a"])
        await admin.close()
        bot = robot(prefix="bot-")
        async with stage(paper, bot, settings=QUICK, store=path, accounts=fleet) as scene:
            await scene.open_and_see()
            kept, gone = await scene.rest(client_id="bot-1"), await scene.rest(side="sell", client_id="bot-2")
            await scene.engine.sync("r")
            last = scene.last_change
            account, _ = scene.at("r")
        async with stage(paper, bot, settings=QUICK, store=path, accounts=fleet, known=False) as scene:
            await scene.misbehave("not_found", ORDER, count=3)
            await scene.admin.cancel_order(account, gone["id"])
            older = await scene.rest(client_id="bot-0")
            await scene.close()
            await scene.engine.sync("r")
            told = await scene.changes(last)
            assert [change.number for change in told] == list(range(last + 1, last + 1 + len(told)))
            assert sorted((change.kind, change.cause) for change in told) == [
                ("order_ended", "external"), ("order_opened", "robot"), ("position_closed", "external")]
            assert {known.id for known in scene.orders()} == {kept["id"], older["id"]}

    asyncio.run(act())
