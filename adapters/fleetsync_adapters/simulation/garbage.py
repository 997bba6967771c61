"""Python's garbage collector, kept away from large worlds.

It looks through all that lives whenever that has grown by a quarter: a fifth of the time of a large run. What refers to
itself in a circle there is an engine that was killed, so a look after some of them is enough.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from fleetsync_adapters.simulation.life import Life
from fleetsync_adapters.simulation.observe import Observer

_LARGE = 1_000  # robots; smaller worlds are left to Python
_LIVES = 32  # engines of ten thousand robots take some ten MiB each; a look takes a second


@contextmanager
def seldom_collected(robots: int) -> Iterator[None]:
    """While this lasts, nothing is collected by itself if the fleet is large."""
    if robots < _LARGE or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Undertaker(Observer):
    """Collects the engines that were killed, where nobody else does."""

    def __init__(self) -> None:
        """Nobody has died."""
        self._dead = 0

    def crashed(self, at_ms: int, life: Life) -> None:
        """One more; it is still held here and there, and goes with one of the next."""
        self._dead += 1
        if self._dead % _LIVES == 0 and not gc.isenabled():
            gc.collect()
