"""Recordings: what robots really did, as a CSV or Parquet file with the columns `at_ms`, `robot` and `action`."""

from dataclasses import replace
from pathlib import Path

from fleetsync.units import MINUTE_MS
from fleetsync_adapters.budget_bench.fleets import BenchFleet
from fleetsync_adapters.fleet_checks import Key, Kind, Problems
from fleetsync_adapters.fleet_tables import open_table
from fleetsync_adapters.simulation.setup import START_AT_MS
from fleetsync_adapters.simulation.workload import ACTIONS

COLUMNS = ("at_ms", "robot", "action")
_ANY = Kind("text", lambda value: value)
Deeds = tuple[tuple[int, str, str], ...]


def read_recording(path: str, fleet: BenchFleet) -> Deeds:
    """(ms since the first deed, robot, action), in the order of their time.

    Raises:
        ConfigError: the file cannot be read, or a row of it says nothing that a robot of this fleet can do.
    """
    problems = Problems()
    table = open_table(path, Path(), "--recording", problems)
    found: list[tuple[int, str, str]] = []
    if table is not None and table.check_columns({name: Key(name, _ANY, required=True) for name in COLUMNS}, problems):
        known = {robot.id for robot in fleet.robots}
        for number, cells in table.rows(problems):
            cell = dict(zip(table.columns, cells, strict=False))
            at, robot, action = (cell.get(name, "").strip() for name in COLUMNS)
            if not at.isdigit():
                problems.add(table.place(number, "at_ms"), "must be whole milliseconds, like 1790000040000")
            elif robot not in known:
                problems.add(table.place(number, "robot"), "names no robot of this fleet")
            elif action not in ACTIONS:
                problems.add(table.place(number, "action"), f"must be one of {', '.join(ACTIONS)}")
            else:
                found.append((int(at), robot, action))
        if not found and not problems.count:
            problems.add(table.name, "holds no deeds")
    problems.raise_if_any()
    found.sort()
    first_ms = found[0][0]
    return tuple((at_ms - first_ms, robot, action) for at_ms, robot, action in found)


def minutes_of(deeds: Deeds) -> int:
    """How long a recording lasts."""
    return max(-(-deeds[-1][0] // MINUTE_MS), 1)


def with_recording(fleet: BenchFleet, deeds: Deeds, warm_up_minutes: int) -> BenchFleet:
    """The fleet doing what was recorded, from the end of the warm-up on.

    Who begins with closing must have held something: it is opened at the very start, unseen by the figures.
    """
    start_ms = START_AT_MS + warm_up_minutes * MINUTE_MS
    first: dict[str, str] = {}
    for _, robot, action in deeds:
        if action not in {"place", "cancel", "stop"}:
            first.setdefault(robot, action)
    held = [(START_AT_MS, robot, "hand_open") for robot, action in first.items()
            if action in {"close", "hand_close", "flip", "liquidate"}]
    recorded = (*held, *((start_ms + after_ms, robot, action) for after_ms, robot, action in deeds))
    return replace(fleet, workload=replace(fleet.workload, recording=recorded))
