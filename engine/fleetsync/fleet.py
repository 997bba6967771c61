"""The state that the core owns: robots in slots, accounts, routes. Tables and look-ups, no decisions about what to do.

A robot is a *slot*, an index into columns, so that a million of them cost tens of bytes each and not an object. An
account carries what one answer changes for all its robots at once. A *route* is one exchange through one egress: the
accounts that share its IP quotas, its circuit and its stretched time.
"""

from array import array
from typing import TypeVar

from fleetsync.account import AccountState, Route, Stamps
from fleetsync.book import Book
from fleetsync.cadence import Intervals, StretchClock, speed_max
from fleetsync.config import Settings
from fleetsync.errors import ConfigError, UnknownRobot
from fleetsync.heap import DueHeap
from fleetsync.model import Account, Certainty, Phase, Robot, Surface
from fleetsync.planner import Prices
from fleetsync.tariff import Tariff
from fleetsync.units import HOUR_MS

_PHASES = tuple(Phase)  # by number: cheaper than making one from its number
_ROOMY, _ROOM = 10_000, 200  # bytes of a table that are never too many, and so many more for each slot in it
_SCAN_MAX = 8  # accounts with more robots than this get an index by symbol

Slots = TypeVar("Slots", set[int], dict[int, str])


def lean(slots: Slots) -> Slots:
    """The same; in one of its own size where it held the whole fleet once: sets and dicts never give memory back."""
    return type(slots)(slots) if slots.__sizeof__() > _ROOMY + _ROOM * len(slots) else slots


