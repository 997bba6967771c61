"""Trials that take long: what they say on their way, how they are broken off, and what a large world is made of."""

import gc
import signal
import subprocess
import sys
from itertools import pairwise

import pytest

from fleetsync.config import Settings
from fleetsync.units import MINUTE_MS
from fleetsync_adapters.simulation.garbage import seldom_collected
from fleetsync_adapters.simulation.runner import simulate
from fleetsync_adapters.simulation.swarm import draw

PATIENCE_S = 120
_COMMAND = [sys.executable, "-m", "fleetsync_adapters", "simulate", "--seeds", "1", "--robots", "1000", "--days",
            "30", "--no-control"]


def test_a_trial_tells_how_far_it_is_in_virtual_time_and_goes_on_telling_while_it_settles() -> None:
    told: list[tuple[int, int]] = []
    (verdict,) = simulate(1, 3, minutes=2, robots=8, jobs=1, control=False,
                          progress=lambda passed_ms, whole_ms: told.append((passed_ms, whole_ms)))
    assert verdict.good, verdict.error or verdict.breaches
    assert {whole_ms for _, whole_ms in told} == {2 * MINUTE_MS}
    assert len(told) > 4, "it settles for a while after the faults"
    assert all(before_ms < after_ms for (before_ms, _), (after_ms, _) in pairwise(told))


def test_a_trial_that_is_interrupted_says_what_it_has_found_so_far_and_is_the_last_one() -> None:
    def interrupts(passed_ms: int, whole_ms: int) -> None:
        if passed_ms > MINUTE_MS:
            raise KeyboardInterrupt

    (verdict,) = simulate(5, 3, minutes=3, robots=8, jobs=1, progress=interrupts)
    assert verdict.interrupted
    assert verdict.good, verdict.error or verdict.breaches
    assert verdict.calls > 0
    assert MINUTE_MS < verdict.virtual_ms < 2 * MINUTE_MS


def test_ctrl_c_ends_the_command_with_a_summary_of_what_was_simulated() -> None:
    with subprocess.Popen(_COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline()]
        process.send_signal(signal.SIGINT)
        more, errors = process.communicate(timeout=PATIENCE_S)
    told += more.splitlines()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "interrupted; so far:" in told
    assert "every promise was kept" in told[-1]


def test_a_large_fleet_trades_no_more_than_its_budget_can_follow() -> None:
    for seed in range(40):
        large = draw(seed, robots=10_000)
        deeds_a_minute = large.robots * (large.changes_per_hour + large.orders_per_hour) / 60
        assert large.calls_per_minute == Settings().calls_per_minute
        assert 0 < 3 * deeds_a_minute <= min(large.calls_per_minute / 4, large.weight_per_minute / 12) + 1
        assert large.accounts == 1_000


def test_a_long_run_meets_as_many_strikes_as_forty_minutes_would_and_none_is_left_out() -> None:
    for seed in range(40):
        drawn, short, day = draw(seed), draw(seed, minutes=40), draw(seed, minutes=1_440)
        rarer = 1 if drawn.minutes >= 40 else 36  # such a seed's are rarer already
        assert day.strikes == {kind: rate / rarer for kind, rate in short.strikes.items()}
        assert day.misdeeds == short.misdeeds


def test_in_a_large_world_nothing_is_collected_by_itself_and_afterwards_it_is_again() -> None:
    seen: list[bool] = []

    def interrupted(robots: int) -> None:
        with seldom_collected(robots):
            seen.append(gc.isenabled())
            raise KeyboardInterrupt

    for robots in (100, 10_000):  # a small world is left to Python
        with pytest.raises(KeyboardInterrupt):
            interrupted(robots)
        assert gc.isenabled()
    assert seen == [True, False]
