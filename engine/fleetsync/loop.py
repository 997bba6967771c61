"""The loop around the core. Four verbs: wait, receive, decide, perform.

A turn costs a tenth of a millisecond whatever it finds, and a sync in it far less. So when many syncs are under way,
turns keep a distance, and each takes in what came up meanwhile. What is urgent, a hint for instance or the report that
answers it, never waits for that.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from fleetsync.core import Core
from fleetsync.journal import Notice
from fleetsync.messages import FromWorker, SyncDone
from fleetsync.ports import Clock, Crew
from fleetsync.units import s_from_ms
from fleetsync.writer import Writer

_LOG = logging.getLogger("fleetsync")
_IDLE_WAIT_MS = 1_000
_MANY = 16  # syncs in flight, from which on turns keep their distance ...
_DISTANCE_MS = 8  # ... from the end of one to the start of the next


class Loop:
    """Runs the core in real time: whatever waits or reads the clock for it is here or in the writer."""

    def __init__(self, core: Core, crew: Crew, clock: Clock, writer: Writer,
                 on_notice: Callable[[Notice], None]) -> None:
        self.core, self.writer, self.stopping = core, writer, False
        self._crew, self._clock, self._on_notice = crew, clock, on_notice
        self._messages: list[FromWorker] = []
        self._wake = asyncio.Event()
        self._gathering = False  # reports that nobody waits for do not end the wait
        self._called = False  # somebody else ended it

    def wake(self) -> None:
        """Something has changed that the core should look at."""
        self._called = True
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
            self._called = False
            now_ms = self._clock.now_ms()
            self.receive()
            if not self.stopping:
                core.tick(now_ms)
            for worker, message in core.take_commands():
                self._crew.send(worker, message)
            self.writer.look()
            self.tell()
            if len(core.in_flight) >= _MANY and await self._gathered():
                continue
            wake_at_ms = core.next_wake_at_ms(now_ms) if not self.stopping else None
            wait_ms = _IDLE_WAIT_MS if wake_at_ms is None else max(wake_at_ms - self._clock.now_ms(), 1)
            await self.wait(min(wait_ms, _IDLE_WAIT_MS))

    def tell(self) -> None:
        """Hand on what people should know. Whatever a listener does with it, the loop goes on."""
        for notice in self.core.journal.take_notices():
            try:
                self._on_notice(notice)
            except Exception as error:  # noqa: BLE001  code of the user's own
                _LOG.error("on_notice raised %s on: %s", type(error).__name__, notice.text)

    async def wait(self, wait_ms: int) -> None:
        """Until something happens, or for `wait_ms`."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(s_from_ms(wait_ms), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
        self._wake.clear()

    async def _gathered(self) -> bool:
        """Let reports come together, unless somebody waits for one of them; whether there is something to look at."""
        self._gathering = True
        try:
            await self.wait(_DISTANCE_MS)
        finally:
            self._gathering = False
        return bool(self._messages) or self._called

    def deliver(self, messages: Sequence[FromWorker]) -> None:
        """The crew hands messages over; the loop takes them in at its next turn."""
        self._messages.extend(messages)
        if not self._gathering or not all(isinstance(each, SyncDone) and not each.urgent for each in messages):
            self.wake()

    def receive(self) -> None:
        """Take in what has been delivered."""
        messages, self._messages = self._messages, []
        now_ms = self._clock.now_ms()
        for message in messages:
            self.core.receive(message, now_ms)
