"""When each robot's surfaces are wanted again, in stretched time: the fixed intervals, or the adaptive law.

A surface that shows something for a robot is wanted at its phase's interval; one that shows nothing, at the flat one.

Adaptive mode: a change goes unseen for half an interval on average, so the fleet's mean unseen time is least when the
interval of an account is proportional to sqrt(cost / sum of (priority x rate of unannounced changes)) over the robots
that one answer covers (the square-root law of polling; the same form as the economic order quantity). Rates are learnt
from what syncs found: a sync only tells *whether* something changed since the last one, so the count behind a finding
is the expected count given that it is at least one. Until a robot has a history, its phase's pooled rate stands in.
"""

from array import array
from collections.abc import Iterator
from math import expm1, sqrt
from random import Random

from fleetsync.account import AccountState, Route
from fleetsync.cadence import apart_ms, draw_shortening
from fleetsync.config import Settings
from fleetsync.fleet import Fleet
from fleetsync.law import Demand
from fleetsync.model import Phase, Surface
from fleetsync.tariff import Scope
from fleetsync.units import HOUR_MS, MINUTE_MS

_PRIOR_COUNT = 0.7  # how many changes a prior weighs; below 1 since rates differ widely between robots
_PRIOR_RATE = 1 / (10 * MINUTE_MS)
_PRIOR_RATE_FLAT = 1 / (360 * MINUTE_MS)  # 36 times rarer: that makes the plan's 5 s : 30 s the starting point
_RATE_MIN = 1e-15  # nobody's interval is infinite
_MEMORY_MS = 12 * HOUR_MS  # what was learnt fades with this half-life, so a robot that changes its ways is followed
_LATE_MS = 500  # who was served so much later than its place in line would have allowed draws a new place
_PASS_STEPS, _STEP_MOST = 10, 1_000  # the fleet's sums are renewed in so many steps, or in more of so many accounts
_ROOTS_ANEW = 8  # pooled rates move slowly: each root is worked out anew in one pass of so many at the latest
_UNKNOWN, _HOLDING, _WORKING, _FLAT = map(int, Phase)
_IDLE, _ALL_FLAT = {_FLAT, _UNKNOWN}, {_FLAT}
_USABLE = 0.97  # the share of a quota that the budget can really grant
_LEAD_MOST = 0.3  # of a ceiling: so far below it is aimed at most
_LEAD_FADES = 0.99  # a second
_RATIO_HELD = 2.0  # how far ceilings are held against a stretch: beyond it they give way with all the others


