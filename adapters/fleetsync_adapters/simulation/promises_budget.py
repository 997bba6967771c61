"""No quota exceeded in any window, and every grant charged and settled exactly once."""

from collections import deque
from typing import TYPE_CHECKING, ClassVar

from fleetsync.ledger import Ledger
from fleetsync.messages import Call, Dispatch, FromWorker, OpenExchange, Request, SyncDone, ToWorker, WorkerLost
from fleetsync.model import Fault, Surface
from fleetsync.ports import Batch
from fleetsync.tariff import Quota, Scope, Tariff, question
from fleetsync.units import MINUTE_MS
from fleetsync_adapters.simulation.life import Life
from fleetsync_adapters.simulation.promises import Promise
from fleetsync_adapters.simulation.setup import route_name

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.world import World

_SETTLING_MS = MINUTE_MS + 1_000  # after a change of the cap, windows may hold what both caps allowed


class _Window:
    """The units within the last span, wherever it starts."""

    __slots__ = ("_sent", "_span_ms", "units")

    def __init__(self, span_ms: int) -> None:
        self._span_ms = span_ms
        self._sent: deque[tuple[int, int]] = deque()
        self.units = 0

    def add(self, at_ms: int, units: int) -> int:
        """Count units; returns what the window holds now."""
        sent = self._sent
        sent.append((at_ms, units))
        self.units += units
        since_ms = at_ms - self._span_ms
        while sent[0][0] <= since_ms:
            self.units -= sent.popleft()[1]
        return self.units


class Quotas(Promise):
    """Counts as the exchange does, over all lives of the engine."""

    name: ClassVar[str] = "quotas"
    sentence: ClassVar[str] = ("No quota is exceeded in any window, and a ban and a 429 are respected, over restarts"
                               " too.")

    def __init__(self) -> None:
        """Nothing was sent."""
        super().__init__()
        self._draws = _Draws()
        self._windows: dict[str, _Window] = {}
        self._banned_until_ms: dict[str, int] = {}
        self._durable_until_ms: dict[str, int] = {}
        self._limited_until_ms: dict[str, int] = {}  # by what it counts towards
        self._sent: dict[int, tuple[str, str]] = {}  # sync -> what it went over, and for which account

    def begun(self, at_ms: int, life: Life) -> None:
        """A new engine numbers its syncs anew."""
        self._sent.clear()

    def requested(self, at_ms: int, sync_id: int, route: str, account: str, call: Call, request: Request) -> None:
        """One request more in each of its windows."""
        limit = self._cap(at_ms)
        calls = self._window("operator", MINUTE_MS).add(at_ms, 1)
        if calls > limit:
            self.broken(f"{calls} calls within 60 s, {limit} are allowed")
        for key, quota, weight in self._draws.of(self.world, route, account, call):
            units = self._window(key, quota.window_ms).add(at_ms, weight)
            if units > quota.limit:
                self.broken(f"{units} of {key} within {quota.window_ms} ms, {quota.limit} are allowed")
        if request.used_weight > self.world.setup.limits.weight_per_minute and self._alone(at_ms):
            self.broken(f"{request.used_weight} weight in the exchange's minute, and nobody else used any")

    def sent(self, at_ms: int, worker: int, message: ToWorker) -> None:
        """Nothing goes where we know to be locked out."""
        if isinstance(message, OpenExchange):
            route = route_name(message.exchange, message.egress)
        elif isinstance(message, Dispatch):
            held = self.world.accounts[message.account]
            route = route_name(held.exchange, held.egress)
            self._sent[message.sync_id] = route, message.account
            self._held_back(at_ms, route, message)
        else:
            return
        until_ms = self._banned_until_ms.get(route, 0)
        if at_ms < until_ms:
            self.broken(f"sent over {route}, which is locked out for another {until_ms - at_ms} ms")

    def received(self, at_ms: int, message: FromWorker) -> None:
        """An answer that says we are locked out."""
        if not isinstance(message, SyncDone):
            return
        route, account = self._sent.pop(message.sync_id, ("", ""))
        for answer in message.answers if route else ():
            until_ms = answer.as_of_ms + answer.retry_after_ms  # the report may be late
            if answer.fault is Fault.BANNED:
                self._banned_until_ms[route] = max(self._banned_until_ms.get(route, 0), until_ms)
            elif answer.fault is Fault.RATE_LIMITED:
                for key, _, _ in self._draws.of(self.world, route, account, answer.call):
                    self._limited_until_ms[key] = max(self._limited_until_ms.get(key, 0), until_ms)

    def _held_back(self, at_ms: int, route: str, message: Dispatch) -> None:
        """Nothing is sent of what the exchange has just had enough of."""
        if not self._limited_until_ms:
            return
        for call in message.calls:
            for key, _, _ in self._draws.of(self.world, route, message.account, call):
                if at_ms < (until_ms := self._limited_until_ms.get(key, 0)):
                    self.broken(f"{call.surface} was sent, and {key} had to rest for another {until_ms - at_ms} ms")

    def committed(self, at_ms: int, batch: Batch, served: object) -> None:
        """A freeze that is durable survives the engine."""
        for key, until_ms in batch.freezes.items():
            self._durable_until_ms[key] = until_ms or 0

    def crashed(self, at_ms: int, life: Life) -> None:
        """What was not committed, nobody can know."""
        for route, until_ms in list(self._banned_until_ms.items()):
            durable_ms = max((ms for key, ms in self._durable_until_ms.items() if key.startswith(f"{route}:")),
                             default=0)
            self._banned_until_ms[route] = min(until_ms, durable_ms)
        for key, until_ms in list(self._limited_until_ms.items()):
            self._limited_until_ms[key] = min(until_ms, self._durable_until_ms.get(key, 0))

    def stepped(self, at_ms: int, by_ms: int) -> None:
        """A clock that was set forth makes a freeze end early: nobody can tell. One that was set back, late."""
        if by_ms < 0:
            self._durable_until_ms = {key: until_ms - by_ms for key, until_ms in self._durable_until_ms.items()}

    def _window(self, name: str, span_ms: int) -> _Window:
        window = self._windows.get(name)
        if window is None:
            window = self._windows[name] = _Window(span_ms)
        return window

    def _cap(self, at_ms: int) -> int:
        """The cap that holds for the window up to now; while it settles after a change, the higher one."""
        caps = self.world.caps
        if len(caps) == 1:
            return caps[0][1]
        while len(caps) > 1 and caps[1][0] <= at_ms - _SETTLING_MS:
            caps.pop(0)
        return max(limit for _, limit in caps)

    def _alone(self, at_ms: int) -> bool:
        chaos = self.world.chaos
        return chaos is None or (at_ms > chaos.foreign_until_ms + MINUTE_MS
                                 and at_ms > chaos.clock_moved_at_ms + 2 * MINUTE_MS)


