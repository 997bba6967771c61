"""Spans by the time they last: exact to the millisecond, whatever the size of the fleet.

An age grows evenly between two readings, so its distribution is a sum of flat pieces. Each is added at its two ends
only, and summed up when somebody asks: nothing is sampled.
"""

from array import array
from itertools import accumulate
from math import ceil

_LONGEST_MS = 15 * 60_000  # older counts as this old; the true maximum is kept apart


class Ages:
    """How long robots were how old, in robot-milliseconds."""

    def __init__(self) -> None:
        """Nobody was seen yet."""
        self._ends = array("q", bytes(8 * (_LONGEST_MS + 2)))
        self._capped = 0
        self.robot_time = 0
        self.max_ms = 0

    def grew(self, from_ms: int, to_ms: int, robots: int = 1) -> None:
        """So many robots' ages grew from one value to another."""
        if to_ms <= from_ms:
            return
        self.max_ms = max(self.max_ms, to_ms)
        self.robot_time += (to_ms - from_ms) * robots
        if to_ms > _LONGEST_MS:
            self._capped += (to_ms - max(from_ms, _LONGEST_MS)) * robots
            to_ms = _LONGEST_MS
            if from_ms >= to_ms:
                return
        self._ends[max(from_ms, 0)] += robots
        self._ends[to_ms] -= robots

    def percentiles_ms(self, *shares: float) -> list[int | None]:
        """The age that is not exceeded for each share of the time."""
        if not self.robot_time:
            return [None] * len(shares)
        found: list[int | None] = []
        passed, age_ms = 0, 0
        heights = accumulate(self._ends)
        for share in sorted(shares):
            wanted = share * self.robot_time
            while passed < wanted and age_ms < _LONGEST_MS:
                passed += next(heights)
                age_ms += 1
            found.append(min(age_ms, self.max_ms) if passed >= wanted else self.max_ms)
        return found

    def summary(self) -> dict[str, int | None]:
        """`{"p50": ..., "p95": ..., "p99": ..., "max": ...}`; None where nobody was ever in this phase."""
        p50, p95, p99 = self.percentiles_ms(0.5, 0.95, 0.99)
        return {"p50": p50, "p95": p95, "p99": p99, "max": self.max_ms if self.robot_time else None}

    def beyond(self, limit_ms: int) -> int:
        """The robot-milliseconds that were spent older than this."""
        young = sum(height for _, height in zip(range(limit_ms), accumulate(self._ends), strict=False))
        return self.robot_time - young

    def curve(self, points: int) -> list[tuple[int, float]]:
        """(age in ms, share of the time at most that old) at some quantiles, for a plot."""
        if not self.robot_time:
            return []
        shares = [index / points for index in range(1, points)] + [0.995, 0.999, 1.0]
        ages = self.percentiles_ms(*shares)
        return [(age_ms or 0, share) for age_ms, share in zip(ages, shares, strict=True)]


def mean_ms(spans_ms: list[int]) -> int | None:
    """The mean, rounded; None of nothing."""
    return round(sum(spans_ms) / len(spans_ms)) if spans_ms else None


def percentile_ms(spans_ms: list[int], share: float) -> int | None:
    """The span that `share` of all do not exceed (nearest rank); None of nothing."""
    if not spans_ms:
        return None
    return sorted(spans_ms)[max(ceil(share * len(spans_ms)), 1) - 1]
