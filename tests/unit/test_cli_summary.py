"""The summary of a run: the contract's keys, and the lines for people."""

from io import StringIO

from rich.console import Console

from fleetsync.report import Status
from fleetsync_adapters.cli.summary import Result, plain_lines, show
from fleetsync_adapters.demo_driver import Driven

NONE = {"p50": None, "p99": None, "max": None}


def _result(**fields: object) -> Result:
    status = Status(robots=100, phases={"holding": 20, "working": 2, "flat": 78}, calls=606, worst_minute_calls=561,
                    calls_per_minute=1_200, syncs=300, changes=150, events=80, faults={"network": 2})
    given = {
        "seconds": 66.04, "status": status, "db_path": "demo.duckdb", "holding": 20, "mismatches": 0,
        "ages_ms": {"holding": {"p50": 1_800, "p99": 4_900, "max": 5_100}, "working": NONE,
                    "flat": {"p50": 1_900, "p99": 4_950, "max": 5_200}},
        "urgent_ms": {"p50": 19, "p99": 560, "max": 1_400}, "by_kind": {"position_opened": 100, "order_ended": 50},
        "by_cause": {"event": 120, "external": 30}, "driven": Driven(90, 70, 20), "kept_in_sync_per_minute": 480.2,
        "exchange": {"calls": 606, "worst_minute_calls": 561, "worst_minute_weight": 900, "refused_429": 0,
                     "refused_418": 0},
    } | fields
    return Result(**given)  # type: ignore[arg-type]  # a test's defaults, overridden by name


def test_the_contract_has_its_keys_and_figures() -> None:
    told = _result().contract()
    assert told["seconds"] == 66.0
    assert told["calls_per_minute"] == 550.6
    assert told["age_ms"] == {"holding": {"p50": 1_800, "p99": 4_900, "max": 5_100},
                              "flat": {"p50": 1_900, "p99": 4_950, "max": 5_200}}
    assert told["exchange"]["calls"] == 606
    assert _result(exchange=None, mismatches=None).contract()["exchange"] is None


def test_people_are_told_the_same_in_lines() -> None:
    text = "\n".join(plain_lines(_result()))
    for line in ("calls: 606 in 300 syncs, 550.6 a minute; worst minute 561 of 1200",
                 "age, holding: p50 1.8 s, p99 4.9 s, max 5.1 s",
                 "event to commit: p50 19 ms, p99 560 ms, max 1.4 s; 80 events",
                 "changes: 150: 100 position_opened, 50 order_ended",
                 "their causes: 120 event, 30 external",
                 "faults: 2 network",
                 "exchange's ledger: 606 calls, worst minute 561 (weight 900), 0 refused",
                 "mismatches: 0 robots differ from the exchange's own books"):
        assert line in text.splitlines()
    assert "age, working" not in text


def test_the_original_plan_stands_beside_it_with_its_own_arithmetic() -> None:
    assert [row[:2] for row in _result().plan_rows()] == [
        ("every 10 s for all", "600"), ("5 s / 30 s per robot", "400"), ("fleetsync", "480")]
    assert "320" in _result().plan_note()
    assert _result(driven=None).plan_note() == ""


def test_a_run_that_was_not_compared_says_why() -> None:
    text = "\n".join(plain_lines(_result(mismatches=None, compared="it was ended before")))
    assert "mismatches: not compared: it was ended before" in text


def test_a_terminal_gets_tables_and_a_file_plain_lines() -> None:
    terminal, file = StringIO(), StringIO()
    show(_result(), Console(file=terminal, force_terminal=True, width=120, color_system=None))
    show(_result(), Console(file=file, width=40))
    assert "Beside the original plan" in terminal.getvalue()
    assert "calls: 606 in 300 syncs, 550.6 a minute; worst minute 561 of 1200\n" in file.getvalue()
