"""A synchronous driver of the real core in virtual time, over a hand-made exchange whose answers a test can set."""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from fleetsync.config import Settings
from fleetsync.core import Core
from fleetsync.events import Event
from fleetsync.messages import (
    Answer,
    Call,
    Dispatch,
    FromWorker,
    OpenExchange,
    Request,
    SyncDone,
    ToWorker,
    WorkerLost,
    WorkerUp,
)
from fleetsync.model import Account, Change, Fault, Order, Position, Robot, Surface
from fleetsync.ports import Batch, Loaded
from fleetsync.tariff import Cost, Quota, Scope, Tariff

START_MS = 1_700_000_000_000 - 1_700_000_000_000 % 60_000
LATENCY_MS = 80

TARIFF = Tariff(
    "paper",
    (Quota("weight", Scope.EGRESS, 2_400, 60_000, aligned=True),),
    {name: Cost(f"GET /{name}", (("weight", weight),)) for name, weight in {
        "positions": 5, "orders": 40, "orders:symbol": 1, "order": 1, "fills": 5, "markets": 1}.items()},
    positions_show_orders=True,
)


@dataclass(slots=True)
class Truth:
    """What the exchange holds for one account."""

    positions: list[Position] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    rows: dict[Surface, Any] = field(default_factory=dict)  # fills and looked-up orders

    def rows_of(self, call: Call) -> tuple[Any, ...]:
        """What a call shows."""
        if call.surface is Surface.POSITIONS:
            return tuple(self.positions)
        if call.surface is Surface.ORDERS:
            return tuple(row for row in self.orders if call.symbol in {"", row.symbol})
        return tuple(self.rows.get(call.surface, ()))


@dataclass(frozen=True, slots=True)
class Sent:
    """One dispatch as the crew got it."""

    at_ms: int
    worker: int
    dispatch: Dispatch


