"""The core in virtual time: who is looked at when, what collapses, and that every call is accounted for."""

from collections import Counter
from itertools import pairwise
from statistics import mean

import pytest
from tests.unit.builders import order, position
from tests.unit.core_world import LATENCY_MS, START_MS, World, settled

from fleetsync.model import Phase, Surface

ETH = "ETH/USDT:USDT"


def _gaps(instants: list[int]) -> list[int]:
    return [later - earlier for earlier, later in pairwise(instants)]


def test_a_robot_that_holds_is_read_every_five_seconds_and_a_flat_one_every_thirty() -> None:
    world = World()
    world.account().positions = [position()]
    world.account("idle")
    world.robot("holder")
    world.robot("flat", "idle")
    world.run(600_000)
    for account, interval_ms in (("main", 5_000), ("idle", 30_000)):
        reads = [sent.at_ms for sent in world.sent if sent.dispatch.account == account
                 and any(call.surface is Surface.POSITIONS for call in sent.dispatch.calls)]
        gaps = _gaps(reads[2:])
        assert all(0.85 * interval_ms <= gap <= interval_ms + 10 for gap in gaps), gaps
    assert world.core.fleet.phase_seen(world.core.fleet.slot("holder")) is Phase.HOLDING


def test_robots_do_not_march_in_step() -> None:
    world = World()
    for number in range(20):
        world.account(f"a{number}")
        world.robot(f"r{number}", f"a{number}")
    world.run(600_000)
    late = Counter(sent.at_ms // 1_000 for sent in world.sent if sent.at_ms > START_MS + 300_000)
    assert max(late.values()) < 20


def test_a_phase_that_changes_re_keys_the_robot_at_that_moment() -> None:
    world = World()
    truth = world.account()
    world.robot("r")
    world.run(40_000)
    truth.positions = [position(at_ms=START_MS + 40_000)]
    world.run(40_000)
    opened_ms = world.changes[0].seen_at_ms
    after = [at_ms for at_ms in world.syncs() if at_ms > opened_ms]
    assert after[0] - opened_ms <= 5_000 + LATENCY_MS


def test_an_account_has_one_sync_in_flight_however_many_events_come() -> None:
    world = World()
    world.account()
    world.robot("r")
    world.latency_ms = lambda _: 2_000
    world.run(5_000)
    for _ in range(300):
        world.event("r")
        world.run(100)
    gaps = _gaps(world.syncs())
    assert min(gaps) >= 2_000


def test_events_during_a_flight_make_one_further_run_that_begins_after_the_last_of_them() -> None:
    world = World()
    world.account()
    world.robot("r")
    world.run(10_000)
    world.latency_ms = lambda _: 1_000
    world.event("r")
    world.run(10)
    flight_ms = world.syncs()[-1]
    for _ in range(50):
        world.event("r")
        world.run(10)
    last_event_ms = world.now_ms
    before = len(world.syncs())
    world.run(4_000)
    after = world.syncs()[before:]
    assert len(after) == 1
    assert last_event_ms <= after[0] <= flight_ms + 1_000 + 20
    assert not world.core.inbox.pending


def test_an_event_is_served_at_once_before_everything_that_is_merely_due() -> None:
    world = World(calls_per_minute=120)
    for number in range(200):
        world.account(f"a{number}")
        world.robot(f"r{number}", f"a{number}", first_in_ms=number * 150)
    world.run(300_000)
    waits = []
    for number in range(50):
        world.event(f"r{number * 4}")
        asked_ms = world.now_ms
        world.run(3_000)
        served_ms = next(at_ms for at_ms in world.syncs(f"a{number * 4}") if at_ms >= asked_ms)
        waits.append(served_ms - asked_ms)
    assert mean(waits) <= 200
    assert max(waits) <= 1_500


def test_an_event_storm_starves_nobody() -> None:
    """After four urgent grants a scheduled account is served as if urgent."""
    world = World(calls_per_minute=120)
    for number in range(20):
        world.account(f"a{number}")
        world.robot(f"r{number}", f"a{number}")
    world.account("loud")
    for number in range(50):
        world.account(f"loud{number}")
        world.robot(f"loud{number}", f"loud{number}")
    world.run(60_000)
    start_ms = world.now_ms
    for second in range(300):
        for number in range(50):
            if (number + second) % 2:
                world.event(f"loud{number}")
        world.run(1_000)
    for number in range(20):
        served = [at_ms for at_ms in world.syncs(f"a{number}") if at_ms > start_ms]
        assert max(_gaps([start_ms, *served, world.now_ms])) < 240_000
    settled(world)


def test_two_fifths_of_the_demanded_budget_stretch_all_intervals_in_one_ratio_and_bound_the_oldest_age() -> None:
    world = World(calls_per_minute=120)
    for number in range(60):
        truth = world.account(f"a{number}")
        if number < 20:
            truth.positions = [position()]
        world.robot(f"r{number}", f"a{number}", first_in_ms=number % 20 * (250 if number < 20 else 1_500))
    world.run(900_000)
    late_ms = START_MS + 300_000
    ratios = []
    for number in range(60):
        gaps = _gaps([at_ms for at_ms in world.syncs(f"a{number}") if at_ms > late_ms])
        wish_ms = 5_000 if number < 20 else 30_000
        ratios.append(mean(gaps) / wish_ms)
        assert max(gaps) <= 2 * mean(gaps) + 2_000
    demand = 20 * 12 + 40 * 2
    assert max(ratios) / min(ratios) < 1.25
    assert mean(ratios) == pytest.approx(demand / 120, rel=0.12)
    settled(world)


def test_a_change_of_the_cap_in_flight_holds_from_the_next_grant_on() -> None:
    world = World(calls_per_minute=420)
    for number in range(60):
        world.account(f"a{number}").positions = [position()]
        world.robot(f"r{number}", f"a{number}", first_in_ms=number * 83)
    world.run(180_000)
    world.core.set_calls_per_minute(120, world.now_ms)
    changed_ms = world.now_ms
    world.run(180_000)
    late = [sent.at_ms for sent in world.sent if sent.at_ms >= changed_ms + 3_000 for _ in sent.dispatch.calls]
    assert all(sum(at <= other < at + 60_000 for other in late) <= 120 for at in late[:60])
    world.core.set_calls_per_minute(420, world.now_ms)
    raised_ms = world.now_ms
    world.run(120_000)
    calls = sum(len(sent.dispatch.calls) for sent in world.sent if 0 <= sent.at_ms - raised_ms - 30_000 < 60_000)
    assert 0.96 * 420 <= calls <= 420
    settled(world)


def test_change_numbers_have_no_gap_and_replay_to_what_is_known() -> None:
    world = World()
    truth = world.account()
    world.robot("r")
    for step in range(40):
        truth.positions = [position(str(step % 3), at_ms=START_MS + step * 1_000)] if step % 3 else []
        truth.orders = [order(str(step), at_ms=START_MS + step)] if step % 2 else []
        world.event("r", "closed" if not step % 3 else "opened")
        world.run(4_000)
    world.run(60_000)
    assert [change.number for change in world.changes] == list(range(1, len(world.changes) + 1))
    held: dict[str, object] = {}
    for change in world.changes:
        if change.key.startswith("position"):
            assert held.pop(change.key, None) == change.before
            if change.after is not None:
                held[change.key] = change.after
    stored = world.loaded().positions.values()
    assert [row.size for row in stored] == [row.size for row in truth.positions]
    assert len(held) == len(truth.positions)
    settled(world)


def test_without_a_fault_the_budgets_ledger_is_the_exchanges_to_the_call() -> None:
    world = World(workers=3)
    for number in range(15):
        world.account(f"a{number}").positions = [position()] if number % 3 == 0 else []
        world.robot(f"r{number}", f"a{number}")
        world.robot(f"s{number}", f"a{number}", ETH)
    world.run(300_000)
    world.run(1_000 - LATENCY_MS)
    assert world.requests == world.core.budget.operator.granted
    settled(world)


@pytest.mark.parametrize(("ratio", "guessed"), [(1.0, True), (50.0, False)])
def test_what_a_hand_did_to_a_robot_is_looked_for_at_others_on_its_symbol_where_the_budget_has_room(
        ratio: float, guessed: bool) -> None:
    world = World()
    truth = world.account("main")
    world.account("other")
    world.robot("r")
    world.run(10_000)  # whose list was read just now is not asked for again
    world.robot("sibling", "other")
    world.run(10_000)
    truth.positions = [position(at_ms=world.now_ms)]
    begun_ms = world.now_ms
    for route in world.core.fleet.routes.values():
        route.stretch.ratio = ratio
    world.run(31_000)
    assert any(change.kind == "position_opened" for change in world.changes)
    urgent = [sent for sent in world.sent
              if sent.at_ms >= begun_ms and sent.dispatch.account == "other" and sent.dispatch.urgent]
    assert bool(urgent) == guessed
