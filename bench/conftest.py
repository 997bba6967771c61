"""The benches' common fixture, and the table at the end of a run."""

from collections.abc import Iterator

import pytest
from bench.figures import Figures

_FIGURES = Figures()


@pytest.fixture
def figures() -> Iterator[Figures]:
    """Where a bench puts its figures; one that is far beyond its target fails the bench."""
    before = {bench: len(rows) for bench, rows in _FIGURES.rows.items()}
    yield _FIGURES
    _FIGURES.write()
    fresh = [row for bench, rows in _FIGURES.rows.items() for row in rows[before.get(bench, 0):]]
    assert not [str(row) for row in fresh if row.hopeless]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures."""
    for line in _FIGURES.lines():
        terminalreporter.write_line(line)
