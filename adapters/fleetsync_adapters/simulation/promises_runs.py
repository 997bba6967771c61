"""Never two runs of one account at once, and no robot forgotten."""

from typing import ClassVar

from fleetsync.account import AccountState
from fleetsync.messages import Call, Dispatch, FromWorker, Request, SyncDone, ToWorker, WorkerLost
from fleetsync.units import MINUTE_MS
from fleetsync_adapters.simulation.life import Life
from fleetsync_adapters.simulation.promises import Promise
from fleetsync_adapters.simulation.world import World

_ROBOTS_A_SECOND = 200  # of large fleets, so many are looked at each second, in turn
_SLIP_MS = 1_000  # how far a key may lag behind stretched time before that stands still
_SLIPS_UNNOTICED = 0.15  # of a minute
_SMALLEST_CAP = 150  # calls a minute; from here on a grant holds two
_USED_UP = 0.8  # of a quota; bursts, jitter and the size of grants cost the rest at small limits
_TURNS_AN_ACCOUNT, _TURNS_MORE = 6, 20  # urgent accounts take four turns of five
_LATE_MS = _SLIP_MS + 6_000  # and what a sync, a commit and a busy account add


class OneRun(Promise):
    """Follows each account's syncs."""

    name: ClassVar[str] = "one_run"
    sentence: ClassVar[str] = ("There are never two runs of one account at once, and no older run asks after a newer"
                               " one.")

    def __init__(self) -> None:
        """Nothing runs."""
        super().__init__()
        self._running: dict[str, tuple[int, int, int]] = {}  # account -> (sync, worker, over by)
        self._newest: dict[str, int] = {}
        self._excused: set[int] = set()  # syncs that were given up or whose worker was lost

    def begun(self, at_ms: int, life: Life) -> None:
        """A new engine knows nothing of the old one's runs."""
        self._running.clear()
        self._newest.clear()
        self._excused.clear()

    def sent(self, at_ms: int, worker: int, message: ToWorker) -> None:
        """A run begins."""
        if not isinstance(message, Dispatch):
            return
        before = self._running.get(message.account)
        if before is not None and at_ms < before[2]:
            self.broken(f"sync {message.sync_id} of {message.account} begins while {before[0]} is out")
        elif before is not None:
            self._excused.add(before[0])
        settings = self.world.settings
        by_ms = at_ms + settings.grant_valid_ms + settings.call_timeout_ms * max(call.pages for call in message.calls)
        self._running[message.account] = message.sync_id, worker, by_ms

    def received(self, at_ms: int, message: FromWorker) -> None:
        """A run ends."""
        if isinstance(message, SyncDone):
            life = self.world.life
            account = life.syncs.get(message.sync_id) if life is not None else None
            if account is not None and self._running.get(account, (0,))[0] == message.sync_id:
                del self._running[account]
        elif isinstance(message, WorkerLost):
            for account, (sync_id, worker, _) in list(self._running.items()):
                if worker == message.worker:
                    self._excused.add(sync_id)
                    del self._running[account]

    def requested(self, at_ms: int, sync_id: int, egress: str, account: str, call: Call, request: Request) -> None:
        """As the exchange sees it: once a newer run has asked, no older one asks any more."""
        if request.sent_at_ms < (self.world.life.began_at_ms if self.world.life is not None else at_ms) or not account:
            return
        newest = self._newest.get(account, 0)
        if sync_id < newest and sync_id not in self._excused:
            self.broken(f"a request of sync {sync_id} for {account} comes after one of sync {newest}")
        self._newest[account] = max(newest, sync_id)


