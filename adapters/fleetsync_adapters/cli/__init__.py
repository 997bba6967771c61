"""The command line. Worker processes import this module again when they start: it stays light on purpose."""

import os
import sys


def main() -> int:
    """Run `fleetsync`; returns the exit code."""
    try:
        from fleetsync_adapters.cli.entry import run_command  # noqa: PLC0415  a worker needs none of it

        code = run_command(sys.argv[1:])
    except KeyboardInterrupt:  # before there was anything to end in order
        return 130
    if sys.stdout is None:  # `fleetsync status >&-`
        return code
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # `fleetsync changes | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
