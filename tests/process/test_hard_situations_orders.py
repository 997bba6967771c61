"""The hard situations of orders, end to end: tests/README.md says what each one is and what covers it."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from tests.process.scene import (
    FILLS,
    ORDER,
    ORDERS,
    STILL,
    Paper,
    Scene,
    now_ms,
    paper_exchange,
    robot,
    soon_reached,
    stage,
    until,
    until_told,
)

from fleetsync import Settings
from fleetsync.model import Certainty, Phase

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def paper() -> Iterator[Paper]:
    with paper_exchange(seed=5) as running:
        yield running


def play(paper: Paper, act: Callable[[Scene], Awaitable[None]], *robots: Any, settings: Settings = STILL) -> None:
    async def run() -> None:
        async with stage(paper, *robots, settings=settings) as scene:
            await act(scene)

    asyncio.run(run())


def on_every_market(paper: Paper) -> list[Any]:
    """A robot on every market of one account, so that an order can be placed wherever the price is about to move."""
    return [robot(market.base, symbol=market.symbol) for market in paper.markets.all]


async def place_where_it_fills(scene: Scene, notional: str = "300") -> tuple[str, dict[str, Any]]:
    """A resting order that the price is about to reach: the robot whose market it is, and the order."""
    market, side, price = soon_reached(scene.paper.markets, now_ms())
    size = market.smallest_size(now_ms(), Decimal(notional))
    placed = await scene.admin.place_order(*scene.at(market.base), side, "limit", str(size), price=str(price))
    assert placed["order"]["status"] == "open"
    return market.base, placed["order"]


async def filled_at_exchange(scene: Scene, order_id: str) -> None:
    """Wait until the exchange holds the order no more; nobody has cancelled it, so it was filled."""
    async def gone() -> bool:
        books = await scene.books()
        return all(order["id"] != order_id for book in books.values() for order in book["orders"])

    await until_told(gone, f"order {order_id} gone from the exchange's book")


# -- 1: filled between two polls


def test_an_order_that_fills_between_two_polls_ends_as_filled_and_its_position_opens_with_it(paper: Paper) -> None:
    async def act(scene: Scene) -> None:
        name, order = await place_where_it_fills(scene)
        await scene.engine.sync(name)
        assert [known.id for known in scene.orders(name)] == [order["id"]]
        await filled_at_exchange(scene, order["id"])
        state = await scene.engine.sync(name)
        ended = await scene.change("order_ended", name)
        opened = await scene.change("position_opened", name)
        assert ended.after is not None
        assert (ended.after["status"], ended.after["filled"], ended.cause) == ("closed", order["size"], "fill")
        assert opened.after is not None
        assert opened.after["size"] == order["size"]
        assert state.phase is Phase.HOLDING

    play(paper, act, *on_every_market(paper))


def test_an_order_that_fills_and_whose_position_closes_between_two_polls_is_no_cancelled_one(paper: Paper) -> None:
    async def act(scene: Scene) -> None:
        name, order = await place_where_it_fills(scene)
        await scene.engine.sync(name)
        await filled_at_exchange(scene, order["id"])
        await scene.close(name)
        state = await scene.engine.sync(name)
        ended = await scene.change("order_ended", name)
        assert ended.after is not None
        assert (ended.after["status"], ended.after["filled"]) == ("closed", order["size"])
        assert state.phase is Phase.FLAT

    play(paper, act, *on_every_market(paper))


# -- 4: not found just after create


def test_an_order_that_is_not_found_just_after_its_create_is_asked_for_until_it_shows(paper: Paper) -> None:
    async def act(scene: Scene) -> None:
        order = await scene.rest()
        await scene.misbehave("not_found", ORDER, count=2)
        await scene.misbehave("empty_list", ORDERS, count=2)
        await scene.engine.notify("r", "order_placed", order_id=order["id"])
        opened = await scene.change("order_opened")
        assert (opened.key, opened.cause) == (f"order:{order['id']}", "event")
        await until(lambda: scene.engine.status().events_pending == 0, "the event is served")
        assert await scene.kinds() == ["order_opened"]

    play(paper, act)


def test_a_known_order_that_is_not_found_for_a_moment_does_not_end(paper: Paper) -> None:
    async def act(scene: Scene) -> None:
        order = await scene.rest()
        await scene.engine.sync("r")
        before = scene.last_change
        await scene.misbehave("empty_list", ORDERS, count=1)
        await scene.misbehave("not_found", ORDER, count=1)
        state = await scene.engine.sync("r")
        assert [known.id for known in scene.orders()] == [order["id"]]
        assert state.certainty is Certainty.AGREED
        assert await scene.changes(before) == []

    play(paper, act)


# -- 5: the create timed out


def test_a_create_that_timed_out_is_found_by_its_client_id_and_reported_once(paper: Paper) -> None:
    async def act(scene: Scene) -> None:
        order = await scene.rest(client_id="bot-7")
        for _ in range(3):
            await scene.engine.notify("r", "order_placed", client_id="bot-7")
        opened = await scene.change("order_opened")
        assert opened.after is not None
        assert (opened.after["id"], opened.after["client_id"], opened.cause) == (order["id"], "bot-7", "event")
        await until(lambda: scene.engine.status().events_pending == 0, "the events are served")
        assert await scene.kinds() == ["order_opened"]

    play(paper, act)


def test_a_create_that_timed_out_and_never_happened_is_said_so(paper: Paper) -> None:
    async def act(scene: Scene) -> None:
        await scene.engine.notify("r", "order_placed", client_id="bot-8")
        unseen = await scene.change("event_unseen")
        assert unseen.evidence["event"]["client_id"] == "bot-8"
        assert scene.orders() == []
        assert len(await scene.calls(endpoint=ORDER)) >= 2  # the list alone would not have been enough

    play(paper, act)


# -- 6: a cancel races a fill


def test_a_cancel_that_came_too_late_leaves_the_order_filled(paper: Paper) -> None:
    async def act(scene: Scene) -> None:
        name, order = await place_where_it_fills(scene)
        await scene.engine.sync(name)
        await filled_at_exchange(scene, order["id"])
        await scene.misbehave("doubled_rows", FILLS, count=5)
        await scene.engine.notify(name, "order_cancelled", order_id=order["id"])
        ended = await scene.change("order_ended", name)
        assert ended.after is not None
        assert (ended.after["status"], ended.after["filled"]) == ("closed", order["size"])
        await until(lambda: scene.engine.status().events_pending == 0, "the event is served")
        assert (await scene.kinds(name)).count("order_ended") == 1

    play(paper, act, *on_every_market(paper))


def test_a_partly_filled_order_that_is_cancelled_keeps_its_filled_part(paper: Paper) -> None:
    async def act(scene: Scene) -> None:
        name, order = await partly_filled_and_cancelled(scene)
        ended = await scene.change("order_ended", name)
        assert ended.after is not None
        assert ended.after["status"] == "canceled"
        assert ended.after["filled"] == order["filled"]
        held = scene.position(name)
        assert held is not None
        assert held.size == order["filled"]

    async def partly_filled_and_cancelled(scene: Scene) -> tuple[str, dict[str, Any]]:
        """Try until a cancel falls between two parts of one order's filling."""
        while True:
            name, order = await place_where_it_fills(scene, "3000")
            account, _ = scene.at(name)
            await scene.engine.sync(name)
            left = await until_told(functools.partial(touched, scene, order["id"]), "a fill")
            if left["filled"]:
                await scene.admin.cancel_order(account, order["id"])
                await scene.engine.sync(name)
                return name, left
            await scene.close(name)

    async def touched(scene: Scene, order_id: str) -> dict[str, Any] | None:
        """The order once it is filled in part; a full one has left the book."""
        mine = next((one for book in (await scene.books()).values() for one in book["orders"]
                     if one["id"] == order_id), None)
        if mine is None:
            return {"filled": ""}
        return mine if mine["filled"] != "0" else None

    play(paper, act, *on_every_market(paper))


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
