"""Measuring a simulated world: an observer that follows accounts from reading to reading.

Ages count from the sending of the request whose answer is known, exactly as the engine counts them. A change goes
unseen until the sending of the first request that shows it; one that was read while it happened was unseen for 0 ms.
"""

from collections.abc import Sequence
from typing import Any

from fleetsync.account import AccountState
from fleetsync.messages import Call, FromWorker, Request, SyncDone
from fleetsync.meter import CallMeter
from fleetsync.model import Phase, Surface
from fleetsync.ports import Batch
from fleetsync.tariff import question
from fleetsync.units import MINUTE_MS
from fleetsync_adapters.budget_bench.optimum import shared_weight
from fleetsync_adapters.budget_bench.spans import Ages, mean_ms, percentile_ms
from fleetsync_adapters.simulation.life import Life
from fleetsync_adapters.simulation.observe import Observer
from fleetsync_adapters.simulation.workload import Deed
from fleetsync_adapters.simulation.world import World

PHASES = {phase: phase.name.lower() for phase in (Phase.HOLDING, Phase.WORKING, Phase.FLAT)}
STRIP_ROBOTS, STRIP_COLUMNS = 96, 120
_ORDER_DEEDS = {"place": Surface.ORDERS, "cancel": Surface.ORDERS, "hand_place": Surface.ORDERS,
                "hand_cancel": Surface.ORDERS, "stop": Surface.CONDITIONAL}  # fmt: skip
Piece = tuple[int, int, int]  # phase, as of, robots


