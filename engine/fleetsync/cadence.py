"""When a robot wants to run next: intervals by phase, jitter, and stretchable time.

A robot's key in the heap is an instant in *stretched* time. While the budget can serve every wish, stretched time runs
with real time. When it cannot, stretched time stands still until the backlog is served, so every interval grows in the
same ratio: nobody starves, and no key is recomputed when the budget changes. A robot of priority w takes only 1/w of
that growth.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from fleetsync.config import Settings
from fleetsync.model import Robot
from fleetsync.units import MINUTE_MS

SLIP_TOLERANCE_MS = 1_000  # a backlog younger than this is caught up with, older ones stretch time
_SPEED_MIN = 0.001  # stretched time is never taken to be slower than this, so that ratios stay finite
_FIRST_SPAN_MS = 100  # first runs are spread over no less
_RATIO_SPAN_MS = 30_000  # the stretch ratio is measured over about this long
_WEIGHTED_KEPT = 256  # kinds of robots whose intervals are worked out once a second: most have few priorities


@dataclass(frozen=True, slots=True)
class Intervals:
    """One robot's intervals in milliseconds; its own where the robot gives them, else the fleet's."""

    holding_ms: int
    working_ms: int
    flat_ms: int

    @classmethod
    def of(cls, settings: Settings, robot: Robot | None = None) -> "Intervals":
        """The fleet's intervals, with a robot's own over them."""
        own = (robot.holding_ms, robot.working_ms, robot.flat_ms) if robot else (None, None, None)
        fleet = (settings.holding_ms, settings.working_ms, settings.flat_ms)
        return cls(*(mine if mine is not None else default for mine, default in zip(own, fleet, strict=True)))

    def by_phase(self) -> tuple[int, int, int, int]:
        """The interval of each phase; an unknown robot is looked at as often as a holding one."""
        return self.holding_ms, self.holding_ms, self.working_ms, self.flat_ms


def draw_shortening(jitter: float, most: float, rng: Random, *, late: bool) -> float:
    """By which share an account's next interval is shortened: up to `jitter`, so that accounts do not march in step.

    One that was served so late that its place in the interval is lost stands where all who were late with it stand: it
    draws a place anew, once, anywhere in the interval down to what `most` leaves of it. Never longer than the interval.
    """
    return rng.random() * (most if late else jitter)


def apart_ms(rarely_ms: int, key_ms: int, index: int) -> int:
    """An interval for what is asked rarely beside frequent rounds: a fleet that began at once shall not ask at once.

    Up to a quarter shorter, by a mix of the account's index and its last key: another share each time, and no state.
    """
    mixed = (key_ms * 0x9E3779B1 + index * 0x85EBCA77) & 0xFFFF_FFFF
    return rarely_ms - ((rarely_ms * (mixed >> 16)) >> 18)


def first_span_ms(accounts: int, settings: Settings) -> int:
    """Over how long the first runs of so many accounts are spread: as the budget serves them, so a start is no herd.

    Within a flat interval: first runs lie in stretched time, and over a longer span those at its end would stay unread
    while others were read again and again.
    """
    return max(min(2 * MINUTE_MS * accounts // settings.calls_per_minute, settings.flat_ms), _FIRST_SPAN_MS)


def first_runs(robots: Iterable[Robot], settings: Settings) -> Iterator[tuple[Robot, int]]:
    """Each robot, and how long after the start its first run lies: account after account, in the order they come."""
    robots, order = list(robots), dict[str, int]()
    for robot in robots:
        order.setdefault(robot.account, len(order))
    span_ms = first_span_ms(len(order), settings)
    for robot in robots:
        yield robot, span_ms * order[robot.account] // len(order)


def speed_max(settings: Settings) -> float:
    """How much faster than real time stretched time may run: so that no fixed interval falls below the floor.

    The adaptive law spends a spare budget by its own scale, and needs no faster time.
    """
    if settings.spend != "all" or settings.mode != "fixed":
        return 1.0
    return min(settings.holding_ms, settings.working_ms, settings.flat_ms) / settings.floor_ms


class StretchClock:
    """Stretched time of one route (an exchange through an egress): real time less what the budget could not serve."""

    __slots__ = ("_hastened_at_ms", "_measured_at_ms", "_measured_slip_ms", "_weighted", "ratio", "slip_ms",
                 "speed_max")

    def __init__(self, now_ms: int, speed_max: float = 1.0) -> None:
        self.slip_ms = 0
        self.ratio = 1.0  # real time that passes while stretched time passes 1; 1 when all wishes are met
        self.speed_max = speed_max  # above 1: a spare budget may let stretched time run faster than real time
        self._hastened_at_ms = now_ms
        self._measured_at_ms = now_ms
        self._measured_slip_ms = 0
        self._weighted: dict[tuple[tuple[int, ...], float], Sequence[int]] = {}  # at this ratio

    def now_ms(self, real_ms: int) -> int:
        """Stretched time at a real instant."""
        return real_ms - self.slip_ms

    def real_ms(self, stretched_ms: int) -> int:
        """When a stretched instant comes, if nothing slips any more."""
        return stretched_ms + self.slip_ms

    def waited(self, head_ms: int, real_ms: int) -> None:
        """The oldest unserved key is `head_ms`: let stretched time stand still if it has waited too long."""
        behind_ms = real_ms - self.slip_ms - head_ms - SLIP_TOLERANCE_MS
        if behind_ms > 0:
            self.slip_ms += behind_ms

    def hasten(self, head_ms: int, real_ms: int) -> bool:
        """Nothing is due and the budget has room: go to the next key, no faster than `speed_max`. True if reached."""
        room_ms = int((real_ms - self._hastened_at_ms) * (self.speed_max - 1))
        missing_ms = head_ms - self.now_ms(real_ms)
        gained_ms = min(missing_ms, room_ms)
        if gained_ms > 0:
            self.slip_ms -= gained_ms
            self._hastened_at_ms = real_ms - int((room_ms - gained_ms) / (self.speed_max - 1))
            self._hastened_at_ms = max(self._hastened_at_ms, real_ms - SLIP_TOLERANCE_MS)
        return gained_ms >= missing_ms

    def comes_at_ms(self, stretched_ms: int, real_ms: int) -> int:
        """When a stretched instant comes at the earliest."""
        ahead_ms = stretched_ms - self.now_ms(real_ms)
        return real_ms + -int(-ahead_ms // self.speed_max) if ahead_ms > 0 else real_ms

    def measure(self, real_ms: int) -> None:
        """Update `ratio` from what has slipped; call it now and then."""
        span_ms = real_ms - self._measured_at_ms
        if span_ms < SLIP_TOLERANCE_MS:
            return
        slipped_ms = self.slip_ms - self._measured_slip_ms
        # Averaged as a speed: a second that stood still is one part in thirty, not an infinite ratio.
        speed = (span_ms - slipped_ms) / span_ms
        share = min(span_ms / _RATIO_SPAN_MS, 1.0)
        self.ratio = 1 / max(1 / self.ratio * (1 - share) + speed * share, _SPEED_MIN)
        self._measured_at_ms, self._measured_slip_ms = real_ms, self.slip_ms
        self._weighted.clear()

    def weighted_ms(self, intervals_ms: tuple[int, ...], priority: float) -> Sequence[int]:
        """The stretched intervals of a robot of that priority.

        In real time one lasts `interval * (1 + (ratio - 1) / priority)`: the wish where the budget allows it, and under
        scarcity a growth divided by the priority.
        """
        if priority == 1.0 or self.ratio <= 1.0:
            return intervals_ms
        weighted = self._weighted.get((intervals_ms, priority))
        if weighted is None:
            weight = (1 + (self.ratio - 1) / priority) / self.ratio
            weighted = [max(int(interval_ms * weight), 1) for interval_ms in intervals_ms]
            if len(self._weighted) < _WEIGHTED_KEPT:
                self._weighted[intervals_ms, priority] = weighted
        return weighted
