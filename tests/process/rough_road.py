"""A road to the exchange that can go bad in every way that a peer on a network can: a proxy for tests."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from urllib.parse import urlsplit

_RESET = struct.pack("ii", 1, 0)  # linger for no time: closing sends a reset


class Way(Enum):
    """What the road does with a connection."""

    CLEAR = "carries all both ways"
    DEAF = "accepts, reads, and answers nothing"
    RESET = "resets the connection when a request comes"
    HALF_CLOSED = "closes its own side when a request comes, and goes on listening"
    HALF_SENT = "stops in the middle of an answer"
    TRICKLING = "sends a byte now and then, for ever"
    CLOSED = "refuses connections"


class Road:
    """Stands on a port of its own in front of an exchange; `way` may change at any time, for open connections too."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._host, self._port = str(parts.hostname), int(parts.port or 0)
        self.way = Way.CLEAR
        self.met = 0  # requests that met something else than a clear road
        self._server: asyncio.Server | None = None
        self._at = 0
        self._open: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._at}"

    async def set(self, way: Way) -> None:
        self.way = way
        if way is Way.CLOSED:
            await self.stop()
        elif self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._at)
            self._at = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections, cut the open ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                await self._carry(reader, writer)
        finally:
            self._open.discard(task)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection, as long as the road carries them."""
        beyond, back = await asyncio.open_connection(self._host, self._port)
        try:
            while request := await reader.read(65_536):
                if self.way is not Way.CLEAR:
                    self.met += 1
                match self.way:
                    case Way.CLEAR:
                        back.write(request)
                        writer.write(await _answer(beyond))
                        await writer.drain()
                    case Way.DEAF:
                        await asyncio.Event().wait()
                    case Way.RESET:
                        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                        writer.transport.abort()
                        return
                    case Way.HALF_CLOSED:
                        writer.write_eof()
                        await asyncio.Event().wait()
                    case Way.HALF_SENT:
                        back.write(request)
                        answer = await _answer(beyond)
                        writer.write(answer[:len(answer) * 2 // 3])
                        await asyncio.Event().wait()
                    case Way.TRICKLING:
                        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
                        while True:
                            writer.write(b" ")
                            await writer.drain()
                            await asyncio.sleep(0.05)
        finally:
            back.close()


async def _answer(beyond: asyncio.StreamReader) -> bytes:
    """One whole answer of the exchange, which always says how long it is."""
    head = await beyond.readuntil(b"\r\n\r\n")
    (length,) = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    return head + await beyond.readexactly(length)


@asynccontextmanager
async def road_to(base_url: str) -> AsyncIterator[Road]:
    """A clear road, for now."""
    road = Road(base_url)
    await road.set(Way.CLEAR)
    try:
        yield road
    finally:
        await road.stop()
