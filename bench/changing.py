"""An exchange in which positions change by chance, each robot at a rate of its own, and how long that goes unseen."""

import random
from array import array
from collections.abc import Sequence
from math import exp, log, sqrt

from bench.lab import START_MS

from fleetsync.messages import Answer, Call, Dispatch, Request, Rows, SyncDone
from fleetsync.model import Account, Position, Robot, Surface
from fleetsync.units import HOUR_MS

_MEDIAN_AN_HOUR = 6.0


def drifting_fleet(count: int, *, given: bool, seed: int = 1) -> tuple[list[Account], list[Robot], list[float]]:
    """One robot an account and a symbol; its changes an hour are log-normal (sigma 1)."""
    chance = random.Random(seed)
    rates = [exp(chance.gauss(log(_MEDIAN_AN_HOUR), 1.0)) for _ in range(count)]
    accounts = [Account(f"account-{number:06}", "binanceusdm") for number in range(count)]
    robots = [Robot(f"robot-{number:06}", accounts[number].id, f"C{number}/USDT:USDT",
                    changes_per_hour=rates[number] if given else None) for number in range(count)]
    return accounts, robots, [rate / HOUR_MS for rate in rates]


class ChangingExchange:
    """Each account holds one position, whose size changes at the robot's rate. What is read is noted.

    A change that comes up at a random instant of an interval T between two readings stays unseen for T/2 on average:
    so the mean unseen time follows from the readings alone, without the noise of the changes themselves.
    """

    def __init__(self, rates: Sequence[float], seed: int = 2) -> None:
        self._chance = random.Random(seed)
        self._rates = rates
        self._next_ms = [START_MS + self._chance.expovariate(rate) for rate in rates]
        self._rows = [Position(f"C{number}/USDT:USDT", "long", "1", "100", START_MS) for number in range(len(rates))]
        self._told: dict[tuple[int, Call], Rows] = {}
        self._read_ms = array("q", [0]) * len(rates)
        self._squares, self._spans = array("d", [0.0]) * len(rates), array("d", [0.0]) * len(rates)
        self._counted_from_ms = 1 << 62
        self.calls = 0

    def count_from(self, at_ms: int) -> None:
        """Judge what is read from now on: whole spans between two readings, none that was cut at either end."""
        self._counted_from_ms, self.calls = at_ms, 0
        self._read_ms = array("q", [0]) * len(self._rates)

    def mean_unseen_ms(self, until_ms: int) -> float:
        """The mean time that a change went unseen, over all changes: each robot's own mean, weighed by its rate."""
        unseen = 0.0
        for rate, squares, spans, read_ms in zip(self._rates, self._squares, self._spans, self._read_ms, strict=True):
            never = until_ms - max(read_ms, self._counted_from_ms)  # read once or not at all: at least this long
            unseen += rate * (squares / spans if spans else never) / 2
        return unseen / sum(self._rates)

    def _saw(self, number: int, at_ms: int) -> None:
        if self._read_ms[number]:
            span_ms = at_ms - self._read_ms[number]
            self._squares[number] += span_ms * span_ms
            self._spans[number] += span_ms
        self._read_ms[number] = at_ms

    def __call__(self, job: Dispatch, now_ms: int) -> SyncDone:
        """Answer a dispatch."""
        number = int(job.account.rpartition("-")[2])
        while self._next_ms[number] <= now_ms:
            row = self._rows[number]
            changed_ms = int(self._next_ms[number])
            # Never back to a size it had: what came and went between two readings could be found by nobody.
            self._rows[number] = row._replace(size=str(int(row.size) + 1), updated_at_ms=changed_ms)
            self._next_ms[number] += self._chance.expovariate(self._rates[number])
        answers = []
        for call in job.calls:
            self.calls += 1
            rows: Rows = (self._rows[number],) if call.surface is Surface.POSITIONS else ()
            if call.surface is Surface.POSITIONS and now_ms > self._counted_from_ms:
                self._saw(number, now_ms)
            same = self._told.get((number, call)) == rows and not job.full
            self._told[number, call] = rows
            answers.append(Answer(call, now_ms, complete=True, rows=None if same else rows))
        requests = tuple([Request("GET", 1, now_ms, 200) for _ in job.calls])
        return SyncDone(job.sync_id, tuple(answers), requests)


def least_unseen_ms(rates: Sequence[float], rounds_a_ms: float) -> float:
    """The closed form: no schedule of so many rounds has a smaller mean unseen time (equal costs and weights)."""
    roots = sum(sqrt(rate) for rate in rates)
    return roots * roots / (2 * rounds_a_ms * sum(rates))
