"""A worker: makes the calls it is told to make, and says what they brought. It decides nothing.

A call leaves only while its grant is valid, and no faster than its account is paced. Whatever an exchange does (raise,
hang, answer nonsense) becomes a `Fault` in an `Answer`: each dispatch is answered, each of its calls with one answer.

A `Worker` runs in any event loop: in a process of its own (`process.run_worker`) or in the caller's (`crew.LocalCrew`).
"""

import asyncio
import importlib
import logging
import traceback
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from aiolimiter import AsyncLimiter

from fleetsync.config import Settings
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
from fleetsync.ports import Clock, Exchange, ExchangeFactory, ExchangeSpec
from fleetsync.units import SECOND_MS, s_from_ms

log = logging.getLogger(__name__)

MARGIN_MS = 1 * SECOND_MS
"""An exchange has this much beyond its own deadline to say that it met it, before we do."""
OPEN_REQUESTS = 12
"""The most requests any exchange needs to load its markets; opening may take as many deadlines."""
CLOSE_MS = 1 * SECOND_MS
"""How long cancelled calls may take to end, and an exchange to close."""

Brought = tuple[Answer, tuple[Request, ...]]
Key = tuple[str, str]  # exchange and egress


class Worker:
    """Serves dispatches over the exchanges it opened.

    Args:
        specs: how to open each exchange that may be asked for.
        settings: the engine's.
        clock: the engine's, or one with the same base.
        deliver: takes each report, in the worker's loop; it must only keep it for later.
    """

    def __init__(self, specs: Sequence[ExchangeSpec], settings: Settings, clock: Clock,
                 deliver: Callable[[FromWorker], None]) -> None:
        self._specs = {(spec.exchange, spec.egress): spec for spec in specs}
        self._clock = clock
        self._deliver = deliver
        self._pace = _Pace(settings.account_calls_per_second, clock)
        self._made: dict[Key, Exchange] = {}
        self._open: dict[Key, Exchange] = {}
        self._locks: dict[Key, asyncio.Lock] = {}
        self._accounts: dict[str, AddAccount] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    async def warm(self) -> None:
        """Import the exchanges' code, which may take a second, without holding up the loop.

        A factory that cannot be imported is reported when its exchange is asked for.
        """
        for name in {spec.factory.partition(":")[0] for spec in self._specs.values()}:
            try:
                await asyncio.to_thread(importlib.import_module, name)
            except Exception as error:  # noqa: BLE001 - foreign code at import: anything may come
                log.warning("%s cannot be imported: %s", name, type(error).__name__)

    def receive(self, message: ToWorker) -> None:
        """Take a message; its work goes on in the background."""
        match message:
            case Dispatch():
                self._begin(self._serve(message))
            case OpenExchange():
                self._begin(self._open_exchange(message))
            case AddAccount():
                self._add(message)
            case RemoveAccount():
                self._remove(message.account)

    async def drain(self, grace_ms: int) -> None:
        """Send no more calls, give those in flight the grace, then close every exchange."""
        self._draining = True
        if self._tasks and grace_ms:
            await asyncio.wait(self._tasks, timeout=s_from_ms(grace_ms))
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=s_from_ms(CLOSE_MS))
        while self._made:
            (exchange_id, _), exchange = self._made.popitem()
            try:
                async with asyncio.timeout(s_from_ms(CLOSE_MS)):
                    await exchange.close()
            except Exception as error:  # noqa: BLE001 - an exchange that cannot close must not keep the others open
                log.warning("%s did not close: %s", exchange_id, _told(error))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- calls

    async def _serve(self, job: Dispatch) -> None:
        taken_at_ms = self._clock.now_ms()
        known = self._accounts.get(job.account)
        if known is None:
            self._deliver(refusal(job, taken_at_ms, "this worker does not serve the account"))
            return
        key = _key(known.account)
        if key not in self._open:
            self._deliver(refusal(job, taken_at_ms, f"{known.account.exchange} is not open in this worker"))
            return
        asked = [self._ask(self._specs[key], self._open[key], job, call) for call in job.calls]
        brought = [await asked[0]] if len(asked) == 1 else await asyncio.gather(*asked)
        self._deliver(SyncDone(job.sync_id, tuple([answer for answer, _ in brought]),
                               tuple([request for _, requests in brought for request in requests]),
                               job.urgent, taken_at_ms))

    async def _ask(self, spec: ExchangeSpec, exchange: Exchange, job: Dispatch, call: Call) -> Brought:
        if not await self._pace.turn(job.account, job.send_by_ms):
            return self._expired(call, "the account's pace left it no room")
        if self._clock.now_ms() > job.send_by_ms or self._draining:
            return self._expired(call, "the worker is ending" if self._draining else "")
        return await self._guarded(spec, call, call.pages, lambda: exchange.ask(job.account, call, full=job.full))

    async def _guarded(self, spec: ExchangeSpec, call: Call, requests_max: int,
                       ask: Callable[[], Coroutine[Any, Any, Brought]]) -> Brought:
        """Run a call so that it ends in time, and with an answer, whatever the exchange's code does."""
        sent_at_ms = self._clock.now_ms()
        span_ms = spec.call_timeout_ms * requests_max + MARGIN_MS
        try:
            async with asyncio.timeout(s_from_ms(span_ms)):
                answer, requests = await ask()
        except TimeoutError:
            fault, detail = Fault.NETWORK, f"no answer within {span_ms} ms"
        except Exception as error:  # noqa: BLE001 - foreign code: whatever it raises must not end the worker
            log.warning("%s, %s: %s", spec.exchange, call.surface, _told(error))
            fault, detail = Fault.MALFORMED, f"the adapter raised {type(error).__name__}"
        else:
            return answer, requests
        return Answer(call, sent_at_ms, fault=fault, detail=detail), _presumed(spec, call, sent_at_ms)

    def _expired(self, call: Call, detail: str) -> Brought:
        return Answer(call, self._clock.now_ms(), fault=Fault.EXPIRED, detail=detail), ()

    # -- exchanges and accounts

    async def _open_exchange(self, job: OpenExchange) -> None:
        key, call = (job.exchange, job.egress), Call(Surface.MARKETS)
        spec = self._specs.get(key)
        if spec is None:
            self._deliver(refusal(job, self._clock.now_ms(), f"{job.exchange} is not among this worker's exchanges"))
            return
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key in self._open:
                brought: Brought = Answer(call, self._clock.now_ms(), complete=True), ()
            else:
                brought = await self._load(key, spec, job, call)
        answer, requests = brought
        self._deliver(SyncDone(job.sync_id, (answer,), requests))

    async def _load(self, key: Key, spec: ExchangeSpec, job: OpenExchange, call: Call) -> Brought:
        try:
            exchange = self._made.get(key) or _factory(spec)(spec, self._clock)
        except Exception as error:  # noqa: BLE001 - foreign code; the answer tells, the worker goes on
            log.warning("%s cannot be made: %s", spec.exchange, _told(error))
            detail = f"{spec.factory} raised {type(error).__name__}"
            return Answer(call, self._clock.now_ms(), fault=Fault.REFUSED, detail=detail), ()
        self._made[key] = exchange
        if self._clock.now_ms() > job.send_by_ms or self._draining:
            return self._expired(call, "")
        answer, requests = await self._guarded(spec, call, OPEN_REQUESTS, exchange.open)
        if answer.fault is None:
            self._open[key] = exchange
            for known in self._accounts.values():
                if _key(known.account) == key:
                    self._introduce(exchange, known)
        return answer, requests

    def _add(self, message: AddAccount) -> None:
        account = message.account
        before = self._accounts.get(account.id)
        if before is not None and _key(before.account) != _key(account):
            self._remove(account.id)
        self._accounts[account.id] = message
        if exchange := self._open.get(_key(account)):
            self._introduce(exchange, message)

    def _introduce(self, exchange: Exchange, known: AddAccount) -> None:
        account = known.account
        try:
            exchange.add_account(account)
            unknown = tuple([symbol for symbol in known.symbols if not exchange.lists(symbol)])
        except Exception as error:  # noqa: BLE001 - foreign code; the account's calls will tell what is wrong with it
            log.warning("%s does not take account %s: %s", account.exchange, account.id, _told(error))
            return
        if unknown:
            self._deliver(SymbolsUnknown(account.id, unknown))

    def _remove(self, account_id: str) -> None:
        known = self._accounts.pop(account_id, None)
        if known and (exchange := self._open.get(_key(known.account))):
            try:
                exchange.remove_account(account_id)
            except Exception as error:  # noqa: BLE001 - foreign code; we no longer serve the account either way
                log.warning("account %s was not removed: %s", account_id, _told(error))


