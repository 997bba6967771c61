"""How the exchange misbehaves: by seed (a share of all requests) or by order ("the next n that match").

Deciding is pure: (plan, number of the request, endpoint, account) -> the misdeeds of this request. Applying them is the
desk's work; what each one means is written beside its name. Randomness is the seed and the request's number.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fleetsync_adapters.paper.seeded import between, chance


class Misdeed(StrEnum):
    """What can go wrong with one request."""

    LATENCY = "latency"  # it arrives late: done and answered after `delay_ms`
    LATE_ANSWER = "late_answer"  # done at once, answered after `delay_ms` with what was true then
    LOST_REQUEST = "lost_request"  # never arrives, never answered: a time-out before execution
    LOST_ANSWER = "lost_answer"  # done, but never answered: a time-out after execution
    RESET = "reset"  # the connection is reset before anything is done
    RESET_AFTER = "reset_after"  # the connection is reset after it was done
    SERVER_ERROR = "server_error"  # 5xx (`status`, usually 502), not done
    MAINTENANCE = "maintenance"  # 503 with a page for people, not done
    BUSY = "busy"  # 503 with -1008, not done
    UNKNOWN_DONE = "unknown_done"  # 503 "unknown": it was done
    UNKNOWN_NOT_DONE = "unknown_not_done"  # 503 "unknown": it was not done
    THROTTLED = "throttled"  # 429 although the weight would do
    BANNED = "banned"  # 418, and the address stays locked out for `delay_ms` (0: as the limits say)
    CLOCK_SKEW = "clock_skew"  # for this request the exchange's clock is `delay_ms` ahead (negative: behind)
    TRUNCATED = "truncated"  # 200 with half a body
    HTML = "html"  # 200 with a page for people
    EMPTY_BODY = "empty_body"  # 200 with nothing
    EMPTY_OBJECT = "empty_object"  # 200 with {}
    EMPTY_LIST = "empty_list"  # 200 with [] in place of rows
    SHORT_PAGE = "short_page"  # at most `rows` rows, whatever limit was asked for
    DOUBLED_ROWS = "doubled_rows"  # every row twice
    OLDER_STATE = "older_state"  # this surface answers what was true `delay_ms` ago
    REPEATED = "repeated"  # what was true when the same question was last asked: its old answer once more
    NOT_FOUND = "not_found"  # an order that is there is not found (yet)
    FORGOTTEN = "forgotten"  # ended orders are not found: retention has passed


_PLACES = {kind: place for place, kind in enumerate(Misdeed)}
_DONE_NEVER = frozenset({
    Misdeed.LOST_REQUEST, Misdeed.RESET, Misdeed.SERVER_ERROR, Misdeed.MAINTENANCE, Misdeed.BUSY,
    Misdeed.UNKNOWN_NOT_DONE, Misdeed.THROTTLED, Misdeed.BANNED,
})


@dataclass(frozen=True, slots=True)
class Fault:
    """One misdeed with its figures."""

    kind: Misdeed
    delay_ms: int = 0
    rows: int = 1
    status: int = 502

    @property
    def prevents(self) -> bool:
        """Whether the request is not executed at all."""
        return self.kind in _DONE_NEVER


@dataclass(slots=True)
class FaultOrder:
    """An operator's order: the next `count` requests that match do this."""

    fault: Fault
    endpoint: str = ""  # a part of "GET /fapi/v3/positionRisk"; "" matches all
    account: str = ""  # the exchange's own account id; "" matches all
    count: int = 1

    def matches(self, endpoint: str, account: str) -> bool:
        """Whether it is meant."""
        return self.count > 0 and self.endpoint in endpoint and self.account in {"", account}


@dataclass(frozen=True, slots=True)
class FaultRates:
    """Seeded misbehaviour: the share of requests (0..1) that meet each misdeed."""

    seed: int = 0
    shares: dict[Misdeed, float] = field(default_factory=dict)
    delay_ms: tuple[int, int] = (200, 3000)  # between these, for the misdeeds that need a span
    rows: int = 3
    latency_ms: tuple[int, int] = (0, 0)  # every request takes so long

    def __post_init__(self) -> None:
        for kind, share in self.shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"the share of {kind.value} must be between 0 and 1, was {share}")
        for name in ("delay_ms", "latency_ms"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} must be two spans, the smaller one first, was {low}, {high}")


class Faults:
    """Decides what each request meets."""

    def __init__(self, rates: FaultRates | None = None) -> None:
        """No misbehaviour unless there are rates."""
        self.rates = rates or FaultRates()
        self.orders: list[FaultOrder] = []
        self.met: dict[Misdeed, int] = {}
        self._number = 0

    def order(self, orders: Iterable[FaultOrder]) -> None:
        """Add an operator's orders."""
        self.orders.extend(orders)

    def clear(self) -> None:
        """Behave from now on."""
        self.orders.clear()
        self.rates = FaultRates()

    @property
    def remembers_questions(self) -> bool:
        """Whether the desk has to note when each question was last asked."""
        return Misdeed.REPEATED in self.rates.shares or any(
            one.fault.kind is Misdeed.REPEATED for one in self.orders
        )

    def latency_ms(self) -> int:
        """How long the request that was decided last is under way."""
        low, high = self.rates.latency_ms
        return between(low, high, self.rates.seed, self._number, 99) if high else 0

    def decide(self, endpoint: str, account: str) -> tuple[Fault, ...]:
        """The misdeeds of the next request; orders go before rates, and one order is enough."""
        self._number += 1
        if not self.orders and not self.rates.shares:
            return ()
        for order in self.orders:
            if order.matches(endpoint, account):
                order.count -= 1
                if order.count == 0:
                    self.orders.remove(order)
                return self._meet((order.fault,))
        return self._meet(drawn(self.rates, self._number))

    def _meet(self, faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
        for fault in faults:
            self.met[fault.kind] = self.met.get(fault.kind, 0) + 1
        return faults


def drawn(rates: FaultRates, number: int) -> tuple[Fault, ...]:
    """The misdeeds that the rates give request `number`."""
    met = []
    for kind, share in rates.shares.items():
        place = _PLACES[kind]
        if chance(share, rates.seed, number, place):
            span_ms = between(*rates.delay_ms, rates.seed, number, place, 1)
            if kind is Misdeed.CLOCK_SKEW:  # ahead or behind, beyond any receive window
                span_ms = (span_ms + 60_000) * (1 if span_ms % 2 else -1)
            met.append(Fault(kind, span_ms, rates.rows))
    return tuple(met)


def fault_order_from(given: dict[str, Any]) -> FaultOrder:
    """A fault order from plain JSON: {"kind": "late_answer", "delay_ms": 500, "endpoint": "openOrders", "count": 2}.

    Raises:
        ValueError: an unknown kind or key, or a value of the wrong type.
    """
    known = {"kind": str, "delay_ms": int, "rows": int, "status": int, "endpoint": str, "account": str, "count": int}
    for key, value in given.items():
        if key not in known or type(value) is not known[key]:
            raise ValueError(f"fault order: {key!r} is unknown or not a {known.get(key, str).__name__}")
    if given.get("kind") not in set(Misdeed):
        raise ValueError(f"fault order: kind must be one of {', '.join(sorted(Misdeed))}, was {given.get('kind')!r}")
    figures = {key: given[key] for key in ("delay_ms", "rows", "status") if key in given}
    return FaultOrder(
        Fault(Misdeed(given["kind"]), **figures), given.get("endpoint", ""), given.get("account", ""),
        given.get("count", 1),
    )
