"""The engine's `Exchange` port straight on a venue: no sockets, no JSON, in whatever time the caller lives.

Its core is the synchronous `answer`, which a discrete-event simulation calls itself. A request is executed at the
instant it is sent; the latency that is returned says when its answer is there. A quiet question costs some ten
microseconds, because an account's version tells that nothing changed since the same question was last answered.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

from fleetsync.messages import Answer, Call, Request, Rows
from fleetsync.model import Account, Fault, Order, Position, Surface
from fleetsync.units import DAY_MS, SECOND_MS, s_from_ms
from fleetsync_adapters.paper import holdings, views
from fleetsync_adapters.paper.books import BookAccount
from fleetsync_adapters.paper.faults import Misdeed
from fleetsync_adapters.paper.limits import weight_of
from fleetsync_adapters.paper.markets import Market
from fleetsync_adapters.paper.venue import Entry, Venue, bend

Told = tuple[int, Answer, tuple[Request, ...]]

_MARKETS = "GET /fapi/v1/exchangeInfo"
_ENDPOINTS = {
    Surface.POSITIONS: "GET /fapi/v3/positionRisk",
    Surface.ORDERS: "GET /fapi/v1/openOrders",
    Surface.CONDITIONAL: "GET /fapi/v1/openAlgoOrders",
    Surface.FILLS: "GET /fapi/v1/userTrades",
    Surface.ORDER: "GET /fapi/v1/order",
    Surface.MARKETS: _MARKETS,
}
_CONDITIONAL_ORDER = "GET /fapi/v1/algoOrder"
_FILLS_A_PAGE = 1000
WEEK_MS = 7 * DAY_MS  # without an instant to begin at, fills go back so far
_WINDOW_MS = 10 * SECOND_MS  # the receive window that ccxt asks for

_FAULTS = {
    Misdeed.LOST_REQUEST: (Fault.NETWORK, 0), Misdeed.LOST_ANSWER: (Fault.NETWORK, 0),
    Misdeed.RESET: (Fault.NETWORK, 0), Misdeed.RESET_AFTER: (Fault.NETWORK, 0),
    Misdeed.SERVER_ERROR: (Fault.DOWN, 502), Misdeed.MAINTENANCE: (Fault.DOWN, 503), Misdeed.BUSY: (Fault.DOWN, 503),
    Misdeed.UNKNOWN_DONE: (Fault.DOWN, 503), Misdeed.UNKNOWN_NOT_DONE: (Fault.DOWN, 503),
    Misdeed.TRUNCATED: (Fault.MALFORMED, 200), Misdeed.HTML: (Fault.MALFORMED, 200),
    Misdeed.EMPTY_BODY: (Fault.MALFORMED, 200), Misdeed.EMPTY_OBJECT: (Fault.MALFORMED, 200),
}  # fmt: skip


@dataclass(slots=True)
class _Seat:
    """One account that is served, and what it was last told: question -> (version, rows)."""

    book: BookAccount | None
    told: dict[tuple[Surface, str], tuple[int, Rows]] = field(default_factory=dict)


_NO_VERSION = -1  # told rows that are not the account's true ones: they have to be compared


async def asyncio_sleep_ms(span_ms: int) -> None:
    """Wait in the running loop's own time."""
    await asyncio.sleep(s_from_ms(span_ms))


