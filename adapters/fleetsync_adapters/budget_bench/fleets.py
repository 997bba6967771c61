"""The fleet that a bench simulates: a fleet file's, or one made by a seed. No key is needed and none is read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from fleetsync.config import Settings
from fleetsync.errors import ConfigError
from fleetsync.model import Account, Robot
from fleetsync.tariff import Tariff
from fleetsync.units import DAY_MS
from fleetsync_adapters.budget_bench.optimum import silent_share
from fleetsync_adapters.fleet_file import load_fleet
from fleetsync_adapters.paper.markets import Markets
from fleetsync_adapters.simulation.setup import Setup
from fleetsync_adapters.simulation.workload import Workload
from fleetsync_adapters.synthetic import synthetic_fleet
from fleetsync_adapters.tariffs import load_tariff

_MARKETS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchFleet:
    """What is simulated, budget and policy apart."""

    name: str
    settings: Settings
    accounts: tuple[Account, ...]
    robots: tuple[Robot, ...]
    tariffs: Mapping[str, Tariff]
    workload: Workload = field(default_factory=Workload)

    def lines(self) -> list[str]:
        """For people: the fleet, and the numbers of the model by which its robots trade."""
        trade = self.workload
        given = f", {len(trade.rate_of)} robots by rates of their own" if trade.rate_of else ""
        exchanges = ", ".join(f"{sum(account.exchange == name for account in self.accounts)} on {name}"
                              for name in sorted({account.exchange for account in self.accounts}))
        model = (f"each robot opens and closes {trade.changes_per_hour:g} times an hour in all{given}, holds "
                 f"{trade.holding_share:.0%} of the time, places {trade.orders_per_hour:g} orders an hour; "
                 f"{trade.by_hand:.0%} of opens and closes are made by hand, {trade.announced:.0%} of the others are "
                 f"announced: {silent_share(trade):.0%} of all changes come unannounced")
        if trade.recording:
            model = f"a recording of {len(trade.recording)} deeds; {trade.announced:.0%} of those by robots announced"
        size = f"{counted(len(self.robots), 'robot')} on {counted(len(self.accounts), 'account')}"
        return [f"{self.name}: {size} ({exchanges})", model]

    def setup(self, *, budget: int, policy: str, minutes: int, seed: int) -> Setup:
        """The world of one trial."""
        # What the store would be told changes nothing about calls; without it an hour passes faster.
        settings = self.settings.but(calls_per_minute=budget, mode=policy, heartbeat_ms=DAY_MS,
                                     sync_records_per_second=0)
        return setup_of(self, settings, minutes=minutes, seed=seed)


def counted(number: int, what: str) -> str:
    """`1 robot`, `2 robots`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def setup_of(fleet: BenchFleet, settings: Settings, *, minutes: int, seed: int) -> Setup:
    """A world with these settings; its exchange limits addresses as the fleet's own does, where that is Binance."""
    # The paper exchange weighs requests as Binance does: where others are simulated, their quotas are the engine's own.
    limit = fleet.tariffs["binanceusdm"].quotas[0].limit if set(fleet.tariffs) == {"binanceusdm"} else 0
    symbols = {robot.symbol for robot in fleet.robots}
    markets, named = max(_MARKETS, len(symbols)), market_names(symbols, seed)
    robots = tuple([robot if robot.symbol == named[robot.symbol] else replace(robot, symbol=named[robot.symbol])
                    for robot in fleet.robots])
    rules = replace(Setup(seed=seed, accounts=(), robots=(), tariffs={}).limits,
                    **({"weight_per_minute": limit} if limit else {"unlimited": True}))
    return Setup(seed=seed, accounts=fleet.accounts, robots=robots, tariffs=fleet.tariffs, settings=settings,
                 workload=fleet.workload, limits=rules, markets=markets, minutes=minutes)


def with_workload(fleet: BenchFleet, workload: Workload) -> BenchFleet:
    """The fleet trading by a model; rates that robots state are of unannounced changes, so their whole rate follows."""
    silent = silent_share(workload)
    stated = {robot.id: robot.changes_per_hour / silent for robot in fleet.robots
              if robot.changes_per_hour is not None and silent > 0}
    return replace(fleet, workload=replace(workload, rate_of={**workload.rate_of, **stated}))


def fleet_from_file(path: str, workload: Workload) -> BenchFleet:
    """A fleet file's fleet, trading by a model.

    Raises:
        ConfigError: the file is wrong.
    """
    loaded = load_fleet(path, environ=_NoKeys())
    tariffs = {name: load_tariff(name, config.overrides) for name, config in loaded.exchanges.items()
               if any(account.exchange == name for account in loaded.accounts)}
    fleet = BenchFleet(name=path, settings=loaded.settings, accounts=loaded.accounts, robots=loaded.robots,
                       tariffs=tariffs)
    return with_workload(fleet, workload)


def market_names(symbols: set[str], seed: int) -> dict[str, str]:
    """For each symbol one of the markets that a seed draws; those it has keep their name."""
    known = [market.symbol for market in Markets(seed, max(_MARKETS, len(symbols))).all]
    free = iter([name for name in known if name not in symbols])
    return {symbol: symbol if symbol in known else next(free) for symbol in sorted(symbols)}


def fleet_made(robots: int, holding: float, accounts: int, exchange: str, workload: Workload, seed: int) -> BenchFleet:
    """A synthetic fleet.

    Raises:
        ConfigError: so many robots do not fit on so few accounts, or nobody knows the exchange's prices.
    """
    markets = max(_MARKETS, -(-robots // accounts))
    symbols = [market.symbol for market in Markets(seed, markets).all]
    try:
        made, fleet = synthetic_fleet(robots, holding, accounts, exchange, symbols, seed)
    except ValueError as error:
        raise ConfigError(f"no such fleet: {error}", hint="give it more --accounts or fewer --robots") from error
    bench = BenchFleet(
        name="synthetic fleet", settings=Settings(), accounts=tuple(made), robots=tuple(fleet),
        tariffs={exchange: load_tariff(exchange)},
        workload=replace(workload, holding_share=holding))
    return with_workload(bench, bench.workload)


class _NoKeys(Mapping[str, str]):
    """An environment in which every variable is set and none holds a secret: nothing is called with these keys."""

    def __getitem__(self, name: str) -> str:
        return "http://simulated:1" if "PROXY" in name.upper() else "simulated"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0
