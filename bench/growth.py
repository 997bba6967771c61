"""Growth: cost a sync, memory and urgent latency over four decades of robots. Is there a knee?

Run as a program (`python -m bench.growth`): it measures each size in a process of its own, prints a table, and writes
`results/growth.json` and three plots. Ten robots an account; all of them flat, as most robots are most of the time.
"""

import argparse
import gc
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from time import thread_time_ns
from typing import Any

from bench.figures import RESULTS, write_json
from bench.lab import PLENTY, Lab, accounts_of, robots_of, settled, unlimited
from bench.rivals import bare_heap
from bench.svg import plot

from fleetsync.config import Settings
from fleetsync.events import Event
from fleetsync.model import Account, Robot

_COUNTS = (100, 1_000, 10_000, 100_000, 1_000_000)
_PER_ACCOUNT = 10
_INTERVAL_MS = 30_000
_SYNCS = 10_000  # measured at each size
_TURN = 8  # syncs in a turn of the loop, at every size: as under load


def measured(count: int, per_account: int = _PER_ACCOUNT, whats: Sequence[str] = ("--time", "--memory")) -> (
        dict[str, Any]):
    """One size. Its memory in processes of their own: what another measurement has freed would hide what this takes."""
    found: dict[str, Any] = {}
    for what in whats:
        command = [sys.executable, "-m", "bench.growth", what, str(count), "--per-account", str(per_account)]
        found |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def measure_memory(count: int, per_account: int) -> dict[str, Any]:
    """What a fleet takes once every robot was read and its rows were handed on.

    `grown_bytes` is by how much the process grew, with what its start needed for a moment and Python kept for reuse;
    `held_bytes` what the allocations that are still there add up to, in a second fleet beside the first.
    """
    accounts = accounts_of(max(count // per_account, 1))
    robots = robots_of(count, accounts)

    def started() -> Lab:
        return _read_once(_fleet(accounts, robots), len(accounts))

    first, grown = settled(started)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    second = started()
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(first.core.fleet) == len(second.core.fleet) == count
    return {"grown_bytes": grown / count, "held_bytes": held / count}


def _fleet(accounts: Sequence[Account], robots: Sequence[Robot]) -> Lab:
    settings = Settings(calls_per_minute=PLENTY, workers=1, in_flight_per_worker=PLENTY, flat_ms=_INTERVAL_MS,
                        sync_records_per_second=0)
    return Lab(accounts, robots, settings, unlimited(), spread_ms=_INTERVAL_MS)


def _read_once(lab: Lab, accounts: int) -> Lab:
    lab.core.take_batch()
    step_ms, end_ms = max(_TURN * _INTERVAL_MS // accounts, 1), lab.now_ms + _INTERVAL_MS + 1_000
    while lab.now_ms < end_ms:
        lab.step(lab.now_ms + step_ms)
    lab.core.take_batch()
    return lab


def measure_time(count: int, per_account: int) -> dict[str, Any]:
    """What starting, a sync and an event cost."""
    accounts = accounts_of(max(count // per_account, 1))
    robots = robots_of(count, accounts)
    begun_ns = thread_time_ns()
    lab = _fleet(accounts, robots)
    built_s = (thread_time_ns() - begun_ns) / 1e9
    step_ms = max(_TURN * _INTERVAL_MS // len(accounts), 1)
    _read_once(lab, len(accounts))
    gc.collect()
    lab.spent_ns = 0
    dispatched = lab.dispatched
    _run(lab, step_ms, _SYNCS)
    cost_us = lab.spent_ns / (lab.dispatched - dispatched) / 1e3
    per_account = count // len(accounts)
    floor_us = min(bare_heap(count, 20_000)() for _ in range(3))
    waits_us = sorted(_urgent(lab, step_ms, number) for number in range(500))
    return {"robots": count, "built_s": built_s, "sync_us": cost_us, "robot_us": cost_us / per_account,
            "floor_us": floor_us, "urgent_p50_us": waits_us[250], "urgent_p99_us": waits_us[495]}


def _run(lab: Lab, step_ms: int, syncs: int) -> None:
    until = lab.dispatched + syncs
    while lab.dispatched < until:
        lab.step(lab.now_ms + step_ms)


def _urgent(lab: Lab, step_ms: int, number: int) -> float:
    """From an event to its dispatch, in the loop's turn that comes next, with scheduled work due in the same turn."""
    core = lab.core
    slot = number * 7_919 % len(core.fleet.ids)
    event = Event(core.inbox.next_id(), slot, core.fleet.ids[slot], "manual", lab.now_ms)
    begun_ns = thread_time_ns()
    core.notify(event, lab.now_ms)
    lab.step(lab.now_ms + step_ms)
    span_us = (thread_time_ns() - begun_ns) / 1e3
    lab.step(lab.now_ms + step_ms)
    return span_us


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description="Cost, memory and urgent latency against the number of robots.")
    parser.add_argument("--time", type=int, help="measure the times of one size in this process, print them as JSON")
    parser.add_argument("--memory", type=int, help="the same for its memory")
    parser.add_argument("--per-account", type=int, default=_PER_ACCOUNT)
    parser.add_argument("--counts", default=",".join(map(str, _COUNTS)))
    chosen = parser.parse_args()
    if chosen.time or chosen.memory:
        found = measure_time(chosen.time, chosen.per_account) if chosen.time else measure_memory(
            chosen.memory, chosen.per_account)
        print(json.dumps(found))
        return
    rows = []
    for count in map(int, chosen.counts.split(",")):
        rows.append(measured(count))
        print("  ".join(f"{name} {value:,.4g}" for name, value in rows[-1].items()), flush=True)
    write_json("growth.json", {"rows": rows})
    counts = [row["robots"] for row in rows]
    plots = {
        "cost": ("Cost of a sync of ten robots, in the core", "microseconds",
                 {"a sync": "sync_us", "ten pops and pushes of a bare heap": "ten_floors_us"}, ""),
        "robot": ("Cost a robot, in the core", "microseconds",
                  {"a robot": "robot_us", "pop and push of a bare heap": "floor_us"}, ""),
        "memory": ("Memory a robot in the parent", "bytes",
                   {"held": "held_bytes", "the process grew by": "grown_bytes"},
                   "At 100 robots: what an engine takes by itself, divided among few"),
        "urgent": ("From an event to its dispatch", "microseconds",
                   {"p50": "urgent_p50_us", "p99": "urgent_p99_us"},
                   "With eight syncs due in the same turn of the loop"),
    }
    for row in rows:
        row["ten_floors_us"] = _PER_ACCOUNT * row["floor_us"]
    for name, (title, unit, lines, note) in plots.items():
        text = plot(title, unit, counts, {label: [row[key] for row in rows] for label, key in lines.items()}, note)
        (RESULTS / f"growth_{name}.svg").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
