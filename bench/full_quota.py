"""A full quota over real sockets, and a budget that is changed in mid-run.

The first runs the whole engine with its workers against the paper exchange in a process of its own, with Binance's
limits; what was used is read from the exchange's ledger. The second is the real core in virtual time.
"""

import asyncio
import time
from bisect import bisect_left
from contextlib import AsyncExitStack, suppress
from itertools import pairwise
from typing import Any

from bench.figures import Figures
from bench.lab import PLENTY, START_MS, Lab, QuietExchange, accounts_of, robots_of
from bench.plain_ccxt import client

from fleetsync import Account, Engine, ExchangeSpec, Robot, Secret, Settings
from fleetsync.messages import Dispatch, SyncDone
from fleetsync.units import MINUTE_MS
from fleetsync_adapters.paper.keys import all_account_keys
from fleetsync_adapters.paper.process import PaperProcess
from fleetsync_adapters.tariffs import load_tariff

Sent = list[tuple[int, int]]  # (instant, units), by instant
_WEIGHT = 2_400
_WHOLE_MINUTES = 2
_CALL_WEIGHT = 5
_CAPS = (2_400, 600, 2_400)
_CAP_MINUTES = 3
_NEIGHBOUR_PACE = 12_000  # weight a minute, half of what the exchange of the second run admits
_STEADY_SHARE = 0.05  # a rate is reached when five seconds hold it to within so much


def fullest_sliding(sent: Sent, window_ms: int) -> int:
    """Units in the fullest window, wherever it starts."""
    start = total = fullest = 0
    for at_ms, units in sent:
        total += units
        while sent[start][0] <= at_ms - window_ms:
            total -= sent[start][1]
            start += 1
        fullest = max(fullest, total)
    return fullest


