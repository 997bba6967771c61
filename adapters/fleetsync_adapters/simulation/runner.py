"""Many seeds side by side in processes, and what they add up to."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count, islice
from multiprocessing import get_context

from fleetsync_adapters.simulation.swarm import Options, draw
from fleetsync_adapters.simulation.trial import Verdict, attempt

_AHEAD = 4  # trials handed to each process beforehand


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


def simulate(seeds: int | None, first_seed: int = 0, *, minutes: int | None = None, robots: int | None = None,
             jobs: int | None = None, control: bool = True) -> Iterator[Verdict]:
    """Try seeds one after the other, each under faults and (`control`) without; yields verdicts as they come.

    Args:
        seeds: how many; None goes on until somebody stops it.
        first_seed: where to begin.
        minutes: virtual minutes of each; drawn where None.
        robots: size of each fleet; drawn where None.
        jobs: processes; one runs everything here, None takes one for each processor.
        control: whether the same workload also runs without faults.
    """
    numbers = islice(count(first_seed), seeds)
    wanted = _options(numbers, minutes, robots, control=control)
    if jobs == 1:
        yield from map(attempt, wanted)
        return
    processes = jobs or os.cpu_count() or 1
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as executor:
        running: set[Future[Verdict]] = {executor.submit(attempt, one) for one in islice(wanted, processes * _AHEAD)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {executor.submit(attempt, one) for one in islice(wanted, len(done))}
                for future in done:
                    yield future.result()
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


def _options(numbers: Iterator[int], minutes: int | None, robots: int | None, *, control: bool) -> Iterator[Options]:
    for seed in numbers:
        options = draw(seed, minutes=minutes, robots=robots)
        yield options
        if control:
            yield options.without_faults()
