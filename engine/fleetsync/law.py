"""How far the adaptive intervals must be scaled so that their rounds cost what the budget has, bounds included.

By the square-root law an account's interval is `scale x root`, its root being sqrt(cost / rate). A floor and a ceiling
bound it: who stands at a ceiling is read more often than the law says, and what that costs the others pay, by a larger
scale. The demand of all is a convex function of 1 / scale while only ceilings bind, so solving it for the budget on the
piece that it is on, once a pass over the fleet, is Newton's method: it settles within a few passes.
"""

from dataclasses import dataclass, field
from typing import NamedTuple


class Bounds(NamedTuple):
    """Between what an interval has to lie."""

    floor_ms: int
    aim_ms: int  # what is aimed at, so that the ceiling holds
    ceiling_ms: int


@dataclass(slots=True)
class Demand:
    """What the rounds of many accounts cost in a millisecond, summed up over one pass."""

    scale: float | None = None  # the present one; None where there is none yet: by law alone
    free: float = 0.0  # at scale 1, of those whose interval lies between their bounds
    bound: float = 0.0  # of those that stand at their floor or their ceiling
    lawful: float = 0.0  # at scale 1, of all, as if there were no bounds
    least: float = 0.0  # of all at their ceilings: with less, no scale holds them
    longest_scale: float = 0.0  # at which the last one reaches its ceiling

    def add(self, cost: float, root: float, bounds: Bounds) -> None:
        """Add rounds of that cost, whose interval is `scale x root` (of cost by rate) within its bounds."""
        floor_ms, aim_ms, ceiling_ms = bounds
        scale, lawful, reaches_at = self.scale, cost / root, aim_ms / root
        self.lawful += lawful
        self.least += cost / ceiling_ms
        self.longest_scale = max(self.longest_scale, reaches_at)
        if scale is None or floor_ms < root * scale < aim_ms:
            self.free += lawful
        else:
            self.bound += cost / (aim_ms if scale >= reaches_at else floor_ms)

    def scale_for(self, budget: float) -> float:
        """The scale at which all of it costs `budget` a millisecond, as far as this pass can tell."""
        if self.least >= budget:
            return self.longest_scale * self.least / budget
        left, scale = budget - self.bound, self.scale
        if self.free > 0 and left > 0:
            return min(self.free / left, self.longest_scale)
        if left > 0 or scale is None:  # all are bound, though there is room: begin anew
            return self.lawful / budget
        return min(scale * (self.bound + self.free / scale) / budget, self.longest_scale)


@dataclass(slots=True, eq=False)
class Law:
    """Where the adaptive intervals of one route stand."""

    scale: float | None = None  # milliseconds of interval for a root of 1; None until the first pass is over
    overload: float = 0.0  # how many times over the ceilings alone would spend the budget; 0: not known yet
    lead_ms: int = 0  # how much longer than they wished accounts have lately waited
    bounds: tuple[Bounds, ...] = ()  # by phase, of the pass that is under way; empty before its first account
    demand: Demand = field(default_factory=Demand)  # likewise
    planned: float = 0.0  # likewise: what the plan's intervals would cost a millisecond

    def begin(self, bounds: tuple[Bounds, ...]) -> None:
        """A pass over the fleet has come to the route's first account."""
        self.bounds, self.demand, self.planned = bounds, Demand(self.scale), 0.0

    def end(self, affordable: float, *, spend_all: bool) -> None:
        """A pass is over; `affordable` is what the scarcest quota can pay a millisecond."""
        wanted = affordable
        if not spend_all:
            wanted = min(max(self.planned, self.demand.least), affordable)
        self.scale, self.overload = self.demand.scale_for(wanted), self.demand.least / affordable
        self.bounds = ()
