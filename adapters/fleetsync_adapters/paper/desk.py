"""The REST desk: from a raw request to a raw reply, without sockets and without waiting.

In two steps, because a request may be under way for a while: `receive` counts it and decides what becomes of it,
`answer` executes it. The face does the waiting in between, and the sending.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import orjson

from fleetsync.units import SECOND_MS
from fleetsync_adapters.paper.asked import Asked, parse
from fleetsync_adapters.paper.books import BookAccount
from fleetsync_adapters.paper.endpoints import Endpoint
from fleetsync_adapters.paper.faults import Fault, Misdeed
from fleetsync_adapters.paper.limits import PLACES_ORDER, weight_of
from fleetsync_adapters.paper.refusals import Refusal, missing
from fleetsync_adapters.paper.trading import ENDPOINTS
from fleetsync_adapters.paper.venue import Entry, Venue

_JSON = "application/json"
_PAGE = "text/html"
_HTML = b"<html><head><title>Site maintenance</title></head><body><h1>We will be back soon</h1></body></html>"
_UNKNOWN = b'{"code":-1000,"msg":"Unknown error, please check your request or try again later."}'
_BUSY = b'{"code":-1008,"msg":"Server is currently overloaded with other requests. Please try again in a few minutes."}'
_WINDOW_MS = 5 * SECOND_MS  # how old a signed request may be, unless it says otherwise ...
_WINDOW_MAX_MS = 60 * SECOND_MS  # ... up to this


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it came over the wire."""

    method: str
    path: str
    query: str = ""
    body: str = ""
    api_key: str = ""
    ip: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back. `gone`: "silent" sends nothing and waits, "reset" cuts the connection."""

    status: int
    body: bytes = b""
    content_type: str = _JSON
    headers: dict[str, str] = field(default_factory=dict)
    wait_ms: int = 0
    gone: str = ""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that has been received and waits to be executed."""

    arrival: Arrival
    entry: Entry
    name: str
    endpoint: Endpoint | None
    account: BookAccount | None
    wait_ms: int


