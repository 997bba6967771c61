"""Exchanges to hold against their promises: the real client over a real socket, and the paper exchange itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal

from fleetsync.clock import SystemClock
from fleetsync.messages import Answer, Call, Request
from fleetsync.model import Account, Secret, Surface
from fleetsync.ports import Exchange, ExchangeSpec
from fleetsync_adapters.ccxt_exchange import open_exchange
from fleetsync_adapters.paper.books import BookAccount
from fleetsync_adapters.paper.direct import PaperDirect
from fleetsync_adapters.paper.faults import Fault as Misbehaviour
from fleetsync_adapters.paper.faults import FaultOrder, Misdeed
from fleetsync_adapters.paper.orders import Ticket
from fleetsync_adapters.paper.server import serving, system_now_ms
from fleetsync_adapters.paper.venue import Venue, VenueRules

SYMBOL = "BTC/USDT:USDT"
POSITIONS, ORDERS, CONDITIONAL = Call(Surface.POSITIONS), Call(Surface.ORDERS), Call(Surface.CONDITIONAL)


@dataclass(frozen=True, slots=True)
class Scene:
    """An exchange that serves one account, and the venue behind it."""

    exchange: Exchange
    venue: Venue
    account: BookAccount

    async def ask(self, call: Call, *, full: bool = False) -> tuple[Answer, tuple[Request, ...]]:
        return await self.exchange.ask("a", call, full=full)

    def trade(self, side: str = "BUY", kind: str = "MARKET", share: str = "1", client_id: str = "") -> str:
        """An order by hand, at a share of the price where it is a limit order; its id."""
        market, at_ms = self.venue.markets.by_symbol[SYMBOL], system_now_ms()
        price = (market.price(at_ms) * Decimal(share)).quantize(Decimal(1).scaleb(-market.price_digits))
        size = market.smallest_size(at_ms, Decimal(500))
        ticket = Ticket(
            market=market, side=side, type=kind, size=size, price=price if kind == "LIMIT" else Decimal(0),
            client_id=client_id,
        )  # fmt: skip
        return str(self.venue.open_by_hand(self.account, ticket, at_ms).id)

    def misbehave(self, kind: Misdeed, endpoint: str = "", count: int = 1, delay_ms: int = 0) -> None:
        self.venue.faults.order([FaultOrder(Misbehaviour(kind, delay_ms), endpoint, "", count)])


async def sleep_ms(span_ms: int) -> None:
    await asyncio.sleep(span_ms / 1000)


def account_of(book: BookAccount, *, secret: str = "") -> Account:
    return Account("a", "binanceusdm", Secret(book.keys.api_key), Secret(secret or book.keys.secret))


@asynccontextmanager
async def over_a_socket(call_timeout_ms: int = 5_000) -> AsyncIterator[Scene]:
    venue = Venue(VenueRules(accounts=2, markets=20))
    async with serving(venue) as running:
        spec = ExchangeSpec("binanceusdm", base_url=running.base_url, call_timeout_ms=call_timeout_ms)
        exchange = open_exchange(spec, SystemClock())
        try:
            yield Scene(exchange, venue, venue.books.accounts[0])
        finally:
            await exchange.close()


@asynccontextmanager
async def direct(call_timeout_ms: int = 5_000) -> AsyncIterator[Scene]:
    venue = Venue(VenueRules(accounts=2, markets=20))
    exchange = PaperDirect(venue, now_ms=system_now_ms, sleep_ms=sleep_ms, call_timeout_ms=call_timeout_ms)
    yield Scene(exchange, venue, venue.books.accounts[0])
    await exchange.close()


Play = Callable[[Scene], Awaitable[None]]
Stage = Callable[..., None]


SCENES = {"ccxt over a socket": over_a_socket, "paper, direct": direct}


def stage_on(scene_name: str) -> Stage:
    """What runs a play on a fresh scene of that name."""

    def run(play: Play, *, opened: bool = True, call_timeout_ms: int = 5_000) -> None:
        async def show() -> None:
            async with SCENES[scene_name](call_timeout_ms) as scene:
                if opened:
                    answer, _ = await scene.exchange.open()
                    assert answer.fault is None, answer.detail
                    scene.exchange.add_account(account_of(scene.account))
                await play(scene)

        asyncio.run(show())

    return run


