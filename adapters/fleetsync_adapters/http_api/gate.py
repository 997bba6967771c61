"""What is refused before any route is reached, and what every answer carries.

Without a token only programs on this machine may ask. A browser on this machine is such a program, and the pages it
shows are not: so a foreign `Host` (a name that was pointed at us) and a foreign `Origin` are refused.
"""

import hmac
import ipaddress

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleetsync_adapters.http_api.failures import ApiError, error_response

_OPEN_PATHS = ("/healthz",)
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def is_loopback(host: str) -> bool:
    """Whether an address or name can only mean this machine."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


class Gate:
    """The outermost layer: lets a request through to `app`, or refuses it."""

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        self._app = app
        self._expected = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, answer)
            return
        response = error_response(refusal)
        if refusal.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        await response(scope, receive, answer)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        origins = [value for name, value in headers if name == b"origin"]
        hosts = [value for name, value in headers if name == b"host"]
        if origins and [origin.partition(b"://")[2] for origin in origins] != hosts:
            return ApiError(403, "foreign_origin", "pages of other origins may not ask here")
        if scope["path"] in _OPEN_PATHS:
            return None
        if self._expected is None:
            if not all(is_loopback(_without_port(host.decode("latin-1"))) for host in hosts):
                return ApiError(403, "foreign_host", "without a token only requests to a loopback address are answered",
                                hint="ask 127.0.0.1, or run the engine with a token")
            return None
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, credential = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        if not hmac.compare_digest(credential.strip(), self._expected) or scheme.lower() != b"bearer":
            return ApiError(401, "unauthorized", "a valid bearer token is needed",
                            hint="send Authorization: Bearer <token>")
        return None


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
