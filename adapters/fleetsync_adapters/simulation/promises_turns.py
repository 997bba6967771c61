"""Who goes next, and whether anybody waits in vain: nobody starves, and no quota lies idle while somebody waits."""

from collections import deque
from typing import ClassVar

from fleetsync.account import Route
from fleetsync.ledger import Ledger
from fleetsync.messages import Call, Dispatch, OpenExchange, Request, ToWorker
from fleetsync.units import MINUTE_MS, SECOND_MS
from fleetsync_adapters.simulation.life import Life
from fleetsync_adapters.simulation.promises import Promise
from fleetsync_adapters.simulation.world import World

_TURNS_AN_ACCOUNT, _TURNS_MORE = 6, 20  # urgent accounts take four turns of five
_MEASURED_MS = 30_000  # over so long it is measured how far a route is stretched: exchanges are evened out by that
_SMALL_FLEET, _LOOK_EVERY_MS = 50, 10_000  # accounts; of larger fleets all are looked at now and then
_IDLE_MAX_MS = 50  # the loop takes turns, and the exchange's own counter is asked for again now and then
_NEXT_MINUTE_MS = 250  # so long after the turn of an exchange's minute an engine may take it for the old one


class FairTurns(Promise):
    """Counts the grants that go elsewhere while an account waits."""

    name: ClassVar[str] = "fair_turns"
    sentence: ClassVar[str] = ("Nobody starves: while an account waits, at most six grants an account, and twenty,"
                               " go elsewhere; to another exchange also what half a minute holds.")

    def __init__(self) -> None:
        """Nobody waits."""
        super().__init__()
        self.strict_from_ms: int | None = None
        self._given: dict[str, int] = {}  # by route: grants so far
        self._passed_over: dict[str, int] = {}  # by route: grants of others while it could have had one
        self._waits: dict[str, int] = {}  # account -> its route's grants when it was first seen waiting

    def begun(self, at_ms: int, life: Life) -> None:
        """A new engine begins a new count."""
        self._given.clear()
        self._passed_over.clear()
        self._waits.clear()

    def sent(self, at_ms: int, worker: int, message: ToWorker) -> None:
        """A grant for one account."""
        life = self.world.life
        if not isinstance(message, Dispatch) or life is None or self.strict_from_ms is None:
            return
        fleet = life.core.fleet
        route = fleet.account_by_id[message.account].route
        self._given[route.name] = self._given.get(route.name, 0) + 1
        self._waits.pop(message.account, None)
        self._passed_over[route.name] = 0
        if len(fleet.routes) > 1:
            for other in fleet.routes.values():
                if other is not route and other.ready.live and other.scheduled_blocked_ms <= at_ms:
                    self._passed_over[other.name] = self._passed_over.get(other.name, 0) + 1

    def second(self, at_ms: int, world: World) -> None:
        """Look at everybody who waits."""
        life = world.life
        if life is None or self.strict_from_ms is None or at_ms < self.strict_from_ms:
            self._waits.clear()
            return
        core = life.core
        if len(core.fleet.account_by_id) > _SMALL_FLEET and at_ms % _LOOK_EVERY_MS >= SECOND_MS:
            return
        most = _TURNS_AN_ACCOUNT * len(core.fleet.account_by_id) + _TURNS_MORE
        for state in core.fleet.account_by_id.values():
            given = self._given.get(state.route.name, 0)
            if state.busy or not state.waiting:
                self._waits.pop(state.account.id, None)
            elif given - self._waits.setdefault(state.account.id, given) > most:
                self.broken(f"{state.account.id} waits, and {given - self._waits[state.account.id]} grants of its "
                            f"route went elsewhere")
        for name, passed in self._passed_over.items():
            if passed > most + world.settings.calls_per_minute * _MEASURED_MS // MINUTE_MS:
                self.broken(f"{name} has robots due, and {passed} grants went to others")


