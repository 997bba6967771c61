"""The simulation held against reality: the same deeds over real sockets and processes, and in virtual time."""

import asyncio
from pathlib import Path

import pytest

from fleetsync.config import Settings
from fleetsync_adapters.budget_bench.reality import ALL_RECORDS, Comparison, compare, run_for_real
from fleetsync_adapters.budget_bench.recorded import measured, read_recorded
from fleetsync_adapters.budget_bench.replaying import replay
from fleetsync_adapters.demo import DemoSize
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


def test_a_replay_of_the_settings_that_ran_predicts_what_was_measured(tmp_path: Path) -> None:
    path = str(tmp_path / "run.duckdb")
    settings = Settings(workers=0, sync_records_per_second=ALL_RECORDS)
    asyncio.run(run_for_real(DemoSize(robots=100, accounts=10), 60, settings, path))
    run = read_recorded(path)
    was, told = measured(run), replay(run, settings, {"binanceusdm": load_tariff("binanceusdm")}, seed=1).row
    assert told["calls_per_minute"] == pytest.approx(was["calls_per_minute"], rel=0.10)
    assert told["age_ms"]["p50"] == pytest.approx(was["age_ms"]["p50"], rel=0.10)
    assert told["age_ms"]["p95"] == pytest.approx(was["age_ms"]["p95"], rel=0.10)
    assert told["changes"] == pytest.approx(was["changes"], rel=0.10)
