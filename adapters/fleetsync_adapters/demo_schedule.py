"""Who trades what, when: the seeded life of the demo's robots. Pure.

Each robot lives in episodes, one at a time: a holding one closes while a flat one opens, an order rests far from the
price until it is cancelled, or one is quoted near the price, is perhaps filled, and what it brought is closed again.
As every opening has its closing, the share of holding robots stays where it began.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import heappop, heappush
from random import Random

from fleetsync.units import SECOND_MS

EPISODE_EVERY_MS = 90 * SECOND_MS  # one robot's mean time from one episode to the next
BY_HAND = 0.2  # this share of all deeds is done by hand, on the exchange's page: nobody tells the engine
_FAR = (20_000, 60_000)  # millionths of the price: not reached within minutes
_NEAR = (20, 150)
_ROTATES, _RESTS = 0.4, 0.7  # up to these shares of episodes; the others quote
_HOLDING_RESTS = 0.3  # of the orders that rest belong to a holding robot, to reduce its position


class Deed(StrEnum):
    """What a robot does."""

    OPEN = "open"  # at the market
    CLOSE = "close"  # all it holds, at the market; nothing when it holds nothing
    REST = "rest"  # a limit order
    CANCEL = "cancel"  # its limit order; nothing when that has ended


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """One deed of one robot, `after_ms` from the start."""

    after_ms: int
    robot: str
    deed: Deed
    by_hand: bool = False
    side: str = "buy"
    away: int = 0  # millionths of the price by which a limit order stands off
    reduces: bool = False


def schedule(robots: Sequence[str], holding: Sequence[str], span_ms: int, seed: int) -> list[Step]:
    """All steps of a fleet's robots within a span, in the order of their time; the same arguments give the same."""
    return _Life(robots, holding, Random(seed)).steps_until(span_ms)


class _Life:
    def __init__(self, robots: Sequence[str], holding: Sequence[str], rng: Random) -> None:
        held = set(holding)
        self._rng = rng
        self._size = len(robots)
        self._holding, self._flat = list(holding), [robot for robot in robots if robot not in held]
        self._resting: list[tuple[int, str, bool]] = []  # (until, robot, whether it holds then), in an episode
        self._steps: list[Step] = []

    def steps_until(self, span_ms: int) -> list[Step]:
        rate = self._size / EPISODE_EVERY_MS
        at_ms = SECOND_MS
        while at_ms < span_ms:
            self._release(at_ms)
            self._episode(at_ms)
            at_ms += 1 + int(self._rng.expovariate(rate))
        return sorted(step for step in self._steps if step.after_ms < span_ms)

    def _release(self, at_ms: int) -> None:
        """Robots whose episode is over may begin another one."""
        while self._resting and self._resting[0][0] <= at_ms:
            _, robot, holds = heappop(self._resting)
            (self._holding if holds else self._flat).append(robot)

    def _episode(self, at_ms: int) -> None:
        share = self._rng.random()
        if share < _ROTATES:
            if self._holding and self._flat:
                self._rotate(at_ms)
        elif share < _RESTS:
            self._rest(at_ms)
        elif self._flat:
            self._quote(at_ms)

    def _rotate(self, at_ms: int) -> None:
        closing, opening = self._draw(self._holding), self._draw(self._flat)
        self._do(closing, Deed.CLOSE, at_ms)
        opened_at_ms = at_ms + self._rng.randint(200, 1_500)
        self._do(opening, Deed.OPEN, opened_at_ms, side=self._side())
        heappush(self._resting, (at_ms + 4 * SECOND_MS, closing, False))
        heappush(self._resting, (opened_at_ms + 8 * SECOND_MS, opening, True))

    def _rest(self, at_ms: int) -> None:
        reduces = bool(self._holding) and self._rng.random() < _HOLDING_RESTS
        robots = self._holding if reduces else self._flat
        if not robots:
            return
        robot = self._draw(robots)
        self._do(robot, Deed.REST, at_ms, side=self._side(), away=self._rng.randint(*_FAR), reduces=reduces)
        ends_at_ms = at_ms + self._rng.randint(6_000, 15_000)
        self._do(robot, Deed.CANCEL, ends_at_ms)
        heappush(self._resting, (ends_at_ms + 2 * SECOND_MS, robot, reduces))

    def _quote(self, at_ms: int) -> None:
        robot = self._draw(self._flat)
        self._do(robot, Deed.REST, at_ms, side=self._side(), away=self._rng.randint(*_NEAR))
        ends_at_ms = at_ms + self._rng.randint(5_000, 12_000)
        self._do(robot, Deed.CANCEL, ends_at_ms)
        self._do(robot, Deed.CLOSE, ends_at_ms + 800)
        heappush(self._resting, (ends_at_ms + 4 * SECOND_MS, robot, False))

    def _do(self, robot: str, deed: Deed, after_ms: int, *, side: str = "buy", away: int = 0,
            reduces: bool = False) -> None:
        by_hand = self._rng.random() < BY_HAND
        self._steps.append(Step(after_ms, robot, deed, by_hand, side, away, reduces))

    def _draw(self, robots: list[str]) -> str:
        return robots.pop(self._rng.randrange(len(robots)))

    def _side(self) -> str:
        return self._rng.choice(("buy", "sell"))
