"""How any other exchange is asked: ccxt's unified methods, with what is special about one exchange as data."""

from collections.abc import Callable
from typing import Any

import orjson

from fleetsync.messages import Call
from fleetsync.model import Position, Surface
from fleetsync_adapters import ccxt_rows as rows
from fleetsync_adapters.ccxt_reading import BadBody, Markets, Reading, UnknownSymbol, list_of


async def read_unified(client: Any, call: Call, markets: Markets, _now_ms: Callable[[], int]) -> Reading:
    """Ask one question.

    Raises:
        BadBody: the answer is not what was asked for.
        Exception: whatever ccxt raises.
    """
    if call.symbol and call.symbol not in markets:
        raise UnknownSymbol(f"{call.symbol!r} is not listed")
    symbol = call.symbol or None
    match call.surface:
        case Surface.POSITIONS:
            found = list_of(await client.fetch_positions([symbol] if symbol else None))
            positions: tuple[Position, ...] = tuple(rows.unified_position(row) for row in found)
            return Reading(sorted(orjson.dumps(p) for p in positions), lambda: positions, complete=True)
        case _:
            raise BadBody(f"{call.surface.value} is no question for an account")
