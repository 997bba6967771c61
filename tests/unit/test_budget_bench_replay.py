"""Replays: what a database says of a run, and its deeds in virtual time."""

from pathlib import Path

import pytest

from fleetsync.config import Settings
from fleetsync.errors import ConfigError, StoreRefused
from fleetsync.model import Account, Robot
from fleetsync.ports import Batch
from fleetsync_adapters.budget_bench.recorded import ChangeRow, Recorded, SyncRow, figures, read_recorded
from fleetsync_adapters.budget_bench.replaying import lags_of, replay
from fleetsync_adapters.duckdb_store import DuckDBStore
from fleetsync_adapters.tariffs import load_tariff

T = 1_790_000_000_000
TARIFFS = {"binanceusdm": load_tariff("binanceusdm")}


def sync(at_s: float, account: str = "a", *, calls: int = 1, took_ms: int = 100) -> SyncRow:
    at_ms = T + int(at_s * 1000)
    return SyncRow(account, calls, 5 * calls, at_ms, at_ms + took_ms)


def change(kind: str, cause: str, at_s: float, unseen_ms: int = 0) -> ChangeRow:
    at_ms = T + int(at_s * 1000)
    return ChangeRow(("one",), kind, cause, at_ms, at_ms + unseen_ms)


def run(changes: list[ChangeRow], until_s: int = 60) -> Recorded:
    return Recorded((Account("a", "binanceusdm"),), (Robot("one", "a", "BTC/USDT:USDT"),),
                    [sync(at_s) for at_s in range(0, until_s, 5)], changes)


def test_the_age_of_an_account_grows_from_an_answer_to_the_next() -> None:
    found = figures([sync(0), sync(10), sync(20)], [], T, T + 20_100)
    assert found["age_ms"]["max"] == 10_100
    assert 5_000 <= (found["age_ms"]["p50"] or 0) <= 5_200
    assert found["calls_per_minute"] == pytest.approx(3 * 60 / 20.1, abs=0.1)


def test_a_change_was_unseen_from_its_instant_to_the_sending_of_its_proof() -> None:
    changes = [change("position_opened", "event", 1, 300), change("position_closed", "external", 2, 4_000),
               change("position_opened", "first_sight", 3, 50_000), change("order_opened", "robot", 4, -30)]
    found = figures([sync(0)], changes, T, T + 60_000)["unseen_ms"]
    assert found["announced"] == {"mean": 300, "p95": 300}
    assert found["unannounced"] == {"mean": 2_000, "p95": 4_000}


def test_deeds_are_told_as_they_were_and_what_was_there_at_first_is_there_at_the_start() -> None:
    deeds, left = run([change("position_opened", "first_sight", 30), change("position_closed", "external", 20),
                       change("order_opened", "event", 25), change("order_ended", "robot", 28),
                       change("position_grew", "fill", 29)]).deeds()
    assert deeds == [(T, "one", "hand_open"), (T + 20_000, "one", "hand_close"), (T + 25_000, "one", "place"),
                     (T + 28_000, "one", "hand_cancel")]
    assert left == 1


def test_latencies_are_those_of_the_run() -> None:
    lags = lags_of([sync(at, took_ms=took) for at, took in enumerate([20] * 5 + [60] * 5)])
    assert (lags.up_ms, lags.down_ms) == ((10, 30), (10, 30))


def test_a_replay_sees_every_deed_and_other_settings_see_them_later() -> None:
    recorded = run([change("position_opened", "first_sight", 0), change("position_closed", "external", 20),
                    change("position_opened", "external", 31), change("position_closed", "external", 42)])
    quick, slow = (replay(recorded, Settings(holding_ms=interval_ms, working_ms=interval_ms, flat_ms=interval_ms),
                          TARIFFS, seed=1) for interval_ms in (2_000, 8_000))
    assert (quick.deeds, quick.left) == (4, 0)
    assert quick.row["changes"] >= 3
    assert quick.row["calls_per_minute"] > 2 * slow.row["calls_per_minute"]
    assert quick.row["age_ms"]["p95"] < slow.row["age_ms"]["p95"]


def test_a_file_with_nothing_in_it_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused):
        read_recorded(str(tmp_path / "none.duckdb"))
    store = DuckDBStore(str(tmp_path / "empty.duckdb"))
    store.commit(Batch(), T)
    store.close()
    with pytest.raises(ConfigError, match="too short a run"):
        read_recorded(str(tmp_path / "empty.duckdb"))
