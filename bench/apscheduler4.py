"""APScheduler 4 under the same periodic workload: a program of its own, since both versions have one import name.

`python -m bench.apscheduler4 COUNT TURN_MS TURNS`, with the folder of version 4 on `PYTHONPATH`: for each line that it
reads, it runs so many turns and prints the microseconds a job, until the input ends. `rivals.apscheduler_4` starts it.
"""

import asyncio
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from time import thread_time_ns
from typing import Any

from bench.rivals import INTERVAL_MS, VirtualLoop, at_rest

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Turns(VirtualLoop):
    """Virtual time in whole turns: whoever sleeps wakes at the end of one, and finds all that fell due in it."""

    def __init__(self, turn_ms: int) -> None:
        super().__init__()
        self._virtual.turn_s = turn_ms / 1000


def clock_of(loop: Turns) -> type[datetime]:
    """The scheduler's clock: that of its loop."""

    class Virtual(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return _BEGIN + timedelta(seconds=loop.time())

    return Virtual


async def start(scheduler: Any, count: int, job: Callable[[], Any]) -> None:
    """So many schedules, spread over the interval as a fleet is; any number of jobs may run at once."""
    trigger: Any = import_module("apscheduler.triggers.interval").IntervalTrigger
    await scheduler.configure_task("nothing", func=job, max_running_jobs=None)
    chance = random.Random(count)
    for first_ms in sorted(chance.randrange(INTERVAL_MS) for _ in range(count)):  # sorted, it takes them faster
        await scheduler.add_schedule("nothing", trigger(seconds=INTERVAL_MS / 1000,
                                                        start_time=_BEGIN + timedelta(milliseconds=first_ms)))
    await scheduler.start_in_background()


async def serve(count: int, turn_ms: int, turns: int, clock: type[datetime]) -> None:
    """A round for each line of the input."""
    for name in ("_schedulers.async_", "datastores.memory", "_structures"):
        import_module(f"apscheduler.{name}").datetime = clock  # type: ignore[attr-defined]  # not typed for us
    ran = 0

    async def nothing() -> None:
        nonlocal ran
        ran += 1

    async with import_module("apscheduler").AsyncScheduler() as scheduler:
        await start(scheduler, count, nothing)
        await asyncio.sleep(0.1)
        with at_rest():
            for _ in sys.stdin:  # nothing else is to happen meanwhile
                before, begun_ns = ran, thread_time_ns()
                await asyncio.sleep(turn_ms * turns / 1000)
                print((thread_time_ns() - begun_ns) / max(ran - before, 1) / 1e3, flush=True)


def main() -> None:
    """Run it."""
    count, turn_ms, turns = map(int, sys.argv[1:])
    loop = Turns(turn_ms)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(serve(count, turn_ms, turns, clock_of(loop)))


if __name__ == "__main__":
    main()
