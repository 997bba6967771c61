"""The adaptive law: an account's interval is `scale x sqrt(cost / rate)`, within a floor and its phase's ceiling.

A change goes unseen for half an interval on average, so the fleet's mean unseen time is least when the interval of an
account is proportional to sqrt(cost / sum of (priority x rate of unannounced changes)) over the robots that one answer
covers (the square-root law of polling; the same form as the economic order quantity). The scale, one for each route, is
renewed by passes over the fleet that take some seconds each (see `law`).
"""

from array import array
from math import sqrt

from fleetsync.account import AccountState, Route
from fleetsync.fleet import Fleet
from fleetsync.law import Bounds
from fleetsync.model import Phase, Surface
from fleetsync.planner import PRICE_UNIT
from fleetsync.rates import Rates
from fleetsync.tariff import Scope
from fleetsync.units import MINUTE_MS

_RATE_MIN = 1e-15  # nobody's interval is infinite
_PASS_STEPS, _STEP_MOST = 20, 1_000  # the fleet's sums are renewed in so many steps, or in more of so many accounts
_ROOTS_ANEW = 8  # pooled rates move slowly: each root is worked out anew in one pass of so many at the latest
_USABLE = 0.97  # the share of a quota that the budget can really grant
_LEAD_MOST = 0.3  # of a ceiling: so far below it is aimed at most
_LEAD_FADES = 0.99  # a second
_HOLDING, _WORKING, _FLAT = int(Phase.HOLDING), int(Phase.WORKING), int(Phase.FLAT)
_ALL_FLAT = {_FLAT}
_RATIO_HELD = 2.0  # how far ceilings are held against a stretch: beyond it they give way with all the others


