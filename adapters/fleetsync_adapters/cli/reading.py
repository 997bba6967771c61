"""`fleetsync status` and `fleetsync changes`: asked of the engine while it runs, else read from the file it left."""

import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from fleetsync.errors import ConfigError, Retryable
from fleetsync.model import Phase
from fleetsync.ports import Loaded
from fleetsync.units import s_from_ms
from fleetsync_adapters.control import Running, find_running
from fleetsync_adapters.duckdb_store import DuckDBStore

Json = dict[str, Any]
_PAGE = 500


def show_status(db_path: str, *, as_json: bool) -> None:
    """Print the engine's state, or what the last run left.

    Raises:
        StoreRefused: there is no such file, or it cannot be read.
    """
    running = find_running(db_path)
    shown = {"running": True, "url": running.url, "pid": running.pid, **running.status()} if running else _kept(db_path)
    if as_json:
        click.echo(orjson.dumps(shown))
        return
    for line in _status_lines(shown, db_path):
        click.echo(line)


def _kept(db_path: str) -> Json:
    """What the file says while no engine runs: nothing in it gets any younger."""
    store = DuckDBStore(db_path, readonly=True)
    try:
        loaded = store.load()
    finally:
        store.close()
    return {"running": False, **stored_status(loaded, time.time_ns() // 1_000_000)}


def stored_status(loaded: Loaded, now_ms: int) -> Json:
    """The state in a store's rows, under the names that a running engine uses."""
    phases = Counter({phase.name.lower(): 0 for phase in Phase})
    worst_age_ms: dict[str, int] = {}
    for row in loaded.robots.values():
        phase = Phase(row["phase"]).name.lower()
        phases[phase] += 1
        if row["phase"] and row["last_sync_at_ms"]:
            worst_age_ms[phase] = max(worst_age_ms.get(phase, 0), now_ms - row["last_sync_at_ms"])
    return {
        "robots": len(loaded.robots),
        "phases": dict(phases),
        "worst_age_ms": worst_age_ms,
        "positions": len(loaded.positions),
        "orders": len(loaded.orders),
        "last_change": loaded.last_change,
        "events_pending": len(loaded.events),
        "stopped_accounts": {name: row["stopped"] for name, row in loaded.accounts.items() if row["stopped"]},
        "failing_accounts": {name: row["last_fault"] for name, row in loaded.accounts.items()
                             if row["last_fault"] and not row["stopped"]},
        "stopped_robots": {name: row["stopped"] for name, row in loaded.robots.items() if row["stopped"]},
    }


def _status_lines(shown: Json, db_path: str) -> Iterator[str]:
    if shown["running"]:
        yield f"engine      running, PID {shown['pid']}, {shown['url']}"
        yield f"now         {shown['line']}"
        yield (f"calls       {shown['calls']} in {shown['syncs']} syncs; last minute {shown['calls_last_minute']}, "
               f"worst {shown['worst_minute_calls']} of {shown['calls_per_minute']}")
    else:
        yield f"engine      not running; this is what {db_path} holds"
    ages = shown["worst_age_ms"]
    for phase, count in shown["phases"].items():
        age = f", oldest knowledge {_age(ages[phase])}" if phase in ages else ""
        yield f"{phase:<11} {count} robots{age}"
    yield f"changes     {shown['last_change']} committed"
    yield f"events      {shown['events_pending']} wait to be served"
    if since_ms := shown.get("store_failing_since_ms"):
        yield f"failing     the store: no commit for {_age(shown['at_ms'] - since_ms)}, the log of the engine says why"
    if shown.get("faults"):
        yield "faults      " + ", ".join(f"{count} {fault}" for fault, count in sorted(shown["faults"].items()))
    for kind, word in (("stopped_accounts", "account"), ("failing_accounts", "account"), ("stopped_robots", "robot")):
        trouble = kind.partition("_")[0]
        for name, why in shown[kind].items():
            yield f"{trouble:<11} {word} {name}: {why}"


def _age(span_ms: int) -> str:
    seconds = s_from_ms(span_ms)
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


# -- changes


def show_changes(db_path: str, *, after: int | None, limit: int, robot: str | None, follow: bool,
                 as_json: bool) -> None:
    """Print committed changes: the last ones, or those above a number, and with `follow` all that come.

    Raises:
        ConfigError: there is no engine to follow.
        StoreRefused: there is no such file, or it cannot be read.
    """
    running = find_running(db_path)
    if follow and running is None:
        raise ConfigError(f"no engine runs on {db_path}: there is nothing to follow",
                          hint="start it, name its --db, or leave --follow out")
    if running is None:
        for change in _of_file(db_path, after, limit, robot):
            _print(change, as_json=as_json)
        return
    shown = after or 0
    with suppress(*((KeyboardInterrupt,) if follow else ())):  # how following ends is no failure
        for change in _of_running(running, after, limit, robot):
            _print(change, as_json=as_json)
            shown = change["number"]
        if follow:
            _follow(running, shown, robot, as_json=as_json)


def _of_running(running: Running, after: int | None, limit: int, robot: str | None) -> Iterable[Json]:
    if after is None and robot is None:
        after = max(running.status()["last_change"] - limit, 0)
    return _chosen(lambda start, count: running.changes(start, count, robot), after, limit)


def _of_file(db_path: str, after: int | None, limit: int, robot: str | None) -> Iterable[Json]:
    store = DuckDBStore(db_path, readonly=True)
    try:
        if after is None and robot is None:
            after = max(store.last_change - limit, 0)
        return list(_chosen(lambda start, count: [asdict(one) for one in store.changes(start, count, robot)],
                            after, limit))
    finally:
        store.close()


def _chosen(page_of: Any, after: int | None, limit: int) -> Iterable[Json]:
    """The first `limit` changes above a number; without one, the last `limit`."""
    found: deque[Json] = deque(maxlen=limit if after is None else None)
    start = after or 0
    while after is None or len(found) < limit:
        page = page_of(start, _PAGE if after is None else min(limit - len(found), _PAGE))
        if not page:
            break
        found.extend(page)
        start = page[-1]["number"]
    return found


def _follow(running: Running, after: int, robot: str | None, *, as_json: bool) -> None:
    """Until the engine ends."""
    try:
        for change in running.follow(after, reconnect=False):
            if robot is None or robot in change["robots"]:
                _print(change, as_json=as_json)
                sys.stdout.flush()
    except Retryable:
        click.echo("the engine has ended", err=True)


def _print(change: Json, *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(change))
        return
    at = datetime.fromtimestamp(s_from_ms(change["seen_at_ms"]), tz=UTC).astimezone()
    robots = ",".join(change["robots"]) or "-"
    detail = change_detail(change["after"] or change["before"] or {})
    click.echo(f"{change['number']:>7} {at:%Y-%m-%d %H:%M:%S} {robots} {change['account']} {change['symbol']} "
               f"{change['kind']} ({change['cause']}) {detail}".rstrip())


def change_detail(row: Json) -> str:
    """`long 7.6 at 26.6288` of a position, `buy 3 of 10 at 25.9, open` of an order."""
    if "entry_price" in row:
        return f"{row['side']} {row['size']} at {row['entry_price']}"
    if "status" in row:
        filled = f"{row['filled']} of " if row["filled"] not in {"0", row["size"]} else ""
        return f"{row['side']} {filled}{row['size']} at {row['price'] or 'the market'}, {row['status']}"
    return ""
