"""The hard situations of fleets, lists, limits and restarts, end to end; tests/README.md has the table of all."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from tests.process.scene import (
    BTC,
    ETH,
    FILLS,
    NOT_LIMITED,
    ORDER,
    ORDERS,
    POSITIONS,
    QUICK,
    SOL,
    STILL,
    Paper,
    now_ms,
    open_accounts,
    paper_exchange,
    robot,
    spec,
    stage,
    until,
    until_told,
)

from fleetsync import Engine, Settings
from fleetsync.errors import SyncTimeout
from fleetsync.model import Certainty, Phase

pytestmark = pytest.mark.process
WITH_CONDITIONAL = {**NOT_LIMITED, "surfaces": ["positions", "orders", "conditional"]}


@pytest.fixture(scope="module")
def paper() -> Iterator[Paper]:
    with paper_exchange(seed=6) as running:
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


# -- 10: herds, refusals, bans


def test_a_whole_fleet_that_starts_at_once_is_no_herd(tmp_path: Path) -> None:
    accounts = [f"a{number}" for number in range(16)]
    robots = [robot(f"{name}-{symbol[:3]}", name, symbol) for name in accounts for symbol in (BTC, ETH, SOL)]
    settings = Settings(workers=0, calls_per_minute=1_200)

    async def act(paper: Paper) -> None:
        async with stage(paper, *robots, settings=settings, overrides={}) as scene:
            counted = await scene.admin.summary()
            assert (counted["refused_429"], counted["refused_418"]) == (0, 0)
            rows = (await scene.admin.ledger())["rows"]
            # The operator's burst of scheduled and urgent work, and what its rate adds in 100 ms.
            assert max(sum(0 <= row["at_ms"] - first["at_ms"] < 100 for row in rows) for first in rows) <= 24

    with paper_exchange(unlimited=False) as limited:
        asyncio.run(act(limited))


def test_a_429_is_obeyed_by_the_whole_fleet_until_its_window_is_over(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, robot("x", "a", BTC), robot("y", "b", ETH), settings=QUICK) as scene:
            await scene.open("y")
            await scene.misbehave("throttled", account="a", delay_ms=1_500)
            await until(lambda: any("rate_limited" in notice.text for notice in scene.notices), "the freeze")
            await until_told(lambda: calls_after(429), "a call after it")
            refused = await refusal(429)
            assert min(row["at_ms"] for row in await calls_after(429)) >= refused + 2_000 - 20  # Retry-After: 2 s
            assert (await scene.engine.sync("y")).phase is Phase.HOLDING

    async def refusal(status: int) -> int:
        rows = (await paper_rows()) if False else await paper_rows()
        return int(next(row["at_ms"] for row in rows if row["status"] == status))

    async def calls_after(status: int) -> list[dict[str, int]]:
        rows = await paper_rows()
        found = [index for index, row in enumerate(rows) if row["status"] == status]
        return rows[found[-1] + 1:] if found else []

    async def paper_rows() -> list[dict[str, int]]:
        admin = paper.admin()
        try:
            rows: list[dict[str, int]] = (await admin.ledger(limit=100_000))["rows"]
            return rows
        finally:
            await admin.close()

    asyncio.run(act())


def test_a_ban_silences_the_fleet_also_over_a_restart(paper: Paper, tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")

    async def act() -> None:
        admin = paper.admin()
        fleet = await open_accounts(admin, ["a"])
        await admin.close()
        async with stage(paper, settings=QUICK, store=path, accounts=fleet) as scene:
            await scene.misbehave("banned", delay_ms=2_600)
            await until(lambda: any("banned" in notice.text for notice in scene.notices), "the ban")
            refused = next(row for row in await scene.calls() if row["status"] == 418)
        async with stage(paper, settings=QUICK, store=path, accounts=fleet, known=False) as scene:
            with pytest.raises(SyncTimeout):
                await scene.engine.sync("r", timeout_ms=100)
            await scene.known()
            after = [row["at_ms"] for row in await scene.calls(after=refused["number"])]
            assert min(after) >= refused["at_ms"] + 3_000 - 20  # Retry-After: 3 s, whole seconds
            assert (await scene.admin.summary())["refused_418"] == 1

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
            assert await scene.kinds() == ["position_opened", "position_closed"]
            assert scene.state().phase is Phase.FLAT

    asyncio.run(act())


# -- 14: briefly empty


def test_lists_that_are_empty_for_a_moment_close_nothing(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=QUICK) as scene:
            position, order = await scene.open_and_see(), await scene.rest()
            await scene.engine.sync("r")
            before = scene.last_change
            for endpoint, times in ((POSITIONS, 1), (ORDERS, 1), (POSITIONS, 2), (ORDERS, 3)):
                await scene.misbehave("empty_list", endpoint, count=times)
                assert (await scene.engine.sync("r")).certainty is Certainty.AGREED
                assert scene.position() == position
                assert [known.id for known in scene.orders()] == [order["id"]]
            assert await scene.changes(before) == []

    asyncio.run(act())


# -- 15: surfaces out of step


@pytest.mark.parametrize("behind", [POSITIONS, ORDERS, FILLS, ORDER])
def test_surfaces_out_of_step_end_in_the_truth_and_nothing_is_told_twice(paper: Paper, behind: str) -> None:
    async def act() -> None:
        async with stage(paper, settings=QUICK) as scene:
            await scene.open_and_see()
            order = await scene.rest()
            await scene.engine.sync("r")
            before = scene.last_change
            await scene.misbehave("older_state", behind, count=4, delay_ms=600)
            await scene.admin.cancel_order(scene.at("r")[0], order["id"])
            await scene.close()
            await scene.misbehave("repeated", behind, count=2)
            await until(lambda: scene.state().phase is Phase.FLAT and scene.state().certainty is Certainty.AGREED,
                        lambda: f"the truth: {scene.state()}")
            assert sorted(await scene.kinds(after=before)) == ["order_ended", "position_closed"]
            ended = await scene.change("order_ended")
            assert ended.after is not None
            assert (ended.after["status"], ended.after["filled"]) == ("canceled", "0")

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
            half = whole - whole % 2 if False else scene.market().lot * (whole / scene.market().lot // 2)
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
            await scene.known()
            await until(lambda: scene.state().certainty is Certainty.AGREED, "agreed")
            told = await scene.changes(last)
            assert [change.number for change in told] == list(range(last + 1, last + 1 + len(told)))
            assert sorted((change.kind, change.cause) for change in told) == [
                ("order_ended", "external"), ("order_opened", "robot"), ("position_closed", "external")]
            assert {known.id for known in scene.orders()} == {kept["id"], older["id"]}

    asyncio.run(act())


# -- 20: a batch that was accepted in part


def test_of_a_batch_each_order_has_its_own_outcome(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=STILL) as scene:
            placed = [await scene.rest(client_id=f"batch-{number}") for number in (1, 3)]
            for number in (1, 2, 3):
                await scene.engine.notify("r", "order_placed", client_id=f"batch-{number}")
            await scene.change("event_unseen")
            assert sorted(await scene.kinds()) == ["event_unseen", "order_opened", "order_opened"]
            assert {order.id for order in scene.orders()} == {order["id"] for order in placed}

    asyncio.run(act())


# -- 11: the edge of the exchange's window


@pytest.mark.soak
def test_no_fixed_minute_of_the_exchange_holds_more_than_its_limit_when_the_budget_is_used_up() -> None:
    robots = [robot(f"r{number}", f"a{number % 20}", symbol) for number, symbol in enumerate([BTC, ETH, SOL] * 20)]
    settings = Settings(workers=0, calls_per_minute=60_000, holding_ms=1_000, working_ms=1_000, flat_ms=1_000)

    async def act(paper: Paper) -> None:
        async with stage(paper, *robots, settings=settings, overrides={"quotas": {"weight": {"limit": 600}}}) as scene:
            began = now_ms()
            await until_over(scene.engine, began + 135_000)
            counted = await scene.admin.summary()
            assert (counted["refused_429"], counted["refused_418"]) == (0, 0)
            assert 500 < counted["worst_minute_weight"] <= 600

    async def until_over(engine: Engine, at_ms: int) -> None:
        while now_ms() < at_ms:
            await asyncio.sleep(1)
            assert engine.status().workers_up

    with paper_exchange(unlimited=False, weight_per_minute=600) as limited:
        assert spec(limited, settings).tariff
        asyncio.run(act(limited))
