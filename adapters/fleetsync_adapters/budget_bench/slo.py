"""Service levels, as people write them: `holding p99 <= 5s, flat p99 <= 30s, unannounced p95 <= 20s`.

An objective is met when the measured figure is at most 5 % above its limit. An interval is shortened by jitter and
never lengthened, but ages count from the sending of a request to the arrival of the next one's answer: the oldest age
is the interval *and* the time a request is under way, so 5 s of interval cannot keep 5.00 s to the millisecond.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetsync.errors import ConfigError
from fleetsync.units import MINUTE_MS, SECOND_MS

TOLERANCE = 0.05
_UNITS = {"ms": 1, "s": SECOND_MS, "min": MINUTE_MS}
_FIGURES = {"holding": ("p50", "p95", "p99", "max"), "working": ("p50", "p95", "p99", "max"),
            "flat": ("p50", "p95", "p99", "max"), "announced": ("mean", "p95"), "unannounced": ("mean", "p95"),
            "events": ("p50", "p99")}  # fmt: skip
_TERM = re.compile(r"(?P<what>[a-z]+)\s+(?P<figure>[a-z0-9]+)\s*(?P<sign><=|<|=|>=|>)\s*"
                   r"(?P<limit>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[a-z]+)")  # fmt: skip
_EXAMPLE = "like: holding p99 <= 5s, flat p99 <= 30s, unannounced p95 <= 20s"


@dataclass(frozen=True, slots=True)
class Objective:
    """One limit."""

    what: str  # a phase, "announced", "unannounced" or "events"
    figure: str
    limit_ms: int

    def __str__(self) -> str:
        return f"{self.what} {self.figure} <= {self.limit_ms / SECOND_MS:g}s"

    def value_ms(self, row: Mapping[str, Any]) -> int | None:
        """The figure in a row of a bench; None where nothing was measured."""
        if self.what == "events":
            found = row["event_ms"][self.figure]
        else:
            found = row["unseen_ms" if self.what.endswith("announced") else "age_ms"][self.what][self.figure]
        return None if found is None else int(found)

    def is_met(self, row: Mapping[str, Any]) -> bool:
        """Whether it holds; what nobody met with cannot be too old."""
        value_ms = self.value_ms(row)
        return value_ms is None or value_ms <= self.limit_ms * (1 + TOLERANCE)


def parse(text: str) -> tuple[Objective, ...]:
    """The objectives of a text.

    Raises:
        ConfigError: it is none; says where and what is allowed.
    """
    found: list[Objective] = []
    for term in text.split(","):
        match = _TERM.fullmatch(term.strip().lower())
        if match is None:
            raise ConfigError(f"--slo: {term.strip()!r} is no objective", hint=_EXAMPLE)
        what, figure, unit = match["what"], match["figure"], match["unit"]
        if what not in _FIGURES:
            raise ConfigError(f"--slo: {what!r} is not measured; use one of {', '.join(_FIGURES)}", hint=_EXAMPLE)
        if figure not in _FIGURES[what]:
            raise ConfigError(f"--slo: {what} has no {figure!r}; use {', '.join(_FIGURES[what])}", hint=_EXAMPLE)
        if match["sign"] != "<=":
            raise ConfigError(f"--slo: {term.strip()!r}: an objective is an upper limit, written <=", hint=_EXAMPLE)
        if unit not in _UNITS:
            raise ConfigError(f"--slo: {unit!r} is no unit; use {', '.join(_UNITS)}", hint=_EXAMPLE)
        limit_ms = round(float(match["limit"]) * _UNITS[unit])
        if limit_ms < 1:
            raise ConfigError(f"--slo: {term.strip()!r}: a limit must be above 0", hint=_EXAMPLE)
        if any((one.what, one.figure) == (what, figure) for one in found):
            raise ConfigError(f"--slo: {what} {figure} is there twice", hint=_EXAMPLE)
        found.append(Objective(what, figure, limit_ms))
    return tuple(found)


def broken(objectives: Sequence[Objective], row: Mapping[str, Any]) -> list[Objective]:
    """Those that a row does not meet."""
    return [one for one in objectives if not one.is_met(row)]
