"""The only readers of time: every other file is handed `now`.

The engine's time is the system's, read once, plus what the monotonic clock has run since. So it keeps its pace when
somebody sets the system clock, and because the monotonic clock is one for the whole machine, a worker that is told
`base_at_ms` tells the same time as its parent: an instant like `send_by_ms` means the same in both.
"""

import time


class SystemClock:
    """The real `Clock`.

    Args:
        base_at_ms: the epoch instant at which the monotonic clock stood at zero; None reads the system's clock.
    """

    __slots__ = ("base_at_ms",)

    def __init__(self, base_at_ms: int | None = None) -> None:
        self.base_at_ms = time.time_ns() // 1_000_000 - _monotonic_ms() if base_at_ms is None else base_at_ms

    def now_ms(self) -> int:
        """Milliseconds since the epoch; never goes back."""
        return self.base_at_ms + _monotonic_ms()

    def __repr__(self) -> str:
        return f"<SystemClock at {self.now_ms()} ms>"


class VirtualClock:
    """A `Clock` that stands still until it is told to jump; for tests and the simulation."""

    __slots__ = ("_at_ms",)

    def __init__(self, at_ms: int = 0) -> None:
        self._at_ms = at_ms

    def now_ms(self) -> int:
        """The instant of the last jump."""
        return self._at_ms

    def jump_to(self, at_ms: int) -> None:
        """Make it `at_ms`.

        Raises:
            ValueError: that lies in the past; no clock of ours goes back.
        """
        if at_ms < self._at_ms:
            raise ValueError(f"a clock cannot go back from {self._at_ms} ms to {at_ms} ms")
        self._at_ms = at_ms

    def __repr__(self) -> str:
        return f"<VirtualClock at {self._at_ms} ms>"


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
