"""The heap: what does it cost to take out who is due, to re-arm, to bring one to the front, to forget one?"""

import random
import tracemalloc
from time import thread_time_ns
from typing import Any

import pytest
from bench.figures import Figures, Round, compared
from bench.lab import START_MS
from bench.rivals import INTERVAL_MS, apschedulers, asyncio_timers, at_rest, bare_heap, task_per_robot

from fleetsync.heap import DueHeap

_STEPS = 20_000
_TURN_MS = 10


def filled(count: int) -> DueHeap:
    """A heap of so many entries, spread over the interval."""
    chance = random.Random(count)
    heap = DueHeap(START_MS)
    for slot in range(count):
        heap.put(slot, START_MS + chance.randrange(INTERVAL_MS))
    return heap


def rearming(heap: DueHeap, steps: int) -> Round:
    """Take out who is due, in the order of time, and put it back one interval later."""
    now_ms = [START_MS]

    def run() -> float:
        left = steps
        begun_ns = thread_time_ns()
        while left > 0:
            slot = heap.pop_due(now_ms[0])
            if slot < 0:
                now_ms[0] = heap.next_due_at_ms() or 0
                continue
            heap.put(slot, now_ms[0] + INTERVAL_MS)
            left -= 1
        return (thread_time_ns() - begun_ns) / steps / 1e3

    return run


@pytest.mark.parametrize("count", [1_000, 10_000, 100_000, 1_000_000])
def bench_due_to_rearmed(benchmark: Any, figures: Figures, count: int) -> None:
    """From due to armed again, against what a user would take instead."""
    rivals: dict[str, Round] = {"floor": bare_heap(count, _STEPS), "timers": asyncio_timers(count, _STEPS)}
    if count <= 100_000:
        rivals["tasks"] = task_per_robot(count, _STEPS)
        rivals |= apschedulers(count, _TURN_MS, 1_500_000 // count, figures.note)
    ours = rearming(filled(count), _STEPS)
    with at_rest():
        cost = compared(benchmark, ours, rivals, 5)
    for name in rivals:
        figures.add("heap", f"{count:,} entries: {name} a run", cost[name], "us")
    figures.add("heap", f"{count:,} entries: ours a run", cost["ours"], "us")
    figures.add("heap", f"{count:,} entries: ours / floor", cost["ours"] / cost["floor"], "x")


@pytest.mark.parametrize("count", [100_000, 1_000_000])
def bench_expedite_and_remove(benchmark: Any, figures: Figures, count: int) -> None:
    """Moving and forgetting entries; what is stale must not fill the heap."""
    heap, chance = filled(count), random.Random(2)
    asked = [chance.randrange(count) for _ in range(_STEPS)]
    moment = [START_MS]

    def expedite() -> float:
        moment[0] -= 1  # each round brings them further to the front
        begun_ns = thread_time_ns()
        for slot in asked:
            heap.put_sooner(slot, START_MS)
            heap.put(slot, START_MS + 1 + INTERVAL_MS)
        return (thread_time_ns() - begun_ns) / _STEPS / 2e3

    cost = compared(benchmark, expedite, {}, 40)["ours"]
    figures.add("heap", f"{count:,} entries: move one to the front or back", cost, "us", 10)
    figures.add("heap", f"{count:,} entries: size after {80 * _STEPS:,} moves, in entries", heap.size / count, "x", 2.1)
    begun_ns = thread_time_ns()
    for slot in set(asked):
        heap.remove(slot)
    cost = (thread_time_ns() - begun_ns) / len(set(asked)) / 1e3
    figures.add("heap", f"{count:,} entries: remove one", cost, "us", 10)


def bench_adding_a_million(benchmark: Any, figures: Figures) -> None:
    """Filling a heap, and what an entry takes of memory."""
    heap, count = DueHeap(START_MS), 1_000_000

    def add() -> None:
        for slot in range(count):
            heap.put(slot, START_MS + slot % INTERVAL_MS)

    benchmark.pedantic(add, rounds=1, iterations=1)
    figures.add("heap", "adding 1,000,000 entries", benchmark.stats.stats.max, "s", 5)
    tracemalloc.start()
    kept = filled(100_000)
    figures.add("heap", "memory an entry (100,000)", tracemalloc.get_traced_memory()[0] / len(kept), "bytes", 64)
    tracemalloc.stop()
