"""The engine: the face that users meet, in front of the core, its loop, its writer and its crew. It decides nothing."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
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
from fleetsync.errors import ConfigError, RobotStopped, SyncTimeout
from fleetsync.events import KINDS, Event, Waiter
from fleetsync.explain import explain
from fleetsync.journal import Notice
from fleetsync.loop import Loop
from fleetsync.model import Account, Change, Robot
from fleetsync.ports import Clock, Crew, ExchangeSpec, Store
from fleetsync.report import Ages, RobotState, Status, robot_state, status
from fleetsync.units import SECOND_MS
from fleetsync.writer import Writer

_LOG = logging.getLogger("fleetsync")
_DRAIN_MS = 2_000  # for calls in flight ...
_CREW_STOP_MS = 600  # ... and for the workers to end, within 3 s in all
_CHANGES_PAGE = 500


class Engine:
    """Keeps a fleet in sync. Use it as an async context manager, or with `start` and `stop`.

    Args:
        accounts: the accounts to serve; more can be added while it runs.
        robots: the robots to schedule; likewise.
        settings: see `Settings`.
        exchanges: how to reach an exchange, for those that need more than their ccxt id.
        store: a database path, a `Store`, or None to keep nothing beyond this run.
        clock, crew, seed: for tests and simulations. on_notice: called with each `Notice`; the default logs it.

    With `workers > 0` worker processes are spawned, and each imports the caller's main module again: start the engine
    under `if __name__ == "__main__":`. With `workers=0` calls are made inside the caller's own loop.
    """

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
        self.store: Store = open_store(store)
        self._crew = crew or self._make_crew()
        self.core = Core(self.settings, tariffs_of(self._specs), workers=self._crew.size, seed=seed,
                         now_ms=self.clock.now_ms())
        self.ages = Ages()
        self._writer = Writer(self.core, self.store, self.clock, self.ages)
        self._loop = Loop(self.core, self._crew, self.clock, self._writer, on_notice or _log_notice)
        self._token, self._kept = 0, False
        self._tasks: list[asyncio.Task[None]] = []
        self._readers = ThreadPoolExecutor(4, "fleetsync-reader")

    # -- life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.stop()

    async def start(self) -> None:
        """Load what an earlier run committed, start the workers, begin to sync."""
        if self.settings.workers:
            check_main_guard()
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
        """Let calls in flight end, within `drain_ms`; commit what was found, end the workers, close the store."""
        if self._loop.stopping:
            return
        self._loop.end()
        deadline_ms = self.clock.now_ms() + drain_ms
        while self.core.in_flight and self.clock.now_ms() < deadline_ms and not self._tasks[0].done():
            await self._loop.wait(10)
            self._loop.receive()
        await self._crew.stop(max(deadline_ms - self.clock.now_ms(), _CREW_STOP_MS))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._loop.receive()
        await self._writer.close()
        self._loop.tell()
        self._readers.shutdown()
        release(kept=self._kept)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task of ours that ends by itself has failed: nobody may wait for it in vain."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        _LOG.critical("%s failed; the engine makes no more calls", task.get_name(), exc_info=error)
        self._writer.fail(error)

    # -- the fleet

    def add_account(self, account: Account) -> None:
        """Serve one more account. Its exchange must be one that the engine was started with."""
        self.core.add_account(account, self.clock.now_ms())
        self._loop.wake()

    def add_robot(self, robot: Robot) -> None:
        """Schedule one more robot, at once."""
        self.core.add_robot(robot, self.clock.now_ms())
        self._loop.wake()

    def remove_robot(self, robot_id: str) -> None:
        """Forget a robot."""
        self.core.remove_robot(robot_id)
        self._loop.wake()

    def resume_account(self, account_id: str, account: Account | None = None) -> None:
        """Serve a stopped account again, with new credentials if given."""
        self.core.resume_account(account_id, account, self.clock.now_ms())
        self._loop.wake()

    def set_calls_per_minute(self, limit: int) -> None:
        """Change the budget while running."""
        self.core.set_calls_per_minute(limit, self.clock.now_ms())
        self._loop.wake()

    # -- events and forced syncs

    def notify(self, robot: str, kind: str, *, order_id: str = "", client_id: str = "", side: str = "",
               text: str = "") -> asyncio.Future[None]:
        """Say that a robot changed (or may have); it is looked at at once.

        Args:
            robot: its id.
            kind: one of `events.KINDS`, or "other" with `text`.
            order_id: the order that should become visible, if known; it is then asked for until it does.
            client_id: the same by your own id.
            side: the side of the position that should become visible (or, for "closed", should go).
            text: free words, kept with the event.

        Returns:
            A future that is done once the event is durable: from then on it is served even after a crash.

        Raises:
            UnknownRobot, RobotStopped: nobody to look at.
            ConfigError: an unknown kind or side.
        """
        if kind not in (*KINDS, "other"):
            raise ConfigError(f"unknown kind of event {kind!r}", hint=f"one of {', '.join(KINDS)}, or other with text")
        if side not in {"", "long", "short"}:
            raise ConfigError(f"unknown side {side!r}", hint="long or short")
        slot = self.core.fleet.slot(robot)
        self._refuse_stopped(slot, robot)
        now_ms = self.core.fleet.after_readings(slot, self.clock.now_ms())
        event = Event(self.core.inbox.next_id(), slot, robot, kind, now_ms, order_id, client_id, side, text)
        future = self._writer.durable(event.id)
        self.core.notify(event, now_ms)
        self._loop.wake()
        return future

    async def sync(self, robot: str, *, max_age_ms: int = 0, timeout_ms: int = 10 * SECOND_MS) -> RobotState:
        """A robot's proven state, no older than `max_age_ms`; asked for if it is not known.

        Raises:
            UnknownRobot, RobotStopped: nobody to look at.
            SyncTimeout: not proven within `timeout_ms`; says what was missing.
        """
        slot = self.core.fleet.slot(robot)
        self._refuse_stopped(slot, robot)
        now_ms = self.core.fleet.after_readings(slot, self.clock.now_ms())
        self._token += 1
        future = self._writer.answer_to(self._token)
        self.core.await_sync(Waiter(self._token, slot, now_ms - max_age_ms, now_ms + timeout_ms), now_ms)
        self._loop.wake()
        why_not = await future
        if why_not.startswith("stopped:"):
            raise RobotStopped(f"robot {robot!r} is {why_not}")
        if why_not:
            raise SyncTimeout(f"robot {robot!r} was not proven within {timeout_ms} ms: {why_not}")
        return self.state(robot)

    async def sync_all(self, *, timeout_ms: int = 60 * SECOND_MS) -> list[str]:
        """Force a sync of every robot that is not stopped; returns the ids of those that were not proven in time."""
        robots = [robot for robot, slot in self.core.fleet.slot_of.items()
                  if slot not in self.core.fleet.stopped and not self.core.fleet.state_of(slot).stopped]
        results = await asyncio.gather(*(self.sync(robot, timeout_ms=timeout_ms) for robot in robots),
                                       return_exceptions=True)
        return [robot for robot, result in zip(robots, results, strict=True) if isinstance(result, BaseException)]

    def _refuse_stopped(self, slot: int, robot: str) -> None:
        stopped = self.core.fleet.stopped.get(slot) or self.core.fleet.state_of(slot).stopped
        if stopped:
            raise RobotStopped(f"robot {robot!r} is stopped: {stopped}", hint="mend the cause, then resume it")

    # -- what is known

    def state(self, robot: str) -> RobotState:
        """What is proven about a robot, from memory, at once."""
        return robot_state(self.core, robot)

    def status(self) -> Status:
        """The engine's own state."""
        return status(self.core, self.clock.now_ms())

    def explain(self, robot: str) -> dict[str, Any]:
        """Why a robot is looked at when it is: see `explain.explain`."""
        return explain(self.core, robot, self.clock.now_ms())

    def __repr__(self) -> str:
        return str(self.status())

    async def changes(self, after: int = 0) -> AsyncIterator[Change]:
        """Committed changes with a number above `after`, without gap or repeat, waiting for more for ever.

        They are read from the store: a slow consumer never slows the engine.
        """
        while True:
            page = await self.changes_page(after, _CHANGES_PAGE)
            for change in page:
                yield change
                after = change.number
            if not page:
                await self.committed_beyond(after)

    @property
    def last_committed(self) -> int:
        """The number of the last change that was published."""
        return self._writer.last_committed

    async def committed_beyond(self, number: int) -> None:
        """Wait until a change above `number` is published."""
        await self._writer.committed_beyond(number)

    async def changes_page(self, after: int, limit: int, robot: str | None = None) -> list[Change]:
        """One page of committed changes, at once."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self.store.changes, after, limit, robot)

    async def snapshot(self, path: str) -> None:
        """Write a consistent copy of the committed state to a new database file."""
        await asyncio.get_running_loop().run_in_executor(self._readers, self.store.snapshot, path)

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