class Desk:
    """Serves one venue over REST."""

    def __init__(self, venue: Venue) -> None:
        """Serve this venue."""
        self.venue = venue
        self.skew_ms = 0  # how far the exchange's shown clock is ahead

    def receive(self, arrival: Arrival, at_ms: int) -> Visit:
        """Count a request and decide its fate."""
        name = f"{arrival.method} {arrival.path}"
        endpoint = ENDPOINTS.get(name)
        account = self.venue.books.by_key.get(arrival.api_key) if arrival.api_key else None
        one_symbol = "symbol=" in arrival.query or "symbol=" in arrival.body
        ledger_name = name if endpoint is not None else "unknown path"
        weight = weight_of(name, one_symbol=one_symbol)
        entry = self.venue.enter(at_ms, account, ledger_name, weight, arrival.ip)
        late = entry.fault(Misdeed.LATENCY)
        wait_ms = self.venue.faults.latency_ms() + (late.delay_ms if late else 0)
        return Visit(arrival, entry, name, endpoint, account, wait_ms)

    def answer(self, visit: Visit, at_ms: int) -> Reply:
        """Execute a received request at `at_ms`, which is its waiting later."""
        reply = self._refused(visit, at_ms) or self._prevented(visit)
        if reply is None:
            reply = self._spoil(visit.entry, self._execute(visit, at_ms))
        headers = {"X-MBX-USED-WEIGHT-1M": str(visit.entry.verdict.used), **reply.headers}
        self.venue.ledger.settle(visit.entry.number, 0 if reply.gone else reply.status)
        return replace(reply, headers=headers)

    def _refused(self, visit: Visit, at_ms: int) -> Reply | None:
        verdict = visit.entry.verdict
        if verdict.status == 200:
            return None
        if verdict.status == 418:
            until_ms = at_ms + verdict.retry_after_ms
            msg = f"Way too many requests; IP({visit.arrival.ip}) banned until {until_ms}. Please use the websocket."
        else:
            allowed = self.venue.limits.rules.weight_per_minute
            msg = f"Too many requests; current limit is {allowed} request weight per minute."
        return _too_many(verdict.status, verdict.code, msg, verdict.retry_after_ms)

    def _prevented(self, visit: Visit) -> Reply | None:
        fault = next((one for one in visit.entry.faults if one.prevents), None)
        return None if fault is None else _failure(fault)

    def _execute(self, visit: Visit, at_ms: int) -> Reply:
        headers = {}
        try:
            endpoint, params, account = self._admitted(visit, at_ms)
            if account is not None:
                self.venue.matching.touch(account, at_ms)
            if account is not None and visit.name in PLACES_ORDER:
                verdict, in_ten, in_minute = self.venue.limits.count_order(account.number, at_ms)
                if verdict.status != 200:
                    return _too_many(429, verdict.code, "Too many new orders.", verdict.retry_after_ms)
                headers = {"X-MBX-ORDER-COUNT-10S": str(in_ten), "X-MBX-ORDER-COUNT-1M": str(in_minute)}
            asked = Asked(self.venue, visit.entry, params, at_ms, at_ms + self._skew(visit.entry), account)
            return Reply(200, orjson.dumps(endpoint.handle(asked)), headers=headers)
        except Refusal as refusal:
            return Reply(refusal.status, _error(refusal.code, refusal.msg), headers=headers)

    def _admitted(self, visit: Visit, at_ms: int) -> tuple[Endpoint, dict[str, str], BookAccount | None]:
        """The endpoint and parameters of a request that may be executed, and whose it is.

        Raises:
            Refusal: the path is unknown, or key, signature or timestamp are not in order.
        """
        arrival, endpoint = visit.arrival, visit.endpoint
        if endpoint is None:
            raise Refusal(-5000, f"Path {arrival.path}, Method {arrival.method} is invalid", 404)
        payload = arrival.query + arrival.body
        if not endpoint.signed:
            return endpoint, parse(payload) if payload else {}, None
        if not arrival.api_key:
            raise Refusal(-2014, "API-key format invalid.", 401)
        if visit.account is None:
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        signed, _, signature = payload.rpartition("signature=")
        signed = signed.removesuffix("&")
        if not signed:
            raise missing("signature")
        expected = hmac.digest(visit.account.keys.secret.encode(), signed.encode(), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise Refusal(-1022, "Signature for this request is not valid.")
        params = parse(arrival.query) if arrival.query else {}
        if arrival.body:
            params |= parse(arrival.body)
        self._check_time(params, at_ms + self._skew(visit.entry))
        return endpoint, params, visit.account

    def _check_time(self, params: dict[str, str], clock_ms: int) -> None:
        try:
            sent_ms = int(params.get("timestamp", ""))
            window_ms = int(params.get("recvWindow", _WINDOW_MS))
        except ValueError as error:
            raise missing("timestamp") from error
        if not 0 < window_ms <= _WINDOW_MAX_MS:
            raise Refusal(-1131, "recvWindow must be less than 60000")
        if sent_ms >= clock_ms + SECOND_MS:
            raise Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if sent_ms < clock_ms - window_ms:
            raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")

    def _skew(self, entry: Entry) -> int:
        fault = entry.fault(Misdeed.CLOCK_SKEW) if entry.faults else None
        return self.skew_ms if fault is None else fault.delay_ms

    def _spoil(self, entry: Entry, reply: Reply) -> Reply:
        """What happens to an answer on its way back."""
        for fault in entry.faults:
            kind = fault.kind
            if kind is Misdeed.LATE_ANSWER:
                reply = replace(reply, wait_ms=fault.delay_ms)
            elif kind is Misdeed.LOST_ANSWER:
                reply = replace(reply, gone="silent")
            elif kind is Misdeed.RESET_AFTER:
                reply = replace(reply, gone="reset")
            elif kind is Misdeed.UNKNOWN_DONE:
                reply = Reply(503, _UNKNOWN)
            elif reply.status == 200 and kind in _SPOILT:
                reply = replace(reply, body=_SPOILT[kind](reply.body),
                                content_type=_PAGE if kind is Misdeed.HTML else _JSON)
        return reply


_SPOILT: dict[Misdeed, Callable[[bytes], bytes]] = {
    Misdeed.TRUNCATED: lambda body: body[: max(1, len(body) // 2)],
    Misdeed.HTML: lambda _: _HTML,
    Misdeed.EMPTY_BODY: lambda _: b"",
    Misdeed.EMPTY_OBJECT: lambda _: b"{}",
}


def _failure(fault: Fault) -> Reply:
    """The reply of a request that is not executed."""
    match fault.kind:
        case Misdeed.LOST_REQUEST:
            return Reply(0, gone="silent")
        case Misdeed.RESET:
            return Reply(0, gone="reset")
        case Misdeed.MAINTENANCE:
            return Reply(503, _HTML, _PAGE)
        case Misdeed.BUSY:
            return Reply(503, _BUSY)
        case Misdeed.UNKNOWN_NOT_DONE:
            return Reply(503, _UNKNOWN)
        case _:
            return Reply(fault.status, b"Internal error", "text/plain")


def _too_many(status: int, code: int, msg: str, retry_after_ms: int) -> Reply:
    return Reply(status, _error(code, msg), headers={"Retry-After": str(-(-retry_after_ms // SECOND_MS))})


def _error(code: int, msg: str) -> bytes:
    return orjson.dumps({"code": code, "msg": msg})