class World:
    """The core, its crew, its exchange and its store, one step after the other."""

    def __init__(self, *, workers: int = 1, tariff: Tariff = TARIFF, loaded: Loaded | None = None,
                 at_ms: int = START_MS, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.now_ms = at_ms
        self.core = Core(self.settings, {tariff.exchange: tariff}, workers=workers, seed=7, now_ms=at_ms)
        if loaded is not None:
            self.core.restore(loaded, at_ms)
        self.truth: dict[str, Truth] = {}
        self.sent: list[Sent] = []
        self.opened: list[int] = []
        self.changes: list[Change] = []
        self.batches: list[Batch] = []
        self.requests = 0  # HTTP requests that left, as the exchange counts them
        self.answer: Callable[[str, Call, int], Answer | None] = lambda *_: None  # a test's own answer, or None
        self.latency_ms: Callable[[Dispatch], int] = lambda _: LATENCY_MS
        self.silent: set[int] = set()  # workers that report nothing
        self._mail: list[tuple[int, int, FromWorker]] = []
        self._posted = 0
        self._events = 0
        for worker in range(workers):
            self.core.receive(WorkerUp(worker, 100 + worker), at_ms)

    def account(self, account_id: str = "main", **more: Any) -> Truth:
        """One more account."""
        self.core.add_account(Account(account_id, "paper", **more), self.now_ms)
        self.truth[account_id] = Truth()
        return self.truth[account_id]

    def robot(self, robot_id: str, account: str = "main", symbol: str = "BTC/USDT:USDT", *,
              first_in_ms: int = 0, **more: Any) -> None:
        """One more robot."""
        self.core.add_robot(Robot(robot_id, account, symbol, **more), self.now_ms, self.now_ms + first_in_ms)

    def event(self, robot_id: str, kind: str = "suspect", **more: Any) -> None:
        """A hint."""
        slot = self.core.fleet.slot(robot_id)
        event = Event(self.core.inbox.next_id(), slot, robot_id, kind, self.now_ms, **more)
        self.core.notify(event, self.now_ms)

    def post(self, message: FromWorker, in_ms: int = 0) -> None:
        """Something that a worker will report."""
        self._posted += 1
        heappush(self._mail, (self.now_ms + in_ms, self._posted, message))

    def lose(self, worker: int) -> None:
        """A worker dies, with what it had in flight."""
        self._mail = [mail for mail in self._mail if not isinstance(mail[2], SyncDone)]
        self.core.receive(WorkerLost(worker, "killed"), self.now_ms)

    def run(self, span_ms: int, *, step_ms: int = 1_000) -> None:
        """Let time pass; the core is woken when it asks to be, when mail comes, and at least once a step."""
        end_ms = self.now_ms + span_ms
        while True:
            while self._mail and self._mail[0][0] <= self.now_ms:
                self.core.receive(heappop(self._mail)[2], self.now_ms)
            self.core.tick(self.now_ms)
            for worker, command in self.core.take_commands():
                self._carry_out(worker, command)
            self._commit()
            if self.now_ms >= end_ms:
                return
            wake_ms = self.core.next_wake_at_ms(self.now_ms) or end_ms
            next_ms = min(wake_ms, self._mail[0][0] if self._mail else end_ms, end_ms, self.now_ms + step_ms)
            if self.now_ms // 1_000 != next_ms // 1_000:
                self.core.housekeep(next_ms, 1_000)
            self.now_ms = max(next_ms, self.now_ms + 1)

    def _commit(self) -> None:
        batch = self.core.take_batch()
        if batch:
            self.batches.append(batch)
            self.changes += batch.changes

    def _carry_out(self, worker: int, command: ToWorker) -> None:
        if isinstance(command, OpenExchange):
            self.opened.append(worker)
            self._report(worker, command.sync_id, "", (Call(Surface.MARKETS),), LATENCY_MS)
        elif isinstance(command, Dispatch):
            self.sent.append(Sent(self.now_ms, worker, command))
            self._report(worker, command.sync_id, command.account, command.calls, self.latency_ms(command))

    def _report(self, worker: int, sync_id: int, account: str, calls: tuple[Call, ...], latency_ms: int) -> None:
        answers = tuple(self.answer(account, call, self.now_ms) or self._true(account, call) for call in calls)
        requests = tuple(Request("GET /x", 1, self.now_ms, 200) for answer in answers
                         if answer.fault is not Fault.EXPIRED)
        self.requests += len(requests)
        if worker not in self.silent:
            self.post(SyncDone(sync_id, answers, requests), latency_ms)

    def _true(self, account: str, call: Call) -> Answer:
        if call.surface is Surface.MARKETS:
            return Answer(call, self.now_ms, complete=True)
        return Answer(call, self.now_ms, complete=True, rows=self.truth[account].rows_of(call))

    # -- what came of it

    def syncs(self, account: str = "main") -> list[int]:
        """When syncs of an account were sent."""
        return [sent.at_ms for sent in self.sent if sent.dispatch.account == account]

    def loaded(self) -> Loaded:
        """What a store would hold now."""
        loaded = Loaded()
        for batch in self.batches:
            for name in ("robots", "accounts", "positions", "orders", "events", "freezes"):
                rows = getattr(loaded, name)
                for key, row in getattr(batch, name).items():
                    rows.pop(key, None)
                    if row is not None:
                        rows[key] = row
            for change in batch.changes:
                loaded.last_change = change.number
            loaded.last_event = max([loaded.last_event, *batch.events])
        return loaded


def failing(*, fault: Fault, account: str = "", surface: Surface | None = None, **more: Any) -> (
        Callable[[str, Call, int], Answer | None]):
    """Answers of a fault, for one account or surface or all."""
    def answer(asked: str, call: Call, now_ms: int) -> Answer | None:
        hit = call.surface is not Surface.MARKETS and account in {"", asked} and surface in {None, call.surface}
        return Answer(call, now_ms, fault=fault)._replace(**more) if hit else None
    return answer


def settled(world: World) -> None:
    """Every granted call was reported once, or is known to be uncertain."""
    journal = world.core.journal
    granted = world.core.budget.operator.granted
    in_flight = sum(call.pages for sync in world.core.in_flight.values() for call in sync.calls)
    assert journal.meter.calls + journal.uncertain_calls + in_flight == granted
