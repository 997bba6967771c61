"""What a user would take instead of a scheduler of ours, each driven by the same periodic workload in virtual time."""

import asyncio
import gc
import math
import os
import random
import selectors
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from importlib import import_module
from pathlib import Path
from time import thread_time_ns
from typing import Any

INTERVAL_MS = 30_000
APSCHEDULER_4 = Path(__file__).parent.parent / "build" / "apscheduler4"  # version 3 has the import name
Round = Callable[[], float]


@contextmanager
def at_rest() -> Iterator[None]:
    """What stands here is left alone by the garbage collector.

    Else a round of one candidate pays for going through the hundred thousand tasks of another: 0.2 s at a time.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def bare_heap(count: int, steps: int) -> Round:
    """The floor: tuples on a heap; pop the first, push it again one interval later."""
    chance = random.Random(count)
    heap = [(chance.randrange(INTERVAL_MS), slot) for slot in range(count)]
    heapify(heap)

    def run() -> float:
        begun_ns = thread_time_ns()
        for _ in range(steps):
            at_ms, slot = heappop(heap)
            heappush(heap, (at_ms + INTERVAL_MS, slot))
        return (thread_time_ns() - begun_ns) / steps / 1e3

    return run


class _Virtual(selectors.DefaultSelector):
    """A selector that never waits: asyncio's time jumps to where it would have slept to."""

    now_s = 0.0
    turn_s = 0.0  # sleepers wake at the end of a turn of this length; 0: when they want to

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout and timeout > 0:
            self.now_s = self._end_of_turn_s(timeout) if self.turn_s else self.now_s + timeout
        return []

    def _end_of_turn_s(self, timeout_s: float) -> float:
        turn = round(self.now_s / self.turn_s)
        return max(turn + 1, math.ceil((self.now_s + timeout_s) / self.turn_s)) * self.turn_s


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, timers and tasks, in virtual time."""

    def __init__(self) -> None:
        self._virtual = _Virtual()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual.now_s


class _Counted:
    """Runs a loop until so many runs have been counted."""

    def __init__(self, steps: int) -> None:
        self.loop, self._steps, self._left = VirtualLoop(), steps, 0

    def count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.loop.stop()

    def close(self) -> None:
        """End its tasks, and the loop."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks))
        self.loop.close()

    def __call__(self) -> float:
        self._left = self._steps
        begun_ns = thread_time_ns()
        self.loop.run_forever()
        return (thread_time_ns() - begun_ns) / self._steps / 1e3


def asyncio_timers(count: int, steps: int) -> Round:
    """A timer a robot, which sets itself again."""
    counted, chance = _Counted(steps), random.Random(count)

    def due() -> None:
        counted.count()
        counted.loop.call_at(counted.loop.time() + INTERVAL_MS / 1000, due)

    for _ in range(count):
        counted.loop.call_at(chance.random() * INTERVAL_MS / 1000, due)
    return counted


def task_per_robot(count: int, steps: int) -> Round:
    """A task a robot, which sleeps between its runs."""
    counted, chance = _Counted(steps), random.Random(count)

    async def robot(first_s: float) -> None:
        await asyncio.sleep(first_s)
        while True:
            counted.count()
            await asyncio.sleep(INTERVAL_MS / 1000)

    tasks = [counted.loop.create_task(robot(chance.random() * INTERVAL_MS / 1000)) for _ in range(count)]
    counted.loop.call_later(0.001, counted.loop.stop)
    counted.loop.run_forever()
    assert len(tasks) == count
    return counted


def apscheduler_3(count: int, turn_ms: int, turns: int) -> Round | None:
    """APScheduler 3: its scheduler over its memory store, jobs that do nothing; None where it is not installed.

    Jobs are spread over the interval, as a fleet is, and time is virtual: a turn processes those that fall into it, and
    its asyncio executor runs each as a coroutine, as a program that calls exchanges would have it.
    """
    try:  # an optional extra, without types
        executors: Any = import_module("apscheduler.executors.asyncio")
        schedulers: Any = import_module("apscheduler.schedulers.base")
        triggers: Any = import_module("apscheduler.triggers.interval")
    except ImportError:
        return None

    class Virtual(datetime):
        """The scheduler's clock."""

        moment = datetime(2026, 1, 1, tzinfo=UTC)

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            """The turn's instant."""
            return cls.moment

    class Driven(schedulers.BaseScheduler):  # type: ignore[misc]  # see above
        """Processes its due jobs when it is told to."""

        _eventloop: VirtualLoop

        def wakeup(self) -> None:
            """Nobody sleeps."""

        def shutdown(self, wait: bool = True) -> None:
            """Nothing to end."""

    schedulers.datetime = Virtual
    ran, chance = [0], random.Random(count)

    async def nothing() -> None:
        ran[0] += 1

    scheduler = Driven(timezone=UTC)
    loop = scheduler._eventloop = VirtualLoop()
    scheduler.add_executor(executors.AsyncIOExecutor())
    scheduler.start(paused=True)
    trigger = triggers.IntervalTrigger(seconds=INTERVAL_MS / 1000, timezone=UTC)
    for first_ms in sorted(chance.randrange(INTERVAL_MS) for _ in range(count)):  # sorted, it takes them faster
        scheduler.add_job(nothing, trigger, misfire_grace_time=None,
                          next_run_time=Virtual.moment + timedelta(milliseconds=first_ms))
    scheduler.state = schedulers.STATE_RUNNING

    def run() -> float:
        before = ran[0]
        begun_ns = thread_time_ns()
        for _ in range(turns):
            Virtual.moment += timedelta(milliseconds=turn_ms)
            scheduler._process_jobs()
            for _ in range(2):  # the jobs, and what is to be done after them
                loop.call_soon(loop.stop)
                loop.run_forever()
        return (thread_time_ns() - begun_ns) / max(ran[0] - before, 1) / 1e3

    weakref.finalize(run, loop.close)
    return run


class Elsewhere:
    """Rounds of a program that runs beside us: a line asks for one, and a line says what a unit of it cost."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        path = os.pathsep.join([str(folder), *sys.path])
        self._process = subprocess.Popen(command, text=True, env=os.environ | {"PYTHONPATH": path},
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self) -> float:
        """One round."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go on\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def apscheduler_4(count: int, turn_ms: int, turns: int) -> Elsewhere | None:
    """APScheduler 4 over its memory store, likewise, in a process of its own; None where it is not installed."""
    if not APSCHEDULER_4.is_dir():
        return None
    return Elsewhere([sys.executable, "-m", "bench.apscheduler4", *map(str, (count, turn_ms, turns))], APSCHEDULER_4)


def apschedulers(count: int, turn_ms: int, turns: int, note: Callable[[str], None]) -> dict[str, Round]:
    """Both versions, as far as they are installed; what is not is noted."""
    found = {"apscheduler3": apscheduler_3(count, turn_ms, turns), "apscheduler4": apscheduler_4(count, turn_ms, turns)}
    for name in [name for name, made in found.items() if made is None]:
        note(f"{name} is not installed and left out: `make bench` installs version 4, `.[bench]` version 3")
    return {name: made for name, made in found.items() if made is not None}