class PaperDirect:
    """One venue through one address. See the port `Exchange` for what each method promises."""

    def __init__(
        self, venue: Venue, *, now_ms: Callable[[], int], sleep_ms: Callable[[int], Awaitable[None]],
        ip: str = "direct", call_timeout_ms: int = 10_000,
    ) -> None:
        """Ask `venue` from the address `ip`."""
        self.venue = venue
        self._now_ms = now_ms
        self._sleep_ms = sleep_ms
        self._ip = ip
        self._call_timeout_ms = call_timeout_ms
        self._seats: dict[str, _Seat] = {}
        self._open = False

    def __repr__(self) -> str:
        return f"<PaperDirect {self._ip} accounts={len(self._seats)} markets={len(self.venue.markets.all)}>"

    async def open(self) -> tuple[Answer, tuple[Request, ...]]:
        """Load the markets."""
        latency_ms, answer, requests = self.load(self._now_ms())
        await self._sleep_ms(latency_ms)
        return answer, requests

    def add_account(self, account: Account) -> None:
        """Serve this account, from a clean slate."""
        book = self.venue.books.by_key.get(account.api_key.reveal)
        known = book is not None and book.keys.secret == account.api_secret.reveal
        self._seats[account.id] = _Seat(book if known else None)

    def remove_account(self, account_id: str) -> None:
        """Forget it."""
        self._seats.pop(account_id, None)

    def lists(self, symbol: str) -> bool:
        """Whether the markets have this symbol."""
        return self._open and symbol in self.venue.markets.by_symbol

    async def ask(self, account_id: str, call: Call, *, full: bool) -> tuple[Answer, tuple[Request, ...]]:
        """Make one call for an account."""
        latency_ms, answer, requests = self.answer(account_id, call, self._now_ms(), full=full)
        await self._sleep_ms(latency_ms)
        return answer, requests

    async def close(self) -> None:
        """Nothing is connected."""
        self._open = False

    # -- the synchronous core

    def load(self, at_ms: int) -> Told:
        """What `open` does, sent at `at_ms`."""
        call = Call(Surface.MARKETS)
        entry, request, latency_ms = self._enter(None, _MARKETS, 1, at_ms)
        told = self._failed(call, entry, request, latency_ms, at_ms)
        if told is None:
            self._open = True
            told = latency_ms, Answer(call, at_ms, complete=True), (request,)
        return told

    def answer(self, account_id: str, call: Call, at_ms: int, *, full: bool = False) -> Told:
        """What `ask` does, sent at `at_ms`: how long it takes, the answer, and the requests it was made of."""
        seat = self._seats.get(account_id)
        if seat is None or not self._open:
            why = "the account is not served here" if seat is None else "the markets are not loaded"
            return 0, Answer(call, at_ms, fault=Fault.REFUSED, detail=why), ()
        if call.surface is Surface.TIME:
            _, request, latency_ms = self._enter(None, "GET /fapi/v1/time", 1, at_ms)
            return latency_ms, Answer(call, at_ms, complete=True, rows=()), (request,)
        market = self.venue.markets.by_symbol.get(call.symbol) if call.symbol else None
        if call.symbol and market is None:
            detail = f"{call.symbol!r} is not listed"
            return 0, Answer(call, at_ms, fault=Fault.BAD_SYMBOL, detail=detail), ()
        endpoint = _CONDITIONAL_ORDER if call.conditional else _ENDPOINTS[call.surface]
        weight = weight_of(endpoint, one_symbol=market is not None)
        book = seat.book
        entry, request, latency_ms = self._enter(book, endpoint, weight, at_ms)
        if book is not None:
            self.venue.matching.touch(book, at_ms)
        failed = self._failed(call, entry, request, latency_ms, at_ms)
        # A refusal is no 200: it reaches the client whole, whatever happens to the bodies of answers.
        if failed is not None and not (failed[1].fault is Fault.MALFORMED and self._refuses(book, call, entry, at_ms)):
            return failed
        if book is None:
            return self._said_no(call, entry, request, latency_ms, Fault.AUTH, 401)
        if call.surface is Surface.ORDER:
            return self._order(book, call, entry, request, latency_ms)
        if call.surface is Surface.FILLS:
            return self._fills(book, market, call, entry, request, latency_ms)
        return latency_ms, self._list(seat, book, market, call, entry, at_ms, full=full), (request,)

    def _enter(self, book: BookAccount | None, endpoint: str, weight: int, at_ms: int) -> tuple[Entry, Request, int]:
        """One request: counted, weighed, and settled as a 200 until something else is found."""
        entry = self.venue.enter(at_ms, book, endpoint, weight, self._ip)
        verdict = entry.verdict
        latency_ms = self.venue.faults.latency_ms()
        if entry.faults:
            delays = entry.fault(Misdeed.LATENCY, Misdeed.LATE_ANSWER)
            latency_ms += delays.delay_ms if delays else 0
        status = verdict.status if verdict.status != 200 else self._status(entry)
        self.venue.ledger.settle(entry.number, status)
        retry_after_ms = -(-verdict.retry_after_ms // SECOND_MS) * SECOND_MS  # the header says whole seconds
        return entry, Request(endpoint, weight, at_ms, status, verdict.used, retry_after_ms), latency_ms

    def _status(self, entry: Entry) -> int:
        for fault in entry.faults:
            if fault.kind in _FAULTS:
                status = _FAULTS[fault.kind][1]
                return fault.status if fault.kind is Misdeed.SERVER_ERROR else status
            if self._clock_refuses(fault.kind, fault.delay_ms):
                return 400
        return 200

    def _failed(self, call: Call, entry: Entry, request: Request, latency_ms: int, at_ms: int) -> Told | None:
        """The answer of a request that met its end before its rows mattered; None if it did not."""
        if entry.verdict.status != 200:
            fault = Fault.BANNED if entry.verdict.status == 418 else Fault.RATE_LIMITED
            detail = f"{request.endpoint} {request.status}"
            answer = Answer(call, at_ms, fault=fault, detail=detail, retry_after_ms=request.retry_after_ms)
            return latency_ms, answer, (request,)
        for misdeed in entry.faults:
            detail = f"{request.endpoint} {misdeed.kind.value}"
            if misdeed.kind in _FAULTS:
                if misdeed.kind in {Misdeed.LOST_REQUEST, Misdeed.LOST_ANSWER}:
                    latency_ms = self._call_timeout_ms
                answer = Answer(call, at_ms, fault=_FAULTS[misdeed.kind][0], detail=detail)
                return min(latency_ms, self._call_timeout_ms), answer, (request,)
            if self._clock_refuses(misdeed.kind, misdeed.delay_ms):
                return latency_ms, Answer(call, at_ms, fault=Fault.CLOCK, detail=detail), (request,)
        if latency_ms > self._call_timeout_ms:
            return self._call_timeout_ms, Answer(call, at_ms, fault=Fault.NETWORK, detail="timed out"), (request,)
        return None

    @staticmethod
    def _clock_refuses(kind: Misdeed, skew_ms: int) -> bool:
        return kind is Misdeed.CLOCK_SKEW and not -SECOND_MS < skew_ms <= _WINDOW_MS

    def _said_no(
        self, call: Call, entry: Entry, request: Request, latency_ms: int, fault: Fault, status: int
    ) -> Told:
        """A definite refusal: the ledger and the request get its status."""
        self.venue.ledger.amend(entry.number, 200, status)
        refused = Request(request.endpoint, request.weight, request.sent_at_ms, status, request.used_weight)
        answer = Answer(call, request.sent_at_ms, fault=fault, detail=f"{request.endpoint} {status}")
        return latency_ms, answer, (refused,)

    def _list(
        self, seat: _Seat, book: BookAccount, market: Market | None, call: Call, entry: Entry, at_ms: int, *, full: bool
    ) -> Answer:
        """Positions, orders or conditional orders; nothing but a note when they are as before."""
        asked = (call.surface, call.symbol)
        before = seat.told.get(asked)
        plain = not entry.faults and not self.venue.faults.remembers_questions
        if plain and not full and before is not None and before[0] == book.version:
            return Answer(call, at_ms, complete=True)
        cutoff_ms = None if plain else self.venue.cutoff_ms(entry, book, call.surface.value, call.symbol, at_ms)
        whole = _rows_now(book, market, call) if cutoff_ms is None else _rows_of(book, market, call.surface, cutoff_ms)
        rows = whole if plain else cast("Rows", tuple(bend(whole, entry)))
        if entry.faults and len(rows) < len(whole) and entry.fault(Misdeed.SHORT_PAGE):
            seat.told.pop(asked, None)  # the next whole answer may equal an older one, and still be news
            return Answer(call, at_ms, complete=False, rows=rows)
        seat.told[asked] = (book.version if plain else _NO_VERSION, rows)
        known = before is not None and rows == before[1]
        return Answer(call, at_ms, complete=True, rows=None if known and not full else rows)

    def _order(self, book: BookAccount, call: Call, entry: Entry, request: Request, latency_ms: int) -> Told:
        order = self._found(book, call, entry, request.sent_at_ms)
        if order is None:
            return self._said_no(call, entry, request, latency_ms, Fault.NOT_FOUND, 400)
        return latency_ms, Answer(call, request.sent_at_ms, complete=True, rows=(order,)), (request,)

    def _found(self, book: BookAccount, call: Call, entry: Entry, at_ms: int) -> Order | None:
        number = int(call.order_id) if call.order_id.isdigit() else 0
        if call.conditional:
            trigger = self.venue.find_trigger(entry, book, at_ms, number, call.client_id)
            order = None if trigger is None else holdings.unified_trigger(trigger)
        else:
            view = self.venue.find_order(entry, book, at_ms, number, call.client_id)
            order = None if view is None else holdings.unified_order(view)
        return order if order is None or call.symbol in {"", order.symbol} else None

    def _refuses(self, book: BookAccount | None, call: Call, entry: Entry, at_ms: int) -> bool:
        return book is None or (call.surface is Surface.ORDER and self._found(book, call, entry, at_ms) is None)

    def _fills(
        self, book: BookAccount, market: Market | None, call: Call, entry: Entry, request: Request, latency_ms: int
    ) -> Told:
        """Fills since an instant, page by page; each page is a request of its own."""
        at_ms = request.sent_at_ms
        if market is None:
            return self._said_no(call, entry, request, latency_ms, Fault.REFUSED, 400)
        if call.since_ms and call.since_ms < at_ms - self.venue.books.rules.fills_kept_ms:
            return self._said_no(call, entry, request, latency_ms, Fault.REFUSED, 400)
        kept = views.fills(book, market, self.venue.cutoff_ms(entry, book, "fills", call.symbol, at_ms))
        due = [fill for fill in kept if fill.at_ms >= (call.since_ms or at_ms - WEEK_MS)]
        found = list({fill.id: fill for fill in bend(due, entry)}.values())
        cut = entry.fault(Misdeed.SHORT_PAGE) is not None and len(found) < len(due)
        requests = [request]
        while call.since_ms and not cut and len(requests) < call.pages and len(found) >= _FILLS_A_PAGE * len(requests):
            more, request, further_ms = self._enter(book, request.endpoint, request.weight, at_ms)
            latency_ms += further_ms
            requests.append(request)
            failed = self._failed(call, more, request, latency_ms, at_ms)
            if failed is not None:
                return failed[0], failed[1], tuple(requests)
        room = _FILLS_A_PAGE * len(requests)
        fills = tuple(holdings.unified_fill(fill) for fill in (found[:room] if call.since_ms else found[-room:]))
        complete = not cut and len(found) < room  # a full page says that there may be more
        return latency_ms, Answer(call, at_ms, complete=complete, rows=fills), tuple(requests)


def _rows_now(book: BookAccount, market: Market | None, call: Call) -> Rows:
    """The rows of one list as things are; made anew only when something has changed, whoever asks."""
    question = call.surface, call.symbol
    version, rows = book.shown.get(question, (_NO_VERSION, ()))
    if version != book.version:
        rows = _rows_of(book, market, call.surface, None)
        book.shown[question] = book.version, rows
    return cast("Rows", rows)


def _rows_of(book: BookAccount, market: Market | None, surface: Surface, cutoff_ms: int | None) -> Rows:
    """The rows of one list, in an order that does not depend on how they came about."""
    if surface is Surface.POSITIONS:
        held: Iterable[Position] = map(holdings.unified_position, views.positions(book, market, cutoff_ms))
        return tuple(sorted(held, key=lambda row: row.symbol))
    if surface is Surface.ORDERS:
        orders: Iterable[Order] = map(holdings.unified_order, views.open_orders(book, market, cutoff_ms))
    else:
        orders = map(holdings.unified_trigger, views.open_triggers(book, market, cutoff_ms))
    return tuple(sorted(orders, key=lambda row: row.id))
