"""An engine's life: it is put together, started, watched and stopped. What users ask of it is in `engine`."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import TracebackType
from typing import Any, Self

from fleetsync.assembly import exchange_specs, open_store, recent_changes, tariffs_of
from fleetsync.cadence import first_runs
from fleetsync.clock import SystemClock
from fleetsync.collector import keep_large, release
from fleetsync.config import Settings
from fleetsync.core import Core
from fleetsync.crew import LocalCrew, ProcessCrew, check_main_guard
from fleetsync.errors import EngineEnded
from fleetsync.journal import Notice
from fleetsync.loop import Loop
from fleetsync.model import Account, Robot
from fleetsync.ports import Clock, Crew, ExchangeSpec, Store
from fleetsync.report import Ages
from fleetsync.units import SECOND_MS
from fleetsync.writer import Writer

_LOG = logging.getLogger("fleetsync")
_DRAIN_MS = 2_000  # for calls in flight ...
_CREW_STOP_MS = 600  # ... and for the workers to end, within 3 s in all


class Runtime:
    """The parts of a running engine, and their beginning and end."""

    def __init__(
        self,
        accounts: Iterable[Account] = (),
        robots: Iterable[Robot] = (),
        *,
        settings: Settings | None = None,
        exchanges: Mapping[str, ExchangeSpec] | None = None,
        egress_proxies: Mapping[tuple[str, str], str] | None = None,
        store: Store | str | None = None,
        clock: Clock | None = None,
        crew: Crew | None = None,
        seed: int = 0,
        on_notice: Callable[[Notice], None] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.clock: Clock = clock or SystemClock()
        self._accounts, self._robots = list(accounts), list(robots)
        self._specs = exchange_specs(self._accounts, exchanges or {}, egress_proxies or {}, self.settings)
        self._crew = crew or self._make_crew()
        self.core = Core(self.settings, tariffs_of(self._specs), workers=self._crew.size, seed=seed,
                         now_ms=self.clock.now_ms())
        self.ages = Ages()
        self.store: Store = open_store(store)
        self._writer = Writer(self.core, self.store, self.clock, self.ages)
        self._loop = Loop(self.core, self._crew, self.clock, self._writer, on_notice or _log_notice)
        self._kept = False
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: asyncio.Task[None] | None = None
        self._readers = ThreadPoolExecutor(4, "fleetsync-reader")

    # -- life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.stop()

    async def start(self) -> None:
        """Load what an earlier run committed, start the workers, begin to sync. What fails leaves nothing behind."""
        try:
            if self.settings.workers:
                check_main_guard()
            await self._begin()
        except BaseException:
            await self._writer.abandon(EngineEnded("this engine could not be started"))
            await self._crew.stop(0)
            self._let_go()
            raise

    async def _begin(self) -> None:
        now_ms = self.clock.now_ms()
        loaded = await self._writer.in_thread(self.store.load)
        self._writer.last_committed = loaded.last_change
        recent = await self._writer.in_thread(recent_changes, self.store, loaded, now_ms)
        self.core.restore(loaded, now_ms, recent)
        for account in self._accounts:
            self.core.add_account(account, now_ms)
        for robot, after_ms in first_runs(self._robots, self.settings):
            self.core.add_robot(robot, now_ms, now_ms + after_ms)
        self.core.readmit_events(now_ms)
        self._forget_absent(loaded.robots, loaded.accounts)
        self._accounts, self._robots = [], []
        self._kept = keep_large(len(self.core.fleet))
        await self._crew.start(self._loop.deliver)
        self._tasks = [asyncio.create_task(self._loop.run(), name="fleetsync-loop"),
                       asyncio.create_task(self._writer.run(), name="fleetsync-writer"),
                       asyncio.create_task(self._observe(), name="fleetsync-ages")]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    async def stop(self, *, drain_ms: int = _DRAIN_MS) -> None:
        """Let calls in flight end, within `drain_ms`; commit what was found, end the workers, close the store.

        However often it is called, there is one end, and each caller waits for it; one that is cancelled does not cut
        it short.
        """
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(drain_ms), name="fleetsync-end")
        await asyncio.shield(self._ending)

    async def _end(self, drain_ms: int) -> None:
        self._loop.end()
        deadline_ms = self.clock.now_ms() + drain_ms
        while self.core.in_flight and self.clock.now_ms() < deadline_ms and self._tasks and not self._tasks[0].done():
            await self._loop.wait(10)
            self._loop.receive()
        await self._crew.stop(max(deadline_ms - self.clock.now_ms(), _CREW_STOP_MS))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._loop.receive()
        try:
            await self._writer.close()
        finally:
            self._loop.tell()
            self._let_go()

    def _let_go(self) -> None:
        self._readers.shutdown(wait=False)
        release(kept=self._kept)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task of ours that ends by itself has failed: nobody may wait for it in vain."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        _LOG.critical("%s failed; the engine makes no more calls", task.get_name(), exc_info=error)
        self._loop.stopping = True
        self._writer.fail(error)

    async def failed(self) -> None:
        """Return never, or raise what ended the engine."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            if not task.cancelled():
                task.result()

    # -- watching

    async def _observe(self) -> None:
        """Four times a second sample ages; once a second mark rows for the heartbeat, and watch the crew."""
        crew_failed: asyncio.Future[None] | None = getattr(self._crew, "failed", None)
        for quarter in count(1):
            await asyncio.sleep(0.25)
            now_ms = self.clock.now_ms()
            self.ages.sample(self.core, now_ms)
            if quarter % 4 == 0:
                self.core.housekeep(now_ms, SECOND_MS)
            if crew_failed is not None and crew_failed.done():
                crew_failed.result()

    # -- start

    def _make_crew(self) -> Crew:
        if self.settings.workers:
            assert isinstance(self.clock, SystemClock), "worker processes share the machine's clock"
            return ProcessCrew(self._specs, self.settings, self.clock)
        return LocalCrew(self._specs, self.settings, self.clock)

    def _forget_absent(self, robots: Mapping[str, Any], accounts: Mapping[str, Any]) -> None:
        """Rows of robots and accounts that are not in the fleet any more."""
        for robot_id in robots.keys() - self.core.fleet.slot_of.keys():
            self.core.journal.batch.robots[robot_id] = None
        for account_id in accounts.keys() - self.core.fleet.account_by_id.keys():
            self.core.journal.batch.accounts[account_id] = None


def _log_notice(notice: Notice) -> None:
    _LOG.log({"info": logging.INFO, "warning": logging.WARNING}.get(notice.level, logging.ERROR), "%s", notice.text)
