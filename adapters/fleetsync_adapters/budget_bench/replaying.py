"""What other settings would have given: a recorded run's deeds done again in virtual time, under them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fleetsync.config import Settings
from fleetsync.messages import Call
from fleetsync.ports import Batch
from fleetsync.tariff import Tariff
from fleetsync.units import MINUTE_MS
from fleetsync_adapters.budget_bench.fleets import BenchFleet, setup_of
from fleetsync_adapters.budget_bench.recorded import ChangeRow, Recorded, SyncRow, figures, skipped_ms
from fleetsync_adapters.budget_bench.reenacting import Reenactor
from fleetsync_adapters.budget_bench.trial import keep_nothing
from fleetsync_adapters.paper.direct import PaperDirect
from fleetsync_adapters.paper.seeded import draw
from fleetsync_adapters.simulation.network import Network, Told
from fleetsync_adapters.simulation.observe import Observer
from fleetsync_adapters.simulation.setup import START_AT_MS, Lags
from fleetsync_adapters.simulation.world import World

_ALL_RECORDS = 1_000_000  # a second: the simulation's own syncs are all recorded
# The recording begins with the first sync, when workers are up already; its spans hold all other delays.
_LAGS = Lags(pipe_ms=(0, 0), up_ms=(0, 0), down_ms=(0, 0), start_ms=(0, 10))


@dataclass(frozen=True, slots=True)
class Replayed:
    """One prediction."""

    row: dict[str, Any]
    deeds: int
    left: int  # changes that no deed of the simulation makes: parts of fills, growing positions


def replay(run: Recorded, settings: Settings, tariffs: Mapping[str, Tariff], *, seed: int,
           caps: Sequence[tuple[int, int]] = ()) -> Replayed:
    """Do what happened again under `settings`, over as long a span and with answers as slow as the run's were.

    Args:
        run: what happened.
        settings: those to try.
        tariffs: of its exchanges.
        seed: of what the record does not say.
        caps: (instant, calls a minute) of changes of the budget while it ran.
    """
    records = Records()
    world = again(run, settings, tariffs, [records], seed=seed, caps=caps)
    row = figures(records.syncs, records.changes, START_AT_MS + skipped_ms(), world.now_ms)
    return Replayed(row, world.trader.deeds, run.deeds()[1])


def replay_own(run: Recorded, tariffs: Mapping[str, Tariff], *, seed: int) -> Replayed | None:
    """The settings that really ran, with their changes: how far a prediction can be trusted. None: not recorded."""
    if run.settings is None:
        return None
    return replay(run, run.settings, tariffs, seed=seed, caps=run.caps()[1:])


def again(run: Recorded, settings: Settings, tariffs: Mapping[str, Tariff], observers: Sequence[Observer], *,
          seed: int, caps: Sequence[tuple[int, int]] = (), until_ms: int = 0) -> World:
    """The world in which a run's deeds were done again, at its end or at an earlier instant."""
    shift_ms, span_ms = START_AT_MS - run.from_ms, (until_ms or run.until_ms) - run.from_ms
    fleet = BenchFleet(name="recording", settings=settings, accounts=run.accounts, robots=run.robots, tariffs=tariffs)
    setup = replace(setup_of(fleet, settings.but(sync_records_per_second=_ALL_RECORDS), seed=seed,
                             minutes=-(-span_ms // MINUTE_MS)), lags=_LAGS)
    world = World(setup, observers)
    keep_nothing(world)
    world.net = RecordedNetwork(world, run.syncs)
    world.trader = Reenactor(world, world.rng("trade"), run, run.deeds()[0], shift_ms)
    for at_ms, limit in caps:
        world.at(at_ms + shift_ms, world.set_calls_per_minute, limit)
    return world.run(START_AT_MS + span_ms)


class RecordedNetwork(Network):
    """As slow as it was: each sync takes as long as one of the recorded ones took, all its calls together."""

    def __init__(self, world: World, syncs: Sequence[SyncRow]) -> None:
        """Draw from the spans of these syncs."""
        super().__init__(world)
        self._seed = world.setup.seed
        self._spans_ms = sorted(sync.done_at_ms - sync.started_at_ms for sync in syncs)

    def ask(self, exchange: PaperDirect, sync_id: int, egress: str, account: str, call: Call, send_at_ms: int, *,
            full: bool) -> Told:
        """One call: executed at once, its answer on its way for as long as its sync's draw says."""
        _, answer, requests = super().ask(exchange, sync_id, egress, account, call, send_at_ms, full=full)
        return self._spans_ms[draw(self._seed, sync_id) % len(self._spans_ms)], answer, requests


class Records(Observer):
    """What the engine hands to its store."""

    def __init__(self) -> None:
        self.syncs: list[SyncRow] = []
        self.changes: list[ChangeRow] = []

    def committed(self, at_ms: int, batch: Batch, served: Sequence[tuple[int, int]]) -> None:
        """Keep the records of a batch."""
        self.syncs += [SyncRow(row["account"], row["calls"], row["weight"], row["started_at_ms"], row["done_at_ms"])
                       for row in batch.syncs]
        self.changes += [ChangeRow(one.robots, one.kind, one.cause, one.exchange_at_ms, one.seen_at_ms)
                         for one in batch.changes]
