"""The crew: the worker processes, seen from the engine; and its stand-in within the caller's own loop.

A worker that dies, falls silent or stops reading is reported lost at once and replaced. The crew keeps no accounts and
no work: after `WorkerUp` the engine introduces accounts and exchanges again, and puts back what was in flight itself.
"""

import asyncio
import atexit
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence

from fleetsync.clock import SystemClock
from fleetsync.config import Settings
from fleetsync.errors import ConfigError, CrewLost
from fleetsync.link import UNSENT_MAX
from fleetsync.messages import FromWorker, ToWorker, WorkerLost, WorkerUp
from fleetsync.ports import Clock, ExchangeSpec
from fleetsync.process import KILLED_MS, Deliver, WorkerProcess
from fleetsync.units import MINUTE_MS, SECOND_MS, s_from_ms
from fleetsync.wire import Drain, Hello, WireError, encode
from fleetsync.worker import Worker

log = logging.getLogger(__name__)

START_FAILURES = 5
"""So many starts in a row without one that came up, with no worker left, and we stop trying."""
STEADY_MS = 1 * MINUTE_MS
"""A worker that was up this long is replaced without a pause when it is lost."""
RESPAWN_MS = 500
"""The second of two quick losses waits this long; then it doubles ..."""
RESPAWN_MAX_MS = 10 * SECOND_MS
"""... up to this."""

_NO_GUARD_EXIT = 79  # a worker's exit code; below 64 programs use them, above 128 shells do
_NO_GUARD = "worker processes import the main module again, and this one starts the engine when it is imported"
_GUARD_HINT = 'put what starts the engine under `if __name__ == "__main__":`'


