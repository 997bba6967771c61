"""What the core has found and not yet handed on: rows to commit, numbered changes, notices, counts.

Changes are numbered here, in the order in which they were found, and go out in the same batch as the state they make.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fleetsync.account import AccountState
from fleetsync.book import Finding, plain
from fleetsync.fleet import Fleet, lean
from fleetsync.messages import Request
from fleetsync.meter import CallMeter
from fleetsync.model import Certainty, Change, Order, Position
from fleetsync.ports import Batch, Instants, Loaded
from fleetsync.units import MINUTE_MS

_AGES_A_ROW = 5  # so many robots' instants cost as much as one robot's row
_WORDS = {certainty: certainty.value for certainty in Certainty}  # cheaper than asking each for its value


@dataclass(frozen=True, slots=True)
class Notice:
    """Something people should know, said once for each `key` until it is over."""

    level: str  # "info" | "warning" | "error"
    key: str
    text: str


class Journal:
    """See the module's docstring."""

    def __init__(self, sync_records_per_second: int = 0) -> None:
        self._records_per_second = sync_records_per_second
        self._records_second, self._records = 0, 0
        self.batch = Batch()
        self.last_change = 0
        self.inherited: dict[str, tuple[list[Position], list[Order]]] = {}  # by account, of an earlier run
        self.ended: dict[str, list[Order]] = {}  # likewise: what has ended there lately
        self.closed: dict[str, list[Position]] = {}
        self.freezes: dict[str, int] = {}  # ledger key -> until
        self.notices: list[Notice] = []
        self.meter = CallMeter()
        self.uncertain_calls = 0  # granted to workers that never reported them
        self.statuses: dict[int, int] = {}  # HTTP status -> requests
        self.faults: dict[str, int] = {}
        self.syncs = 0
        self.changes = 0
        self.served: list[tuple[int, int]] = []  # (event id, accepted at) of events whose outcome is in `batch`
        self.answered: list[tuple[int, str]] = []  # (waiter, "" or why not) of forced syncs
        self.store_failing_since_ms = 0  # the store takes no commits since then; 0 while it does
        self._dirty: set[int] = set()
        self._aged: set[int] = set()
        self._unsure: dict[int, str] = {}  # how robots stand whose rows, as written last, do not say "agreed"
        self._dirty_accounts: list[AccountState] = []
        self._said: dict[str, int] = {}  # key -> into which minute it lasts; 0 where it is over only when it is said so

    def restore(self, loaded: Loaded, recent: Iterable[Change] = ()) -> None:
        """Continue the numbering of an earlier run; of its `recent` changes, what has ended is remembered."""
        self.inherited = loaded.by_account()
        for change in recent:
            if change.kind == "order_ended" and change.after is not None:
                self.ended.setdefault(change.account, []).append(Order(**change.after))
            elif change.kind == "position_closed" and change.before is not None:
                over = Position(**change.before)
                at_ms = max(over.updated_at_ms, change.exchange_at_ms)
                self.closed.setdefault(change.account, []).append(over._replace(updated_at_ms=at_ms))
        self.last_change = loaded.last_change

    # -- rows

    def robot_changed(self, slot: int) -> None:
        """The robot's row has to be written again."""
        self._dirty.add(slot)

    def robot_aged(self, slot: int) -> None:
        """The robot's row has to be told how old it is; if that is all that is new, that alone is written."""
        self._aged.add(slot)

    def robot_removed(self, robot_id: str, slot: int) -> None:
        """The robot's row goes."""
        self._dirty.discard(slot)
        self._aged.discard(slot)
        self._unsure.pop(slot, None)
        self._said.pop(f"robot:{robot_id}", None)
        self.batch.robots[robot_id] = None

    def account_changed(self, state: AccountState) -> None:
        """The account's row has to be written again."""
        self._dirty_accounts.append(state)

    def account_removed(self, state: AccountState) -> None:
        """The account's row goes. What it holds stays in the store, and is taken over should the account come back."""
        account, books = state.account.id, state.books.values()
        self._dirty_accounts = [other for other in self._dirty_accounts if other is not state]
        self._said.pop(f"account:{account}", None)
        self.batch.accounts[account] = None
        held = [row for book in books for row in book.positions], [order for book in books for order in book.orders]
        if any(held):
            self.inherited[account] = held
        if ended := [order for book in books for order in book.ended]:
            self.ended[account] = ended
        if closed := [row for book in books for row in book.closed]:
            self.closed[account] = closed

    def record(self, fleet: Fleet, state: AccountState, symbol: str, findings: Sequence[Finding]) -> None:
        """Number what reconcile found, and write the rows it changes."""
        account, slots = state.account.id, fleet.slots_on(state, symbol)
        for finding in findings:
            self._write_row(account, symbol, finding)
            order = finding.after or finding.before
            mine = owners(fleet, slots, order.client_id) if isinstance(order, Order) else slots
            self.change(account, symbol, tuple(fleet.ids[slot] for slot in mine), finding)

    def change(self, account: str, symbol: str, robots: tuple[str, ...], finding: Finding) -> None:
        """Number one change."""
        self.last_change += 1
        self.changes += 1
        self.batch.changes.append(Change(
            self.last_change, account, symbol, robots, finding.kind, finding.key, finding.cause,
            plain(finding.before), plain(finding.after), finding.evidence, finding.exchange_at_ms, finding.seen_at_ms))

    def found_since(self, number: int) -> set[str]:
        """Robots with an unannounced change above this number, of those not yet handed on."""
        fresh = self.batch.changes[-(self.last_change - number):] if self.last_change > number else ()
        return {robot for change in fresh if change.cause not in {"event", "first_sight"} for robot in change.robots}

    def _write_row(self, account: str, symbol: str, finding: Finding) -> None:
        before, after = finding.before, finding.after
        if isinstance(before, Position):
            self.batch.positions[account, symbol, before.side] = None
        if isinstance(after, Position):
            self.batch.positions[account, symbol, after.side] = after
        if isinstance(after, Order):
            self.batch.orders[account, symbol, after.id] = None if finding.kind == "order_ended" else after

    def asked(self, at_ms: int, robot: str, what: str, detail: dict[str, Any]) -> None:
        """Something came from outside; kept as long as syncs are."""
        if self._records_per_second and not self.store_failing_since_ms:
            self.batch.asked[at_ms, robot, what] = detail

    def froze(self, key: str, until_ms: int) -> None:
        """A ledger was frozen; a restart must know."""
        self.freezes[key] = until_ms
        self.batch.freezes[key] = until_ms

    def take_batch(self, fleet: Fleet, rows_max: int | None = None) -> Batch:
        """What there is to commit since the last call: all of it, or what `rows_max` leaves of robots' rows.

        With 0 it is what somebody waits for, and the rows of the robots that its changes name: records and other rows
        are left for a later batch, and hold nobody up.
        """
        batch, self.batch = self.batch, Batch()
        dirty = {fleet.slot_of.get(robot, -1) for change in batch.changes for robot in change.robots} & self._dirty
        self._dirty -= dirty
        if rows_max == 0:
            self.batch.syncs, batch.syncs = batch.syncs, []
            self.batch.asked, batch.asked = batch.asked, {}
        else:
            dirty.update(_taken(self._dirty, rows_max))
            aged = _taken(self._aged, None if rows_max is None else rows_max * _AGES_A_ROW)
            dirty.update(self._age(fleet, batch, aged - dirty))
        for slot in dirty:
            state = fleet.account_of[slot]
            if state is not None:
                row = batch.robots[fleet.ids[slot]] = robot_row(fleet, slot, state)
                self._unsure.pop(slot, None)
                if row["certainty"] != Certainty.AGREED:
                    self._unsure[slot] = _standing(row["certainty"], row["stopped"])
        batch.accounts.update((state.account.id, state.row()) for state in self._dirty_accounts)
        self._dirty_accounts = []
        self._dirty, self._aged, self._unsure = lean(self._dirty), lean(self._aged), lean(self._unsure)
        return batch

    @property
    def owes_rows(self) -> bool:
        """Whether more rows wait than the last batch was allowed to hold."""
        return bool(self._dirty or self._aged)

    def _age(self, fleet: Fleet, batch: Batch, slots: Iterable[int]) -> Iterator[int]:
        """Put robots' instants into the batch; gives those of which more is new than that."""
        ids, account_of, unsure = fleet.ids, fleet.account_of, self._unsure
        for slot in slots:
            state = account_of[slot]
            if state is None:
                continue
            certainty = fleet.certainty(slot)
            agreed = certainty is Certainty.AGREED
            standing = None if agreed else _standing(_WORDS[certainty], stopped_by(fleet, slot, state))
            if standing != unsure.get(slot) or slot in self._dirty:
                yield slot
            else:
                batch.ages[ids[slot]] = instants(fleet, slot, state)

    def take_served(self) -> list[tuple[int, int]]:
        """Events whose outcome the batch just taken carries: (event id, accepted at)."""
        served, self.served = self.served, []
        return served

    def take_answered(self) -> list[tuple[int, str]]:
        """Forced syncs that are answered once the batch just taken is committed: (waiter, why not)."""
        answered, self.answered = self.answered, []
        return answered

    # -- what people see

    def notice(self, level: str, key: str, text: str, until_ms: int = 0) -> None:
        """Say something once; again only after `over(key)`, or, if it ends by itself, once it lasts a minute longer."""
        minute = until_ms // MINUTE_MS
        if minute > self._said.get(key, -1):
            self._said[key] = minute
            self.notices.append(Notice(level, key, text))

    def over(self, key: str, text: str = "") -> None:
        """What was said under `key` is over."""
        if self._said.pop(key, None) is not None and text:
            self.notices.append(Notice("info", key, text))

    def take_notices(self) -> list[Notice]:
        """What was noticed since the last call."""
        notices, self.notices = self.notices, []
        return notices

    def count_requests(self, requests: Iterable[Request]) -> None:
        """Every HTTP request that a worker reports, whatever came of it."""
        for request in requests:
            self.meter.count(request.sent_at_ms)
            self.statuses[request.status] = self.statuses.get(request.status, 0) + 1

    def wants_record(self, now_ms: int) -> bool:
        """Whether one more sync of this second is recorded; none while they could only pile up."""
        if self.store_failing_since_ms:
            return False
        if now_ms // 1000 != self._records_second:
            self._records_second, self._records = now_ms // 1000, 0
        self._records += 1
        return self._records <= self._records_per_second

    def count_fault(self, fault: str) -> None:
        """One call without a usable answer."""
        self.faults[fault] = self.faults.get(fault, 0) + 1


