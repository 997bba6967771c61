"""The simulations themselves: how long do an hour of a large fleet, and a day of it with faults and checks, take?"""

import resource
from dataclasses import dataclass
from heapq import heappop, heappush
from multiprocessing import get_context
from statistics import median
from time import process_time

import pytest
from bench.figures import Figures

from fleetsync.units import DAY_MS, MINUTE_MS
from fleetsync_adapters.budget_bench.fleets import fleet_made
from fleetsync_adapters.budget_bench.trial import Trial, attempt
from fleetsync_adapters.simulation import trial
from fleetsync_adapters.simulation.observe import Observer
from fleetsync_adapters.simulation.swarm import draw
from fleetsync_adapters.simulation.workload import Workload
from fleetsync_adapters.simulation.world import World

_BUDGET = 1_200
_TARGET_S = 30.0
_DAY_TARGET_S = 300.0
_PACE_EVERY_MS = 10 * MINUTE_MS
_MEBIBYTE = 1 << 10  # in the kibibytes that the kernel counts


@dataclass(frozen=True, slots=True)
class Cost:
    """What one simulation took, of a process of its own."""

    cpu_s: float
    memory_mib: float


def one(robots: int, accounts: int, policy: str, minutes: int) -> Cost:
    """Simulate once, the making of the fleet included."""
    begun_s = process_time()
    fleet = fleet_made(robots, 0.2, accounts, "binanceusdm", Workload(), 1)
    attempt(Trial(fleet, _BUDGET, policy, minutes))
    return Cost(process_time() - begun_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MEBIBYTE)


def apart(robots: int, accounts: int, policy: str, minutes: int) -> Cost:
    """The same in a fresh process, whose memory nothing else has grown."""
    with get_context("spawn").Pool(1) as crew:
        return crew.apply(one, (robots, accounts, policy, minutes))


@pytest.mark.parametrize("policy", ["fixed", "adaptive"])
@pytest.mark.parametrize("accounts", [1_000, 500])
def bench_a_virtual_hour_of_ten_thousand_robots(figures: Figures, policy: str, accounts: int) -> None:
    """An operator waits for it."""
    cost = apart(10_000, accounts, policy, 60)
    name = f"10,000 robots on {accounts:,} accounts, {policy}: one virtual hour"
    figures.add("simulation", f"{name}, CPU", cost.cpu_s, "s", _TARGET_S)
    figures.add("simulation", f"{name}, memory", cost.memory_mib, "MiB")


def bench_an_hour_of_a_hundred_thousand_robots(figures: Figures) -> None:
    """It is possible."""
    cost = apart(100_000, 10_000, "fixed", 60)
    name = "100,000 robots on 10,000 accounts, fixed: one virtual hour"
    figures.add("simulation", f"{name}, CPU", cost.cpu_s, "s")
    figures.add("simulation", f"{name}, memory", cost.memory_mib, "MiB")


class _Pace(Observer):
    """Does the same small work now and then: how much slower than at best it is tells what the neighbours took."""

    def __init__(self) -> None:
        """Nothing is measured yet."""
        self.spans_s: list[float] = []

    def second(self, at_ms: int, world: World) -> None:
        """Every ten virtual minutes."""
        if at_ms % _PACE_EVERY_MS >= 1_000:
            return
        begun_s, heap = process_time(), list[int]()
        for number in range(10_000):
            heappush(heap, (number * 7_919) & 0xFFFF)
            if number & 1:
                heappop(heap)
        self.spans_s.append(process_time() - begun_s)

    @property
    def slowdown(self) -> float:
        """The median over the least."""
        return median(self.spans_s) / min(self.spans_s)


def day(seed: int) -> tuple[float, float, bool]:
    """One virtual day of a drawn fleet, and what follows until it has converged: (CPU seconds, slowdown, all kept)."""
    pace, begun_s = _Pace(), process_time()
    verdict = trial.attempt(draw(seed, minutes=DAY_MS // MINUTE_MS, robots=10_000), [pace])
    return process_time() - begun_s - sum(pace.spans_s), pace.slowdown, verdict.good


@pytest.mark.parametrize(("seed", "fleet"), [(2, "fixed, one exchange"), (9, "adaptive, one exchange"),
                                             (0, "adaptive, two exchanges"), (8, "fixed, two exchanges")])
def bench_a_virtual_day_of_ten_thousand_robots_with_faults(figures: Figures, seed: int, fleet: str) -> None:
    """As `fleetsync simulate --seeds 1 --first-seed N --robots 10000 --days 1 --no-control` runs it."""
    with get_context("spawn").Pool(1) as crew:
        cpu_s, slowdown, good = crew.apply(day, (seed,))
    assert good
    name = f"10,000 robots for a virtual day with faults, seed {seed} ({fleet})"
    figures.add("days", f"{name}: CPU", cpu_s, "s", _DAY_TARGET_S)
    figures.add("days", f"{name}: a small work done meanwhile, its median / its best", slowdown, "x")
