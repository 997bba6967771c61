"""`fleetsync query`: read-only SQL on what is committed, in a process of its own."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click
from rich.console import Console
from rich.table import Table

from fleetsync.units import ms_from_s
from fleetsync_adapters.control import find_running
from fleetsync_adapters.duckdb_store import DuckDBStore
from fleetsync_adapters.query import QueryResult, run_query

FORMATS = ("table", "csv", "json")


def show_query(db_path: str, sql: str, *, form: str, max_rows: int, timeout_s: float) -> None:
    """Run one statement and print what it brings; `-` reads it from the standard input.

    Raises:
        ConfigError: the statement was refused, failed, or met a limit.
        StoreRefused: there is no such file, or it cannot be read.
    """
    if sql == "-":
        sql = sys.stdin.read()
    with readable(db_path) as path:
        result = run_query(path, sql, timeout_ms=ms_from_s(timeout_s), max_rows=max_rows)
    if form == "json":
        click.echo(result.as_json())
    elif form == "csv":
        click.echo(result.as_csv(), nl=False)
    else:
        _table(result)
    if result.truncated:
        click.echo(f"only the first {len(result.rows)} rows are shown; --max-rows shows more", err=True)


@contextmanager
def readable(db_path: str) -> Iterator[str]:
    """The file itself, or a fresh copy of it while an engine has it open."""
    running = find_running(db_path)
    if running is None:
        DuckDBStore(db_path, readonly=True).close()  # it says best what is wrong with the file
        yield db_path
        return
    path = running.snapshot()
    try:
        yield path
    finally:
        with suppress(OSError):  # the engine removes it at its end
            os.unlink(path)


def _table(result: QueryResult) -> None:
    console = Console()
    cells = [[result.cell(value) for value in row] for row in result.rows]
    if not console.is_terminal:
        for line in aligned(result.columns, cells):
            click.echo(line)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in result.columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*row)
    console.print(table, markup=False)


def aligned(columns: tuple[str, ...], rows: list[list[str]]) -> Iterator[str]:
    """Columns as wide as their widest cell, whatever the width of the screen."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