class Timing:
    """Intervals of surfaces and robots."""

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self._fleet = fleet
        self.adaptive = settings.mode == "adaptive"
        self._planned_ms = [fleet.intervals.of_phase(phase) for phase in Phase]
        self._ceilings_ms = [settings.flat_ceiling_ms if phase == Phase.FLAT else settings.holding_ceiling_ms
                             for phase in Phase]
        self._lead_ms: dict[str, int] = {}  # by route: how much longer than they wished accounts have lately waited
        # Of an interval, so that the floor holds; the jitter is the operator's own.
        self._spread_most = max(1 - settings.floor_ms / min(self._planned_ms), settings.jitter)
        self.scale: dict[str, float] = {}  # by route: milliseconds of interval for sqrt(cost / rate) = 1
        self.overload: dict[str, float] = {}  # by route: how many times over the ceilings alone would spend the budget
        self._counts = array("d")  # changes found, fading
        self._exposures = array("d")  # ms watched, fading
        self._learnt_at_ms = array("q")
        rates = [_PRIOR_RATE_FLAT if phase in _IDLE else _PRIOR_RATE for phase in Phase]
        self._pooled_counts = [_PRIOR_COUNT for _ in rates]  # by phase, over the whole fleet
        self._pooled_exposures = [_PRIOR_COUNT / rate for rate in rates]
        self._prior_exposures = list(self._pooled_exposures)  # by phase: ms without a change that a prior weighs
        self._roots = array("d")  # by account: sqrt(cost / rate), to which its intervals are proportional; 0: not known
        self._pass_at = self._passes = 0
        self._demands: dict[str, Demand] = {}  # by route, of the pass that is under way
        self._planned: dict[str, float] = {}  # by route: what the plan's intervals would cost a millisecond

    # -- wishes

    def surfaces_due(self, slot: int, state: AccountState) -> tuple[int, int, int]:
        """When a robot's positions, orders and conditional orders are wanted again (stretched; shortened by jitter).

        -1 stands for a surface that another one answers, or that the exchange does not have.
        """
        fleet, route, index = self._fleet, state.route, state.index
        stamps, phase = fleet.stamps, fleet.phase[slot]
        own_ms = self.interval_ms(slot, phase, state)
        quiet_ms = own_ms if phase in _IDLE else self.interval_ms(slot, _FLAT, state)
        shortening = stamps.shortening[index]
        if shortening:
            own_ms -= int(own_ms * shortening)
            quiet_ms -= int(quiet_ms * shortening)
        book = state.books.get(fleet.symbols[slot])
        positions_ms = stamps.positions_key_ms[index] + (quiet_ms if phase == _WORKING else own_ms)
        orders_ms = -1
        if not route.tariff.positions_show_orders or (book is not None and not book.is_quiet):
            orders_ms = fleet.orders_key_ms[slot]
            if index < len(stamps.orders_key_ms):
                orders_ms = max(orders_ms, stamps.orders_key_ms[index])
            if book is not None and book.hides_orders:
                pass  # the positions list says that orders rest which were never read: at once
            elif phase == _UNKNOWN or (
                    book is not None and book.orders and any(not order.conditional for order in book.orders)):
                orders_ms += own_ms
            elif self.adaptive and quiet_ms >= 2 * own_ms:
                orders_ms += apart_ms(quiet_ms, orders_ms, index)
            else:
                orders_ms += quiet_ms
        conditional_ms = -1
        if route.conditional:
            resting = book is not None and any(order.conditional for order in book.orders)
            key_ms = max(state.conditional_key_ms, fleet.conditional_read.get(slot, (0, 0))[0])
            conditional_ms = key_ms + (own_ms if resting or phase == _UNKNOWN else quiet_ms)
        return positions_ms, orders_ms, conditional_ms

    def wish_ms(self, slot: int, state: AccountState) -> int:
        """When a robot wants its next run, in stretched time."""
        if state.route.one_list and not state.books:
            fleet, stamps = self._fleet, self._fleet.stamps
            if self.adaptive or fleet.priority_of or fleet.intervals_of:
                own_ms = self.interval_ms(slot, fleet.phase[slot], state)
            else:
                own_ms = self._planned_ms[fleet.phase[slot]]
            shortened_ms = own_ms - int(own_ms * stamps.shortening[state.index])
            return stamps.positions_key_ms[state.index] + shortened_ms
        positions_ms, orders_ms, conditional_ms = self.surfaces_due(slot, state)
        wish_ms = positions_ms if orders_ms < 0 else min(positions_ms, orders_ms)
        return wish_ms if conditional_ms < 0 else min(wish_ms, conditional_ms)

    def flat_wish_ms(self, state: AccountState) -> int:
        """When the flat robots of an account want their next run, where all want the same; 0 where they may not."""
        fleet = self._fleet
        if self.adaptive or state.books or fleet.priority_of or fleet.intervals_of or not state.route.one_list:
            return 0
        stamps, flat_ms = fleet.stamps, self._planned_ms[_FLAT]
        return stamps.positions_key_ms[state.index] + flat_ms - int(flat_ms * stamps.shortening[state.index])

    def interval_ms(self, slot: int, phase: int, state: AccountState) -> int:
        """A robot's interval in a phase, in stretched time."""
        fleet = self._fleet
        if self.adaptive and phase != _UNKNOWN:
            return self._adaptive_ms(phase, state)
        intervals = fleet.intervals_of.get(slot) if fleet.intervals_of else None
        interval_ms = self._planned_ms[phase] if intervals is None else intervals.of_phase(phase)
        if not fleet.priority_of:
            return interval_ms
        return state.route.stretch.weighted_ms(interval_ms, fleet.priority_of.get(slot, 1.0))

    def draw_jitter(self, state: AccountState, rng: Random, *, late: bool) -> None:
        """A new draw for the account's next round: one for all its robots, so that they stay together."""
        shortened = draw_shortening(self._fleet.settings.jitter, self._spread_most, rng, late=late)
        self._fleet.stamps.shortening[state.index] = shortened

    def was_late(self, slot: int, state: AccountState, key_ms: int) -> bool:
        """Whether a robot whose sync had that key should have had an earlier one: it waited elsewhere than in line.

        Keys that lie too far back are pulled up to one instant, and whoever was pulled up with others stays with them.
        """
        alone = state.route.one_list and not state.books
        late_ms = key_ms - (self.wish_ms(slot, state) if alone else self.surfaces_due(slot, state)[0])
        if late_ms <= _LATE_MS or not self.adaptive:
            return late_ms > _LATE_MS
        return late_ms > self.interval_ms(slot, self._fleet.phase[slot], state) // 4  # the law moves its wishes, too

    # -- the adaptive law

    def _adaptive_ms(self, phase: int, state: AccountState) -> int:
        route, floor_ms = state.route.name, self._fleet.settings.floor_ms
        scale, overload = self.scale.get(route), self.overload.get(route, 1.0)
        if scale is None:  # the fleet's first pass is not over: as planned until then
            return max(min(self._planned_ms[phase], self._aim_ms(phase, route)), floor_ms)
        root = self._roots[state.index] if state.index < len(self._roots) else 0.0
        wish_ms = scale * (root or self._root(state))
        held = min(state.route.stretch.ratio, _RATIO_HELD)
        if overload > 1:  # no budget for all ceilings: they give way in the same ratio; nobody is left unread for good
            wish_ms = min(wish_ms, self._ceilings_ms[phase] * overload / held)
        elif phase == _FLAT:
            wish_ms = min(wish_ms, self._aim_ms(phase, route))
        else:  # a stretch is not theirs to bear, as far as the others can
            wish_ms = min(wish_ms, self._aim_ms(phase, route) / held)
        return max(int(wish_ms), floor_ms)

    def _aim_ms(self, phase: int, route: str) -> int:
        """What is aimed at so that a ceiling holds: below it by what waiting in line has lately added."""
        ceiling_ms = self._ceilings_ms[phase]
        return ceiling_ms - min(self._lead_ms.get(route, 0), int(ceiling_ms * _LEAD_MOST))

    def waited(self, state: AccountState, gap_ms: int) -> None:
        """An account was read so long after the reading before: what lies beyond the aim has to be aimed lower by."""
        route, phases = state.route.name, self._fleet.phase
        beyond_ms = gap_ms - self._aim_ms(Phase.HOLDING, route)
        if beyond_ms <= self._lead_ms.get(route, 0) or gap_ms > 2 * self._ceilings_ms[Phase.HOLDING]:
            return  # after faults it was no queue that it waited in
        if any(phases[slot] not in _IDLE for slot in state.slots):
            self._lead_ms[route] = beyond_ms

    def _root(self, state: AccountState) -> float:
        """Work out sqrt(cost / rate) of an account and keep it, until something is learnt of its robots."""
        if state.index >= len(self._roots):
            self._roots.extend([0.0] * (len(self._fleet.accounts) - len(self._roots)))
        root = self._roots[state.index] = sqrt(self.cost(state) / max(self.rate(state), _RATE_MIN))
        return root

    def changed(self, state: AccountState) -> None:
        """A robot of the account is in another phase, was learnt about or has gone: its interval is worked out anew."""
        if state.index < len(self._roots):
            self._roots[state.index] = 0.0

    def cost(self, state: AccountState) -> float:
        """What one round of an account costs, in shares of the quotas that are scarce to the fleet."""
        return state.route.prices.round_of(len(state.slots))

    def rate(self, state: AccountState) -> float:
        """Unannounced changes a millisecond over the robots of an account, weighed by their priorities."""
        fleet, rate = self._fleet, 0.0
        given_of, priority_of, phases = fleet.rate_of, fleet.priority_of, fleet.phase
        if len(self._counts) < len(phases):
            self._grow()
        priors, counts, exposures = self._prior_exposures, self._counts, self._exposures
        if given_of:
            for slot in state.slots:
                rate += self.robot_rate(slot) * priority_of.get(slot, 1.0)
        else:  # the same: of large fleets this loop is the cost of the law
            for slot in state.slots:
                rate += ((_PRIOR_COUNT + counts[slot]) / (priors[phases[slot]] + exposures[slot])
                         * priority_of.get(slot, 1.0))
        return rate

    def robot_rate(self, slot: int) -> float:
        """Unannounced changes a millisecond of one robot: given, or learnt over its phase's pooled rate."""
        fleet = self._fleet
        if slot in fleet.rate_of:
            return fleet.rate_of[slot]
        if slot >= len(self._counts):
            self._grow()
        prior_exposure_ms = self._prior_exposures[fleet.phase[slot]]
        return (_PRIOR_COUNT + self._counts[slot]) / (prior_exposure_ms + self._exposures[slot])

    def _grow(self) -> None:
        """As many rows as the fleet has slots."""
        missing = len(self._fleet.phase) - len(self._counts)
        self._counts.extend([0.0] * missing)
        self._exposures.extend([0.0] * missing)
        self._learnt_at_ms.extend([0] * missing)

    def learn(self, slot: int, *, changed: bool, since_ms: int, now_ms: int) -> None:
        """A sync read a robot: what it found since the reading before, at `since_ms`, corrects the robot's rate."""
        fleet = self._fleet
        if not self.adaptive or slot in fleet.rate_of:
            return
        if slot >= len(self._counts):
            self._grow()
        before_ms = self._learnt_at_ms[slot] or since_ms
        self._learnt_at_ms[slot] = now_ms
        if not before_ms:
            return
        span_ms = now_ms - before_ms
        expected = self.robot_rate(slot) * max(now_ms - since_ms, 1)
        found = expected / -expm1(-expected) if changed else 0.0
        fade = 0.5 ** (span_ms / _MEMORY_MS)
        self._counts[slot] = self._counts[slot] * fade + found
        self._exposures[slot] = self._exposures[slot] * fade + span_ms
        phase = fleet.phase[slot]
        self._pooled_counts[phase] += found
        self._pooled_exposures[phase] += span_ms
        self._prior_exposures[phase] = _PRIOR_COUNT * self._pooled_exposures[phase] / self._pooled_counts[phase]
        self.changed(fleet.state_of(slot))

    def forget(self, slot: int) -> None:
        """The slot's robot is gone."""
        if slot < len(self._counts):
            self._counts[slot] = self._exposures[slot] = 0.0
            self._learnt_at_ms[slot] = 0
        self.changed(self._fleet.state_of(slot))

    def renew(self) -> None:
        """One step of renewing the fleet's sums, from which the scale of the adaptive intervals follows."""
        if not self.adaptive:
            return
        for route in self._lead_ms:
            self._lead_ms[route] = int(self._lead_ms[route] * _LEAD_FADES)
        accounts = self._fleet.accounts
        step = min(-(-len(accounts) // _PASS_STEPS), _STEP_MOST)
        end = min(self._pass_at + step, len(accounts))
        for state in accounts[self._pass_at:end]:
            if state is not None and not state.stopped and state.slots:
                self._add(state)
        self._pass_at = end
        if end == len(accounts):
            for each in self._fleet.routes.values():
                self._rescale(each)
            self._pass_at, self._passes, self._demands, self._planned = 0, self._passes + 1, {}, {}

    def _add(self, state: AccountState) -> None:
        """Add what an account asks of its route's budget."""
        fleet, name = self._fleet, state.route.name
        demand = self._demands.setdefault(name, Demand())
        scale, floor_ms = self.scale.get(name), fleet.settings.floor_ms
        cost, root = self.cost(state), self._roots[state.index] if state.index < len(self._roots) else 0.0
        if not root or not (state.index + self._passes) % _ROOTS_ANEW:
            root = self._root(state)
        phase = _FLAT if {fleet.phase[slot] for slot in state.slots} == _ALL_FLAT else _HOLDING
        demand.add(cost, root, (floor_ms, self._aim_ms(phase, name), self._ceilings_ms[phase]), scale)
        planned = cost / self._planned_ms[phase]
        for orders_phase in self._orders_asked(state) if state.books else ():
            price = (state.route.prices.of(Surface.ORDERS, one_symbol=True) or 0) / 1e9
            bounds_ms = floor_ms, self._aim_ms(orders_phase, name), self._ceilings_ms[orders_phase]
            demand.add(price, root, bounds_ms, scale)
            planned += price / self._planned_ms[orders_phase]
        self._planned[name] = self._planned.get(name, 0.0) + planned

    @staticmethod
    def _orders_asked(state: AccountState) -> Iterator[Phase]:
        """Where the positions list answers for quiet books: of each other book, how its orders are asked for."""
        if state.route.tariff.positions_show_orders:
            for book in state.books.values():
                if not book.is_quiet:
                    yield Phase.WORKING if book.orders else Phase.FLAT

    def _rescale(self, route: Route) -> None:
        demand = self._demands.get(route.name)
        if demand is None:
            return
        price = (route.prices.of(Surface.POSITIONS, one_symbol=False) or 1) / 1e9
        # The scarcest quota decides how many rounds a millisecond can be paid; in price units that is `affordable`.
        affordable = min(_USABLE * limit / weight for limit, weight in self._limits(route)) * price
        wanted = affordable
        if self._fleet.settings.spend != "all":
            wanted = min(max(self._planned[route.name], demand.least), affordable)
        self.scale[route.name] = demand.scale_for(wanted, self.scale.get(route.name))
        self.overload[route.name] = demand.least / affordable

    def _limits(self, route: Route) -> list[tuple[float, int]]:
        """(units a millisecond, units a round) of each quota that the whole route shares."""
        weights = dict(route.tariff.costs[Surface.POSITIONS.value].weights)
        limits = [(self._fleet.settings.calls_per_minute / MINUTE_MS, 1)]
        limits += [(quota.limit / quota.window_ms, weights[quota.name]) for quota in route.tariff.quotas
                   if quota.scope is Scope.EGRESS and quota.name in weights]
        return limits

