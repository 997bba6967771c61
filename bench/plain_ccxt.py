"""The straightforward program: ccxt as documented, a client an account, its own limiter; a task a robot."""

import asyncio
import re
import time
from typing import Any

import ccxt.async_support as ccxt

from fleetsync.model import Account


def client(account: Account, base_url: str, *, limiter: bool = True) -> Any:
    """A ccxt client of one account, sent to another host and otherwise as it comes."""
    made = ccxt.binanceusdm({
        "apiKey": account.api_key.reveal, "secret": account.api_secret.reveal, "enableRateLimit": limiter,
        "options": {"fetchMarkets": {"types": ["linear"]}, "fetchCurrencies": False, "fetchMargins": False,
                    "warnOnFetchOpenOrdersWithoutSymbol": False, "fetchOpenOrders": {"warnWithoutSymbol": False}},
    })
    made.urls["api"] = {name: re.sub(r"^https://[^/]+", base_url, url) if isinstance(url, str) else url
                        for name, url in made.urls["api"].items()}
    return made


class Program:
    """Every robot looks at its position and its orders again and again.

    Args:
        clients: one an account.
        robots: (account's place, symbol) of each robot.
        pause_ms: between two syncs of a robot.
    """

    def __init__(self, clients: list[Any], robots: list[tuple[int, str]], pause_ms: int) -> None:
        self.syncs = self.failures = 0
        self.spans_s: list[float] = []
        self._clients, self._robots, self._pause_ms = clients, robots, pause_ms

    async def run(self, span_ms: int) -> None:
        """Run for so long."""
        tasks = [asyncio.create_task(self._robot(self._clients[place], symbol)) for place, symbol in self._robots]
        await asyncio.sleep(span_ms / 1000)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _robot(self, exchange: Any, symbol: str) -> None:
        while True:
            begun_s = time.perf_counter()
            try:
                await exchange.fetch_positions([symbol])
                await exchange.fetch_open_orders(symbol)
            except ccxt.BaseError:
                self.failures += 1
            else:
                self.syncs += 1
                self.spans_s.append(time.perf_counter() - begun_s)
            await asyncio.sleep(self._pause_ms / 1000)