class _Pace:
    """Spreads the calls of each account, `calls_per_second` steadily and half a second's worth at once.

    A limiter that rested for a second is like a new one: two generations of them are kept, and the older is dropped.
    """

    def __init__(self, calls_per_second: int, clock: Clock) -> None:
        self._burst = max(1, calls_per_second // 2)
        self._window_s = self._burst / calls_per_second  # aiolimiter's unit
        self._clock = clock
        self._recent: dict[str, AsyncLimiter] = {}
        self._older: dict[str, AsyncLimiter] = {}
        self._turned_at_ms = clock.now_ms()

    async def turn(self, account: str, send_by_ms: int) -> bool:
        """Wait for this account's turn; False when it does not come in time, and then it is not used up."""
        now_ms = self._clock.now_ms()
        if now_ms - self._turned_at_ms >= SECOND_MS:
            self._older, self._recent, self._turned_at_ms = self._recent, {}, now_ms
        limiter = self._recent.get(account)
        if limiter is None:
            limiter = self._older.pop(account, None) or AsyncLimiter(self._burst, self._window_s)
            self._recent[account] = limiter
        if limiter.has_capacity():
            await limiter.acquire()
            return True
        try:
            async with asyncio.timeout(s_from_ms(max(0, send_by_ms - now_ms))):
                await limiter.acquire()
        except TimeoutError:
            return False
        return True


def refusal(job: Dispatch | OpenExchange, now_ms: int, detail: str) -> SyncDone:
    """The answers to a dispatch of which no call was sent."""
    calls = job.calls if isinstance(job, Dispatch) else (Call(Surface.MARKETS),)
    answers = [Answer(call, now_ms, fault=Fault.REFUSED, detail=detail) for call in calls]
    return SyncDone(job.sync_id, tuple(answers), ())


def _presumed(spec: ExchangeSpec, call: Call, sent_at_ms: int) -> tuple[Request, ...]:
    """What may have left though nobody counted it: all that was granted, so that the ledger errs safely."""
    try:
        cost = spec.tariff.cost(call) if spec.tariff else None
    except KeyError:
        cost = None
    weight = max([weight for _, weight in cost.weights], default=1) if cost else 1
    return (Request(cost.endpoint if cost else call.surface.value, weight, sent_at_ms, status=0),) * call.pages


def _factory(spec: ExchangeSpec) -> ExchangeFactory:
    module, _, name = spec.factory.partition(":")
    factory: ExchangeFactory = getattr(importlib.import_module(module), name)
    return factory


def _key(account: Account) -> Key:
    return account.exchange, account.egress


def _told(error: Exception) -> str:
    """An error for the log: its kind and place. Not its text, which foreign code may have filled with a key."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at {frames[-1].name}:{frames[-1].lineno}" if frames else type(error).__name__
