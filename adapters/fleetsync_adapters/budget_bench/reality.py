"""The simulation held against reality: a fleet over sockets and processes, and its deeds in virtual time."""

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleetsync.config import Settings
from fleetsync.engine import Engine
from fleetsync.report import Ages
from fleetsync.units import MINUTE_MS, SECOND_MS, s_from_ms
from fleetsync_adapters.budget_bench.measure import PHASES, Measure
from fleetsync_adapters.budget_bench.recorded import Recorded, read_recorded, skipped_ms
from fleetsync_adapters.budget_bench.replaying import again
from fleetsync_adapters.demo import EXCHANGE, Demo, DemoSize
from fleetsync_adapters.duckdb_store import DuckDBStore
from fleetsync_adapters.simulation.setup import START_AT_MS
from fleetsync_adapters.tariffs import load_tariff

ALL_RECORDS = 10_000  # syncs a second: none may be missing where two runs are compared
_SHARES = (0.5, 0.95, 0.99)
Window = tuple[int, int]  # what is looked at, on the engine's clock


@dataclass(frozen=True, slots=True)
class Figures:
    """What is compared."""

    calls_per_minute: float
    age_ms: dict[str, tuple[int | None, ...]]  # by phase: p50, p95, p99


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both runs."""

    robots: int
    seconds: int
    real: Figures
    virtual: Figures

    def rows(self) -> Iterator[tuple[str, float, float, float]]:
        """(what, real, simulated, the simulation's error as a share)."""
        yield "calls a minute", *_beside(self.real.calls_per_minute, self.virtual.calls_per_minute)
        for phase, found in self.real.age_ms.items():
            for share, real, virtual in zip(_SHARES, found, self.virtual.age_ms[phase], strict=True):
                if real is not None and virtual is not None:
                    yield f"{phase} age p{share * 100:g}, ms", *_beside(real, virtual)


def _beside(real: float, virtual: float) -> tuple[float, float, float]:
    return real, virtual, virtual / real - 1 if real else 0.0


def compare(*, robots: int, accounts: int, seconds: int, settings: Settings, seed: int = 1) -> Comparison:
    """Run the demo's fleet for so many seconds, then again in virtual time."""
    kept = settings.but(sync_records_per_second=ALL_RECORDS)
    with tempfile.TemporaryDirectory(prefix="fleetsync-reality-") as folder:
        path = str(Path(folder) / "run.duckdb")
        real, window = asyncio.run(run_for_real(DemoSize(robots, accounts, seed), seconds, kept, path))
        run = read_recorded(path)
    return Comparison(robots, seconds, real, in_virtual_time(run, kept, window, seed=seed))


async def run_for_real(size: DemoSize, seconds: int, settings: Settings, path: str) -> tuple[Figures, Window]:
    """The demo's exchange and robots, an engine on them, and a database of what it did."""
    async with Demo(size) as demo:
        engine = Engine(demo.accounts, demo.robots, settings=settings, exchanges={EXCHANGE: demo.spec},
                        store=DuckDBStore(path))
        async with engine:
            demo.live(engine, seconds * SECOND_MS)
            await asyncio.sleep(s_from_ms(skipped_ms()))
            engine.ages, meter = Ages(), engine.core.journal.meter
            began_ms, calls_before = engine.clock.now_ms(), meter.calls
            await asyncio.sleep(seconds - s_from_ms(skipped_ms()))
            window = began_ms, engine.clock.now_ms()
            calls = meter.calls - calls_before
            ages = {name: tuple(engine.ages.by_phase[name].percentile_ms(share) for share in _SHARES)
                    for name in PHASES.values()}
            await demo.rest()
    return Figures(_per_minute(calls, window), ages), window


def in_virtual_time(run: Recorded, settings: Settings, window: Window, *, seed: int) -> Figures:
    """The same deeds at the same instants, with answers as slow as they were, looked at in the same window."""
    shift_ms = START_AT_MS - run.from_ms
    measure = Measure(window[0] + shift_ms, window[1] + shift_ms)
    again(run, settings, {EXCHANGE: load_tariff(EXCHANGE)}, [measure], seed=seed, until_ms=window[1])
    measure.finish()
    ages = {name: tuple(measure.ages[phase].percentiles_ms(*_SHARES)) for phase, name in PHASES.items()}
    return Figures(_per_minute(measure.requests, window), ages)


def _per_minute(calls: int, window: Window) -> float:
    return round(calls * MINUTE_MS / (window[1] - window[0]), 1)
