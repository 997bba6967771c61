"""From one number to a whole world: a seed draws the fleet, the quotas, the latencies, the workload and the faults.

Each seed enables a random subset of all faults at random rates (a swarm), so that some runs meet one fault alone, and
some all of them at once. `Options` is small on purpose: it is printed first, replays the run, and can be shrunk.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from fleetsync.config import Settings
from fleetsync.model import Account, Robot, Surface
from fleetsync.tariff import Tariff
from fleetsync_adapters.paper.faults import Misdeed
from fleetsync_adapters.paper.limits import LimitRules
from fleetsync_adapters.paper.markets import Markets
from fleetsync_adapters.simulation.faults import MISDEEDS, STRIKES, FaultPlan
from fleetsync_adapters.simulation.setup import Lags, Setup
from fleetsync_adapters.simulation.workload import Workload
from fleetsync_adapters.tariffs import load_tariff

EXCHANGE = "binanceusdm"
_MARKETS = 12
_RARE = {"maintenance": 0.2, "ban": 0.5, "engine_kill": 1.0, "key_revoked": 0.5, "clock_jump": 0.7}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a seed draws."""

    seed: int
    robots: int
    accounts: int
    egresses: int = 1
    workers: int = 2
    calls_per_minute: int = 1200
    weight_per_minute: int = 2400
    minutes: int = 3
    mode: str = "fixed"
    spend: str = "needed"
    conditional: bool = False
    shared_books: bool = False
    changes_per_hour: float = 30.0
    orders_per_hour: float = 20.0
    announced: float = 0.7
    up_ms: tuple[int, int] = (20, 120)
    strikes: Mapping[str, float] = field(default_factory=dict)
    misdeeds: Mapping[str, float] = field(default_factory=dict)
    skip: frozenset[str] = frozenset()

    def lines(self) -> list[str]:
        """For people: what this world is, in a few lines."""
        fleet = (f"seed {self.seed}: {self.robots} robots on {self.accounts} accounts behind {self.egresses} egresses, "
                 f"{self.workers} workers, {self.minutes} min")
        budget = (f"{self.calls_per_minute} calls and {self.weight_per_minute} weight a minute, cadence {self.mode}, "
                  f"spend {self.spend}" + (", conditional orders" if self.conditional else ""))
        trade = (f"{self.changes_per_hour:g} changes and {self.orders_per_hour:g} orders a robot and hour, "
                 f"{self.announced:.0%} announced; requests travel {self.up_ms[0]} to {self.up_ms[1]} ms")
        strikes = ", ".join(f"{kind} {rate:g}/min" for kind, rate in self.strikes.items()) or "none"
        misdeeds = ", ".join(f"{kind} {share:.2%}" for kind, share in self.misdeeds.items()) or "none"
        return [fleet, budget, trade, f"strikes: {strikes}", f"misdeeds: {misdeeds}"]

    def without_faults(self) -> "Options":
        """The control: the same workload, and nothing goes wrong."""
        return replace(self, strikes={}, misdeeds={})


def draw(seed: int, *, minutes: int | None = None, robots: int | None = None) -> Options:
    """What `seed` stands for; a stated number of minutes or robots replaces the drawn one."""
    rng = Random(f"swarm {seed}")
    accounts = rng.choice((1, 1, 2, 3, 5, 8))
    drawn = Options(
        seed=seed,
        robots=max(accounts, rng.choice((1, 2, 4, 8, 16, 30))),
        accounts=accounts,
        egresses=rng.choice((1, 1, 1, 2)),
        workers=rng.choice((1, 2, 2, 3)),
        calls_per_minute=rng.choice((60, 150, 300, 600, 1_200, 2_400)),
        weight_per_minute=rng.choice((600, 1_200, 2_400, 2_400)),
        minutes=rng.choice((2, 3, 4)),
        mode=rng.choice(("fixed", "fixed", "adaptive")),
        spend=rng.choice(("needed", "needed", "all")),
        conditional=rng.random() < 0.4,
        shared_books=rng.random() < 0.3,
        changes_per_hour=rng.choice((5.0, 30.0, 120.0)),
        orders_per_hour=rng.choice((0.0, 20.0, 80.0)),
        announced=rng.choice((0.0, 0.5, 0.9, 1.0)),
        up_ms=rng.choice(((0, 0), (5, 60), (20, 200), (100, 300))),
        strikes=_strikes(rng),
        misdeeds=_misdeeds(rng),
    )
    if robots is not None:
        drawn = replace(drawn, robots=robots, accounts=min(drawn.accounts, robots))
    return drawn if minutes is None else replace(drawn, minutes=minutes)


def _strikes(rng: Random) -> dict[str, float]:
    appetite = rng.choice((0.0, 0.1, 0.3, 0.6, 1.0))
    rates = {kind: round(rng.choice((0.3, 1.0, 3.0)) * _RARE.get(kind, 1.0), 2) for kind in STRIKES}
    return {kind: rate for kind, rate in rates.items() if rng.random() < appetite}


def _misdeeds(rng: Random) -> dict[str, float]:
    appetite = rng.choice((0.0, 0.1, 0.3, 0.8))
    shares = {kind.value: rng.choice((0.002, 0.01, 0.04)) for kind in MISDEEDS}
    return {kind: share for kind, share in shares.items() if rng.random() < appetite}


def build(options: Options) -> Setup:
    """The world that these options describe."""
    markets = Markets(options.seed, _MARKETS)
    symbols = [market.symbol for market in markets.all]
    rng = Random(f"fleet {options.seed}")
    accounts = tuple(
        Account(f"account-{number}", EXCHANGE, egress=f"egress-{number % options.egresses}" if number else "")
        for number in range(options.accounts))
    robots = tuple(
        Robot(f"robot-{number}", accounts[number % options.accounts].id,
              symbols[0] if options.shared_books else symbols[number // options.accounts % len(symbols)],
              priority=rng.choice((1.0, 1.0, 1.0, 2.0)), order_prefix=rng.choice(("", f"r{number}-")))
        for number in range(options.robots))
    return Setup(
        seed=options.seed, accounts=accounts, robots=robots, tariffs={EXCHANGE: tariff(options)},
        settings=Settings(workers=options.workers, calls_per_minute=options.calls_per_minute, mode=options.mode,
                          spend=options.spend),
        workload=Workload(
            changes_per_hour=options.changes_per_hour, orders_per_hour=options.orders_per_hour,
            announced=options.announced, by_hand=0.1, flips=0.1, liquidations=0.03, false_alarms=0.05,
            stops=0.3 if options.conditional else 0.0),
        lags=Lags(up_ms=options.up_ms),
        faults=FaultPlan(strikes=options.strikes, skip=options.skip,
                         misdeeds={Misdeed(kind): share for kind, share in options.misdeeds.items()}),
        limits=LimitRules(weight_per_minute=options.weight_per_minute), markets=_MARKETS, minutes=options.minutes)


def tariff(options: Options) -> Tariff:
    """The exchange's table with the drawn limit."""
    table = load_tariff(EXCHANGE)
    surfaces = (*table.surfaces, Surface.CONDITIONAL) if options.conditional else table.surfaces
    quotas = tuple(replace(quota, limit=options.weight_per_minute) for quota in table.quotas)
    return replace(table, quotas=quotas, surfaces=surfaces)
