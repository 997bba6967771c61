"""`fleetsync replay`: what other settings would have given."""

# ruff: noqa: PLC0415  commands import what they need: `fleetsync --help` should not wait for the simulation

from typing import Any

import click

from fleetsync_adapters.cli.bench import budgets_of, policies_of
from fleetsync_adapters.cli.commands import fleetsync


@fleetsync.command()
@click.argument("db", type=click.Path())
@click.option("--budget", "budgets", callback=budgets_of, metavar="CALLS[,...]",
              help="Calls a minute to try.  [default: the run's own]")
@click.option("--policy", "policies", callback=policies_of, metavar="POLICY[,...]",
              help="Policies to try.  [default: the run's own]")
@click.option("--fleet", type=click.Path(), metavar="FILE", help="A fleet file with the other settings to try.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="What is drawn.")
@click.option("--json", "as_json", is_flag=True, help="Last line on standard output: one JSON object.")
def replay(**options: Any) -> None:
    """Say what other settings would have given, from what a run recorded in the file DB.

    Every change that the last run in the file has proven happens again, at its time, on a simulated exchange that
    answers as slowly as the real one did, beside the hints and forced syncs that came. A change that the run never saw
    is in no record. The first line is what was measured, the second the same by replaying the settings that really
    ran: it shows how far the others can be trusted.

    \b
    Examples:
      fleetsync replay fleetsync.duckdb
      fleetsync replay fleetsync.duckdb --budget 600,1200 --policy fixed,adaptive --fleet fleet.toml
    """  # noqa: D301  click reads the escape: this paragraph keeps its lines
    from fleetsync_adapters.cli.replaying import show_replay

    show_replay(**options)
