"""How far the exchange's clock is from ours, measured when the exchange complains, and followed in bounded steps."""

import asyncio
from collections.abc import Awaitable, Callable

from fleetsync.units import MINUTE_MS, SECOND_MS, s_from_ms

SAMPLES = 3
MEASURE_AT_MOST_EVERY_MS = 5 * SECOND_MS  # a measurement that was misled is what is complained of next: soon enough
LARGEST_STEP_MS = 10 * MINUTE_MS  # a bad sample must not carry us off; a clock that is really off is reached in steps
LONGEST_MEASURE_MS = 800  # the call that complained waits for it; what was sampled until then counts


class ExchangeClock:
    """Our clock, shifted to the exchange's."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.skew_ms = 0
        self._now_ms = now_ms
        self._measured_at_ms: int | None = None
        self._measuring = asyncio.Lock()

    def now_ms(self) -> int:
        """The exchange's time, as far as we know it."""
        return self._now_ms() + self.skew_ms

    async def correct(self, fetch_time: Callable[[], Awaitable[int]]) -> bool:
        """Measure the skew and follow it; at most once in five seconds, whoever asks.

        Args:
            fetch_time: Asks the exchange for its time, in milliseconds.

        Returns:
            Whether a measurement was made.

        Raises:
            TimeoutError: it took too long; what was sampled counts.
            Exception: what `fetch_time` raised; what was sampled counts.
        """
        if self._measuring.locked():
            return False
        async with self._measuring:
            now_ms = self._now_ms()
            if self._measured_at_ms is not None and now_ms - self._measured_at_ms < MEASURE_AT_MOST_EVERY_MS:
                return False
            self._measured_at_ms = now_ms
            samples: list[tuple[int, int]] = []  # round trip, skew
            try:
                async with asyncio.timeout(s_from_ms(LONGEST_MEASURE_MS)):
                    for _ in range(SAMPLES):
                        sample = await self._sample(fetch_time)
                        samples.append(sample)
            finally:
                if samples:
                    self.skew_ms = stepped(self.skew_ms, samples)
            return True

    async def _sample(self, fetch_time: Callable[[], Awaitable[int]]) -> tuple[int, int]:
        asked_at_ms = self._now_ms()
        theirs_ms = await fetch_time()
        took_ms = self._now_ms() - asked_at_ms
        return took_ms, theirs_ms - (asked_at_ms + took_ms // 2)


def stepped(skew_ms: int, samples: list[tuple[int, int]]) -> int:
    """The new skew: towards the middle one of the samples, by a bounded step.

    A quick answer may be a lie (seen: an exchange's host whose own clock is off), so it takes two that agree. Of two
    samples, the one with the shorter round trip counts.
    """
    skews_ms = sorted(skew_ms for _, skew_ms in samples)
    measured_ms = skews_ms[len(skews_ms) // 2] if len(samples) > 2 else min(samples)[1]
    return skew_ms + max(-LARGEST_STEP_MS, min(LARGEST_STEP_MS, measured_ms - skew_ms))