def check_main_guard() -> None:
    """Refuse to go on where multiprocessing is importing the main module into a new worker.

    Raises:
        CrewLost: the main module lacks its guard. The process ends with a code that tells its parent so.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # multiprocessing's own mark for it
        atexit.register(_leave)
        raise CrewLost(_NO_GUARD, hint=_GUARD_HINT)


def _leave() -> None:
    sys.stdout.flush()
    os._exit(_NO_GUARD_EXIT)


class ProcessCrew:
    """`settings.workers` processes, each with an event loop and its share of the accounts.

    Args:
        specs: how workers open the exchanges; an exchange's `options` must be what JSON can hold.
        settings: the engine's.
        clock: the engine's; workers tell its time.
        respawn_max_ms: the longest pause before a worker that keeps getting lost is started again.
        unsent_max: a worker that leaves more bytes than this unread counts as hung.
    """

    failed: asyncio.Future[None]
    """From `start` on: holds a `CrewLost` when workers cannot be kept; never done otherwise."""

    def __init__(self, specs: Sequence[ExchangeSpec], settings: Settings, clock: SystemClock, *,
                 respawn_max_ms: int = RESPAWN_MAX_MS, unsent_max: int = UNSENT_MAX) -> None:
        if settings.workers < 1:
            raise ConfigError("a crew of processes needs workers, was 0", hint="LocalCrew needs none")
        self._specs = tuple(specs)
        self._settings = settings
        self._clock = clock
        self._respawn_max_ms = respawn_max_ms
        self._unsent_max = unsent_max
        self._processes: list[WorkerProcess | None] = [None] * settings.workers
        self._keepers: list[asyncio.Task[None]] = []
        self._start_failures = 0
        self._stopping = False

    def __repr__(self) -> str:
        return f"<ProcessCrew {self.alive}/{self.size}>"

    @property
    def size(self) -> int:
        """How many workers there are to place accounts on."""
        return len(self._processes)

    @property
    def alive(self) -> int:
        """How many of them are up."""
        return sum(process is not None and process.is_up for process in self._processes)

    async def start(self, deliver: Deliver) -> None:
        """Start every worker, as many at a time as there are CPUs; their `WorkerUp` follow.

        Raises:
            CrewLost: they cannot be started, or the main module has no guard.
            ConfigError: an exchange's options cannot travel to a worker.
        """
        check_main_guard()
        try:
            encode([self._hello(0)])
        except WireError as error:
            raise ConfigError("an exchange's options hold more than JSON can", hint="plain values only") from error
        loop = asyncio.get_running_loop()
        self.failed = loop.create_future()
        self._deliver = deliver
        self._starting = asyncio.Semaphore(os.cpu_count() or 1)
        launched: list[asyncio.Future[None]] = [loop.create_future() for _ in self._processes]
        self._keepers = [loop.create_task(self._keep(worker, mark)) for worker, mark in enumerate(launched)]
        for keeper in self._keepers:
            keeper.add_done_callback(self._check_keeper)
        every = loop.create_task(_all(launched))
        await asyncio.wait({every, self.failed}, return_when=asyncio.FIRST_COMPLETED)
        every.cancel()
        if self.failed.done():
            await self.stop(0)
            self.failed.result()

    def send(self, worker: int, message: ToWorker) -> None:
        """Hand a message to a worker; never blocks. To a lost worker it does nothing: `WorkerLost` has told already."""
        process = self._processes[worker]
        if process is not None and process.is_up:
            process.send(message)

    async def stop(self, grace_ms: int) -> None:
        """Drain for at most `grace_ms`, then end every worker. Called again meanwhile, it ends them at once.

        Who is not gone by then is killed: it was asked, it is stuck, and a worker holds nothing that could be lost.
        """
        hurried, self._stopping = self._stopping, True
        for keeper, process in zip(self._keepers, self._processes, strict=False):
            if process is None:
                keeper.cancel()  # it only waits for its time to start one
            elif process.is_up and not hurried:
                process.send(Drain(grace_ms * 4 // 5))  # the rest is for closing and leaving
            else:
                process.send_signal(signal.SIGKILL)
        try:
            await self._ended(0 if hurried else grace_ms)
        finally:
            for process in filter(None, self._processes):
                process.send_signal(signal.SIGKILL)
            await self._ended(2 * KILLED_MS)

    async def _ended(self, within_ms: int) -> None:
        if running := [keeper for keeper in self._keepers if not keeper.done()]:
            await asyncio.wait(running, timeout=s_from_ms(within_ms))

    async def _keep(self, worker: int, launched: asyncio.Future[None]) -> None:
        """Have one worker running, whatever happens to it."""
        pause_ms = 0
        while self._is_kept():
            process, up_at_ms = WorkerProcess(self._deliver, self._clock, self._unsent_max), self._clock.now_ms()
            try:
                async with self._starting:
                    self._processes[worker] = process
                    reason = await process.start(self._hello(worker), launched)
                    up_at_ms = self._clock.now_ms()
                    self._start_failures = 0 if process.was_up else self._start_failures
                reason = await process.end(reason or await process.watch(self._settings.worker_silence_ms))
            finally:
                process.abandon()  # it has ended, unless we were cancelled
                self._processes[worker] = None
            if not self._is_kept():
                return
            self._tell_loss(worker, process, reason)
            if process.was_up and self._clock.now_ms() - up_at_ms >= STEADY_MS:
                pause_ms = 0
            await asyncio.sleep(s_from_ms(pause_ms))
            pause_ms = min(max(RESPAWN_MS, 2 * pause_ms), self._respawn_max_ms)

    def _is_kept(self) -> bool:
        return not self._stopping and not self.failed.done()

    def _hello(self, worker: int) -> Hello:
        return Hello(worker, self._clock.base_at_ms, self._settings, self._specs)

    def _tell_loss(self, worker: int, process: WorkerProcess, reason: str) -> None:
        log.warning("worker %d %s", worker, reason)
        if process.was_up:
            self._deliver([WorkerLost(worker, reason)])
            return
        self._start_failures += 1
        if process.exit_code == _NO_GUARD_EXIT:
            self._fail(CrewLost(_NO_GUARD, hint=_GUARD_HINT))
        elif self._start_failures >= START_FAILURES and not self.alive:  # what is up goes on, and we go on trying
            self._fail(CrewLost(
                f"{self._start_failures} worker processes in a row ended before they were up; the last one {reason}",
                hint="their own words stand above, on standard error"))

    def _check_keeper(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and (error := keeper.exception()):
            lost = CrewLost(f"worker processes cannot be kept: {error}")
            lost.__cause__ = error
            self._fail(lost)

    def _fail(self, error: CrewLost) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)
            self.failed.exception()  # whoever awaits it is told; asyncio need not complain when nobody does


async def _all(facts: Sequence[asyncio.Future[None]]) -> None:
    await asyncio.wait(facts)


class LocalCrew:
    """One worker within the caller's own loop: for small fleets and tests. It cannot be lost.

    Args:
        specs: how to open the exchanges.
        settings: the engine's.
        clock: the engine's.
    """

    failed: asyncio.Future[None]
    """Never done; there so that one crew can stand in for the other."""

    def __init__(self, specs: Sequence[ExchangeSpec], settings: Settings, clock: Clock) -> None:
        self._worker = Worker(specs, settings, clock, self._report)
        self._reports: list[FromWorker] = []
        self._deliver: Deliver | None = None

    def __repr__(self) -> str:
        return f"<LocalCrew {self.alive}/1>"

    @property
    def size(self) -> int:
        """One."""
        return 1

    @property
    def alive(self) -> int:
        """One while it is started."""
        return int(self._deliver is not None)

    async def start(self, deliver: Deliver) -> None:
        """Import the exchanges' code; the `WorkerUp` follows."""
        self.failed = asyncio.get_running_loop().create_future()
        await self._worker.warm()
        self._deliver = deliver
        self._report(WorkerUp(0, os.getpid()))

    def send(self, worker: int, message: ToWorker) -> None:
        """Hand it a message; its work goes on in this loop."""
        assert worker == 0
        if self._deliver is not None:
            self._worker.receive(message)

    async def stop(self, grace_ms: int) -> None:
        """Let calls in flight finish for at most `grace_ms`, then close the exchanges."""
        await self._worker.drain(grace_ms)
        self._flush()
        self._deliver = None

    def _report(self, report: FromWorker) -> None:
        if not self._reports:
            asyncio.get_running_loop().call_soon(self._flush)
        self._reports.append(report)

    def _flush(self) -> None:
        reports, self._reports = self._reports, []
        if reports and self._deliver is not None:
            self._deliver(reports)
