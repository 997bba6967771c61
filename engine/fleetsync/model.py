"""The words of the field as frozen values: no behaviour beyond checks.

`Robot` and `Account` are what the user declares. `Position`, `Order` and `Fill` are what an exchange shows. `Book` is
what we know of one account on one symbol, and `Change` is a proven difference between two books. What is made by the
million, rows and messages, is a named tuple: as frozen as a dataclass, and made in a fifth of the time.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

from fleetsync.units import LONGEST_SPAN_MS, SECOND_MS

PRIORITY_LEAST, PRIORITY_MOST = 0.001, 1_000_000
_CHANGES_PER_HOUR_MOST = 1_000_000


class Phase(IntEnum):
    """What a robot's last proven book says about it; decides its cadence."""

    UNKNOWN = 0  # nothing proven yet, or proven too long ago
    HOLDING = 1  # a position is open
    WORKING = 2  # orders rest, no position
    FLAT = 3  # neither


class Surface(StrEnum):
    """One thing that an exchange can be asked."""

    POSITIONS = "positions"  # every open position of the account
    ORDERS = "orders"  # resting orders, of one symbol or of all
    CONDITIONAL = "conditional"  # stop / take-profit orders, where the exchange keeps them apart
    ORDER = "order"  # one order by id
    FILLS = "fills"  # executions on one symbol since an instant
    MARKETS = "markets"  # the exchange's list of markets; asked once a worker
    TIME = "time"  # the exchange's clock: asked when it refuses our timestamps; a page is a sample


class Certainty(StrEnum):
    """How far a surface of a robot can be trusted."""

    AGREED = "agreed"  # proven at its `as_of`
    DISPUTED = "disputed"  # two readings differ and the question is open
    UNKNOWN = "unknown"  # never proven, or its proof is out of reach


class Fault(StrEnum):
    """Why a call brought no answer that can be used."""

    NETWORK = "network"  # refused, reset, timed out, DNS: may or may not have reached the exchange
    DOWN = "down"  # 5xx, maintenance, system busy
    RATE_LIMITED = "rate_limited"  # 429 and its relatives
    BANNED = "banned"  # 418 and its relatives: the address is locked out
    AUTH = "auth"  # wrong key, signature or permission
    CLOCK = "clock"  # the request's timestamp was outside the exchange's window
    BAD_SYMBOL = "bad_symbol"  # the exchange does not list the symbol
    NOT_FOUND = "not_found"  # the exchange does not know this order (now)
    MALFORMED = "malformed"  # a 200 whose body is not what was asked for
    EXPIRED = "expired"  # the grant ran out before the call was sent: it was never sent
    REFUSED = "refused"  # any other definite refusal


@dataclass(frozen=True, slots=True)
class Secret:
    """A credential; it prints as stars, everywhere."""

    reveal: str = field(repr=False)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Account:
    """One API key on one exchange: the unit whose calls are made, signed and limited."""

    id: str
    exchange: str  # a ccxt id
    api_key: Secret = Secret("")
    api_secret: Secret = Secret("")
    password: Secret = Secret("")  # the passphrase some exchanges ask for
    egress: str = ""  # accounts of one egress share the exchange's IP quotas


@dataclass(frozen=True, slots=True)
class Robot:
    """One strategy on one account and symbol: the unit that is scheduled."""

    id: str
    account: str
    symbol: str  # ccxt's unified symbol, "BTC/USDT:USDT"
    priority: float = 1.0  # weight when the budget is scarce: 2 is looked at twice as often
    enabled: bool = True
    holding_ms: int | None = None  # own intervals; None takes the fleet's
    working_ms: int | None = None
    flat_ms: int | None = None
    order_prefix: str = ""  # client order ids of this robot begin so; tells robots on one book apart
    changes_per_hour: float | None = None  # unannounced changes to expect, for the adaptive mode; None: learn them

    def __post_init__(self) -> None:
        if not PRIORITY_LEAST <= self.priority <= PRIORITY_MOST:
            raise ValueError(f"robot {self.id!r}: priority must be a number from {PRIORITY_LEAST:g} to "
                             f"{PRIORITY_MOST:,}, was {self.priority}")
        if self.changes_per_hour is not None and not 0 < self.changes_per_hour <= _CHANGES_PER_HOUR_MOST:
            raise ValueError(f"robot {self.id!r}: changes_per_hour must be above 0 and at most "
                             f"{_CHANGES_PER_HOUR_MOST:,}, was {self.changes_per_hour}")
        for name in ("holding_ms", "working_ms", "flat_ms"):
            span_ms = getattr(self, name)
            if span_ms is not None and not 0 < span_ms <= LONGEST_SPAN_MS:
                raise ValueError(f"robot {self.id!r}: {name} must be above 0 and at most ten years, was {span_ms}")


class Position(NamedTuple):
    """An open position as the exchange shows it. `size` is a positive canonical decimal in contracts or base units."""

    symbol: str
    side: str  # "long" | "short"
    size: str
    entry_price: str
    updated_at_ms: int  # the exchange's own instant, the latest that it may mean; 0 where it gives none
    hedged: bool = False  # the account keeps long and short apart; else a position of one side replaces the other

    @property
    def moved_from_ms(self) -> int:
        """The earliest instant that its last move may have had.

        Where an exchange tells the second alone, the last millisecond of it stands here: what ends like one is taken
        for one. Of the instants that are exact, one in a thousand does, and is read with a little more care.
        """
        at_ms = self.updated_at_ms
        return at_ms - SECOND_MS + 1 if at_ms % SECOND_MS == SECOND_MS - 1 else at_ms


class Order(NamedTuple):
    """An order as the exchange shows it; `status` uses ccxt's unified words plus `unknown`."""

    id: str
    client_id: str
    symbol: str
    side: str  # "buy" | "sell"
    type: str
    price: str  # "" for market orders
    size: str
    filled: str
    status: str  # "open" | "closed" | "canceled" | "expired" | "rejected" | "unknown"
    reduce_only: bool
    conditional: bool  # lives on the conditional surface
    created_at_ms: int
    updated_at_ms: int


class Fill(NamedTuple):
    """One execution. `client_id` is "" where the exchange does not show it on fills (Binance)."""

    id: str
    order_id: str
    symbol: str
    side: str  # "buy" | "sell"
    price: str
    size: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Change:
    """A proven difference, committed under a number without gaps.

    `before` and `after` hold a `Position` or an `Order` as plain dicts; None means "not there". Replaying from number 1
    (take out `before`, put in `after` unless it has ended) rebuilds the state.
    """

    number: int
    account: str
    symbol: str
    robots: tuple[str, ...]  # whom it concerns; several where a position is shared
    kind: str  # see `reconcile`: "position_opened", "order_ended", ...
    key: str  # "position:long", "order:8389765"
    cause: str  # "event", "robot", "fill", "external", "liquidation", "first_sight", "retention"
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    evidence: dict[str, Any]  # {"surfaces": [...], "orders": [...], "trades": [...], "reads": n}
    exchange_at_ms: int  # the exchange's instant of it; 0 where unknown
    seen_at_ms: int  # the reading that proved it was sent at this instant
