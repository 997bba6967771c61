"""What ccxt's own description says of an exchange that has no table: which questions, at which price.

ccxt prices endpoints, not questions. The price of a question is the dearest of the private endpoints that read such a
thing, by the words in their paths; a request's true price is known when it is made (`ccxt_session`).
"""

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ccxt.async_support as ccxt

from fleetsync.errors import ConfigError
from fleetsync.units import SECOND_MS

UNITS_PER_COST = 10  # ccxt's costs are fractions; a quota counts whole units
WINDOW_MS = 10 * SECOND_MS

_METHODS = {
    "time": "fetchTime",
    "positions": "fetchPositions",
    "orders": "fetchOpenOrders",
    "orders:symbol": "fetchOpenOrders",
    "order": "fetchOrder",
    "fills": "fetchMyTrades",
}
_WORDS = {
    "time": ("time",),
    "positions": ("position",),
    "orders": ("open", "pending", "order"),
    "orders:symbol": ("open", "pending", "order"),
    "order": ("order",),
    "fills": ("fill", "trade", "execution"),
}


@dataclass(frozen=True, slots=True)
class Description:
    """The questions an exchange can be asked, their prices, and the quota they are taken from."""

    prices: dict[str, int]
    limit: int
    window_ms: int


def exchange_class(exchange_id: str) -> Any:
    """The class that ccxt has for that id.

    Raises:
        ConfigError: there is none; names ids that look alike.
    """
    known: list[str] = list(ccxt.exchanges)
    if exchange_id not in known:
        near = difflib.get_close_matches(exchange_id.lower(), known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "an exchange is named by its ccxt id, as binanceusdm"
        raise ConfigError(f"unknown exchange {exchange_id[:64]!r}", hint=hint)
    return getattr(ccxt, exchange_id)


def describe(exchange_id: str) -> Description:
    """Read ccxt's description of an exchange.

    Raises:
        ConfigError: ccxt has no exchange of that id.
    """
    leader_class = exchange_class(exchange_id)
    leader_class = type(exchange_id, (leader_class,), {"__del__": lambda _self: None})  # it would warn of no `close`
    exchange = leader_class()
    limit = max(1, int(WINDOW_MS * UNITS_PER_COST / exchange.rateLimit))
    endpoints = list(_endpoints(exchange.describe()["api"], ()))
    prices = {
        question: min(limit, _price(endpoints, _WORDS[question]))
        for question, method in _METHODS.items()
        if exchange.has.get(method)
    }
    prices["markets"] = min(limit, UNITS_PER_COST)
    return Description(prices, limit, WINDOW_MS)


def units(cost: float) -> int:
    """A cost of ccxt's as whole units of the quota, rounded up."""
    return max(1, math.ceil(round(cost * UNITS_PER_COST, 6)))


def _price(endpoints: list[tuple[str, float]], words: tuple[str, ...]) -> int:
    costs = [cost for path, cost in endpoints if any(word in path for word in words)]
    return units(max(costs, default=1.0))


def _endpoints(api: Any, above: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """Every readable endpoint in ccxt's nested `api` table, with its cost, dearest form."""
    if not isinstance(api, Mapping):
        return
    for key, value in api.items():
        if key != "get":
            yield from _endpoints(value, (*above, str(key)))
        elif isinstance(value, Mapping):
            for path, config in value.items():
                yield "/".join((*above, path)).lower(), _dearest(config)
        elif isinstance(value, list):
            for path in value:
                yield "/".join((*above, path)).lower(), 1.0


def _dearest(config: Any) -> float:
    if isinstance(config, Mapping):
        return max((float(v) for v in config.values() if isinstance(v, int | float)), default=1.0)
    return float(config) if isinstance(config, int | float) else 1.0
