"""The process that runs one statement of a user: `python query_child.py`, an order on stdin, an answer on stdout.

It is started by path, by `query.run_query`, and imports nothing of ours. What stops what:

| attempt                                          | stopped by                                     |
|--------------------------------------------------|------------------------------------------------|
| files, COPY, ATTACH, INSTALL, LOAD, replacements | the closed configuration                       |
| SET, PRAGMA, PREPARE, CHECKPOINT, temp tables    | the check of the statement's type              |
| writing inside a SELECT or an EXPLAIN            | the read-only transaction on a read-only file  |
| endless work                                     | the library's time limit, then the kernel's alarm |
| endless memory, files of any kind                | the library's limit, then the kernel's         |
"""

import math
import re
import resource
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import duckdb
import orjson

_ALLOWED: Final = {"SELECT", "EXPLAIN"}
_ANSWER_BYTES: Final = 32 << 20
_HEADROOM_BYTES: Final = 256 << 20  # beside what the library counts: its threads, and the answer
_GRACE_S: Final = 0.5  # between the library's limit, which gives a clear error, and the kernel's, which just ends us
_PORTION: Final = 200
_BIGGEST_INT: Final = 2**53  # beyond it, JSON readers lose digits

_CONFIG: Final = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",
    "threads": "2",
}


class Refused(Exception):
    """Why there are no rows, and what the user can do."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


def main() -> None:
    """Answer one order."""
    _know_utc()
    order = orjson.loads(sys.stdin.buffer.read())
    try:
        answer = _answer(order)
    except Refused as refused:
        answer = {"error": str(refused), "hint": refused.hint}
    except MemoryError:
        answer = {"error": "the query needs more memory than it may use", "hint": "ask for less, or allow more memory"}
    signal.setitimer(signal.ITIMER_REAL, 0)
    sys.stdout.buffer.write(orjson.dumps(answer))


def _answer(order: Mapping[str, Any]) -> dict[str, Any]:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing a file is an error, not the end
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        connection = duckdb.connect(order["path"], read_only=True,
                                    config={**_CONFIG, "memory_limit": f"{order['memory_limit']}B"})
    except duckdb.Error as error:
        raise _not_opened(order["path"], error) from error
    _limit(connection, order)
    try:
        return _rows(connection, order)
    except duckdb.InterruptException as error:
        raise Refused(f"the query was stopped after {order['timeout_ms']} ms",
                      "ask for less, or allow more time") from error
    except duckdb.OutOfMemoryException as error:
        raise MemoryError from error
    except duckdb.Error as error:
        raise Refused(_one_line(error)) from error


class _Utc(tzinfo):
    """UTC, with the one method that the library wants of a time zone beside the standard ones."""

    def utcoffset(self, _at: datetime | None) -> timedelta:
        return timedelta(0)

    def dst(self, _at: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, _at: datetime | None) -> str:
        return "UTC"

    @staticmethod
    def localize(at: datetime) -> datetime:
        """The same reading of the clock, known to be UTC."""
        return at.replace(tzinfo=UTC)


def _know_utc() -> None:
    """The library asks the package `pytz` for the session's time zone, which is always UTC here: no need for it."""
    zones = ModuleType("pytz")
    vars(zones).update(timezone=lambda _name: _Utc(), utc=_Utc())
    sys.modules["pytz"] = zones


def _limit(connection: duckdb.DuckDBPyConnection, order: Mapping[str, Any]) -> None:
    connection.execute(f"SET GLOBAL max_execution_time = {int(order['timeout_ms'])}")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")  # it would stand in the middle of the answer
    connection.execute("SET lock_configuration = true")
    seconds = order["timeout_ms"] / 1_000 + _GRACE_S
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)  # the default action ends the process, whatever a thread is doing
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds * 4) + 1,) * 2)
    statm = Path("/proc/self/statm")
    if statm.exists():  # the address space in use is large already and differs by platform: limit what is added
        used = int(statm.read_text("ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + order["memory_limit"] + _HEADROOM_BYTES,) * 2)


def _rows(connection: duckdb.DuckDBPyConnection, order: Mapping[str, Any]) -> dict[str, Any]:
    statements = connection.extract_statements(order["sql"])
    kinds = [statement.type.name for statement in statements]
    if len(kinds) != 1 or kinds[0] not in _ALLOWED:
        raise Refused(f"one SELECT or EXPLAIN is allowed, this is {' and '.join(kinds) or 'empty'}",
                      "SELECT, FROM, VALUES, SHOW TABLES and DESCRIBE work")
    connection.execute("BEGIN TRANSACTION READ ONLY")
    connection.execute(statements[0])
    columns = [column[0] for column in connection.description or ()]
    rows: list[list[Any]] = []
    room = _ANSWER_BYTES
    while len(rows) <= order["max_rows"]:
        portion = connection.fetchmany(min(_PORTION, order["max_rows"] + 1 - len(rows)))
        if not portion:
            return {"columns": columns, "rows": rows, "truncated": False}
        for row in portion:
            values = [_plain(value) for value in row]
            room -= len(orjson.dumps(values))
            if room < 0:
                return {"columns": columns, "rows": rows, "truncated": True}
            rows.append(values)
    return {"columns": columns, "rows": rows[: order["max_rows"]], "truncated": True}


def _plain(value: Any) -> Any:
    """The value as JSON can carry it without loss."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _BIGGEST_INT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value)  # intervals, identifiers


def _not_opened(path: str, error: Exception) -> Refused:
    text = str(error)
    holder = re.search(r"\(PID (\d+)\)", text)
    if holder:
        return Refused(f"{path} is in use by the process with PID {holder[1]}", "query a snapshot of it")
    if "does not exist" in text:
        return Refused(f"no database at {path}", "check the path")
    return Refused(f"cannot open {path}: {_one_line(error)}", "check the path")


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


if __name__ == "__main__":
    main()