class Measure(Observer):
    """Everything a bench reports of one world, from `from_ms` on.

    Args:
        from_ms: what was before (the first readings of the fleet, the learning of rates) is not measured.
        until_ms: the end, for the columns of the strip.
    """

    def __init__(self, from_ms: int, until_ms: int) -> None:
        self.from_ms, self.until_ms = from_ms, until_ms
        self.ages = {phase: Ages() for phase in PHASES}
        self.unknown_time = 0
        self.meter = CallMeter()
        self.weight = self.requests = self.refusals = 0
        self.by_minute = [0] * max(-(-(until_ms - from_ms) // MINUTE_MS), 1)
        self.weight_by_minute = [0] * len(self.by_minute)
        self.unseen_ms: dict[bool, list[int]] = {True: [], False: []}  # by whether it was announced
        self.event_ms: list[int] = []
        self.changes = 0
        self.strip: list[list[int]] = []  # a column: the age of each sampled robot, in ms; -1 unknown
        self._pieces: dict[int, list[Piece]] = {}
        self._pieces_at_ms: dict[int, int] = {}
        self._weights: dict[tuple[str, str], int] = {}
        self._open: dict[str, list[tuple[int, Deed]]] = {}
        self._life: Life | None = None
        self._sampled: list[int] = []
        self._next_column_ms = from_ms

    # -- hooks

    def begun(self, at_ms: int, life: Life) -> None:
        """The engine is there."""
        self._life = life
        slots = len(life.core.fleet.ids)
        step = max(slots / STRIP_ROBOTS, 1.0)
        self._sampled = [int(index * step) for index in range(min(slots, STRIP_ROBOTS))]

    def requested(self, at_ms: int, sync_id: int, egress: str, account: str, call: Call, request: Request) -> None:
        """A request reached the exchange: count it, and end what it shows."""
        waiting = self._open.get(account)
        if waiting and request.status == 200:
            left = []
            for deed_at_ms, deed in waiting:
                if _shows(call, deed):
                    if deed_at_ms >= self.from_ms:
                        self.unseen_ms[deed.announced].append(max(request.sent_at_ms - deed_at_ms, 0))
                else:
                    left.append((deed_at_ms, deed))
            self._open[account] = left
        if request.sent_at_ms < self.from_ms:
            return
        self.meter.count(request.sent_at_ms)
        self.requests += 1
        weight = self._weight(account, call, request)
        self.weight += weight
        self.refusals += request.status in {418, 429}
        minute = min((request.sent_at_ms - self.from_ms) // MINUTE_MS, len(self.by_minute) - 1)
        self.by_minute[minute] += 1
        self.weight_by_minute[minute] += weight

    def received(self, at_ms: int, message: FromWorker) -> None:
        """The core knows more: an account's robots have new ages."""
        if not isinstance(message, SyncDone) or self._life is None:
            return
        account = self._life.syncs.get(message.sync_id)
        if account is not None:
            state = self._life.core.fleet.account_by_id[account]
            self._close(state.index, at_ms)
            self._pieces[state.index] = self._read(state)

    def acted(self, at_ms: int, deed: Deed) -> None:
        """The true books changed: from now on that is unseen."""
        tariff_surfaces = self._life.core.fleet.account_by_id[deed.account].route.tariff.surfaces if self._life else ()
        if _ORDER_DEEDS.get(deed.action, Surface.POSITIONS) in tariff_surfaces:
            self._open.setdefault(deed.account, []).append((at_ms, deed))

    def acknowledged(self, at_ms: int, served: Sequence[tuple[int, int]]) -> None:
        """Events whose outcome is durable."""
        self.event_ms.extend(at_ms - accepted_at_ms for _, accepted_at_ms in served if accepted_at_ms >= self.from_ms)

    def committed(self, at_ms: int, batch: Batch, served: Sequence[tuple[int, int]]) -> None:
        """Changes."""
        if at_ms >= self.from_ms:
            self.changes += len(batch.changes)

    def second(self, at_ms: int, world: World) -> None:
        """A column of the strip, now and then."""
        if at_ms < self._next_column_ms or self._life is None:
            return
        self._next_column_ms += max((self.until_ms - self.from_ms) // STRIP_COLUMNS, 1)
        fleet = self._life.core.fleet
        self.strip.append([at_ms - fleet.age_as_of(slot) if fleet.phase[slot] else -1 for slot in self._sampled])

    # -- the end

    def finish(self) -> None:
        """Count what has lasted until the end."""
        for index in list(self._pieces):
            self._close(index, self.until_ms)

    def row(self, holding_ceiling_ms: int, flat_ceiling_ms: int) -> dict[str, Any]:
        """The measured part of a row."""
        ages = [self.ages[phase] for phase in PHASES]
        whole = sum(one.robot_time for one in ages)
        beyond = sum(self.ages[phase].beyond(flat_ceiling_ms if phase is Phase.FLAT else holding_ceiling_ms)
                     for phase in PHASES if self.ages[phase].robot_time)
        minutes = (self.until_ms - self.from_ms) / MINUTE_MS
        return {
            "calls_per_minute": round(self.requests / minutes, 1),
            "weight_per_minute": round(self.weight / minutes, 1),
            "worst_minute_calls": self.meter.worst_minute,
            "age_ms": {name: self.ages[phase].summary() for phase, name in PHASES.items()},
            "unseen_ms": {name: {"mean": mean_ms(self.unseen_ms[told]), "p95": percentile_ms(self.unseen_ms[told], .95)}
                          for name, told in (("announced", True), ("unannounced", False))},
            "seen": {"announced": len(self.unseen_ms[True]), "unannounced": len(self.unseen_ms[False])},
            "beyond_ceiling": round(beyond / whole, 5) if whole else 0.0,
            "event_ms": {"p50": percentile_ms(self.event_ms, 0.5), "p99": percentile_ms(self.event_ms, 0.99)},
            "events": len(self.event_ms), "changes": self.changes, "refusals": self.refusals,
        }

    def _weight(self, account: str, call: Call, request: Request) -> int:
        """By the fleet's own table: the simulated exchange weighs everything as Binance does."""
        if not account or self._life is None:
            return request.weight
        tariff = self._life.core.fleet.account_by_id[account].route.tariff
        asked = (tariff.exchange, question(call))
        if asked not in self._weights:
            self._weights[asked] = shared_weight(tariff, call)
        return self._weights[asked]

    def _close(self, index: int, at_ms: int) -> None:
        """What an account's robots were like ended now."""
        since_ms = max(self._pieces_at_ms.get(index, 0), self.from_ms)
        self._pieces_at_ms[index] = at_ms
        for phase, as_of_ms, robots in self._pieces.get(index, ()):
            self.ages[Phase(phase)].grew(since_ms - as_of_ms, at_ms - as_of_ms, robots)

    def _read(self, state: AccountState) -> list[Piece]:
        """The account's robots, together where they are alike."""
        assert self._life is not None
        fleet, phases = self._life.core.fleet, self._life.core.fleet.phase
        alike: dict[tuple[int, int], int] = {}
        positions_ms, quiet = state.positions_as_of_ms, state.route.one_list
        for slot in state.slots:
            phase = phases[slot]
            if not phase:
                continue
            if phase == Phase.HOLDING or (quiet and fleet.symbols[slot] not in state.books):
                key = (phase, positions_ms)
            else:
                key = (phase, fleet.age_as_of(slot))
            alike[key] = alike.get(key, 0) + 1
        return [(phase, as_of_ms, robots) for (phase, as_of_ms), robots in alike.items()]


def _shows(call: Call, deed: Deed) -> bool:
    """Whether an answer to this question shows what was done."""
    surface = _ORDER_DEEDS.get(deed.action, Surface.POSITIONS)
    if call.symbol and call.symbol != deed.symbol:
        return False
    if surface is Surface.POSITIONS:
        return call.surface in {Surface.POSITIONS, Surface.FILLS}
    return call.surface is surface
