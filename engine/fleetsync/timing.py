"""When each robot's surfaces are wanted again, in stretched time: the fixed intervals, or the adaptive law.

A surface that shows something for a robot is wanted at its phase's interval; one that shows nothing, at the flat one.
"""

from collections.abc import Sequence
from random import Random

from fleetsync.account import AccountState
from fleetsync.adaptive import Adaptive
from fleetsync.cadence import apart_ms, draw_shortening
from fleetsync.config import Settings
from fleetsync.fleet import Fleet
from fleetsync.model import Phase

_LATE_MS = 500  # who was served so much later than its place in line would have allowed draws a new place
_UNKNOWN, _WORKING, _FLAT = int(Phase.UNKNOWN), int(Phase.WORKING), int(Phase.FLAT)
_IDLE = {_FLAT, _UNKNOWN}


class Timing:
    """Intervals of surfaces and robots."""

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self._fleet = fleet
        self.adaptive = Adaptive(fleet) if settings.mode == "adaptive" else None
        self._planned_ms = fleet.intervals.by_phase()
        # Of an interval, so that the floor holds; the jitter is the operator's own.
        self._spread_most = max(1 - settings.floor_ms / min(self._planned_ms), settings.jitter)

    def shared_ms(self, state: AccountState) -> Sequence[int]:
        """Intervals by phase, where all robots of an account have the same; empty where one may have its own."""
        if self.adaptive is not None:
            return self.adaptive.intervals_ms(state)
        fleet = self._fleet
        return () if fleet.priority_of or fleet.intervals_of else self._planned_ms

    def intervals_ms(self, slot: int, state: AccountState) -> Sequence[int]:
        """A robot's intervals by phase, in stretched time."""
        if self.adaptive is not None:
            return self.adaptive.intervals_ms(state)
        fleet, wished_ms = self._fleet, self._planned_ms
        if slot in fleet.intervals_of:
            wished_ms = fleet.intervals_of[slot].by_phase()
        if slot in fleet.priority_of:
            return state.route.stretch.weighted_ms(wished_ms, fleet.priority_of[slot])
        return wished_ms

    # -- wishes

    def surfaces_due(self, slot: int, state: AccountState, shared_ms: Sequence[int] = ()) -> tuple[int, int, int]:
        """When a robot's positions, orders and conditional orders are wanted again (stretched; shortened by jitter).

        -1 stands for a surface that another one answers, or that the exchange does not have. `shared_ms` saves asking
        for the intervals of each robot of an account: see the method.
        """
        fleet, route, index = self._fleet, state.route, state.index
        stamps, phase = fleet.stamps, fleet.phase[slot]
        intervals_ms = shared_ms or self.intervals_ms(slot, state)
        own_ms = intervals_ms[phase]
        quiet_ms = own_ms if phase in _IDLE else intervals_ms[_FLAT]
        shortening = stamps.shortening[index]
        if shortening:
            own_ms -= int(own_ms * shortening)
            quiet_ms -= int(quiet_ms * shortening)
        book = state.books.get(fleet.symbols[slot]) if state.books else None
        orders = book.orders if book is not None else ()
        positions_ms = stamps.positions_key_ms[index] + (quiet_ms if phase == _WORKING else own_ms)
        orders_ms = conditional_ms = -1
        if not route.tariff.positions_show_orders or (book is not None and not book.is_quiet):
            orders_ms = fleet.orders_key_ms[slot]
            if index < len(stamps.orders_key_ms) and stamps.orders_key_ms[index] > orders_ms:
                orders_ms = stamps.orders_key_ms[index]
            if book is not None and book.hinted and book.hides_orders:
                pass  # the positions list says that orders rest which were never read: at once
            elif phase == _UNKNOWN or (orders and any(not order.conditional for order in orders)):
                orders_ms += own_ms
            elif self.adaptive is not None and quiet_ms >= 2 * own_ms:
                orders_ms += apart_ms(quiet_ms, orders_ms, index)
            else:
                orders_ms += quiet_ms
        if route.conditional:
            often = phase == _UNKNOWN or (orders and any(order.conditional for order in orders))
            key_ms = max(state.conditional_key_ms, fleet.conditional_read.get(slot, (0, 0))[0])
            conditional_ms = key_ms + (own_ms if often else quiet_ms)
        return positions_ms, orders_ms, conditional_ms

    def wish_ms(self, slot: int, state: AccountState, shared_ms: Sequence[int] = ()) -> int:
        """When a robot wants its next run, in stretched time; `shared_ms` as above."""
        if state.route.one_list and not state.books:
            fleet, stamps = self._fleet, self._fleet.stamps
            own_ms = (shared_ms or self.intervals_ms(slot, state))[fleet.phase[slot]]
            shortened_ms = own_ms - int(own_ms * stamps.shortening[state.index])
            return stamps.positions_key_ms[state.index] + shortened_ms
        positions_ms, orders_ms, conditional_ms = self.surfaces_due(slot, state, shared_ms)
        wish_ms = positions_ms if orders_ms < 0 else min(positions_ms, orders_ms)
        return wish_ms if conditional_ms < 0 else min(wish_ms, conditional_ms)

    def flat_wish_ms(self, state: AccountState) -> int:
        """When the flat robots of an account want their next run, where all want the same; 0 where they may not."""
        fleet = self._fleet
        own = self.adaptive is not None or fleet.priority_of or fleet.intervals_of
        if own or state.books or not state.route.one_list:
            return 0
        stamps, flat_ms = fleet.stamps, self._planned_ms[_FLAT]
        return stamps.positions_key_ms[state.index] + flat_ms - int(flat_ms * stamps.shortening[state.index])

    def draw_jitter(self, state: AccountState, rng: Random, *, late: bool) -> None:
        """A new draw for the account's next round: one for all its robots, so that they stay together."""
        shortened = draw_shortening(self._fleet.settings.jitter, self._spread_most, rng, late=late)
        self._fleet.stamps.shortening[state.index] = shortened

    def was_late(self, slot: int, state: AccountState, key_ms: int) -> bool:
        """Whether a robot whose sync had that key should have had an earlier one: it waited elsewhere than in line.

        Keys that lie too far back are pulled up to one instant, and whoever was pulled up with others stays with them.
        """
        fleet, index = self._fleet, state.index
        phase, intervals_ms = fleet.phase[slot], self.intervals_ms(slot, state)
        interval_ms = intervals_ms[_FLAT if phase == _WORKING else phase]  # of its positions
        interval_ms -= int(interval_ms * fleet.stamps.shortening[index])
        late_ms = key_ms - fleet.stamps.positions_key_ms[index] - interval_ms
        if late_ms <= _LATE_MS or self.adaptive is None:
            return late_ms > _LATE_MS
        return late_ms > intervals_ms[phase] // 4  # the law moves its wishes, too

    # -- what the adaptive law has to know

    def changed(self, state: AccountState) -> None:
        """A robot of the account is in another phase, or came."""
        if self.adaptive is not None:
            self.adaptive.changed(state)

    def forget(self, slot: int) -> None:
        """The slot's robot is going."""
        if self.adaptive is not None:
            self.adaptive.forget(slot)

    def renew(self) -> None:
        """A second has passed."""
        if self.adaptive is not None:
            self.adaptive.renew()
