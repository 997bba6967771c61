"""What `fleetsync replay` prints: the run as it was measured, and as other settings would have had it."""

from collections.abc import Iterator, Mapping
from typing import Any

import click
import orjson

from fleetsync.config import Settings
from fleetsync.errors import ConfigError
from fleetsync.tariff import Tariff
from fleetsync_adapters.budget_bench.fleets import fleet_from_file
from fleetsync_adapters.budget_bench.recorded import measured, read_recorded
from fleetsync_adapters.budget_bench.replaying import replay
from fleetsync_adapters.budget_bench.table import seconds
from fleetsync_adapters.cli.querying import readable
from fleetsync_adapters.simulation.workload import Workload
from fleetsync_adapters.tariffs import load_tariff


def show_replay(db: str, *, budgets: tuple[int, ...], policies: tuple[str, ...], fleet: str | None, seed: int,
                as_json: bool) -> None:
    """Replay every budget under every policy.

    Raises:
        StoreRefused: the file cannot be read.
        ConfigError: it records too little, or the fleet file is wrong.
    """
    with readable(db) as path:
        run = read_recorded(path)
    settings, tariffs = Settings(), dict[str, Tariff]()
    if fleet is not None:
        declared = fleet_from_file(fleet, Workload())
        settings, tariffs = declared.settings, dict(declared.tariffs)
    for exchange in {account.exchange for account in run.accounts}:
        tariffs.setdefault(exchange, load_tariff(exchange))
    if not run.robots:
        raise ConfigError(f"{db} holds no robots any more")
    was = measured(run)
    for line in _lines("measured", was):
        click.echo(line)
    if run.fullest_second() >= settings.sync_records_per_second:
        click.echo(f"  some seconds hold {run.fullest_second()} records, the most that a run keeps by default: "
                   "its calls and ages are those of a part of the syncs")
    rows = []
    for budget in budgets:
        for policy in policies:
            told = replay(run, settings.but(calls_per_minute=budget, mode=policy), tariffs, seed=seed)
            rows.append({"budget_per_minute": budget, "policy": policy, **told.row})
            for line in _lines(f"{budget} calls a minute, {policy}", told.row):
                click.echo(line)
    left = f"{told.deeds} deeds replayed"
    click.echo(left + (f"; {told.left} changes have no deed of their own (parts of fills, resized positions)"
                       if told.left else ""))
    if as_json:
        click.echo(orjson.dumps({"measured": was, "rows": rows}))


def _lines(name: str, row: Mapping[str, Any]) -> Iterator[str]:
    age, unseen = row["age_ms"], row["unseen_ms"]
    yield (f"{name}: {row['calls_per_minute']:.0f} calls a minute, account ages p50 {seconds(age['p50'])}, "
           f"p95 {seconds(age['p95'])}, p99 {seconds(age['p99'])}; unseen on average "
           f"{seconds(unseen['announced']['mean'])} announced, {seconds(unseen['unannounced']['mean'])} unannounced "
           f"({row['changes']} changes)")
