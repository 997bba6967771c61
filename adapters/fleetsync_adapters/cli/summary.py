"""The end of a run in figures: one JSON object for programs, a table for people."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from fleetsync.report import Status
from fleetsync.units import s_from_ms
from fleetsync_adapters.demo_driver import Driven

Spread = Mapping[str, int | None]  # p50, p99, max
_PLAN_EVERY_S, _PLAN_HOLDING_S, _PLAN_FLAT_S = 10, 5, 30
_SHOWN = 6  # kinds and causes of changes, most frequent first


@dataclass(frozen=True, slots=True)
class Result:
    """What a run did."""

    seconds: float
    status: Status
    ages_ms: Mapping[str, Spread]
    urgent_ms: Spread
    db_path: str
    by_kind: Mapping[str, int] = field(default_factory=dict)
    by_cause: Mapping[str, int] = field(default_factory=dict)
    holding: int = 0  # robots that hold or work, as the original plan would count them
    kept_in_sync_per_minute: float = 0.0  # calls, without those of the last sync, which only proves the run
    mismatches: int | None = None
    compared: str = ""  # why robots were not compared, where they were not
    exchange: Mapping[str, int] | None = None
    driven: Driven | None = None  # in the demo

    @property
    def calls_per_minute(self) -> float:
        """The mean over the run."""
        return round(self.status.calls / self.seconds * 60, 1) if self.seconds else 0.0

    def contract(self) -> dict[str, Any]:
        """The JSON object of `fleetsync run --json`."""
        return {
            "seconds": round(self.seconds, 1),
            "robots": self.status.robots,
            "phases": dict(self.status.phases),
            "budget_per_minute": self.status.calls_per_minute,
            "calls": self.status.calls,
            "calls_per_minute": self.calls_per_minute,
            "worst_minute_calls": self.status.worst_minute_calls,
            "syncs": self.status.syncs,
            "age_ms": {phase: dict(self.ages_ms[phase]) for phase in ("holding", "flat")},
            "urgent_ms": dict(self.urgent_ms),
            "changes": self.status.changes,
            "mismatches": self.mismatches,
            "exchange": dict(self.exchange) if self.exchange is not None else None,
        }

    def rows(self) -> Iterator[tuple[str, str]]:
        """What people are shown, line by line."""
        status = self.status
        phases = ", ".join(f"{count} {phase}" for phase, count in status.phases.items() if count)
        yield "fleet", f"{status.robots} robots ({phases}), {self.seconds:.1f} s"
        yield "calls", (f"{status.calls} in {status.syncs} syncs, {self.calls_per_minute:g} a minute; "
                        f"worst minute {status.worst_minute_calls} of {status.calls_per_minute}")
        for phase, ages in self.ages_ms.items():
            if ages["p50"] is not None:
                yield f"age, {phase}", spread(ages)
        if self.urgent_ms["p50"] is not None:
            yield "event to commit", f"{spread(self.urgent_ms)}; {status.events} events"
        yield "changes", f"{status.changes}{_of(self.by_kind)}"
        if self.by_cause:
            yield "their causes", _of(self.by_cause).removeprefix(": ")
        yield from self._trouble()
        yield from self._proof()

    def _trouble(self) -> Iterator[tuple[str, str]]:
        status = self.status
        if status.faults:
            yield "faults", ", ".join(f"{count} {fault}" for fault, count in sorted(status.faults.items()))
        if status.uncertain_calls:
            yield "uncertain", f"{status.uncertain_calls} calls granted to workers that never reported them"
        for account, why in {**status.stopped_accounts, **status.failing_accounts}.items():
            yield f"account {account}", why
        for robot, why in status.stopped_robots.items():
            yield f"robot {robot}", why

    def _proof(self) -> Iterator[tuple[str, str]]:
        if self.driven is not None:
            yield "the robots", (f"{self.driven.deeds} deeds: {self.driven.told} told to the engine, "
                                 f"{self.driven.by_hand} by hand")
        if self.exchange is not None:
            seen = self.exchange
            refused = seen["refused_429"] + seen["refused_418"]
            yield "exchange's ledger", (f"{seen['calls']} calls, worst minute {seen['worst_minute_calls']} "
                                        f"(weight {seen['worst_minute_weight']}), {refused} refused")
        if self.mismatches is not None:
            yield "mismatches", f"{self.mismatches} robots differ from the exchange's own books"
        elif self.compared:
            yield "mismatches", f"not compared: {self.compared}"
        yield "kept in", self.db_path

    def plan_rows(self) -> Iterator[tuple[str, str, str]]:
        """The original plan beside ours: (plan, calls a minute, what is known how soon)."""
        robots, holding = self.status.robots, self.holding
        flat = robots - holding
        yield f"every {_PLAN_EVERY_S} s for all", f"{robots * 60 // _PLAN_EVERY_S}", f"all within {_PLAN_EVERY_S} s"
        each = holding * (60 // _PLAN_HOLDING_S) + flat * (60 // _PLAN_FLAT_S)
        yield (f"{_PLAN_HOLDING_S} s / {_PLAN_FLAT_S} s per robot", str(each),
               f"holding within {_PLAN_HOLDING_S} s, flat within {_PLAN_FLAT_S} s")
        ages = "; ".join(f"{phase} p99 {_seconds(self.ages_ms[phase]['p99'])}" for phase in ("holding", "flat"))
        urgent = self.urgent_ms["p50"]
        told = "" if urgent is None else f"; {self.status.events} events, p99 {_seconds(self.urgent_ms['p99'])}"
        yield "fleetsync", f"{self.kept_in_sync_per_minute:.0f}", f"{ages}{told}"

    def plan_note(self) -> str:
        """Where the plan's own figures differ from its own intervals."""
        if self.driven is None or (self.status.robots, self.holding) != (100, 20):
            return ""
        return ("The plan's table says 320 calls a minute for 5 s / 30 s; its own intervals give 20x12 + 80x2 = 400. "
                "It counts one call a robot, where positions and orders are two (800); ours counts every call made.")