class StretchIsUsed(Promise):
    """Holds each moment of waiting against the quotas, whose buckets it fills and empties itself.

    A bucket loses room only while it stands full. So whatever the limits are, and whichever of them are scarce: as
    long as somebody waits, one bucket that this route draws on is not full, else what it could have granted is lost.

    An exchange that tells what it counted in this minute of its own may leave less than a bucket does: the minute is
    used up when the largest charge goes beyond it, all that may not be counted yet added.
    """

    name: ClassVar[str] = "stretch_is_used"
    sentence: ClassVar[str] = ("Intervals stretch only while a quota is used up: as long as a robot waits for its turn,"
                               " no moment passes in which every quota it needs stands full.")

    def __init__(self) -> None:
        """Nothing has slipped."""
        super().__init__()
        self.strict_from_ms: int | None = None
        self._full_at_us: dict[str, int] = {}  # by ledger: when its bucket is full again
        self._granted: dict[str, int] = {}
        self._each_us: dict[str, int] = {}
        self._ledgers: dict[str, list[Ledger]] = {}
        self._stretched: dict[str, tuple[int, int, bool]] = {}
        """By route: slip and stretched time after the last turn, and whether somebody waited then."""
        self._waits_since_ms: dict[str, int] = {}
        self._minutes = _Minutes()

    def begun(self, at_ms: int, life: Life) -> None:
        """A new engine begins with empty buckets."""
        self._full_at_us.clear()
        self._granted.clear()
        self._each_us.clear()
        self._ledgers.clear()
        self._stretched.clear()
        self._waits_since_ms.clear()
        self._minutes = _Minutes()

    def requested(self, at_ms: int, sync_id: int, route: str, account: str, call: Call, request: Request) -> None:
        """The exchange has counted."""
        if request.used_weight >= 0 and self.strict_from_ms is not None:
            self._minutes.counted(route, request)

    def sent(self, at_ms: int, worker: int, message: ToWorker) -> None:
        """A grant: its buckets are emptier now."""
        life = self.world.life
        if life is None or self.strict_from_ms is None or not isinstance(message, Dispatch | OpenExchange):
            return
        routes = life.core.fleet.routes.values()
        for route in routes:  # until this grant, they waited
            self._judge(at_ms, life, route)
        for route in routes:
            for ledger in self._drawn(life, route):
                self._draw(ledger, at_ms)

    def _refit(self, ledger: Ledger, at_ms: int) -> None:
        """After a change of the limit nothing is said of a bucket until it must have filled up."""
        each_us = self._emission_us(ledger)
        if self._each_us.setdefault(ledger.key, each_us) != each_us:
            self._each_us[ledger.key] = each_us
            self._full_at_us[ledger.key] = at_ms * 1000 + ledger.burst * each_us

    def _draw(self, ledger: Ledger, at_ms: int) -> None:
        """Take what was granted since the last look out of a bucket of our own, at the rate that is promised."""
        self._refit(ledger, at_ms)
        units = ledger.granted - self._granted.get(ledger.key, 0)
        if units or ledger.key not in self._full_at_us:
            self._granted[ledger.key] = ledger.granted
            each_us = self._emission_us(ledger)
            full_at_us = self._full_at_us.get(ledger.key, at_ms * 1000 + ledger.burst * each_us)
            self._full_at_us[ledger.key] = max(full_at_us, at_ms * 1000) + units * each_us
            if ledger.aligned:
                self._minutes.granted(ledger, at_ms, units)

    def _emission_us(self, ledger: Ledger) -> int:
        """What one unit costs in time: the quota less one burst, over its window and what may come late."""
        settings = self.world.settings
        span_ms = ledger.window_ms + settings.grant_valid_ms + settings.network_jitter_ms
        return -(-span_ms * 1000 // max(ledger.limit - ledger.burst, 1))

    def turned(self, at_ms: int, life: Life) -> None:
        """Whoever waits after a turn of the loop waits for something."""
        if self.strict_from_ms is None or at_ms < self.strict_from_ms:
            return
        for route in life.core.fleet.routes.values():
            stretched_ms, name = route.stretch.now_ms(at_ms), route.name
            waits = route.ready.live > 0
            slip_ms, before_ms, waited = self._stretched.get(name, (route.stretch.slip_ms, stretched_ms, waits))
            self._stretched[name] = route.stretch.slip_ms, stretched_ms, waits
            if route.stretch.slip_ms > slip_ms and not (waits or waited):
                self.broken(f"{name}: time stood still for {route.stretch.slip_ms - slip_ms} ms, and nobody waits")
            if stretched_ms < before_ms:
                self.broken(f"{name}: stretched time went back by {before_ms - stretched_ms} ms")
            if not waits:
                self._waits_since_ms.pop(name, None)
                continue
            self._waits_since_ms.setdefault(name, at_ms)
            self._judge(at_ms, life, route)

    def _judge(self, at_ms: int, life: Life, route: Route) -> None:
        """How long what somebody waits for has been there."""
        since_ms = self._waits_since_ms.get(route.name)
        if since_ms is None:
            return
        idle_from_ms = max(since_ms, self._full_again_at_ms(life, route))
        may_be_ms = _IDLE_MAX_MS + self._unit_ms(life, route)
        if at_ms - idle_from_ms > may_be_ms:
            idle_from_ms = self._minutes.over_at_ms(route.name, self._drawn(life, route), idle_from_ms)
        if at_ms - idle_from_ms > may_be_ms:
            self.broken(f"{route.name}: accounts wait, and for {at_ms - idle_from_ms} ms every quota stood full")
            self._waits_since_ms[route.name] = at_ms

    def _unit_ms(self, life: Life, route: Route) -> int:
        """How long the slowest of its buckets takes for a unit: so far apart two counts of the same grants may be."""
        return -(-max(self._emission_us(ledger) for ledger in self._drawn(life, route)) // 1000)

    def _full_again_at_ms(self, life: Life, route: Route) -> int:
        drawn = self._drawn(life, route)
        for ledger in drawn:
            self._refit(ledger, self.world.now_ms)
        return max(self._full_at_us.get(one.key, 0) // 1000 for one in drawn)

    def _drawn(self, life: Life, route: Route) -> list[Ledger]:
        """What every call of a route draws on; ledgers are made when they are first needed."""
        drawn = self._ledgers.get(route.name, [])
        keys = life.core.tolls.egress_keys(route)
        if len(drawn) <= len(keys):
            budget = life.core.budget
            drawn = [one for one in budget.ledgers() if one is budget.operator or one.key in keys]
            self._ledgers[route.name] = drawn
        return drawn


class _Minutes:
    """What exchanges told of the windows that they count in, and what they may have counted since."""

    def __init__(self) -> None:
        self._told: dict[str, Request] = {}  # by route: the request sent last of those whose counter is known
        self._granted: dict[str, deque[tuple[int, int]]] = {}  # by ledger: when, and units, within a window

    def counted(self, route: str, request: Request) -> None:
        """The exchange's counter, as it stands after a request."""
        told = self._told.get(route)
        if told is None or request.sent_at_ms >= told.sent_at_ms:
            self._told[route] = request

    def granted(self, ledger: Ledger, at_ms: int, units: int) -> None:
        """What will be counted."""
        granted = self._granted.setdefault(ledger.key, deque())
        granted.append((at_ms, units))
        while granted[0][0] <= at_ms - ledger.window_ms:
            granted.popleft()

    def over_at_ms(self, route: str, drawn: list[Ledger], at_ms: int) -> int:
        """When the window that is used up at `at_ms` gives way to the next; `at_ms` itself if none is."""
        told = self._told.get(route)
        if told is None:
            return at_ms
        for ledger in drawn:
            window = at_ms // ledger.window_ms
            if ledger.aligned and told.sent_at_ms // ledger.window_ms == window:
                since_ms = told.sent_at_ms - ledger.slack_ms
                unseen = sum(units for granted_at_ms, units in self._granted.get(ledger.key, ())
                             if granted_at_ms > since_ms)
                if told.used_weight + unseen + ledger.burst - ledger.reserve > ledger.limit:
                    at_ms = max(at_ms, (window + 1) * ledger.window_ms + _NEXT_MINUTE_MS)
        return at_ms
