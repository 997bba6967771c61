"""One whole step of the core: pop due, plan, grant, dispatch, outcome, re-arm. How far is it from a bare heap's?"""

import statistics
from time import thread_time_ns
from typing import Any

import pytest
from bench.figures import Figures, Round, compared
from bench.growth import measured
from bench.lab import PLENTY, START_MS, Lab, QuietExchange, accounts_of, holding, robots_of, unlimited
from bench.rivals import apschedulers, at_rest, bare_heap

from fleetsync.config import Settings
from fleetsync.events import Event

_TICK_MS = 10  # what a saturated loop's turn comes to
_SETTINGS = Settings(calls_per_minute=PLENTY, workers=1, in_flight_per_worker=PLENTY)
_WARM_MS = 31_000  # past the first reading of every robot
_STEPS = 20_000


def fleet(robots: int, per_account: int, *, held: float = 0.0) -> Lab:
    """A fleet past its first readings, evenly spread over its interval."""
    accounts = accounts_of(robots // per_account)
    made = robots_of(robots, accounts)
    lab = Lab(accounts, made, _SETTINGS, unlimited(), spread_ms=30_000, answers=QuietExchange(holding(made, held)))
    return warmed(lab)


def warmed(lab: Lab) -> Lab:
    """Past the first reading of every robot, and its rows handed on to the store."""
    for _ in range(_WARM_MS // 1_000):
        turn(lab, 1_000)
        lab.core.take_batch()
    return lab


def turn(lab: Lab, span_ms: int) -> float:
    """Let time pass in steps of a loop's turn; microseconds of the core a sync."""
    end_ms, dispatched, spent_ns = lab.now_ms + span_ms, lab.dispatched, lab.spent_ns
    while lab.now_ms < end_ms:
        lab.step(lab.now_ms + _TICK_MS)
    return (lab.spent_ns - spent_ns) / max(lab.dispatched - dispatched, 1) / 1e3


def steps(lab: Lab, span_ms: int) -> Round:
    """Rounds of a fleet."""
    return lambda: turn(lab, span_ms)


@pytest.mark.parametrize(("robots", "per_account", "target"), [
    (1_000, 1, None), (10_000, 1, None), (100_000, 1, 8.0), (100_000, 10, 3.0), (1_000_000, 10, None)])
def bench_core_step(benchmark: Any, figures: Figures, robots: int, per_account: int, target: float | None) -> None:
    """A step a sync and a robot, against the floor of a bare heap and against APScheduler."""
    made = fleet(robots, per_account)
    rivals: dict[str, Round] = {"floor": bare_heap(robots, _STEPS)}
    if robots == 100_000:
        rivals |= apschedulers(robots, _TICK_MS, 20, figures.note)
    span_ms = max(300_000_000 // robots, 2_000) if robots < 1_000_000 else 1_000
    with at_rest():
        cost = compared(benchmark, steps(made, span_ms), rivals, 11)
    name = f"{robots:,} robots, {per_account} an account"
    figures.add("core", f"{name}: a sync", cost["ours"], "us")
    figures.add("core", f"{name}: a robot", cost["ours"] / per_account, "us")
    figures.add("core", f"{name}: a robot / the floor's pop and push", cost["ours"] / per_account / cost["floor"], "x",
                target)
    for version in (3, 4):
        if (job_us := cost.get(f"apscheduler{version}")) is not None:
            figures.add("core", f"{name}: APScheduler {version}, a job a robot", job_us, "us")
            # One robot an account is held to the floor: the step that allows is too long for eight times version 3.
            figures.add("core", f"{name}: robots a second / APScheduler {version}'s jobs a second",
                        job_us * per_account / cost["ours"], "x", 8 if (per_account, version) == (10, 3) else None,
                        at_least=True)
    if robots == 100_000:
        memory = measured(robots, per_account, ("--memory",))
        held, grown = memory["held_bytes"], memory["grown_bytes"]
        figures.add("core", f"{name}: memory a robot, beyond the user's own objects", held, "bytes", 400)
        figures.add("core", f"{name}: what the process grew by a robot, its start included", grown, "bytes", 400)


def bench_a_million_against_a_hundred_thousand(benchmark: Any, figures: Figures) -> None:
    """Ten times the robots must not cost more than twice a step."""
    small = fleet(100_000, 10)
    accounts = accounts_of(100_000)
    robots = robots_of(1_000_000, accounts)
    made_ns = thread_time_ns()
    large = Lab(accounts, robots, _SETTINGS, unlimited(), spread_ms=30_000)
    figures.add("core", "adding 1,000,000 robots on 100,000 accounts", (thread_time_ns() - made_ns) / 1e9, "s", 30)
    warmed(large)
    cost = compared(benchmark, steps(large, 1_000), {"small": steps(small, 3_000)}, 7)
    figures.add("core", "a sync at 1,000,000 robots / at 100,000", cost["ours"] / cost["small"], "x", 2)


def bench_a_fleet_that_holds(benchmark: Any, figures: Figures) -> None:
    """One in five holds a position with an order beside it: two calls a sync, and books to go through."""
    lab = fleet(10_000, 10, held=0.2)
    cost = compared(benchmark, steps(lab, 1_000), {}, 7)["ours"]
    figures.add("core", "10,000 robots, 10 an account, 2 of them holding: a sync", cost, "us")


def bench_expedite(benchmark: Any, figures: Figures) -> None:
    """An event on one of 100,000 robots: accepted, to the front, dispatched in the next turn."""
    lab = fleet(100_000, 10)
    core, costs = lab.core, list[float]()

    def events() -> None:
        now_ms = lab.now_ms
        slots = range(len(costs) * 97 % 90_000, len(costs) * 97 % 90_000 + 1_000)
        made = [Event(core.inbox.next_id(), slot, core.fleet.ids[slot], "manual", now_ms) for slot in slots]
        begun_ns = thread_time_ns()
        for event in made:
            core.notify(event, now_ms)
        costs.append((thread_time_ns() - begun_ns) / len(made) / 1e3)
        turn(lab, 100)
        core.take_batch()

    benchmark.pedantic(events, rounds=15, iterations=1)
    figures.add("core", "100,000 robots: an event to the front of the lane", statistics.median(costs), "us", 10)
    assert lab.now_ms > START_MS
