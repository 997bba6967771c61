"""Intervals by phase, jitter, and time that stretches for everybody in the same ratio."""

from itertools import pairwise
from random import Random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.cadence import Intervals, StretchClock, draw_shortening, first_runs, speed_max
from fleetsync.config import Settings
from fleetsync.heap import DueHeap
from fleetsync.model import Phase, Robot

START_MS = 1_700_000_000_000


def test_the_intervals_are_the_plans_and_an_unknown_robot_is_looked_at_like_a_holding_one() -> None:
    intervals = Intervals.of(Settings())
    assert {phase.name: intervals.by_phase()[phase] for phase in Phase} == {
        "UNKNOWN": 5_000, "HOLDING": 5_000, "WORKING": 5_000, "FLAT": 30_000}


def test_a_robots_own_intervals_go_before_the_fleets() -> None:
    robot = Robot("r", "a", "S", flat_ms=7_000)
    assert Intervals.of(Settings(), robot) == Intervals(5_000, 5_000, 7_000)


@given(st.floats(0, 0.5), st.floats(0.5, 1), st.booleans(), st.integers())
def test_an_interval_is_shortened_by_no_more_than_its_share_and_never_lengthened(jitter: float, most: float, late: bool,
                                                                                 seed: int) -> None:
    assert 0 <= draw_shortening(jitter, most, Random(seed), late=late) <= (most if late else jitter)


def test_who_was_late_draws_a_place_anywhere_in_the_interval() -> None:
    rng = Random(1)
    tenths = [int(draw_shortening(0.04, 1.0, rng, late=True) * 10) for _ in range(1_000)]
    assert all(60 <= tenths.count(tenth) <= 140 for tenth in range(10))


@given(st.integers(0, 5_000), st.integers(1, 100_000))
def test_first_runs_lie_evenly_in_a_flat_interval_at_most_account_after_account(count: int, limit: int) -> None:
    robots = [Robot(f"r{number}", f"a{number // 2}", "S") for number in range(count)]
    starts = [after_ms for _, after_ms in first_runs(robots, Settings(calls_per_minute=limit))]
    assert all(0 <= start < Settings().flat_ms for start in starts)
    assert starts[1::2] == starts[:-1:2][:len(starts[1::2])]  # robots of one account are read by one call
    gaps = {later - earlier for earlier, later in pairwise(starts[::2])}
    assert not gaps or max(gaps) - min(gaps) <= 1