def ledger_key(tariff: Tariff, route: str, quota: str, account: str, call: Call) -> str:
    """What a request for this counts towards: one quota in its scope, named as the engine names it."""
    scope = next(one.scope for one in tariff.quotas if one.name == quota)
    if scope is Scope.EGRESS:
        return f"{route}:{quota}"
    of = {Scope.ACCOUNT: "", Scope.ENDPOINT: f"/{tariff.cost(call).endpoint}", Scope.INSTRUMENT: f"/{call.symbol}"}
    return f"{tariff.exchange}:{quota}/{account}{of[scope]}"  # over every egress


class _Draws:
    """What requests count towards, each kind worked out once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str, str], tuple[tuple[str, Quota, int], ...]] = {}

    def of(self, world: "World", route: str, account: str, call: Call) -> tuple[tuple[str, Quota, int], ...]:
        """(ledger, quota, weight of one request) for each quota that a request for this counts towards."""
        kind = route, account, question(call), call.symbol
        known = self._known.get(kind)
        if known is None:
            tariff = world.setup.tariffs[route.partition("@")[0]]
            limits = {quota.name: quota for quota in tariff.quotas}
            known = self._known[kind] = tuple(
                (ledger_key(tariff, route, name, account, call), limits[name], weight)
                for name, weight in tariff.cost(call).weights)
        return known


class Grants(Promise):
    """Follows every grant from its command to its end."""

    name: ClassVar[str] = "grants"
    sentence: ClassVar[str] = "Every call that is sent was granted and charged; every grant is settled exactly once."

    def __init__(self) -> None:
        """No grant yet."""
        super().__init__()
        self._draws = _Draws()
        self._open: dict[int, tuple[int, int, int]] = {}  # sync -> (pages, worker, when it may be given up)
        self._last_id = self._charged = self._settled = self._given_up = 0
        self._lost: dict[int, int] = {}  # worker -> when it was lost
        self._late: dict[int, int] = {}  # syncs that were given up and may still be reported -> pages
        self._unused: dict[int, tuple[int, int]] = {}  # sync -> (requests that it may still make, to be sent by)
        self._charges: dict[str, int] = {}  # what each ledger must have been charged
        self._fresh: dict[str, int] = {}  # and what of that is not compared yet
        self._ledgers: dict[str, Ledger | None] = {}

    def begun(self, at_ms: int, life: Life) -> None:
        """A new engine counts anew."""
        self._open.clear()
        self._lost.clear()
        self._late.clear()
        self._unused.clear()
        self._charges.clear()
        self._fresh.clear()
        self._ledgers.clear()
        self._last_id = self._charged = self._settled = self._given_up = 0

    def sent(self, at_ms: int, worker: int, message: ToWorker) -> None:
        """A grant goes out."""
        calls: tuple[Call, ...]
        if isinstance(message, Dispatch):
            held = self.world.accounts[message.account]
            calls, route, account = message.calls, route_name(held.exchange, held.egress), message.account
        elif isinstance(message, OpenExchange):
            calls, route, account = (Call(Surface.MARKETS),), route_name(message.exchange, message.egress), ""
        else:
            return
        pages = sum(call.pages for call in calls)
        self._charge(route, account, calls)
        self._unused[message.sync_id] = pages, message.send_by_ms
        if message.sync_id <= self._last_id:
            self.broken(f"sync {message.sync_id} comes after {self._last_id}")
        self._last_id = message.sync_id
        settings = self.world.settings
        calls_ms = settings.call_timeout_ms * max(call.pages for call in calls)
        self._open[message.sync_id] = pages, worker, at_ms + settings.grant_valid_ms + calls_ms
        self._charged += pages
        if message.send_by_ms != at_ms + settings.grant_valid_ms:
            self.broken(f"sync {message.sync_id} may be sent until {message.send_by_ms - at_ms} ms from now")

    def _charge(self, route: str, account: str, calls: tuple[Call, ...]) -> None:
        for call in calls:
            for key, _, weight in self._draws.of(self.world, route, account, call):
                self._fresh[key] = self._fresh.get(key, 0) + weight * call.pages

    def requested(self, at_ms: int, sync_id: int, route: str, account: str, call: Call, request: Request) -> None:
        """The exchange gets no more than was granted, and nothing that was sent too late."""
        life = self.world.life
        if life is None or request.sent_at_ms < life.began_at_ms:
            return  # of an engine that is gone
        left, by_ms = self._unused.get(sync_id, (0, 0))
        if left < 1 or request.sent_at_ms > by_ms:
            self.broken(f"a request for {call.surface} of sync {sync_id}, for which {left} are left, was sent "
                        f"{request.sent_at_ms - by_ms} ms after its grant ran out")
        self._unused[sync_id] = left - 1, by_ms

    def received(self, at_ms: int, message: FromWorker) -> None:
        """A grant comes back, or its worker never will."""
        if isinstance(message, SyncDone):
            grant = self._open.pop(message.sync_id, None)
            self._unused.pop(message.sync_id, None)
            if grant is not None:
                self._settled += grant[0]
            else:
                self._given_up -= self._late.pop(message.sync_id, 0)
        elif isinstance(message, WorkerLost) and self.world.life is not None:
            self._lost[message.worker] = at_ms
            self._give_up(at_ms, self.world.life)

    def turned(self, at_ms: int, life: Life) -> None:
        """The books of grants agree with the core's."""
        core = life.core
        if core.budget.operator.granted != self._charged:
            self.broken(f"{self._charged} calls were sent out, {core.budget.operator.granted} were charged")
            self._charged = core.budget.operator.granted
        if self._fresh:
            self._compare_ledgers(life)
        if len(core.in_flight) != len(self._open):
            self._give_up(at_ms, life)
            if len(core.in_flight) != len(self._open):
                self.broken(f"{len(core.in_flight)} syncs in flight for {len(self._open)} grants that are out")

    def _compare_ledgers(self, life: Life) -> None:
        for key in sorted(self._fresh):
            ledger = life.core.budget.get(key)
            if ledger is not self._ledgers.get(key):  # made since, or made anew: that of an account that was gone
                self._ledgers[key], self._charges[key] = ledger, 0
            self._charges[key] = self._charges.get(key, 0) + self._fresh[key]
            granted = ledger.granted if ledger is not None else 0
            if granted != self._charges[key]:
                self.broken(f"{self._charges[key]} of {key} were sent out, {granted} were charged")
                self._charges[key] = granted
        self._fresh.clear()

    def _give_up(self, at_ms: int, life: Life) -> None:
        for sync_id in [sync_id for sync_id in self._open if sync_id not in life.core.in_flight]:
            pages, worker, by_ms = self._open.pop(sync_id)
            self._given_up += pages
            if life.core.roster.up(worker):
                self._late[sync_id] = pages
            if at_ms < by_ms and self._lost.get(worker, -1) < life.began_at_ms:
                self.broken(f"sync {sync_id} was given up {by_ms - at_ms} ms before its calls can be over")
        if life.core.journal.uncertain_calls != self._given_up:
            self.broken(f"{self._given_up} calls were given up, {life.core.journal.uncertain_calls} are noted so")
            self._given_up = life.core.journal.uncertain_calls
