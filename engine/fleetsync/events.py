"""Events and forced syncs that are still to be served. A hint is never the truth: it moves a robot to the front.

An event is served when every surface of its robot was read after it and nothing about the robot is disputed. One that
says what should become visible (an order id, a client id, a side) is asked again on a growing schedule until the
exchange shows it, or does not although it was asked when `settle_ms` was over: then the change `event_unseen` says so.
However long that asking has to wait (budget, outage, restart), nothing is called unseen that was not looked for.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from fleetsync.account import AccountState
from fleetsync.book import Announcement, Book, Finding
from fleetsync.config import Settings
from fleetsync.fleet import Fleet
from fleetsync.journal import Journal
from fleetsync.messages import SyncDone
from fleetsync.model import Fault, Order, Surface

KINDS = ("opened", "closed", "manual", "order_placed", "order_cancelled", "suspect")
_SETTLE_FIRST_MS = 50
_SETTLE_MAX_MS = 4_000
_DENIALS = {Fault.NOT_FOUND, Fault.REFUSED}  # the exchange does not know an order by that name, or takes it for none


@dataclass(frozen=True, slots=True)
class Event:
    """An accepted hint."""

    id: int
    slot: int
    robot: str
    kind: str
    at_ms: int
    order_id: str = ""
    client_id: str = ""
    side: str = ""  # "long" | "short" for positions
    text: str = ""
    tries: int = 0
    again_at_ms: int = 0  # what it names is not asked for again before this
    denied_at_ms: int = 0  # as_of of the exchange's last answer that it does not know the order

    @property
    def expects(self) -> bool:
        """Whether it says what should become visible."""
        return bool(self.order_id or self.client_id or self.side)

    @property
    def names_order(self) -> bool:
        """Whether the order can be asked for by itself."""
        return bool(self.order_id or self.client_id)

    def announcement(self) -> Announcement:
        """As reconcile takes it."""
        return Announcement(self.kind, self.at_ms, self.order_id, self.client_id, self.side)

    def plain(self) -> dict[str, Any]:
        """As the store keeps it."""
        return {name: getattr(self, name) for name in _KEPT}

    def named(self) -> dict[str, str]:
        """What it says beyond its kind, as far as it does."""
        return {name: getattr(self, name) for name in ("order_id", "client_id", "side") if getattr(self, name)}


_PASSING = {"slot", "tries", "again_at_ms", "denied_at_ms"}  # of this run only
_KEPT = tuple(field.name for field in fields(Event) if field.name not in _PASSING)


@dataclass(frozen=True, slots=True)
class Waiter:
    """Somebody awaits a robot's proven state: read no earlier than `not_before_ms`, by `deadline_ms`."""

    token: int
    slot: int
    not_before_ms: int
    deadline_ms: int


