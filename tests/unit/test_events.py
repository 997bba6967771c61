"""Events until they are served: what is asked for, for how long, and when it may be called unseen."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.builders import SYMBOL, order, position
from tests.unit.core_world import START_MS, TARIFF, World, failing

from fleetsync.events import Waiter
from fleetsync.messages import Answer, Call
from fleetsync.model import Certainty, Fault, Order, Surface

_STORM = 200


def _kinds(world: World) -> list[str]:
    return [change.kind for change in world.changes]


def _filled(order_id: str) -> Order:
    return order(order_id, status="closed", filled="2", created_at_ms=START_MS, at_ms=START_MS)


def _paced(known: Callable[[str, int], bool], calls_per_second: int = 20) -> Callable[[str, Call, int], Answer | None]:
    """Looked-up orders have filled; what goes beyond the account's pace is not sent."""
    second = [0, 0]

    def answer(_: str, call: Call, now_ms: int) -> Answer | None:
        if call.surface is Surface.MARKETS:
            return None
        second[:] = [now_ms // 1000, second[1] + 1] if second[0] == now_ms // 1000 else [now_ms // 1000, 1]
        if second[1] > calls_per_second:
            return Answer(call, now_ms, fault=Fault.EXPIRED)
        if call.surface is not Surface.ORDER:
            return None
        if known(call.order_id, now_ms):
            return Answer(call, now_ms, complete=True, rows=(_filled(call.order_id),))
        return Answer(call, now_ms, fault=Fault.NOT_FOUND)
    return answer


def _world(settle_ms: int = 15_000) -> World:
    world = World(settle_ms=settle_ms)
    world.account()
    world.robot("r")
    world.run(5_000)
    return world


def test_none_of_many_announced_orders_is_called_unseen_because_there_was_no_time_to_ask_for_it() -> None:
    """All have filled at once, so only a question for each shows it; they outrun the account's pace."""
    world = _world(settle_ms=4_000)
    world.answer = _paced(lambda *_: True)
    for number in range(_STORM):
        world.event("r", "order_placed", order_id=str(number))
    world.run(60_000)
    assert sorted(change.key for change in world.changes) == sorted(f"order:{number}" for number in range(_STORM))
    assert set(_kinds(world)) == {"order_ended"}
    assert not world.core.inbox.pending


def test_an_announced_order_that_the_exchange_never_shows_is_unseen_after_it_was_asked_for_once_more() -> None:
    world = _world(settle_ms=4_000)
    world.answer = _paced(lambda *_: False)
    world.event("r", "order_placed", order_id="7")
    event_ms = world.now_ms
    world.run(20_000)
    assert _kinds(world) == ["event_unseen"]
    asked = [sent.at_ms for sent in world.sent
             for call in sent.dispatch.calls if call.surface is Surface.ORDER and call.order_id == "7"]
    assert asked[-1] >= event_ms + 4_000
    assert len(asked) < 12  # at growing distances
    assert not world.core.inbox.pending


def test_a_status_that_is_no_known_word_is_no_reason_to_ask_for_ever() -> None:
    """It proves neither that the order rests nor that it has ended: what was announced was looked for, and not seen."""
    world = _world(settle_ms=4_000)
    row = _filled("7")._replace(status="unknown")
    world.answer = lambda _, call, now_ms: (
        Answer(call, now_ms, complete=True, rows=(row,)) if call.surface is Surface.ORDER else None)
    world.event("r", "order_placed", order_id="7")
    world.run(20_000)
    assert _kinds(world) == ["event_unseen"]
    assert not world.core.inbox.pending


def test_an_order_that_shows_only_at_the_last_question_is_seen() -> None:
    world = _world(settle_ms=4_000)
    over_ms = world.now_ms + 4_000
    world.answer = _paced(lambda _, now_ms: now_ms >= over_ms)
    world.event("r", "order_placed", order_id="7")
    world.run(20_000)
    assert _kinds(world) == ["order_ended"]


def test_an_order_is_not_unseen_by_its_name_alone_while_the_lists_cannot_be_read() -> None:
    world = _world(settle_ms=4_000)
    world.event("r", "order_placed", order_id="7")
    world.answer = _paced(lambda *_: False)
    world.run(1_000)
    unknown = world.answer
    world.answer = lambda account, call, now_ms: (
        unknown(account, call, now_ms) if call.surface is Surface.ORDER else Answer(call, now_ms, fault=Fault.EXPIRED))
    world.run(30_000)
    assert (_kinds(world), len(world.core.inbox.pending)) == ([], 1)
    world.answer = unknown
    world.run(10_000)
    assert _kinds(world) == ["event_unseen"]


def test_a_long_outage_after_an_event_makes_nothing_unseen() -> None:
    world = _world(settle_ms=4_000)
    back_ms = world.now_ms + 60_000
    shown = _paced(lambda *_: True)

    def answer(account: str, call: Call, now_ms: int) -> Answer | None:
        down = now_ms < back_ms and call.surface is not Surface.MARKETS
        return Answer(call, now_ms, fault=Fault.DOWN) if down else shown(account, call, now_ms)

    world.event("r", "order_placed", order_id="7")
    world.run(20)
    world.answer = answer
    world.run(200_000)
    assert _kinds(world) == ["order_ended"]


@pytest.mark.parametrize("name", [{"order_id": "7"}, {"client_id": "c7"}], ids=["its id", "ours"])
def test_an_announced_order_is_asked_for_by_name_after_a_restart_that_lasted_longer(name: dict[str, str]) -> None:
    """No list shows it any more: it filled while nobody looked."""
    world = _world()
    world.event("r", "order_placed", **name)
    world.run(1)
    again = World(loaded=world.loaded(), at_ms=world.now_ms + 300_000)
    again.account().rows[Surface.ORDER] = (_filled("7"),)
    again.robot("r")
    again.core.readmit_events(again.now_ms)
    again.run(20_000)
    assert _kinds(again) == ["order_ended"]
    assert not again.core.inbox.pending


def test_a_name_that_the_exchange_does_not_accept_ends_as_unseen() -> None:
    world = _world(settle_ms=2_000)
    world.answer = lambda _, call, now_ms: (
        Answer(call, now_ms, fault=Fault.REFUSED) if call.surface is Surface.ORDER else None)
    world.event("r", "order_placed", order_id="not an id")
    world.run(60_000)
    assert _kinds(world) == ["event_unseen"]
    assert not world.core.fleet.account_by_id["main"].questions


def test_where_single_orders_cannot_be_asked_for_lists_decide_and_nothing_stops() -> None:
    costs = {key: cost for key, cost in TARIFF.costs.items() if key != "order"}
    world = World(tariff=replace(TARIFF, costs=costs), settle_ms=2_000)
    world.account().orders.append(order("7", created_at_ms=START_MS, at_ms=START_MS))
    world.robot("r")
    world.run(5_000)
    world.event("r", "order_placed", order_id="8")
    world.event("r", "order_cancelled", order_id="7")  # it rests on
    world.run(10_000)
    assert _kinds(world) == ["order_opened", "event_unseen", "event_unseen"]
    world.truth["main"].orders.clear()
    world.run(120_000)
    ended = world.changes[-1]
    assert ended.after is not None
    assert (ended.kind, ended.after["status"]) == ("order_ended", "unknown")


def test_a_resting_order_serves_its_event_by_the_first_list_that_shows_it() -> None:
    world = _world()
    world.event("r", "order_placed", client_id="c7")
    world.run(300)
    world.truth["main"].orders.append(order("7", created_at_ms=START_MS, at_ms=START_MS))
    world.run(5_000)
    assert _kinds(world) == ["order_opened"]
    assert not world.core.inbox.pending
    assert world.changes[0].symbol == SYMBOL


def test_an_end_that_was_learnt_late_is_not_told_again_by_the_next_event_that_names_it() -> None:
    """It ended long ago by the exchange's clock, in an outage; what counts is when we saw it."""
    world = World()
    over = order("7", status="canceled", created_at_ms=START_MS, at_ms=START_MS)
    truth = world.account()
    truth.orders, truth.positions = [over._replace(status="open")], [position("0", at_ms=0)]
    world.robot("r")
    world.run(5_000)
    world.answer = failing(fault=Fault.DOWN)
    world.run(1_800_000)
    world.event("r", "order_cancelled", order_id="7")
    truth.orders, truth.positions, truth.rows[Surface.ORDER] = [], [], (over,)
    world.answer = lambda *_: None
    world.run(300_000)
    assert _kinds(world) == ["order_opened", "order_ended"]
    again = World(loaded=world.loaded(), at_ms=world.now_ms + 5_000)
    again.core.restore(world.loaded(), again.now_ms, world.changes)
    again.account().rows[Surface.ORDER] = (over,)
    again.robot("r")
    for known in (world, again):
        told = len(known.changes)
        known.event("r", "order_cancelled", order_id="7")
        known.run(30_000)
        assert known.changes[told:] == []
        assert not known.core.inbox.pending


def test_the_numbers_of_events_go_on_after_a_restart_although_none_waits() -> None:
    world = _world()
    world.event("r")
    world.run(5_000)
    assert (world.core.inbox.pending, world.loaded().events) == ({}, {})
    again = World(loaded=world.loaded(), at_ms=world.now_ms)
    assert again.core.inbox.next_id() == 2


@pytest.mark.parametrize("offset_ms", [0, 60, 100, 160, 200])
def test_an_event_is_asked_for_again_although_its_account_was_busy_when_that_was_due(offset_ms: int) -> None:
    """A sibling that holds is read so often that the robot itself never comes up, and its list is always as before."""
    world = World(settle_ms=3_000, holding_ms=200, working_ms=200, flat_ms=1_000, floor_ms=100,
                  calls_per_minute=60_000, tariff=replace(TARIFF, quotas=(replace(TARIFF.quotas[0], limit=1_000_000),)))
    world.account().positions.append(position("1"))
    world.robot("holds")
    world.robot("r", symbol="ETH/USDT:USDT")
    world.run(5_000 + offset_ms)
    world.answer = lambda _, call, now_ms: (
        None if world.sent[-1].dispatch.full or call.surface is Surface.MARKETS
        else Answer(call, now_ms, complete=True))
    world.event("r", "opened", side="short")
    world.run(20_000)
    assert not world.core.inbox.pending
    assert _kinds(world) == ["position_opened", "event_unseen"]


def test_an_event_that_a_reading_under_way_answers_does_not_put_off_the_question_that_it_raises() -> None:
    """The request left after the event: nothing has to be read for it again, but what it missed has to be confirmed."""
    world = World(confirm_gap_ms=250)
    truth = world.account()
    truth.positions.append(position("1"))
    world.robot("r")
    world.run(30_000)
    truth.positions.clear()
    world.answer = lambda _, call, now_ms: (
        None if call.surface is Surface.MARKETS
        else Answer(call, now_ms + 50, complete=True, rows=truth.rows_of(call)))
    world.event("r")
    world.run(10)
    world.event("r")
    world.run(1_000)
    assert world.sent[-1].dispatch.calls[-1].surface is Surface.FILLS
    world.run(3_000)
    assert _kinds(world) == ["position_opened", "position_closed"]
    assert not world.core.inbox.pending


def test_an_event_about_a_disputed_robot_is_not_served_by_a_stop_of_its_account() -> None:
    """What is stopped is unknown to people; the question that is open about it is open still."""
    world = World()
    world.account().positions.append(position())
    world.robot("r")
    world.run(20_000)
    world.truth["main"].positions.clear()
    world.event("r", "closed")
    world.answer = failing(fault=Fault.NETWORK, surface=Surface.FILLS)
    world.run(100)
    assert world.core.inbox.pending
    world.answer = failing(fault=Fault.AUTH)
    world.run(3_000)
    assert world.core.fleet.account_by_id["main"].stopped
    assert world.core.inbox.pending
    world.answer = lambda *_: None
    world.core.resume_account("main", None, world.now_ms)
    world.run(60_000)
    assert [(change.kind, change.cause) for change in world.changes][1:] == [("position_closed", "event")]
    assert not world.core.inbox.pending


def test_nothing_is_served_or_proven_while_a_question_about_the_robot_is_open() -> None:
    world = World()
    world.account().positions.append(position())
    world.robot("r")
    world.run(20_000)
    slot, disputed = world.core.fleet.slot("r"), 0
    world.truth["main"].positions.clear()
    world.answer = failing(fault=Fault.NETWORK, surface=Surface.FILLS)
    world.core.await_sync(Waiter(1, slot, world.now_ms, world.now_ms + 60_000), world.now_ms)
    world.event("r", "suspect")
    for _ in range(40):
        world.run(50)
        if world.core.fleet.certainty(slot) is Certainty.DISPUTED:
            disputed += 1
            assert world.core.inbox.pending
            assert world.core.inbox.waiters
    assert disputed


def test_no_forced_sync_is_given_up_before_its_time_is_over() -> None:
    world = _world()
    world.answer = failing(fault=Fault.NETWORK)
    slot = world.core.fleet.slot("r")
    world.core.journal.take_answered()
    world.core.await_sync(Waiter(1, slot, world.now_ms, world.now_ms + 5_000), world.now_ms)
    world.run(4_900)
    assert world.core.journal.answered == []
    world.run(200)
    assert [token for token, why_not in world.core.journal.answered if why_not] == [1]
