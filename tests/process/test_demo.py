"""The demo as a user runs it: the real command, real processes, real HTTP; held against the exchange's own ledger."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.process.cli_support import started, until

pytestmark = pytest.mark.process

_KEYS = {"seconds", "robots", "phases", "budget_per_minute", "calls", "calls_per_minute", "worst_minute_calls", "syncs",
         "age_ms", "urgent_ms", "changes", "mismatches", "exchange"}
_SEEN = {"calls", "worst_minute_calls", "worst_minute_weight", "refused_429", "refused_418"}


def _agrees_with_the_exchange(result: dict[str, Any]) -> None:
    seen = result["exchange"]
    assert result["calls"] == seen["calls"]
    assert result["worst_minute_calls"] == seen["worst_minute_calls"] <= result["budget_per_minute"]
    assert (seen["refused_429"], seen["refused_418"]) == (0, 0)


def test_the_demo_keeps_what_it_promises_and_the_exchange_has_seen_the_same(tmp_path: Path) -> None:
    with started(tmp_path, "run", "--json", "--for", "20", "--db", "demo.duckdb") as demo:
        result = demo.result(within_s=120)
        assert set(result) == _KEYS
        assert set(result["exchange"]) == _SEEN
        assert set(result["age_ms"]) == {"holding", "flat"}
        assert all(set(spread) == {"p50", "p99", "max"} for spread in (*result["age_ms"].values(), result["urgent_ms"]))
        assert (result["robots"], result["mismatches"]) == (100, 0)
        assert sum(result["phases"].values()) == 100
        assert 10 <= result["phases"]["holding"] <= 35
        assert result["changes"] > 20
        assert result["age_ms"]["holding"]["p99"] <= 6_000
        assert result["age_ms"]["flat"]["p99"] <= 31_000
        _agrees_with_the_exchange(result)
        assert not (tmp_path / "demo.duckdb.run.json").exists()


def test_a_worker_killed_in_the_middle_of_the_demo_costs_no_truth(tmp_path: Path) -> None:
    with started(tmp_path, "run", "--json", "--for", "15", "--db", "demo.duckdb") as demo:
        engine = demo.engine(tmp_path / "demo.duckdb")
        before = until(lambda: (status := engine.status())["calls"] > 20 and status["crew"], "calls of both workers")
        os.kill(before[0]["pid"], signal.SIGKILL)

        def replaced() -> bool:
            crew = engine.status()["crew"]
            return bool(crew[0]["pid"]) and crew[0]["pid"] != before[0]["pid"]

        until(replaced, "another worker in its place")
        result = demo.result(within_s=120)
        assert result["mismatches"] == 0
        assert result["exchange"]["refused_429"] == 0
        assert result["exchange"]["worst_minute_calls"] <= result["budget_per_minute"]
        assert any("worker 0 lost" in line for line in demo.errors)


def test_the_demo_without_workers_calls_from_its_own_loop(tmp_path: Path) -> None:
    with started(tmp_path, "run", "--json", "--for", "5", "--db", "demo.duckdb", "--workers", "0", "--robots", "20",
                 "--accounts", "4", "--seed", "7") as demo:
        result = demo.result(within_s=120)
        assert (result["robots"], result["mismatches"]) == (20, 0)
        _agrees_with_the_exchange(result)


def test_a_small_budget_is_kept_whatever_the_robots_do(tmp_path: Path) -> None:
    with started(tmp_path, "run", "--json", "--for", "12", "--db", "demo.duckdb", "--budget", "240") as demo:
        result = demo.result(within_s=240)
        assert result["mismatches"] == 0
        assert result["budget_per_minute"] == 240
        _agrees_with_the_exchange(result)