def _served(intervals: list[int], a_minute: int, minutes: int, *,
            priorities: dict[int, float] | None = None) -> tuple[list[list[int]], StretchClock]:
    """Each robot's runs, in real time, when so many can be served a minute in the order of their keys."""
    clock, heap = StretchClock(START_MS), DueHeap(START_MS)
    for slot, interval_ms in enumerate(intervals):
        alike = [other for other, span_ms in enumerate(intervals) if span_ms == interval_ms]
        heap.put(slot, START_MS + interval_ms * alike.index(slot) // len(alike))
    runs: list[list[int]] = [[] for _ in intervals]
    step_ms = 60_000 // a_minute
    for turn in range(minutes * a_minute):
        now_ms = START_MS + turn * step_ms
        key_ms = heap.next_due_at_ms() or 0
        clock.waited(key_ms, now_ms)
        slot = heap.pop_due(clock.now_ms(now_ms))
        if slot >= 0:
            runs[slot].append(now_ms)
            heap.put(slot, key_ms + clock.weighted_ms((intervals[slot],), (priorities or {}).get(slot, 1.0))[0])
        if turn % 20 == 0:
            clock.measure(now_ms)
    return runs, clock


def _gaps(runs: list[int], since_ms: int) -> list[int]:
    late = [at_ms for at_ms in runs if at_ms >= since_ms]
    return [later - earlier for earlier, later in pairwise(late)]


def test_while_all_wishes_are_met_no_interval_stretches() -> None:
    runs, clock = _served([5_000] * 10 + [30_000] * 30, 600, 10)
    assert clock.ratio == pytest.approx(1.0, abs=0.01)
    assert all(gap <= 5_300 for slot in range(10) for gap in _gaps(runs[slot], START_MS + 60_000))


@pytest.mark.parametrize("share", [0.75, 0.5, 0.25, 0.1])
def test_below_the_demanded_budget_all_intervals_stretch_in_the_same_ratio_and_nobody_starves(share: float) -> None:
    intervals = [5_000] * 20 + [30_000] * 60
    demand = 20 * 12 + 60 * 2
    runs, clock = _served(intervals, int(demand * share), 120)
    ratios, since_ms = [], START_MS + 20 * 60_000
    for slot, interval_ms in enumerate(intervals):
        gaps = _gaps(runs[slot], since_ms)
        ratios.append(mean(gaps) / interval_ms)
        assert max(gaps) <= 1.5 * interval_ms / share + 5_000
    assert max(ratios) / min(ratios) < 1.06
    assert mean(ratios) == pytest.approx(1 / share, rel=0.06)
    assert clock.ratio == pytest.approx(1 / share, rel=0.35)


def test_under_scarcity_a_robot_of_priority_two_takes_half_of_the_growth() -> None:
    intervals = [10_000] * 40
    runs, clock = _served(intervals, 96, 120, priorities={0: 2.0, 1: 0.5})
    since_ms = START_MS + 30 * 60_000
    plain = mean(mean(_gaps(runs[slot], since_ms)) for slot in range(2, 40)) / 10_000
    assert plain > 2
    assert mean(_gaps(runs[0], since_ms)) / 10_000 == pytest.approx(1 + (plain - 1) / 2, rel=0.1)
    assert mean(_gaps(runs[1], since_ms)) / 10_000 == pytest.approx(1 + (plain - 1) * 2, rel=0.1)
    assert list(clock.weighted_ms((10_000,), 1.0)) == [10_000]


def test_no_priority_matters_while_all_wishes_are_met() -> None:
    assert StretchClock(START_MS).weighted_ms((10_000,), 5.0) == (10_000,)


def test_when_the_backlog_is_gone_time_runs_as_before() -> None:
    clock = StretchClock(START_MS)
    clock.waited(START_MS, START_MS + 61_000)
    assert clock.slip_ms == 60_000
    for second in range(62, 400):
        clock.measure(START_MS + second * 1_000)
    assert clock.slip_ms == 60_000
    assert clock.ratio == pytest.approx(1.0, abs=0.01)
    assert clock.real_ms(clock.now_ms(START_MS + 400_000)) == START_MS + 400_000


def test_stretched_time_never_goes_back_by_waiting() -> None:
    clock, rng, before_ms = StretchClock(START_MS), Random(1), 0
    for step in range(5_000):
        real_ms = START_MS + step * 100
        clock.waited(START_MS + step * 100 - rng.randint(0, 5_000), real_ms)
        assert clock.now_ms(real_ms) >= before_ms - 5_000
        before_ms = max(before_ms, clock.now_ms(real_ms))


def test_time_that_may_run_faster_reaches_the_next_key_no_sooner_than_its_speed_allows() -> None:
    clock = StretchClock(START_MS, speed_max=5.0)
    now_ms, key_ms = START_MS, START_MS + 30_000
    while not clock.hasten(key_ms, now_ms):
        now_ms += 100
    assert 6_000 <= now_ms - START_MS <= 6_200
    assert clock.comes_at_ms(clock.now_ms(now_ms) + 5_000, now_ms) == now_ms + 1_000


def test_spare_budget_is_spent_down_to_the_floor_and_only_where_it_was_asked_for() -> None:
    assert speed_max(Settings()) == 1.0
    assert speed_max(Settings(spend="all", floor_ms=1_000)) == 5.0
    assert speed_max(Settings(spend="all", mode="adaptive")) == 1.0