def _standing(certainty: str, stopped: str) -> str:
    """Both as one text, which nearly all robots share."""
    return f"{certainty}, {stopped}" if stopped else certainty


def _taken(waiting: set[int], most: int | None) -> set[int]:
    """Take out up to `most`; all, where that is None."""
    return {waiting.pop() for _ in range(len(waiting) if most is None else min(most, len(waiting)))}


def owners(fleet: Fleet, slots: Sequence[int], client_id: str) -> Sequence[int]:
    """Which of the robots on one book an order belongs to: those whose prefix it carries; all, where none's fits."""
    if len(slots) < 2:
        return slots
    return [slot for slot in slots if client_id.startswith(fleet.prefix_of.get(slot) or "\0")] or slots


def instants(fleet: Fleet, slot: int, state: AccountState) -> Instants:
    """When each surface of a robot was true, when it was synced, and when an event named it last."""
    read_ms, event_ms = fleet.stamps.positions_as_of_ms[state.index], fleet.last_event_at_ms[slot]
    orders_ms = fleet.orders_as_of(state, slot)
    conditional_ms = state.conditional_as_of_ms if state.route.conditional else 0
    if state.route.one_list and not state.books:  # the list of positions answers all that is to be known
        return read_ms, orders_ms, conditional_ms, read_ms, event_ms
    return read_ms, orders_ms, conditional_ms, fleet.age_from(slot, read_ms, orders_ms), event_ms