def fullest_aligned(sent: Sent, window_ms: int) -> int:
    """Units in the fullest window of the exchange's clock."""
    windows: dict[int, int] = {}
    for at_ms, units in sent:
        windows[at_ms // window_ms] = windows.get(at_ms // window_ms, 0) + units
    return max(windows.values(), default=0)


def _between(sent: Sent, from_ms: int, until_ms: int) -> int:
    low, high = (bisect_left(sent, (at_ms, 0)) for at_ms in (from_ms, until_ms))
    return sum(units for _, units in sent[low:high])


# -- over sockets


async def over_sockets(figures: Figures) -> None:
    """A hundred accounts that want to be read each second: alone, then beside a program that takes half the weight."""
    async with AsyncExitStack() as stack:
        paper = await stack.enter_async_context(PaperProcess(accounts=101))
        keys = all_account_keys(paper.seed, paper.accounts)
        accounts = [Account(one.id, "binanceusdm", Secret(one.api_key), Secret(one.secret)) for one in keys]
        robots = [Robot(f"robot-{number:03}", accounts[number].id, "BTC/USDT:USDT") for number in range(100)]
        settings = Settings(workers=2, calls_per_minute=100_000, holding_ms=1_000, working_ms=1_000, flat_ms=1_000)
        spec = ExchangeSpec("binanceusdm", base_url=paper.base_url)
        engine = Engine(accounts[:100], robots, settings=settings, exchanges={"binanceusdm": spec})
        await stack.enter_async_context(engine)
        await _saturated(engine)
        alone_ms = await _whole_minutes(0)
        eater = client(accounts[100], paper.base_url, limiter=False)
        stack.push_async_callback(eater.close)
        eating = asyncio.create_task(_eat(eater))
        beside_ms = await _whole_minutes(1)
        eating.cancel()
        with suppress(asyncio.CancelledError):
            await eating
        rows, told = await _rows(paper), await paper.admin.summary()
    ours = [(row["at_ms"], row["weight"]) for row in rows if row["account"] != accounts[100].id]
    every = [(row["at_ms"], row["weight"]) for row in rows]
    settled = [row for row in ours if row[0] < alone_ms + _WHOLE_MINUTES * MINUTE_MS]
    name, add = "over sockets, binanceusdm", figures.add
    share = _between(ours, alone_ms, alone_ms + _WHOLE_MINUTES * MINUTE_MS) / _WEIGHT / _WHOLE_MINUTES
    add("sockets", f"{name}: share used of the weight, {_WHOLE_MINUTES} whole minutes", share, "", 0.97, at_least=True)
    add("sockets", f"{name}: fullest aligned minute", fullest_aligned(settled, MINUTE_MS), "weight", _WEIGHT)
    add("sockets", f"{name}: fullest sliding minute", fullest_sliding(settled, MINUTE_MS), "weight", _WEIGHT)
    until_ms = beside_ms + _WHOLE_MINUTES * MINUTE_MS
    theirs = _between(every, beside_ms, until_ms) - _between(ours, beside_ms, until_ms)
    add("sockets", f"{name}: beside another program, its weight a minute", theirs / _WHOLE_MINUTES, "weight")
    add("sockets", f"{name}: the same, ours", _between(ours, beside_ms, until_ms) / _WHOLE_MINUTES, "weight")
    add("sockets", f"{name}: the same, fullest aligned minute of both", fullest_aligned(every, MINUTE_MS), "weight",
        _WEIGHT)
    add("sockets", f"{name}: refused with 429 or 418, both runs", told["refused_429"] + told["refused_418"], "", 0)


async def _saturated(engine: Engine) -> None:
    async with asyncio.timeout(180):
        while True:
            if engine.status().routes[0]["stretch"] > 2:
                return
            await asyncio.sleep(0.5)


async def _whole_minutes(skipped: int) -> int:
    """Sleep until so many whole minutes of the clock are over; returns where the counted ones began."""
    begin_ms = (time.time_ns() // 1_000_000 // MINUTE_MS + 1 + skipped) * MINUTE_MS
    await asyncio.sleep((begin_ms + _WHOLE_MINUTES * MINUTE_MS + 1_000) / 1_000 - time.time())
    return begin_ms


async def _eat(eater: Any) -> None:
    """Half of the weight of a minute, evenly, by an ordinary client of another account."""
    begun_s, calls = time.monotonic(), 0
    await eater.load_markets()
    while True:
        calls += 1
        await asyncio.sleep(begun_s + calls * 60 * _CALL_WEIGHT * 2 / _WEIGHT - time.monotonic())
        await eater.fetch_positions()


async def _rows(paper: PaperProcess) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after = -1
    while (page := await paper.admin.ledger(after, 10_000))["rows"]:
        rows += page["rows"]
        after = page["next_after"]
    return rows


# -- a change in mid-run


class SharedExchange(QuietExchange):
    """A quiet exchange whose weight another program uses as well, evenly; each answer tells what both have used."""

    def __init__(self, pace: int) -> None:
        super().__init__()
        self._pace = pace

    def __call__(self, job: Dispatch, now_ms: int) -> SyncDone:
        """The report of a dispatch that is sent now."""
        done, theirs = super().__call__(job, now_ms), now_ms % MINUTE_MS * self._pace // MINUTE_MS
        requests = tuple([one._replace(used_weight=one.used_weight + theirs) for one in done.requests])
        return done._replace(requests=requests)


def settling(figures: Figures, *, neighbour: bool) -> None:
    """2,400 calls a minute, then 600, then 2,400, with more wishes than either; alone, or beside half the weight."""
    limit = 2 * _NEIGHBOUR_PACE if neighbour else PLENTY
    users = accounts_of(200)
    settings = Settings(workers=1, in_flight_per_worker=PLENTY, calls_per_minute=_CAPS[0], holding_ms=1_000,
                        working_ms=1_000, flat_ms=1_000, sync_records_per_second=0)
    tariff = load_tariff("binanceusdm", {"quotas": {"weight": {"limit": limit}}})
    lab = Lab(users, robots_of(200, users), settings, tariff, latency_ms=50,
              answers=SharedExchange(_NEIGHBOUR_PACE if neighbour else 0))
    sent: Sent = []
    lab.on_sent = lambda job, now_ms: sent.append((now_ms, len(job.calls)))
    lab.run(START_MS + 2 * MINUTE_MS)
    changed_ms = [lab.now_ms + number * _CAP_MINUTES * MINUTE_MS for number in range(len(_CAPS) + 1)]
    bursts = []
    for cap, (from_ms, until_ms) in zip(_CAPS, pairwise(changed_ms), strict=True):
        lab.core.set_calls_per_minute(cap, from_ms)
        bursts.append(lab.core.budget.operator.burst)
        lab.run(until_ms)
    name = f"{' -> '.join(f'{cap:,}' for cap in _CAPS)} calls a minute" + (", half the weight another's" * neighbour)
    for cap, burst, (from_ms, until_ms) in list(zip(_CAPS, bursts, pairwise(changed_ms), strict=True))[1:]:
        part = [row for row in sent if from_ms <= row[0] < until_ms]
        after = f"after the change to {cap:,}"
        figures.add("settling", f"{name}: {after}, fullest minute, calls", fullest_sliding(part, MINUTE_MS), "calls",
                    cap)
        steady = _between(sent, from_ms + MINUTE_MS, until_ms) * 5_000 / (until_ms - from_ms - MINUTE_MS)
        figures.add("settling", f"{name}: {after}, calls a minute then", steady * 12, "calls",
                    None if neighbour else 0.97 * cap, at_least=True)
        figures.add("settling", f"{name}: {after}, until that rate is held", _reached_s(part, from_ms, steady), "s", 60)
        figures.add("settling", f"{name}: {after}, fullest second", fullest_sliding(part, 1_000), "calls",
                    cap / 60 + burst)
    if neighbour:
        both = [(at_ms, calls * _CALL_WEIGHT) for at_ms, calls in sent]
        fullest = fullest_aligned(both, MINUTE_MS) + _NEIGHBOUR_PACE
        figures.add("settling", f"{name}: fullest aligned minute of both", fullest, "weight", limit)


def _reached_s(part: Sent, from_ms: int, steady: float) -> float:
    """From when on five seconds hold what they hold from then on."""
    for second in range(60 * _CAP_MINUTES):
        held = _between(part, from_ms + second * 1_000, from_ms + (second + 5) * 1_000)
        if abs(held - steady) <= max(_STEADY_SHARE * steady, 1):
            return float(second)
    return float(60 * _CAP_MINUTES)
