"""A worker's process: `run_worker` is what runs inside it, `WorkerProcess` is the engine's hand on it."""

import asyncio
import logging
import multiprocessing
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import count
from multiprocessing import resource_tracker
from typing import Any

from fleetsync.clock import SystemClock
from fleetsync.collector import COLLECT_MS, collect, keep, seldom
from fleetsync.link import UNSENT_MAX, Link
from fleetsync.messages import (
    Answer,
    Dispatch,
    FromWorker,
    OpenExchange,
    SymbolsUnknown,
    SyncDone,
    ToWorker,
    WorkerUp,
)
from fleetsync.model import Fault, Surface
from fleetsync.ports import Clock
from fleetsync.units import MINUTE_MS, SECOND_MS, s_from_ms
from fleetsync.wire import Beat, Drain, Hello, Message, WireError
from fleetsync.worker import CLOSE_MS, Worker, refusal

log = logging.getLogger(__name__)

BEAT_MS = 2 * SECOND_MS
"""A worker says at least this often that its loop turns; more often where the settings allow less silence."""
DRAIN_MS = 2 * SECOND_MS
"""How long a worker that gets SIGTERM from outside lets its calls finish."""
START_MS = 1 * MINUTE_MS
"""A worker that has not said it is up by then will not; the caller's own main module is imported within it."""
KILLED_MS = 5 * SECOND_MS
"""A killed process is gone by then, or the kernel is holding it."""

Deliver = Callable[[Sequence[FromWorker]], None]


