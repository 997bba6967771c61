"""The writer: one batch at a time from the core to the store, and only then to those who wait for it.

A change is published, an event counts as served, and a forced sync is answered after the commit that holds it. A commit
that fails is tried again until it succeeds: nothing of it is published meanwhile, and what is found later queues up
behind it in the next batch.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from fleetsync.core import Core
from fleetsync.errors import EngineEnded, StoreFailed
from fleetsync.journal import Notice
from fleetsync.ports import Batch, Clock, Store
from fleetsync.report import Ages
from fleetsync.units import s_from_ms

_COMMIT_LAZY_MS = 500  # rows without changes or events are committed this often, not one by one ...
_ROWS_MAX = 1_000  # ... and no more of them at once, so that nobody waits long for the batch before his own
_COMMIT_MORE_MS = 50  # with more rows than that, the next of them follow after this
_COMMIT_RETRY_MS = 1_000


@dataclass(frozen=True, slots=True)
class _Taken:
    """A batch on its way to the store, and who is told when it is there."""

    batch: Batch
    served: list[tuple[int, int]]
    answered: list[tuple[int, str]]


class Writer:
    """Commits what the core finds, and tells those who wait."""

    def __init__(self, core: Core, store: Store, clock: Clock, ages: Ages) -> None:
        self._core, self._store, self._clock, self._ages = core, store, clock, ages
        self._thread = ThreadPoolExecutor(1, "fleetsync-writer")
        self._pressing = asyncio.Event()
        self._committed = asyncio.Condition()
        self.last_committed = 0
        self._durable: dict[int, asyncio.Future[None]] = {}
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._token = 0
        self._taken: _Taken | None = None
        self._over: EngineEnded | None = None  # nobody is told anything any more ...
        self._closed = False  # ... and nothing is read
        self._told: asyncio.Task[None] | None = None  # those who wait for changes

    async def in_thread(self, work: Any, *arguments: Any) -> Any:
        """Run blocking work of the store in the one thread that may write."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    # -- those who wait

    def durable(self, event_id: int) -> asyncio.Future[None]:
        """A future that is done once the event is on disk.

        Raises:
            EngineEnded: it never will be.
        """
        self._refuse_over()
        future = self._durable[event_id] = asyncio.get_running_loop().create_future()
        return future

    def answer(self) -> tuple[int, asyncio.Future[str]]:
        """A forced sync's number, and a future: done with "" once it is proven and committed, or with why it is not.

        Raises:
            EngineEnded: it never will be.
        """
        self._refuse_over()
        self._token += 1
        future = self._waiting[self._token] = asyncio.get_running_loop().create_future()
        return self._token, future

    async def committed_beyond(self, number: int) -> None:
        """Wait until a change above `number` is committed.

        Raises:
            EngineEnded: none will be.
        """
        async with self._committed:
            await self._committed.wait_for(lambda: self.last_committed > number or self._over is not None)
        if self.last_committed <= number:
            self._refuse_over()

    def refuse_closed(self) -> None:
        """Raise EngineEnded where the store can be read no more."""
        if self._closed:
            self._refuse_over()

    def _refuse_over(self) -> None:
        if self._over is not None:
            raise EngineEnded(self._over.message, hint=self._over.hint) from self._over.__cause__

    def fail(self, error: BaseException) -> None:
        """Nobody may wait in vain: the engine has failed."""
        over = EngineEnded(f"the engine has failed, {type(error).__name__}", hint="its log says why; start a new one")
        over.__cause__ = error
        self._end(over, error)

    def _end(self, over: EngineEnded, told: BaseException) -> None:
        """Tell everybody who waits, and whoever comes later."""
        self._over = self._over or over
        waiting: list[asyncio.Future[Any]] = [*self._waiting.values(), *self._durable.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(told)
                future.exception()  # who does not look at it has not asked
        self._told = asyncio.get_running_loop().create_task(self._tell_consumers())

    async def _tell_consumers(self) -> None:
        async with self._committed:
            self._committed.notify_all()

    # -- writing

    def look(self) -> None:
        """The core has moved: wake up if it has found something that somebody waits for."""
        journal = self._core.journal
        if journal.batch.changes or journal.batch.events or journal.served or journal.answered:
            self._pressing.set()

    async def run(self) -> None:
        """Commit at once what is pressing, the rest twice a second."""
        loop = asyncio.get_running_loop()
        lazy_at_s = loop.time() + s_from_ms(_COMMIT_LAZY_MS)
        while True:
            timer = loop.call_at(lazy_at_s, self._pressing.set)
            await self._pressing.wait()
            timer.cancel()
            self._pressing.clear()
            if loop.time() < lazy_at_s:
                await self._commit(0)
            else:
                await self._commit(_ROWS_MAX)
                wait_ms = _COMMIT_MORE_MS if self._core.journal.owes_rows else _COMMIT_LAZY_MS
                lazy_at_s = loop.time() + s_from_ms(wait_ms)

    async def close(self) -> None:
        """Commit what is left, once; then let the store go, whatever has happened."""
        try:
            if self._taken is not None:  # it was on its way when the writing was ended: its numbers come first
                await self._deliver()
            await self._deliver()
        except (StoreFailed, OSError) as error:
            self._core.journal.notices.append(
                Notice("error", "store", f"the last batch could not be committed: {error}"))
        finally:
            await self.abandon(EngineEnded("the engine was stopped", hint="start a new one"))

    async def abandon(self, over: EngineEnded) -> None:
        """Commit nothing more; tell those who wait, and let the store go."""
        self._end(over, over)
        self._closed = True
        assert self._told is not None, "those who wait are being told"
        await self._told
        try:
            await self.in_thread(self._store.close)
        finally:
            self._thread.shutdown(wait=False)

    async def _commit(self, rows_max: int) -> None:
        journal, before = self._core.journal, self.last_committed
        while True:
            try:
                await self._deliver(rows_max)
                break
            except (StoreFailed, OSError) as error:  # whatever the disk says, the engine keeps what it has
                journal.store_failing_since_ms = journal.store_failing_since_ms or self._clock.now_ms()
                journal.notice("error", "store", f"{error}; it is tried again and published only then")
                await asyncio.sleep(s_from_ms(_COMMIT_RETRY_MS))
        journal.store_failing_since_ms = 0
        journal.over("store", "the store takes commits again")
        if self.last_committed > before:
            async with self._committed:
                self._committed.notify_all()

    async def _deliver(self, rows_max: int | None = None) -> None:
        """Commit a batch, the one that failed before any other; then tell those who wait.

        Raises:
            StoreFailed: and it is still to be delivered. Where it went through all the same, a second time is no harm.
        """
        if self._taken is None:
            journal = self._core.journal
            self._taken = _Taken(self._core.take_batch(rows_max), journal.take_served(), journal.take_answered())
        if self._taken.batch:
            await self.in_thread(self._store.commit, self._taken.batch, self._clock.now_ms())
        taken, self._taken = self._taken, None
        self._publish(taken)

    def _publish(self, taken: _Taken) -> None:
        committed_at_ms = self._clock.now_ms()
        for _, accepted_at_ms in taken.served:
            self._ages.urgent.add(committed_at_ms - accepted_at_ms)
        for token, why_not in taken.answered:
            future = self._waiting.pop(token, None)
            if future is not None and not future.done():
                future.set_result(why_not)
        for event_id in taken.batch.events:
            durable = self._durable.pop(event_id, None)
            if durable is not None and not durable.done():
                durable.set_result(None)
        if taken.batch.changes:
            self.last_committed = taken.batch.changes[-1].number
