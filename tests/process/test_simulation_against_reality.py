"""The simulation held against reality: the same deeds over real sockets and processes, and in virtual time."""

import asyncio
from pathlib import Path

import pytest

from fleetsync.config import Settings
from fleetsync.engine import Engine
from fleetsync_adapters.budget_bench.reality import ALL_RECORDS, Comparison, compare
from fleetsync_adapters.budget_bench.recorded import measured, read_recorded
from fleetsync_adapters.budget_bench.replaying import replay_own
from fleetsync_adapters.demo import EXCHANGE, Demo, DemoSize
from fleetsync_adapters.duckdb_store import DuckDBStore
from fleetsync_adapters.tariffs import load_tariff

# Soak: real minutes on a machine with nothing else to do; other load shows up in the real figures as an error of ours.
pytestmark = [pytest.mark.process, pytest.mark.soak]


def table(found: Comparison) -> str:
    return "\n".join(f"{what}: {real:.0f} real, {virtual:.0f} simulated, {error:+.1%}"
                     for what, real, virtual, error in found.rows())


def test_the_same_fleet_makes_the_same_calls_and_has_the_same_ages_in_virtual_time() -> None:
    # Short: chance weighs more than in the three minutes of `fleetsync bench reality`, hence the wider bounds.
    found = compare(robots=40, accounts=8, seconds=32, settings=Settings(workers=2))
    errors = {what: error for what, _, _, error in found.rows()}
    assert abs(errors["calls a minute"]) <= 0.08, table(found)
    assert abs(errors["holding age p50, ms"]) <= 0.15, table(found)
    assert abs(errors["holding age p95, ms"]) <= 0.10, table(found)


async def run_with_changes(path: str) -> None:
    """Robots that announce, two forced syncs of everybody, and half the budget from the middle on."""
    settings = Settings(workers=0, sync_records_per_second=ALL_RECORDS)
    async with Demo(DemoSize(robots=100, accounts=10)) as demo:
        engine = Engine(demo.accounts, demo.robots, settings=settings, exchanges={EXCHANGE: demo.spec},
                        store=DuckDBStore(path))
        async with engine:
            demo.live(engine, 60_000)
            for budget in (600, 300):
                await asyncio.sleep(25)
                assert await engine.sync_all() == []
                engine.set_calls_per_minute(budget)
            await asyncio.sleep(10)
            await demo.rest()
            assert await engine.sync_all() == []


def test_a_replay_of_the_settings_that_ran_predicts_what_was_measured(tmp_path: Path) -> None:
    path = str(tmp_path / "run.duckdb")
    asyncio.run(run_with_changes(path))
    run = read_recorded(path)
    assert [limit for _, limit in run.caps()] == [1_200, 600, 300]
    assert run.count_asked("sync") >= 100
    was, replayed = measured(run), replay_own(run, {EXCHANGE: load_tariff(EXCHANGE)}, seed=1)
    assert replayed is not None
    told = replayed.row
    assert told["calls_per_minute"] == pytest.approx(was["calls_per_minute"], rel=0.10)
    assert told["age_ms"]["p50"] == pytest.approx(was["age_ms"]["p50"], rel=0.10)
    assert told["age_ms"]["p95"] == pytest.approx(was["age_ms"]["p95"], rel=0.10)
    assert told["changes"] == pytest.approx(was["changes"], rel=0.10)