def show(result: Result, console: Console) -> None:
    """The summary: tables on a terminal, plain lines elsewhere."""
    if not console.is_terminal:
        for line in plain_lines(result):
            console.out(line, highlight=False)
        return
    table = Table(title="fleetsync: what the run did", title_justify="left", show_header=False, box=None,
                  padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in result.rows():
        table.add_row(name, value, style="bold red" if name == "mismatches" and result.mismatches else None)
    console.print(table)
    beside = Table(title="Beside the original plan, on the same fleet", title_justify="left", box=None,
                   padding=(0, 2, 0, 0))
    beside.add_column("plan", style="cyan", no_wrap=True)
    beside.add_column("calls a minute", justify="right")
    beside.add_column("known", overflow="fold")
    for row in result.plan_rows():
        beside.add_row(*row)
    console.print()
    console.print(beside)
    if note := result.plan_note():
        console.print(note, style="dim", highlight=False)


def plain_lines(result: Result) -> Iterator[str]:
    """The summary as lines."""
    for name, value in result.rows():
        yield f"{name}: {value}"
    for plan, calls, known in result.plan_rows():
        yield f"beside the original plan, {plan}: {calls} calls a minute, {known}"
    if note := result.plan_note():
        yield note


def spread(values: Spread) -> str:
    """`p50 1.9 s, p99 4.9 s, max 5.0 s`."""
    return ", ".join(f"{name} {_seconds(value)}" for name, value in values.items())


def _seconds(value_ms: int | None) -> str:
    if value_ms is None:
        return "-"
    return f"{value_ms} ms" if value_ms < 1_000 else f"{s_from_ms(value_ms):.1f} s"


def _of(counts: Mapping[str, int]) -> str:
    """`: 20 position_opened, 3 order_ended and 2 others`."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if not ordered:
        return ""
    shown = ", ".join(f"{count} {name}" for name, count in ordered[:_SHOWN])
    left = sum(count for _, count in ordered[_SHOWN:])
    return f": {shown}" + (f" and {left} others" if left else "")
