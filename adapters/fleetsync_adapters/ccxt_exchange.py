"""The real exchange: any that ccxt knows, through one session, one leader and a view for each account."""

import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import certifi  # ccxt requires it, and trusts it where a machine has no bundle of its own

from fleetsync.messages import Answer, Call, Request
from fleetsync.model import Account, Fault, Surface
from fleetsync.ports import Clock, Exchange, ExchangeSpec
from fleetsync.tariff import Tariff, question
from fleetsync_adapters.ccxt_binance import read_binance
from fleetsync_adapters.ccxt_clock import ExchangeClock
from fleetsync_adapters.ccxt_errors import banned_for_ms, detail_of, fault_of, scrubbed
from fleetsync_adapters.ccxt_leader import MET, make_leader, make_view
from fleetsync_adapters.ccxt_paged import PagedReader
from fleetsync_adapters.ccxt_reading import BadBody, Markets, Reading, UnknownSymbol
from fleetsync_adapters.ccxt_session import CURRENT, Meter, MeteredSession, Prices, Sent
from fleetsync_adapters.ccxt_unified import read_unified
from fleetsync_adapters.ccxt_wires import WIRES, Wire
from fleetsync_adapters.tariffs import load_tariff

_RAW = {"binance", "binanceusdm"}


def open_exchange(spec: ExchangeSpec, clock: Clock) -> Exchange:
    """An exchange as a worker uses it; nothing is loaded or connected before `open`.

    Raises:
        ConfigError: ccxt has no exchange of that id.
    """
    return CcxtExchange(spec, clock.now_ms)


class _Seat:
    """One account: its view, and what it was last told."""

    __slots__ = ("account", "seen", "view")

    def __init__(self, account: Account) -> None:
        self.account = account
        self.view: Any = None
        self.seen: dict[tuple[Surface, str], tuple[int, bytes]] = {}  # question -> as of, digest


