"""What the core hands on to be committed: whole rows where something changed, instants alone where nothing did."""

from tests.unit.core_world import START_MS, World, failing

from fleetsync.journal import Journal
from fleetsync.messages import SymbolsUnknown
from fleetsync.model import Certainty, Fault, Phase, Position
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
    told = [row for batch in (*world.batches, heartbeat_of(world, "r0")) if (row := batch.robots.get("r0")) is not None]
    assert told[-1]["certainty"] == "disputed"
    assert heartbeat_of(world, "r0").ages.keys() == {"r0"}
    world.run(60_000)
    assert world.core.fleet.certainty(0) is Certainty.AGREED
    assert "r0" in heartbeat_of(world, "r0").ages


def test_a_robot_that_is_stopped_for_another_reason_is_written_whole() -> None:
    world = quiet_world(1)
    for why in ("its key was refused", "somebody said so"):
        world.core.fleet.stopped[0] = why
        row = heartbeat_of(world, "r0").robots["r0"]
        assert row is not None
        assert (row["certainty"], row["stopped"]) == ("unknown", why)
        assert not heartbeat_of(world, "r0").robots
    del world.core.fleet.stopped[0]
    row = heartbeat_of(world, "r0").robots["r0"]
    assert row is not None
    assert (row["certainty"], row["stopped"]) == ("agreed", "")


def test_a_robot_that_left_has_no_heartbeat() -> None:
    world = quiet_world(2)
    slot = world.core.fleet.slot("r1")
    world.core.journal.robot_aged(slot)
    world.core.remove_robot("r1")
    batch = world.core.take_batch()
    assert batch.robots == {"r1": None}
    assert not batch.ages


def test_what_nobody_waits_for_is_left_out_of_a_pressing_batch_and_is_in_the_next_other_one() -> None:
    world = quiet_world(3)
    core = world.core
    core.take_batch()
    world.event("r1")
    core.journal.robot_changed(0)
    core.journal.robot_aged(2)
    pressing = core.take_batch(0)
    assert len(pressing.events) == 1
    assert not any((pressing.robots, pressing.ages, pressing.asked, pressing.syncs))
    rest = core.take_batch(100)
    assert [*rest.robots] == ["r0"]
    assert [*rest.ages] == ["r2"]
    assert [what for _, _, what in rest.asked] == ["suspect"]
    assert not core.take_batch()


def test_the_rows_of_robots_whose_changes_are_told_are_in_the_same_batch_as_the_changes() -> None:
    world = quiet_world(3)
    core = world.core
    world.robot("r9", symbol="ETH/USDT:USDT")
    world.run(1_000)
    core.take_batch()
    world.truth["main"].positions.append(Position("ETH/USDT:USDT", "long", "1", "100", world.now_ms))
    taken: list[Batch] = []
    core.take_batch = lambda rows_max=None: (  # type: ignore[method-assign]  # as a writer under pressure does
        taken.append(core.journal.take_batch(core.fleet, 0)) or taken[-1])  # type: ignore[func-returns-value]  # as here
    world.run(31_000)
    [told] = [batch for batch in taken if batch.changes]
    assert [*told.robots] == ["r9"]
    assert told.robots["r9"] is not None
    assert told.robots["r9"]["phase"] == Phase.HOLDING


def test_many_rows_are_taken_in_parts_until_none_is_owed() -> None:
    world = quiet_world(25)
    core = world.core
    core.take_batch()
    for slot in range(25):
        core.journal.robot_changed(slot)
    robots: list[str] = []
    while core.journal.owes_rows:
        batch = core.take_batch(10)
        assert 0 < len(batch.robots) <= 10
        robots += batch.robots
    assert sorted(robots) == sorted(core.fleet.slot_of)


def test_what_ends_by_itself_is_said_again_once_it_lasts_longer_and_only_the_latest_is_remembered() -> None:
    journal = Journal()
    for until_ms in (START_MS + 1_000, START_MS + 59_000, START_MS + 61_000, START_MS + 2_000, START_MS + 119_000):
        journal.notice("warning", "freeze:paper", f"until {until_ms - START_MS}", until_ms)
    assert [notice.text for notice in journal.take_notices()] == ["until 1000", "until 61000"]
    assert len(journal._said) == 1


def test_many_bans_of_one_exchange_leave_one_thing_remembered_and_each_is_said() -> None:
    world = quiet_world(1)
    world.answer = failing(fault=Fault.BANNED, retry_after_ms=90_000)
    world.run(1_800_000)
    said = [notice for notice in world.core.journal.take_notices() if "banned" in notice.text]
    assert len(said) >= 15
    assert [key for key in world.core.journal._said if key.startswith("freeze:")] == ["freeze:paper"]


def test_a_robot_that_left_takes_along_what_was_said_of_it() -> None:
    world = quiet_world(1)
    for _ in range(2):
        world.core.receive(SymbolsUnknown("main", (SYMBOL,)), world.now_ms)
        world.core.remove_robot("r0")
        assert not any(key.startswith("robot:") for key in world.core.journal._said)
        world.robot("r0")
    texts = [notice.text for notice in world.core.journal.take_notices()]
    assert len([text for text in texts if text.startswith("robot r0 stopped")]) == 2
