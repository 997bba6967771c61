"""An account as the core sees it, and the route it is reached by.

There may be as many accounts as robots, nearly all of them quiet. So what an account always has is kept small: instants
in columns, one number where it has one robot, and everything out of the way in an `Agenda`, of which all quiet accounts
share one that is empty.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from fleetsync.book import Book
from fleetsync.cadence import StretchClock
from fleetsync.health import Circuit
from fleetsync.heap import DueHeap
from fleetsync.law import Law
from fleetsync.messages import Call
from fleetsync.model import Account, Surface
from fleetsync.planner import Prices
from fleetsync.tariff import Tariff

T = TypeVar("T")

# What is empty is one shared, read-only thing, and not one an account.
NOTHING: Mapping[Any, Any] = MappingProxyType({})
NOBODY = cast("list[int]", ())


class Stamps:
    """When the lists of every account were read last, as columns by the account's index.

    `*_key_ms` are stretched instants, from which the next runs count; `*_as_of_ms` are real ones. A column is as long
    as it has been written to: where no account is asked for its conditional orders, they take no memory.
    """

    __slots__ = ("conditional_as_of_ms", "conditional_key_ms", "orders_as_of_ms", "orders_key_ms", "positions_as_of_ms",
                 "positions_key_ms", "shortening")

    def __init__(self) -> None:
        self.positions_key_ms = array("q")
        self.positions_as_of_ms = array("q")
        self.orders_key_ms = array("q")  # of the last list of all symbols
        self.orders_as_of_ms = array("q")
        self.conditional_key_ms = array("q")
        self.conditional_as_of_ms = array("q")
        self.shortening = array("d")  # the account's draw of jitter, so that its robots stay together

    def clear(self, index: int) -> None:
        """Another account has this index now."""
        for name in self.__slots__:
            column = getattr(self, name)
            if index < len(column):
                column[index] = 0

    def grow(self, accounts: int) -> None:
        """Make room for what every account has."""
        for column in (self.positions_key_ms, self.positions_as_of_ms, self.shortening):
            column.extend([0] * (accounts - len(column)))


@dataclass(slots=True, eq=False)
class Route:
    """One exchange through one egress."""

    exchange: str
    egress: str
    tariff: Tariff
    prices: Prices
    stretch: StretchClock
    robots: DueHeap  # slots, by stretched instant
    ready: DueHeap  # accounts with due robots, by their oldest key
    urgent: DueHeap  # accounts with events or open questions, by real instant
    weights_max: dict[str, int]  # per quota, the largest single charge
    conditional: bool  # whether conditional orders are a surface that syncs bring
    one_list: bool  # whether the list of positions answers all that is to be known of an account that holds nothing
    routine: tuple[Call, ...] = (Call(Surface.POSITIONS),)  # what a quiet account is asked there
    stamps: Stamps = field(default_factory=Stamps)  # one for all routes of a fleet
    circuit: Circuit = field(default_factory=Circuit)
    law: Law = field(default_factory=Law)  # of the adaptive mode
    urgent_blocked_ms: int = 0  # until when nothing can be granted ...
    scheduled_blocked_ms: int = 0  # ... and until when nothing can but urgent work
    frozen_until_ms: int = 0  # banned: nothing may be sent before, whatever else is free again
    due: int = 0  # robots waiting in `ready` accounts
    name: str = field(init=False)  # for people and for ledger keys

    def __post_init__(self) -> None:
        self.name = f"{self.exchange}@{self.egress}" if self.egress else self.exchange

    @property
    def freeze_key(self) -> str:
        """Under which a freeze of the whole route is stored, beside those of single ledgers."""
        return f"{self.name}:*"

    def keep_time(self, now_ms: int) -> None:
        """Let stretched time have stood still for as long as the oldest ready account has waited too long."""
        if self.ready.live and (head_ms := self.ready.next_due_at_ms()) is not None:
            self.stretch.waited(head_ms, now_ms)

    def freeze(self, until_ms: int) -> None:
        """Let nothing go before an instant; an earlier freeze may last longer."""
        self.frozen_until_ms = max(self.frozen_until_ms, until_ms)
        self.unblock()

    def unblock(self) -> None:
        """Try again what was deferred: something may have room now. It takes more than that to lift a freeze."""
        self.urgent_blocked_ms = self.scheduled_blocked_ms = self.frozen_until_ms


@dataclass(slots=True, eq=False)
class Agenda:
    """What there is about an account beyond its routine: urgent work, open questions, rests, faults."""

    urgent: Mapping[int, int] = field(default_factory=lambda: NOTHING)  # robots to be looked at at once, and since when
    questions: Mapping[Call, int] = field(default_factory=lambda: NOTHING)  # open ones, and when they may be asked
    pages: Mapping[Surface, int] = field(default_factory=lambda: NOTHING)  # that the last answers needed, beyond one
    wants_rows: frozenset[tuple[Surface, str]] = frozenset()
    """Lists (surface, symbol) of which "as before" would not tell what we know: the next answer must carry its rows."""
    left_over: tuple[Call, ...] = ()  # of the last plan: what its grant could not hold, first in the next one
    parked_until_ms: int = 0
    failures: int = 0
    stopped: str = ""
    last_fault: str = ""

    def __bool__(self) -> bool:
        return bool(self.urgent or self.questions or self.pages or self.wants_rows or self.left_over
                    or self.parked_until_ms or self.failures or self.stopped or self.last_fault)


CLEAR = Agenda()  # everybody's who has nothing on it; never written to


_ZERO: Any = 0  # in a column that is not as long yet


class _InColumn(Generic[T]):
    """A field that is kept in the column of its name."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name, self._column_of = name, attrgetter(f"route.stamps.{name}")

    def __get__(self, state: "AccountState", owner: type | None = None) -> T:
        column: Any = self._column_of(state)
        value: T = column[state.index] if state.index < len(column) else _ZERO
        return value

    def __set__(self, state: "AccountState", value: T) -> None:
        column = getattr(state.route.stamps, self._name)
        if state.index >= len(column):
            column.extend([0] * (state.index + 1 - len(column)))
        column[state.index] = value


