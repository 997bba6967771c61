"""The loop around the core. Four verbs: wait, receive, decide, perform."""

import asyncio
from collections.abc import Callable, Sequence

from fleetsync.core import Core
from fleetsync.journal import Notice
from fleetsync.messages import FromWorker
from fleetsync.ports import Clock, Crew
from fleetsync.units import s_from_ms
from fleetsync.writer import Writer

_IDLE_WAIT_MS = 1_000


class Loop:
    """Runs the core in real time: whatever waits or reads the clock for it is here or in the writer."""

    def __init__(self, core: Core, crew: Crew, clock: Clock, writer: Writer,
                 on_notice: Callable[[Notice], None]) -> None:
        self.core, self.writer, self.stopping = core, writer, False
        self._crew, self._clock, self._on_notice = crew, clock, on_notice
        self._messages: list[FromWorker] = []
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something has changed that the core should look at."""
        self._wake.set()

    def end(self) -> None:
        """Ask for no more calls; what is in flight may come in."""
        self.stopping = True
        self.core.journal.asked(self._clock.now_ms(), "", "stop", {})
        self.wake()

    async def run(self) -> None:
        """The loop: wait, receive, decide, perform."""
        core = self.core
        while True:
            now_ms = self._clock.now_ms()
            self.receive()
            if not self.stopping:
                core.tick(now_ms)
            for worker, message in core.take_commands():
                self._crew.send(worker, message)
            self.writer.look()
            self.tell()
            wake_at_ms = core.next_wake_at_ms(now_ms) if not self.stopping else None
            wait_ms = _IDLE_WAIT_MS if wake_at_ms is None else max(wake_at_ms - self._clock.now_ms(), 1)
            await self.wait(min(wait_ms, _IDLE_WAIT_MS))

    def tell(self) -> None:
        """Hand on what people should know."""
        for notice in self.core.journal.take_notices():
            self._on_notice(notice)

    async def wait(self, wait_ms: int) -> None:
        """Until something happens, or for `wait_ms`."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(s_from_ms(wait_ms), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
        self._wake.clear()

    def deliver(self, messages: Sequence[FromWorker]) -> None:
        """The crew hands messages over; the loop takes them in at its next turn."""
        self._messages.extend(messages)
        self._wake.set()

    def receive(self) -> None:
        """Take in what has been delivered."""
        messages, self._messages = self._messages, []
        now_ms = self._clock.now_ms()
        for message in messages:
            self.core.receive(message, now_ms)
