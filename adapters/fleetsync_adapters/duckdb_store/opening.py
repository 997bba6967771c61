"""Creating and opening the database file, and every reason to refuse one.

A new database is made whole inside a private directory and then moved into place: a crash half way leaves no file that
looks like another program's. The same way is used for snapshots.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final

import duckdb

from fleetsync.errors import StoreRefused

SCHEMA: Final = "2"
_UPGRADED: Final = "1"  # the schema before it
PRIVATE_MODE: Final = 0o600

_MAGIC: Final = b"DUCK"
_MAGIC_AT: Final = 8  # after the header block's checksum

CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    # The log holds this much before it is folded into the file. Less, and the folding (half a second and more with a
    # million robots) shows in the slowest commits; more, and a start after a kill takes long: reading the log again
    # costs up to a quarter of a second a megabyte.
    "wal_autocheckpoint": "64MB",
    # A file of another kind must not make the library fetch an extension from the internet.
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
    # Nothing is spilled to a directory whose permissions we do not set.
    "temp_directory": "",
    # Batches are small: threads cost more than they bring (1 row 20 % slower with four).
    "threads": 1,
}

CACHE_MAX: Final = "512MiB"
"""So much memory may be left to what the library holds, once a minute. It keeps blocks of the file that were touched,
up to 80 % of the machine's memory, and with the changes the file grows for good. A limit that stays on would do harm:
rows in the log and its folding need what they need, and a folding that finds no memory makes the library refuse
everything. It is four times what a million robots took at full speed with ten million changes behind them (126 MiB)."""

_NO_PROGRESS_BAR: Final = "SET enable_progress_bar = false"  # it would write on the terminal; cursors inherit this


def script(name: str) -> str:
    """The text of one of our `.sql` files."""
    return files(__package__).joinpath(name).read_text("utf-8")


def open_database(path: str, *, readonly: bool, create: bool = True) -> duckdb.DuckDBPyConnection:
    """Open the database at `path`; one that is not there is made first, unless it is to be read only.

    With `create=False` the file was ours a moment ago: it is opened again, and never made anew.

    Raises:
        StoreRefused: and why, and what to do.
    """
    _check_file(path)
    if create and not readonly:
        with private_directory(path) as directory:  # also proves that the log can be written beside the file
            if not os.path.exists(path):
                _create(path, directory)
    elif not os.path.exists(path):
        raise StoreRefused(f"no database at {path}", hint="start fleetsync once with this path to make one")
    try:
        connection = duckdb.connect(path, read_only=readonly, config=CONFIG)
        connection.execute(_NO_PROGRESS_BAR)
    except duckdb.Error as error:
        raise refusal(path, error) from error
    try:
        if _check_schema(connection, path) == _UPGRADED and not readonly:
            _upgrade(connection)
        if not readonly:
            make_private(path)
    except duckdb.Error as error:
        connection.close()
        raise refusal(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def make_private(path: str) -> None:
    """Only the owner reads the file and its log; DuckDB makes a new, readable log after each checkpoint."""
    for name in (path, f"{path}.wal"):
        try:
            if os.stat(name).st_mode & 0o777 != PRIVATE_MODE:
                os.chmod(name, PRIVATE_MODE)
        except FileNotFoundError:
            continue
        except PermissionError as error:
            raise StoreRefused(f"{name} belongs to another user", hint="name another path") from error


@contextmanager
def private_directory(target: str) -> Iterator[str]:
    """A directory beside `target` that only we can enter; gone afterwards.

    Raises:
        StoreRefused: nothing can be written there.
    """
    parent = os.path.dirname(os.path.abspath(target))
    try:
        directory = tempfile.mkdtemp(prefix=".fleetsync-", dir=parent)
    except OSError as error:
        raise StoreRefused(f"cannot write in directory {parent}: {error.strerror}",
                           hint="name a path in a directory that this user can write") from error
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def refuse_taken(path: str) -> None:
    """Refuse to write a snapshot over anything."""
    if os.path.lexists(path):
        raise StoreRefused(f"{path} exists already", hint="name a path where nothing is")


def move_into_place(made: str, target: str) -> None:
    """Rename a finished file, on disk before it is visible, without ever replacing another one.

    Raises:
        StoreRefused: something is at `target` already.
    """
    os.chmod(made, PRIVATE_MODE)
    _sync_to_disk(made)
    try:
        os.link(made, target)
    except OSError:  # something is there, or a file system without hard links
        refuse_taken(target)
        os.rename(made, target)
    _sync_to_disk(os.path.dirname(os.path.abspath(target)))


def refusal(path: str, error: Exception) -> StoreRefused:
    """What DuckDB said when it did not open the file, in one line and with a way out."""
    text = str(error)
    holder = re.search(r"\(PID (\d+)\)", text)
    if holder:
        return StoreRefused(f"{path} is in use by the process with PID {holder[1]}",
                            hint="end that one, or name another path; while it runs, read from its snapshot")
    if "different configuration" in text:
        return in_use_here(path)
    if "Corrupt database" in text or "checksum" in text:
        return StoreRefused(f"{path} is damaged: {first_line(error)}", hint="restore it from a snapshot")
    if "not a valid DuckDB" in text:
        return _no_database(path)
    return StoreRefused(f"cannot open {path}: {first_line(error)}", hint="name another path")


def in_use_here(path: str) -> StoreRefused:
    """The refusal of a second store on one file in one process: DuckDB itself would allow it, with two writers."""
    return StoreRefused(f"{path} is in use by this process (PID {os.getpid()})",
                        hint="close the other store first, or name another path")


def first_line(error: Exception) -> str:
    """A message that fits on one line; DuckDB's own go on with hints and links."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _create(path: str, directory: str) -> None:
    made = os.path.join(directory, "new.duckdb")
    try:
        with duckdb.connect(made, config=CONFIG) as connection:
            connection.execute(_NO_PROGRESS_BAR)
            connection.execute("BEGIN")
            connection.execute(script("schema.sql"))
            connection.execute(script("orders.sql"))
            connection.execute(script("asked.sql"))
            connection.execute(script("views.sql"))
            connection.execute("COMMIT")
            connection.execute("CHECKPOINT")
    except duckdb.Error as error:
        raise StoreRefused(f"cannot make a database at {path}: {first_line(error)}",
                           hint="free some space, or name another path") from error
    move_into_place(made, path)


