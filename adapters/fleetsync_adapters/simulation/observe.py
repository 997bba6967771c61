"""Looking at a world without touching it: an observer overrides the hooks that it needs, the others cost nothing."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson

from fleetsync.messages import AddAccount, Call, FromWorker, Request, ToWorker
from fleetsync.ports import Batch

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.life import Life
    from fleetsync_adapters.simulation.workload import Deed
    from fleetsync_adapters.simulation.world import World


class Observer:
    """Base of all; each hook is called with the instant first."""

    def begun(self, at_ms: int, life: "Life") -> None:
        """An engine has started: the first one, or one after a crash."""

    def crashed(self, at_ms: int, life: "Life") -> None:
        """An engine was killed."""

    def sent(self, at_ms: int, worker: int, message: ToWorker) -> None:
        """The core gave a command."""

    def requested(self, at_ms: int, sync_id: int, route: str, account: str, call: Call, request: Request) -> None:
        """The exchange got a request (`at_ms`), which a worker had sent at `request.sent_at_ms`."""

    def received(self, at_ms: int, message: FromWorker) -> None:
        """The core has taken a message in."""

    def turned(self, at_ms: int, life: "Life") -> None:
        """The engine's loop has gone round once."""

    def parted(self, at_ms: int, account: str) -> None:
        """An account was removed, or is reached otherwise from now on: what is out for it will prove nothing."""

    def notified(self, at_ms: int, event: int, robot: str) -> None:
        """An event was handed to the engine; it is accepted once a batch that holds it is committed."""

    def asked(self, at_ms: int, token: int, robot: str, deadline_ms: int) -> None:
        """A forced sync was asked for."""

    def answered(self, at_ms: int, token: int, why_not: str) -> None:
        """A forced sync was answered; `why_not` is empty when the robot is proven."""

    def committed(self, at_ms: int, batch: Batch, served: Sequence[tuple[int, int]]) -> None:
        """A batch reached the store (it may not be acknowledged yet); `served` lists (event, accepted at)."""

    def acknowledged(self, at_ms: int, served: Sequence[tuple[int, int]]) -> None:
        """The engine knows of a commit: what it held is published."""

    def acted(self, at_ms: int, deed: "Deed") -> None:
        """A robot, a hand or the exchange did something to the true books."""

    def struck(self, at_ms: int, fault: str, detail: str) -> None:
        """A fault struck."""

    def stepped(self, at_ms: int, by_ms: int) -> None:
        """No engine runs, and the machine's clock was set forth (negative: back)."""

    def second(self, at_ms: int, world: "World") -> None:
        """A virtual second has passed."""


class Hooks:
    """For each hook, the observers that override it."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        """Sort these observers by what they look at."""

        def of(name: str) -> list[Any]:
            plain: Callable[..., Any] = getattr(Observer, name)
            return [getattr(one, name) for one in observers if getattr(type(one), name) is not plain]

        self.begun = of("begun")
        self.crashed = of("crashed")
        self.sent = of("sent")
        self.requested = of("requested")
        self.received = of("received")
        self.turned = of("turned")
        self.parted = of("parted")
        self.notified = of("notified")
        self.asked = of("asked")
        self.answered = of("answered")
        self.committed = of("committed")
        self.acknowledged = of("acknowledged")
        self.acted = of("acted")
        self.struck = of("struck")
        self.stepped = of("stepped")
        self.second = of("second")


class History(Observer):
    """One number for a whole run: two runs with the same one did the same things at the same instants."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self._hash = blake2b(digest_size=16)
        self.commands = self.messages = self.batches = 0

    @property
    def digest(self) -> str:
        """The hash of everything so far."""
        return self._hash.hexdigest()

    def sent(self, at_ms: int, worker: int, message: ToWorker) -> None:
        """Count a command in."""
        self.commands += 1
        told: Any = (message.account.id, message.symbols) if isinstance(message, AddAccount) else message
        self._count_in(at_ms, worker, type(message).__name__, told)

    def received(self, at_ms: int, message: FromWorker) -> None:
        """Count a message in."""
        self.messages += 1
        self._count_in(at_ms, type(message).__name__, message)

    def committed(self, at_ms: int, batch: Batch, served: Sequence[tuple[int, int]]) -> None:
        """Count a batch in; the order of rows within a table means nothing, that of the changes does."""
        self.batches += 1
        tables = (batch.robots, batch.accounts, batch.positions, batch.orders, batch.events, batch.freezes)
        rows = [sorted(table.items(), key=lambda row: row[0]) for table in tables]
        self._count_in(at_ms, rows, batch.changes, served)

    def _count_in(self, *told: Any) -> None:
        self._hash.update(orjson.dumps(told, default=list))  # rows and messages are named tuples
