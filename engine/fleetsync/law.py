"""How far the adaptive intervals must be scaled so that their rounds cost what the budget has, bounds included.

By the square-root law an account's interval is `scale x root`, its root being sqrt(cost / rate). A floor and a ceiling
bound it: who stands at a ceiling is read more often than the law says, and what that costs the others pay, by a larger
scale. The demand of all is a convex function of 1 / scale while only ceilings bind, so solving it for the budget on the
piece that it is on, once a pass over the fleet, is Newton's method: it settles within a few passes.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Demand:
    """What the rounds of many accounts cost in a millisecond, summed up over one pass."""

    free: float = 0.0  # at scale 1, of those whose interval lies between their bounds
    bound: float = 0.0  # of those that stand at their floor or their ceiling
    lawful: float = 0.0  # at scale 1, of all, as if there were no bounds
    least: float = 0.0  # of all at their ceilings: with less, no scale holds them
    longest_scale: float = 0.0  # at which the last one reaches its ceiling

    def add(self, cost: float, root: float, bounds_ms: tuple[int, int, int], scale: float | None) -> None:
        """Add rounds of that cost, whose interval is `scale x root` within its bounds; without a scale, by law alone.

        Args:
            cost: Of a round.
            root: Of cost by rate.
            bounds_ms: The floor; what is aimed at, so that the ceiling holds; the ceiling.
            scale: The present one; None where there is none yet.
        """
        floor_ms, aim_ms, ceiling_ms = bounds_ms
        lawful = cost / root
        self.lawful += lawful
        self.least += cost / ceiling_ms
        self.longest_scale = max(self.longest_scale, aim_ms / root)
        wish_ms = root * scale if scale is not None else None
        if wish_ms is None or floor_ms < wish_ms < aim_ms:
            self.free += lawful
        else:
            self.bound += cost / (aim_ms if wish_ms >= aim_ms else floor_ms)

    def scale_for(self, budget: float, scale: float | None) -> float:
        """The scale at which all of it costs `budget` a millisecond, as far as this pass can tell."""
        if self.least >= budget:
            return self.longest_scale * self.least / budget
        left = budget - self.bound
        if self.free > 0 and left > 0:
            return min(self.free / left, self.longest_scale)
        if left > 0 or scale is None:  # all are bound, though there is room: begin anew
            return self.lawful / budget
        return min(scale * (self.bound + self.free / scale) / budget, self.longest_scale)
