"""`DuckDBStore`: the state of a fleet in one file."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import duckdb
import orjson

from fleetsync.errors import StoreFailed, StoreRefused
from fleetsync.model import Change, Order, Position
from fleetsync.ports import Batch, Loaded
from fleetsync.units import DAY_MS, HOUR_MS, MINUTE_MS
from fleetsync_adapters import store_rows
from fleetsync_adapters.duckdb_store import opening
from fleetsync_adapters.duckdb_store.writing import LAST_EVENT, Ends, Writer, rows_of
from fleetsync_adapters.store_rows import clean

_FETCH_ROWS: Final = 10_000  # a load goes through memory in portions
_PRUNE_EVERY_MS: Final = HOUR_MS
_CHANGES: Final = opening.script("changes.sql")
_CHANGES_OF_ROBOT: Final = opening.script("changes_of_robot.sql")
_PRUNE_SYNCS: Final = opening.script("prune_syncs.sql")
_PRUNE_ASKED: Final = opening.script("prune_asked.sql")

_open_files: set[str] = set()  # of this process: DuckDB would let a second store share one, with two writers
_open_files_lock = threading.Lock()


class DuckDBStore:
    """The durable state in one DuckDB file. See `ports.Store` for what its methods promise.

    While a store is open no other process can open the file, not even to read; `snapshot` makes a copy that can be.

    Args:
        path: the database file; it is made when it is not there.
        readonly: read only, beside other readers; `commit` is refused.
        syncs_kept_ms: sync records older than this are dropped, now and then.
        syncs_kept: and of the younger ones no more than about this many are kept.

    Raises:
        StoreRefused: the file is in use, foreign, damaged or out of reach.
    """

    def __init__(self, path: str, *, readonly: bool = False, syncs_kept_ms: int = 7 * DAY_MS,
                 syncs_kept: int = 1_000_000) -> None:
        self.path = os.path.realpath(path)  # what a link names: its log lies beside that
        self.readonly = readonly
        self._syncs_kept_ms = syncs_kept_ms
        self._syncs_kept = syncs_kept
        self._writing = threading.Lock()
        self._gate = threading.Condition()  # guards `_readers` and the exchange of `_connection`
        self._readers = 0
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._writer: Writer | None = None  # None after a failure, until `_recover`
        self._ends = Ends(0, 0, 0, 0)
        self._acknowledged_sync = 0  # the last record we said was committed; `_ends` is ahead after a doubtful failure
        self._pruned_at_ms = 0
        self._pruned_sync = 0
        self._closed = False
        self._trimmed_at_ms = 0
        with _open_files_lock:
            if self.path in _open_files:
                raise opening.in_use_here(self.path)
            _open_files.add(self.path)
        try:
            self._connection = opening.open_database(self.path, readonly=readonly)
            self._take_over(self._connection)
        except BaseException:
            self._release()
            raise
        self._acknowledged_sync = self._ends.sync

    @property
    def last_change(self) -> int:
        """The number of the last committed change."""
        return self._ends.change

    def load(self) -> Loaded:
        """Everything, once, at start."""
        with self._reader("loading") as cursor:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            return Loaded(
                robots={row[0]: store_rows.robot_dict(row) for row in _rows(cursor, "robots", tuple(store_rows.ROBOT))},
                accounts={row[0]: dict(zip(store_rows.ACCOUNT, row, strict=True))
                          for row in _rows(cursor, "accounts", tuple(store_rows.ACCOUNT))},
                positions={(row[0], row[1], row[2]): Position(*row[1:])
                           for row in _rows(cursor, "positions", store_rows.POSITION)},
                orders={(row[0], order.symbol, order.id): order for row in _rows(cursor, "orders", store_rows.ORDER)
                        for order in (Order(*row[1:]),)},
                events={row[0]: orjson.loads(row[1]) for row in _rows(cursor, "events", ("id", "event"))},
                freezes=dict(_rows(cursor, "freezes", ("ledger", "until_ms"))),
                last_change=_last(cursor, "changes", "number"),
                last_event=_last_event(cursor),
            )

    def commit(self, batch: Batch, at_ms: int) -> None:
        """All of the batch, or nothing; a batch that was committed already is no harm."""
        with self._writing:
            writer = self._ready_writer()
            replayed, changes = store_rows.split_replayed(batch.changes, self._ends.change)
            if replayed:
                self._check_replayed(replayed)
            # After a commit that failed and yet went through, the same records stand first in the next batch.
            syncs = max(len(batch.syncs) - (self._ends.sync - self._acknowledged_sync), 0)
            write = rows_of(batch, changes, at_ms, self._ends, syncs=syncs)
            try:
                writer.commit(write)
            except duckdb.Error as error:
                self._recover()
                raise StoreFailed(f"commit to {self.path} failed: {opening.first_line(error)}",
                                  hint="it is tried again; free space on the disk if it is full") from error
            except BaseException:
                self._recover()
                raise
            self._ends = Ends(self._ends.change + len(changes), self._ends.sync + syncs,
                              max(self._ends.event, *batch.events, 0),
                              max([self._ends.asked_at_ms, *(at_ms for at_ms, _, _ in batch.asked)]))
            self._acknowledged_sync = self._ends.sync
            opening.make_private(self.path)
            self._prune_when_due(at_ms)
            self._trim_when_due(at_ms)

    def changes(self, after: int, limit: int, robot: str | None = None) -> list[Change]:
        """Committed changes with `number > after`, ascending, at most `limit`. Safe from any thread."""
        with self._reader("reading changes") as cursor:
            if robot is None:
                cursor.execute(_CHANGES, {"after": after, "upto": max(after, 0) + limit})
            else:
                cursor.execute(_CHANGES_OF_ROBOT, {"after": after, "upto": limit, "robot": clean(robot)})
            return [store_rows.change_from(row) for row in cursor.fetchall()]

    def snapshot(self, path: str) -> None:
        """Write a consistent copy of the committed state to a new database file at `path`. Safe from any thread.

        Raises:
            StoreRefused: something is at `path`, or nothing can be written there.
            StoreFailed: the copy could not be finished; nothing is left at `path`.
        """
        opening.refuse_taken(path)
        with opening.private_directory(path) as directory:
            made = os.path.join(directory, "snapshot.duckdb")
            with self._reader(f"the snapshot to {path}") as cursor:
                _copy(cursor, made)
            opening.move_into_place(made, path)

    def close(self) -> None:
        """Fold the log into the file and release it. Readers in flight finish first."""
        with self._writing, self._gate:
            if self._closed:
                return
            self._closed = True
            self._gate.wait_for(lambda: self._readers == 0)
            self._writer = None
            if self._connection is not None and not self.readonly:
                with suppress(duckdb.Error):  # a full disk: the log stays beside the file and is read at the next start
                    self._connection.execute("CHECKPOINT").fetchall()
            self._release()

    # -- inside

    def _ready_writer(self) -> Writer:
        assert not self._closed, "the store is closed"
        if self.readonly:
            raise StoreRefused(f"{self.path} was opened to read only", hint="open it without readonly to write")
        if self._writer is None:
            self._recover()
        if self._writer is None:
            raise StoreFailed(f"{self.path} cannot be opened again after a failure", hint="it is tried again")
        return self._writer

    def _take_over(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Learn what is truly in the file, and be ready to write."""
        change, sync = _last(connection, "changes", "number"), _last(connection, "syncs", "seq")
        # To be read only, a file of the schema before may have no such table.
        asked_at_ms = 0 if self.readonly else _last(connection, "asked", "at_ms")
        self._ends = Ends(change, sync, _last_event(connection), asked_at_ms)
        self._writer = None if self.readonly else Writer(connection)

    def _recover(self) -> None:
        """After a failure: keep the connection if it still works, else open the file anew.

        A checkpoint that met a full disk makes DuckDB refuse everything until the file is reopened, although the
        commit before it stands. If reopening fails too, the next commit tries again.
        """
        self._writer = None
        connection = self._connection
        if connection is not None:
            with suppress(duckdb.Error):
                with suppress(duckdb.TransactionException):  # there is none when it was the commit that failed
                    connection.execute("ROLLBACK")
                self._take_over(connection)
                return
        with self._gate:
            self._gate.wait_for(lambda: self._readers == 0)  # the file is released with the last cursor only
            if connection is not None:
                connection.close()
            self._connection = None
            with suppress(StoreRefused, duckdb.Error):
                self._connection = opening.open_database(self.path, readonly=False, create=False)
                self._take_over(self._connection)

    @contextmanager
    def _reader(self, doing: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of its own for one reading, from any thread."""
        with self._gate:
            assert not self._closed, "the store is closed"
            if self._connection is None:
                raise StoreFailed(f"{doing} failed: {self.path} waits to be opened again", hint="try again later")
            self._readers += 1
            cursor = self._connection.cursor()
        try:
            yield cursor
        except duckdb.Error as error:
            raise StoreFailed(f"{doing} failed: {opening.first_line(error)}", hint="try again later") from error
        finally:
            cursor.close()
            with self._gate:
                self._readers -= 1
                self._gate.notify_all()

    def _check_replayed(self, replayed: Sequence[Change]) -> None:
        stored = self.changes(replayed[0].number - 1, len(replayed))
        for old, new in zip(stored, replayed, strict=True):
            same = store_rows.change_row(old, 0) == store_rows.change_row(new, 0)
            assert same, f"change {new.number} is committed already, with another content"

    def _prune_when_due(self, at_ms: int) -> None:
        new = self._ends.sync - self._pruned_sync
        if at_ms - self._pruned_at_ms < _PRUNE_EVERY_MS and new < max(self._syncs_kept // 4, 1):
            return
        self._pruned_at_ms, self._pruned_sync = at_ms, self._ends.sync
        try:
            self._prune(at_ms - self._syncs_kept_ms)
        except duckdb.Error:  # the batch before it is committed and stays so; the next turn prunes
            self._recover()

    def _prune(self, before_ms: int) -> None:
        assert self._connection is not None
        numbers = {"last": self._ends.sync, "before_ms": before_ms, "kept": self._syncs_kept}
        self._connection.execute(_PRUNE_SYNCS, numbers).fetchall()
        del numbers["last"]
        self._connection.execute(_PRUNE_ASKED, numbers).fetchall()

    def _trim_when_due(self, at_ms: int) -> None:
        """Let blocks of the file go that were read or written lately, down to what may be kept of them."""
        if at_ms - self._trimmed_at_ms < MINUTE_MS or self._connection is None:
            return
        self._trimmed_at_ms = at_ms
        for statement in (f"SET memory_limit = '{opening.CACHE_MAX}'", "RESET memory_limit"):
            with suppress(duckdb.Error):  # more than that is in use: what could go has gone
                self._connection.execute(statement)

    def _release(self) -> None:
        self._writer = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        with _open_files_lock:
            _open_files.discard(self.path)


def _rows(cursor: duckdb.DuckDBPyConnection, table: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    cursor.execute(f"SELECT {', '.join(columns)} FROM {table}")  # noqa: S608 - names from our own tables only
    while rows := cursor.fetchmany(_FETCH_ROWS):
        yield from rows


def _copy(cursor: duckdb.DuckDBPyConnection, path: str) -> None:
    """Copy the database of `cursor` to a new file; one transaction sees one state, whatever is committed meanwhile."""
    ((source,),) = cursor.execute("SELECT current_database()").fetchall()
    copy = f"snapshot_{threading.get_ident()}"
    escaped = path.replace("'", "''")
    cursor.execute(f"ATTACH '{escaped}' AS {copy} (READ_WRITE)")
    try:
        cursor.execute(f"COPY FROM DATABASE {_quoted(source)} TO {copy}")
    finally:
        with suppress(duckdb.Error):  # must not hide why the copy failed
            cursor.execute("ROLLBACK")
        with suppress(duckdb.Error):
            cursor.execute(f"DETACH {copy}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _last(connection: duckdb.DuckDBPyConnection, table: str, column: str) -> int:
    ((last,),) = connection.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").fetchall()  # noqa: S608 - as above
    return int(last)


def _last_event(connection: duckdb.DuckDBPyConnection) -> int:
    """The highest number of an event; a file that was written before it was kept knows of those that wait."""
    kept = connection.execute("SELECT value FROM meta WHERE name = $name", {"name": LAST_EVENT}).fetchall()
    return max([_last(connection, "events", "id"), *(int(value) for (value,) in kept)])
