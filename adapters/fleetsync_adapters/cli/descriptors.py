"""How many descriptors a run may have open."""

import contextlib
import resource

_WANTED = (65_536, 10_240)  # the second is what macOS grants where it says that there is no limit


def raise_descriptors() -> None:
    """Towards what this user may have: what a shell gives is a habit, and a run has robots and clients by the hundred.

    Workers inherit it. Only a program of our own does that: another one may count on what it was given.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in _WANTED:
        wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return
