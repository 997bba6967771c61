"""What the core hands on to be committed: whole rows where something changed, instants alone where nothing did."""

from tests.unit.core_world import START_MS, World

from fleetsync.model import Certainty, Position
from fleetsync.ports import Batch

SYMBOL = "BTC/USDT:USDT"


def quiet_world(robots: int) -> World:
    """A fleet that was read once, and whose rows are written."""
    world = World(heartbeat_ms=5_000)
    world.account()
    for number in range(robots):
        world.robot(f"r{number}")
    world.run(10_000)
    world.batches.clear()
    return world


def heartbeat_of(world: World, robot: str) -> Batch:
    """A batch in which nothing but one robot's heartbeat is due."""
    world.core.take_batch()
    world.core.journal.robot_aged(world.core.fleet.slot(robot))
    return world.core.take_batch()


def test_quiet_robots_cost_the_store_their_instants_once_a_heartbeat_and_nothing_else() -> None:
    world = quiet_world(10)
    world.run(5_000)
    assert not any(batch.robots for batch in world.batches)
    aged = [robot for batch in world.batches for robot in batch.ages]
    assert sorted(aged) == sorted(world.core.fleet.slot_of)


def test_a_heartbeat_says_when_a_robot_was_read_and_when_an_event_named_it_last() -> None:
    world = quiet_world(2)
    world.event("r1")
    event_at_ms = world.now_ms
    world.run(5_000)
    read_ms, orders_ms, _, sync_ms, event_ms = heartbeat_of(world, "r1").ages["r1"]
    assert event_ms == event_at_ms
    assert START_MS < event_at_ms <= sync_ms == min(read_ms, orders_ms)
    assert heartbeat_of(world, "r0").ages["r0"][-1] == 0


def test_a_robot_whose_certainty_changed_is_written_whole_and_after_that_by_its_instants_again() -> None:
    world = quiet_world(1)
    truth = world.truth["main"]
    truth.positions.append(Position(SYMBOL, "long", "1", "100", world.now_ms))
    world.run(40_000)
    assert "r0" in heartbeat_of(world, "r0").ages
    truth.positions.clear()
    while world.core.fleet.certainty(0) is not Certainty.DISPUTED:
        world.run(50)
    for _ in range(2):
        disputed = heartbeat_of(world, "r0")
        assert disputed.robots["r0"] is not None
        assert disputed.robots["r0"]["certainty"] == "disputed"
        assert not disputed.ages
    world.run(60_000)
    assert world.core.fleet.certainty(0) is Certainty.AGREED
    assert "r0" in heartbeat_of(world, "r0").ages


def test_a_robot_that_left_has_no_heartbeat() -> None:
    world = quiet_world(2)
    slot = world.core.fleet.slot("r1")
    world.core.journal.robot_aged(slot)
    world.core.remove_robot("r1")
    batch = world.core.take_batch()
    assert batch.robots == {"r1": None}
    assert not batch.ages
