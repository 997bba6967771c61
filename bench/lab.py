"""The laboratory: the real core in virtual time, over a crew that is only arithmetic.

What the benches of the core, its growth and its freshness have in common. The exchange behind this crew is quiet unless
a bench says otherwise: an answer equals the one before (`rows=None`), as a worker would say. What is measured over it
is the processor's time: nothing in it waits, and what else the machine does is no cost of ours, nor of a rival's.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from time import thread_time_ns
from typing import TypeVar

from fleetsync.config import Settings
from fleetsync.core import Core
from fleetsync.messages import Answer, Call, Dispatch, OpenExchange, Request, Rows, SyncDone, WorkerUp
from fleetsync.model import Account, Order, Position, Robot, Surface
from fleetsync.tariff import Tariff
from fleetsync.units import MINUTE_MS
from fleetsync_adapters.tariffs import load_tariff

START_MS = 1_760_000_040_000  # a whole minute, like the exchanges' windows
SYMBOL = "BTC/USDT:USDT"
PLENTY = 1_000_000_000  # a quota that never binds
Made = TypeVar("Made")
Answers = Callable[[Dispatch, int], SyncDone]


def unlimited(exchange: str = "binanceusdm") -> Tariff:
    """The exchange's own tariff with limits that never bind: what is left is the engine's cost."""
    tariff = load_tariff(exchange)
    return replace(tariff, quotas=tuple([replace(quota, limit=PLENTY) for quota in tariff.quotas]))


def accounts_of(count: int, exchange: str = "binanceusdm") -> list[Account]:
    """So many accounts without keys."""
    return [Account(f"account-{number:07}", exchange) for number in range(count)]


def robots_of(count: int, accounts: Sequence[Account]) -> list[Robot]:
    """So many robots, spread over the accounts, each on a book of its own as far as symbols go round."""
    return [Robot(f"robot-{number:07}", accounts[number % len(accounts)].id,
                  SYMBOL if number < len(accounts) else f"COIN{number // len(accounts)}/USDT:USDT")
            for number in range(count)]


class QuietExchange:
    """Where nothing ever changes; it counts the weight of each minute and says so with each answer, as Binance does.

    Args:
        held: which (account, symbol) hold a position, as they did from the start.
        orders: whether an order rests beside each.
    """

    def __init__(self, held: Sequence[tuple[str, str]] = (), *, orders: bool = True) -> None:
        self._rows: dict[str, tuple[list[Position], list[Order]]] = {}
        for number, (account, symbol) in enumerate(held):
            positions, resting = self._rows.setdefault(account, ([], []))
            positions.append(Position(symbol, "long", "1", "100", START_MS))
            if not orders:
                continue
            resting.append(Order(str(number), "", symbol, "sell", "limit", "110", "1", "0", "open", reduce_only=True,
                                 conditional=False, created_at_ms=START_MS, updated_at_ms=START_MS))
        self._told: set[tuple[str, Call]] = set()
        self._minute = self._used = 0

    def __call__(self, job: Dispatch, now_ms: int) -> SyncDone:
        """The report of a dispatch that is sent now."""
        if now_ms // MINUTE_MS != self._minute:
            self._minute, self._used = now_ms // MINUTE_MS, 0
        answers, requests = [], []
        for call in job.calls:
            weight = 5 if call.surface is Surface.POSITIONS else 1
            self._used += weight
            requests.append(Request("GET /fapi/v3/positionRisk", weight, now_ms, 200, self._used))
            answers.append(Answer(call, now_ms, complete=True, rows=self._shown(job, call) if self._rows else None))
        return SyncDone(job.sync_id, tuple(answers), tuple(requests))

    def _shown(self, job: Dispatch, call: Call) -> Rows | None:
        if (job.account, call) in self._told and not job.full:
            return None
        self._told.add((job.account, call))
        positions, orders = self._rows.get(job.account, ((), ()))
        if call.surface is Surface.POSITIONS:
            return tuple(positions)
        return tuple([order for order in orders if call.symbol in {"", order.symbol}])


def holding(robots: Sequence[Robot], share: float) -> list[tuple[str, str]]:
    """The books of the first robots of a fleet."""
    return [(robot.account, robot.symbol) for robot in robots[: round(len(robots) * share)]]


class Lab:
    """A core with its fleet, and virtual time to run it in.

    Args:
        accounts, robots: the fleet.
        settings: the engine's.
        tariff: of the one exchange; its limits are the bench's to choose.
        answers: what the exchange behind the crew says to a dispatch that was sent at an instant.
        latency_ms: from a dispatch to its report.
        spread_ms: first runs are spread over this, account after account, as the engine does.
    """

    def __init__(self, accounts: Sequence[Account], robots: Sequence[Robot], settings: Settings, tariff: Tariff, *,
                 answers: Answers | None = None, latency_ms: int = 0, spread_ms: int = 0) -> None:
        self.now_ms = START_MS
        self.core = Core(settings, {tariff.exchange: tariff}, workers=settings.workers, seed=1, now_ms=START_MS)
        self.dispatched = 0  # syncs
        self.spent_ns = 0  # in the core alone, while `timed`
        self.on_sent: Callable[[Dispatch, int], None] | None = None
        self._answers, self._latency_ms = answers or QuietExchange(), latency_ms
        self._coming: list[tuple[int, int, SyncDone]] = []
        for account in accounts:
            self.core.add_account(account, START_MS)
        account_by_id = self.core.fleet.account_by_id
        for robot in robots:
            first_ms = spread_ms * account_by_id[robot.account].index // len(accounts)
            self.core.add_robot(robot, START_MS, START_MS + first_ms)
        for worker in range(max(settings.workers, 1)):
            self.core.receive(WorkerUp(worker, worker + 1), START_MS)
        self._open()

    def _open(self) -> None:
        """Let every worker load the markets before the first sync."""
        core = self.core
        for _ in range(10_000):
            core.granter.open_exchanges(self.now_ms)
            opening = [message for _, message in core.take_commands() if isinstance(message, OpenExchange)]
            if not opening and core.roster.opening_at_ms is None:
                return
            for message in opening:
                core.receive(SyncDone(message.sync_id, (_opened(self.now_ms),), ()), self.now_ms)
            self.now_ms += 50
        raise AssertionError("the exchange could not be opened")

    # -- running

    def step(self, to_ms: int) -> int:
        """Let time pass to `to_ms` in one tick, and take in what arrives; returns the syncs that were sent."""
        core, now_ms = self.core, max(to_ms, self.now_ms)
        self.now_ms = now_ms
        done: list[SyncDone] = []
        while self._coming and self._coming[0][0] <= now_ms:
            done.append(heappop(self._coming)[2])
        begun_ns = thread_time_ns()
        for message in done:
            core.receive(message, now_ms)
        core.tick(now_ms)
        commands = core.take_commands()
        self.spent_ns += thread_time_ns() - begun_ns
        sent = 0
        for _, command in commands:
            if isinstance(command, Dispatch):
                sent += 1
                if self.on_sent is not None:
                    self.on_sent(command, now_ms)
                report = self._answers(command, now_ms)
                heappush(self._coming, (now_ms + self._latency_ms, report.sync_id, report))
        self.dispatched += sent
        return sent

    def run(self, until_ms: int, *, at_most_ms: int = 1_000) -> None:
        """Discrete events up to an instant: from one thing to do to the next; housekeeping once a second."""
        core = self.core
        while self.now_ms < until_ms:
            self.step(self.now_ms)
            wake_at_ms = core.next_wake_at_ms(self.now_ms) or until_ms
            if self._coming:
                wake_at_ms = min(wake_at_ms, self._coming[0][0])
            next_second_ms = (self.now_ms // 1000 + 1) * 1000
            if min(wake_at_ms, self.now_ms + at_most_ms) >= next_second_ms:
                self.now_ms = min(next_second_ms, until_ms)
                core.housekeep(self.now_ms, 1_000)
                core.take_batch()
            else:
                self.now_ms = min(max(wake_at_ms, self.now_ms + 1), until_ms)


def _opened(now_ms: int) -> Answer:
    return Answer(Call(Surface.MARKETS), now_ms, complete=True)


def resident_kib() -> int:
    """This process's resident memory."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * 4


def settled(make: Callable[[], Made]) -> tuple[Made, int]:
    """Make something and say by how many bytes the process grew."""
    gc.collect()
    before = resident_kib()
    made = make()
    gc.collect()
    return made, (resident_kib() - before) * 1024