def run_worker(sock: socket.socket) -> None:
    """Be a worker process until the engine says so, goes away, or SIGTERM comes. SIGINT is the engine's to judge.

    The loop is uvloop's, which ccxt requires anyway: sockets are most of what a worker does, and cost it a fifth less.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # keys are in its memory
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the engine blocked it until this line was reached

    async def serve() -> None:
        await _Process().run(sock)

    seldom()
    with asyncio.Runner(loop_factory=import_module("uvloop").new_event_loop) as runner:  # the engine need not load it
        runner.run(serve())


class _Process:
    """The process around a `Worker`."""

    def __init__(self) -> None:
        self._link = Link(self._receive, _stripped)
        self._worker: Worker | None = None
        self._ending: asyncio.Future[int] = asyncio.get_running_loop().create_future()  # holds the grace
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end, DRAIN_MS)
        await loop.create_unix_connection(lambda: self._link, sock=sock)
        await _wait(None, self._link.closed, self._ending)
        if self._worker is not None:
            drained = loop.create_task(self._worker.drain(self._ending.result() if self._ending.done() else 0))
            await _wait(None, drained, self._link.closed)
            await self._worker.drain(0)
            await drained
        self._link.finish()
        await _wait(CLOSE_MS, self._link.closed)

    def _end(self, grace_ms: int) -> None:
        """Begin to end; a service manager's SIGTERM and the engine's `Drain` may come together, in any order."""
        if not self._ending.done():
            self._ending.set_result(grace_ms)

    def _receive(self, messages: Sequence[Message]) -> None:
        for message in messages:
            match message:
                case Hello():
                    self._begin(message)
                case Drain():
                    self._end(message.grace_ms)
                case _ if self._worker and isinstance(message, ToWorker):
                    self._worker.receive(message)
                case _:
                    log.error("a %s is nothing for a worker now", type(message).__name__)

    def _begin(self, hello: Hello) -> None:
        self._worker = Worker(hello.specs, hello.settings, SystemClock(hello.base_at_ms), self._report)
        beat_ms = min(BEAT_MS, max(1, hello.settings.worker_silence_ms // 4))
        self._tasks = [asyncio.create_task(self._beat(hello.worker, beat_ms)),
                       asyncio.create_task(self._report_up(self._worker, hello.worker))]

    def _report(self, report: FromWorker) -> None:
        self._link.send(report)
        if isinstance(report, SyncDone) and any(answer.call.surface is Surface.MARKETS for answer in report.answers):
            keep()

    async def _report_up(self, worker: Worker, number: int) -> None:
        await worker.warm()
        self._link.send(WorkerUp(number, os.getpid()))

    async def _beat(self, number: int, beat_ms: int) -> None:
        parent = os.getppid()
        for beat in count(1):
            if os.getppid() != parent:  # a copy of the socket in some fork of the engine's would hide its death from us
                break
            self._link.send(Beat(number))
            if beat % max(COLLECT_MS // beat_ms, 1) == 0:
                collect()
            await asyncio.sleep(s_from_ms(beat_ms))
        self._link.cut("the engine is gone")


def _stripped(message: Message, error: WireError) -> Message | None:
    """A sync too large for a frame is still answered: with faults."""
    if not isinstance(message, SyncDone):
        return None
    return message._replace(answers=tuple([
        Answer(answer.call, answer.as_of_ms, fault=Fault.MALFORMED, detail=str(error)) for answer in message.answers]))


class WorkerProcess:
    """One worker process from its start to its end, as the engine sees it.

    Args:
        deliver: takes what it reports, its `WorkerUp` included; never its loss.
        clock: the engine's.
        unsent_max: see `Link`.
    """

    def __init__(self, deliver: Deliver, clock: Clock, unsent_max: int = UNSENT_MAX) -> None:
        loop = asyncio.get_running_loop()
        self._deliver = deliver
        self._clock = clock
        self._heard_at_ms = clock.now_ms()
        self._link = Link(self._receive, self._refuse, unsent_max)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._up: asyncio.Future[None] = loop.create_future()
        self._exited: asyncio.Future[None] = loop.create_future()
        self.exit_code: int | None = None

    @property
    def is_up(self) -> bool:
        """Whether it takes work."""
        return self._up.done() and not self._exited.done() and not self._link.closed.done()

    @property
    def was_up(self) -> bool:
        """Whether it ever took work, and said so."""
        return self._up.done()

    async def start(self, hello: Hello, launched: asyncio.Future[None]) -> str:
        """Start it (`launched` tells) and wait until it is up; gives the reason where the process cannot tell it."""
        try:
            await self._launch(hello)
        except OSError as error:
            return f"could not be started: {error.strerror}"
        if not launched.done():
            launched.set_result(None)
        await _wait(START_MS, self._up, self._exited, self._link.closed)
        return "" if self._up.done() or self._exited.done() or self._link.closed.done() else "did not come up in time"

    async def watch(self, silence_ms: int) -> str:
        """Wait until it is over or must be ended; gives the reason where the process itself does not tell it."""
        step_ms = max(1, silence_ms // 4)
        while not (self._exited.done() or self._link.closed.done()):
            before_ms = self._clock.now_ms()
            await _wait(step_ms, self._exited, self._link.closed)
            now_ms = self._clock.now_ms()
            if now_ms - before_ms > 2 * step_ms + SECOND_MS:
                self._heard_at_ms = now_ms  # it was we who stood still: its words may still be on their way
            elif now_ms - self._heard_at_ms > silence_ms:
                return f"was silent for {now_ms - self._heard_at_ms} ms"
        return ""

    async def end(self, reason: str) -> str:
        """Make sure that it is gone, release all it held, and say why it went."""
        if self._process is None:
            return reason
        if not reason and not (self._link.closed.done() and self._link.closed.result()):
            # Its last words and its exit arrive within moments of each other; wait for both.
            await _wait(CLOSE_MS, self._exited, self._link.closed, every=True)
        self.send_signal(signal.SIGKILL)
        await _wait(KILLED_MS, self._exited)
        self._link.cut()
        await asyncio.sleep(0)  # asyncio closes the socket in the loop's next turn
        how = self._bury()
        return reason or self._link.closed.result() or how

    def abandon(self) -> None:
        """End it without waiting for anything but its death."""
        self.send_signal(signal.SIGKILL)
        self._link.cut()
        if self._process is not None:
            self._process.join(s_from_ms(CLOSE_MS))
            if self._process.exitcode is not None and not self._exited.done():
                self._on_exit()
            self._bury()

    def send(self, message: ToWorker | Drain) -> None:
        """Hand it a message; never blocks."""
        self._link.send(message)

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if it still runs."""
        if self._process is not None and self._process.pid and self._process.exitcode is None:
            os.kill(self._process.pid, number)

    async def _launch(self, hello: Hello) -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        try:
            process = multiprocessing.get_context("spawn").Process(
                target=run_worker, args=(theirs,), name=f"fleetsync-worker-{hello.worker}", daemon=True)
            # A Ctrl-C reaches every process of a terminal. A signal blocked here stays blocked in the child until it
            # ignores the signal itself. The tracker, which the first start would start, unblocks: have it before.
            resource_tracker.ensure_running()
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                with _importable_main():
                    process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._process = process
        loop.add_reader(process.sentinel, self._on_exit)
        ours.setblocking(False)  # noqa: FBT003 - the name is Python's
        await loop.create_unix_connection(lambda: self._link, sock=ours)
        self._heard_at_ms = self._clock.now_ms()
        self._link.send(hello)

    def _on_exit(self) -> None:
        assert self._process is not None
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._exited.set_result(None)

    def _bury(self) -> str:
        """Reap the process and close what multiprocessing holds of it."""
        process = self._process
        assert process is not None
        self._process = None
        if not self._exited.done():
            asyncio.get_running_loop().remove_reader(process.sentinel)
            log.error("process %s does not end, though killed", process.pid)
            return "cannot be ended"
        process.join()
        self.exit_code = process.exitcode
        process.close()
        if self.exit_code is not None and self.exit_code < 0:
            return f"was ended by {signal.Signals(-self.exit_code).name}"
        return f"ended with exit code {self.exit_code}"

    def _receive(self, messages: Sequence[Message]) -> None:
        self._heard_at_ms = self._clock.now_ms()
        reports: list[FromWorker] = []
        for message in messages:
            match message:
                case Beat():
                    pass
                case SyncDone() | SymbolsUnknown():
                    reports.append(message)
                case WorkerUp() if not self._up.done():
                    self._up.set_result(None)
                    reports.append(message)
                case _:
                    self._link.cut(f"sent a {type(message).__name__}, which no worker sends")
                    break
        if reports:
            self._deliver(reports)

    def _refuse(self, message: Message, error: WireError) -> None:
        """Answer a dispatch that fits into no frame in the worker's place."""
        if isinstance(message, Dispatch | OpenExchange):
            self._deliver([refusal(message, self._clock.now_ms(), str(error))])


@contextmanager
def _importable_main() -> Iterator[None]:
    """A program from a pipe names a file that is none ("<stdin>"): hide it from a child, which would import it."""
    main = sys.modules["__main__"]
    named = getattr(main, "__file__", None)
    if named is None or os.path.exists(named):
        yield
        return
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = named


async def _wait(within_ms: int | None, *facts: asyncio.Future[Any], every: bool = False) -> None:
    await asyncio.wait(facts, timeout=None if within_ms is None else s_from_ms(within_ms),
                       return_when=asyncio.ALL_COMPLETED if every else asyncio.FIRST_COMPLETED)
