"""The seams: what the engine needs from the world, each with its real and its test implementation.

| port     | real                                   | test and simulation          |
|----------|----------------------------------------|------------------------------|
| Clock    | `clock.SystemClock`                    | `clock.VirtualClock`         |
| Exchange | `fleetsync_adapters.ccxt_exchange`     | `fleetsync_adapters.paper.direct` |
| Store    | `fleetsync_adapters.duckdb_store`      | `fleetsync_adapters.memory_store` |
| Crew     | `crew.ProcessCrew`, `crew.LocalCrew`   | the simulation's own         |
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fleetsync.messages import Answer, Call, FromWorker, Request, ToWorker
from fleetsync.model import Account, Change, Order, Position
from fleetsync.tariff import Tariff


class Clock(Protocol):
    """Tells the time."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch; never less than a value it gave before, whatever the system clock does."""


@dataclass(frozen=True, slots=True)
class ExchangeSpec:
    """How a worker opens an exchange; crosses the process border, so it holds names and plain values only."""

    exchange: str  # ccxt id
    egress: str = ""
    base_url: str = ""  # "": the exchange's own hosts
    proxy: str = ""  # the egress' HTTP proxy, if any
    factory: str = "fleetsync_adapters.ccxt_exchange:open_exchange"  # "module:function", an `ExchangeFactory`
    tariff: Tariff | None = None
    options: dict[str, Any] = field(default_factory=dict)
    call_timeout_ms: int = 10_000


class Exchange(Protocol):
    """One exchange through one egress, inside a worker: a loaded leader and a thin view for each account.

    No method raises for what the exchange or the network did: that is a `Fault` in the `Answer`.
    """

    async def open(self) -> tuple[Answer, tuple[Request, ...]]:
        """Load the markets. On a fault it may be called again."""

    def add_account(self, account: Account) -> None:
        """Serve this account; replaces its credentials when it is known already."""

    def remove_account(self, account_id: str) -> None:
        """Forget the account; unknown ids are ignored."""

    def lists(self, symbol: str) -> bool:
        """Whether the loaded markets have this unified symbol."""

    async def ask(self, account_id: str, call: Call, *, full: bool) -> tuple[Answer, tuple[Request, ...]]:
        """Make one call, with at most as many requests as it has pages granted.

        An answer that equals this account's previous one to the same question carries `rows=None`, unless `full`.
        """

    async def close(self) -> None:
        """Close all connections; no request is in flight any more."""


ExchangeFactory = Callable[[ExchangeSpec, Clock], Exchange]
"""Makes an exchange that dates its answers by the engine's clock: a clock of its own may be anywhere after a step."""


Instants = tuple[int, int, int, int, int]  # of a robot: its three surfaces read, its last sync, its last event
Asking = tuple[int, str, str]  # (at_ms, robot or "" for the engine itself, what)


@dataclass(slots=True)
class Batch:
    """One transaction for the store: rows by key, and the changes that made them. None as a value deletes the row.

    Keys: robot id; account id; (account, symbol, side) for positions; (account, symbol, order id) for orders. `ages`
    are new instants of robots whose rows are otherwise as committed; of a robot without a row they are ignored. What
    was asked of the engine: "start", "settings" and "stop" of itself; "sync", or a kind of event, of a robot.
    """

    robots: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    ages: dict[str, Instants] = field(default_factory=dict)  # the heartbeat
    accounts: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    positions: dict[tuple[str, str, str], Position | None] = field(default_factory=dict)
    orders: dict[tuple[str, str, str], Order | None] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    events: dict[int, dict[str, Any] | None] = field(default_factory=dict)  # accepted, not yet served
    freezes: dict[str, int | None] = field(default_factory=dict)  # quota ledger -> frozen until, ms
    syncs: list[dict[str, Any]] = field(default_factory=list)  # coarse outcome records, for replay and tuning
    asked: dict[Asking, dict[str, Any]] = field(default_factory=dict)  # what came from outside, likewise

    def __bool__(self) -> bool:
        return any((self.robots, self.ages, self.accounts, self.positions, self.orders, self.changes, self.events,
                    self.freezes, self.syncs, self.asked))


@dataclass(slots=True)
class Loaded:
    """What a store held when it was opened: the same rows as in `Batch`, and the last change's number.

    `durable` says whether what is committed outlives the process, so that rows of none mean that no run was before.
    """

    robots: dict[str, dict[str, Any]] = field(default_factory=dict)
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    positions: dict[tuple[str, str, str], Position] = field(default_factory=dict)
    orders: dict[tuple[str, str, str], Order] = field(default_factory=dict)
    events: dict[int, dict[str, Any]] = field(default_factory=dict)
    freezes: dict[str, int] = field(default_factory=dict)
    last_change: int = 0
    last_event: int = 0  # the highest number that any event had, also of those served long since
    durable: bool = True

    def by_account(self) -> "dict[str, tuple[list[Position], list[Order]]]":
        """Positions and orders of each account."""
        books: dict[str, tuple[list[Position], list[Order]]] = {}
        for (account, _, _), position in self.positions.items():
            books.setdefault(account, ([], []))[0].append(position)
        for (account, _, _), order in self.orders.items():
            books.setdefault(account, ([], []))[1].append(order)
        return books


class Store(Protocol):
    """The durable state. All methods block; the engine calls `commit` from one writer thread, one batch at a time.

    A committed batch is there after any crash, whole; an uncommitted one is not there at all.
    """

    def load(self) -> Loaded:
        """Everything, once, at start."""

    def commit(self, batch: Batch, at_ms: int) -> None:
        """All of the batch, or nothing.

        Raises:
            StoreFailed: it did not reach the disk; committing the same batch again is safe, also when in truth it did.
        """

    def changes(self, after: int, limit: int, robot: str | None = None) -> list[Change]:
        """Committed changes with `number > after`, ascending, at most `limit`. Safe from any thread."""

    def snapshot(self, path: str) -> None:
        """Write a consistent copy of the committed state to a new database file at `path`. Safe from any thread."""

    def close(self) -> None:
        """Flush and release the file."""


class Crew(Protocol):
    """The workers, seen from the engine's side."""

    async def start(self, deliver: Callable[[Sequence[FromWorker]], None]) -> None:
        """Start the workers; `deliver` is called in the engine's loop with what they report, in order per worker."""

    def send(self, worker: int, message: ToWorker) -> None:
        """Hand a message to a worker; never blocks. To a lost worker it does nothing: `WorkerLost` has told already."""

    @property
    def size(self) -> int:
        """How many workers there are to place accounts on."""

    @property
    def alive(self) -> int:
        """How many of them are up."""

    async def stop(self, grace_ms: int) -> None:
        """Drain for at most `grace_ms`, then end every worker."""
