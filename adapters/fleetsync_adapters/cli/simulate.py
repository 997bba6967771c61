"""`fleetsync simulate`: fleets that a seed draws, in virtual time, with faults and every promise checked."""

# ruff: noqa: PLC0415  commands import what they need: `fleetsync --help` should not wait for the simulation

import textwrap
from typing import TYPE_CHECKING

import click

from fleetsync_adapters.cli.commands import fleetsync
from fleetsync_adapters.cli.signals import sigterm_like_ctrl_c

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import Console

    from fleetsync_adapters.simulation.runner import Progress as HowFar
    from fleetsync_adapters.simulation.runner import Summary
    from fleetsync_adapters.simulation.trial import Verdict

_FAILED_SHOWN = 10


@fleetsync.command()
@click.option("--seeds", type=click.IntRange(min=1), default=100, show_default=True, help="How many seeds to try.")
@click.option("--first-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Where to begin.")
@click.option("--forever", is_flag=True, help="Go on with the next seeds until Ctrl-C.")
@click.option("--minutes", type=click.IntRange(1, 10_000), help="Virtual minutes under faults.  [default: drawn]")
@click.option("--days", type=click.IntRange(1, 1_000), help="The same in days.")
@click.option("--robots", type=click.IntRange(1, 100_000), help="Robots of each fleet.  [default: drawn]")
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes side by side.  [default: one a processor]")
@click.option("--control/--no-control", default=True, show_default=True,
              help="Also run each workload without faults.")
@click.option("--shrink", "wants_shrunk", is_flag=True, help="Make the first failing seed small, and tell its story.")
def simulate(seeds: int, first_seed: int, forever: bool, minutes: int | None, days: int | None, robots: int | None,
             jobs: int | None, control: bool, wants_shrunk: bool) -> int:
    """Simulate fleets with faults, and check every promise.

    Each seed draws a fleet, its quotas and latencies, how its robots trade, and which faults strike. The same seed
    gives the same history, in any process. The exit code is 1 when a promise was broken. Ctrl-C ends it with what was
    found so far.

    \b
    Examples:
      fleetsync simulate --seeds 2000
      fleetsync simulate --seeds 1 --first-seed 14 --shrink
      fleetsync simulate --seeds 1 --robots 10000 --days 1 --no-control
    """  # noqa: D301  the help needs the control character itself
    if days is not None:
        if minutes is not None:
            raise click.UsageError("give either --minutes or --days")
        minutes = days * 1_440
    from rich.console import Console

    from fleetsync_adapters.simulation.runner import Summary
    from fleetsync_adapters.simulation.runner import simulate as run_seeds
    from fleetsync_adapters.simulation.swarm import draw

    console, summary = Console(stderr=True), Summary()
    trials, alone = None if forever else seeds * (2 if control else 1), seeds == 1 and not forever

    def verdicts(progress: "HowFar") -> "Iterable[Verdict]":
        return run_seeds(None if forever else seeds, first_seed, minutes=minutes, robots=robots,
                         jobs=1 if alone else jobs, control=control, progress=progress)

    try:
        for line in draw(first_seed, minutes=minutes, robots=robots).lines() if alone else ():
            click.echo(line)
        with sigterm_like_ctrl_c():
            interrupted = _follow(verdicts, summary, trials, console)
    except KeyboardInterrupt:
        interrupted = True
    if interrupted:
        click.echo("interrupted; so far:")
    _tell(summary, minutes, robots)
    if wants_shrunk and summary.failed:
        _tell_story(summary.failed[0], console)
    return 1 if summary.failed else 0


def _follow(verdicts: "Callable[[HowFar], Iterable[Verdict]]", summary: "Summary", trials: int | None,
            console: "Console") -> bool:
    """Take verdicts in as they come, with a bar; one trial alone moves it by its virtual time. True: interrupted."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(TextColumn("simulating"), BarColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn(),
                  TextColumn("{task.fields[found]}"), console=console, transient=True) as bars:
        of_trials = f" of {trials}" if trials is not None else ""
        task = bars.add_task("", total=trials, told=f"0{of_trials}", found="")

        def how_far(passed_ms: int, whole_ms: int) -> None:
            told = (f"{_hours(passed_ms)} of {_hours(whole_ms)} virtual hours" if passed_ms < whole_ms
                    else f"settling, {_hours(passed_ms - whole_ms)} virtual hours after the faults")
            bars.update(task, completed=summary.trials + min(passed_ms / whole_ms, 0.999), told=told)

        for verdict in verdicts(how_far):
            summary.add(verdict)
            found = f"[red]{len(summary.failed)} failed" if summary.failed else ""
            bars.update(task, completed=summary.trials, told=f"{summary.trials}{of_trials}", found=found)
            if verdict.interrupted:
                return True
    return False


def _hours(span_ms: int) -> str:
    return f"{span_ms // 3_600_000}:{span_ms // 60_000 % 60:02}"


def _tell(summary: "Summary", minutes: int | None, robots: int | None) -> None:
    hours = summary.virtual_ms / 3_600_000
    click.echo(f"{summary.trials} trials over {hours:.1f} virtual hours: {summary.calls:,} calls, {summary.strikes:,} "
               f"faults, {summary.lives:,} engine lives, {summary.events:,} events, {summary.changes:,} changes"
               + (f"; known to the last row again at most {summary.slowest_ms // 1000} s after the faults"
                  if summary.slowest_ms else ""))
    _tell_faults(summary)
    if not summary.failed:
        click.echo("every promise was kept")
        return
    for promise, trials in summary.broken.most_common():
        click.echo(f"{promise}: broken in {trials} trials")
    more = "".join(f" --{name} {value}" for name, value in (("minutes", minutes), ("robots", robots)) if value)
    for verdict in summary.failed[:_FAILED_SHOWN]:
        first = verdict.breaches[0].text if verdict.breaches else verdict.error
        click.echo(f"seed {verdict.options.seed}: {first}")
        click.echo(f"  fleetsync simulate --seeds 1 --first-seed {verdict.options.seed}{more} --shrink")
    if len(summary.failed) > _FAILED_SHOWN:
        click.echo(f"... and {len(summary.failed) - _FAILED_SHOWN} more")


def _tell_faults(summary: "Summary") -> None:
    """How often each kind of fault did something, and in how many trials: one that never did was not tried."""
    from fleetsync_adapters.simulation.faults import MISDEEDS, STRIKES

    if not summary.effects:
        return
    for name, kinds in (("strikes", list(STRIKES)), ("misdeeds", [misdeed.value for misdeed in MISDEEDS])):
        click.echo(f"{name}, and in how many trials:")
        told = [f"{kind}_{summary.effects[kind]:,}_in_{summary.struck[kind]:,}".replace("_", "\N{NO-BREAK SPACE}")
                for kind in kinds]  # unbroken, until the lines are
        for line in textwrap.wrap(", ".join(told), 110, initial_indent="  ", subsequent_indent="  "):
            click.echo(line.replace("\N{NO-BREAK SPACE}", " "))


def _tell_story(verdict: "Verdict", console: "Console") -> None:
    from fleetsync_adapters.simulation.shrink import shrink, story

    with console.status("making it small"):
        small = shrink(verdict.options)
    for line in story(small.options):
        click.echo(line)
