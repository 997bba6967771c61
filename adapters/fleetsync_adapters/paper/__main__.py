"""`python -m fleetsync_adapters.paper`: the paper exchange as a child process of `PaperProcess`."""

import argparse
import sys

from fleetsync.errors import FleetsyncError
from fleetsync_adapters.paper.server import run_paper_exchange


def main() -> int:
    """Run it with the options that were given; returns the exit code."""
    parser = argparse.ArgumentParser(prog="fleetsync_adapters.paper")
    parser.add_argument("--host", default="127.0.0.1")
    for name, default in (("port", 18080), ("seed", 1), ("accounts", 100), ("markets", 600)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--weight-per-minute", type=int, default=2400)
    parser.add_argument("--unlimited", action="store_true")
    parser.add_argument("--ready-file")
    parser.add_argument("--ends-with-stdin", action="store_true")
    try:
        run_paper_exchange(**vars(parser.parse_args()))
    except FleetsyncError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
