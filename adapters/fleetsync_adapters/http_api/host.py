"""What the routes share: the engine, whether we are closing, and waits that end with either."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from fleetsync.engine import Engine
from fleetsync.errors import FleetsyncError
from fleetsync.report import Status
from fleetsync.units import SECOND_MS, s_from_ms
from fleetsync_adapters.http_api.failures import ApiError
from fleetsync_adapters.http_api.snapshots import Snapshots

Value = TypeVar("Value")

DURABLE_MS = 30 * SECOND_MS  # an event that is not durable by then is refused; it may be served all the same
CLOSING_MS = 1 * SECOND_MS  # a commit that is under way when we close is waited for so long
_STATUS_SHARE = 20  # a status that took a while is shown again for so many times as long


class Host:
    """One served engine."""

    def __init__(self, engine: Engine, *, snapshots: Snapshots, started_at_ms: int,
                 abort: Callable[[Any], None], heartbeat_ms: int, stalled_ms: int) -> None:
        self.engine = engine
        self.snapshots = snapshots
        self.started_at_ms = started_at_ms
        self.abort = abort  # cut the connection of a client (its address and port)
        self.heartbeat_ms = heartbeat_ms
        self.stalled_ms = stalled_ms
        self.closing = asyncio.Event()
        self.failed = False
        self.streams = 0
        self.requests: dict[int, int] = {}  # HTTP status -> answers
        self._status: Status | None = None
        self._status_until_s = 0.0

    def status(self) -> Status:
        """The engine's state. Asked for often on a large fleet, it is at most some 5 % of the loop's time."""
        began_s = time.monotonic()
        if self._status is None or began_s >= self._status_until_s:
            self._status = self.engine.status()
            ended_s = time.monotonic()
            self._status_until_s = ended_s + _STATUS_SHARE * (ended_s - began_s)
        return self._status

    async def unless_closing(self, work: Awaitable[Value]) -> Value:
        """The result of `work`, or a refusal as soon as we close.

        Raises:
            ApiError: the engine is being stopped.
        """
        task = asyncio.ensure_future(work)
        closing = asyncio.ensure_future(self.closing.wait())
        try:
            await asyncio.wait({task, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() or task.cancelled():
                raise stopping()
            error = task.exception()
            if error is not None and not isinstance(error, FleetsyncError):
                raise ApiError(503, "engine_failed", "the engine has failed", hint="its log says why") from error
            return task.result()
        finally:
            closing.cancel()
            task.cancel()

    async def durable(self, futures: Iterable["asyncio.Future[None]"]) -> None:
        """Wait until every one of these events is durable.

        Raises:
            ApiError: they are not, in time; nothing is known about them.
        """
        waited = set(futures)
        if not waited:
            return
        work = asyncio.ensure_future(asyncio.wait(waited, timeout=s_from_ms(DURABLE_MS)))
        closing = asyncio.ensure_future(self.closing.wait())
        try:
            await asyncio.wait({work, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await asyncio.wait({work}, timeout=s_from_ms(CLOSING_MS))
        finally:
            closing.cancel()
            work.cancel()
        if any(not future.done() or future.cancelled() or future.exception() for future in waited):
            raise ApiError(503, "not_durable", "the events could not be made durable now",
                           hint="send them again: what was taken twice is looked at twice, never wrong")


def stopping() -> ApiError:
    """The refusal of everything that would outlive us."""
    return ApiError(503, "stopping", "the engine is being stopped", hint="try again once it runs again")
