"""The worker: what does reading an account cost it in CPU, in memory, and before the first call?"""

import asyncio
import gc
import hashlib
import hmac
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
from bench.figures import Figures, compared
from bench.plain_ccxt import client

from fleetsync.clock import SystemClock
from fleetsync.collector import keep, seldom
from fleetsync.config import Settings
from fleetsync.crew import ProcessCrew
from fleetsync.messages import AddAccount, Call, Dispatch, FromWorker, OpenExchange, SyncDone, WorkerUp
from fleetsync.model import Account, Secret, Surface
from fleetsync.ports import ExchangeSpec
from fleetsync.worker import Worker
from fleetsync_adapters.paper.markets import Markets
from fleetsync_adapters.paper.process import PaperProcess
from fleetsync_adapters.tariffs import load_tariff

_ROWS = 100
_AT_ONCE = 8
_SETTINGS = Settings(workers=1, account_calls_per_second=1_000_000, grant_valid_ms=60_000)
_QUIET = (Call(Surface.POSITIONS), Call(Surface.ORDERS))
Read = Callable[[], Awaitable[object]]


class Bench:
    """A paper exchange in its own process, and one worker in ours."""

    def __init__(self, paper: PaperProcess) -> None:
        self.paper = paper
        self.spec = ExchangeSpec("binanceusdm", base_url=paper.base_url, tariff=load_tariff("binanceusdm"))
        self.clock = SystemClock()
        self.worker = Worker([self.spec], _SETTINGS, self.clock, self._report)
        self._waiting: dict[int, asyncio.Future[SyncDone]] = {}
        self._sync_id = 0

    def _report(self, message: FromWorker) -> None:
        if isinstance(message, SyncDone):
            self._waiting.pop(message.sync_id).set_result(message)

    def account(self, number: int) -> Account:
        """A paper account as the worker serves it."""
        keys = self.paper.keys()[number]
        return Account(keys.id, "binanceusdm", Secret(keys.api_key), Secret(keys.secret))

    async def send(self, make: Callable[[int], OpenExchange | Dispatch]) -> SyncDone:
        """Hand the worker a message and wait for its report."""
        self._sync_id += 1
        future = self._waiting[self._sync_id] = asyncio.get_running_loop().create_future()
        self.worker.receive(make(self._sync_id))
        done: SyncDone = await future
        assert all(answer.fault is None for answer in done.answers), done.answers
        return done

    async def open(self) -> None:
        """Load the markets, with the garbage collector as a worker's process has it, for our rivals as well."""
        seldom()
        late_ms = self.clock.now_ms() + 60_000
        await self.send(lambda sync_id: OpenExchange(sync_id, "binanceusdm", "", late_ms))
        keep()

    async def read(self, account: Account, calls: tuple[Call, ...]) -> SyncDone:
        """One sync."""
        late_ms = self.clock.now_ms() + 60_000
        return await self.send(lambda sync_id: Dispatch(sync_id, account.id, calls, late_ms))


