"""The session that ccxt gets instead of aiohttp's own: it meters every request, and can send them elsewhere.

ccxt keeps the exchange's real addresses, so that its tables of errors (looked up by address) stay right; only here a
request's origin is replaced by the `base_url` of a gateway or a paper exchange. A `Meter` belongs to one ask and
travels in a context variable: tasks that ccxt starts inherit it, and asks that run at once never share one.
"""

import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import aiohttp
import yarl

from fleetsync.messages import Request
from fleetsync.tariff import Cost, Tariff
from fleetsync.units import SECOND_MS, s_from_ms

USED_WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"
BODY_MAX = 64 * 2**20
"""Bytes of one answer. The largest that is known, the markets of a spot exchange, has a quarter of that."""
_SLOW_DOWN = {418, 429}
_DIGITS_MOST = 12  # of a count or a wait in a header; a longer one is broken


class Sent:
    """One request, while it is under way and after."""

    __slots__ = ("code", "endpoint", "retry_after_ms", "sent_at_ms", "status", "used_weight", "weight", "words")

    def __init__(self, endpoint: str, weight: int, sent_at_ms: int) -> None:
        self.endpoint = endpoint
        self.weight = weight
        self.sent_at_ms = sent_at_ms  # begun; replaced once there is a connection
        self.status = 0
        self.used_weight = -1
        self.retry_after_ms = 0
        self.code = ""  # the exchange's own, in the body
        self.words = ""

    def answered(self, response: aiohttp.ClientResponse) -> None:
        """Its status and headers are here."""
        self.status = response.status
        used = response.headers.get(USED_WEIGHT_HEADER, "")
        self.used_weight = int(used) if used.isdecimal() and len(used) <= _DIGITS_MOST else -1
        if response.status in _SLOW_DOWN:
            after = response.headers.get("Retry-After", "")
            self.retry_after_ms = int(after) * SECOND_MS if after.isdecimal() and len(after) <= _DIGITS_MOST else 0

    def heard(self, body: object) -> None:
        """Note the exchange's own code and words, under whichever names it gives them."""
        if isinstance(body, Mapping):
            self.code = _first(body, ("code", "retCode", "label", "err-code", "err_code"))
            self.words = _first(body, ("msg", "retMsg", "message", "err-msg", "err_msg"))

    def frozen(self) -> Request:
        """As the ledger wants it."""
        return Request(self.endpoint, self.weight, self.sent_at_ms, self.status, self.used_weight, self.retry_after_ms)


class Meter:
    """All requests of one ask."""

    __slots__ = ("by_ccxt", "ccxt_weight", "prices", "sent")

    def __init__(self, prices: "Prices", *, by_ccxt: bool = False) -> None:
        self.prices = prices
        self.by_ccxt = by_ccxt  # no table: a request weighs what ccxt says
        self.sent: list[Sent] = []
        self.ccxt_weight = 0  # of the request that ccxt is about to make; 0 where a table gives the price

    def begin(self, method: str, path: str, at_ms: int) -> Sent:
        """Another request is about to leave."""
        endpoint, weight = self.prices.of(method, path)
        sent = Sent(endpoint, self.ccxt_weight or weight, at_ms)
        self.sent.append(sent)
        LAST.set(sent)
        return sent

    def requests(self) -> tuple[Request, ...]:
        """Every request made so far."""
        return tuple(sent.frozen() for sent in self.sent)


