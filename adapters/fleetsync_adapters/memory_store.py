"""`MemoryStore`: the store without a file, for tests and the simulation, held to the same contract suite.

A crash is `reopened()`: a new store with what was committed. Failing commits are ordered with `fail_next`.
"""

import os
from collections import deque
from collections.abc import Callable, Mapping
from itertools import groupby, islice
from typing import Any, TypeVar

from fleetsync.errors import StoreFailed
from fleetsync.model import Change, Order, Position
from fleetsync.ports import Asking, Batch, Loaded, Store
from fleetsync_adapters import store_rows

_SYNCS_KEPT = 100_000

Key = TypeVar("Key")
Value = TypeVar("Value")


class MemoryStore:
    """The committed state in plain dicts. Rows are replaced, never changed in place: copying the dicts is enough.

    `durable=False` says that no later run will find any of it.
    """

    def __init__(self, *, durable: bool = True) -> None:
        self._durable = durable
        self._robots: dict[str, tuple[Any, ...]] = {}
        self._accounts: dict[str, tuple[Any, ...]] = {}
        self._positions: dict[tuple[str, str, str], tuple[Any, ...]] = {}
        self._orders: dict[tuple[str, str, str], tuple[Any, ...]] = {}
        self._changes: list[Change] = []
        self._committed_at_ms: list[int] = []
        self._events: dict[int, dict[str, Any]] = {}
        self._last_event = 0
        self._freezes: dict[str, int] = {}
        self._syncs: deque[dict[str, Any]] = deque(maxlen=_SYNCS_KEPT)
        self._asked: dict[Asking, dict[str, Any]] = {}
        self._doubtful_syncs = 0  # applied by a commit that was reported as failed
        self._failures: list[bool] = []  # for each commit that is to fail: whether it is applied all the same
        self._closed = False

    # -- for the simulation

    def fail_next(self, commits: int = 1, *, applied: bool = False) -> None:
        """Let the next commits raise `StoreFailed`, before or (`applied`) after they went through."""
        self._failures.extend([applied] * commits)

    def reopened(self) -> "MemoryStore":
        """What a new process finds after a crash: all that was committed. This store is dead from now on."""
        after = MemoryStore()
        after._robots = dict(self._robots)
        after._accounts = dict(self._accounts)
        after._positions = dict(self._positions)
        after._orders = dict(self._orders)
        after._changes = list(self._changes)
        after._committed_at_ms = list(self._committed_at_ms)
        after._events = dict(self._events)
        after._last_event = self._last_event
        after._freezes = dict(self._freezes)
        after._syncs = deque(self._syncs, _SYNCS_KEPT)
        after._asked = dict(self._asked)
        self._closed = True
        return after

    @property
    def syncs(self) -> list[dict[str, Any]]:
        """The youngest sync records, oldest first."""
        return list(self._syncs)

    @property
    def asked(self) -> dict[Asking, dict[str, Any]]:
        """What was asked of the engine, the youngest of it."""
        return dict(self._asked)

    @property
    def positions(self) -> dict[tuple[str, str, str], Position]:
        """What `load` would give of positions, without all the rest."""
        return {key: Position(*row[1:]) for key, row in self._positions.items()}

    @property
    def orders(self) -> dict[tuple[str, str, str], Order]:
        """The same of orders."""
        return {key: Order(*row[1:]) for key, row in self._orders.items()}

    @property
    def last_change(self) -> int:
        """The number of the last committed change."""
        return len(self._changes)

    # -- the port

    def load(self) -> Loaded:
        """Everything, once, at start."""
        self._check_open()
        return Loaded(
            robots={key: dict(zip(store_rows.ROBOT, row, strict=True)) for key, row in self._robots.items()},
            accounts={key: dict(zip(store_rows.ACCOUNT, row, strict=True)) for key, row in self._accounts.items()},
            positions=self.positions,
            orders=self.orders,
            events={key: dict(event) for key, event in self._events.items()},
            freezes=dict(self._freezes),
            last_change=len(self._changes),
            last_event=self._last_event,
            durable=self._durable,
        )

    def commit(self, batch: Batch, at_ms: int) -> None:
        """All of the batch, or nothing; a batch that was committed already is no harm."""
        self._check_open()
        replayed, changes = store_rows.split_replayed(batch.changes, len(self._changes))
        for change in replayed:
            same = change == self._changes[change.number - 1]
            assert same, f"change {change.number} is committed already, with another content"
        # All checks come before the first write: a batch that is refused leaves nothing behind.
        robots = {robot: store_rows.aged_row(self._robots[robot], at)
                  for robot, at in store_rows.ages_by_id(batch.ages) if robot in self._robots}
        robots |= _rows(batch.robots, store_rows.robot_row)
        accounts = _rows(batch.accounts, store_rows.account_row)
        positions = _rows(batch.positions, store_rows.position_row)
        orders = _rows(batch.orders, store_rows.order_row)
        syncs = batch.syncs[self._doubtful_syncs :]
        sync_rows = [dict(zip(store_rows.SYNC, store_rows.row_of(store_rows.SYNC, row), strict=True)) for row in syncs]
        applied = self._failures.pop(0) if self._failures else None
        if applied is False:
            raise StoreFailed("commit failed, as ordered")
        _apply(self._robots, robots)
        _apply(self._accounts, accounts)
        _apply(self._positions, positions)
        _apply(self._orders, orders)
        _apply(self._events, {key: None if event is None else dict(event) for key, event in batch.events.items()})
        self._last_event = max(self._last_event, *batch.events, 0)
        _apply(self._freezes, batch.freezes)
        self._changes.extend(changes)
        self._committed_at_ms.extend([at_ms] * len(changes))
        self._syncs.extend(sync_rows)
        self._asked.update(batch.asked)
        while len(self._asked) > _SYNCS_KEPT:
            del self._asked[next(iter(self._asked))]
        self._doubtful_syncs = 0
        if applied:
            self._doubtful_syncs = len(batch.syncs)
            raise StoreFailed("commit went through and was reported as failed, as ordered")

    def changes(self, after: int, limit: int, robot: str | None = None) -> list[Change]:
        """Committed changes with `number > after`, ascending, at most `limit`. Safe from any thread."""
        self._check_open()
        start = max(after, 0)
        if robot is None:
            return self._changes[start : start + limit]
        return list(islice((change for change in self._changes[start:] if robot in change.robots), limit))

    def snapshot(self, path: str) -> None:
        """Write the committed state to a new DuckDB file at `path`, as the real store does."""
        # Imported here: the simulation, which never takes a snapshot, shall not pay for the library.
        from fleetsync_adapters.duckdb_store import DuckDBStore, opening  # noqa: PLC0415 - see above

        self._check_open()
        opening.refuse_taken(path)
        with opening.private_directory(path) as directory:
            made = os.path.join(directory, "snapshot.duckdb")
            store = DuckDBStore(made)
            try:
                self._write_to(store)
            finally:
                store.close()
            opening.move_into_place(made, path)

    def _write_to(self, store: Store) -> None:
        numbered = zip(self._committed_at_ms, self._changes, strict=True)
        for at_ms, group in groupby(numbered, key=lambda pair: pair[0]):
            store.commit(Batch(changes=[change for _, change in group]), at_ms)
        held = self.load()
        if held.last_event:
            store.commit(Batch(events={held.last_event: None}), 0)
        batch = Batch(robots=dict(held.robots), accounts=dict(held.accounts), positions=dict(held.positions),
                      orders=dict(held.orders), events=dict(held.events), freezes=dict(held.freezes), syncs=self.syncs,
                      asked=self.asked)
        store.commit(batch, self._committed_at_ms[-1] if self._committed_at_ms else 0)

    def close(self) -> None:
        """Nothing can be asked of it any more."""
        self._closed = True

    def _check_open(self) -> None:
        assert not self._closed, "the store is closed"


def _rows(batch: Mapping[Key, Value | None], row_of: Callable[[Key, Value], tuple[Any, ...]]) -> dict[Any, Any]:
    """Rows by key, as any store would hold them; None deletes."""
    rows = {}
    for key, value in batch.items():
        kept = store_rows.clean(key) if isinstance(key, str) else store_rows.key_row(key)
        rows[kept] = None if value is None else row_of(key, value)
    return rows


def _apply(table: dict[Key, Value], batch: Mapping[Key, Value | None]) -> None:
    for key, value in batch.items():
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value
