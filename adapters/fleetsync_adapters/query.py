"""Read-only SQL for people, in a process of its own with limits.

SQL is code: one call of `repeat` can hold a thread for half a minute and no setting of the library stops it. So the
statement runs in a child that may be killed, on a file opened read only, with every door of the library shut
(`query_child`). The child gets the statement through its standard input and none of our environment.
"""

import csv
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from fleetsync.errors import ConfigError
from fleetsync.units import SECOND_MS, s_from_ms

MEBIBYTE: Final = 1 << 20
_CHILD: Final = Path(__file__).with_name("query_child.py")
_START_MS: Final = 10 * SECOND_MS  # for the interpreter and the library, on a busy machine; not part of the user's time
_SQL_LIMIT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a query brought: values are None, bool, int, float, str, list or dict; exact decimals and times are str."""

    columns: tuple[str, ...]
    rows: list[list[Any]]
    truncated: bool  # there was more than was asked for, or than fits

    def as_json(self) -> bytes:
        """`{"columns": [...], "rows": [[...]], "truncated": false}` on one line."""
        return orjson.dumps({"columns": self.columns, "rows": self.rows, "truncated": self.truncated})

    def as_csv(self) -> str:
        """Comma-separated, with a header line; lists and dicts as JSON, nothing for NULL."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([self.cell(value) for value in row] for row in self.rows)
        return out.getvalue()

    @staticmethod
    def cell(value: Any) -> str:
        """A value as one cell of a table."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        return orjson.dumps(value).decode() if isinstance(value, list | dict) else str(value)


def run_query(db_path: str, sql: str, *, timeout_ms: int = 10 * SECOND_MS, max_rows: int = 1_000,
              memory_limit: int = 512 * MEBIBYTE) -> QueryResult:
    """Run one SELECT or EXPLAIN on a snapshot, or on a database that no engine has open.

    Args:
        db_path: the file; it is opened read only.
        sql: exactly one statement.
        timeout_ms: the statement is stopped after this.
        max_rows: at most so many rows are answered.
        memory_limit: bytes that the statement may use.

    Raises:
        ConfigError: the statement was refused, failed, or met a limit; in one line.
    """
    for name, value in (("timeout_ms", timeout_ms), ("max_rows", max_rows), ("memory_limit", memory_limit)):
        if value < 1:
            raise ConfigError(f"{name} must be above 0, was {value}")
    if len(sql) > _SQL_LIMIT:
        raise ConfigError(f"the statement has {len(sql)} characters; {_SQL_LIMIT} are allowed")
    try:
        order = orjson.dumps({
            "path": os.path.abspath(db_path), "sql": sql, "timeout_ms": timeout_ms, "max_rows": max_rows,
            "memory_limit": memory_limit,
        })  # fmt: skip
    except orjson.JSONEncodeError as error:
        raise ConfigError("the statement is not valid text") from error
    return _result(_run_child(order, timeout_ms), timeout_ms)


def _run_child(order: bytes, timeout_ms: int) -> subprocess.CompletedProcess[bytes]:
    # Only what the interpreter needs to find the same packages: API keys live in our environment.
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(  # noqa: S603 - our own interpreter and our own file; the statement goes in by stdin
            [sys.executable, "-P", "-s", str(_CHILD)], input=order, capture_output=True, check=False, env=environment,
            timeout=s_from_ms(timeout_ms + _START_MS), start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _too_long(timeout_ms) from error


def _result(child: subprocess.CompletedProcess[bytes], timeout_ms: int) -> QueryResult:
    try:
        answer = orjson.loads(child.stdout)
    except orjson.JSONDecodeError as error:
        if child.returncode < 0:  # killed by its own alarm, or by a limit of the kernel
            raise _too_long(timeout_ms) from error
        raise ConfigError("the query process ended without an answer",
                          hint="give the query more memory, or ask for less") from error
    if "error" in answer:
        raise ConfigError(answer["error"], hint=answer["hint"])
    return QueryResult(columns=tuple(answer["columns"]), rows=answer["rows"], truncated=answer["truncated"])


def _too_long(timeout_ms: int) -> ConfigError:
    return ConfigError(f"the query was stopped after {timeout_ms} ms", hint="ask for less, or allow more time")
