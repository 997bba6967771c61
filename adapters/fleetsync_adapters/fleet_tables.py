"""Large fleets: robots and accounts as rows of a CSV or Parquet file, with the columns that the fleet file has as keys.

CSV goes through Python's own reader, which knows the line of each row and holds one row at a time; Parquet goes through
DuckDB, every column as text, so that both meet the same checks.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb

from fleetsync_adapters.fleet_checks import Key, Problems, shown, shown_key, unknown_key

MOST_ROWS = 5_000_000
MOST_BYTES = 2 * 1024**3
_ROWS_AT_ONCE = 50_000
_LONGEST_CELL = 4_096


class Table:
    """An open table file: its columns, and its rows as texts with their line (CSV) or row (Parquet) number."""

    row_word = "line"

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.columns: tuple[str, ...] = ()

    def place(self, number: int, column: str = "") -> str:
        """Where a row or a cell stands: `robots.csv line 17 column symbol`."""
        return f"{self.name} {self.row_word} {number}" + (f" column {column}" if column else "")

    def rows(self, problems: Problems) -> Iterator[tuple[int, Sequence[str]]]:
        """Number and cells of each row; empty texts for what is absent. Ends early at what cannot be read."""
        raise NotImplementedError

    def check_columns(self, keys: Mapping[str, Key], problems: Problems) -> bool:
        """Whether the columns are known, complete and there once; says so when they are not."""
        before = problems.count
        place = self.place(1) if self.row_word == "line" else self.name
        for index, column in enumerate(self.columns):
            if column not in keys:
                problems.add(f"{place} column {shown_key(column)}", unknown_key(column, keys))
            elif column in self.columns[:index]:
                problems.add(f"{place} column {column}", "is there twice")
        missing = [name for name, key in keys.items() if key.required and name not in self.columns]
        if missing and problems.count == before:
            problems.add(place, f"lacks the column {' and '.join(missing)}")
        return problems.count == before


class CsvTable(Table):
    """A CSV file with a heading line, commas, and double quotes where needed; UTF-8."""

    def rows(self, problems: Problems) -> Iterator[tuple[int, Sequence[str]]]:
        """See `Table`."""
        for index, (number, cells) in enumerate(self._read(problems)):
            if index:
                yield number, cells

    def read_columns(self, problems: Problems) -> None:
        """Read the heading line."""
        for _, cells in self._read(problems):
            self.columns = tuple(cells)
            return
        if not problems.count:
            problems.add(self.name, "is empty: the first line must name the columns")

    def _read(self, problems: Problems) -> Iterator[tuple[int, Sequence[str]]]:
        """Every line that is not blank, the heading first."""
        line = 0
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as text:
                reader = csv.reader(text, strict=True)
                for row, cells in enumerate(reader):
                    start, line = line + 1, reader.line_num
                    if row > MOST_ROWS:
                        problems.add(self.name, f"has more than {MOST_ROWS:,} rows")
                        return
                    if cells:
                        yield start, cells
        except UnicodeDecodeError as error:
            problems.add(self.name, f"is not UTF-8 text (a byte {error.object[error.start]:#04x} after line {line})")
        except csv.Error as error:
            problems.add(self.place(line + 1), f"is not CSV: {error}")
        except OSError as error:
            problems.add(self.name, f"cannot be read: {error.strerror or error}")


class ParquetTable(Table):
    """A Parquet file; nested columns and other types are taken as their text."""

    row_word = "row"

    def rows(self, problems: Problems) -> Iterator[tuple[int, Sequence[str]]]:
        """See `Table`."""
        columns = ", ".join(f"coalesce(CAST({_quoted(column)} AS VARCHAR), '')" for column in self.columns)
        sql = f"SELECT {columns} FROM read_parquet(?)"  # noqa: S608 - only names that are known keys, quoted
        for number, cells in enumerate(self._query(sql, problems), start=1):
            if number > MOST_ROWS:
                problems.add(self.name, f"has more than {MOST_ROWS:,} rows")
                return
            yield number, cells

    def read_columns(self, problems: Problems) -> None:
        """Read the names of the columns."""
        described = self._query("DESCRIBE SELECT * FROM read_parquet(?)", problems)
        self.columns = tuple(str(row[0]) for row in described)

    def _query(self, sql: str, problems: Problems) -> Iterator[Sequence[str]]:
        try:
            with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as database:
                database.execute(sql, [_no_pattern(self.path)])
                while rows := database.fetchmany(_ROWS_AT_ONCE):
                    yield from rows
        except duckdb.Error as error:
            problems.add(self.name, f"cannot be read as Parquet: {str(error).splitlines()[0]}")


def open_table(name: str, folder: Path, place: str, problems: Problems) -> Table | None:
    """The table file that a fleet file names; None when it cannot be used, which is noted.

    Args:
        name: the path as it stands in the fleet file; relative ones count from `folder`.
        folder: where the fleet file is.
        place: where the name stands, for error texts.
        problems: takes what is wrong.
    """
    path = folder / name
    try:
        size = path.stat().st_size if path.is_file() else -1
    except (OSError, ValueError):
        size = -1
    if size < 0:
        problems.add(place, f"no such file: {shown(name)}")
        return None
    if size > MOST_BYTES:
        problems.add(place, f"{shown(name)} is larger than {MOST_BYTES // 1024**2:,} MiB")
        return None
    kinds: dict[str, type[CsvTable | ParquetTable]] = {".csv": CsvTable, ".parquet": ParquetTable}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        problems.add(place, f"must name a .csv or .parquet file, was {shown(name)}")
        return None
    before = problems.count
    table = kind(name, path)
    table.read_columns(problems)
    return table if problems.count == before else None


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _no_pattern(path: Path) -> str:
    """The path as DuckDB takes it literally: it would read * ? [ as a pattern."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path))