class _OnAgenda(property, Generic[T]):
    """A field that is kept on the agenda; the account gets one of its own when the first is set.

    A property of `attrgetter`, since these are read several times a sync and more: no Python code runs for that.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        def change(state: "AccountState", value: T) -> None:
            if state.agenda is CLEAR:
                if not value:
                    return
                state.agenda = Agenda()
            setattr(state.agenda, name, value)

        super().__init__(attrgetter(f"agenda.{name}"), change)

    if TYPE_CHECKING:
        def __get__(self, state: Any, owner: type | None = None) -> T: ...  # type: ignore[override]  # typed
        def __set__(self, state: Any, value: T) -> None: ...


@dataclass(slots=True, eq=False)
class AccountState:
    """One account and what its answers have shown."""

    index: int
    account: Account
    route: Route
    worker: int
    robots: int | list[int] = NOBODY  # slots: its only one, or the list of several; see `slots`
    waiting: list[int] = NOBODY  # due robots, not dispatched yet; see `wait`
    busy: int = 0  # the sync in flight; 0: none
    books: Mapping[str, Book] = field(default_factory=lambda: NOTHING)  # those with something in them
    last_calls: tuple[Call, ...] = ()  # of the last sync
    agenda: Agenda = CLEAR

    positions_key_ms = _InColumn[int]()
    positions_as_of_ms = _InColumn[int]()
    orders_key_ms = _InColumn[int]()
    orders_as_of_ms = _InColumn[int]()
    conditional_key_ms = _InColumn[int]()
    conditional_as_of_ms = _InColumn[int]()
    shortening = _InColumn[float]()

    urgent = _OnAgenda[Mapping[int, int]]()
    questions = _OnAgenda[Mapping[Call, int]]()
    pages = _OnAgenda[Mapping[Surface, int]]()
    wants_rows = _OnAgenda[frozenset[tuple[Surface, str]]]()
    left_over = _OnAgenda[tuple[Call, ...]]()
    parked_until_ms = _OnAgenda[int]()
    failures = _OnAgenda[int]()
    stopped = _OnAgenda[str]()
    last_fault = _OnAgenda[str]()

    @property
    def slots(self) -> Sequence[int]:
        """Its robots."""
        return (self.robots,) if isinstance(self.robots, int) else self.robots

    @property
    def was_read(self) -> bool:
        """Whether any list of all its symbols was read: rows of symbols that no robot traded then were left out."""
        return bool(self.positions_as_of_ms or self.orders_as_of_ms or self.conditional_as_of_ms)

    def join(self, slot: int) -> None:
        """A robot more."""
        if isinstance(self.robots, int):
            self.robots = [self.robots, slot]
        elif self.robots:
            self.robots.append(slot)
        else:
            self.robots = slot

    def leave(self, slot: int) -> None:
        """A robot less."""
        left = [other for other in self.slots if other != slot]
        self.robots = left[0] if len(left) == 1 else left or NOBODY

    def own(self, table: str) -> dict[Any, Any]:
        """The account's dict of that name, to be written to: its own from now on."""
        holder: Any = self
        if table != "books":
            if self.agenda is CLEAR:
                self.agenda = Agenda()
            holder = self.agenda
        held = getattr(holder, table)
        if held is NOTHING:
            held = dict[Any, Any]()
            setattr(holder, table, held)
        return cast("dict[Any, Any]", held)

    def wait(self, slot: int) -> None:
        """A robot is due."""
        if self.waiting:
            self.waiting.append(slot)
        else:
            self.waiting = [slot]

    def came_back(self) -> None:
        """Its sync is over: nothing is in flight, and it rests no more unless what it brought says so."""
        self.busy = 0
        if self.agenda is not CLEAR:
            self.agenda.parked_until_ms = 0

    def row(self) -> dict[str, Any]:
        """As the store keeps it; it never holds a secret."""
        account = self.account
        return {"id": account.id, "exchange": account.exchange, "egress": account.egress, "stopped": self.stopped,
                "last_fault": self.last_fault}

    def tidy(self) -> None:
        """Give an agenda back on which nothing is left."""
        if self.agenda is not CLEAR and not self.agenda:
            self.agenda = CLEAR
