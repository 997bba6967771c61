"""The demo as a user runs it: the real command, real processes, real HTTP; held against the exchange's own ledger.

All demos of this file run side by side: each of them mostly waits.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.process.cli_support import Started, started, until

pytestmark = pytest.mark.process

_KEYS = {"seconds", "robots", "phases", "budget_per_minute", "calls", "calls_per_minute", "worst_minute_calls", "syncs",
         "age_ms", "urgent_ms", "changes", "mismatches", "exchange"}
_SEEN = {"calls", "worst_minute_calls", "worst_minute_weight", "refused_429", "refused_418"}
_ORDERS = {
    "plain": ("--for", "14"),
    "hurt": ("--for", "14"),
    "alone": ("--for", "5", "--workers", "0", "--robots", "20", "--accounts", "4", "--seed", "7"),
    "poor": ("--for", "12", "--budget", "240"),
}
Demos = dict[str, tuple[Path, Started]]


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demos]:
    with ExitStack() as stack:
        running = {}
        for name, options in _ORDERS.items():
            folder = tmp_path_factory.mktemp(name)
            running[name] = folder, stack.enter_context(started(folder, "run", "--json", "--db", "x.duckdb", *options))
        yield running


def _agrees_with_the_exchange(result: dict[str, Any]) -> None:
    seen = result["exchange"]
    assert result["calls"] == seen["calls"]
    assert result["worst_minute_calls"] == seen["worst_minute_calls"] <= result["budget_per_minute"]
    assert (seen["refused_429"], seen["refused_418"]) == (0, 0)


def test_a_worker_killed_in_the_middle_of_the_demo_costs_no_truth(demos: Demos) -> None:
    folder, demo = demos["hurt"]
    engine = demo.engine(folder / "x.duckdb")
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


def test_the_demo_keeps_what_it_promises_and_the_exchange_has_seen_the_same(demos: Demos) -> None:
    folder, demo = demos["plain"]
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
    assert not (folder / "x.duckdb.run.json").exists()


def test_the_demo_without_workers_calls_from_its_own_loop(demos: Demos) -> None:
    result = demos["alone"][1].result(within_s=120)
    assert (result["robots"], result["mismatches"]) == (20, 0)
    _agrees_with_the_exchange(result)


def test_a_small_budget_is_kept_whatever_the_robots_do(demos: Demos) -> None:
    result = demos["poor"][1].result(within_s=240)
    assert result["mismatches"] == 0
    assert result["budget_per_minute"] == 240
    _agrees_with_the_exchange(result)