class CcxtExchange:
    """One exchange through one egress. See the port `Exchange` for what each method promises."""

    def __init__(self, spec: ExchangeSpec, now_ms: Callable[[], int]) -> None:
        self._spec = spec
        self._tariff: Tariff = spec.tariff or load_tariff(spec.exchange)
        self._now_ms = now_ms
        self._clock = ExchangeClock(now_ms)
        self._wire = WIRES.get(spec.exchange)
        self._read: Callable[..., Awaitable[Reading]] = _reader(spec.exchange, self._wire)
        self._prices: dict[str, Prices] = {}
        self._seats: dict[str, _Seat] = {}
        self._session: MeteredSession | None = None
        self._leader: Any = None
        self._markets: Markets | None = None

    def __repr__(self) -> str:
        return f"<CcxtExchange {self._spec.exchange} accounts={len(self._seats)} markets={len(self._markets or ())}>"

    async def open(self) -> tuple[Answer, tuple[Request, ...]]:
        """Load the markets; opened again, load them anew."""
        call = Call(Surface.MARKETS)
        meter = self._meter(call)
        token = CURRENT.set(meter)
        try:
            if self._leader is None:
                self._session = self._new_session()
                self._leader = make_leader(self._spec, self._session, self._clock.now_ms)
            listed = await self._leader.load_markets(True)  # noqa: FBT003  ccxt's signature
            markets = self._covered(listed)
        except Exception as error:  # noqa: BLE001  the port: whatever happened is a fault in the answer
            return self._failed(call, meter, error, ()), meter.requests()
        finally:
            CURRENT.reset(token)
        self._markets = markets
        for seat in self._seats.values():
            seat.view = None  # it holds the old markets
        return Answer(call, self._as_of(meter), complete=True), meter.requests()

    def add_account(self, account: Account) -> None:
        """Serve this account, from a clean slate."""
        self._seats[account.id] = _Seat(account)

    def remove_account(self, account_id: str) -> None:
        """Forget it."""
        self._seats.pop(account_id, None)

    def lists(self, symbol: str) -> bool:
        """Whether the markets have this symbol."""
        return self._markets is not None and symbol in self._markets

    async def ask(self, account_id: str, call: Call, *, full: bool) -> tuple[Answer, tuple[Request, ...]]:
        """Make one call for an account."""
        meter = self._meter(call)
        seat = self._seats.get(account_id)
        if seat is None or self._markets is None:
            why = "the account is not served here" if seat is None else "the markets are not loaded"
            return Answer(call, self._now_ms(), fault=Fault.REFUSED, detail=why), ()
        if seat.view is None:
            seat.view = make_view(self._leader, seat.account)
        token = CURRENT.set(meter)
        try:
            if call.surface is Surface.TIME:
                await self._correct_clock()
                return Answer(call, self._as_of(meter), complete=True, rows=()), meter.requests()
            reading = await self._read(seat.view, call, self._markets, self._clock.now_ms)
            answer = self._answer(seat, call, meter, reading, full=full)
        except Exception as error:  # noqa: BLE001  the port: whatever happened is a fault in the answer
            answer = self._failed(call, meter, error, _secrets(seat.account))
        finally:
            CURRENT.reset(token)
        return answer, meter.requests()

    async def close(self) -> None:
        """Close the session; the leader and the views hold no connection of their own."""
        self._leader = self._markets = None
        for seat in self._seats.values():
            seat.view = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _covered(self, listed: Any) -> Markets:
        if self._wire:
            return Markets(listed, settle=self._wire.settle)
        if self._spec.exchange in _RAW:
            return Markets(listed)
        return Markets(listed, kind=self._leader.options["defaultSubType"])  # ccxt asks for one kind's positions only

    def _answer(self, seat: _Seat, call: Call, meter: Meter, reading: Reading, *, full: bool) -> Answer:
        as_of_ms = self._as_of(meter)
        asked = (call.surface, call.symbol)
        if reading.key is None:
            return Answer(call, as_of_ms, reading.complete, reading.rows())
        if not reading.complete:
            rows = reading.rows()
            seat.seen.pop(asked, None)  # the next whole answer may equal an older one, and still be news
            return Answer(call, as_of_ms, complete=False, rows=rows)
        before_ms, before = seat.seen.get(asked, (0, b""))
        digest = reading.digest()
        if digest == before and as_of_ms >= before_ms and not full:
            seat.seen[asked] = (as_of_ms, digest)
            return Answer(call, as_of_ms, complete=True)
        rows = reading.rows()
        if as_of_ms >= before_ms:  # an answer that comes late is told, but it is not what we know last
            seat.seen[asked] = (as_of_ms, digest)
        return Answer(call, as_of_ms, complete=True, rows=rows)

    def _failed(self, call: Call, meter: Meter, error: Exception, secrets: tuple[str, ...]) -> Answer:
        if isinstance(error, UnknownSymbol):
            return Answer(call, self._as_of(meter), fault=Fault.BAD_SYMBOL, detail=str(error))
        met: Sent | None = vars(error).get(MET) or (meter.sent[-1] if meter.sent else None)
        endpoint = met.endpoint if met else call.surface.value
        if isinstance(error, BadBody):
            fault, detail = Fault.MALFORMED, f"{endpoint} {scrubbed(str(error), secrets)}"
        else:
            status, code, words = (met.status, met.code, met.words) if met else (-1, "", "")
            fault = fault_of(error, exchange=self._spec.exchange, status=status, code=code)
            detail = detail_of(error, endpoint=endpoint, status=status, code=code, words=words, secrets=secrets)
        wait_ms = 0
        if met and fault in {Fault.RATE_LIMITED, Fault.BANNED}:
            wait_ms = met.retry_after_ms or banned_for_ms(met.words, self._clock.now_ms())
        return Answer(call, self._as_of(meter), fault=fault, detail=detail, retry_after_ms=wait_ms)

    async def _correct_clock(self) -> None:
        """Follow the exchange's time, by as many samples as the call for it was granted."""
        if not self._leader.has.get("fetchTime"):
            return
        with contextlib.suppress(Exception):  # the call's own fault is told already; a later one tries again
            await self._clock.correct(self._leader.fetch_time)

    def _meter(self, call: Call) -> Meter:
        asked = question(call)
        prices = self._prices.get(asked)
        if prices is None:
            cost = self._tariff.costs.get(asked) or self._tariff.costs.get(call.surface.value)
            requests = self._wire.market_requests if self._wire and call.surface is Surface.MARKETS else 1
            prices = self._prices[asked] = Prices(self._tariff, cost, requests)
        return Meter(prices, by_ccxt=not self._tariff.exact)

    def _as_of(self, meter: Meter) -> int:
        return meter.sent[0].sent_at_ms if meter.sent else self._now_ms()

    def _new_session(self) -> MeteredSession:
        plain = self._spec.base_url.startswith("http://")
        return MeteredSession(
            base_url=self._spec.base_url,
            proxy=self._spec.proxy,
            call_timeout_ms=self._spec.call_timeout_ms,
            now_ms=self._now_ms,
            ssl_context=None if plain else ssl.create_default_context(cafile=certifi.where()),
        )


def _reader(exchange: str, wire: Wire | None) -> Callable[..., Awaitable[Reading]]:
    if exchange in _RAW:
        return read_binance
    return PagedReader(wire) if wire else read_unified


def _secrets(account: Account) -> tuple[str, ...]:
    return (account.api_key.reveal, account.api_secret.reveal, account.password.reveal)

