"""Freshness: what do calls buy? The real core in virtual time, over exchanges that are only arithmetic.

Run as a program (`python -m bench.bench_freshness`); it prints its figures and writes them to `results/freshness.json`.
"""

import argparse
import asyncio
import json
import os
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import product
from random import Random
from typing import Any

from bench.changing import ChangingExchange, drifting_fleet, least_unseen_ms
from bench.figures import RESULTS, Figures, write_json
from bench.full_quota import fullest_aligned, fullest_sliding, over_sockets, settling
from bench.lab import PLENTY, START_MS, Lab, QuietExchange, accounts_of, holding, robots_of, unlimited

from fleetsync.config import Settings
from fleetsync.messages import Dispatch
from fleetsync.report import Ages
from fleetsync.units import DAY_MS, HOUR_MS, MINUTE_MS
from fleetsync_adapters.tariffs import load_tariff

_LATENCY_MS = 50
_ROUNDS_A_SECOND = 50  # demanded by the fixed plan: intervals grow with the fleet, so that a run stays short
_ROUNDS_OF_MANY = 100  # the same above a thousand robots, so that intervals stay short against the time between changes
_CALLS_A_ROUND = 2
_SPANS, _SPANS_OF_MANY = 8, 5  # how many of the plan's stretched intervals are judged; of many robots fewer say enough
_MINUTES = 5  # of saturation, after one to get there


# -- the original plan's fleet


def plan_fleet(figures: Figures, accounts: int, *, orders: bool) -> None:
    """A hundred robots, twenty of them holding: the calls of a minute, at ages no worse than the plan's."""
    users = accounts_of(accounts)
    robots = robots_of(100, users)
    exchange = QuietExchange(holding(robots, 0.2), orders=orders)
    lab = Lab(users, robots, Settings(workers=1), load_tariff("binanceusdm"), answers=exchange,
              latency_ms=_LATENCY_MS, spread_ms=20_000)
    lab.run(START_MS + 2 * MINUTE_MS)
    calls, weight, syncs, minutes = [0], [0], [0], 10

    def sent(job: Dispatch, _: int) -> None:
        syncs[0] += 1
        calls[0] += len(job.calls)
        weight[0] += sum(5 if not call.symbol and call.surface == "positions" else 1 if call.symbol else 40
                         for call in job.calls)

    lab.on_sent, ages, begun_ms = sent, Ages(), lab.now_ms
    for second in range(minutes * 60):
        lab.run(begun_ms + second * 1_000)
        ages.sample(lab.core, lab.now_ms)
    theirs = 20 * 12 + 80 * 2
    name = f"100 robots, 20 holding{' with an order each' if orders else ''}, on {accounts} accounts"
    add = figures.add
    add("plan", f"{name}: every 10 s for all, calls a minute (600 syncs of 2)", 1_200, "calls")
    add("plan", f"{name}: 5 s / 30 s a robot, calls a minute ({theirs} syncs of 2)", 2 * theirs, "calls")
    add("plan", f"{name}: 5 s / 30 s a robot, weight a minute", 6 * theirs, "weight")
    add("plan", f"{name}: ours, calls a minute", calls[0] / minutes, "calls")
    add("plan", f"{name}: ours, syncs of accounts a minute", syncs[0] / minutes, "syncs")
    add("plan", f"{name}: ours, weight a minute", weight[0] / minutes, "weight")
    add("plan", f"{name}: 5 s / 30 s a robot / ours, calls", 2 * theirs * minutes / calls[0], "x",
        3 if accounts == 10 and not orders else None, at_least=True)
    for phase, limit_ms in (("holding", 5_000), ("flat", 30_000)):
        age_ms = ages.by_phase[phase].percentile_ms(0.99) or 0
        add("plan", f"{name}: ours, age of {phase} p99", age_ms / 1000, "s", limit_ms / 1000)


# -- the law