class Fleet:
    """All robots, accounts and routes."""

    def __init__(self, settings: Settings, tariffs: dict[str, Tariff], now_ms: int) -> None:
        self.settings = settings
        self.tariffs = tariffs
        self.base_at_ms = now_ms
        self.ids: list[str] = []
        self.symbols: list[str] = []
        self.slot_of: dict[str, int] = {}
        self.account_of: list[AccountState | None] = []
        self.phase = bytearray()
        self.orders_key_ms = array("q")  # of the last list of this robot's symbol alone
        self.orders_as_of_ms = array("q")
        self.last_event_at_ms = array("q")
        self.intervals_of: dict[int, Intervals] = {}  # robots with intervals of their own
        self.priority_of: dict[int, float] = {}
        self.prefix_of: dict[int, str] = {}
        self.rate_of: dict[int, float] = {}  # unannounced changes a ms, of robots that state it
        self.conditional_read: dict[int, tuple[int, int]] = {}  # (key, as_of) of the last list of one symbol
        self.unread: dict[int, int] = {}  # robots that joined an account which was read without them; read since when
        self.stopped: dict[int, str] = {}  # robots that are stopped or disabled, and why
        self.accounts: list[AccountState | None] = []
        self.account_by_id: dict[str, AccountState] = {}
        self.stamps = Stamps()  # of the accounts
        self.routes: dict[tuple[str, str], Route] = {}
        self.intervals = Intervals.of(settings)
        self._free: list[int] = []  # slots of robots that are gone, and indices of accounts
        self._free_accounts: list[int] = []
        self._slots_on: dict[int, dict[str, list[int]]] = {}  # of large accounts, by index and symbol; likewise
        self._by_symbol: dict[str, list[int]] | None = None  # made when it is asked for, dropped when the fleet changes

    def __len__(self) -> int:
        return len(self.slot_of)

    # -- what the fleet consists of

    def route(self, exchange: str, egress: str, now_ms: int) -> Route:
        """The route of an exchange and egress, made when it is new."""
        route = self.routes.get((exchange, egress))
        if route is None:
            tariff = self.tariffs.get(exchange)
            if tariff is None:
                raise ConfigError(f"no tariff is loaded for exchange {exchange!r}")
            weights_max = {quota.name: 1 for quota in tariff.quotas}
            for cost in tariff.costs.values():
                for name, weight in cost.weights:
                    weights_max[name] = max(weights_max[name], weight)
            route = Route(exchange, egress, tariff, Prices(tariff, self.settings.calls_per_minute),
                          StretchClock(now_ms, speed_max(self.settings)), DueHeap(self.base_at_ms),
                          DueHeap(self.base_at_ms), DueHeap(self.base_at_ms), weights_max,
                          Surface.CONDITIONAL in tariff.surfaces,
                          tariff.positions_show_orders and Surface.CONDITIONAL not in tariff.surfaces,
                          stamps=self.stamps)
            self.routes[exchange, egress] = route
        return route

    def add_account(self, account: Account, worker: int, now_ms: int) -> AccountState:
        """Take in an account, to be served by a worker."""
        index = self._free_accounts.pop() if self._free_accounts else len(self.accounts)
        state = AccountState(index, account, self.route(account.exchange, account.egress, now_ms), worker)
        if index < len(self.accounts):
            self.accounts[index] = state
            self.stamps.clear(index)
        else:
            self.accounts.append(state)
            self.stamps.grow(len(self.accounts))
        self.account_by_id[account.id] = state
        return state

    def remove_account(self, state: AccountState) -> None:
        """Forget an account whose robots are gone; `free_index` follows once nothing names its index any more."""
        self._changed(state)
        del self.account_by_id[state.account.id]
        self.accounts[state.index] = None

    def free_index(self, state: AccountState) -> None:
        """The index of an account that is gone may be given to another."""
        self._free_accounts.append(state.index)

    def add_robot(self, robot: Robot) -> int:
        """Take in a robot whose account is known; returns its slot.

        Raises:
            ConfigError: the id is taken, or the account unknown.
        """
        if robot.id in self.slot_of:
            raise ConfigError(f"two robots with the id {robot.id!r}")
        state = self.account_by_id.get(robot.account)
        if state is None:
            raise ConfigError(f"robot {robot.id!r} names account {robot.account!r}, which is not in the fleet")
        slot = self._new_slot()
        self.ids[slot], self.symbols[slot], self.account_of[slot] = robot.id, robot.symbol, state
        self.slot_of[robot.id] = slot
        if robot.holding_ms or robot.working_ms or robot.flat_ms:
            self.intervals_of[slot] = Intervals.of(self.settings, robot)
        if robot.priority != 1.0:
            self.priority_of[slot] = robot.priority
        if robot.changes_per_hour is not None:
            self.rate_of[slot] = robot.changes_per_hour / HOUR_MS
        if robot.order_prefix:
            self.prefix_of[slot] = robot.order_prefix
        if not robot.enabled:
            self.stopped[slot] = "disabled"
        state.join(slot)
        self._changed(state)
        return slot

    def _changed(self, state: AccountState) -> None:
        """The account has a robot more or less: what was looked up before does not hold any more."""
        self._slots_on.pop(state.index, None)
        self._by_symbol = None

    def _new_slot(self) -> int:
        if self._free:
            slot = self._free.pop()
            self.phase[slot] = Phase.UNKNOWN
            self.orders_key_ms[slot] = self.orders_as_of_ms[slot] = self.last_event_at_ms[slot] = 0
            return slot
        slot = len(self.ids)
        namesake = self.accounts[slot] if slot < len(self.accounts) else None
        if namesake is not None:  # where there are as many accounts as robots, they share the objects of their numbers
            slot = namesake.index
        self.ids.append("")
        self.symbols.append("")
        self.account_of.append(None)
        self.phase.append(Phase.UNKNOWN)
        for column in (self.orders_key_ms, self.orders_as_of_ms, self.last_event_at_ms):
            column.append(0)
        return slot

    def remove_robot(self, slot: int) -> None:
        """Forget a robot; its slot will be used again."""
        state = self.state_of(slot)
        state.leave(slot)
        self._changed(state)
        if state.questions and not self.slots_on(state, self.symbols[slot]):
            self._leave_unasked(state, self.symbols[slot])
        if slot in state.urgent:
            del state.own("urgent")[slot]
        if slot in state.waiting:
            state.waiting.remove(slot)
            state.route.due -= 1
        state.route.robots.remove(slot)
        for table in (self.intervals_of, self.priority_of, self.prefix_of, self.rate_of, self.conditional_read,
                      self.unread, self.stopped):
            table.pop(slot, None)
        del self.slot_of[self.ids[slot]]
        self.account_of[slot] = None
        self._free.append(slot)

    def _leave_unasked(self, state: AccountState, symbol: str) -> None:
        """Nobody trades the symbol any more: what its events wanted to know is not asked; a doubt stays a question."""
        book = state.books.get(symbol)
        if book is None or not book.doubts:
            for call in [call for call in state.questions if call.symbol == symbol]:
                del state.own("questions")[call]

    # -- look-ups

    def account(self, account_id: str) -> AccountState:
        """The account of that id.

        Raises:
            ConfigError: there is none.
        """
        try:
            return self.account_by_id[account_id]
        except KeyError:
            raise ConfigError(f"no account {account_id!r} in the fleet") from None

    def slot(self, robot_id: str) -> int:
        """The slot of a robot.

        Raises:
            UnknownRobot: there is none of that id.
        """
        try:
            return self.slot_of[robot_id]
        except KeyError:
            raise UnknownRobot(f"no robot {robot_id!r} in the fleet") from None

    def state_of(self, slot: int) -> AccountState:
        """The account of a robot that is in the fleet."""
        state = self.account_of[slot]
        assert state is not None, f"slot {slot} is free"
        return state

    def slots_on(self, state: AccountState, symbol: str) -> list[int]:
        """The robots of an account on one symbol."""
        slots = state.slots
        if len(slots) <= _SCAN_MAX:
            return [slot for slot in slots if self.symbols[slot] == symbol]
        by_symbol = self._slots_on.get(state.index)
        if by_symbol is None:
            by_symbol = self._slots_on[state.index] = {}
            for slot in slots:
                by_symbol.setdefault(self.symbols[slot], []).append(slot)
        return by_symbol.get(symbol, [])

    def book(self, state: AccountState, symbol: str) -> Book:
        """What is known of an account on a symbol, with the instants of the account's latest readings."""
        book = state.books.get(symbol)
        if book is not None:
            return book
        orders_as_of_ms = max([state.orders_as_of_ms, *(self.orders_as_of(state, s)
                                                        for s in self.slots_on(state, symbol))])
        return Book(state.account.id, symbol, positions_as_of_ms=state.positions_as_of_ms,
                    orders_as_of_ms=orders_as_of_ms, conditional_as_of_ms=state.conditional_as_of_ms)

    # -- when a robot's surfaces were true

    def orders_as_of(self, state: AccountState, slot: int) -> int:
        """When the robot's orders were last read, or proven absent by the positions list; 0: never."""
        stamps, index, as_of_ms = self.stamps, state.index, self.orders_as_of_ms[slot]
        if index < len(stamps.orders_as_of_ms) and stamps.orders_as_of_ms[index] > as_of_ms:
            as_of_ms = stamps.orders_as_of_ms[index]
        if state.route.tariff.positions_show_orders:
            book = state.books.get(self.symbols[slot]) if state.books else None
            if book is None or book.is_quiet:
                return max(as_of_ms, stamps.positions_as_of_ms[index])
        return as_of_ms

    def conditional_as_of(self, state: AccountState, slot: int) -> int:
        """When the robot's conditional orders were last read; 0: never."""
        return max(state.conditional_as_of_ms, self.conditional_read.get(slot, (0, 0))[1])

    def after_readings(self, slot: int, now_ms: int) -> int:
        """Now, or a millisecond later where a reading that left before now may carry this very instant."""
        state = self.state_of(slot)
        latest_ms = max(state.positions_as_of_ms, self.orders_as_of(state, slot), self.conditional_as_of(state, slot))
        return now_ms + 1 if state.busy or latest_ms >= now_ms else now_ms

    def read_since(self, slot: int, since_ms: int) -> bool:
        """Whether every surface of a robot was read at or after an instant, by questions of its own."""
        state = self.state_of(slot)
        orders_ms = max(state.orders_as_of_ms, self.orders_as_of_ms[slot])
        oldest_ms = min(state.positions_as_of_ms, orders_ms)
        if state.route.conditional:
            oldest_ms = min(oldest_ms, self.conditional_as_of(state, slot))
        return oldest_ms >= since_ms

    def certainty(self, slot: int) -> Certainty:
        """How far what is known of a robot can be trusted, over all its surfaces."""
        state = self.state_of(slot)
        if self.phase[slot] == Phase.UNKNOWN or slot in self.stopped or state.stopped:
            return Certainty.UNKNOWN
        book = state.books.get(self.symbols[slot]) if state.books else None
        return Certainty.DISPUTED if book is not None and book.doubts else Certainty.AGREED

    def phase_seen(self, slot: int) -> Phase:
        """The phase as people see it: a stopped robot is unknown, whatever it was."""
        return Phase.UNKNOWN if self.certainty(slot) is Certainty.UNKNOWN else _PHASES[self.phase[slot]]

    def same_symbol(self, symbol: str) -> list[int]:
        """All robots on a symbol, over all accounts."""
        if self._by_symbol is None:
            self._by_symbol = {}
            for slot in self.slot_of.values():
                self._by_symbol.setdefault(self.symbols[slot], []).append(slot)
        return self._by_symbol.get(symbol, [])

    def age_as_of(self, slot: int) -> int:
        """The instant from which a robot's age counts; 0: never proven.

        That of its position when it holds one, of its orders when it works with them, of the older of both otherwise.
        """
        state = self.state_of(slot)
        positions_as_of_ms = self.stamps.positions_as_of_ms[state.index]
        if self.phase[slot] == Phase.HOLDING or (state.route.one_list and not state.books):
            return positions_as_of_ms  # a list that shows nothing of it proves its positions and its orders
        return self.age_from(slot, positions_as_of_ms, self.orders_as_of(state, slot))

    def age_from(self, slot: int, positions_as_of_ms: int, orders_as_of_ms: int) -> int:
        """The same, where both instants are at hand."""
        phase = self.phase[slot]
        if phase == Phase.HOLDING:
            return positions_as_of_ms
        return orders_as_of_ms if phase == Phase.WORKING else min(positions_as_of_ms, orders_as_of_ms)
