"""A tariff: what an exchange limits, and what each question costs in those limits. Pure data; a TOML file each.

A *quota* admits `limit` units a `window_ms` within a scope. A call has a *cost*: an endpoint and a weight in each of
the exchange's quotas that it touches. The operator's own cap (`calls_per_minute`) is no part of a tariff: it holds over
all.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from fleetsync.messages import Call
from fleetsync.model import Surface


class Scope(StrEnum):
    """Who shares one ledger of a quota."""

    EGRESS = "egress"  # all accounts behind one address, on one exchange
    ACCOUNT = "account"
    ENDPOINT = "endpoint"  # one endpoint of one account
    INSTRUMENT = "instrument"  # one symbol of one account


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit of an exchange: at most `limit` units within `window_ms`, in each ledger of its scope."""

    name: str
    scope: Scope
    limit: int
    window_ms: int
    aligned: bool = False  # the exchange counts in windows aligned to its clock, not in sliding ones

    def __post_init__(self) -> None:
        if self.limit < 1 or self.window_ms < 1:
            raise ValueError(f"quota {self.name!r}: limit and window must be above 0")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one HTTP request for a question costs: its endpoint and its weight in each quota it touches."""

    endpoint: str
    weights: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Tariff:
    """Everything the engine has to know about one exchange, as data."""

    exchange: str
    quotas: tuple[Quota, ...]
    costs: dict[str, Cost]  # by `question(call)`: "orders", "orders:symbol", ...
    surfaces: tuple[Surface, ...] = (Surface.POSITIONS, Surface.ORDERS)  # those a sync of a robot brings
    page_rows: dict[Surface, int] = field(default_factory=dict)  # rows a page; absent: never cut short
    parts: dict[Surface, int] = field(default_factory=dict)  # requests that make one list, be it empty; absent: 1
    # A complete list of positions that leaves a symbol out proves that no order rests there either
    # (Binance USD-M positionRisk v3 lists "only symbols with a position or an open order").
    positions_show_orders: bool = False
    order_retention_ms: int = 3 * 86_400_000  # after this an unfilled, ended order cannot be asked for any more
    exact: bool = True  # False: made from ccxt's own table, which is known to be wrong in places

    def cost(self, call: Call) -> Cost:
        """What one page of `call` costs.

        Raises:
            KeyError: this exchange cannot be asked that.
        """
        return self.costs[question(call)]

    def offers(self, surface: Surface, *, all_symbols: bool) -> bool:
        """Whether the surface can be asked for all symbols at once, or for one."""
        return (surface.value if all_symbols else f"{surface.value}:symbol") in self.costs


CONDITIONAL_ORDER = "order:conditional"  # the look-up of one conditional order, where there is one
_BY_SYMBOL = {surface: f"{surface.value}:symbol"
              for surface in (Surface.ORDERS, Surface.CONDITIONAL, Surface.POSITIONS)}
_WHOLE = {surface: surface.value for surface in Surface}  # made once: an enum's value is dear to ask for


def question(call: Call) -> str:
    """The key of a call in `Tariff.costs`."""
    surface = call.surface
    if call.symbol and surface in _BY_SYMBOL:
        return _BY_SYMBOL[surface]
    if call.conditional and surface is Surface.ORDER:
        return CONDITIONAL_ORDER
    return _WHOLE[surface]
