"""What a real run left in its database, as far as it says how the fleet was kept in sync."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetsync.errors import ConfigError
from fleetsync.model import Account, Robot
from fleetsync.units import MINUTE_MS, SECOND_MS
from fleetsync_adapters.budget_bench.spans import Ages, mean_ms, percentile_ms
from fleetsync_adapters.duckdb_store.opening import open_database

_SKIPPED_MS = 10 * SECOND_MS  # of the start: the first readings
_SHORTEST_MS = 10 * SECOND_MS
_ROBOTS = "SELECT id, account, symbol, priority, enabled, order_prefix, holding_ms, working_ms, flat_ms FROM robots"
_SYNCS = "SELECT account, calls, weight, started_at_ms, done_at_ms FROM syncs ORDER BY done_at_ms, seq"
_CHANGES = "SELECT robots, kind, cause, exchange_at_ms, seen_at_ms FROM changes ORDER BY number"
_DEEDS = {"position_opened": ("open", "hand_open"), "position_closed": ("close", "hand_close"),
          "position_flipped": ("flip", "hand_flip"), "order_opened": ("place", "hand_place"),
          "order_ended": ("cancel", "hand_cancel")}  # kind -> (announced, not)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SyncRow:
    """One sync: when it was sent and known."""

    account: str
    calls: int
    weight: int
    started_at_ms: int
    done_at_ms: int


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One change: when it happened and when the reading that proved it was sent."""

    robots: tuple[str, ...]
    kind: str
    cause: str
    exchange_at_ms: int
    seen_at_ms: int


@dataclass(slots=True)
class Recorded:
    """A run."""

    accounts: tuple[Account, ...]
    robots: tuple[Robot, ...]
    syncs: list[SyncRow] = field(default_factory=list)
    changes: list[ChangeRow] = field(default_factory=list)

    @property
    def from_ms(self) -> int:
        """Its first sync."""
        return self.syncs[0].started_at_ms

    @property
    def until_ms(self) -> int:
        """Its last one."""
        return self.syncs[-1].done_at_ms

    def fullest_second(self) -> int:
        """The most syncs that were recorded in one second: at its limit, others were only counted."""
        seconds: dict[int, int] = {}
        for sync in self.syncs:
            second = sync.done_at_ms // SECOND_MS
            seconds[second] = seconds.get(second, 0) + 1
        return max(seconds.values(), default=0)

    def deeds(self) -> tuple[list[tuple[int, str, str]], int]:
        """(instant, robot, action) of what happened to the books, and how many changes have no deed that makes them.

        What was there at first sight happened at the start.
        """
        found, left = [], 0
        for change in self.changes:
            actions = _DEEDS.get(change.kind)
            if actions is None or not change.robots:
                left += 1
                continue
            action = actions[change.cause != "event"]
            at_ms = change.exchange_at_ms or change.seen_at_ms
            if change.cause == "first_sight":
                at_ms = self.from_ms
            found.append((max(at_ms, self.from_ms), change.robots[0], action))
        return sorted(found), left


def read_recorded(path: str) -> Recorded:
    """Read a database that no engine has open.

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
        changes = [ChangeRow(tuple(row[0]), row[1], row[2], row[3], row[4])
                   for row in connection.execute(_CHANGES).fetchall()]
    finally:
        connection.close()
    if not syncs or syncs[-1].done_at_ms - syncs[0].started_at_ms < _SHORTEST_MS + _SKIPPED_MS:
        raise ConfigError(f"{path} records too short a run to learn from",
                          hint=f"let it run for at least {(_SHORTEST_MS + _SKIPPED_MS) // SECOND_MS} s, "
                               "with sync_records_per_second above 0")
    return Recorded(accounts, robots, syncs, changes)


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
