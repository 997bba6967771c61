"""A discrete-event world in virtual time: the real core, the paper exchange's own books, and everything between them.

One queue of (instant, number, what to do, with what) is the whole simulator; nothing waits and nothing reads a clock.
Every draw comes from streams that the seed names, so the same setup gives the same history, in any process.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from random import Random
from typing import Any

from fleetsync.messages import FromWorker
from fleetsync.model import Account, Robot, Secret
from fleetsync.ports import Batch
from fleetsync.units import SECOND_MS
from fleetsync_adapters.memory_store import MemoryStore
from fleetsync_adapters.paper.books import BookAccount
from fleetsync_adapters.paper.venue import Venue, VenueRules
from fleetsync_adapters.simulation.chaos import Chaos
from fleetsync_adapters.simulation.life import Killed, Life
from fleetsync_adapters.simulation.network import Network
from fleetsync_adapters.simulation.observe import Hooks, Observer
from fleetsync_adapters.simulation.setup import Setup, Span
from fleetsync_adapters.simulation.worker import NEVER_MS, SimWorker
from fleetsync_adapters.simulation.workload import Trader

_FIRST_PID = 1_000
_LEDGER_ROWS = 10_000  # the venue's own rows; totals are exact without them


class World:
    """One simulation. Make it, `run`, look at it with observers.

    Args:
        setup: what it consists of.
        observers: see `observe.Observer`.
    """

    def __init__(self, setup: Setup, observers: Sequence[Observer] = ()) -> None:
        """A world at its first instant, with an exchange and an engine that has not started."""
        self.setup = setup
        self.settings = setup.settings
        self.now_ms = setup.start_at_ms
        self.end_at_ms = setup.end_at_ms
        self.hooks = Hooks(observers)
        self.caps = [(setup.start_at_ms, setup.settings.calls_per_minute)]  # the operator's, since when
        self.commit_slow_ms = 0
        self.skew_ms = 0  # how far the exchange's clock is ahead of ours
        self.steps = 0
        self.moved: set[str] = set()  # robots whose account or symbol changed: what was asked before is void
        self.joined_at_ms: dict[str, int] = {}  # robots that came later
        self.effects: Counter[str] = Counter()  # how often each fault has really done something
        self.clock_step_ms = 0  # by how much the machine's clock is set while no engine runs
        self._queue: list[tuple[int, int, Callable[[Any], None], Any]] = []
        self._number = 0
        self._pid = _FIRST_PID
        self._exchange_at_ms = 0
        self._streams: dict[str, Random] = {}
        self.venue = Venue(VenueRules(seed=setup.seed, accounts=0, markets=setup.markets, limits=setup.limits,
                                      ledger_rows=_LEDGER_ROWS))
        self.net = Network(self)
        self.accounts: dict[str, Account] = {}
        self.robots: dict[str, Robot] = {}
        self._books: dict[str, BookAccount] = {}
        for account in setup.accounts:
            self.open_account(account)
        self.robots = {robot.id: robot for robot in setup.robots}
        self.store = MemoryStore()
        self.lives = 1
        self.life: Life | None = Life(self, self.store, 1)
        self.trader = Trader(self, self.rng("trade"))
        self.chaos = Chaos(self) if setup.faults else None

    def __repr__(self) -> str:
        passed_s = (self.now_ms - self.setup.start_at_ms) // SECOND_MS
        return f"<World seed={self.setup.seed} robots={len(self.robots)} at {passed_s} s, steps={self.steps}>"

    # -- time

    def begin(self) -> None:
        """Everybody's first step."""
        assert self.life is not None
        self.trader.begin()
        self.life.start()
        self.after(SECOND_MS, self._second, None)

    def run(self, until_ms: int | None = None) -> "World":
        """Let time pass up to an instant, the setup's end by default."""
        if self.steps == 0:
            self.begin()
        queue = self._queue
        while True:
            life = self.life
            wake_at_ms = life.wake_at_ms if life is not None else NEVER_MS
            at_ms = queue[0][0] if queue and queue[0][0] <= wake_at_ms else wake_at_ms
            end_ms = self.end_at_ms if until_ms is None else until_ms
            if at_ms > end_ms:
                self.now_ms = max(self.now_ms, end_ms)
                return self
            self.now_ms = at_ms
            self.steps += 1
            try:
                while queue and queue[0][0] == at_ms:
                    _, _, deed, argument = heappop(queue)
                    deed(argument)
                if self.life is not None and self.life.wake_at_ms <= at_ms:
                    self.life.turn(at_ms)
            except Killed:
                self.kill_engine()

    def at(self, at_ms: int, deed: Callable[[Any], None], argument: Any) -> None:
        """Have something done at an instant."""
        self._number += 1
        heappush(self._queue, (at_ms, self._number, deed, argument))

    def after(self, span_ms: int, deed: Callable[[Any], None], argument: Any) -> None:
        """Have something done after a span."""
        self._number += 1
        heappush(self._queue, (self.now_ms + span_ms, self._number, deed, argument))

    def exchange_ms(self) -> int:
        """The exchange's clock: ours, ahead or behind, and standing still where it would go back."""
        if self.skew_ms == 0 and self._exchange_at_ms <= self.now_ms:
            return self.now_ms
        self._exchange_at_ms = max(self._exchange_at_ms, self.now_ms + self.skew_ms)
        return self._exchange_at_ms

    def skew(self, by_ms: int) -> None:
        """The exchange's clock moves against ours; what it has shown already it does not show again."""
        self._exchange_at_ms = self.exchange_ms()
        self.skew_ms += by_ms

    def _second(self, _: object) -> None:
        for hook in self.hooks.second:
            hook(self.now_ms, self)
        self.after(SECOND_MS, self._second, None)

    # -- chance

    def rng(self, stream: str) -> Random:
        """The random stream of that name; one name is one stream."""
        if stream not in self._streams:
            self._streams[stream] = Random(f"{self.setup.seed} {stream}")
        return self._streams[stream]

    @staticmethod
    def draw(rng: Random, span: Span) -> int:
        """A span between the least and the most."""
        low, high = span
        return low if low == high else low + int(rng.random() * (high - low + 1))

    # -- who is there

    def open_account(self, account: Account, *, wrong_key: bool = False) -> None:
        """Open an account at the exchange and declare it, with its keys, to the engine to come."""
        book = self._books.get(account.id)
        if book is None:
            (book,) = self.venue.books.open_accounts(1)
            self._books[account.id] = book
        secret = "wrong" if wrong_key else book.keys.secret
        self.accounts[account.id] = replace(account, api_key=Secret(book.keys.api_key), api_secret=Secret(secret))

    def address(self, exchange: str, egress: str) -> str:
        """The address at which an exchange sees an egress: no two exchanges share a limit."""
        where = egress or "direct"
        return where if exchange == self.setup.accounts[0].exchange else f"{where} at {exchange}"

    def book_of(self, account: str) -> BookAccount:
        """The true books of an account."""
        return self._books[account]

    def next_pid(self) -> int:
        """A number for a new process."""
        self._pid += 1
        return self._pid

    def add_account(self, account: Account) -> None:
        """One more account, now."""
        self.open_account(account)
        if self.life is not None:
            self.life.core.add_account(self.accounts[account.id], self.now_ms)
            self.life.wake()

    def add_robot(self, robot: Robot) -> None:
        """One more robot, now; it trades."""
        self.robots[robot.id] = robot
        self.joined_at_ms[robot.id] = self.now_ms
        if self.life is not None:
            self.life.core.add_robot(robot, self.now_ms)
            self.life.wake()
        self.trader.adopt(robot)

    def remove_robot(self, robot_id: str) -> None:
        """One robot less; what it holds stays where it is."""
        del self.robots[robot_id]
        self.moved.add(robot_id)
        if self.life is not None:
            self.life.core.remove_robot(robot_id)
            self.life.wake()

    def remove_account(self, account: str) -> list[Robot]:
        """One account less, and its robots, which are returned; what it holds stays where it is."""
        robots = [robot for robot in self.robots.values() if robot.account == account]
        for robot in robots:
            del self.robots[robot.id]
            self.moved.add(robot.id)
        if self.life is not None:
            self.life.core.remove_account(account, self.now_ms)
            self.life.wake()
        del self.accounts[account]
        for hook in self.hooks.parted:
            hook(self.now_ms, account)
        return robots

    def change_account(self, account: Account) -> None:
        """An account is reached by other keys, or over another egress."""
        self.accounts[account.id] = account
        if self.life is not None:
            self.life.core.change_account(account, self.now_ms)
            self.life.wake()
        for hook in self.hooks.parted:
            hook(self.now_ms, account.id)

    def resume_account(self, account: Account) -> None:
        """An account has good keys again."""
        self.accounts[account.id] = account
        if self.life is not None:
            self.life.crew.forget_seats(account)
            if self.life.core.fleet.account_by_id[account.id].stopped:
                self.life.core.resume_account(account.id, account, self.now_ms)
                self.life.wake()

    def forget_seats(self, account_id: str) -> None:
        """The exchange has dropped an account's key."""
        if self.life is not None:
            self.life.crew.forget_seats(self.accounts[account_id])

    def set_calls_per_minute(self, limit: int) -> None:
        """The operator's cap from now on, for this engine and those after it."""
        self.settings = self.settings.but(calls_per_minute=limit)
        self.caps.append((self.now_ms, limit))
        if self.life is not None:
            self.life.core.set_calls_per_minute(limit, self.now_ms)
            self.life.wake()

    # -- between the parts

    def deliver(self, message: FromWorker) -> None:
        """A worker's message reaches the engine."""
        if self.life is not None:
            self.life.deliver(message)

    def sends(self, worker: SimWorker, exchange: Any, job: Any, place: int, call: Any, send_at_ms: int) -> None:
        """A worker sends a request; it is executed when it has arrived."""
        arrive_at_ms = send_at_ms + self.draw(self.rng("network"), self.setup.lags.up_ms)
        if arrive_at_ms == self.now_ms:
            worker.execute(exchange, job, place, call, send_at_ms)
        else:
            self.at(arrive_at_ms, _arrive, (worker, exchange, job, place, call, send_at_ms))

    def tell(self, robot: str, kind: str, *, side: str = "", order_id: str = "") -> int:
        """A robot announces something; 0 when nobody listens."""
        if self.life is None or robot not in self.robots or robot not in self.life.core.fleet.slot_of:
            return 0
        return self.life.notify(robot, kind, side=side, order_id=order_id)

    # -- the engine's end, and its next life

    def kill_engine(self) -> None:
        """The engine's process ends at this instant; another one starts after a while on what was committed."""
        life = self.life
        if life is None:
            return
        life.kill()
        for hook in self.hooks.crashed:
            hook(self.now_ms, life)
        self.life = None
        self.effects["engine_kill"] += 1
        self.store = self.store.reopened()
        self.after(self.draw(self.rng("life"), self.setup.lags.restart_ms), self._start_again, None)

    def _start_again(self, _: object) -> None:
        if self.clock_step_ms:
            self._set_clock()
        self.lives += 1
        self.life = Life(self, self.store, self.lives)
        self.life.start()


    def _set_clock(self) -> None:
        """The machine's clock was set while no engine ran. Ours is the engine's, and cannot go back.

        Set forth, all that is planned moves on with us; set back, what was stored lies in the future. The exchange has
        moved the other way.
        """
        by_ms, self.clock_step_ms = self.clock_step_ms, 0
        self.effects["clock_step"] += 1
        self.skew(-by_ms)
        if by_ms > 0:
            self.now_ms += by_ms
            self.end_at_ms += by_ms
            self._queue[:] = [(at_ms + by_ms, number, deed, argument) for at_ms, number, deed, argument in self._queue]
        else:
            self.store = self.store.reopened()  # a commit that was to fail was the engine's
            held = self.store.load()
            events = {key: {**row, "at_ms": row["at_ms"] - by_ms} for key, row in held.events.items()}
            freezes = {key: until_ms - by_ms for key, until_ms in held.freezes.items()}
            self.store.commit(Batch(events=dict(events), freezes=dict(freezes)), self.now_ms)
        if self.chaos is not None:
            self.chaos.clock_set(by_ms)
        for hook in self.hooks.stepped:
            hook(self.now_ms, by_ms)


def _arrive(sent: tuple[SimWorker, Any, Any, int, Any, int]) -> None:
    worker, exchange, job, place, call, send_at_ms = sent
    worker.execute(exchange, job, place, call, send_at_ms)