class Adaptive:
    """The intervals of accounts by what was learnt of their robots."""

    def __init__(self, fleet: Fleet) -> None:
        self.rates = Rates(fleet)
        self._fleet = fleet
        self._planned_ms = fleet.intervals.by_phase()
        settings = fleet.settings
        self._ceilings_ms = tuple(settings.flat_ceiling_ms if phase == Phase.FLAT else settings.holding_ceiling_ms
                                  for phase in Phase)
        self._roots = array("d")  # by account: sqrt(cost / rate), to which its intervals are proportional; 0: not known
        self._flat = bytearray()  # by account, as of its root: whether all its robots are flat ...
        self._often, self._seldom = array("l"), array("l")  # ... and of how many books orders are asked, see below
        self._pass_at = self._passes = 0

    def intervals_ms(self, state: AccountState) -> tuple[int, int, int, int]:
        """An account's intervals by phase, in stretched time."""
        route, floor_ms, planned_ms = state.route, self._fleet.settings.floor_ms, self._planned_ms
        law = route.law
        if law.scale is None:  # the fleet's first pass is not over: as planned until then
            busy_ms, flat_ms = self.aim_ms(Phase.HOLDING, route), self.aim_ms(Phase.FLAT, route)
            return (planned_ms[0], max(min(planned_ms[1], busy_ms), floor_ms),
                    max(min(planned_ms[2], busy_ms), floor_ms), max(min(planned_ms[3], flat_ms), floor_ms))
        root = self._roots[state.index] if state.index < len(self._roots) else 0.0
        wish_ms = law.scale * (root or self._root(state))
        held = min(route.stretch.ratio, _RATIO_HELD)
        if law.overload > 1:  # no budget for all ceilings: they give way in the same ratio; nobody is left unread
            most_ms = self._ceilings_ms[Phase.HOLDING] * law.overload / held
            flat_most_ms = self._ceilings_ms[Phase.FLAT] * law.overload / held
        else:  # a stretch is not theirs to bear who are not flat, as far as the others can
            most_ms = self.aim_ms(Phase.HOLDING, route) / held
            flat_most_ms = self.aim_ms(Phase.FLAT, route)
        busy_ms = max(int(min(wish_ms, most_ms)), floor_ms)
        return planned_ms[0], busy_ms, busy_ms, max(int(min(wish_ms, flat_most_ms)), floor_ms)

    def aim_ms(self, phase: int, route: Route) -> int:
        """What is aimed at so that a ceiling holds: below it by what waiting in line has lately added."""
        ceiling_ms, lead_ms = self._ceilings_ms[phase], route.law.lead_ms
        return ceiling_ms - min(lead_ms, int(ceiling_ms * _LEAD_MOST)) if lead_ms else ceiling_ms

    def cost(self, state: AccountState) -> float:
        """What one round of an account costs, in shares of the quotas that are scarce to the fleet."""
        return state.route.prices.round_of(len(state.slots))

    # -- what is learnt

    def waited(self, state: AccountState, gap_ms: int) -> None:
        """An account was read so long after the reading before: what lies beyond the aim has to be aimed lower by."""
        route, phases = state.route, self._fleet.phase
        beyond_ms = gap_ms - self.aim_ms(Phase.HOLDING, route)
        if beyond_ms <= route.law.lead_ms or gap_ms > 2 * self._ceilings_ms[Phase.HOLDING]:
            return  # after faults it was no queue that it waited in
        if any(phases[slot] not in {Phase.FLAT, Phase.UNKNOWN} for slot in state.slots):
            route.law.lead_ms = beyond_ms

    def learn(self, slot: int, *, changed: bool, since_ms: int, now_ms: int) -> None:
        """A sync read a robot, and found it changed or not since the reading before, at `since_ms`."""
        if self.rates.learn(slot, changed=changed, since_ms=since_ms, now_ms=now_ms):
            self.changed(self._fleet.state_of(slot))

    def forget(self, slot: int) -> None:
        """The slot's robot is gone."""
        self.rates.forget(slot)
        self.changed(self._fleet.state_of(slot))

    def changed(self, state: AccountState) -> None:
        """A robot of the account is in another phase, was learnt about, came or went: its interval is made anew."""
        if state.index < len(self._roots):
            self._roots[state.index] = 0.0

    def _root(self, state: AccountState) -> float:
        """Work out sqrt(cost / rate) of an account and keep it, until something is learnt of its robots."""
        index, phases = state.index, self._fleet.phase
        if index >= len(self._roots):
            missing = len(self._fleet.accounts) - len(self._roots)
            self._roots.extend([0.0] * missing)
            self._flat.extend(bytes(missing))
            self._often.extend([0] * missing)
            self._seldom.extend([0] * missing)
        self._flat[index] = {phases[slot] for slot in state.slots} == _ALL_FLAT
        self._often[index], self._seldom[index] = self._orders_asked(state) if state.books else (0, 0)
        root = self._roots[index] = sqrt(self.cost(state) / max(self.rates.of_account(state), _RATE_MIN))
        return root

    # -- the fleet's sums

    def renew(self) -> None:
        """One step of a pass over the fleet, from which the scale of the intervals follows; once a second."""
        routes, accounts = self._fleet.routes.values(), self._fleet.accounts
        for route in routes:
            route.law.lead_ms = int(route.law.lead_ms * _LEAD_FADES)
        step = min(-(-len(accounts) // _PASS_STEPS), _STEP_MOST)
        end = min(self._pass_at + step, len(accounts))
        for state in accounts[self._pass_at:end]:
            if state is not None and not state.agenda.stopped and (robots := len(state.slots)):
                self._add(state, robots)
        self._pass_at = end
        if end == len(accounts):
            for route in routes:
                if route.law.bounds:
                    route.law.end(self._affordable(route), spend_all=self._fleet.settings.spend == "all")
            self._pass_at, self._passes = 0, self._passes + 1

    def _add(self, state: AccountState, robots: int) -> None:
        """Add what an account with so many robots asks of its route's budget."""
        route, index = state.route, state.index
        law = route.law
        bounds = law.bounds or self._begin(route)
        root = self._roots[index] if index < len(self._roots) else 0.0
        if not root or not (index + self._passes) % _ROOTS_ANEW:
            root = self._root(state)
        phase = _FLAT if self._flat[index] else _HOLDING
        cost = route.prices.round_of(robots)
        law.demand.add(cost, root, bounds[phase])
        law.planned += cost / self._planned_ms[phase]
        for books, orders_phase in ((self._often[index], _WORKING), (self._seldom[index], _FLAT)):
            if books:
                cost = books * route.prices.orders_share
                law.demand.add(cost, root, bounds[orders_phase])
                law.planned += cost / self._planned_ms[orders_phase]

    def _begin(self, route: Route) -> tuple[Bounds, ...]:
        floor_ms = self._fleet.settings.floor_ms
        bounds = tuple(Bounds(floor_ms, self.aim_ms(phase, route), self._ceilings_ms[phase]) for phase in Phase)
        route.law.begin(bounds)
        return bounds

    @staticmethod
    def _orders_asked(state: AccountState) -> tuple[int, int]:
        """Where the positions list answers for quiet books: of how many others orders are asked, often and seldom."""
        often = seldom = 0
        for book in state.books.values() if state.route.tariff.positions_show_orders else ():
            if book.orders:
                often += 1
            elif not book.is_quiet:
                seldom += 1
        return often, seldom

    def _affordable(self, route: Route) -> float:
        """What the scarcest quota can pay a millisecond, in units of cost."""
        price = (route.prices.of(Surface.POSITIONS, one_symbol=False) or 1) / PRICE_UNIT
        return min(_USABLE * limit / weight for limit, weight in self._limits(route)) * price

    def _limits(self, route: Route) -> list[tuple[float, int]]:
        """(units a millisecond, units a round) of each quota that the whole route shares."""
        weights = dict(route.tariff.costs[Surface.POSITIONS.value].weights)
        limits = [(self._fleet.settings.calls_per_minute / MINUTE_MS, 1)]
        limits += [(quota.limit / quota.window_ms, weights[quota.name]) for quota in route.tariff.quotas
                   if quota.scope is Scope.EGRESS and quota.name in weights]
        return limits
