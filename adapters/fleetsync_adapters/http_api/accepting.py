"""uvicorn with a door of its own: so many connections and no more, whatever they do.

uvicorn's limit (`limit_concurrency`) lets every connection in, and then refuses requests. And those that came while the
loop stood still are taken all at once: two thousand descriptors, before the first of them could be closed again.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Iterator

import uvicorn

from fleetsync.units import MINUTE_MS, SECOND_MS, s_from_ms
from fleetsync_adapters.http_api.connections import Connection, connections_max

_LOG = logging.getLogger("fleetsync.http")
_AT_ONCE = 16  # taken or refused before the engine's loop goes on
_REST_MS = 1 * SECOND_MS  # when the system has none to give
_TOLD_MS = 1 * MINUTE_MS  # that some are refused is said once so often


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which belong to the program that runs the engine, and with our door."""

    def __init__(self, config: uvicorn.Config, *, stalled_ms: int) -> None:
        super().__init__(config)
        self._stalled_ms = stalled_ms
        self._inside: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._rests: dict[socket.socket, asyncio.TimerHandle] = {}
        self._told_s = 0.0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup(sockets=[])
        for listener in sockets or ():
            self._listen(listener)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, end what goes on, close."""
        loop = asyncio.get_running_loop()
        for listener in sockets or ():
            loop.remove_reader(listener.fileno())
        for rest in self._rests.values():
            rest.cancel()
        await asyncio.gather(*self._opening)
        await super().shutdown(sockets)

    def _listen(self, listener: socket.socket) -> None:
        self._rests.pop(listener, None)
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(listener, error)
                return
            most = connections_max()
            if len(self._inside) < most:
                self._open(accepted)
            else:
                accepted.close()
                self._tell(f"{most} HTTP connections are open: more are closed at once")

    def _open(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)  # noqa: FBT003 - the library takes it by position
        connection = Connection(self._stalled_ms, self._inside.discard, config=self.config,
                                server_state=self.server_state, app_state=self.lifespan.state)
        self._inside.add(connection)
        opening = asyncio.create_task(self._opened(connection, accepted))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _opened(self, connection: Connection, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted)
        except OSError:  # it ended before it began
            self._inside.discard(connection)
            accepted.close()

    def _rest(self, listener: socket.socket, error: OSError) -> None:
        """The system has no descriptor to give, or no memory: it would say so again at once, and for ever."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener.fileno())
        self._rests[listener] = loop.call_later(s_from_ms(_REST_MS), self._listen, listener)
        self._tell(f"no connection can be accepted now: {error.strerror}")

    def _tell(self, text: str) -> None:
        now_s = time.monotonic()
        if not self._told_s or now_s - self._told_s >= s_from_ms(_TOLD_MS):
            self._told_s = now_s
            _LOG.warning("%s", text)
