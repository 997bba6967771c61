"""The rows of a bench for people: a column for each budget and policy, a line for each figure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

AGED = ("holding", "working", "flat")
_LABEL_WIDTH, _COLUMN_WIDTH = 33, 10


def seconds(span_ms: int | None) -> str:
    """A span for people: `0.21 s`, `4.8 s`, `95 s`; a dash where there is none."""
    if span_ms is None:
        return "-"
    if span_ms < 1_000:
        return f"{span_ms / 1000:.2f} s"
    return f"{span_ms / 1000:.1f} s" if span_ms < 60_000 else f"{span_ms / 1000:.0f} s"


def percent(share: float) -> str:
    """A share for people."""
    return "0" if not share else f"{share:.1%}" if share >= 0.0005 else "<0.1%"


def facts(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(what, figure) of one row."""
    yield "calls used a minute", f"{row['calls_per_minute']:.0f}"
    yield "calls in the worst 60 s", f"{row['worst_minute_calls']}"
    yield "weight a minute", f"{row['weight_per_minute']:.0f}"
    for phase in AGED:
        for figure in ("p50", "p95", "p99", "max"):
            yield f"age {phase}, {figure}", seconds(row["age_ms"][phase][figure])
    for name in ("announced", "unannounced"):
        for figure in ("mean", "p95"):
            yield f"{name} change unseen, {figure}", seconds(row["unseen_ms"][name][figure])
    yield "least mean possible by polling", seconds(row["optimum_unseen_ms"])
    yield "time beyond the ceiling", percent(row["beyond_ceiling"])
    yield "event to commit, p50", seconds(row["event_ms"]["p50"])
    yield "event to commit, p99", seconds(row["event_ms"]["p99"])
    yield "requests refused", f"{row['refusals']}"


def shared_facts(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """(what, its figure in each row), without what no row has."""
    columns = [dict(facts(row)) for row in rows]
    for name in columns[0]:
        figures = [column[name] for column in columns]
        if any(figure != "-" for figure in figures):
            yield name, figures


def show_rows(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """As many columns beside each other as the width holds, the others below."""
    beside = max((console.width - _LABEL_WIDTH) // _COLUMN_WIDTH, 1)
    for first in range(0, len(rows), beside):
        some = rows[first:first + beside]
        if first:
            console.out("")
        console.out(_line("calls a minute", [str(row["budget_per_minute"]) for row in some]), highlight=False)
        console.out(_line("policy", [row["policy"] for row in some]), highlight=False)
        for name, figures in shared_facts(some):
            console.out(_line(name, figures), highlight=False)


def _line(name: str, figures: Sequence[str]) -> str:
    return f"{name:{_LABEL_WIDTH}}" + "".join(f"{figure:>{_COLUMN_WIDTH}}" for figure in figures)
