"""One trial: a fleet, a budget, a policy, so many virtual minutes; and several of them side by side in processes."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.queues import SimpleQueue
from typing import Any

from fleetsync.ports import Batch, Loaded
from fleetsync.units import MINUTE_MS
from fleetsync_adapters.budget_bench.fleets import BenchFleet
from fleetsync_adapters.budget_bench.measure import PHASES, Measure
from fleetsync_adapters.budget_bench.optimum import optimum_unseen_ms
from fleetsync_adapters.memory_store import MemoryStore
from fleetsync_adapters.simulation.garbage import seldom_collected
from fleetsync_adapters.simulation.world import World

WARM_UP_SHARE, WARM_UP_MINUTES_MAX = 10, 5
_REMEMBERED_MS = 30 * MINUTE_MS  # longer than a robot goes unread by any budget that somebody would run
_CURVE_POINTS = 60
_LOOK_S = 0.2
Progress = Callable[[int, float], None]  # trial, share done
Report = tuple[int, float]  # the same; or _I_AM and a process
_I_AM = -1
_REPORTS: list["SimpleQueue[Report]"] = []  # of a child process: where it says how far it is


@dataclass(frozen=True, slots=True)
class Trial:
    """What is simulated."""

    fleet: BenchFleet
    budget: int
    policy: str
    minutes: int = 60
    seed: int = 1

    @property
    def warm_up_minutes(self) -> int:
        """What passes before anything is measured: first readings, and some learning."""
        return warm_up_minutes(self.minutes)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial found: the row of the contract, and what plots need beyond it."""

    row: dict[str, Any]
    by_minute: list[int] = field(default_factory=list)
    weight_by_minute: list[int] = field(default_factory=list)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    strip: list[list[int]] = field(default_factory=list)


def warm_up_minutes(minutes: int) -> int:
    """A tenth of the measured span, at least one minute and at most five."""
    return min(max(minutes // WARM_UP_SHARE, 1), WARM_UP_MINUTES_MAX)


def attempt(trial: Trial, progress: Callable[[float], None] | None = None,
            hopeless: Callable[[Measure], bool] | None = None) -> Outcome:
    """Run one trial in this process; it ends early once it is `hopeless`."""
    fleet, minutes = trial.fleet, trial.warm_up_minutes + trial.minutes
    setup = fleet.setup(budget=trial.budget, policy=trial.policy, minutes=minutes, seed=trial.seed)
    measure = Measure(setup.start_at_ms + trial.warm_up_minutes * MINUTE_MS, setup.end_at_ms)
    world = World(setup, [measure])
    keep_nothing(world)
    with seldom_collected(len(fleet.robots)):
        for minute in range(1, minutes + 1):
            world.run(setup.start_at_ms + minute * MINUTE_MS)
            if progress is not None:
                progress(minute / minutes)
            if hopeless is not None and minute > trial.warm_up_minutes and hopeless(measure):
                measure.until_ms = world.now_ms
                break
    measure.finish()
    settings = setup.settings
    row = {"budget_per_minute": trial.budget, "policy": trial.policy,
           **measure.row(settings.holding_ceiling_ms, settings.flat_ceiling_ms)}
    row["optimum_unseen_ms"] = None if fleet.workload.recording else optimum_unseen_ms(
        fleet.accounts, fleet.robots, fleet.tariffs, fleet.workload, trial.budget)
    row["minutes"], row["seed"] = trial.minutes, trial.seed
    curves = {name: measure.ages[phase].curve(_CURVE_POINTS) for phase, name in PHASES.items()}
    return Outcome(row, measure.by_minute, measure.weight_by_minute, curves, measure.strip)


def keep_nothing(world: World) -> None:
    """Give the world's engine a store that forgets: it is not restarted, and its rows answer no question here.

    The exchange forgets what has ended, too, once nobody asks for it any more: a large fleet trades for days.
    """
    assert world.life is not None
    world.store = world.life.store = _Forgetful()
    world.life.core.journal.robot_changed = _no_row  # type: ignore[method-assign]  # nor are robots' rows made
    books = world.venue.books
    books.rules = replace(books.rules, unfilled_kept_ms=_REMEMBERED_MS, orders_kept_ms=_REMEMBERED_MS,
                          fills_kept_ms=_REMEMBERED_MS)


def attempt_all(trials: Sequence[Trial], jobs: int, progress: Progress) -> Generator[tuple[int, Outcome], None, None]:
    """Run trials, as many side by side as there are jobs; each outcome with its trial's place, as they come."""
    if jobs < 2 or len(trials) < 2:
        for place, trial in enumerate(trials):
            yield place, attempt(trial, lambda share, place=place: progress(place, share))  # type: ignore[misc]  # bound
        return
    context = multiprocessing.get_context("spawn")
    reports: SimpleQueue[Report] = context.SimpleQueue()
    crew = ProcessPoolExecutor(min(jobs, len(trials)), context, initializer=_report_to, initargs=(reports,))
    children: set[int] = set()
    running = {crew.submit(_attempt_far, place, trial): place for place, trial in enumerate(trials)}
    try:
        while running:
            done, _ = wait(running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            _hear(reports, children, progress)
            for future in done:
                yield running.pop(future), future.result()
        crew.shutdown()
    finally:
        _hear(reports, children, progress)
        crew.shutdown(wait=False, cancel_futures=True)
        for pid in children if running else ():  # nobody waits for an hour that nobody wants any more
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _hear(reports: "SimpleQueue[Report]", children: set[int], progress: Progress) -> None:
    while not reports.empty():
        place, share = reports.get()
        if place == _I_AM:
            children.add(int(share))
        else:
            progress(place, share)


def _report_to(reports: "SimpleQueue[Report]") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to everybody on a terminal; who started us ends us
    _REPORTS.append(reports)
    reports.put((_I_AM, os.getpid()))


def _attempt_far(place: int, trial: Trial) -> Outcome:
    return attempt(trial, lambda share: _REPORTS[0].put((place, share)))


def _no_row(slot: int) -> None:
    """A robot's row is for the store."""


class _Forgetful(MemoryStore):
    """Takes everything and keeps nothing."""

    def load(self) -> Loaded:
        """Nothing was kept."""
        return Loaded()

    def commit(self, batch: Batch, at_ms: int) -> None:
        """Let it go."""
