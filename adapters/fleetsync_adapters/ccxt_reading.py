"""What the ways to ask an exchange have in common: the names of its markets, and what one question brought."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from fleetsync.messages import Call, Rows
from fleetsync.model import Order
from fleetsync_adapters.ccxt_errors import order_not_found


class BadBody(Exception):
    """The exchange answered, and the answer is not what was asked for."""


class Unsupported(Exception):
    """The exchange cannot be asked that: nothing was sent."""


class UnknownSymbol(Exception):
    """The loaded markets do not list a symbol: nothing was asked."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one question brought: fields to compare it by, and its rows, parsed when somebody wants them.

    `key` is None for a question that is not asked again and again (an order, fills): it is never compared.
    """

    key: Sequence[Any] | None
    rows: Callable[[], Rows]
    complete: bool

    def digest(self) -> bytes:
        """The key in 16 bytes, so that an account with a thousand orders keeps no more than an empty one."""
        return hashlib.blake2b(orjson.dumps(self.key), digest_size=16).digest()


class Markets:
    """Names of markets, both ways; one for all views of a leader."""

    def __init__(self, markets: Mapping[str, Mapping[str, Any]], *, settle: str = "", kind: str = "") -> None:
        """Take the contracts among ccxt's markets, as far as the lists that will be asked for cover them.

        Args:
            markets: As ccxt loaded them.
            settle: Only those of this settle coin; "" takes all.
            kind: Only those that are this, `linear` or `inverse`; "" takes all.

        Raises:
            BadBody: there are none.
        """
        self._ids = {
            symbol: str(market["id"])
            for symbol, market in markets.items()
            if market.get("contract") and settle in {"", market.get("settle")} and (not kind or market.get(kind))
        }
        if not self._ids:
            raise BadBody("no contracts among the markets")
        self._symbols = {market_id: symbol for symbol, market_id in self._ids.items()}

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._ids

    def id_of(self, symbol: str) -> str:
        """The exchange's id of a unified symbol.

        Raises:
            UnknownSymbol: the markets do not list it.
        """
        try:
            return self._ids[symbol]
        except KeyError:
            raise UnknownSymbol(f"{symbol!r} is not listed") from None

    def symbol_of(self, market_id: str) -> str:
        """The unified symbol of an id. A market that is younger than the list keeps its id: its rows are not lost."""
        return self._symbols.get(market_id, market_id)


def list_of(body: Any) -> list[Mapping[str, Any]]:
    """The body as a list of rows.

    Raises:
        BadBody: it is none.
    """
    if not isinstance(body, list) or not {*map(type, body)} <= {dict}:
        raise BadBody(f"a list was due, {type(body).__name__} came")
    return body


def mapping_of(body: Any) -> Mapping[str, Any]:
    """The body as one row.

    Raises:
        BadBody: it is none.
    """
    if not isinstance(body, Mapping):
        raise BadBody(f"one row was due, {type(body).__name__} came")
    return body


def of_its_symbol(order: Order, call: Call) -> Reading:
    """What a look-up brought: the order that was asked for, if it is one of the symbol that was asked for.

    Some look-ups take no symbol, and hints name orders of others. That there is none on this symbol is an answer: taken
    for a broken body, it would be asked for again for ever, and the account rest meanwhile.

    Raises:
        Exception: ccxt's for an order that is not there.
    """
    if order.symbol != call.symbol:
        raise order_not_found(f"it is an order of {order.symbol}")
    return Reading(None, lambda: (order,), complete=True)