class Prices:
    """What a request to an endpoint weighs, for one question: the question's own price before any other's."""

    __slots__ = ("_by_endpoint", "_own", "_own_weight")

    def __init__(self, tariff: Tariff, own: Cost | None, requests: int = 1) -> None:
        """Price the requests of one question; `requests` is how many of them its cost is for."""
        self._by_endpoint = {cost.endpoint: weight_of(cost) for cost in tariff.costs.values()} if tariff.exact else {}
        self._own = own.endpoint if own else ""
        self._own_weight = max(1, weight_of(own) // requests) if own else 1

    def of(self, method: str, path: str) -> tuple[str, int]:
        """The endpoint's name in the tariff (its path as sent where it has none) and the weight."""
        endpoint = f"{method} {path}"
        if fits(self._own, endpoint):
            return self._own, self._own_weight
        for known, weight in self._by_endpoint.items():
            if fits(known, endpoint):
                return known, weight
        return endpoint, 1


def weight_of(cost: Cost) -> int:
    """The one number for a request that may weigh in several quotas: the heaviest."""
    return max((weight for _, weight in cost.weights), default=1)


def fits(pattern: str, endpoint: str) -> bool:
    """Whether an endpoint is the one that a pattern names; `{...}` in the pattern stands for one part of the path."""
    if "{" not in pattern:
        return pattern == endpoint
    parts, wanted = endpoint.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(w == p or w[:1] == "{" for w, p in zip(wanted, parts, strict=True))


CURRENT: ContextVar[Meter] = ContextVar("meter")
LAST: ContextVar[Sent | None] = ContextVar("last", default=None)  # of this very task: ccxt asks several at once


class MeteredSession:
    """What ccxt needs of a session, over one shared aiohttp session; without put and delete, which only trade."""

    def __init__(
        self,
        *,
        base_url: str,
        proxy: str,
        call_timeout_ms: int,
        now_ms: Callable[[], int],
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        self.headers: dict[str, str] = {}
        self._base = base_url.rstrip("/")
        self._proxy = proxy or None
        self._limit = aiohttp.ClientTimeout(total=s_from_ms(call_timeout_ms))
        self._now_ms = now_ms
        self._session = aiohttp.ClientSession(
            # The budget bounds what is in flight: a queue here would be out of its sight. No cookie jar: one account's
            # cookies must not travel with another's requests.
            connector=_Connector(now_ms, limit=0, ssl=ssl_context or False),
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_Bounded,
        )
        # aiohttp would send a GET again by itself when a kept connection turns out dead: a call that nobody granted.
        self._session._retry_connection = False

    def get(self, url: yarl.URL, **options: Any) -> "_Metered":
        """As aiohttp's."""
        return self._request("GET", url, options)

    def post(self, url: yarl.URL, **options: Any) -> "_Metered":
        """As aiohttp's; some exchanges read by POST."""
        return self._request("POST", url, options)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    def _request(self, method: str, url: yarl.URL, options: dict[str, Any]) -> "_Metered":
        target = yarl.URL(self._base + url.raw_path_qs, encoded=True) if self._base else url
        sent = CURRENT.get().begin(method, url.raw_path, self._now_ms())
        context = self._session.request(
            method,
            target,
            data=options.get("data"),
            headers=options.get("headers"),
            timeout=self._limit,
            proxy=self._proxy,
            allow_redirects=False,  # a signed request goes to the exchange, nowhere else
        )
        return _Metered(context, sent)


class _Connector(aiohttp.TCPConnector):
    """Notes when a request has its connection: that is when it leaves, however long the connecting took.

    aiohttp's tracing could tell the same, at a tenth of what a whole request costs.
    """

    def __init__(self, now_ms: Callable[[], int], **options: Any) -> None:
        super().__init__(**options)
        self._now_ms = now_ms

    async def connect(self, req: aiohttp.ClientRequest, *options: Any, **named: Any) -> Any:
        """As aiohttp's; within the task of the request, so that `LAST` is its own."""
        connection = await super().connect(req, *options, **named)
        if (sent := LAST.get()) is not None:
            sent.sent_at_ms = self._now_ms()
        return connection


class _Bounded(aiohttp.ClientResponse):
    """A response whose body is read up to a bound, as it is after unpacking: an exchange could send one for ever."""

    async def read(self) -> bytes:
        """As aiohttp's.

        Raises:
            aiohttp.ClientPayloadError: there is more than `BODY_MAX`.
        """
        told = self.content_length
        if self._body is not None or (told is not None and told <= BODY_MAX and "Content-Encoding" not in self.headers):
            return await super().read()
        try:
            self._body = await self._portions()
        except BaseException:
            self.close()
            raise
        return self._body

    async def _portions(self) -> bytes:
        body = bytearray()
        async for portion in self.content.iter_any():
            body += portion
            if len(body) > BODY_MAX:
                raise aiohttp.ClientPayloadError(f"the answer is larger than {BODY_MAX} bytes")
        return bytes(body)


class _Metered:
    """aiohttp's own context manager, with notes taken on the way in and out."""

    __slots__ = ("_context", "_sent")

    def __init__(self, context: Any, sent: Sent) -> None:
        self._context = context
        self._sent = sent

    async def __aenter__(self) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await self._context.__aenter__()
        self._sent.answered(response)
        return response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._sent.status = 0  # the body did not arrive whole: that is no answer
        await self._context.__aexit__(kind, error, trace)


def _first(body: Mapping[str, object], names: tuple[str, ...]) -> str:
    for name in names:
        value = body.get(name)
        if isinstance(value, str | int) and value != "":
            return str(value)
    return ""
