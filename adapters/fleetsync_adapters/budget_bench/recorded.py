"""What a real run left in its database, as far as it says how the fleet was kept in sync."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

import duckdb
import orjson

from fleetsync.config import Settings
from fleetsync.errors import ConfigError
from fleetsync.model import Account, Robot
from fleetsync.units import MINUTE_MS, SECOND_MS
from fleetsync_adapters.budget_bench.spans import Ages, mean_ms, percentile_ms
from fleetsync_adapters.duckdb_store.opening import open_database

_SKIPPED_MS = 10 * SECOND_MS  # of the start: the first readings
_SHORTEST_MS = 10 * SECOND_MS
_ROBOTS = "SELECT id, account, symbol, priority, enabled, order_prefix, holding_ms, working_ms, flat_ms FROM robots"
_SYNCS = "SELECT account, calls, weight, started_at_ms, done_at_ms FROM syncs ORDER BY done_at_ms, seq"
_CHANGES = ("SELECT account, robots, kind, key, cause, exchange_at_ms, seen_at_ms, coalesce(after, before) "
            "FROM changes ORDER BY number")
_ASKED = "SELECT at_ms, robot, what, detail FROM asked ORDER BY at_ms, robot, what"
_DEEDS = {"position_opened": "open", "position_grew": "grow", "position_shrank": "shrink",
          "position_closed": "close", "position_flipped": "flip", "order_opened": "place", "order_filled": "fill",
          "order_ended": "cancel"}  # fmt: skip
_ORDER_OF = {"place": 0, "fill": 1, "cancel": 2}  # what happened in one millisecond; positions follow from fills
_ENDED = ("position_closed", "order_ended")
_OWN = ("event", "robot", "fill")  # causes that say that it was the robot itself


class SyncRow(NamedTuple):
    """One sync: when it was sent and known."""

    account: str
    calls: int
    weight: int
    started_at_ms: int
    done_at_ms: int


class ChangeRow(NamedTuple):
    """One change: when it happened and when the reading that proved it was sent."""

    robots: tuple[str, ...]
    kind: str
    cause: str
    exchange_at_ms: int
    seen_at_ms: int
    name: str = ""  # the side of the position, the id of the order
    account: str = ""
    shown: Mapping[str, Any] = MappingProxyType({})  # the row after it, or before it where there is none


class Asked(NamedTuple):
    """Something that came from outside."""

    at_ms: int
    robot: str  # empty: the engine itself
    what: str
    detail: dict[str, Any]


class RecordedDeed(NamedTuple):
    """Something that happened to the books."""

    at_ms: int
    robot: str
    action: str  # open, grow, shrink, close or flip; place, fill or cancel
    name: str = ""  # the side that is held then, or was; the order's id
    by_hand: bool = True
    told: bool = False  # the engine had an event of it
    filled_order: bool = False  # what a position became by the fill of an order that rested
    order: Mapping[str, Any] = MappingProxyType({})  # as it was shown


@dataclass(slots=True)
class Recorded:
    """A run."""

    accounts: tuple[Account, ...]
    robots: tuple[Robot, ...]
    syncs: list[SyncRow] = field(default_factory=list)
    changes: list[ChangeRow] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    settings: Settings | None = None  # those it started with; None: the file does not say
    held: list[ChangeRow] = field(default_factory=list)  # what an earlier run knew of when this one started
    runs: int = 1  # in the file; this is the last one

    @property
    def from_ms(self) -> int:
        """Its first sync."""
        return self.syncs[0].started_at_ms

    @property
    def until_ms(self) -> int:
        """When it was told to stop; where nobody told it, its last sync."""
        return next((one.at_ms for one in self.asked if one.what == "stop"), self.syncs[-1].done_at_ms)

    def caps(self) -> list[tuple[int, int]]:
        """(since when, calls a minute): the budget with its changes."""
        if self.settings is None:
            return []
        return [(self.from_ms, self.settings.calls_per_minute),
                *((one.at_ms, int(one.detail["calls_per_minute"])) for one in self.asked if one.what == "settings")]

    def count_asked(self, what: str) -> int:
        """How many forced syncs ("sync") or events ("") came."""
        return sum((one.what == "sync") == bool(what) for one in self.asked if one.robot)

    def fullest_second(self) -> int:
        """The most syncs that were recorded in one second: at its limit, others were only counted."""
        seconds: dict[int, int] = {}
        for sync in self.syncs:
            second = sync.done_at_ms // SECOND_MS
            seconds[second] = seconds.get(second, 0) + 1
        return max(seconds.values(), default=0)

    def deeds(self) -> tuple[list[RecordedDeed], int]:
        """What happened to the books, in the order of its time, and how many changes have no deed that makes them.

        What was there at first sight, or known from an earlier run, happened at the start.
        """
        found = [_deed(change, self.from_ms) for change in self.held]
        placed = {(deed.robot, deed.name) for deed in found}
        left = 0
        for change in self.changes:
            if change.kind not in _DEEDS or not change.robots:
                left += change.kind != "event_unseen"
                continue
            at_ms = change.exchange_at_ms or change.seen_at_ms
            deed = _deed(change, self.from_ms if change.cause == "first_sight" else max(at_ms, self.from_ms))
            if deed.order and (deed.robot, deed.name) not in placed:
                placed.add((deed.robot, deed.name))
                if deed.action != "place":  # it was not only there when it was first seen
                    placed_at_ms = max(int(deed.order.get("created_at_ms") or at_ms), self.from_ms)
                    found.append(deed._replace(at_ms=min(placed_at_ms, deed.at_ms), action="place"))
            if deed.action == "cancel" and Decimal(deed.order.get("filled") or 0):
                found.append(deed._replace(action="fill"))
            found.append(deed)
        return sorted(found, key=lambda deed: (deed.at_ms, _ORDER_OF.get(deed.action, 3))), left


def _deed(change: ChangeRow, at_ms: int) -> RecordedDeed:
    of_order = change.kind.startswith("order_")
    return RecordedDeed(at_ms, change.robots[0], _DEEDS[change.kind], change.name, by_hand=change.cause not in _OWN,
                        told=change.cause == "event", filled_order=change.cause == "fill" and not of_order,
                        order=change.shown if of_order else MappingProxyType({}))


def read_recorded(path: str) -> Recorded:
    """Read the last run in a database that no engine has open.

    Raises:
        StoreRefused: it is none of ours.
        ConfigError: there is too little in it.
    """
    connection = open_database(path, readonly=True)
    try:
        accounts = tuple(Account(row[0], row[1], egress=row[2])
                         for row in connection.execute("SELECT id, exchange, egress FROM accounts").fetchall())
        robots = tuple(
            Robot(row[0], row[1], row[2], priority=row[3], enabled=row[4], order_prefix=row[5], holding_ms=row[6],
                  working_ms=row[7], flat_ms=row[8])
            for row in connection.execute(_ROBOTS).fetchall())
        syncs = [SyncRow(*row) for row in connection.execute(_SYNCS).fetchall()]
        changes = [_change(row) for row in connection.execute(_CHANGES).fetchall()]
        asked = _asked(connection)
    finally:
        connection.close()
    run = _last_run(Recorded(accounts, robots, syncs, changes, asked))
    if not run.syncs or run.until_ms - run.from_ms < _SHORTEST_MS + _SKIPPED_MS:
        raise ConfigError(f"{path} records too short a run to learn from",
                          hint=f"let it run for at least {(_SHORTEST_MS + _SKIPPED_MS) // SECOND_MS} s, "
                               "with sync_records_per_second above 0")
    return run


def _change(row: Sequence[Any]) -> ChangeRow:
    account, robots, kind, key, cause, exchange_at_ms, seen_at_ms, shown = row
    return ChangeRow(tuple(robots), kind, cause, exchange_at_ms, seen_at_ms, key.partition(":")[2], account,
                     orjson.loads(shown) if shown else {})


def _asked(connection: duckdb.DuckDBPyConnection) -> list[Asked]:
    """What was asked; a file of the first schema does not say."""
    if not connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'asked'").fetchall():
        return []
    return [Asked(row[0], row[1], row[2], orjson.loads(row[3])) for row in connection.execute(_ASKED).fetchall()]


def _last_run(whole: Recorded) -> Recorded:
    """Of a file in which several runs are one after another, the last one and what it began with."""
    starts = [one for one in whole.asked if one.what == "start"]
    if not starts:
        return whole
    start = starts[-1]
    known = {one.name for one in fields(Settings)}
    settings = Settings(**{name: value for name, value in start.detail.items() if name in known})
    return Recorded(
        whole.accounts, whole.robots, [sync for sync in whole.syncs if sync.started_at_ms >= start.at_ms],
        [change for change in whole.changes if change.seen_at_ms >= start.at_ms],
        [one for one in whole.asked if one.at_ms >= start.at_ms], settings,
        _held(change for change in whole.changes if change.seen_at_ms < start.at_ms), len(starts))


def _held(changes: Iterable[ChangeRow]) -> list[ChangeRow]:
    """The openings of what these changes leave open."""
    left: dict[tuple[str, ...], ChangeRow] = {}
    for change in changes:
        if change.kind not in _DEEDS or not change.robots:
            continue
        of_order = change.kind.startswith("order_")
        what = (change.account, "order", change.name) if of_order else (change.account, change.robots[0], change.name)
        if change.kind in _ENDED:
            left.pop(what, None)
        else:
            if change.kind == "position_flipped":
                left.pop((*what[:2], "short" if change.name == "long" else "long"), None)
            left[what] = change._replace(kind="order_opened" if of_order else "position_opened", cause="first_sight")
    return list(left.values())


def figures(syncs: Sequence[SyncRow], changes: Sequence[ChangeRow], from_ms: int, until_ms: int) -> dict[str, Any]:
    """The same figures of a run and of its simulation: from the records of syncs and changes alone.

    The age of an account's newest answer stands for the ages of its robots: records do not say what was asked.
    """
    ages, last = Ages(), dict[str, SyncRow]()
    calls = weight = 0
    for sync in syncs:
        before = last.get(sync.account)
        last[sync.account] = sync
        if before is not None and from_ms < sync.done_at_ms <= until_ms:
            since_ms = max(before.done_at_ms, from_ms)
            ages.grew(since_ms - before.started_at_ms, sync.done_at_ms - before.started_at_ms)
        if from_ms <= sync.started_at_ms < until_ms:
            calls += sync.calls
            weight += sync.weight
    unseen: dict[bool, list[int]] = {True: [], False: []}
    for change in changes:
        if change.exchange_at_ms >= from_ms and change.cause != "first_sight" and change.seen_at_ms < until_ms:
            unseen[change.cause == "event"].append(max(change.seen_at_ms - change.exchange_at_ms, 0))
    minutes = (until_ms - from_ms) / MINUTE_MS
    return {
        "calls_per_minute": round(calls / minutes, 1), "weight_per_minute": round(weight / minutes, 1),
        "age_ms": ages.summary(),
        "unseen_ms": {name: {"mean": mean_ms(unseen[told]), "p95": percentile_ms(unseen[told], 0.95)}
                      for name, told in (("announced", True), ("unannounced", False))},
        "changes": sum(map(len, unseen.values())),
    }


def measured(run: Recorded) -> dict[str, Any]:
    """The figures of the run itself, without its first seconds."""
    return figures(run.syncs, run.changes, run.from_ms + _SKIPPED_MS, run.until_ms)


def skipped_ms() -> int:
    """What of the start is not looked at."""
    return _SKIPPED_MS
