"""What a fleet asks for by arithmetic, with the fixed intervals: to see where the calls of a simulation come from."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from fleetsync.units import MINUTE_MS
from fleetsync_adapters.budget_bench.fleets import BenchFleet
from fleetsync_adapters.budget_bench.optimum import rate_per_hour, silent_share

# The symbol's orders, and a list, which stands for half a round; half are closes, with fills; a quarter name an order.
_CALLS_TOLD = 2.25
_CALLS_UNTOLD = 2.5  # an opening: its orders; a close: a second list, fills, the order that closed, fills once more
_LOOKED_AT_MAX = 32  # robots on the same symbol that the engine looks at after a change that nobody explains


@dataclass(frozen=True, slots=True)
class Demand:
    """Calls a minute, by what they are for; changes are a minute, too."""

    accounts: int
    holding_accounts: float  # with a robot that holds, on average
    holding_s: float
    flat_s: float
    rounds: float
    orders: float
    told: float
    untold: float
    others: float  # robots on the symbols of changes that nobody explains
    places_orders: bool

    @property
    def calls(self) -> float:
        """All of them."""
        return self.rounds + self.orders + self.told * _CALLS_TOLD + self.untold * _CALLS_UNTOLD + self.others

    def lines(self) -> Iterator[str]:
        """The arithmetic, line by line."""
        flat = self.accounts - self.holding_accounts
        yield (f"positions: {self.holding_accounts:.1f} accounts with a holding robot x 60/{self.holding_s:g} + "
               f"{flat:.1f} without x 60/{self.flat_s:g} = {self.rounds:.0f}")
        yield f"orders of robots that hold, each symbol every {self.flat_s:g} s: {self.orders:.0f}"
        yield (f"announced changes: {self.told:.1f} x {_CALLS_TOLD:g} (a list, in place of half a round; the symbol's "
               f"orders, the fills of a close, at times one order) = {self.told * _CALLS_TOLD:.0f}")
        yield (f"unannounced ones: {self.untold:.1f} x {_CALLS_UNTOLD:g} (of an opening its orders; of a close a "
               f"second list, its fills, its order) = {self.untold * _CALLS_UNTOLD:.0f}")
        yield f"robots on the same symbol as a change that nobody explains, looked at once: {self.others:.0f}"
        more = ("; what orders cost that robots place, and rest, is only in the simulated figure"
                if self.places_orders else "")
        yield f"together about {self.calls:.0f} a minute{more}"


def expected_demand(fleet: BenchFleet) -> Demand:
    """By the fleet's intervals and the model's shares; robots' own intervals are not looked at."""
    settings, trade = fleet.settings, fleet.workload
    share, silent = trade.holding_share, silent_share(trade)
    robots_of: dict[str, int] = {account.id: 0 for account in fleet.accounts}
    for robot in fleet.robots:
        robots_of[robot.account] += robot.enabled
    shows = {account.id: fleet.tariffs[account.exchange].positions_show_orders for account in fleet.accounts}
    holding = sum(1 - (1 - share) ** count for count in robots_of.values())
    flat = len(fleet.accounts) - holding
    rounds = holding * MINUTE_MS / settings.holding_ms + flat * MINUTE_MS / settings.flat_ms
    asked = sum(count * share if shows[account] else 1.0 for account, count in robots_of.items())
    beside = Counter(robot.symbol for robot in fleet.robots)
    a_minute = {robot.id: rate_per_hour(robot, trade) / 60 for robot in fleet.robots if robot.enabled}
    # Openings that nobody tells, and closes by hand; of a robot's own close its order says that it was the robot.
    unexplained = (silent + trade.by_hand) / 2
    others = sum(a_minute.get(robot.id, 0.0) * unexplained * min(beside[robot.symbol] - 1, _LOOKED_AT_MAX)
                 for robot in fleet.robots)
    changes = sum(a_minute.values())
    return Demand(len(fleet.accounts), holding, settings.holding_ms / 1000, settings.flat_ms / 1000, rounds,
                  asked * MINUTE_MS / settings.flat_ms, changes * (1 - silent), changes * silent, others,
                  trade.orders_per_hour > 0)