def unseen(robots: int, share: float, mode: str, *, given: bool) -> float:
    """The mean unseen time over the closed form's, at a share of the budget that the plan demands."""
    rounds_a_second = _ROUNDS_A_SECOND if robots <= 1_000 else _ROUNDS_OF_MANY
    planned_ms = robots * 1_000 // rounds_a_second
    calls_per_minute = int(_CALLS_A_ROUND * rounds_a_second * 60 * share)
    accounts, fleet, rates = drifting_fleet(robots, given=given)
    settings = Settings(
        workers=1, in_flight_per_worker=PLENTY, calls_per_minute=calls_per_minute, mode=mode, floor_ms=100,
        holding_ms=planned_ms, working_ms=planned_ms, flat_ms=planned_ms, holding_ceiling_ms=HOUR_MS,
        flat_ceiling_ms=HOUR_MS, sync_records_per_second=0, heartbeat_ms=DAY_MS)  # what a store is told changes no call
    exchange = ChangingExchange(rates)
    lab = Lab(accounts, fleet, settings, unlimited(), answers=exchange, latency_ms=_LATENCY_MS,
              spread_ms=int(planned_ms / share))
    warm_ms = HOUR_MS if mode == "adaptive" and not given else max(int(4 * planned_ms / share), 2 * MINUTE_MS)
    lab.run(START_MS + warm_ms)
    exchange.count_from(lab.now_ms)
    spans = _SPANS if robots <= 1_000 else _SPANS_OF_MANY
    lab.run(lab.now_ms + max(int(spans * planned_ms / share), 3 * MINUTE_MS))
    rounds_a_ms = calls_per_minute / MINUTE_MS / _CALLS_A_ROUND
    return exchange.mean_unseen_ms(lab.now_ms) / least_unseen_ms(rates, rounds_a_ms)


_WAYS = (("rates given", "adaptive", True, 1.05), ("rates learnt", "adaptive", False, 1.15),
         ("fixed intervals", "fixed", False, None))


def law(figures: Figures, robots: list[int], shares: list[float]) -> None:
    """Adaptive with rates given and learnt, and the fixed plan, at the same budget; several at a time."""
    cells = [(count, share, way) for count in robots for share in shares for way in _WAYS]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as processes:
        found = [processes.submit(unseen, count, share, mode, given=given)
                 for count, share, (_, mode, given, _) in cells]
        for (count, share, (label, _, _, target)), cell in zip(cells, found, strict=True):
            name = f"{count:,} robots, {share:.0%} of the demanded budget, {label}: unseen time / least possible"
            print(figures.add("freshness", name, cell.result(), "x", target), flush=True)
            keep(figures)  # a cell may take minutes: what is found is not lost


# -- the budget to the full


def saturation(figures: Figures, exchange: str, accounts: int) -> None:
    """Far more demand than the exchange admits: is its quota used, and never broken as the exchange counts?"""
    users = accounts_of(accounts, exchange)
    tariff = load_tariff(exchange)
    settings = Settings(workers=1, in_flight_per_worker=PLENTY, calls_per_minute=1_000_000, floor_ms=20,
                        holding_ms=20, working_ms=20, flat_ms=20, sync_records_per_second=0)
    lab = Lab(users, robots_of(accounts, users), settings, tariff, latency_ms=1)
    chance, arrivals = Random(3), defaultdict[str, list[tuple[int, int]]](list)

    def sent(job: Dispatch, now_ms: int) -> None:
        state = lab.core.fleet.account_by_id[job.account]
        # A granted call may leave until its grant ends, and travels for a while: that is how the exchange sees it.
        late_ms = chance.randrange(settings.grant_valid_ms + settings.network_jitter_ms)
        for ledger, units in lab.core.tolls.charges(state, job.calls, now_ms):
            arrivals[ledger.key].append((now_ms + late_ms, units))

    lab.on_sent = sent
    lab.run(START_MS + (1 + _MINUTES) * MINUTE_MS)
    ledgers = {ledger.key: ledger for ledger in lab.core.budget.ledgers()}
    used: dict[str, float] = {}
    best: dict[str, float] = {}
    windows_ms: dict[str, int] = {}
    worst: dict[str, float] = {}
    for key, found in arrivals.items():
        ledger, name = ledgers[key], key.partition(":")[2].partition("/")[0] or key
        found.sort()
        begun_ms, end_ms = START_MS + MINUTE_MS, START_MS + (1 + _MINUTES) * MINUTE_MS
        total = sum(units for at_ms, units in found if begun_ms <= at_ms < end_ms)
        share = total / (ledger.limit * (end_ms - begun_ms) / ledger.window_ms)
        used[name] = max(used.get(name, 0.0), share)
        best[name] = ledger.window_ms * 1_000 / ledger.emission_us / ledger.limit
        windows_ms[name] = ledger.window_ms
        fullest = (fullest_aligned if ledger.aligned else fullest_sliding)(found, ledger.window_ms) / ledger.limit
        worst[name] = max(worst.get(name, 0.0), fullest)
    scarce = max(used, key=lambda name: used[name])
    a_minute = windows_ms[scarce] >= MINUTE_MS
    figures.add("saturation", f"{exchange}: share used of the scarcest quota ({scarce}, {windows_ms[scarce]:,} ms)",
                used[scarce], "", 0.97 if a_minute else None, at_least=True)
    figures.add("saturation", f"{exchange}: the same, of what burst and jitter leave of its window",
                used[scarce] / best[scarce], "", 0.97, at_least=True)
    figures.add("saturation", f"{exchange}: fullest window of any quota, as the exchange counts", max(worst.values()),
                "of 1", 1.0)
    if exchange == "binanceusdm":
        fullest = fullest_sliding(sorted(arrivals["binanceusdm:weight"]), MINUTE_MS) / 2_400
        figures.add("saturation", f"{exchange}: fullest sliding minute as well", fullest, "of 1", 1.0)


