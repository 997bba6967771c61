"""Signals of commands that compute."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigterm_like_ctrl_c() -> Iterator[None]:
    """Whoever is told to end ends the processes it has started, too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
