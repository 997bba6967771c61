"""What a client costs before it has asked anything: how many connections there may be, and for how long silent ones.

The engine's own descriptors are the ones it needs to replace a worker or to reopen its file. So clients, whether they
know the token or not, never get more than a share of them.
"""

import asyncio
import logging
import resource
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from fleetsync.units import SECOND_MS, s_from_ms

CONNECTIONS_MAX = 512
_SHARE = 4  # and a quarter of the process's descriptors at most
LOOK_MS = 10 * SECOND_MS  # a connection that asks nothing from one look to the next is closed
_LOG = logging.getLogger("fleetsync.http")


def connections_max() -> int:
    """How many connections are held at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS_MAX if soft == resource.RLIM_INFINITY else max(min(CONNECTIONS_MAX, soft // _SHARE), 1)


class Connection(H11Protocol):
    """uvicorn's, with an end for those that are too many or say nothing."""

    _asked: Any = None  # the request that was under way, or over, at the last look
    _look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take it, unless there are too many."""
        super().connection_made(transport)
        most = connections_max()
        if len(self.connections) > most:
            if not getattr(self.server_state, "refusing", False):  # said once, until there is room again
                _LOG.warning("%d HTTP connections are open: more are closed at once", most)
            self.server_state.refusing = True  # type: ignore[attr-defined]  # of all connections, and ours alone
            transport.abort()
            return
        self.server_state.refusing = False  # type: ignore[attr-defined]  # likewise
        self._look = self.loop.call_later(s_from_ms(LOOK_MS), self._look_at_it)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def _look_at_it(self) -> None:
        """Streams and waits are answers under way; what has asked nothing new since the last look has had its time."""
        answering = self.cycle is not None and not self.cycle.response_complete
        if not answering and self.cycle is self._asked:
            self.transport.abort()
            return
        self._asked = self.cycle
        self._look = self.loop.call_later(s_from_ms(LOOK_MS), self._look_at_it)
