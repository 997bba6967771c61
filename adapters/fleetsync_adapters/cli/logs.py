"""Where log records go: warnings to the standard error stream, everything with `--debug`."""

import logging


def configure(*, debug: bool) -> None:
    """Set logging up for a command."""
    whole = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING,
                        format=whole if debug else "%(levelname)s: %(message)s")
    for chatty in ("ccxt", "aiohttp", "asyncio"):  # ccxt logs whole requests, keys included
        logging.getLogger(chatty).setLevel(logging.WARNING)
