"""Crowds: keys that coincide spread, a scarce budget stays full, and a burst of events waits for no budget."""

from dataclasses import replace
from itertools import pairwise

from tests.unit.builders import position
from tests.unit.core_world import TARIFF, World

from fleetsync.messages import WorkerUp
from fleetsync.planner import Need, plan

_ACCOUNTS, _INTERVAL_MS = 100, 5_000
_MINUTE_MS = 60_000


def _fleet(*, calls_per_minute: int, workers: int = 1, spread: bool = True) -> World:
    """So many accounts of one robot each, all to be read each five seconds; nothing but the operator's cap binds."""
    quotas = tuple([replace(quota, limit=1_000_000_000) for quota in TARIFF.quotas])
    world = World(workers=workers, tariff=replace(TARIFF, quotas=quotas), calls_per_minute=calls_per_minute,
                  flat_ms=_INTERVAL_MS)
    for number in range(_ACCOUNTS):
        world.account(f"a{number}")
        world.robot(f"r{number}", f"a{number}", first_in_ms=number * _INTERVAL_MS // _ACCOUNTS if spread else 0)
    return world


def _by_second(world: World, from_ms: int, seconds: int) -> list[int]:
    counts = [0] * seconds
    for sent in world.sent:
        if 0 <= sent.at_ms - from_ms < seconds * 1_000:
            counts[(sent.at_ms - from_ms) // 1_000] += 1
    return counts


def test_after_a_mass_resume_the_calls_of_each_second_flatten_within_two_intervals() -> None:
    world = _fleet(calls_per_minute=6_000)
    world.run(_MINUTE_MS)
    for number in range(_ACCOUNTS):
        world.core.settlement.trouble.stop_account(world.core.fleet.account_by_id[f"a{number}"], "bad keys")
    world.run(_MINUTE_MS)
    resumed_ms = world.now_ms
    for number in range(_ACCOUNTS):
        world.core.resume_account(f"a{number}", None, resumed_ms)
    world.run(3 * _MINUTE_MS)
    counts = _by_second(world, resumed_ms, 180)
    assert counts[0] >= _ACCOUNTS  # all are read at once ...
    even = _ACCOUNTS * 1_000 // _INTERVAL_MS
    assert max(counts[10:]) <= 2 * even  # ... and two intervals later no second holds a crowd any more


def test_accounts_that_all_begin_at_once_use_a_scarce_budget_as_fully_as_others() -> None:
    world = _fleet(calls_per_minute=600, spread=False)
    world.run(11 * _MINUTE_MS)
    counts = _by_second(world, world.now_ms - 10 * _MINUTE_MS, 600)
    assert sum(counts) >= 0.97 * 600 * 10


def test_a_worker_that_comes_back_leaves_no_crowd_behind() -> None:
    world = _fleet(calls_per_minute=6_000, workers=2)
    world.run(_MINUTE_MS)
    world.lose(0)
    world.run(20_000)
    back_ms = world.now_ms
    world.core.receive(WorkerUp(0, 300), back_ms)
    world.run(3 * _MINUTE_MS)
    counts = _by_second(world, back_ms, 180)
    even = _ACCOUNTS * 1_000 // _INTERVAL_MS
    assert max(counts[:5]) > 2 * even
    assert max(counts[12:]) <= 2 * even


def test_the_draw_of_a_new_place_makes_one_interval_shorter_and_none_longer() -> None:
    world = _fleet(calls_per_minute=6_000, spread=False)
    world.run(5 * _MINUTE_MS)
    for number in range(_ACCOUNTS):
        gaps = [later - earlier for earlier, later in pairwise(world.syncs(f"a{number}"))]
        assert max(gaps) <= _INTERVAL_MS + 100
        assert sum(gap < 0.9 * _INTERVAL_MS for gap in gaps) <= 1


def test_a_burst_of_events_in_a_quiet_minute_waits_for_no_budget() -> None:
    """Twenty robots open within a second: a list of positions and one of orders each, 120 of 2,400 units of weight."""
    world = World()
    for number in range(20):
        world.account(f"a{number}")
        world.robot(f"r{number}", f"a{number}", first_in_ms=number * 1_500)
    world.run(3 * _MINUTE_MS)
    for number in range(20):
        world.truth[f"a{number}"].positions = [position()]
        world.event(f"r{number}", "opened", side="long")
        asked_ms = world.now_ms
        world.run(50)
        served = [at_ms for at_ms in world.syncs(f"a{number}") if at_ms >= asked_ms]
        assert served[:1] == [asked_ms]


def test_a_cap_that_changes_changes_what_is_cheap() -> None:
    """With few calls a minute one list of all orders costs less than eight lists, with many it costs more."""
    world = World(calls_per_minute=60)
    world.account()
    route = world.core.fleet.account_by_id["main"].route
    need = Need(orders=tuple(f"C{number}/USDT:USDT" for number in range(8)))
    assert len(plan(need, route.prices)) == 1
    world.core.set_calls_per_minute(6_000, world.now_ms)
    assert len(plan(need, route.prices)) == 8
