"""What a simulated world consists of, as plain frozen values: everything that is not drawn while it runs.

`Setup` is complete: the same one gives the same history. Whoever measures makes one by hand (a stated fleet, settings
and workload); whoever hunts for bugs lets a seed draw one (`swarm.draw`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetsync.config import Settings
from fleetsync.model import Account, Robot
from fleetsync.tariff import Tariff
from fleetsync.units import SECOND_MS
from fleetsync_adapters.paper.limits import LimitRules
from fleetsync_adapters.simulation.faults import FaultPlan
from fleetsync_adapters.simulation.workload import Workload

START_AT_MS = 1_790_000_040_000  # the beginning of a minute in 2026; no simulation reads the real clock

Span = tuple[int, int]  # the least and the most, both included


def route_name(exchange: str, egress: str) -> str:
    """An exchange through an egress, as the engine calls it."""
    return f"{exchange}@{egress}" if egress else exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class Lags:
    """How long things are under way. The width of `up_ms` is the network's jitter as the budget means it."""

    pipe_ms: Span = (0, 2)
    """A message between engine and worker, either way."""
    up_ms: Span = (20, 120)
    """A request from its sending to its execution at the exchange."""
    down_ms: Span = (20, 150)
    """Its answer, from there to the worker."""
    commit_ms: Span = (1, 8)
    """A commit, half of it before it is applied."""
    start_ms: Span = (300, 1_500)
    """A worker process from its start to its first word."""
    restart_ms: Span = (500, 3_000)
    """The engine from its end to its next start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One world."""

    seed: int
    accounts: tuple[Account, ...]
    robots: tuple[Robot, ...]
    tariffs: Mapping[str, Tariff]
    settings: Settings = field(default_factory=Settings)
    workload: Workload = field(default_factory=Workload)
    lags: Lags = field(default_factory=Lags)
    faults: FaultPlan = field(default_factory=FaultPlan)
    limits: LimitRules = field(default_factory=LimitRules)
    markets: int = 60
    """How many markets the exchange lists."""
    start_at_ms: int = START_AT_MS
    minutes: int = 5
    """How long robots trade and faults strike."""

    @property
    def end_at_ms(self) -> int:
        """When the trading and the faults end."""
        return self.start_at_ms + self.minutes * 60 * SECOND_MS
