"""The HTTP face: Binance USD-M REST on aiohttp's low-level server (no routing, no middleware: one dictionary look-up).

It reads requests, waits where the desk says so, and sends replies. Which address a request counts for is its peer's,
or what a loopback client names in `X-Paper-Ip`, so that one machine can play several addresses.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable

from aiohttp import web
from yarl import URL

from fleetsync.units import s_from_ms
from fleetsync_adapters.paper.desk import Arrival, Desk, Reply

ADMIN_PREFIX = "/paper/"
_SILENCE_MS = 120_000  # a request that is never answered is held so long, then its connection is closed
_MAX_BODY = 64 * 1024

Now = Callable[[], int]
AdminHandler = Callable[[str, str, dict[str, str], bytes], Awaitable[tuple[int, bytes]]]


class Face:
    """Handles the requests of one HTTP server."""

    def __init__(self, desk: Desk, now_ms: Now, admin: AdminHandler) -> None:
        """Serve this desk; `now_ms` is the exchange's clock, `admin` answers below `/paper/`."""
        self._desk = desk
        self._now_ms = now_ms
        self._admin = admin

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request."""
        path, _, query = request.raw_path.partition("?")
        raw = b""
        if request.body_exists:
            raw = await request.content.read(_MAX_BODY + 1)
            while len(raw) <= _MAX_BODY and not request.content.at_eof():
                raw += await request.content.read(_MAX_BODY + 1)
            if len(raw) > _MAX_BODY:
                return web.Response(status=413, text="Body too large")
        peer = request.remote or ""
        if path.startswith(ADMIN_PREFIX):
            return await self._administer(request, peer, path, query, raw)
        arrival = Arrival(
            request.method, path, query, raw.decode("utf-8", "replace"), request.headers.get("X-MBX-APIKEY", ""),
            _address(request, peer),
        )
        return await self._serve(request, arrival)

    async def _serve(self, request: web.BaseRequest, arrival: Arrival) -> web.StreamResponse:
        visit = self._desk.receive(arrival, self._now_ms())
        if visit.wait_ms:
            await asyncio.sleep(s_from_ms(visit.wait_ms))
        reply = self._desk.answer(visit, self._now_ms())
        if reply.wait_ms:
            await asyncio.sleep(s_from_ms(reply.wait_ms))
        if reply.gone:
            return await _vanish(request, reply)
        return web.Response(
            body=reply.body, status=reply.status, headers={**reply.headers, "Content-Type": reply.content_type}
        )

    async def _administer(
        self, request: web.BaseRequest, peer: str, path: str, query: str, raw: bytes
    ) -> web.StreamResponse:
        if not _is_loopback(peer):
            return web.Response(status=403, text="The admin endpoints answer on loopback only")
        params = dict(URL.build(path="/", query_string=query, encoded=True).query) if query else {}
        status, body = await self._admin(request.method, path.removeprefix(ADMIN_PREFIX), params, raw)
        return web.Response(body=body, status=status, headers={"Content-Type": "application/json"})


async def _vanish(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    """No answer: hold the connection until the client gives up, or cut it now."""
    if reply.gone == "silent":
        for _ in range(_SILENCE_MS // 100):
            if request.transport is None or request.transport.is_closing():
                break
            await asyncio.sleep(0.1)
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)  # goes nowhere: the connection is gone


def _address(request: web.BaseRequest, peer: str) -> str:
    named = request.headers.get("X-Paper-Ip")
    return named[:64] if named and _is_loopback(peer) else peer


def _is_loopback(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer.partition("%")[0]).is_loopback
    except ValueError:
        return False
