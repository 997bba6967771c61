"""Python's garbage collector, kept away from what stays.

It looks through all objects that have lived for long whenever their number has grown by a quarter, and calls in flight
count as such. In a worker with five thousand accounts that is a tenth of a second of standing still, once a second at
full load; over a million robots it is a third of a second. What is frozen is not looked at, and is freed all the same
when nothing refers to it any more; only what refers to itself in a circle is not found.
"""

import gc

from fleetsync.units import MINUTE_MS

COLLECT_MS = 5 * MINUTE_MS
"""Garbage that refers to itself is rare in a worker: so often is often enough to look for it among all that is not
frozen."""

_LARGE = 10_000  # robots; fewer are no pause that can be felt
_YOUNG = 10_000
"""So many young objects before they are looked at, beside a large fleet. Python's own 700 are fewer than the syncs in
flight are made of, and those die without its help: looking at them was a tenth of the engine's work at full load."""
_young_before: list[int] = []  # what the program had, for each engine that raised it


def seldom() -> None:
    """In a worker's process: only what is young is looked at by itself; the rest is `collect`'s."""
    gc.set_threshold(3_000, 20, 1_000_000)


def collect() -> None:
    """Look through everything that is not frozen."""
    gc.collect()


def keep() -> None:
    """What is here now stays, for instance markets that were just loaded; what stayed before is looked at once more."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def keep_large(robots: int) -> bool:
    """In the engine's process, which is its user's as well: `keep` a fleet that was put together, if it is large.

    While it is kept, what is young is looked at less often, unless the program itself has chosen so or never looks.

    Returns:
        Whether it was; `release` is to be told when the engine ends.
    """
    if robots < _LARGE:
        return False
    keep()
    young, *older = gc.get_threshold()
    _young_before.append(young)
    if 0 < young < _YOUNG:
        gc.set_threshold(_YOUNG, *older)
    return True


def release(*, kept: bool) -> None:
    """The engine has ended: what is left of its fleet may be collected, as often as its program collected before."""
    if not kept:
        return
    gc.unfreeze()
    before = _young_before.pop()  # engines may end in any order: the last one finds what the first one found
    young, *older = gc.get_threshold()
    if young == _YOUNG:  # else the program has chosen anew meanwhile
        gc.set_threshold(before, *older)
