"""`fleetsync bench`: what a fleet would need, measured in virtual time."""

# ruff: noqa: PLC0415  commands import what they need: `fleetsync --help` should not wait for the simulation

from typing import Any

import click

from fleetsync_adapters.cli.commands import fleetsync
from fleetsync_adapters.cli.finite import Finite


@fleetsync.group()
def bench() -> None:
    """Measure in virtual time what a fleet would get, before a single real call is made."""


def _share(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """`20%` or `0.2`."""
    if text is None:
        return None
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise click.BadParameter("a share is written as 20% or 0.2")
    return share


def budgets_of(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...]:
    """`600,1200`."""
    parts = [part.strip() for part in text.split(",")] if text is not None else []
    if not all(part.isdigit() and 0 < int(part) <= 100_000_000 for part in parts):
        raise click.BadParameter("budgets are whole calls a minute, like 600,1200,2400")
    return tuple(dict.fromkeys(map(int, parts)))


def policies_of(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...]:
    """`fixed,adaptive`."""
    from fleetsync.config import CADENCE_MODES

    if text is None:
        return ()
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not parts or not set(parts) <= set(CADENCE_MODES):
        raise click.BadParameter(f"policies are {' and '.join(CADENCE_MODES)}")
    return parts


def simulated_fleet(command: Any) -> Any:
    """The options that say what is simulated; shared by the commands that simulate."""
    for option in reversed((
        click.option("--robots", type=click.IntRange(1, 1_000_000), help="A synthetic fleet of so many robots."),
        click.option("--holding", callback=_share, metavar="SHARE", help="Share that holds.  [default: 20%]"),
        click.option("--accounts", type=click.IntRange(1, 1_000_000), help="Its accounts.  [default: 1 for 10 robots]"),
        click.option("--exchange", metavar="ID", help="Its exchange.  [default: binanceusdm]"),
        click.option("--changes-per-hour", type=Finite(0, 3_600), default=4, show_default=True,
                     help="Opens and closes of a robot; a robot's own rate in the fleet file wins."),
        click.option("--orders-per-hour", type=Finite(0, 3_600), default=0, show_default=True,
                     help="Limit orders that a robot places or cancels."),
        click.option("--announced", callback=_share, default="80%", show_default=True, metavar="SHARE",
                     help="Share of its own deeds that a robot announces as events."),
        click.option("--by-hand", callback=_share, default="5%", show_default=True, metavar="SHARE",
                     help="Share of opens and closes made by hand, which nobody announces."),
        click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="What is drawn."),
    )):
        command = option(command)
    return command


@bench.command()
@click.argument("fleet", required=False, type=click.Path())
@click.option("--budget", "budgets", callback=budgets_of, metavar="CALLS[,...]",
              help="Calls a minute to try.  [default: half, once and twice the fleet's]")
@click.option("--hours", type=Finite(0, 168, min_open=True), default=1, show_default=True,
              help="Virtual time that is measured, after a warm-up.")
@click.option("--policy", "policies", callback=policies_of, default="fixed,adaptive", show_default=True,
              help="Policies to compare.")
@click.option("--json", "as_json", is_flag=True, help="Last line on standard output: the rows as one JSON object.")
@click.option("--report", "report_dir", type=click.Path(file_okay=False), metavar="DIR",
              help="Write a page with plots there.")
@click.option("--jobs", type=click.IntRange(1, 256),
              help="Simulations side by side.  [default: one a processor, fewer for huge fleets]")
@click.option("--recording", type=click.Path(), metavar="FILE",
              help="CSV or Parquet of what robots did (at_ms, robot, action), in place of the model.")
@simulated_fleet
def budget(**options: Any) -> None:
    """Show how fresh FLEET, or a synthetic fleet, would be with several budgets.

    The real scheduler runs in virtual time against a simulated exchange on which the robots trade by a stated model.
    No exchange is called and no key is read.

    \b
    Examples:
      fleetsync bench budget fleet.toml --budget 600,1200,2400
      fleetsync bench budget --robots 10000 --holding 20% --accounts 500 --exchange binanceusdm --budget 1200
      fleetsync bench budget fleet.toml --policy adaptive --report report/
    """  # noqa: D301  click reads the escape: this paragraph keeps its lines
    from fleetsync_adapters.cli.benching import bench_budget

    bench_budget(**options)


@bench.command()
@click.option("--robots", type=click.IntRange(1, 100_000), default=200, show_default=True, help="How many robots.")
@click.option("--accounts", type=click.IntRange(1, 10_000), default=10, show_default=True, help="On how many accounts.")
@click.option("--seconds", type=click.IntRange(40, 86_400), default=180, show_default=True, help="For how long.")
@click.option("--workers", type=click.IntRange(0, 64), default=2, show_default=True, help="Worker processes.")
@click.option("--budget", type=click.IntRange(1, 100_000_000), default=1_200, show_default=True,
              help="Calls a minute.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="What is drawn.")
def reality(**options: int) -> None:
    """Hold the simulation against reality: a fleet over real sockets and processes, then again in virtual time.

    The exchange is the demo's, a process of its own on this machine. It takes as long as it says.
    """
    from fleetsync_adapters.cli.benching import bench_reality

    bench_reality(**options)
