"""The budget bench itself: how long does it take to simulate an hour of a large fleet, and how much memory?"""

import resource
from dataclasses import dataclass
from multiprocessing import get_context
from time import process_time

import pytest
from bench.figures import Figures

from fleetsync_adapters.budget_bench.fleets import fleet_made
from fleetsync_adapters.budget_bench.trial import Trial, attempt
from fleetsync_adapters.simulation.workload import Workload

_BUDGET = 1_200
_TARGET_S = 30.0
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
