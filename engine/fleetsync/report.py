"""What people and programs are shown: a robot's proven state, the engine's status, ages and latencies."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleetsync.journal import owners
from fleetsync.model import Certainty, Order, Phase, Position, Surface

if TYPE_CHECKING:
    from fleetsync.core import Core

_BUCKET_MS = 5
_SAMPLES_MAX = 500  # robots sampled at a time, so that a large fleet's ages cost no more than a small one's


class Histogram:
    """Spans in buckets of 5 ms: bounded memory, percentiles to one bucket."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.max_ms = 0

    def add(self, span_ms: int, times: int = 1) -> None:
        """Count a span."""
        bucket = max(span_ms, 0) // _BUCKET_MS
        self._counts[bucket] = self._counts.get(bucket, 0) + times
        self.count += times
        self.max_ms = max(self.max_ms, span_ms)

    def percentile_ms(self, share: float) -> int | None:
        """The span that `share` of all spans do not exceed; None when there are none."""
        rank, seen = share * self.count, 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                return min((bucket + 1) * _BUCKET_MS - 1, self.max_ms)
        return None

    def summary(self, *shares: float) -> dict[str, int | None]:
        """`{"p50": ..., "p99": ..., "max": ...}` in milliseconds; None where nothing was counted."""
        chosen = shares or (0.5, 0.99)
        rows = {f"p{share * 100:g}": self.percentile_ms(share) for share in chosen}
        return {**rows, "max": self.max_ms if self.count else None}


@dataclass(frozen=True, slots=True)
class SurfaceState:
    """One surface of a robot: what it holds, when that was true, and how far it can be trusted."""

    value: tuple[Position, ...] | tuple[Order, ...]
    as_of_ms: int  # 0: never read
    certainty: Certainty


@dataclass(frozen=True, slots=True)
class RobotState:
    """What is proven about a robot, from memory. `shared` names other robots on the same account and symbol."""

    robot: str
    account: str
    symbol: str
    phase: Phase
    certainty: Certainty
    positions: SurfaceState
    orders: SurfaceState
    conditional: SurfaceState
    stopped: str = ""
    shared: tuple[str, ...] = ()

    @property
    def as_of_ms(self) -> int:
        """The oldest of its surfaces' instants."""
        return min(self.positions.as_of_ms, self.orders.as_of_ms)


@dataclass(slots=True)
class Status:
    """The engine's state at an instant, for the status line, the live view, metrics and `fleetsync status`."""

    at_ms: int = 0
    robots: int = 0
    due: int = 0
    in_flight: int = 0
    urgent: int = 0
    workers: int = 0
    workers_up: int = 0
    phases: dict[str, int] = field(default_factory=dict)
    worst_age_ms: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    calls_last_minute: int = 0
    worst_minute_calls: int = 0
    calls_per_minute: int = 0
    uncertain_calls: int = 0
    syncs: int = 0
    changes: int = 0
    last_change: int = 0
    events: int = 0
    events_pending: int = 0
    store_failing_since_ms: int = 0  # 0 while the store takes commits; the log says why it does not
    faults: dict[str, int] = field(default_factory=dict)
    routes: list[dict[str, Any]] = field(default_factory=list)
    crew: list[dict[str, int]] = field(default_factory=list)
    stopped_accounts: dict[str, str] = field(default_factory=dict)
    stopped_robots: dict[str, str] = field(default_factory=dict)
    failing_accounts: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        worst = " ".join(f"{phase} {age_ms / 1000:.1f} s" for phase, age_ms in self.worst_age_ms.items())
        routes = " | ".join(f"{route['name']} circuit {route['circuit']}" for route in self.routes)
        return (f"<Engine robots={self.robots} due={self.due} in_flight={self.in_flight} urgent={self.urgent} | "
                f"crew {self.workers_up}/{self.workers} | calls {self.calls_last_minute}/{self.calls_per_minute} | "
                f"{routes} | worst age {worst or '-'}>")


def robot_state(core: "Core", robot_id: str) -> RobotState:
    """See `RobotState`.

    Raises:
        UnknownRobot: no robot of that id.
    """
    fleet = core.fleet
    slot = fleet.slot(robot_id)
    state, symbol = fleet.state_of(slot), fleet.symbols[slot]
    book = state.books.get(symbol)
    trusted = fleet.certainty(slot)

    def surface(name: Surface, value: tuple[Position, ...] | tuple[Order, ...], as_of_ms: int) -> SurfaceState:
        if trusted is Certainty.UNKNOWN or not as_of_ms:
            return SurfaceState(value, as_of_ms, Certainty.UNKNOWN)
        prefix = "position:" if name is Surface.POSITIONS else "order:"
        disputed = book is not None and any(doubt.key.startswith(prefix) for doubt in book.doubts)
        return SurfaceState(value, as_of_ms, Certainty.DISPUTED if disputed else Certainty.AGREED)

    slots = fleet.slots_on(state, symbol)
    mine = [order for order in book.orders if slot in owners(fleet, slots, order.client_id)] if book else []
    orders = tuple(order for order in mine if not order.conditional)
    conditional = tuple(order for order in mine if order.conditional)
    return RobotState(
        robot_id, state.account.id, symbol, fleet.phase_seen(slot), trusted,
        surface(Surface.POSITIONS, book.positions if book else (), state.positions_as_of_ms),
        surface(Surface.ORDERS, orders, fleet.orders_as_of(state, slot)),
        surface(Surface.CONDITIONAL, conditional, fleet.conditional_as_of(state, slot)),
        fleet.stopped.get(slot, "") or state.stopped,
        tuple(fleet.ids[other] for other in slots if other != slot))


