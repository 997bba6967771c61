"""Many seeds side by side in processes, and what they add up to."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count, islice
from multiprocessing import active_children, get_context

from fleetsync.units import MINUTE_MS
from fleetsync_adapters.simulation.observe import Observer
from fleetsync_adapters.simulation.swarm import Options, draw
from fleetsync_adapters.simulation.trial import Verdict, attempt
from fleetsync_adapters.simulation.world import World

_AHEAD = 4  # trials handed to each process beforehand
_TOLD_EVERY = 30  # virtual seconds

Progress = Callable[[int, int], None]  # virtual ms that have passed, and of how many; more than that while it settles


@dataclass(slots=True)
class Summary:
    """What a number of trials found."""

    trials: int = 0
    calls: int = 0
    changes: int = 0
    events: int = 0
    strikes: int = 0
    effects: Counter[str] = field(default_factory=Counter)  # how often each kind of fault did something
    struck: Counter[str] = field(default_factory=Counter)  # in how many trials
    lives: int = 0
    virtual_ms: int = 0
    slowest_ms: int = 0  # to converge
    broken: Counter[str] = field(default_factory=Counter)  # trials by the promise that was broken
    failed: list[Verdict] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Take one verdict in."""
        self.trials += 1
        self.calls += verdict.calls
        self.changes += verdict.changes
        self.events += verdict.events
        self.strikes += verdict.strikes
        self.effects.update(verdict.effects)
        self.struck.update(verdict.effects.keys())
        self.lives += verdict.lives
        self.virtual_ms += verdict.virtual_ms
        self.slowest_ms = max(self.slowest_ms, verdict.converged_ms)
        if not verdict.good:
            self.failed.append(verdict)
            self.broken.update({breach.promise for breach in verdict.breaches} or {"error"})


class _HowFar(Observer):
    """Tells how far a world is, by its own time."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._seconds = 0

    def second(self, at_ms: int, world: World) -> None:
        """Now and then."""
        self._seconds += 1
        if self._seconds % _TOLD_EVERY == 0:
            whole_ms = world.setup.minutes * MINUTE_MS
            self._progress(at_ms - world.end_at_ms + whole_ms, whole_ms)


def simulate(seeds: int | None, first_seed: int = 0, *, minutes: int | None = None, robots: int | None = None,
             jobs: int | None = None, control: bool = True, progress: Progress | None = None) -> Iterator[Verdict]:
    """Try seeds one after the other, each under faults and (`control`) without; yields verdicts as they come.

    Args:
        seeds: how many; None goes on until somebody stops it.
        first_seed: where to begin.
        minutes: virtual minutes of each; drawn where None.
        robots: size of each fleet; drawn where None.
        jobs: processes; one runs everything here, None takes one for each processor.
        control: whether the same workload also runs without faults.
        progress: is told how far the present trial is, with one job. Ctrl-C then ends it with what was found so far,
            and its verdict is the last one.
    """
    numbers = islice(count(first_seed), seeds)
    wanted = _options(numbers, minutes, robots, control=control)
    if jobs == 1:
        for options in wanted:
            verdict = attempt(options, [_HowFar(progress)] if progress else (), interruptible=progress is not None)
            yield verdict
            if verdict.interrupted:
                return
        return
    processes, others = jobs or os.cpu_count() or 1, set(active_children())
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as executor:
        running: set[Future[Verdict]] = {executor.submit(attempt, one) for one in islice(wanted, processes * _AHEAD)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {executor.submit(attempt, one) for one in islice(wanted, len(done))}
                for future in done:
                    yield future.result()
        except BaseException:  # nobody waits for the trials under way, which may take minutes each
            for process in set(active_children()) - others:
                process.terminate()
            raise
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


def _options(numbers: Iterator[int], minutes: int | None, robots: int | None, *, control: bool) -> Iterator[Options]:
    for seed in numbers:
        options = draw(seed, minutes=minutes, robots=robots)
        yield options
        if control:
            yield options.without_faults()
