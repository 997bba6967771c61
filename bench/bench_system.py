"""The whole: an engine with worker processes and a database file against the paper exchange in processes of its own.

Run as a program (`python -m bench.bench_system`); it prints its figures and writes them to `results/system.json`.
"""

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.figures import Figures, write_json
from bench.plain_ccxt import Program, client
from bench.processes import Lag, Watch, cpu_s, memory_mib, pin

from fleetsync import Account, Engine, ExchangeSpec, Robot, Secret, Settings
from fleetsync.ports import Batch
from fleetsync_adapters.duckdb_store import DuckDBStore
from fleetsync_adapters.paper.keys import all_account_keys
from fleetsync_adapters.paper.markets import Markets
from fleetsync_adapters.paper.process import PaperProcess
from fleetsync_adapters.tariffs import load_tariff

_NO_LIMIT = {"quotas": {"weight": {"limit": 1_000_000_000}}}
_EXCHANGES = ("binanceusdm", "binance")  # two exchanges, so that two processes may play them
_MARKETS = 100
_EVENTS_A_SECOND = 20  # as many hints a second; real limits leave room for one


@dataclass
class Plan:
    """The size of a run."""

    robots: int
    accounts: int
    seconds: int
    workers: int
    plain_accounts: int


class TimedStore(DuckDBStore):
    """The real store; says what its thread spent on commits that somebody waits for, and on all others."""

    awaited_s = quiet_s = 0.0

    def commit(self, batch: Batch, at_ms: int) -> None:
        """Commit, and count the thread's time."""
        begun_s = time.thread_time()
        super().commit(batch, at_ms)
        spent_s = time.thread_time() - begun_s
        if batch.ages or batch.syncs or batch.asked:  # an event that comes along then costs next to nothing
            self.quiet_s += spent_s
        else:
            self.awaited_s += spent_s


class TimedCore:
    """What the core takes of the parent's loop: its verbs, wrapped once a turn, since asking for the time costs too."""

    def __init__(self, engine: Engine) -> None:
        self.spent_s = self.rows_s = 0.0
        core: Any = engine.core
        loop: Any = engine._loop  # to tell the core's share from the loop's own
        ages: Any = engine.ages
        core.tick, loop.receive = self._timed(core.tick, "spent_s"), self._timed(loop.receive, "spent_s")
        core.take_batch, core.housekeep = self._timed(core.take_batch, "rows_s"), self._timed(core.housekeep, "rows_s")
        ages.sample = self._timed(ages.sample, "rows_s")

    def _timed(self, verb: Callable[..., Any], sum_name: str) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            begun_s = time.thread_time()
            result = verb(*arguments)
            setattr(self, sum_name, getattr(self, sum_name) + time.thread_time() - begun_s)
            return result

        return run


