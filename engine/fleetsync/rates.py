"""Rates: how often each robot changes unannounced, given by the user or learnt from what syncs found.

A sync only tells *whether* something changed since the last one, so the count behind a finding is the expected count
given that it is at least one. Until a robot has a history, its phase's pooled rate stands in.
"""

from array import array
from math import expm1

from fleetsync.account import AccountState
from fleetsync.fleet import Fleet
from fleetsync.model import Phase
from fleetsync.units import HOUR_MS, MINUTE_MS

_PRIOR_COUNT = 0.7  # how many changes a prior weighs; below 1 since rates differ widely between robots
_PRIOR_RATE = 1 / (10 * MINUTE_MS)
_PRIOR_RATE_FLAT = 1 / (360 * MINUTE_MS)  # 36 times rarer: that makes the plan's 5 s : 30 s the starting point
_MEMORY_MS = 12 * HOUR_MS  # what was learnt fades with this half-life, so a robot that changes its ways is followed
_IDLE = (Phase.FLAT, Phase.UNKNOWN)


class Rates:
    """Changes a millisecond, by robot and by account."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._counts = array("d")  # changes found, fading
        self._exposures = array("d")  # ms watched, fading
        self._learnt_at_ms = array("q")
        rates = [_PRIOR_RATE_FLAT if phase in _IDLE else _PRIOR_RATE for phase in Phase]
        self._pooled_counts = [_PRIOR_COUNT for _ in rates]  # by phase, over the whole fleet
        self._pooled_exposures = [_PRIOR_COUNT / rate for rate in rates]
        self._prior_exposures = list(self._pooled_exposures)  # by phase: ms without a change that a prior weighs

    def of_account(self, state: AccountState) -> float:
        """Unannounced changes a millisecond over the robots of an account, weighed by their priorities."""
        fleet, rate = self._fleet, 0.0
        given_of, priority_of, phases = fleet.rate_of, fleet.priority_of, fleet.phase
        if len(self._counts) < len(phases):
            self._grow()
        priors, counts, exposures = self._prior_exposures, self._counts, self._exposures
        for slot in state.slots:  # as `of_robot` does: of large fleets this loop is the cost of the law
            if slot in given_of:
                each = given_of[slot]
            else:
                each = (_PRIOR_COUNT + counts[slot]) / (priors[phases[slot]] + exposures[slot])
            rate += each * priority_of[slot] if slot in priority_of else each
        return rate

    def of_robot(self, slot: int) -> float:
        """Unannounced changes a millisecond of one robot: given, or learnt over its phase's pooled rate."""
        fleet = self._fleet
        if slot in fleet.rate_of:
            return fleet.rate_of[slot]
        if slot >= len(self._counts):
            self._grow()
        prior_exposure_ms = self._prior_exposures[fleet.phase[slot]]
        return (_PRIOR_COUNT + self._counts[slot]) / (prior_exposure_ms + self._exposures[slot])

    def learn(self, slot: int, *, changed: bool, since_ms: int, now_ms: int) -> bool:
        """A sync read a robot: what it found since the reading before, at `since_ms`, corrects the robot's rate.

        Returns whether it has: nothing is learnt of a robot whose rate is given, or that was never read before.
        """
        if slot in self._fleet.rate_of:
            return False
        if slot >= len(self._counts):
            self._grow()
        before_ms = self._learnt_at_ms[slot] or since_ms
        self._learnt_at_ms[slot] = now_ms
        if not before_ms:
            return False
        span_ms = now_ms - before_ms
        found = 0.0
        if changed:
            expected = self.of_robot(slot) * max(now_ms - since_ms, 1)
            found = expected / -expm1(-expected)
        fade = 0.5 ** (span_ms / _MEMORY_MS)
        self._counts[slot] = self._counts[slot] * fade + found
        self._exposures[slot] = self._exposures[slot] * fade + span_ms
        phase = self._fleet.phase[slot]
        self._pooled_counts[phase] += found
        self._pooled_exposures[phase] += span_ms
        self._prior_exposures[phase] = _PRIOR_COUNT * self._pooled_exposures[phase] / self._pooled_counts[phase]
        return True

    def forget(self, slot: int) -> None:
        """The slot's robot is gone."""
        if slot < len(self._counts):
            self._counts[slot] = self._exposures[slot] = 0.0
            self._learnt_at_ms[slot] = 0

    def _grow(self) -> None:
        """As many rows as the fleet has slots."""
        missing = len(self._fleet.phase) - len(self._counts)
        self._counts.extend([0.0] * missing)
        self._exposures.extend([0.0] * missing)
        self._learnt_at_ms.extend([0] * missing)
