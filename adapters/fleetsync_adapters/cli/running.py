"""Which face a run gets, and what it prints at its end."""

import asyncio
import logging
import sys

import click
import orjson
from rich.console import Console

from fleetsync.journal import Notice
from fleetsync.units import ms_from_s
from fleetsync_adapters.cli.descriptors import raise_descriptors
from fleetsync_adapters.cli.plain import PlainFace
from fleetsync_adapters.cli.privacy import keep_private
from fleetsync_adapters.cli.run import DEMO_S, Face, RunOrder, run
from fleetsync_adapters.cli.summary import show
from fleetsync_adapters.live_view import LiveFace


def carry_out(order: RunOrder, *, as_json: bool, plain: bool) -> None:
    """Run, show it on the standard error stream, print the summary on the standard output."""
    keep_private(order)
    raise_descriptors()
    face, root = _face(order, plain=plain), logging.getLogger()
    handlers = root.handlers
    if isinstance(face, LiveFace) and root.level > logging.DEBUG:  # a record written over the view would tear it
        root.handlers = [_Noticing(face)]
    try:
        result = asyncio.run(run(order, face))
    finally:
        root.handlers = handlers
    if result is None:
        sys.stderr.write("ended before it began\n")
        return
    if as_json:
        click.echo(orjson.dumps(result.contract()))
    else:
        show(result, Console())


def _face(order: RunOrder, *, plain: bool) -> Face:
    console = Console(stderr=True)
    if plain or not console.is_terminal or console.is_dumb_terminal:
        return PlainFace()
    span_s = order.span_s or (None if order.assembly is not None else DEMO_S)
    return LiveFace(console, ms_from_s(span_s) if span_s else None)


class _Noticing(logging.Handler):
    """Log records as notices of the view."""

    def __init__(self, face: Face) -> None:
        super().__init__()
        self._face = face

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self._face.notice(Notice(level, record.name, record.getMessage()))
