"""The meter: requests as the exchange sees them, by a count that is exact for every window."""

from array import array
from bisect import bisect_left, bisect_right

from fleetsync.units import MINUTE_MS

_FRESH_MAX = 1_000  # instants; more would make the next sorting-in a pause that can be felt


class CallMeter:
    """Counts requests as the exchange sees them: in all, and in the worst 60 s, wherever they start.

    Exact at any rate: requests are kept as a count an instant, and sorted in by the thousand or when somebody asks.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._fresh: dict[int, int] = {}  # instant -> requests that are not sorted in yet
        self._at_ms = array("q")  # instants of the last minutes with requests, ascending ...
        self._upto = array("q")  # ... and how many requests there were up to and at each
        self._worst_minute = 0

    def count(self, sent_at_ms: int) -> None:
        """One request was sent; reports may come a little out of order."""
        self.calls += 1
        self._fresh[sent_at_ms] = self._fresh.get(sent_at_ms, 0) + 1
        if len(self._fresh) >= _FRESH_MAX:
            self._sort_in()

    @property
    def worst_minute(self) -> int:
        """Requests in the fullest 60 s so far."""
        self._sort_in()
        return self._worst_minute

    def last_minute(self, now_ms: int) -> int:
        """Requests in the 60 s up to now."""
        self._sort_in()
        return (self._upto[-1] if self._upto else 0) - self._before(now_ms - MINUTE_MS)

    def _before(self, at_ms: int) -> int:
        """Requests up to and at an instant."""
        index = bisect_right(self._at_ms, at_ms)
        return self._upto[index - 1] if index else 0

    def _sort_in(self) -> None:
        """Take the fresh ones in, and look at every window that ends at one of them or after it."""
        if not self._fresh:
            return
        fresh, self._fresh = self._fresh, {}
        ends_ms, upto = self._at_ms, self._upto
        index = bisect_left(ends_ms, min(fresh))
        sent = upto[index - 1] if index else 0
        before = sent
        for at_ms, sent_by_then in zip(ends_ms[index:], upto[index:], strict=True):
            fresh[at_ms] = fresh.get(at_ms, 0) + sent_by_then - before
            before = sent_by_then
        del ends_ms[index:], upto[index:]
        worst, start = self._worst_minute, 0
        for at_ms in sorted(fresh):
            sent += fresh[at_ms]
            ends_ms.append(at_ms)
            upto.append(sent)
            start = bisect_right(ends_ms, at_ms - MINUTE_MS, start)
            worst = max(worst, sent - (upto[start - 1] if start else 0))
        self._worst_minute = worst
        if ends_ms[0] < ends_ms[-1] - 4 * MINUTE_MS:
            self._forget_before(ends_ms[-1] - 2 * MINUTE_MS)

    def _forget_before(self, at_ms: int) -> None:
        index = bisect_right(self._at_ms, at_ms)
        gone = self._upto[index - 1]
        self._at_ms = self._at_ms[index:]
        self._upto = array("q", [sent - gone for sent in self._upto[index:]])
