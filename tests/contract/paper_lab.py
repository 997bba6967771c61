"""A served paper exchange, its clock, and unmodified ccxt clients for it.

The clients' clock is the exchange's own, driven by hand: no test waits for a limit's window to pass.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import ccxt.async_support as ccxt

from fleetsync_adapters.paper.books import BookAccount
from fleetsync_adapters.paper.faults import Fault, FaultOrder, Misdeed
from fleetsync_adapters.paper.limits import LimitRules
from fleetsync_adapters.paper.server import Serving, serving
from fleetsync_adapters.paper.venue import Venue, VenueRules

START_MS = 1_790_000_040_000 - 1_790_000_040_000 % 60_000
DAY_MS = 86_400_000
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"


class Lab:
    """A served venue, its clock, and a ccxt client for its first account."""

    def __init__(self, running: Serving, clock: list[int]) -> None:
        self.running = running
        self.venue = running.venue
        self.clock = clock
        self.clients: list[Any] = []
        self.client = self.new_client()

    @property
    def account(self) -> BookAccount:
        return self.venue.books.accounts[0]

    def new_client(self, *, api_key: str = "", secret: str = "") -> Any:
        keys = self.account.keys
        client = ccxt.binanceusdm({
            "apiKey": api_key or keys.api_key, "secret": secret or keys.secret, "enableRateLimit": False,
            "timeout": 5000,
        })
        client.urls["api"] = redirected(client.urls["api"], self.running.base_url)
        client.options["fetchOpenOrders"]["warnWithoutSymbol"] = False
        client.ssl_context = False  # plain http: no need to load a bundle of certificates for each client
        client.timeout_on_exit = 0  # else each close waits a quarter of a second
        client.milliseconds = lambda: self.clock[0]
        self.clients.append(client)
        return client

    def price(self, symbol: str, millionths: int) -> float:
        market = self.venue.markets.by_symbol[symbol]
        return float(market.price(self.clock[0])) * (1 + millionths / 1_000_000)

    def misbehave(self, kind: Misdeed, endpoint: str = "", **figures: int) -> None:
        self.venue.faults.order([FaultOrder(Fault(kind, **figures), endpoint)])


def redirected(urls: Any, base_url: str) -> Any:
    """ccxt's urls with every https host replaced."""
    if isinstance(urls, dict):
        return {name: redirected(url, base_url) for name, url in urls.items()}
    if isinstance(urls, str) and urls.startswith("https://"):
        return "/".join([base_url, *urls.split("/")[3:]])
    return urls


@asynccontextmanager
async def lab(limits: LimitRules | None = None) -> AsyncIterator[Lab]:
    clock = [START_MS]
    venue = Venue(VenueRules(seed=3, accounts=3, limits=limits))
    async with serving(venue, now_ms=lambda: clock[0]) as running:
        made = Lab(running, clock)
        try:
            yield made
        finally:
            await asyncio.gather(*(client.close() for client in made.clients))


def held(test: Callable[[Lab], Awaitable[None]], limits: LimitRules | None = None) -> None:
    """Run a test inside a lab."""

    async def run() -> None:
        async with lab(limits) as made:
            await test(made)

    asyncio.run(run())
