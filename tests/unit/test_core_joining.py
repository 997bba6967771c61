"""A robot that joins an account which is being read already."""

from dataclasses import replace

import pytest
from tests.unit.builders import order, position
from tests.unit.core_world import TARIFF, World, settled

from fleetsync.messages import Answer, Call
from fleetsync.model import Certainty, Fault, Phase, Surface


def _phase(world: World, robot: str) -> Phase:
    return world.core.fleet.phase_seen(world.core.fleet.slot(robot))


@pytest.mark.parametrize("wait_ms", [3_000, 3_000 + 40], ids=["between two readings", "at another moment"])
def test_a_robot_that_joins_is_never_called_flat_by_readings_that_left_its_rows_out(wait_ms: int) -> None:
    """The account's list was read, and the row of a symbol without a robot was nobody's: it must be read anew."""
    world = World()
    truth = world.account()
    truth.positions.append(position(symbol="ETH/USDT:USDT"))
    world.robot("btc")
    world.run(wait_ms)
    world.robot("eth", symbol="ETH/USDT:USDT")
    seen = set()
    for _ in range(60):
        world.run(10)
        seen.add(_phase(world, "eth"))
    assert seen <= {Phase.UNKNOWN, Phase.HOLDING}
    assert _phase(world, "eth") is Phase.HOLDING  # within the 600 ms, not after an interval


def test_a_robot_that_joins_stays_unknown_while_the_exchange_cannot_be_read() -> None:
    world = World()
    truth = world.account()
    truth.positions.append(position(symbol="ETH/USDT:USDT"))
    world.robot("btc")
    world.run(3_000)
    world.answer = lambda _, call, at_ms: Answer(call, at_ms, fault=Fault.NETWORK)
    world.robot("eth", symbol="ETH/USDT:USDT")
    world.run(20_000)
    slot = world.core.fleet.slot("eth")
    assert _phase(world, "eth") is Phase.UNKNOWN
    assert world.core.fleet.certainty(slot) is Certainty.UNKNOWN
    world.answer = lambda *_: None
    world.run(90_000)
    assert _phase(world, "eth") is Phase.HOLDING


def test_a_robot_that_joins_during_a_sync_is_read_by_one_of_its_own() -> None:
    world = World()
    truth = world.account()
    truth.positions.append(position(symbol="ETH/USDT:USDT"))
    world.robot("btc")
    world.run(3_000)
    world.event("btc")
    world.run(10)  # on its way
    assert world.core.in_flight
    world.robot("eth", symbol="ETH/USDT:USDT")
    world.run(600)
    assert _phase(world, "eth") is Phase.HOLDING
    calls = [call for sent in world.sent for call in sent.dispatch.calls if call.surface is Surface.ORDERS]
    assert any(call.symbol == "ETH/USDT:USDT" for call in calls)
    settled(world)


def test_a_robot_that_joins_when_only_its_accounts_orders_were_read_is_not_agreed_by_that_list() -> None:
    """Its positions could not be read: that alone was taken to say that nothing was read without it."""
    costs = {name: cost for name, cost in TARIFF.costs.items() if name != "orders:symbol"}
    world = World(tariff=replace(TARIFF, costs=costs, positions_show_orders=False))
    truth = world.account()
    truth.orders.append(order(symbol="ETH/USDT:USDT"))
    broken = Surface.POSITIONS

    def answer(_: str, call: Call, at_ms: int) -> Answer | None:
        return Answer(call, at_ms, fault=Fault.NETWORK) if call.surface is broken else None

    world.answer = answer
    world.robot("btc")
    world.run(30_000)
    (state,) = world.core.fleet.account_by_id.values()
    assert (state.orders_as_of_ms > 0, state.positions_as_of_ms > 0) == (True, False)
    world.robot("eth", symbol="ETH/USDT:USDT")
    broken = Surface.ORDERS
    world.run(120_000)
    assert (state.orders_as_of_ms > 0, state.positions_as_of_ms > 0) == (True, True)
    assert world.core.fleet.certainty(world.core.fleet.slot("eth")) is Certainty.UNKNOWN
    world.answer = lambda *_: None
    world.run(120_000)
    assert _phase(world, "eth") is Phase.WORKING
    settled(world)


def test_a_robot_that_is_given_a_used_place_has_nothing_of_the_one_before() -> None:
    world = World()
    world.account()
    world.robot("stays", symbol="ETH/USDT:USDT")
    world.robot("old", order_prefix="old-", holding_ms=1_000, flat_ms=1_000, priority=3.0, changes_per_hour=9.0)
    world.run(3_000)
    fleet, slot = world.core.fleet, world.core.fleet.slot("old")
    world.core.remove_robot("old")
    world.robot("new")
    assert fleet.slot("new") == slot
    for table in (fleet.prefix_of, fleet.intervals_of, fleet.priority_of, fleet.rate_of, fleet.conditional_read,
                  fleet.stopped):
        assert slot not in table


def test_an_order_belongs_to_the_robot_whose_prefix_it_carries() -> None:
    world = World()
    truth = world.account()
    world.robot("x", order_prefix="x-")
    world.robot("y", order_prefix="y-")
    world.run(3_000)
    truth.orders.append(order(client_id="x-1", created_at_ms=world.now_ms, at_ms=world.now_ms))
    world.event("x", "order_placed")
    world.run(2_000)
    assert [change.robots for change in world.changes] == [("x",)]


def test_a_restart_remembers_what_was_closed_lately() -> None:
    """An old list, just after the start, must not open it again."""
    world = World()
    world.account().positions.append(position())
    world.robot("r")
    world.run(20_000)
    world.truth["main"].positions.clear()
    world.event("r", "closed")
    world.run(60_000)
    assert [change.kind for change in world.changes] == ["position_opened", "position_closed"]
    after = World(at_ms=world.now_ms)
    after.core.restore(world.loaded(), after.now_ms, world.changes)
    truth = after.account()
    truth.positions.append(position())
    after.robot("r")
    after.run(5_000)
    truth.positions.clear()
    after.run(60_000)
    assert after.changes == []