def fleet(papers: dict[str, PaperProcess], robots: int) -> tuple[list[Account], list[Robot]]:
    """Accounts with the paper exchanges' keys, robots spread over them."""
    accounts = [Account(f"{exchange}-{keys.id}", exchange, Secret(keys.api_key), Secret(keys.secret))
                for exchange, paper in papers.items() for keys in all_account_keys(paper.seed, paper.accounts)]
    symbols = [market.symbol for market in Markets(1, _MARKETS).all]
    return accounts, [Robot(f"robot-{number:07}", accounts[number % len(accounts)].id,
                            symbols[number // len(accounts) % len(symbols)]) for number in range(robots)]


async def papers_of(stack: AsyncExitStack, accounts: int, others: set[int], *,
                    unlimited: bool) -> dict[str, PaperProcess]:
    """A paper exchange for each exchange id; on the cores that are left, where there are any."""
    started = {}
    for exchange in _EXCHANGES:
        paper = PaperProcess(accounts=accounts // len(_EXCHANGES), markets=_MARKETS, unlimited=unlimited)
        started[exchange] = await stack.enter_async_context(paper)
        if others:
            os.sched_setaffinity(paper.pid, others)
    return started


async def fleetsync_run(plan: Plan, figures: Figures, others: set[int], *, limited: bool) -> None:
    """One run of the engine: saturated without limits, or idling under the real ones."""
    name = "real limits" if limited else "no limits"
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fleetsync-bench-"))
        papers = await papers_of(stack, plan.accounts, others, unlimited=not limited)
        accounts, robots = fleet(papers, plan.robots)
        settings = Settings(workers=plan.workers) if limited else Settings(
            workers=plan.workers, calls_per_minute=100_000_000, holding_ms=1_000, working_ms=1_000, flat_ms=1_000)
        specs = {exchange: ExchangeSpec(exchange, base_url=paper.base_url, tariff=load_tariff(
            exchange, None if limited else _NO_LIMIT)) for exchange, paper in papers.items()}
        store = TimedStore(str(Path(folder) / "state.duckdb"))
        engine = Engine(accounts, robots, settings=settings, exchanges=specs, store=store)
        core = TimedCore(engine)
        begun_s = time.perf_counter()
        await stack.enter_async_context(engine)
        figures.add("system", f"{name}: engine started, {len(robots):,} robots on {len(accounts):,} accounts",
                    time.perf_counter() - begun_s, "s")
        await warm_up(engine, plan, limited=limited)
        pids = {"parent": [os.getpid()], "workers": [row["pid"] for row in engine.status().crew],
                "exchange": [paper.pid for paper in papers.values()]}
        watch, lag, journal = Watch(pids), Lag(), engine.core.journal
        before = journal.syncs, core.spent_s, store.awaited_s, store.quiet_s, core.rows_s
        sampled = engine.ages.urgent.count
        await events(engine, robots, plan.seconds, 1 if limited else _EVENTS_A_SECOND)
        used_s, span_s = watch.used_s(), watch.span_s()
        syncs = journal.syncs - before[0]
        parent_s = {"core": core.spent_s - before[1], "commits of events": store.awaited_s - before[2],
                    "heartbeats and records": store.quiet_s - before[3], "rows and ages": core.rows_s - before[4]}
        note_run(figures, name, syncs, span_s, used_s, parent_s, limited=limited)
        note_latency(figures, name, engine, lag, sampled)
        for part, share in watch.queued().items():
            figures.add("system", f"{name}: time spent waiting for a core, {part}", share, "of 1")
        for part, mib in watch.memory_mib().items():
            figures.add("system", f"{name}: memory, {part}", mib, "MiB")
        if limited:
            await note_limits(figures, name, engine, papers)


async def warm_up(engine: Engine, plan: Plan, *, limited: bool) -> None:
    """Until every account was read once; under real limits that would take half an hour, so only until it runs."""
    wanted = 20 if limited else plan.accounts
    deadline_s = time.perf_counter() + 120
    while engine.core.journal.syncs < wanted:
        assert time.perf_counter() < deadline_s, f"{engine.core.journal.syncs} of {wanted} syncs within two minutes"
        await asyncio.sleep(0.2)
    while engine.core.journal.owes_rows:  # what a start writes once is not what syncs cost
        assert time.perf_counter() < deadline_s, "the rows of a start were not written within two minutes"
        await asyncio.sleep(0.01)


async def events(engine: Engine, robots: list[Robot], seconds: int, a_second: int) -> None:
    """Hints about robots here and there, while everything else goes on."""
    chance, end_s = random.Random(1), time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        engine.notify(chance.choice(robots).id, "manual")
        await asyncio.sleep(1 / a_second)


def note_run(figures: Figures, name: str, syncs: int, span_s: float, used_s: dict[str, float],
             parent_s: dict[str, float], *, limited: bool) -> None:
    """Throughput and processor time."""
    add = figures.add
    add("system", f"{name}: syncs a second", syncs / span_s, "/s")
    add("system", f"{name}: cores used by parent and workers", (used_s["parent"] + used_s["workers"]) / span_s, "cores")
    if limited:
        return
    add("system", f"{name}: robots brought up to date a second", 10 * syncs / span_s, "/s")
    parent_s["wire and loop"] = used_s["parent"] - sum(parent_s.values())
    for part, spent_s in parent_s.items():
        add("system", f"{name}: CPU a sync, parent, {part}", spent_s / max(syncs, 1) * 1e6, "us",
            20 if part == "wire and loop" else None)
    for part in ("workers", "exchange"):
        add("system", f"{name}: CPU a sync, {part}", used_s[part] / max(syncs, 1) * 1e6, "us")


def note_latency(figures: Figures, name: str, engine: Engine, lag: Lag, sampled: int) -> None:
    """How late the loop is, and how long events take to a committed outcome."""
    middle_ms, late_ms = lag.end()
    figures.add("system", f"{name}: loop lag p50", middle_ms, "ms")
    figures.add("system", f"{name}: loop lag p99", late_ms, "ms", 20)
    urgent = engine.ages.urgent
    figures.add("system", f"{name}: events served", urgent.count - sampled, "")
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        figures.add("system", f"{name}: event to commit, {label}", urgent.percentile_ms(share) or 0, "ms")


async def note_limits(figures: Figures, name: str, engine: Engine, papers: dict[str, PaperProcess]) -> None:
    """What the exchanges' own ledgers say of our manners."""
    for exchange, paper in papers.items():
        told = await paper.admin.summary()
        figures.add("system", f"{name}: {exchange}, refused with 429 or 418", told["refused_429"] + told["refused_418"],
                    "", 0)
        figures.add("system", f"{name}: {exchange}, worst aligned minute", told["worst_minute_weight"], "weight", 2_400)
    status = engine.status()
    figures.add("system", f"{name}: calls in the worst minute", status.worst_minute_calls, "", status.calls_per_minute)


async def plain_run(plan: Plan, figures: Figures, others: set[int]) -> None:
    """The straightforward program at a size that it can bear, in this process, without limits either."""
    async with AsyncExitStack() as stack:
        paper = await stack.enter_async_context(
            PaperProcess(accounts=plan.plain_accounts, markets=_MARKETS, unlimited=True))
        if others:
            os.sched_setaffinity(paper.pid, others)
        accounts, robots = fleet({"binanceusdm": paper}, 10 * plan.plain_accounts)
        before_mib, begun_s, cpu_before_s = memory_mib(os.getpid()), time.perf_counter(), cpu_s(os.getpid())
        clients = [client(account, paper.base_url) for account in accounts]
        for made in clients:
            stack.push_async_callback(made.close)
            await made.load_markets()
        name, add = f"straightforward program, {len(robots)} robots on {len(accounts)} accounts", figures.add
        add("system", f"{name}: start", time.perf_counter() - begun_s, "s")
        add("system", f"{name}: CPU of the start", cpu_s(os.getpid()) - cpu_before_s, "s")
        places = {account.id: place for place, account in enumerate(accounts)}
        program = Program(clients, [(places[robot.account], robot.symbol) for robot in robots], 1_000)
        watch, lag = Watch({"program": [os.getpid()]}), Lag()
        await program.run(plan.seconds * 1_000)
        used_s, span_s = watch.used_s()["program"], watch.span_s()
        add("system", f"{name}: robots brought up to date a second", program.syncs / span_s, "/s")
        add("system", f"{name}: CPU a robot", used_s / max(program.syncs, 1) * 1e6, "us")
        add("system", f"{name}: cores used", used_s / span_s, "cores")
        add("system", f"{name}: memory", memory_mib(os.getpid()) - before_mib, "MiB")
        add("system", f"{name}: loop lag p99", lag.end()[1], "ms")
        spans_s = sorted(program.spans_s) or [0.0]
        add("system", f"{name}: a robot's sync, p99", spans_s[int(len(spans_s) * 0.99)] * 1e3, "ms")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description="The whole system against the paper exchange.")
    parser.add_argument("--robots", type=int, default=100_000)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plain-accounts", type=int, default=60)
    parser.add_argument("--cores", type=int, default=2, help="for the engine; the exchange has those that are left")
    parser.add_argument("--parts", default="plain,saturated,limited")
    chosen = parser.parse_args()
    plan = Plan(chosen.robots, chosen.accounts, chosen.seconds, chosen.workers, chosen.plain_accounts)
    others, figures = pin(chosen.cores), Figures()
    if "plain" in chosen.parts:
        asyncio.run(plain_run(plan, figures, others))
    if "saturated" in chosen.parts:
        asyncio.run(fleetsync_run(plan, figures, others, limited=False))
    if "limited" in chosen.parts:
        asyncio.run(fleetsync_run(plan, figures, others, limited=True))
    lines = figures.lines()
    print("\n".join(lines))
    rows = [asdict(row) | {"met": row.met} for row in figures.rows["system"]]
    write_json("system.json", {"plan": asdict(plan), "figures": rows})


if __name__ == "__main__":
    main()