class NobodyForgotten(Promise):
    """Looks where each robot is kept, and how long it has waited beyond its wish."""

    name: ClassVar[str] = "nobody_forgotten"
    sentence: ClassVar[str] = ("Every robot that runs is in the heap, waits for its turn, or is in flight; undisturbed,"
                               " it is read within the longest interval and 7 s, in stretched time.")

    def __init__(self) -> None:
        """Nobody was looked at."""
        super().__init__()
        self.strict_from_ms: int | None = None  # from when on lateness counts: undisturbed
        self._from = 0

    def second(self, at_ms: int, world: World) -> None:
        """The next share of the fleet."""
        life = world.life
        if life is None or at_ms < life.paused_until_ms:
            return
        slots = len(life.core.fleet.ids)
        for offset in range(min(slots, _ROBOTS_A_SECOND)):
            self._look((self._from + offset) % slots, life, at_ms)
        self._from = (self._from + _ROBOTS_A_SECOND) % max(slots, 1) if slots > _ROBOTS_A_SECOND else 0

    def _look(self, slot: int, life: Life, at_ms: int) -> None:
        core = life.core
        fleet = core.fleet
        state = fleet.account_of[slot]
        if state is None or slot in fleet.stopped or state.stopped:
            return
        in_flight = core.in_flight.get(state.busy)
        known = (slot in state.route.robots or slot in state.waiting
                 or (in_flight is not None and slot in in_flight.slots))
        if not known:
            self.broken(f"robot {fleet.ids[slot]} is neither in the heap, nor waiting, nor in flight")
        if state.busy and in_flight is None:
            self.broken(f"account {state.account.id} is busy with sync {state.busy}, which is not in flight")
        unread = [slot for slot, since_ms in state.urgent.items() if not fleet.read_since(slot, since_ms)]
        if not state.busy and (state.waiting or unread or state.questions) and not self._queued(state, life):
            self.broken(f"account {state.account.id} has work (robots {state.waiting}, urgent {unread}, "
                        f"{len(state.questions)} questions) and stands in no lane")
        if self.strict_from_ms is not None and at_ms >= self.strict_from_ms:
            self._look_at_age(slot, state, life, at_ms)

    def _look_at_age(self, slot: int, state: AccountState, life: Life, at_ms: int) -> None:
        core, settings = life.core, self.world.settings
        if core.timing.overload.get(state.route.name, 0.0) > 1:
            return  # said loudly by the engine: the budget cannot hold the ceilings
        adaptive = settings.mode == "adaptive"
        longest_ms = settings.flat_ceiling_ms if adaptive else max(settings.flat_ms, settings.holding_ms)
        slipped = max(state.route.stretch.ratio, 1.0) if core.fleet.priority_of else 1.0  # a weighed interval has it
        age_ms = state.route.stretch.now_ms(at_ms) - state.positions_key_ms
        if age_ms > longest_ms * slipped + _LATE_MS * state.route.stretch.speed_max:
            self.broken(f"robot {core.fleet.ids[slot]} was not read for {age_ms} ms of stretched time")

    @staticmethod
    def _queued(state: AccountState, life: Life) -> bool:
        core = life.core
        if state.index in core.settlement.wakeups or state.index in state.route.urgent:
            return True
        if core.roster.waits(state):
            return True
        return state.index in state.route.ready


class FairTurns(Promise):
    """Counts the grants that go elsewhere while an account waits."""

    name: ClassVar[str] = "fair_turns"
    sentence: ClassVar[str] = ("Nobody starves: while an account waits, at most six grants an account, and twenty,"
                               " go elsewhere.")

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
        if not isinstance(message, Dispatch) or life is None:
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
        most = _TURNS_AN_ACCOUNT * len(core.fleet.account_by_id) + _TURNS_MORE
        for state in core.fleet.account_by_id.values():
            given = self._given.get(state.route.name, 0)
            if state.busy or not state.waiting or core.roster.waits(state):
                self._waits.pop(state.account.id, None)
            elif given - self._waits.setdefault(state.account.id, given) > most:
                self.broken(f"{state.account.id} waits, and {given - self._waits[state.account.id]} grants of its "
                            f"route went elsewhere")
        for name, passed in self._passed_over.items():
            if passed > most:
                self.broken(f"{name} has robots due, and {passed} grants went to others")


class StretchIsUsed(Promise):
    """Holds, minute by minute, what slipped against what was used."""

    name: ClassVar[str] = "stretch_is_used"
    sentence: ClassVar[str] = "Intervals stretch only while a quota is used up: nobody waits while there is room."

    def __init__(self) -> None:
        """Nothing has slipped."""
        super().__init__()
        self.strict_from_ms: int | None = None
        self._marks: dict[str, tuple[int, int, dict[str, tuple[int, int]]]] = {}
        # by route: (since, slip, (granted, limit) by ledger)

    def second(self, at_ms: int, world: World) -> None:
        """Once a minute, look at every route."""
        life = world.life
        if life is None or self.strict_from_ms is None or at_ms < self.strict_from_ms:
            self._marks.clear()
            return
        for route in life.core.fleet.routes.values():
            mark = self._marks.get(route.name)
            if mark is not None and at_ms - mark[0] < MINUTE_MS:
                continue
            keys = life.core.tolls.egress_keys(route)
            ledgers = [life.core.budget.operator, *(one for one in life.core.budget.ledgers() if one.key in keys)]
            self._marks[route.name] = at_ms, route.stretch.slip_ms, {
                one.key: (one.granted, one.limit) for one in ledgers}
            if mark is None:
                continue
            slipped = (route.stretch.slip_ms - mark[1]) / (at_ms - mark[0])
            used = 0.0
            for one in ledgers:
                before, limit = mark[2].get(one.key, (0, one.limit))
                minutes = (at_ms - mark[0]) / one.window_ms
                used = max(used, (one.granted - before) / min(limit, one.limit) / minutes)
            # Under the smallest caps a grant holds one call, and an account of many surfaces is read call after call:
            # there its own turns are the limit, not the quota.
            if min(one.limit for one in ledgers) < _SMALLEST_CAP:
                continue
            if slipped > _SLIPS_UNNOTICED and used < _USED_UP:
                self.broken(f"{route.name}: time stood still for {slipped:.0%} of a minute, "
                            f"in which {used:.0%} of the scarcest quota was used")
