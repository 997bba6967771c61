"""The change feed as Server-Sent Events: read from the store, page by page, at the pace of whoever reads.

No change waits in memory for a slow reader: the next page is read when the previous one has left. A reader that takes
nothing for a while is cut off; it comes back with the number it has seen last.
"""

import asyncio
from contextlib import suppress
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fleetsync.errors import StoreFailed
from fleetsync.model import Change
from fleetsync.units import s_from_ms
from fleetsync_adapters.http_api.failures import ApiError
from fleetsync_adapters.http_api.host import Host
from fleetsync_adapters.http_api.views import change_view

STREAMS_MAX = 100
_PAGE = 200
_RECONNECT_MS = 1_000  # told to readers: how long to wait before they come back


class ChangeStream(Response):
    """The answer of `GET /v1/changes/stream`."""

    media_type = "text/event-stream"

    def __init__(self, host: Host, after: int) -> None:
        if host.streams >= STREAMS_MAX:
            raise ApiError(503, "too_many_streams", f"{STREAMS_MAX} streams are open already",
                           hint="close one, or read pages of GET /v1/changes")
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._host = host
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the reader leaves, stops reading, or we close."""
        host = self._host
        host.streams += 1
        gone = asyncio.ensure_future(_gone(receive))
        closing = asyncio.ensure_future(host.closing.wait())
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await self._send(send, b"retry: %d\n\n" % _RECONNECT_MS)
            while not (gone.done() or closing.done()):
                await self._send(send, await self._next(gone, closing))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            host.abort(scope.get("client"))
        finally:
            host.streams -= 1
            gone.cancel()
            closing.cancel()

    async def _send(self, send: Send, body: bytes) -> None:
        async with asyncio.timeout(s_from_ms(self._host.stalled_ms)):
            await send({"type": "http.response.body", "body": body, "more_body": True})

    async def _next(self, gone: "asyncio.Future[None]", closing: "asyncio.Future[Any]") -> bytes:
        """The next frames, or a comment when there were none for a while."""
        engine = self._host.engine
        with suppress(StoreFailed):  # a file that is being reopened: nothing new for now
            page = await engine.changes_page(self._after, _PAGE)
            if page:
                self._after = page[-1].number
                return b"".join(map(frame, page))
        news = asyncio.ensure_future(engine.committed_beyond(self._after))
        ends: set[asyncio.Future[Any]] = {news, gone, closing}
        try:
            await asyncio.wait(ends, timeout=s_from_ms(self._host.heartbeat_ms),
                               return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        return b"" if news.done() and not news.cancelled() else b": still here\n\n"


def frame(change: Change) -> bytes:
    """One change as an event of the stream. JSON holds no line break, so one line of data is enough."""
    return b"id: %d\ndata: %b\n\n" % (change.number, orjson.dumps(change_view(change)))


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
