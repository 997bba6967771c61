"""Which face a run gets, and what it prints at its end."""

import asyncio
import sys

import click
import orjson
from rich.console import Console

from fleetsync_adapters.cli.plain import PlainFace
from fleetsync_adapters.cli.run import Face, RunOrder, run
from fleetsync_adapters.cli.summary import show


def carry_out(order: RunOrder, *, as_json: bool, plain: bool) -> None:
    """Run, show it on the standard error stream, print the summary on the standard output."""
    result = asyncio.run(run(order, _face(plain=plain)))
    if result is None:
        sys.stderr.write("ended before it began\n")
        return
    if as_json:
        click.echo(orjson.dumps(result.contract()))
    else:
        show(result, Console())


def _face(*, plain: bool) -> Face:
    return PlainFace()
