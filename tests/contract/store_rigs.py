"""The stores under test, how each is closed, broken and found again, and rows to fill them with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import orjson

from fleetsync.model import Change, Order, Phase, Position
from fleetsync.ports import Asking, Batch, Loaded, Store
from fleetsync_adapters.duckdb_store import DuckDBStore
from fleetsync_adapters.memory_store import MemoryStore

AT_MS = 1_790_000_000_000
SYMBOL = "BTC/USDT:USDT"
STORES = ("duckdb", "memory")


class Rig(Protocol):
    """A store under test, and how it is closed and found again."""

    @property
    def store(self) -> Store: ...

    def reopen(self) -> Store: ...

    def fail_next(self, *, applied: bool) -> None: ...

    def syncs(self) -> int: ...

    def asked(self) -> dict[Asking, dict[str, Any]]: ...


class DuckRig:
    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.store: DuckDBStore = DuckDBStore(self.path)

    def reopen(self) -> Store:
        self.store.close()
        self.store = DuckDBStore(self.path)
        return self.store

    def fail_next(self, *, applied: bool) -> None:
        """Break the real connection inside the next commit: before its COMMIT, or right after it."""
        writer = self.store._ready_writer()
        whole = writer.commit

        def broken(write: Any) -> None:
            connection = writer._connection
            if applied:
                whole(write)
            else:
                connection.execute("BEGIN")
                connection.execute("INSERT INTO freezes VALUES ('torn', 1)")
            connection.execute("SELECT error('the disk went away')")

        writer.commit = broken  # type: ignore[method-assign] # the fault goes where a disk's would

    def syncs(self) -> int:
        with self.store._reader("counting") as cursor:
            return int(cursor.execute("SELECT count(*) FROM syncs").fetchall()[0][0])

    def asked(self) -> dict[Asking, dict[str, Any]]:
        with self.store._reader("looking") as cursor:
            return {(at_ms, robot, what): orjson.loads(detail)
                    for at_ms, robot, what, detail in cursor.execute("FROM asked").fetchall()}


class MemoryRig:
    def __init__(self) -> None:
        self.store: MemoryStore = MemoryStore()

    def reopen(self) -> Store:
        self.store = self.store.reopened()
        return self.store

    def fail_next(self, *, applied: bool) -> None:
        self.store.fail_next(applied=applied)

    def syncs(self) -> int:
        return len(self.store.syncs)

    def asked(self) -> dict[Asking, dict[str, Any]]:
        return self.store.asked


@contextmanager
def opened(name: str, directory: Path) -> Iterator[Rig]:
    """A rig of that store, closed at the end."""
    rig: DuckRig | MemoryRig = DuckRig(directory / "fleet.duckdb") if name == "duckdb" else MemoryRig()
    yield rig
    rig.store.close()


def position(size: str = "1.5", symbol: str = SYMBOL, side: str = "long") -> Position:
    return Position(symbol=symbol, side=side, size=size, entry_price="64000.25", updated_at_ms=AT_MS - 5)


def order(order_id: str = "77", filled: str = "0") -> Order:
    return Order(id=order_id, client_id="grid-1", symbol=SYMBOL, side="buy", type="limit", price="63000.1",
                 size="0.000000000000000001", filled=filled, status="open", reduce_only=False, conditional=True,
                 created_at_ms=AT_MS - 9, updated_at_ms=AT_MS - 3)


def change(number: int, *robots: str, after: dict[str, Any] | None = None) -> Change:
    return Change(number=number, account="main", symbol=SYMBOL, robots=robots or ("r1",), kind="position_opened",
                  key="position:long", cause="event", before=None, after=after,
                  evidence={"surfaces": ["positions"], "orders": ["77"], "trades": [], "reads": 2},
                  exchange_at_ms=AT_MS - 5, seen_at_ms=AT_MS - 1)


def full_batch() -> Batch:
    return Batch(
        robots={"r1": {"id": "r1", "account": "main", "symbol": SYMBOL, "phase": Phase.HOLDING, "priority": 2.0,
                       "enabled": False, "order_prefix": "grid-", "holding_ms": 1_000, "working_ms": None,
                       "flat_ms": 60_000, "positions_as_of_ms": AT_MS, "orders_as_of_ms": AT_MS - 1,
                       "conditional_as_of_ms": 0, "last_sync_at_ms": AT_MS, "last_event_at_ms": AT_MS - 40,
                       "stopped": "", "certainty": "agreed"}},
        accounts={"main": {"id": "main", "exchange": "binanceusdm", "egress": "eu", "stopped": "wrong key",
                           "last_fault": "auth"}},
        positions={("main", SYMBOL, "long"): position()},
        orders={("main", SYMBOL, "77"): order()},
        changes=[change(1, after={"size": "1.5"}), change(2, "r1", "r2")],
        events={9: {"robot": "r1", "kind": "opened", "order_id": None}},
        freezes={"binanceusdm:eu:weight": AT_MS + 120_000},
        syncs=[{"at_ms": AT_MS, "account": "main", "exchange": "binanceusdm", "calls": 2, "weight": 6,
                "due_at_ms": AT_MS - 9, "started_at_ms": AT_MS - 8, "done_at_ms": AT_MS - 1, "robots": 1,
                "changed": True, "fault": ""}],
        asked={(AT_MS, "", "start"): {"calls_per_minute": 1_200}, (AT_MS, "r1", "sync"): {"max_age_ms": 0},
               (AT_MS, "r1", "opened"): {"side": "long"}},
    )  # fmt: skip


def expected() -> Loaded:
    batch = full_batch()
    return Loaded(
        robots={key: row for key, row in batch.robots.items() if row is not None},
        accounts={key: row for key, row in batch.accounts.items() if row is not None},
        positions={("main", SYMBOL, "long"): position()}, orders={("main", SYMBOL, "77"): order()},
        events={9: {"robot": "r1", "kind": "opened", "order_id": None}},
        freezes={"binanceusdm:eu:weight": AT_MS + 120_000}, last_change=2, last_event=9,
    )  # fmt: skip
