"""What `fleetsync bench budget` does: simulate, show progress on the standard error stream, print the rows."""

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fleetsync.config import Settings
from fleetsync.errors import ConfigError
from fleetsync_adapters.budget_bench.fleets import BenchFleet, counted, fleet_from_file, fleet_made
from fleetsync_adapters.budget_bench.page import write_page
from fleetsync_adapters.budget_bench.reality import compare
from fleetsync_adapters.budget_bench.recording import minutes_of, read_recording, with_recording
from fleetsync_adapters.budget_bench.table import show_rows
from fleetsync_adapters.budget_bench.trial import Outcome, Trial, attempt_all, warm_up_minutes
from fleetsync_adapters.cli.signals import sigterm_like_ctrl_c
from fleetsync_adapters.simulation.workload import Workload

_ROBOTS_AN_ACCOUNT = 10
_ROBOTS_AT_ONCE = 250_000  # of simulations side by side: each takes some 10 KiB


def fleet_asked_for(fleet: str | None, options: dict[str, Any]) -> BenchFleet:
    """The fleet that the options name; they are taken out of `options`.

    Raises:
        ConfigError: both a file and a synthetic fleet, or neither.
    """
    made = {name: options.pop(name) for name in ("robots", "accounts", "exchange")}
    holding, seed = options.pop("holding"), options["seed"]
    workload = Workload(
        changes_per_hour=options.pop("changes_per_hour"), orders_per_hour=options.pop("orders_per_hour"),
        announced=options.pop("announced"), by_hand=options.pop("by_hand"),
        holding_share=0.2 if holding is None else holding)
    if fleet is not None:
        chosen = [name for name, value in made.items() if value is not None]
        if chosen:
            raise ConfigError(f"--{chosen[0]} is for a synthetic fleet; a fleet file says it itself")
        return fleet_from_file(fleet, workload)
    robots = made["robots"]
    if robots is None:
        raise ConfigError("there is no fleet to simulate", hint="name a fleet file, or give --robots")
    accounts = made["accounts"] or -(-robots // _ROBOTS_AN_ACCOUNT)
    return fleet_made(robots, workload.holding_share, accounts, made["exchange"] or "binanceusdm", workload, seed)


def bench_budget(*, fleet: str | None, budgets: tuple[int, ...], hours: float, policies: tuple[str, ...],
                 as_json: bool, report_dir: str | None, jobs: int | None, recording: str | None, seed: int,
                 **options: Any) -> None:
    """Simulate every budget under every policy.

    Raises:
        ConfigError: the fleet, the recording or an option is wrong.
    """
    simulated, minutes = fleet_asked_for(fleet, options | {"seed": seed}), max(round(hours * 60), 1)
    if recording is not None:
        deeds = read_recording(recording, simulated)
        minutes = minutes_of(deeds)
        simulated = with_recording(simulated, deeds, warm_up_minutes(minutes))
    if report_dir is not None:
        _make_folder(report_dir)
    own = simulated.settings.calls_per_minute
    trials = [Trial(replace(simulated), budget, policy, minutes, seed)
              for budget in budgets or (max(own // 2, 1), own, own * 2) for policy in policies]
    told = Console(stderr=True)
    for line in simulated.lines():
        told.print(line, style="dim", highlight=False, soft_wrap=True)
    measured = counted(minutes, "virtual minute")
    told.print(f"measured: {measured} after {warm_up_minutes(minutes)} of warm-up; seed {seed}",
               style="dim", highlight=False, soft_wrap=True)
    outcomes = simulate(trials, jobs or _jobs_for(simulated), told)
    rows = [outcome.row for outcome in outcomes]
    show_rows(rows, Console())
    if report_dir is not None:
        page = Path(report_dir) / "index.html"
        write_page(page, simulated, outcomes)
        told.print(f"the page is {page}", highlight=False, soft_wrap=True)
    if as_json:
        click.echo(orjson.dumps({"rows": rows}))


def _jobs_for(fleet: BenchFleet) -> int:
    """One for each processor, but no more than the memory of a common machine holds."""
    return max(min(os.cpu_count() or 1, _ROBOTS_AT_ONCE // len(fleet.robots)), 1)


def simulate(trials: Sequence[Trial], jobs: int, told: Console) -> list[Outcome]:
    """Run trials with a progress bar; the outcomes in the order of the trials."""
    outcomes: dict[int, Outcome] = {}
    with Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
                  TimeElapsedColumn(), console=told, transient=True, disable=not told.is_terminal) as bars:
        tasks = [bars.add_task(f"{trial.budget} calls/min, {trial.policy}", total=1.0) for trial in trials]
        coming = attempt_all(trials, jobs, lambda place, share: bars.update(tasks[place], completed=share))
        with closing(coming), sigterm_like_ctrl_c():
            for place, outcome in coming:
                bars.update(tasks[place], completed=1.0)
                outcomes[place] = outcome
    return [outcomes[place] for place in range(len(trials))]


def _make_folder(path: str) -> None:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--report {path}: cannot be made: {error.strerror}") from error


def bench_reality(*, robots: int, accounts: int, seconds: int, workers: int, budget: int, seed: int) -> None:
    """Compare, and print the table."""
    settings = Settings(workers=workers, calls_per_minute=budget)
    found = compare(robots=robots, accounts=accounts, seconds=seconds, settings=settings, seed=seed)
    click.echo(f"{robots} robots on {accounts} accounts for {seconds} s, {workers} workers, {budget} calls a minute")
    click.echo(f"{'':24}{'real':>10}{'simulated':>12}{'error':>9}")
    for what, real, virtual, error in found.rows():
        click.echo(f"{what:24}{real:>10.0f}{virtual:>12.0f}{error:>+9.1%}")
