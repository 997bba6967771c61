"""What a fleet asks for by arithmetic, with the fixed intervals: to see where the calls of a simulation come from."""

from collections.abc import Iterator
from dataclasses import dataclass

from fleetsync.units import MINUTE_MS
from fleetsync_adapters.budget_bench.fleets import BenchFleet
from fleetsync_adapters.budget_bench.optimum import rate_per_hour, silent_share

_CALLS_AN_EVENT = 2  # the list of positions, and the orders of the one symbol


@dataclass(frozen=True, slots=True)
class Demand:
    """Calls a minute, by what they are for."""

    accounts: int
    holding_accounts: float  # with a robot that holds, on average
    holding_s: float
    flat_s: float
    rounds: float
    orders: float
    events: float

    def lines(self) -> Iterator[str]:
        """The arithmetic, line by line."""
        flat = self.accounts - self.holding_accounts
        yield (f"positions: {self.holding_accounts:.1f} accounts with a holding robot x 60/{self.holding_s:g} + "
               f"{flat:.1f} without x 60/{self.flat_s:g} = {self.rounds:.0f}")
        yield f"orders of robots that hold, each symbol every {self.flat_s:g} s: {self.orders:.0f}"
        yield f"announced changes, {_CALLS_AN_EVENT} calls each: {self.events:.0f}"
        yield f"together {self.rounds + self.orders + self.events:.0f} a minute, before jitter and second readings"


def expected_demand(fleet: BenchFleet) -> Demand:
    """By the fleet's intervals and the model's shares; robots' own intervals are not looked at."""
    settings, share = fleet.settings, fleet.workload.holding_share
    robots_of: dict[str, int] = {account.id: 0 for account in fleet.accounts}
    for robot in fleet.robots:
        robots_of[robot.account] += robot.enabled
    shows = {account.id: fleet.tariffs[account.exchange].positions_show_orders for account in fleet.accounts}
    holding = sum(1 - (1 - share) ** count for count in robots_of.values())
    flat = len(fleet.accounts) - holding
    rounds = holding * MINUTE_MS / settings.holding_ms + flat * MINUTE_MS / settings.flat_ms
    asked = sum(count * share if shows[account] else 1.0 for account, count in robots_of.items())
    told = sum(rate_per_hour(robot, fleet.workload) for robot in fleet.robots) / 60 * (1 - silent_share(fleet.workload))
    return Demand(len(fleet.accounts), holding, settings.holding_ms / 1000, settings.flat_ms / 1000, rounds,
                  asked * MINUTE_MS / settings.flat_ms, told * _CALLS_AN_EVENT)
