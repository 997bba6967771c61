"""Events: how long from a hint to the committed, published change, with a budget to spare and with none?

The whole way is in it: two worker processes, the real client, sockets, the paper exchange in a process of its own, the
database on disk, and a reader who follows the feed of changes. An event is sent once the exchange has executed, and
its change is timed when the reader has it.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.figures import Figures

from fleetsync import Account, Engine, ExchangeSpec, Robot, Secret, Settings
from fleetsync.model import Phase
from fleetsync_adapters.paper.markets import Markets
from fleetsync_adapters.paper.process import PaperProcess
from fleetsync_adapters.synthetic import holders, synthetic_fleet
from fleetsync_adapters.tariffs import load_tariff

_EVENTS = 120
_TARGET_MS = 150.0
_SEED = 3


@dataclass(frozen=True, slots=True)
class Load:
    """A fleet, and how hard it presses on the budget."""

    name: str
    robots: int
    accounts: int
    holding_share: float
    settings: Settings
    pause_s: tuple[float, float]  # between two events
    is_saturated: bool


_DEMO = Load("idle", 100, 10, 0.2, Settings(), (0.25, 0.6), is_saturated=False)
# Every robot wants to be looked at each second: 100 accounts wish for five times what the operator grants.
_CROWD = Load("saturated", 10_000, 100, 0.0,
              Settings(holding_ms=1_000, working_ms=1_000, flat_ms=1_000), (0.35, 0.75), is_saturated=True)


def bench_event_to_committed_change(figures: Figures, tmp_path: Path) -> None:
    """Idle and saturated, one after the other, so that neither is the other's neighbour."""
    found = {load.name: asyncio.run(_measured(load, str(tmp_path / f"{load.name}.db"))) for load in (_DEMO, _CROWD)}
    idle_ms, saturated_ms = (_percentile(found[name], 0.99) for name in ("idle", "saturated"))
    bench, idle, crowd = "event_latency", "idle budget, demo fleet", "10,000 due robots behind it"
    figures.add(bench, f"{idle}: event to committed change, p50", _percentile(found["idle"], 0.5), "ms")
    figures.add(bench, f"{idle}: event to committed change, p99", idle_ms, "ms", _TARGET_MS)
    figures.add(bench, f"{crowd}: event to committed change, p50", _percentile(found["saturated"], 0.5), "ms")
    figures.add(bench, f"{crowd}: event to committed change, p99", saturated_ms, "ms", 2 * _TARGET_MS)
    figures.add(bench, "saturated p99 / idle p99", saturated_ms / idle_ms, "x")


async def _measured(load: Load, path: str) -> Sequence[float]:
    """Latencies of `_EVENTS` events, in milliseconds."""
    markets = Markets(_SEED, 600)
    async with PaperProcess(seed=_SEED, accounts=load.accounts, unlimited=True) as paper:
        accounts, robots = synthetic_fleet(load.robots, load.holding_share, load.accounts, "binanceusdm",
                                           [market.symbol for market in markets.all[:200]], _SEED)
        keys = dict(zip([account.id for account in accounts], paper.keys(), strict=True))
        accounts = [replace(one, api_key=Secret(keys[one.id].api_key), api_secret=Secret(keys[one.id].secret))
                    for one in accounts]
        held = holders(robots, load.holding_share)
        for robot in held:
            await paper.admin.open_position(keys[robot.account].id, robot.symbol, "buy", notional="100")
        async with _engine(load, accounts, robots, paper.base_url, path) as engine:
            await _all_known(engine, load)
            names = {account: key.id for account, key in keys.items()}
            return await _events(load, engine, paper, names, robots[len(held):])


def _engine(load: Load, accounts: list[Account], robots: list[Robot], base_url: str, path: str) -> Engine:
    # The exchange's own weight is out of the way: it is the operator's calls a minute that are scarce here.
    tariff = load_tariff("binanceusdm", {"quotas": {"weight": {"limit": 100_000_000}}})
    spec = ExchangeSpec("binanceusdm", base_url=base_url, tariff=tariff)
    return Engine(accounts, robots, settings=load.settings, exchanges={"binanceusdm": spec}, store=path)


async def _all_known(engine: Engine, load: Load) -> None:
    """Wait until every robot was read once; and, where the budget is to be saturated, until it is."""
    async with asyncio.timeout(180):
        while True:
            shown = engine.status()
            saturated = shown.routes[0]["stretch"] > 2 if load.is_saturated and shown.routes else not load.is_saturated
            if not shown.phases.get(Phase.UNKNOWN.name.lower()) and saturated:
                return
            await asyncio.sleep(0.5)


async def _events(load: Load, engine: Engine, paper: PaperProcess, names: dict[str, str],
                  robots: Sequence[Robot]) -> Sequence[float]:
    """Open a position by hand, say so, wait for its change; the next one closes it."""
    rng = random.Random(_SEED)
    seen: dict[tuple[str, str], asyncio.Future[float]] = {}

    async def follow(after: int) -> None:
        async for change in engine.changes(after=after):
            future = seen.pop((change.robots[0], change.kind), None) if change.robots else None
            if future is not None:
                future.set_result(time.perf_counter())

    reader = asyncio.create_task(follow(engine.core.journal.last_change))
    latencies = []
    try:
        for number in range(_EVENTS):
            robot = robots[number // 2 * 7 % len(robots)]
            account = names[robot.account]
            opens = number % 2 == 0
            future = seen[robot.id, "position_opened" if opens else "position_closed"] = (
                asyncio.get_running_loop().create_future())
            if opens:
                await paper.admin.open_position(account, robot.symbol, "buy", notional="50")
            else:
                await paper.admin.close_position(account, robot.symbol)
            begun = time.perf_counter()
            engine.notify(robot.id, "opened" if opens else "closed", side="long")
            async with asyncio.timeout(60):
                latencies.append((await future - begun) * 1000)
            await asyncio.sleep(rng.uniform(*load.pause_s))
    finally:
        reader.cancel()
    return latencies


def _percentile(values: Sequence[float], share: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]
