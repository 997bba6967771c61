"""The hard situations of answers and positions, end to end: tests/README.md has the table of all."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from tests.process.scene import (
    BTC,
    FILLS,
    ORDER,
    ORDERS,
    POSITIONS,
    QUICK,
    STILL,
    Paper,
    Scene,
    now_ms,
    paper_exchange,
    robot,
    stage,
    until,
)

from fleetsync import Settings
from fleetsync.errors import SyncTimeout
from fleetsync.model import Certainty, Phase

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def paper() -> Iterator[Paper]:
    with paper_exchange(seed=6) as running:
        yield running


def play(paper: Paper, act: Callable[[Scene], Awaitable[None]], *robots: Any, settings: Settings = STILL) -> None:
    async def run() -> None:
        async with stage(paper, *robots, settings=settings) as scene:
            await act(scene)

    asyncio.run(run())


# -- 2: a failed call is no empty list


def test_no_kind_of_failed_answer_closes_a_position_or_ends_an_order(paper: Paper) -> None:
    failures = ["server_error", "maintenance", "busy", "unknown_done", "unknown_not_done", "truncated", "html",
                "empty_body", "empty_object", "reset", "reset_after", "lost_request", "lost_answer"]

    async def act(scene: Scene) -> None:
        position, order = await scene.open_and_see(), await scene.rest()
        await scene.engine.sync("r")
        before = scene.last_change
        for kind in failures:
            for endpoint in (POSITIONS, ORDERS):
                await scene.misbehave(kind, endpoint, count=2)
            state = await scene.engine.sync("r")
            assert (await scene.admin.ask("GET", "faults"))["pending"] == [], kind
            assert (state.phase, state.certainty) == (Phase.HOLDING, Certainty.AGREED), kind
        assert await scene.changes(before) == []
        assert scene.position() == position
        assert [known.id for known in scene.orders()] == [order["id"]]

    play(paper, act)


# -- 3: a long outage


def test_a_long_outage_loses_nothing_shows_its_staleness_and_is_caught_up_with_afterwards(paper: Paper) -> None:
    async def act(scene: Scene) -> None:
        await scene.open_and_see()
        kept, gone = await scene.rest(client_id="kept"), await scene.rest(side="sell", client_id="gone")
        await scene.engine.sync("r")
        before, asked = scene.last_change, len(await scene.calls())
        await scene.misbehave("maintenance", count=1_000_000)
        await scene.admin.cancel_order(scene.at("r")[0], gone["id"])
        with pytest.raises(SyncTimeout, match="could not be read: down"):
            await scene.engine.sync("r", timeout_ms=1_200)
        state = scene.state()
        assert state.as_of_ms < now_ms() - 1_000
        assert (len(state.positions.value), len(state.orders.value)) == (1, 2)
        assert "down" in scene.engine.status().failing_accounts["a"]
        assert 3 < len(await scene.calls()) - asked < 60  # it goes on asking, and it backs off
        assert await scene.changes(before) == []
        await scene.admin.behave()
        state = await scene.engine.sync("r")
        ended = await scene.change("order_ended")
        assert ended.after is not None
        assert (ended.after["id"], ended.after["status"]) == (gone["id"], "canceled")
        assert [known.id for known in scene.orders()] == [kept["id"]]
        assert state.certainty is Certainty.AGREED
        assert not scene.engine.status().failing_accounts

    play(paper, act, settings=QUICK)


# -- 7: closed by hand, liquidated


def test_a_position_closed_by_hand_is_seen_within_its_period_and_called_external(paper: Paper) -> None:
    async def act(scene: Scene) -> None:
        await scene.open_and_see()
        order = await scene.close()
        closed = await scene.change("position_closed")
        assert closed.cause == "external"
        assert closed.evidence["orders"] == [order["id"]]
        assert closed.exchange_at_ms == order["updated_at_ms"]
        assert closed.seen_at_ms - closed.exchange_at_ms < QUICK.holding_ms + 1_000  # of machine noise

    play(paper, act, settings=QUICK)


def test_a_liquidation_is_told_apart_from_a_close_by_hand(paper: Paper) -> None:
    async def act(scene: Scene) -> None:
        await scene.open_and_see()
        order = await scene.admin.liquidate(*scene.at("r"))
        closed = await scene.change("position_closed")
        assert (closed.cause, closed.evidence["orders"]) == ("liquidation", [order["id"]])

    play(paper, act, settings=QUICK)


# -- 9: clock skew


@pytest.mark.parametrize("skew_ms", [4_000, -8_000])
def test_a_skewed_clock_is_measured_and_reading_goes_on_also_after_a_bad_measurement(paper: Paper,
                                                                                     skew_ms: int) -> None:
    async def act(scene: Scene) -> None:
        await scene.open_and_see()
        before = scene.last_change
        await scene.admin.misbehave("late_answer", endpoint="v1/time", count=1, delay_ms=300)
        await scene.admin.set_clock(skew_ms=skew_ms)
        try:
            state = await scene.engine.sync("r")
        finally:
            await scene.admin.set_clock(skew_ms=0)
        assert (await scene.engine.sync("r")).phase is state.phase is Phase.HOLDING
        assert await scene.changes(before) == []

    play(paper, act, robot(symbol=BTC))


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
            await scene.misbehave("older_state", behind, count=4, delay_ms=200)
            await scene.admin.cancel_order(scene.at("r")[0], order["id"])
            by_hand = await scene.close()
            await scene.misbehave("repeated", behind, count=2)
            await until(lambda: scene.state().phase is Phase.FLAT and scene.state().certainty is Certainty.AGREED,
                        lambda: f"the truth: {scene.state()}")
            closed = await scene.change("position_closed", after=before)
            ended = {change.key: change for change in await scene.changes_of("order_ended", after=before)}
            after = ended.pop(f"order:{order['id']}").after
            assert after is not None
            assert (after["status"], after["filled"]) == ("canceled", "0")
            assert set(ended) <= {f"order:{by_hand['id']}"}  # asked for by name, since it closed the position
            told = [(change.kind, change.key) for change in await scene.changes(before)]
            assert sorted(told) == sorted({*told}), "told twice"
            assert closed.evidence["orders"] == [by_hand["id"]]

    asyncio.run(act())