class Inbox:
    """Pending events and waiters, by robot."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.pending: dict[int, list[Event]] = {}
        self.restored: dict[int, dict[str, Any]] = {}
        self.waiters: dict[int, list[Waiter]] = {}
        self.last_id = 0
        self.accepted = 0

    def restore(self, events: dict[int, dict[str, Any]], last_id: int) -> None:
        """Events that an earlier run accepted and did not serve; they come back when their robots are added.

        Numbers go on after `last_id`: changes and people name events by them, so none is ever given twice.
        """
        self.restored = dict(events)
        self.last_id = max(last_id, *events, 0)

    def next_id(self) -> int:
        """A number for a new event."""
        self.last_id += 1
        return self.last_id

    def accept(self, event: Event, journal: Journal) -> None:
        """Take an event in; it is durable with the next batch."""
        self.pending.setdefault(event.slot, []).append(event)
        self.accepted += 1
        journal.batch.events[event.id] = event.plain()
        journal.asked(event.at_ms, event.robot, event.kind, event.named())

    def wait(self, waiter: Waiter, fleet: Fleet, journal: Journal, now_ms: int) -> None:
        """Take a forced sync in."""
        journal.asked(now_ms, fleet.ids[waiter.slot], "sync", {"max_age_ms": max(now_ms - waiter.not_before_ms, 0)})
        self.waiters.setdefault(waiter.slot, []).append(waiter)

    def announced(self, slots: Iterable[int]) -> list[Announcement]:
        """What pending events of these robots can explain."""
        return [event.announcement() for slot in slots for event in self.pending.get(slot, ())]

    def wanted_since_ms(self, slot: int) -> int:
        """Since when a robot has to have been read for all that waits on it."""
        wanted = [event.at_ms for event in self.pending.get(slot, ())]
        return max([*wanted, *(waiter.not_before_ms for waiter in self.waiters.get(slot, ()))], default=0)

    def robot_removed(self, slot: int, journal: Journal) -> None:
        """Nobody is left to serve."""
        for event in self.pending.pop(slot, ()):
            journal.batch.events[event.id] = None
        for waiter in self.waiters.pop(slot, ()):
            journal.answered.append((waiter.token, "the robot was removed"))

    def check(self, slot: int, state: AccountState, fleet: Fleet, journal: Journal, now_ms: int) -> int | None:
        """Serve what the readings so far have proven for a robot; returns when to look again, if something is left."""
        again_ms: list[int] = []
        events = self.pending.get(slot)
        if events:
            left = [kept for event in events
                    if (kept := self._looked_at(event, state, fleet, journal, now_ms)) is not None]
            if left:
                self.pending[slot] = left
                again_ms.append(max(min(event.again_at_ms for event in left), now_ms))
            else:
                del self.pending[slot]
        waiters = self.waiters.get(slot)
        if waiters:
            left_waiters = [waiter for waiter in waiters if not self.answered(waiter, fleet, journal)]
            if left_waiters:
                self.waiters[slot] = left_waiters
                again_ms.append(now_ms)
            else:
                del self.waiters[slot]
        return min(again_ms, default=None)

    def _looked_at(self, event: Event, state: AccountState, fleet: Fleet, journal: Journal,
                   now_ms: int) -> Event | None:
        """The event as it goes on waiting; None once it is served."""
        if not fleet.read_since(event.slot, event.at_ms) or _disputed(fleet, event.slot):
            return event if event.again_at_ms <= now_ms else replace(event, again_at_ms=now_ms)
        book = fleet.book(state, fleet.symbols[event.slot])
        if event.expects and not _visible(event, book):
            over_ms = event.at_ms + self._settings.settle_ms
            if not _looked_for(event, state, fleet, over_ms):
                if now_ms < event.again_at_ms:
                    return event
                wait_ms = min(_SETTLE_FIRST_MS << min(event.tries, 10), _SETTLE_MAX_MS)
                last_ms = over_ms if now_ms < over_ms else now_ms + wait_ms
                return replace(event, tries=event.tries + 1, again_at_ms=min(now_ms + wait_ms, last_ms))
            journal.change(state.account.id, book.symbol, (event.robot,), Finding(
                "event_unseen", f"event:{event.id}", "event", None, None, {"event": event.plain()}, 0,
                state.positions_as_of_ms))
        journal.batch.events[event.id] = None
        journal.served.append((event.id, event.at_ms))
        return None

    def hear(self, done: SyncDone, state: AccountState, fleet: Fleet) -> None:
        """Note which orders the exchange does not know by the name that they were asked for.

        A status that is no known word tells as much as none: neither that the order rests, nor that it has ended.
        """
        if not self.pending or not done.requests:
            return
        for answer in done.answers:
            call = answer.call
            untold = any(isinstance(row, Order) and row.status == "unknown" for row in answer.rows or ())
            if call.surface is not Surface.ORDER or not (untold or answer.fault in _DENIALS):
                continue
            for slot in fleet.slots_on(state, call.symbol):
                for place, event in enumerate(self.pending.get(slot, ())):
                    if (event.order_id, "" if event.order_id else event.client_id) == (call.order_id, call.client_id):
                        self.pending[slot][place] = replace(event, denied_at_ms=answer.as_of_ms)

    def answered(self, waiter: Waiter, fleet: Fleet, journal: Journal) -> bool:
        """Answer a forced sync if what is known is young enough and undisputed, or if its robot is stopped."""
        state = fleet.state_of(waiter.slot)
        stopped = fleet.stopped.get(waiter.slot) or state.stopped
        if stopped:
            journal.answered.append((waiter.token, f"stopped: {stopped}"))
            return True
        if not fleet.read_since(waiter.slot, waiter.not_before_ms) or _disputed(fleet, waiter.slot):
            return False
        journal.answered.append((waiter.token, ""))
        return True

    def expire(self, now_ms: int, fleet: Fleet, journal: Journal) -> None:
        """Answer the forced syncs whose time is over, saying what is missing."""
        for slot, waiters in list(self.waiters.items()):
            left = []
            for waiter in waiters:
                if waiter.deadline_ms > now_ms:
                    left.append(waiter)
                else:
                    journal.answered.append((waiter.token, _missing(fleet, waiter)))
            if left:
                self.waiters[slot] = left
            else:
                del self.waiters[slot]

    def next_expiry_at_ms(self) -> int | None:
        """When the first forced sync runs out of time."""
        if not self.waiters:
            return None
        return min((waiter.deadline_ms for waiters in self.waiters.values() for waiter in waiters), default=None)


def _disputed(fleet: Fleet, slot: int) -> bool:
    """Whether a question is open about a robot; one that is stopped meanwhile stays open."""
    book = fleet.state_of(slot).books.get(fleet.symbols[slot])
    return book is not None and bool(book.doubts)


def _looked_for(event: Event, state: AccountState, fleet: Fleet, since_ms: int) -> bool:
    """Whether what an event expects was asked for, in every way there is, at or after an instant."""
    by_name = event.names_order and Surface.ORDER.value in state.route.tariff.costs
    return fleet.read_since(event.slot, since_ms) and (not by_name or event.denied_at_ms >= since_ms)


def _visible(event: Event, book: Book) -> bool:
    """Whether the book shows what the event said would become visible."""
    if event.order_id or event.client_id:
        def named(order_id: str, client_id: str) -> bool:
            return order_id == event.order_id or bool(event.client_id and client_id == event.client_id)

        resting = any(named(order.id, order.client_id) for order in book.orders)
        ended = any(named(order.id, order.client_id) for order in book.ended)
        return ended or (not resting if event.kind in {"order_cancelled", "closed"} else resting)
    held = any(position.side == event.side for position in book.positions)
    return not held if event.kind == "closed" else held


def _missing(fleet: Fleet, waiter: Waiter) -> str:
    state = fleet.state_of(waiter.slot)
    if state.last_fault:
        return f"the exchange could not be read: {state.last_fault}"
    if _disputed(fleet, waiter.slot):
        return "what the exchange showed is still disputed"
    if state.parked_until_ms or state.route.circuit.is_open:
        return "the account or its exchange is resting after faults"
    return "the budget or the exchange left no time for it"
