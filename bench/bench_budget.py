"""The budget: what does a grant cost, against a limiter that admits too much and against logs that do not?"""

import asyncio
from collections import deque
from time import perf_counter_ns
from typing import Any

from aiolimiter import AsyncLimiter
from bench.figures import Figures, Round, compared
from bench.lab import START_MS

from fleetsync.budget import Budget
from fleetsync.config import Settings
from fleetsync.tariff import Quota, Scope

_GRANTS = 20_000
_WEIGHT = Quota("weight", Scope.EGRESS, 2_400, 60_000, aligned=True)


def grants(*, reported: bool) -> Round:
    """Requests of five units of weight in two linked quotas, as fast as they are admitted, in virtual time."""
    settings = Settings(calls_per_minute=1_200)
    budget = Budget(settings, now_ms=START_MS)
    weight = budget.ledger("binanceusdm:weight", _WEIGHT, biggest=40, now_ms=START_MS)
    charges = [(budget.operator, 1), (weight, 5)]
    now_ms = [START_MS]

    def run() -> float:
        left = _GRANTS
        begun_ns = perf_counter_ns()
        while left:
            deferral = budget.request(charges, now_ms[0], urgent=False)
            if deferral is not None:
                now_ms[0] = deferral.at_ms
                continue
            if reported:
                weight.observe(weight.window_own, now_ms[0], now_ms[0])
            left -= 1
        return (perf_counter_ns() - begun_ns) / _GRANTS / 1e3

    return run


def sliding_log(limit: int = 2_400, window_ms: int = 60_000) -> Round:
    """An exact log of one quota, kept as cheaply as Python can: an entry a unit."""
    log: deque[int] = deque()
    now_ms = [START_MS]

    def run() -> float:
        left = _GRANTS
        begun_ns = perf_counter_ns()
        while left:
            while log and log[0] <= now_ms[0] - window_ms:
                log.popleft()
            if len(log) + 5 > limit:
                now_ms[0] = log[0] + window_ms
                continue
            log.extend((now_ms[0],) * 5)
            left -= 1
        return (perf_counter_ns() - begun_ns) / _GRANTS / 1e3

    return run


def leaky_bucket() -> Round:
    """What aiolimiter takes where there is room: one quota, no weights together, no lanes, no answer "when"."""
    def run() -> float:
        async def take() -> float:
            limiter = AsyncLimiter(10 * _GRANTS, 60)
            begun_ns = perf_counter_ns()
            for _ in range(_GRANTS):
                await limiter.acquire(5)
            return (perf_counter_ns() - begun_ns) / _GRANTS / 1e3

        return asyncio.run(take())

    return run


def bench_a_grant_over_two_quotas(benchmark: Any, figures: Figures) -> None:
    """Asking two ledgers and charging both, deferrals in between included."""
    rivals = {"sliding log, one quota": sliding_log(), "aiolimiter, one quota": leaky_bucket(),
              "ours, with the exchange's counter": grants(reported=True)}
    cost = compared(benchmark, grants(reported=False), rivals, 9)
    for name in rivals:
        figures.add("budget", f"a request of 5 units: {name}", cost[name], "us")
    figures.add("budget", "a request of 5 units: ours, two linked quotas", cost["ours"], "us", 10)
