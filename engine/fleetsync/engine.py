"""The engine: the face that users meet, in front of the core, its loop, its writer and its crew. It decides nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from fleetsync.errors import ConfigError, EngineEnded, RobotStopped, StoreFailed, StoreRefused, SyncTimeout
from fleetsync.events import KINDS, Event, Waiter
from fleetsync.explain import explain
from fleetsync.model import Account, Change, Robot
from fleetsync.report import RobotState, Status, robot_state, status
from fleetsync.runtime import Runtime
from fleetsync.units import SECOND_MS, s_from_ms

_CHANGES_PAGE = 500
_COMMIT_MS = 1_000  # what the commit of a forced sync's answer may take beyond its time

T = TypeVar("T")


class Engine(Runtime):
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

    # -- the fleet

    def add_account(self, account: Account) -> None:
        """Serve one more account. One that was there before is known as it was left, and read anew.

        Raises:
            ConfigError: there is one of that id, or the engine was not started with its exchange and egress.
        """
        self._refuse_strange(account)
        self.core.add_account(account, self.clock.now_ms())
        self._loop.wake()

    def remove_account(self, account_id: str) -> None:
        """Forget an account and its robots. Events and forced syncs that wait for them are over.

        Raises:
            ConfigError: there is none of that id.
        """
        self.core.remove_account(account_id, self.clock.now_ms())
        self._loop.wake()

    def change_account(self, account: Account) -> None:
        """Reach the account of that id with other keys, or over another egress; it is read again at once.

        Its robots, and the events that wait for them, stay with it. A stopped account stays so until it is resumed.

        Raises:
            ConfigError: there is none of that id, it is on another exchange, or its egress is not known.
        """
        self._refuse_strange(account)
        self.core.change_account(account, self.clock.now_ms())
        self._loop.wake()

    def _refuse_strange(self, account: Account) -> None:
        if not any((spec.exchange, spec.egress) == (account.exchange, account.egress) for spec in self._specs):
            way = f"{account.exchange} over egress {account.egress!r}" if account.egress else account.exchange
            raise ConfigError(f"account {account.id!r}: the engine was not started with {way}",
                              hint="name it with an account or in `exchanges` when the engine is made")

    def add_robot(self, robot: Robot) -> None:
        """Schedule one more robot, at once."""
        self.core.add_robot(robot, self.clock.now_ms())
        self._loop.wake()

    def remove_robot(self, robot_id: str) -> None:
        """Forget a robot."""
        self.core.remove_robot(robot_id)
        self._loop.wake()

    def resume_account(self, account_id: str, account: Account | None = None) -> None:
        """Serve a stopped account again; with other keys, or over another egress, if given.

        Raises:
            ConfigError: as `change_account`.
        """
        if account is not None:
            self._refuse_strange(account)
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
            EngineEnded: the engine was stopped, or has failed.
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
            EngineEnded: the engine was stopped, or has failed.
        """
        slot = self.core.fleet.slot(robot)
        self._refuse_stopped(slot, robot)
        now_ms = self.core.fleet.after_readings(slot, self.clock.now_ms())
        token, future = self._writer.answer()
        self.core.await_sync(Waiter(token, slot, now_ms - max_age_ms, now_ms + timeout_ms), now_ms)
        self._loop.wake()
        try:
            async with asyncio.timeout(s_from_ms(timeout_ms + _COMMIT_MS)):
                why_not = await future
        except TimeoutError:  # an answer is told when it is on disk
            why_not = "the store takes no commits"
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
        """Committed changes with a number above `after`, without gap or repeat, waiting for more until the engine ends.

        They are read from the store: a slow consumer never slows the engine. When the engine is stopped the iteration
        is over; whoever goes on behind the last number with the next engine misses none.

        Raises:
            EngineEnded: the engine has failed.
        """
        while True:
            try:
                page = await self.changes_page(after, _CHANGES_PAGE)
                if not page:
                    await self.committed_beyond(after)
            except EngineEnded as over:
                if over.__cause__ is not None:
                    raise
                return
            for change in page:
                yield change
                after = change.number

    @property
    def last_committed(self) -> int:
        """The number of the last change that was published."""
        return self._writer.last_committed

    async def committed_beyond(self, number: int) -> None:
        """Wait until a change above `number` is published.

        Raises:
            EngineEnded: the engine was stopped, or has failed; then the cause stands behind it.
        """
        await self._writer.committed_beyond(number)

    async def changes_page(self, after: int, limit: int, robot: str | None = None) -> list[Change]:
        """One page of committed changes, at once.

        Raises:
            EngineEnded: the engine was stopped, and its store is closed.
        """
        return await self._read(self.store.changes, after, limit, robot)

    async def snapshot(self, path: str) -> None:
        """Write a consistent copy of the committed state to a new database file.

        Raises:
            EngineEnded: as `changes_page`.
        """
        await self._read(self.store.snapshot, path)

    async def _read(self, work: Callable[..., T], *arguments: Any) -> T:
        """Let the store be read beside everything else."""
        self._writer.refuse_closed()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, work, *arguments)
        except (StoreFailed, StoreRefused):
            self._writer.refuse_closed()  # it was closed under the reader's hands
            raise
