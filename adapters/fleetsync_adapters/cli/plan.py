"""`fleetsync plan`: the least budget that keeps a service level."""

# ruff: noqa: PLC0415  commands import what they need: `fleetsync --help` should not wait for the simulation

from typing import Any

import click

from fleetsync_adapters.cli.bench import simulated_fleet
from fleetsync_adapters.cli.commands import fleetsync


@fleetsync.command()
@click.argument("fleet", required=False, type=click.Path())
@click.option("--slo", required=True, metavar="TEXT",
              help='What must hold, like "holding p99 <= 5s, flat p99 <= 30s, unannounced p95 <= 20s".')
@click.option("--budget", type=click.IntRange(1, 100_000_000), metavar="CALLS",
              help="Calls a minute that there are: how many more such robots fit into them?")
@click.option("--policy", type=click.Choice(("fixed", "adaptive")), help="[default: the fleet's]")
@click.option("--minutes", type=click.IntRange(2, 1_440), default=10, show_default=True,
              help="Virtual minutes of each simulation of the search; the last word has twice as many.")
@click.option("--json", "as_json", is_flag=True, help="Last line on standard output: the plan as one JSON object.")
@simulated_fleet
def plan(**options: Any) -> None:
    """Find the least budget that keeps FLEET, or a synthetic fleet, at a service level.

    It is found by simulating, and verified with another seed. A figure counts as kept up to 5 % above its limit: an
    age lasts from the sending of one request to the arrival of the next one's answer, so the time under way adds to
    every interval.

    \b
    Examples:
      fleetsync plan fleet.toml --slo "holding p99 <= 5s, flat p99 <= 30s, unannounced p95 <= 20s"
      fleetsync plan --robots 1000 --accounts 100 --slo "holding p99 <= 10s" --budget 1200
    """  # noqa: D301  click reads the escape: this paragraph keeps its lines
    from fleetsync_adapters.cli.planning import make_plan

    make_plan(**options)
