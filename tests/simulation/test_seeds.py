"""A few hundred seeds: fleets, quotas, latencies and faults drawn by chance, every promise checked at every step."""

import os

from fleetsync_adapters.simulation.faults import MISDEEDS, STRIKES
from fleetsync_adapters.simulation.runner import Summary, simulate
from fleetsync_adapters.simulation.shrink import story

FAULTY_SEEDS = 200  # of a minute each, so that they are cheap; `make simulate` has the long ones
CONTROLLED_SEEDS = 25


def _summary(seeds: int, first_seed: int, minutes: int, *, control: bool) -> Summary:
    summary = Summary()
    jobs = min(os.cpu_count() or 1, 2)
    for verdict in simulate(seeds, first_seed, minutes=minutes, jobs=jobs, control=control):
        summary.add(verdict)
    return summary


def _told(summary: Summary) -> str:
    """What broke, and the end of the first failing story."""
    lines = [f"seed {verdict.options.seed}: {verdict.error or verdict.breaches[0]}" for verdict in summary.failed]
    if summary.failed:
        lines += story(summary.failed[0].options, lines_max=40)
    return "\n".join(lines)


def test_every_promise_is_kept_whatever_goes_wrong() -> None:
    summary = _summary(FAULTY_SEEDS, 0, 1, control=False)
    assert not summary.failed, _told(summary)
    assert summary.trials == FAULTY_SEEDS
    assert summary.lives > FAULTY_SEEDS, "engines are killed"
    assert summary.strikes > 10 * FAULTY_SEEDS, "faults strike"
    assert {*STRIKES, *MISDEEDS} - {"forgotten", "short_page"} <= summary.effects.keys(), "each kind does something"


def test_without_faults_every_promise_is_kept_and_nobody_is_late() -> None:
    summary = _summary(CONTROLLED_SEEDS, 10_000, 3, control=True)
    assert not summary.failed, _told(summary)
    assert summary.trials == 2 * CONTROLLED_SEEDS