def _check_file(path: str) -> None:
    """Refuse what is no database by its first bytes: DuckDB opens some other formats, or tries to fetch a reader."""
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise StoreRefused(f"{path} is no file", hint="name another path")  # a pipe would be waited for
    try:
        with Path(path).open("rb") as file:
            head = file.read(_MAGIC_AT + len(_MAGIC))
    except FileNotFoundError:
        return
    except IsADirectoryError as error:
        raise StoreRefused(f"{path} is a directory", hint="name a file in it") from error
    except OSError as error:
        raise StoreRefused(f"cannot read {path}: {error.strerror}", hint="name a file this user can read") from error
    if head[_MAGIC_AT:] != _MAGIC:
        raise _no_database(path)


def _no_database(path: str) -> StoreRefused:
    return StoreRefused(f"{path} is not a DuckDB database", hint="name another path; this file was left as it is")


def _upgrade(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring a file of the schema before this one up to it, whole or not at all."""
    connection.execute("BEGIN")
    connection.execute(script("asked.sql"))
    connection.execute("CREATE TEMP TABLE held AS SELECT * FROM orders")
    connection.execute("DROP TABLE orders")
    connection.execute(script("orders.sql"))
    connection.execute("INSERT INTO orders SELECT * FROM held")
    connection.execute("DROP TABLE held")
    connection.execute("UPDATE meta SET value = $schema WHERE name = 'schema'", {"schema": SCHEMA})
    connection.execute("COMMIT")


def _check_schema(connection: duckdb.DuckDBPyConnection, path: str) -> str:
    """The schema of a file of ours."""
    found = connection.execute(
        "SELECT count(*) FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = 'main' "
        "AND table_name = 'meta' AND column_name IN ('name', 'value')").fetchall()
    marks = dict(connection.execute("SELECT name, value FROM meta").fetchall()) if found == [(2,)] else {}
    if marks.get("application") != "fleetsync":
        raise StoreRefused(f"{path} is a database of another program",
                           hint="name another path; this file was left as it is")
    if marks.get("schema") not in {_UPGRADED, SCHEMA}:
        raise StoreRefused(f"{path} was written by another version of fleetsync (schema {marks.get('schema')}; "
                           f"this one reads {SCHEMA})", hint="use the version that wrote it, or name another path")
    return str(marks["schema"])


def _sync_to_disk(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
