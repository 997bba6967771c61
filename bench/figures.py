"""Figures: measured side by side, kept as JSON beside the target they are held to, shown as one table."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Round = Callable[[], float]  # does some work and says what a unit of it cost
_HOPELESS = 3.0  # machines are noisy: a bench fails only where a target is missed by this factor


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. `target` is an upper bound, or a lower one where `at_least`."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    @property
    def hopeless(self) -> bool:
        """Missed by more than noise explains."""
        if self.target is None:
            return False
        return self.value * _HOPELESS < self.target if self.at_least else self.value > self.target * _HOPELESS

    def __str__(self) -> str:
        bound = "" if self.target is None else f"{'>=' if self.at_least else '<='} {self.target:g}"
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        return f"{self.name:<78} {self.value:>12,.4g} {self.unit:<14} {bound:<10} {verdict}"


class Figures:
    """The figures of one run, by bench."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Figure]] = {}
        self.notes: dict[str, None] = {}  # each once, in order

    def note(self, text: str) -> None:
        """Say something beside the figures, for instance what is missing."""
        self.notes[text] = None

    def add(self, bench: str, name: str, value: float, unit: str, target: float | None = None, *,
            at_least: bool = False) -> Figure:
        """Keep a figure; returns it."""
        figure = Figure(name, round(value, 6), unit, target, at_least)
        self.rows.setdefault(bench, []).append(figure)
        return figure

    def lines(self) -> list[str]:
        """The table."""
        lines = [line for bench, figures in self.rows.items() for line in ("", f"-- {bench}", *map(str, figures))]
        return [*lines, "", *self.notes] if self.notes else lines

    def write(self) -> None:
        """A JSON file for each bench, into `results/`."""
        RESULTS.mkdir(exist_ok=True)
        for bench, figures in self.rows.items():
            write_json(f"{bench}.json", {"figures": [asdict(figure) | {"met": figure.met} for figure in figures]})


def side_by_side(candidates: Mapping[str, Round], rounds: int) -> dict[str, float]:
    """Run the candidates in turn, so that a noisy neighbour disturbs all of them; medians."""
    costs: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            costs[name].append(candidate())
    return {name: statistics.median(found) for name, found in costs.items()}


def compared(benchmark: Any, ours: Round, others: Mapping[str, Round], rounds: int) -> dict[str, float]:
    """The same within pytest-benchmark: each of our rounds is preceded by one of each rival's. Ours is `ours`."""
    costs: dict[str, list[float]] = {name: [] for name in (*others, "ours")}

    def before() -> None:
        for name, candidate in others.items():
            costs[name].append(candidate())

    def measured() -> None:
        costs["ours"].append(ours())

    benchmark.pedantic(measured, setup=before, rounds=rounds, iterations=1)
    for candidate in others.values():
        if close := getattr(candidate, "close", None):
            close()
    medians = {name: statistics.median(found) for name, found in costs.items()}
    benchmark.extra_info.update({name: round(cost, 3) for name, cost in medians.items()})
    return medians


def machine() -> dict[str, Any]:
    """What the figures were measured on, as far as it matters and says nothing of whose it is."""
    cores = len(os.sched_getaffinity(0))
    return {"cores": cores, "python": platform.python_version(), "system": platform.system()}


def write_json(name: str, found: Mapping[str, Any]) -> None:
    """Into `results/`, with the machine beside it."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine(), **found}, indent=1)
    (RESULTS / name).write_text(text + "\n", encoding="utf-8")
