"""How a command ends: every error becomes one line that says what to do, and an exit code."""

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

import click

from fleetsync.errors import FleetsyncError
from fleetsync_adapters.cli import bench, plan, replay, simulate  # noqa: F401  they add their commands
from fleetsync_adapters.cli.commands import fleetsync

INTERRUPTED = 130
_DEBUG = "--debug"


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code."""
    try:
        code = fleetsync.main(list(arguments), prog_name="fleetsync", standalone_mode=False)
    except click.UsageError as error:
        return _refused(error)
    except click.ClickException as error:
        return _told(error.format_message(), error.exit_code)
    except FleetsyncError as error:
        _trace_if_asked(arguments)
        return _told(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except Exception as error:  # noqa: BLE001  the last stop: a person gets one line, and the way to the rest of it
        _trace_if_asked(arguments)
        more = "" if _DEBUG in arguments else f"; run it again as `fleetsync {_DEBUG} ...` for the whole of it"
        return _told(f"unexpected {type(error).__name__}: {_first_line(error)}{more}", 1)
    return code if isinstance(code, int) else 0


def _refused(error: click.UsageError) -> int:
    """A command line that cannot be read."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message())
        return 0
    place = error.ctx.command_path if error.ctx else "fleetsync"
    return _told(f"{error.format_message()} (see `{place} --help`)", error.exit_code)


def _told(text: str, code: int) -> int:
    with suppress(OSError, ValueError, AttributeError):  # full, closed, or none at all
        sys.stderr.write(f"fleetsync: {text}\n")
        sys.stderr.flush()
    return code


def _trace_if_asked(arguments: Sequence[str]) -> None:
    if _DEBUG in arguments:
        traceback.print_exc()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"


def end_at_once(*pids: int) -> None:
    """The second Ctrl-C: nothing is waited for any more."""
    for pid in pids:
        try:
            os.kill(pid, 9)
        except OSError:
            logging.getLogger(__name__).debug("process %d is gone already", pid)
    os._exit(INTERRUPTED)