async def cpu_us(read: Read, times: int) -> float:
    """This process's CPU a reading, several under way at once."""
    async def some() -> None:
        for _ in range(times // _AT_ONCE):
            await read()

    begun_ns = time.process_time_ns()
    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
    return (time.process_time_ns() - begun_ns) / times / 1e3


def bare(session: aiohttp.ClientSession, base_url: str, account: Account) -> Read:
    """The same two requests, signed, into plain lists: what no client can do without."""
    async def ask(path: str) -> list[Any]:
        query = urlencode({"timestamp": time.time_ns() // 1_000_000, "recvWindow": 10_000})
        signature = hmac.new(account.api_secret.reveal.encode(), query.encode(), hashlib.sha256).hexdigest()
        url = f"{base_url}{path}?{query}&signature={signature}"
        async with session.get(url, headers={"X-MBX-APIKEY": account.api_key.reveal}) as response:
            rows: list[Any] = orjson.loads(await response.read())
            return rows

    async def read() -> None:
        positions, orders = await asyncio.gather(ask("/fapi/v3/positionRisk"), ask("/fapi/v1/openOrders"))
        assert len(positions) == len(orders) == _ROWS

    return read


async def load(bench: Bench) -> Account:
    """An account with a hundred positions and a hundred resting orders, far from the price."""
    account, admin = bench.account(0), bench.paper.admin
    now_ms = time.time_ns() // 1_000_000
    for market in Markets(bench.paper.seed, _ROWS).all:
        price = (market.price(now_ms) / 2 // market.tick + 1) * market.tick
        size = market.smallest_size(now_ms, Decimal(40))
        await admin.open_position(account.id, market.symbol, "buy", notional="20")
        await admin.place_order(account.id, market.symbol, "buy", "limit", str(size), price=str(price))
    return account


def bench_a_quiet_account(benchmark: Any, figures: Figures) -> None:
    """A hundred positions and a hundred orders, nothing new: against bare aiohttp and orjson, and against ccxt."""
    with asyncio.Runner() as runner, ExitStack() as stack:
        bench = Bench(stack.enter_context(running(runner, PaperProcess(accounts=1, markets=_ROWS, unlimited=True))))
        runner.run(bench.open())
        account = runner.run(load(bench))
        session = runner.run(_session())
        bench.worker.receive(AddAccount(account, ()))
        plain = runner.run(_plain(account, bench.paper.base_url))

        async def unified() -> None:
            await asyncio.gather(plain.fetch_positions(), plain.fetch_open_orders())

        def cost_of(read: Read, times: int) -> Callable[[], float]:
            return lambda: runner.run(cpu_us(read, times))

        rivals = {"bare": cost_of(bare(session, bench.paper.base_url, account), 48),
                  "ccxt unified": cost_of(unified, 8)}
        cost = compared(benchmark, cost_of(lambda: bench.read(account, _QUIET), 48), rivals, 7)
        runner.run(session.close())
        runner.run(plain.close())
        runner.run(bench.worker.drain(0))
    name = f"a quiet account with {_ROWS} positions and {_ROWS} orders"
    for rival in rivals:
        figures.add("worker", f"{name}: {rival}, CPU", cost[rival], "us")
    figures.add("worker", f"{name}: ours, CPU", cost["ours"], "us")
    figures.add("worker", f"{name}: ours / bare", cost["ours"] / cost["bare"], "x", 1.5)
    figures.add("worker", f"{name}: ccxt unified / ours", cost["ccxt unified"] / cost["ours"], "x")


def bench_memory_an_account(benchmark: Any, figures: Figures) -> None:
    """Accounts that have been introduced and read once."""
    count = 2_000
    with asyncio.Runner() as runner, ExitStack() as stack:
        paper = PaperProcess(accounts=count, markets=_ROWS, unlimited=True)
        bench = Bench(stack.enter_context(running(runner, paper)))
        runner.run(bench.open())
        accounts = [bench.account(number) for number in range(count)]

        async def read(some: list[Account]) -> None:
            for first in range(0, len(some), 64):
                await asyncio.gather(*(bench.read(account, _QUIET[:1]) for account in some[first:first + 64]))

        def introduce(some: list[Account]) -> None:
            for account in some:
                bench.worker.receive(AddAccount(account, ()))
            runner.run(read(some))

        introduce(accounts[:200])  # connections, caches: what does not grow with accounts
        tracemalloc.start()
        benchmark.pedantic(introduce, args=(accounts[200:],), rounds=1, iterations=1)
        gc.collect()
        kib = tracemalloc.get_traced_memory()[0] / 1024 / (count - 200)
        tracemalloc.stop()
        runner.run(bench.worker.drain(0))
    figures.add("worker", "memory an account in a worker", kib, "KiB", 16)


def bench_start_of_a_worker(benchmark: Any, figures: Figures) -> None:
    """From the start of the process to its word that it takes work; the exchange's code is imported by then."""
    spec = ExchangeSpec("binanceusdm", base_url="http://127.0.0.1:9", tariff=load_tariff("binanceusdm"))

    async def start() -> None:
        up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        crew = ProcessCrew([spec], _SETTINGS, SystemClock())
        await crew.start(lambda reports: up.set_result(None) if WorkerUp in map(type, reports) else None)
        await up
        spans_s.append(time.perf_counter() - begun_s[0])
        await crew.stop(1_000)

    begun_s, spans_s = [0.0], list[float]()

    def measured() -> None:
        begun_s[0] = time.perf_counter()
        asyncio.run(start())

    benchmark.pedantic(measured, rounds=5, iterations=1)
    figures.add("worker", "start of a worker process, median of 5", statistics.median(spans_s), "s", 1.5)


@contextmanager
def running(runner: asyncio.Runner, paper: PaperProcess) -> Iterator[PaperProcess]:
    """The paper exchange while it runs."""
    runner.run(paper.start())
    try:
        yield paper
    finally:
        runner.run(paper.stop())


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar())


async def _plain(account: Account, base_url: str) -> Any:
    made = client(account, base_url, limiter=False)
    await made.load_markets()
    return made
