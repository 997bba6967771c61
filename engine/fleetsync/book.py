"""The words of `reconcile`: what is known of one account on one symbol, what a reading showed, what may follow.

A `Book` holds only what is proven. What a complete reading no longer shows becomes a `Doubt` beside it: still known,
not yet gone, with a `Question` to the exchange whose answer is evidence.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from fleetsync.messages import Call, Rows
from fleetsync.model import Certainty, Order, Position, Surface
from fleetsync.units import MINUTE_MS

MEMORY_MS = 10 * MINUTE_MS
"""What has ended is remembered this long at least: an answer from before its end must not be taken for news."""


class Doubt(NamedTuple):
    """Something known that a complete reading did not show."""

    key: str  # "position:long" or "order:8389765"
    first_at_ms: int  # as_of of the first reading that missed it
    last_at_ms: int  # as_of of the latest
    reads: int  # complete readings that missed it
    asked: int = 0  # answers to its questions that proved nothing
    proven: str = ""  # for a position: what has proven the end already, while its cause is being looked up ...
    over_at_ms: int = 0  # ... and the exchange's instant of that end; 0 where unknown
    not_found_at_ms: int = 0  # for an order: as_of of the last answer "not found" that was counted
    fills_read: bool = False  # its fills were read to the end since, and did not end it


class Book(NamedTuple):
    """What is known of one account on one symbol. An empty one says: proven, and nothing there."""

    account: str
    symbol: str
    positions: tuple[Position, ...] = ()
    orders: tuple[Order, ...] = ()  # resting ones, conditional ones included
    doubts: tuple[Doubt, ...] = ()
    ended: tuple[Order, ...] = ()  # the latest ended orders: an old list must not bring them back
    positions_as_of_ms: int = 0  # 0: never read
    orders_as_of_ms: int = 0
    conditional_as_of_ms: int = 0
    closed: tuple[Position, ...] = ()  # the last closed one of each side, as of its close: an older row is no new one
    shown_at_ms: int = 0  # as_of of the latest list, whole or not, that showed a position here
    hinted: bool = False  # the newest list of positions names the symbol, and its orders were not read since
    told_at_ms: int = 0  # when something of it was last told, by our clock: the exchange's may be hours away

    @property
    def hides_orders(self) -> bool:
        """Its symbol was named and nothing is known to account for it: orders must rest there."""
        return self.hinted and not (self.positions or self.orders)

    @property
    def is_quiet(self) -> bool:
        """Nothing there and nothing open: all that can be said of it is how old that knowledge is."""
        return not (self.positions or self.orders or self.doubts or self.hinted)

    def certainty(self, surface: Surface) -> Certainty:
        """How far a surface of this book can be trusted."""
        as_of_ms = {
            Surface.POSITIONS: self.positions_as_of_ms,
            Surface.ORDERS: self.orders_as_of_ms,
            Surface.CONDITIONAL: self.conditional_as_of_ms,
        }[surface]
        if not as_of_ms:
            return Certainty.UNKNOWN
        prefix = "position:" if surface is Surface.POSITIONS else "order:"
        disputed = any(doubt.key.startswith(prefix) for doubt in self.doubts)
        return Certainty.DISPUTED if disputed else Certainty.AGREED


class Sight(NamedTuple):
    """What one answer showed of one book. A failed answer is a sight without rows that is not complete."""

    surface: Surface
    as_of_ms: int
    complete: bool
    rows: Rows = ()
    order_id: str = ""  # for Surface.ORDER: whom the question was about
    client_id: str = ""
    since_ms: int = 0  # for Surface.FILLS
    not_found: bool = False  # for Surface.ORDER: the exchange does not know it now ...
    conditional: bool = False  # ... among the conditional ones, which are asked for elsewhere; or among the others
    cut_off: bool = False  # for Surface.FILLS: not all of them, and more pages of them can never be granted


class Announcement(NamedTuple):
    """An accepted event, as far as it can explain a change: it names the cause, never the fact."""

    kind: str
    at_ms: int
    order_id: str = ""
    client_id: str = ""
    side: str = ""


class Question(NamedTuple):
    """Evidence that is wanted: a call, not to be made before an instant."""

    call: Call
    not_before_ms: int


class Rules(NamedTuple):
    """The spans that reconcile goes by (see `Settings` for what they mean), and whose orders are whose."""

    confirm_gap_ms: int = 250
    visibility_grace_ms: int = 10_000
    doubt_retry_ms: int = 2_000
    retry_max_ms: int = 30_000
    order_retention_ms: int = 3 * 86_400_000
    prefixes: tuple[str, ...] = ()  # client-id prefixes of the robots on this book
    looks_up: bool = True  # the exchange can be asked for one order; False: a list without it is all it ever says
    looks_up_conditional: bool = True  # the same of a conditional one


class Finding(NamedTuple):
    """A change before it has its number; see `model.Change`."""

    kind: str
    key: str
    cause: str
    before: Position | Order | None
    after: Position | Order | None
    evidence: dict[str, Any]
    exchange_at_ms: int
    seen_at_ms: int


class Reconciled(NamedTuple):
    """What reconcile returns: new knowledge, what changed, and what to ask."""

    book: Book
    findings: tuple[Finding, ...] = ()
    questions: tuple[Question, ...] = ()


def plain(value: Position | Order | None) -> dict[str, Any] | None:
    """A position or order as a plain dict, as changes carry it."""
    return None if value is None else value._asdict()


def merged(questions: Sequence[Question]) -> tuple[Question, ...]:
    """Each call once, at its earliest instant; fills of one symbol merge to the earliest start."""
    by_call: dict[tuple[str, ...], Question] = {}
    for question in questions:
        call = question.call
        key = (call.surface.value, call.symbol, call.order_id, call.client_id)
        old = by_call.setdefault(key, question)
        if old is not question:
            call = call._replace(since_ms=min(call.since_ms, old.call.since_ms))
            by_call[key] = Question(call, min(question.not_before_ms, old.not_before_ms))
    return tuple(by_call.values())