_PARTS = ("plan", "freshness", "saturation", "settling", "sockets")


def main() -> None:
    """Run it, or some of its parts: the figures of the others stay as they were."""
    parser = argparse.ArgumentParser(description="What calls buy, in virtual time; over sockets where it says so.")
    parser.add_argument("--robots", default="100,1000,10000")
    parser.add_argument("--shares", default="0.25,0.5,1.0")
    parser.add_argument("--parts", default=",".join(_PARTS))
    chosen, figures = parser.parse_args(), Figures()
    parts = chosen.parts.split(",")
    if unknown := set(parts) - set(_PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}")
    if "plan" in parts:
        for accounts, orders in product((1, 10, 100), (False, True)):
            plan_fleet(figures, accounts, orders=orders)
    if "saturation" in parts:
        for exchange, accounts in (("binanceusdm", 100), ("okx", 10), ("bybit", 100), ("bitget", 100), ("gate", 10)):
            saturation(figures, exchange, accounts)
    if "settling" in parts:
        for neighbour in (False, True):
            settling(figures, neighbour=neighbour)
    if "sockets" in parts:
        asyncio.run(over_sockets(figures))
    print("\n".join(figures.lines()), flush=True)
    if "freshness" in parts:
        law(figures, [int(count) for count in chosen.robots.split(",")],
            [float(share) for share in chosen.shares.split(",")])
    keep(figures)


def keep(figures: Figures) -> None:
    """Write what was measured now, and beside it the parts, and the cells of the law, that were not."""
    path = RESULTS / "freshness.json"
    earlier = json.loads(path.read_text(encoding="utf-8"))["figures"] if path.exists() else []
    found: list[dict[str, Any]] = []
    for part in _PARTS:
        new = {row.name: asdict(row) | {"met": row.met, "part": part} for row in figures.rows.get(part, [])}
        if part == "freshness" or not new:
            old = [row for row in earlier if row.get("part") == part and row["name"] not in new]
            found += sorted([*old, *new.values()], key=_place) if part == "freshness" else old
        else:
            found += new.values()
    write_json("freshness.json", {"figures": found})


def _place(row: dict[str, Any]) -> tuple[int, int, int]:
    """Robots, share, way: the order in which the cells are read."""
    robots, share, way = str(row["name"]).partition(":")[0].split(", ")
    labels = [label for label, *_ in _WAYS]
    return int(robots.split()[0].replace(",", "")), int(share.partition("%")[0]), labels.index(way)


if __name__ == "__main__":
    main()