def stopped_by(fleet: Fleet, slot: int, state: AccountState) -> str:
    """Why a robot is stopped, itself or with its account; "" where it runs."""
    return fleet.stopped.get(slot, "") or state.agenda.stopped


def robot_row(fleet: Fleet, slot: int, state: AccountState) -> dict[str, Any]:
    """A robot as the store keeps it."""
    intervals = fleet.intervals_of.get(slot)
    certainty = fleet.certainty(slot)
    positions_ms, orders_ms, conditional_ms, sync_ms, event_ms = instants(fleet, slot, state)
    return {
        "id": fleet.ids[slot], "account": state.account.id, "symbol": fleet.symbols[slot],
        "phase": 0 if certainty is Certainty.UNKNOWN else fleet.phase[slot],
        "priority": fleet.priority_of.get(slot, 1.0),
        "enabled": fleet.stopped.get(slot) != "disabled", "order_prefix": fleet.prefix_of.get(slot, ""),
        "holding_ms": intervals.holding_ms if intervals else None,
        "working_ms": intervals.working_ms if intervals else None,
        "flat_ms": intervals.flat_ms if intervals else None,
        "positions_as_of_ms": positions_ms, "orders_as_of_ms": orders_ms, "conditional_as_of_ms": conditional_ms,
        "last_sync_at_ms": sync_ms, "last_event_at_ms": event_ms,
        "stopped": stopped_by(fleet, slot, state), "certainty": _WORDS[certainty],
    }
