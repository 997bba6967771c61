"""The page of a bench: one HTML file with everything in it, that works without a network."""

from collections.abc import Sequence
from pathlib import Path

from fleetsync_adapters.budget_bench.fleets import BenchFleet
from fleetsync_adapters.budget_bench.trial import Outcome


def write_page(path: Path, fleet: BenchFleet, outcomes: Sequence[Outcome]) -> None:
    """Write it."""
    path.write_text("\n".join(fleet.lines()) + str([outcome.row for outcome in outcomes]), encoding="utf-8")
