"""What a client costs before it has asked anything: how many connections there may be, and for how long silent ones.

The engine's own descriptors are the ones it needs to replace a worker or to reopen its file. So clients, whether they
know the token or not, never get more than a share of them.
"""

import asyncio
import resource
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from fleetsync.units import SECOND_MS, s_from_ms

CONNECTIONS_MAX = 512
_SHARE = 4  # and a quarter of the process's descriptors at most
LOOK_MS = 10 * SECOND_MS  # a connection that asks nothing from one look to the next is closed


def connections_max() -> int:
    """How many connections are held at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS_MAX if soft == resource.RLIM_INFINITY else max(min(CONNECTIONS_MAX, soft // _SHARE), 1)


class Connection(H11Protocol):
    """uvicorn's, with an end for those that say nothing, and for those that take nothing."""

    def __init__(self, stalled_ms: int, lost: Callable[["Connection"], None], **given: Any) -> None:
        super().__init__(**given)
        self._stalled_ms = stalled_ms
        self._lost = lost
        self._asked: Any = None  # the request that was under way, or over, at the last look
        self._look: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """It is open."""
        super().connection_made(transport)
        self._look = self.loop.call_later(s_from_ms(LOOK_MS), self._look_at_it)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        for timer in (self._look, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self._lost(self)

    def pause_writing(self) -> None:
        """Too much of an answer waits: who asks on and takes no answers is no answer under way."""
        super().pause_writing()
        self._stalled = self.loop.call_later(s_from_ms(self._stalled_ms), self.transport.abort)

    def resume_writing(self) -> None:
        """Most of it has been taken."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def _look_at_it(self) -> None:
        """Streams and waits are answers under way; what has asked nothing new since the last look has had its time."""
        answering = self.cycle is not None and not self.cycle.response_complete
        if not answering and self.cycle is self._asked:
            self.transport.abort()
            return
        self._asked = self.cycle
        self._look = self.loop.call_later(s_from_ms(LOOK_MS), self._look_at_it)
