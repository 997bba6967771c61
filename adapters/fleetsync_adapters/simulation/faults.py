"""What can go wrong, as data; see `chaos` for how it strikes."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """Which faults are enabled, and how often they strike."""

    strikes: Mapping[str, float] = field(default_factory=dict)
    """Strikes a minute, by kind."""

    def __bool__(self) -> bool:
        return bool(self.strikes)
