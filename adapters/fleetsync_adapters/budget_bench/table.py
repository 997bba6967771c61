"""The rows of a bench on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_AGED = ("holding", "working", "flat")


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


def cells(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(heading, text) of one row, worst ages only for phases that somebody was in."""
    ages, unseen = row["age_ms"], row["unseen_ms"]
    shown = [
        ("budget /min", f"{row['budget_per_minute']}"),
        ("policy", row["policy"]),
        ("calls /min", f"{row['calls_per_minute']:.0f}"),
        ("worst 60 s", f"{row['worst_minute_calls']}"),
        ("weight /min", f"{row['weight_per_minute']:.0f}"),
    ]
    for phase in _AGED:
        spread = " / ".join(seconds(ages[phase][name]).removesuffix(" s") for name in ("p50", "p95", "p99", "max"))
        shown.append((f"{phase} age, s\np50/p95/p99/max", spread if ages[phase]["p50"] is not None else "-"))
    told, silent = unseen["announced"], unseen["unannounced"]
    optimum = row["optimum_unseen_ms"]
    return [
        *shown,
        ("told: unseen\nmean / p95", f"{seconds(told['mean'])} / {seconds(told['p95'])}"),
        ("untold: unseen\nmean / p95", f"{seconds(silent['mean'])} / {seconds(silent['p95'])}"),
        ("least mean\npossible", seconds(optimum)),
        ("beyond\nceiling", percent(row["beyond_ceiling"])),
        ("event to commit\np50 / p99", f"{seconds(row['event_ms']['p50'])} / {seconds(row['event_ms']['p99'])}"),
        ("refused", f"{row['refusals']}"),
    ]


def show_rows(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """A table on a wide terminal; elsewhere a block of lines for each row."""
    if console.is_terminal and console.width >= 150:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for heading, _ in cells(rows[0]):
            table.add_column(heading, justify="left" if heading == "policy" else "right")
        for row in rows:
            table.add_row(*[text for _, text in cells(row)])
        console.print(table)
        return
    for row in rows:
        named = cells(row)
        console.out(f"budget {row['budget_per_minute']} calls a minute, {row['policy']}", highlight=False)
        for heading, text in named[2:]:
            if text != "-":
                console.out(f"  {heading.replace(chr(10), ', '):32} {text}", highlight=False)
