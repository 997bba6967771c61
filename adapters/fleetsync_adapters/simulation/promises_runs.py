"""Never two runs of one account at once, and no robot forgotten."""

from typing import ClassVar

from fleetsync.account import AccountState, Route
from fleetsync.cadence import first_span_ms
from fleetsync.messages import Call, Dispatch, FromWorker, Request, SyncDone, ToWorker, WorkerLost
from fleetsync.units import MINUTE_MS
from fleetsync_adapters.simulation.life import Life
from fleetsync_adapters.simulation.promises import Promise
from fleetsync_adapters.simulation.world import World

_SMALL_FLEET, _ROBOTS_A_SECOND = 200, 4  # of larger fleets, so many are looked at each second, in turn
_PACE_MIN = 10  # calls a second; below, what an account wants may be more than it may ask
_PAUSE_MAX_MS = 20_000  # the longest that the engine's loop stands still
_SLIP_MS = 1_000  # how far a key may lag behind stretched time before that stands still
_LATE_MS = _SLIP_MS + 6_000  # and what a sync, a commit and a busy account add
_QUESTIONS_BETWEEN = 12  # grants that may go to one account's own questions between two of its rounds
_PLACES_MIN, _PLACE_MS = 4, 400  # with fewer places a worker, accounts wait for one, which a sync holds so long


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
                               " it is read within the longest interval, 7 s and twelve grants, in stretched time.")

    def __init__(self) -> None:
        """Nobody was looked at."""
        super().__init__()
        self.strict_from_ms: int | None = None  # from when on lateness counts: undisturbed
        self._from = 0
        self._spread_ms = 0  # over which the first runs of a fleet are spread
        self._gave_way: dict[str, tuple[float, int]] = {}  # by route: how far its ceilings did, and keys set then last

    def begun(self, at_ms: int, life: Life) -> None:
        """First runs are spread, as the engine spreads them."""
        self._gave_way.clear()
        self._spread_ms = first_span_ms(len(self.world.accounts), self.world.settings)

    def second(self, at_ms: int, world: World) -> None:
        """The next share of the fleet."""
        life = world.life
        if life is None or at_ms < life.paused_until_ms:
            return
        slots = len(life.core.fleet.ids)
        looks = slots if slots <= _SMALL_FLEET else _ROBOTS_A_SECOND
        for offset in range(looks):
            self._look((self._from + offset) % slots, life, at_ms)
        self._from = (self._from + looks) % max(slots, 1)

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
        longest_ms = self._longest_ms(slot, state, life, at_ms)
        next_ms = state.route.robots.due_at_ms(slot)
        ahead_ms = 0 if next_ms is None else next_ms - state.route.stretch.now_ms(at_ms)
        # What is taken in right after a pause is dated by a time that is then found to have stood still.
        paused_ms = _PAUSE_MAX_MS if at_ms < life.paused_until_ms + longest_ms + _PAUSE_MAX_MS else 0
        # So it is between two looks at the line, by as much as keys may lag behind.
        if ahead_ms > longest_ms + self._spread_ms + paused_ms + _SLIP_MS:
            self.broken(f"robot {fleet.ids[slot]} is put off for {ahead_ms} ms, its longest interval is {longest_ms}")
        if self.strict_from_ms is not None and at_ms >= self.strict_from_ms:
            self._look_at_age(slot, state, life, at_ms, longest_ms)

    def _longest_ms(self, slot: int, state: AccountState, life: Life, at_ms: int) -> int:
        """The longest that a robot may want to wait, in stretched time."""
        settings = self.world.settings
        robot = self.world.robots[life.core.fleet.ids[slot]]
        longest_ms = max(robot.flat_ms or settings.flat_ms, robot.holding_ms or settings.holding_ms,
                         robot.working_ms or settings.working_ms)
        if settings.mode == "adaptive":  # a ceiling gives way where the budget cannot hold it, and the engine says so
            ceiling_ms = max(settings.flat_ceiling_ms, settings.holding_ceiling_ms)
            longest_ms = max(longest_ms, int(ceiling_ms * self._giving_way(state.route, at_ms, ceiling_ms)))
        return longest_ms

    def _giving_way(self, route: Route, at_ms: int, ceiling_ms: int) -> float:
        """How far the ceilings gave way when the keys were set that have not come due yet."""
        stretched_ms = route.stretch.now_ms(at_ms)
        now = max(route.law.overload, 1.0)
        before, until_ms = self._gave_way.get(route.name, (1.0, 0))
        if now >= before or stretched_ms > until_ms:
            self._gave_way[route.name] = now, stretched_ms + int(now * ceiling_ms)
        return self._gave_way[route.name][0]

    def _look_at_age(self, slot: int, state: AccountState, life: Life, at_ms: int, longest_ms: int) -> None:
        core = life.core
        if state.route.law.overload > 1:
            return  # said loudly by the engine: the budget cannot hold the ceilings
        if self.world.settings.account_calls_per_second < _PACE_MIN:
            return  # an account's own pace holds it back, which is no quota: time does not stand still for it
        slipped = max(state.route.stretch.ratio, 1.0) if core.fleet.priority_of else 1.0  # a weighed interval has it
        age_ms = state.route.stretch.now_ms(at_ms) - max(state.positions_key_ms, life.began_at_ms)
        late_ms = _LATE_MS + _QUESTIONS_BETWEEN * MINUTE_MS // self.world.settings.calls_per_minute
        places = self.world.settings.in_flight_per_worker
        if places < _PLACES_MIN:  # no quota either; that nobody starves there, `fair_turns` sees to
            late_ms += _QUESTIONS_BETWEEN * len(core.fleet.account_by_id) * _PLACE_MS // places
        if age_ms > longest_ms * slipped + late_ms * state.route.stretch.speed_max:
            self.broken(f"robot {core.fleet.ids[slot]} was not read for {age_ms} ms of stretched time")

    @staticmethod
    def _queued(state: AccountState, life: Life) -> bool:
        core = life.core
        if state.index in core.settlement.wakeups or state.index in state.route.urgent:
            return True
        if core.roster.waits(state):
            return True
        return state.index in state.route.ready
