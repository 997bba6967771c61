"""What `fleetsync replay` prints: the run as it was measured, and as other settings would have had it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import orjson

from fleetsync.config import Settings
from fleetsync.errors import ConfigError
from fleetsync.tariff import Tariff
from fleetsync.units import MINUTE_MS
from fleetsync_adapters.budget_bench.fleets import fleet_from_file
from fleetsync_adapters.budget_bench.recorded import Recorded, measured, read_recorded
from fleetsync_adapters.budget_bench.replaying import Replayed, replay, replay_own
from fleetsync_adapters.budget_bench.table import seconds
from fleetsync_adapters.cli.querying import readable
from fleetsync_adapters.simulation.workload import Workload
from fleetsync_adapters.tariffs import load_tariff


def show_replay(db: str, *, budgets: tuple[int, ...], policies: tuple[str, ...], fleet: str | None, seed: int,
                as_json: bool) -> None:
    """Replay the settings that ran, and every budget under every policy.

    Raises:
        StoreRefused: the file cannot be read.
        ConfigError: it records too little, or the fleet file is wrong.
    """
    with readable(db) as path:
        run = read_recorded(path)
    if not run.robots:
        raise ConfigError(f"{db} holds no robots any more")
    settings, tariffs = _base(db, run, fleet, any_given=bool(budgets))
    was = measured(run)
    for line in (*_about(run), _line("measured", was), *_gaps(run)):
        click.echo(line)
    own = replay_own(run, tariffs, seed=seed)
    if own is not None:
        click.echo(_line("  as it ran, replayed", own.row))
        click.echo(_error(was, own.row))
        click.echo(_done(own))
    rows = []
    tried = [(budget, policy) for budget in budgets or (settings.calls_per_minute,)
             for policy in policies or (settings.mode,)] if budgets or policies or fleet is not None else []
    for budget, policy in tried:
        told = replay(run, settings.but(calls_per_minute=budget, mode=policy), tariffs, seed=seed).row
        rows.append({"budget_per_minute": budget, "policy": policy, **told})
        click.echo(_line(f"{budget} calls a minute, {policy}", told))
    if as_json:
        click.echo(orjson.dumps({"measured": was, "replayed": own.row if own is not None else None, "rows": rows}))


def _base(db: str, run: Recorded, fleet: str | None, *, any_given: bool) -> tuple[Settings, dict[str, Tariff]]:
    """The settings that others are tried from, and the exchanges' tables."""
    tariffs = dict[str, Tariff]()
    settings = run.settings
    if fleet is not None:
        declared = fleet_from_file(fleet, Workload())
        settings, tariffs = declared.settings, dict(declared.tariffs)
    if settings is None and not any_given:
        raise ConfigError(f"{db} does not say under which budget its run was; an earlier version wrote it",
                          hint="give --budget, and --fleet for other settings than the defaults")
    for exchange in {account.exchange for account in run.accounts}:
        tariffs.setdefault(exchange, load_tariff(exchange))
    return settings or Settings(), tariffs


def _about(run: Recorded) -> Iterator[str]:
    minutes = (run.until_ms - run.from_ms) / MINUTE_MS
    which = f"the last of {run.runs} runs in this file" if run.runs > 1 else "one run"
    if run.settings is None:
        yield f"{which}, {minutes:.1f} minutes; its settings are not in the file"
        return
    budget = ", then ".join(
        f"{limit}" + (f" from minute {(since_ms - run.from_ms) / MINUTE_MS:.1f}" if place else "")
        for place, (since_ms, limit) in enumerate(run.caps()))
    yield (f"{which}, {minutes:.1f} minutes: {budget} calls a minute, {run.settings.mode}; holding every "
           f"{seconds(run.settings.holding_ms)}, flat every {seconds(run.settings.flat_ms)}; "
           f"{run.count_asked('sync')} forced syncs, {run.count_asked('')} events")


def _gaps(run: Recorded) -> Iterator[str]:
    kept = (run.settings or Settings()).sync_records_per_second
    if run.fullest_second() >= kept:
        yield (f"  some seconds hold {run.fullest_second()} records of syncs, as many as the run kept of one second: "
               "its calls and ages are those of a part of them; set sync_records_per_second higher to keep all")


def _line(name: str, row: Mapping[str, Any]) -> str:
    age, unseen = row["age_ms"], row["unseen_ms"]
    return (f"{name}: {row['calls_per_minute']:.0f} calls a minute, account ages p50 {seconds(age['p50'])}, "
           f"p95 {seconds(age['p95'])}, p99 {seconds(age['p99'])}; unseen on average "
           f"{seconds(unseen['announced']['mean'])} announced, {seconds(unseen['unannounced']['mean'])} unannounced "
           f"({row['changes']} changes)")


def _error(was: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """How far the replay of what ran is from what was measured."""
    pairs: Sequence[tuple[str, Any, Any]] = (
        ("calls", was["calls_per_minute"], told["calls_per_minute"]),
        *((name, was["age_ms"][name], told["age_ms"][name]) for name in ("p50", "p95", "p99")))
    return "  off by: " + ", ".join(f"{name} {found / real - 1:+.1%}" for name, real, found in pairs if real and found)


def _done(told: Replayed) -> str:
    return f"  {told.deeds} deeds replayed" + (
        f"; {told.left} changes have no deed of their own (rows that changed in other ways)" if told.left else "")
