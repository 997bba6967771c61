"""One simulated worker process: it starts, serves, hangs and dies, all in virtual time.

A worker does what `fleetsync.worker.Worker` does: it paces an account's calls, checks at the sending that the grant has
not run out, asks the paper exchange, and reports once every call of a dispatch has its answer.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fleetsync.messages import (
    AddAccount,
    Answer,
    Call,
    Dispatch,
    FromWorker,
    OpenExchange,
    RemoveAccount,
    Request,
    SymbolsUnknown,
    SyncDone,
    ToWorker,
)
from fleetsync.model import Account, Fault, Surface
from fleetsync.units import SECOND_MS
from fleetsync_adapters.paper.direct import PaperDirect, asyncio_sleep_ms
from fleetsync_adapters.simulation.setup import route_name

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.world import World

NEVER_MS = 1 << 62


class _Job:
    """A dispatch in a worker: its answers come in one by one."""

    __slots__ = ("account", "answers", "done_at_ms", "full", "left", "requests", "route", "sync_id")

    def __init__(self, sync_id: int, account: str, route: str, calls: int, *, full: bool) -> None:
        self.sync_id, self.account, self.route, self.full = sync_id, account, route, full
        self.answers: list[Answer | None] = [None] * calls
        self.requests: list[Request] = []
        self.left = calls
        self.done_at_ms = 0


class SimWorker:
    """One worker process, from its start to its end; its replacement is another one."""

    def __init__(self, world: "World", index: int, pid: int,
                 deliver: Callable[["SimWorker", FromWorker], None]) -> None:
        """A process that has not said a word yet."""
        self.index, self.pid = index, pid
        self.up = False
        self.died_at_ms = NEVER_MS
        self.hung_from_ms = self.hung_until_ms = 0
        self.told_at_ms = 0  # when the last message that was sent to it comes through the pipe
        self._world = world
        self._deliver = deliver
        self._rng = world.rng("network")
        self._exchanges: dict[str, PaperDirect] = {}
        self._accounts: dict[str, AddAccount] = {}
        self._paced_us: dict[str, int] = {}
        self._backlog: list[ToWorker] = []
        per_second = world.setup.settings.account_calls_per_second
        self._turn_us = SECOND_MS * 1000 // per_second
        self._burst_us = max(1, per_second // 2) * self._turn_us

    def take(self, message: ToWorker) -> None:
        """A message has come through the pipe."""
        now_ms = self._world.now_ms
        if now_ms >= self.died_at_ms:
            return
        if now_ms < self.hung_until_ms:
            self._backlog.append(message)
        elif isinstance(message, Dispatch):
            self._serve(message)
        elif isinstance(message, OpenExchange):
            self._open(message)
        elif isinstance(message, AddAccount):
            before = self._accounts.get(message.account.id)
            if before is not None and _route(before.account) != _route(message.account):
                self._forget(message.account.id)
            self._accounts[message.account.id] = message
            exchange = self._exchanges.get(_route(message.account))
            if exchange is not None:
                self._introduce(exchange, message)
        elif isinstance(message, RemoveAccount):
            self._forget(message.account)

    def _forget(self, account: str) -> None:
        known = self._accounts.pop(account, None)
        exchange = self._exchanges.get(_route(known.account)) if known is not None else None
        if exchange is not None:
            exchange.remove_account(account)

    def introduce_again(self, account: Account) -> None:
        """Look an account's key up again."""
        exchange = self._exchanges.get(_route(account))
        if exchange is not None and account.id in self._accounts:
            exchange.add_account(account)

    def hang(self, until_ms: int) -> None:
        """Stop until then, in the middle of whatever it is doing."""
        self.hung_from_ms, self.hung_until_ms = self._world.now_ms, until_ms
        self._world.at(until_ms, self._go_on, None)

    def _go_on(self, _: object) -> None:
        backlog, self._backlog = self._backlog, []
        for message in backlog:
            self.take(message)

    # -- dispatches

    def _serve(self, job: Dispatch) -> None:
        known = self._accounts.get(job.account)
        exchange = self._exchanges.get(_route(known.account)) if known is not None else None
        if known is None or exchange is None:
            why = "this worker does not serve the account" if known is None else "the exchange is not open"
            answers = tuple(Answer(call, self._world.now_ms, fault=Fault.REFUSED, detail=why) for call in job.calls)
            self._report(SyncDone(job.sync_id, answers, ()), self._world.now_ms)
            return
        begun = _Job(job.sync_id, job.account, _route(known.account), len(job.calls), full=job.full)
        for place, call in enumerate(job.calls):
            send_at_ms = self._turn(job.account, job.send_by_ms)
            if send_at_ms > job.send_by_ms or self._world.now_ms > job.send_by_ms:
                self._expire(begun, place, call, min(send_at_ms, job.send_by_ms))
            else:
                self._world.sends(self, exchange, begun, place, call, send_at_ms)

    def _turn(self, account: str, send_by_ms: int) -> int:
        """When this account's next call may leave; a turn that comes too late is not used up."""
        now_us = self._world.now_ms * 1000
        paced_us = max(self._paced_us.get(account, 0), now_us)
        send_at_ms = max(now_us, paced_us + self._turn_us - self._burst_us) // 1000
        if send_at_ms <= send_by_ms:
            self._paced_us[account] = paced_us + self._turn_us
        return send_at_ms

    def execute(self, exchange: PaperDirect, job: _Job, place: int, call: Call, send_at_ms: int) -> None:
        """The request has reached the exchange (or would have, had it been sent)."""
        world, now_ms = self._world, self._world.now_ms
        if send_at_ms >= self.died_at_ms:
            return
        if self.hung_from_ms <= send_at_ms < self.hung_until_ms:
            self._expire(job, place, call, self.hung_until_ms)
            return
        latency_ms, answer, requests = world.net.ask(exchange, job.sync_id, job.route, job.account, call,
                                                         send_at_ms, full=job.full)
        back_at_ms = now_ms + latency_ms + world.draw(self._rng, world.setup.lags.down_ms)
        limit_ms = world.setup.settings.call_timeout_ms * call.pages
        if back_at_ms > send_at_ms + limit_ms:
            back_at_ms = send_at_ms + limit_ms
            known = self._accounts.get(job.account)
            if answer.fault is not Fault.NETWORK and known is not None and _route(known.account) == job.route:
                exchange.add_account(known.account)  # it never got what it was told
                answer = Answer(call, send_at_ms, fault=Fault.NETWORK, detail="timed out")
                requests = tuple(request._replace(status=0, used_weight=-1) for request in requests)
        job.requests.extend(requests)
        self._answered(job, place, answer, back_at_ms)

    def _expire(self, job: _Job, place: int, call: Call, at_ms: int) -> None:
        self._answered(job, place, Answer(call, at_ms, fault=Fault.EXPIRED), at_ms)

    def _answered(self, job: _Job, place: int, answer: Answer, at_ms: int) -> None:
        job.answers[place] = answer
        job.left -= 1
        job.done_at_ms = max(job.done_at_ms, at_ms)
        if job.left == 0:
            answers = tuple(answer for answer in job.answers if answer is not None)
            self._report(SyncDone(job.sync_id, answers, tuple(job.requests)), job.done_at_ms)

    # -- exchanges

    def _open(self, job: OpenExchange) -> None:
        world, call, route = self._world, Call(Surface.MARKETS), route_name(job.exchange, job.egress)
        at_ms = world.now_ms
        if route in self._exchanges:
            self._report(SyncDone(job.sync_id, (Answer(call, at_ms, complete=True),), ()), at_ms)
            return
        if at_ms > job.send_by_ms:
            self._report(SyncDone(job.sync_id, (Answer(call, at_ms, fault=Fault.EXPIRED),), ()), at_ms)
            return
        ip, limit_ms = world.address(job.exchange, job.egress), world.setup.settings.call_timeout_ms
        exchange = PaperDirect(world.venue, now_ms=world.exchange_ms, sleep_ms=asyncio_sleep_ms, ip=ip,
                               call_timeout_ms=limit_ms)
        latency_ms, answer, requests = world.net.load(exchange, job.sync_id, route, at_ms)
        back_at_ms = at_ms + latency_ms + world.draw(self._rng, world.setup.lags.down_ms)
        done = SyncDone(job.sync_id, (answer,), requests)
        world.at(back_at_ms, self._opened, (exchange, route, done))

    def _opened(self, opened: tuple[PaperDirect, str, SyncDone]) -> None:
        exchange, route, done = opened
        if self._world.now_ms >= self.died_at_ms:
            return
        if done.answers[0].fault is None:
            self._exchanges[route] = exchange
            for known in self._accounts.values():
                if _route(known.account) == route:
                    self._introduce(exchange, known)
        self._report(done, self._world.now_ms)

    def _introduce(self, exchange: PaperDirect, known: AddAccount) -> None:
        exchange.add_account(known.account)
        unknown = tuple(symbol for symbol in known.symbols if not exchange.lists(symbol))
        if unknown:
            self._report(SymbolsUnknown(known.account.id, unknown), self._world.now_ms)

    # -- reports

    def _report(self, message: FromWorker, at_ms: int) -> None:
        pipe_ms = self._world.draw(self._rng, self._world.setup.lags.pipe_ms)
        self._world.at(at_ms + pipe_ms, self._hand_over, message)

    def _hand_over(self, message: FromWorker) -> None:
        now_ms = self._world.now_ms
        if now_ms >= self.died_at_ms:
            return
        if now_ms < self.hung_until_ms:
            self._world.at(self.hung_until_ms, self._hand_over, message)
        else:
            self._deliver(self, message)


def _route(account: Account) -> str:
    return route_name(account.exchange, account.egress)
