"""The price path of a market: a pure function of (seed, market, instant), cheap at any instant.

The offset from the start price, in millionths, is a sum of octaves. Each octave draws a knot at every multiple of its
period and runs straight between two knots. Periods divide each other, so inside a cell of one octave all slower ones
run straight too. That bounds the price over a whole cell, and a search for the first crossing can skip whole days.
Prices stand still within `STEP_MS`; all arithmetic is on integers, hence equal on every machine.
"""

from dataclasses import dataclass

from fleetsync.units import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from fleetsync_adapters.paper.seeded import draw

STEP_MS = 100
_MILLION = 1_000_000
# (period, reach in millionths of the start price), slowest first: a tenth of the price in a day, little in a second.
_OCTAVES = (
    (DAY_MS, 60_000),
    (2 * HOUR_MS, 20_000),
    (10 * MINUTE_MS, 6_000),
    (MINUTE_MS, 2_000),
    (10 * SECOND_MS, 700),
    (SECOND_MS, 250),
)
_FINEST = len(_OCTAVES) - 1
_SLACK = len(_OCTAVES)  # each octave rounds down by less than one millionth


class PricePath:
    """One market's prices, in ticks."""

    __slots__ = ("_cells", "_last", "_reaches", "_seed", "_start", "_tail")

    def __init__(self, seed: int, start_ticks: int, liveliness: int) -> None:
        """Draw a path around `start_ticks`; `liveliness` 1000 is usual, 2000 moves twice as far."""
        self._seed = seed
        self._start = start_ticks
        self._reaches = tuple(reach * liveliness // 1000 for _, reach in _OCTAVES)
        self._tail = tuple(sum(self._reaches[i + 1 :]) + _SLACK for i in range(len(_OCTAVES)))
        self._cells: list[tuple[int, int, int]] = [(-1, 0, 0)] * len(_OCTAVES)
        self._last = (-1, 0)

    def ticks(self, at_ms: int) -> int:
        """The price at an instant."""
        step = at_ms // STEP_MS
        if self._last[0] != step:
            self._last = (step, self._ticks_of(self._offset(step * STEP_MS, _FINEST)))
        return self._last[1]

    def first_crossing(self, ticks: int, *, falling: bool, from_ms: int, until_ms: int) -> int | None:
        """The first step in [from_ms, until_ms] at which the price is at or beyond `ticks`, or None."""
        target = self._target(ticks, falling=falling)
        at_ms = -(-from_ms // STEP_MS) * STEP_MS
        while at_ms <= until_ms:
            skipped = self._skip(at_ms, target, falling=falling)
            if skipped == at_ms:
                offset = self._offset(at_ms, _FINEST)
                if (offset <= target) if falling else (offset >= target):
                    return at_ms
                skipped += STEP_MS
            at_ms = skipped
        return None

    def _skip(self, at_ms: int, target: int, *, falling: bool) -> int:
        """The end of the widest cell from here on that cannot hold the target; `at_ms` if none can be left out."""
        cells = []
        here = 0
        for octave, (period, _) in enumerate(_OCTAVES):
            index = at_ms // period
            cell = self._cell(octave, index)
            cells.append((cell, index * period, period))
            here += _between(cell, at_ms - index * period, period)
            end_ms = (index + 1) * period  # no slower cell ends before it
            there = 0
            for one, start_ms, span_ms in cells:
                there += _between(one, end_ms - start_ms, span_ms)
            reach = self._tail[octave]
            if (min(here, there) - reach > target) if falling else (max(here, there) + reach < target):
                return end_ms
        return at_ms

    def _target(self, ticks: int, *, falling: bool) -> int:
        """The highest (lowest) offset whose price is at or below (above) `ticks`."""
        if falling:
            return -(-(ticks + 1) * _MILLION // self._start) - 1 - _MILLION
        return -(-ticks * _MILLION // self._start) - _MILLION

    def _ticks_of(self, offset: int) -> int:
        return self._start * (_MILLION + offset) // _MILLION

    def _offset(self, at_ms: int, octaves: int) -> int:
        """The sum of the octaves 0..`octaves` at an instant, in millionths."""
        total = 0
        for octave in range(octaves + 1):
            period = _OCTAVES[octave][0]
            index, into = divmod(at_ms, period)
            total += _between(self._cell(octave, index), into, period)
        return total

    def _cell(self, octave: int, index: int) -> tuple[int, int, int]:
        """One cell of an octave: its index and the knots at its two ends. The last one is kept."""
        cell = self._cells[octave]
        if cell[0] != index:
            cell = (index, self._knot(octave, index), self._knot(octave, index + 1))
            self._cells[octave] = cell
        return cell

    def _knot(self, octave: int, index: int) -> int:
        reach = self._reaches[octave]
        return draw(self._seed, octave, index) % (2 * reach + 1) - reach


def _between(cell: tuple[int, int, int], into: int, period: int) -> int:
    """The straight line between a cell's knots."""
    return (cell[1] * (period - into) + cell[2] * into) // period


@dataclass(slots=True)
class Watch:
    """Waits for a price; remembers how far the path was searched, so that looking again is free."""

    path: PricePath
    ticks: int
    falling: bool  # hit when the price is at or below; otherwise at or above
    searched_until_ms: int  # no hit up to here ...
    hit_at_ms: int | None = None  # ... and the first one after it, once found

    def search(self, until_ms: int) -> int | None:
        """The first hit, if it is known or lies within `until_ms`."""
        if self.hit_at_ms is None and until_ms > self.searched_until_ms:
            self.hit_at_ms = self.path.first_crossing(
                self.ticks, falling=self.falling, from_ms=self.searched_until_ms + 1, until_ms=until_ms
            )
            if self.hit_at_ms is None:
                self.searched_until_ms = until_ms
        return self.hit_at_ms

    def restart(self, after_ms: int) -> None:
        """Forget the hit; only later prices count."""
        self.hit_at_ms = None
        self.searched_until_ms = after_ms
