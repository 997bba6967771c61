"""One batch inside one transaction.

`Write` is the batch as rows, checked before any transaction begins. `Writer` keeps an appender a table open on the
writer's connection: of all ways without further packages that is the fastest, from one row to thousands.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb

from fleetsync.model import Change
from fleetsync.ports import Batch
from fleetsync_adapters import store_rows

Row = tuple[Any, ...]

# table -> its primary key
KEYS: Final[dict[str, list[str]]] = {
    "robots": ["id"],
    "accounts": ["id"],
    "positions": ["account", "symbol", "side"],
    "orders": ["account", "id"],
    "events": ["id"],
    "freezes": ["ledger"],
}


@dataclass(slots=True)
class Write:
    """A batch as rows, table by table."""

    upserts: dict[str, list[Row]] = field(default_factory=dict)
    deletes: dict[str, list[Row]] = field(default_factory=dict)
    appends: dict[str, list[Row]] = field(default_factory=dict)


def rows_of(batch: Batch, changes: Sequence[Change], at_ms: int, *, first_sync: int, syncs: int) -> Write:
    """The rows of a batch, with the `changes` and the last `syncs` sync records that are new.

    A key is in a batch once, with its last value; DuckDB keeps the *first* of two equal keys, so that matters.
    """
    write = Write()
    keyed: tuple[tuple[str, Mapping[Any, Any], Callable[[Any, Any], Row]], ...] = (
        ("robots", batch.robots, store_rows.robot_row),
        ("accounts", batch.accounts, store_rows.account_row),
        ("positions", batch.positions, store_rows.position_row),
        ("orders", batch.orders, store_rows.order_row),
        ("events", batch.events, store_rows.event_row),
        ("freezes", batch.freezes, store_rows.freeze_row),
    )
    for table, rows, row_of in keyed:
        for key, value in rows.items():
            if value is None:
                write.deletes.setdefault(table, []).append(store_rows.key_row(key))
            else:
                write.upserts.setdefault(table, []).append(row_of(key, value))
    if changes:
        write.appends["changes"] = [store_rows.change_row(change, at_ms) for change in changes]
    if syncs:
        new = batch.syncs[len(batch.syncs) - syncs :]
        write.appends["syncs"] = [
            (seq, *store_rows.row_of(store_rows.SYNC, row)) for seq, row in enumerate(new, first_sync)
        ]
    return write


class Writer:
    """Writes batches over one connection, from one thread at a time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._upserts = {table: connection.appender(table, action="upsert") for table in KEYS}
        self._deletes = {table: connection.appender(table, action="delete", key=key) for table, key in KEYS.items()}
        self._appends = {table: connection.appender(table) for table in ("changes", "syncs")}

    def commit(self, write: Write) -> None:
        """All of it, or nothing. After an error the connection may be unusable: make a new writer."""
        self._connection.execute("BEGIN")
        for appenders, rows in (
            (self._deletes, write.deletes), (self._upserts, write.upserts), (self._appends, write.appends),
        ):  # fmt: skip
            for table, batch in rows.items():
                appenders[table].append_rows(batch)
                appenders[table].flush()
        self._connection.execute("COMMIT")
