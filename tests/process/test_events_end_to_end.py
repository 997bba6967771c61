"""Event sync end to end: hints, forced syncs, collapse, settling, external changes, siblings."""

import asyncio
import functools
import itertools
from collections.abc import Iterator

import pytest
from tests.process.scene import (
    BTC,
    ETH,
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

from fleetsync.errors import ConfigError, RobotStopped, SyncTimeout, UnknownRobot
from fleetsync.events import KINDS
from fleetsync.model import Certainty, Phase

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def paper() -> Iterator[Paper]:
    with paper_exchange(seed=7) as running:
        yield running


# -- hints


@pytest.mark.parametrize("workers", [0, 1])
def test_a_hint_of_any_kind_makes_a_robot_looked_at_at_once(paper: Paper, workers: int) -> None:
    def has_served(scene: Scene, count: int) -> bool:
        return scene.engine.ages.urgent.count == count

    async def act() -> None:
        async with stage(paper, settings=STILL.but(workers=workers)) as scene:
            for number, kind in enumerate((*KINDS, "other"), 1):
                asked = len(await scene.calls(endpoint=POSITIONS))
                accepted_at_ms = now_ms()
                await scene.engine.notify("r", kind, text="seen on the screen")
                await until(functools.partial(has_served, scene, number), f"{kind} served")
                assert len(await scene.calls(endpoint=POSITIONS)) == asked + 1
                assert scene.state().as_of_ms >= accepted_at_ms - 1

    asyncio.run(act())


def test_an_unknown_robot_kind_or_side_is_refused_by_name_and_the_next_hint_is_taken(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=STILL) as scene:
            with pytest.raises(UnknownRobot, match="'ghost'"):
                scene.engine.notify("ghost", "opened")
            with pytest.raises(ConfigError, match="'exploded'"):
                scene.engine.notify("r", "exploded")
            with pytest.raises(ConfigError, match="'up'"):
                scene.engine.notify("r", "opened", side="up")
            await scene.engine.notify("r", "opened")
            assert scene.engine.status().events == 1

    asyncio.run(act())


def test_a_hint_names_the_cause_and_never_the_fact(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=STILL) as scene:
            await scene.open()
            await scene.engine.notify("r", "opened", side="long")
            assert (await scene.change("position_opened")).cause == "event"
            await scene.engine.notify("r", "closed", side="long")  # it was not
            await scene.change("event_unseen")
            assert scene.state().phase is Phase.HOLDING
            assert "position_closed" not in await scene.kinds()

    asyncio.run(act())


# -- forced sync


def test_a_forced_sync_answers_with_what_the_exchange_holds_now(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=STILL) as scene:
            for opened in (True, False, True):
                await (scene.open() if opened else scene.close())
                asked_at_ms = now_ms()
                state = await scene.engine.sync("r")
                assert state.phase is (Phase.HOLDING if opened else Phase.FLAT)
                assert state.as_of_ms >= asked_at_ms - 1
                assert state.certainty is Certainty.AGREED

    asyncio.run(act())


def test_knowledge_younger_than_asked_is_answered_without_a_call(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=STILL) as scene:
            await scene.engine.sync("r")
            asked = len(await scene.calls())
            states = await asyncio.gather(*(scene.engine.sync("r", max_age_ms=30_000) for _ in range(50)))
            assert {state.phase for state in states} == {Phase.FLAT}
            assert len(await scene.calls()) == asked
            await scene.engine.sync("r")
            assert len(await scene.calls()) > asked

    asyncio.run(act())


def test_a_forced_sync_that_cannot_be_proven_fails_in_time_and_says_why(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, robot("r", "a", BTC), robot("lost", "a", "NONE/USDT:USDT"), settings=STILL,
                         known=False) as scene:
            await scene.engine.sync("r")
            with pytest.raises(UnknownRobot):
                await scene.engine.sync("ghost")
            await until(lambda: scene.state("lost").stopped, "the robot on no market stopped")
            with pytest.raises(RobotStopped, match="does not list NONE"):
                await scene.engine.sync("lost")
            await scene.misbehave("late_answer", count=1_000, delay_ms=600)
            began_ms = now_ms()
            with pytest.raises(SyncTimeout, match="within 200 ms"):
                await scene.engine.sync("r", timeout_ms=200)
            assert now_ms() - began_ms < 600
            await scene.admin.behave()
            await scene.misbehave("maintenance", count=1_000_000)
            with pytest.raises(SyncTimeout, match="could not be read: down"):
                await scene.engine.sync("r", timeout_ms=2_000)

    asyncio.run(act())


def test_a_forced_sync_does_not_answer_while_what_was_shown_is_disputed(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=STILL) as scene:
            await scene.open_and_see()
            await scene.misbehave("empty_list", POSITIONS, count=1)
            await scene.misbehave("server_error", "userTrades", count=1_000_000)
            await scene.misbehave("server_error", POSITIONS, count=1_000_000)
            with pytest.raises(SyncTimeout):
                await scene.engine.sync("r", timeout_ms=800)
            state = scene.state()
            assert state.certainty is state.positions.certainty is Certainty.DISPUTED
            assert state.orders.certainty is Certainty.AGREED
            assert len(state.positions.value) == 1
            await scene.admin.behave()
            assert (await scene.engine.sync("r")).certainty is Certainty.AGREED
            assert await scene.kinds() == ["position_opened"]

    asyncio.run(act())


def test_the_state_says_for_each_surface_what_it_holds_and_when_that_was_true(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=STILL) as scene:
            await scene.open()
            order = await scene.rest()
            asked_at_ms = now_ms()
            state = await scene.engine.sync("r")
            assert [row.symbol for row in state.positions.value] == [BTC]
            assert [one.id for one in scene.orders()] == [order["id"]]
            for surface in (state.positions, state.orders):
                assert asked_at_ms - 1 <= surface.as_of_ms <= now_ms()
                assert surface.certainty is Certainty.AGREED
            assert (state.conditional.as_of_ms, state.conditional.certainty) == (0, Certainty.UNKNOWN)  # not asked for

    asyncio.run(act())


# -- collapse


def test_ten_thousand_hints_in_a_second_make_one_run_at_a_time_and_one_after_the_last(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=STILL) as scene:
            await scene.admin.ask("POST", "faults", {"latency_ms": [40, 40]})
            before = await scene.calls()
            began_ms = now_ms()
            durable = []
            for burst in range(100):
                durable += [scene.engine.notify("r", "suspect") for _ in range(100)]
                await asyncio.sleep(0)
                assert len(scene.engine.core.in_flight) <= 1, burst
            last_ms = now_ms()
            await asyncio.gather(*durable)
            await until(lambda: scene.engine.status().events_pending == 0, "all served")
            runs = [row["at_ms"] for row in (await scene.calls(endpoint=POSITIONS)) if row["number"] > _last(before)]
            assert all(later - sooner >= 40 for sooner, later in itertools.pairwise(runs))
            assert len(runs) <= (last_ms - began_ms) // 40 + 3
            assert sum(at_ms >= last_ms for at_ms in runs) in {1, 2}  # one in flight perhaps, and one further
            assert scene.engine.status().events == 10_000

    def _last(rows: list[dict[str, int]]) -> int:
        return rows[-1]["number"] if rows else -1

    asyncio.run(act())


# -- settle


def test_what_was_announced_is_asked_for_on_a_growing_schedule_until_it_shows_or_its_time_is_over(
        paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=STILL.but(settle_ms=2_000)) as scene:
            await scene.engine.notify("r", "order_placed", client_id="late")
            seen = await scene.seen_by_exchange(ORDER, more_than=1)
            order = await scene.rest(client_id="late")
            opened = await scene.change("order_opened")
            assert (opened.key, opened.cause) == (f"order:{order['id']}", "event")
            assert seen >= 2
            await scene.engine.notify("r", "opened", side="short")
            accepted_at_ms = now_ms()
            unseen = await scene.change("event_unseen")
            assert unseen.evidence["event"]["side"] == "short"
            assert 2_000 - 50 <= now_ms() - accepted_at_ms < 4_000
            runs = [row["at_ms"] for row in await scene.calls(endpoint=POSITIONS) if row["at_ms"] >= accepted_at_ms - 5]
            gaps = [later - sooner for sooner, later in itertools.pairwise(runs)][:-1]  # the last ends with it
            assert len(gaps) >= 2
            assert all(later > sooner * 1.3 for sooner, later in itertools.pairwise(gaps)), gaps

    asyncio.run(act())


# -- changes that nobody announced


def test_a_change_by_hand_of_any_kind_is_seen_without_an_event_and_called_external(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=QUICK) as scene:
            await scene.open_and_see(notional="400")
            size = scene.market().lot * 2
            for kind, side in (("position_grew", "buy"), ("position_shrank", "sell"), ("position_flipped", "sell")):
                how_much = str(size if kind != "position_flipped" else size * 100)
                await scene.admin.open_position(*scene.at("r"), side, size=how_much)
                change = await scene.change(kind)
                assert (change.cause, change.robots) == ("external", ("r",))
            await scene.close()
            assert (await scene.change("position_closed")).cause == "external"

    asyncio.run(act())


def test_siblings_on_the_symbol_are_looked_at_at_once_when_a_hand_closes_one(paper: Paper) -> None:
    async def act() -> None:
        watched = robot("watched", "a", BTC)
        others = [robot("sibling", "b", BTC), robot("stranger", "c", ETH)]
        async with stage(paper, watched, *others, settings=STILL) as scene:
            for name in ("watched", "sibling", "stranger"):
                await scene.open_and_see(name)
            await asyncio.sleep(1.1)  # a sibling read within the last second is not asked again: let that second pass
            await asyncio.gather(*(scene.close(name) for name in ("watched", "sibling", "stranger")))
            await scene.engine.notify("watched", "suspect")
            assert (await scene.change("position_closed", "watched")).cause == "external"
            assert (await scene.change("position_closed", "sibling")).cause == "external"
            assert scene.state("stranger").phase is Phase.HOLDING  # nobody has said or shown anything of it

    asyncio.run(act())


def test_a_consumer_reads_the_feed_without_gap_or_repeat_from_wherever_it_left(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, settings=QUICK) as scene:
            for _ in range(4):
                await scene.open_and_see()
                await scene.close()
                await scene.engine.sync("r")
            await scene.misbehave("empty_list", ORDERS)
            last = (await scene.changes())[-1].number
            read: list[int] = []
            while len(read) < last:  # it leaves and comes back after every other change
                async for change in scene.engine.changes(after=read[-1] if read else 0):
                    read.append(change.number)
                    if len(read) % 2 == 0 or len(read) == last:
                        break
            assert read == list(range(1, last + 1))

    asyncio.run(act())