class Ages:
    """Ages of what is known, sampled over time, by phase; and the latencies of events."""

    def __init__(self) -> None:
        self.by_phase = {phase.name.lower(): Histogram() for phase in Phase if phase is not Phase.UNKNOWN}
        self._of_phase = {phase: self.by_phase[phase.name.lower()] for phase in Phase if phase is not Phase.UNKNOWN}
        self.urgent = Histogram()
        self._from = 0

    def sample(self, core: "Core", now_ms: int) -> None:
        """Take the ages of the next share of the fleet."""
        fleet = core.fleet
        slots = len(fleet.ids)
        for offset in range(min(slots, _SAMPLES_MAX)):
            slot = (self._from + offset) % slots
            if fleet.account_of[slot] is None:
                continue
            phase = fleet.phase_seen(slot)  # of a stopped robot nothing is known, whatever its account still shows
            if phase is not Phase.UNKNOWN:
                self._of_phase[phase].add(now_ms - fleet.age_as_of(slot))
        self._from = (self._from + _SAMPLES_MAX) % max(slots, 1) if slots > _SAMPLES_MAX else 0


def status(core: "Core", now_ms: int) -> Status:
    """See `Status`; costs one pass over the fleet's phases."""
    fleet, journal = core.fleet, core.journal
    shown = Status(at_ms=now_ms, robots=len(fleet), in_flight=len(core.in_flight))
    phases = [0] * len(Phase)
    worst: dict[Phase, int] = {}
    for slot in fleet.slot_of.values():
        phase = fleet.phase_seen(slot)
        phases[phase] += 1
        if phase:
            worst[phase] = max(worst.get(phase, 0), now_ms - fleet.age_as_of(slot))
    shown.phases = {phase.name.lower(): phases[phase] for phase in Phase if phases[phase] or phase}
    shown.worst_age_ms = {phase.name.lower(): age_ms for phase, age_ms in sorted(worst.items())}
    shown.due = sum(route.due for route in fleet.routes.values())
    shown.urgent = sum(route.urgent.live for route in fleet.routes.values())
    shown.crew = core.roster.view()
    shown.workers, shown.workers_up = len(shown.crew), core.roster.running
    shown.calls, shown.worst_minute_calls = journal.meter.calls, journal.meter.worst_minute
    shown.calls_last_minute = journal.meter.last_minute(now_ms)
    shown.calls_per_minute = core.settings.calls_per_minute
    shown.uncertain_calls, shown.syncs = journal.uncertain_calls, journal.syncs
    shown.changes, shown.last_change = journal.changes, journal.last_change
    shown.events = core.inbox.accepted
    shown.events_pending = sum(len(events) for events in core.inbox.pending.values())
    shown.store_failing_since_ms = journal.store_failing_since_ms
    shown.faults = dict(journal.faults)
    shown.routes = [_route_row(core, route, now_ms) for route in fleet.routes.values()]
    _add_troubles(shown, core)
    return shown


def _route_row(core: "Core", route: Any, now_ms: int) -> dict[str, Any]:
    keys = core.tolls.egress_keys(route)
    ledgers = [ledger for ledger in core.budget.ledgers() if ledger.key in keys]
    frozen_until_ms = max((ledger.frozen_until_ms for ledger in ledgers), default=0)
    return {
        "name": route.name, "exact": route.tariff.exact, "circuit": route.circuit.state,
        "stretch": round(route.stretch.ratio, 3), "due": route.due,
        "frozen_until_ms": frozen_until_ms if frozen_until_ms > now_ms else 0,
        "granted": {ledger.key: ledger.granted for ledger in ledgers},
    }


def _add_troubles(shown: Status, core: "Core") -> None:
    for state in core.fleet.accounts:
        if state is not None and state.stopped:
            shown.stopped_accounts[state.account.id] = state.stopped
        elif state is not None and state.last_fault:
            shown.failing_accounts[state.account.id] = state.last_fault
    shown.stopped_robots = {core.fleet.ids[slot]: why for slot, why in core.fleet.stopped.items()}


def spread(values: Iterable[int]) -> dict[str, int | None]:
    """Percentiles of a few spans."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram.summary()
