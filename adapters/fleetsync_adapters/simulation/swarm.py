"""From one number to a whole world: a seed draws the fleet, the quotas, the latencies, the workload and the faults.

Each seed enables a random subset of all faults at random rates (a swarm), so that some runs meet one fault alone, and
some all of them at once. `Options` is small on purpose: it is printed first, replays the run, and can be shrunk.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from fleetsync.config import Settings
from fleetsync.model import Account, Robot, Surface
from fleetsync.tariff import Quota, Scope, Tariff
from fleetsync_adapters.paper.faults import Misdeed
from fleetsync_adapters.paper.limits import LimitRules
from fleetsync_adapters.paper.markets import Markets
from fleetsync_adapters.simulation.faults import MISDEEDS, STRIKES, FaultPlan
from fleetsync_adapters.simulation.setup import Lags, Setup
from fleetsync_adapters.simulation.workload import Workload
from fleetsync_adapters.tariffs import load_tariff

EXCHANGE = "binanceusdm"
SCOPED = "scoped"  # the same exchange under a table with limits of every scope, whose positions prove no orders
_SCOPED_QUOTAS = (Quota("account", Scope.ACCOUNT, 20, 2_000), Quota("endpoint", Scope.ENDPOINT, 6, 1_000),
                  Quota("instrument", Scope.INSTRUMENT, 3, 1_000))
_MARKETS = 12
_RARE = {"maintenance": 0.2, "ban": 0.5, "engine_kill": 1.0, "engine_kill_committing": 0.5, "clock_step": 0.3,
         "key_revoked": 0.5, "clock_jump": 0.7}
_LATER_KINDS = ("account_removed", "account_changed")
"""Drawn from a stream of their own: what else a seed stood for before they came, it stands for still."""
_KNOBS: dict[str, tuple[float, ...]] = {
    "in_flight_per_worker": (1, 2, 5), "account_calls_per_second": (1, 3), "urgent_share": (0.0, 0.1, 0.7),
    "holding_ms": (1_000, 15_000), "flat_ms": (7_000, 60_000), "jitter": (0.0, 0.4), "confirm_gap_ms": (0, 3_000),
    "settle_ms": (1_000, 60_000), "backoff_max_ms": (2_000, 15_000), "worker_silence_ms": (4_000,),
    "call_timeout_ms": (2_000,), "grant_valid_ms": (100,), "heartbeat_ms": (2_000,), "doubt_retry_ms": (200,),
}
"""Settings that a seed may turn, and to what."""
_LARGE, _LARGE_HEARTBEAT_MS = 1_000, 600_000  # robots; rows of quiet ones would take a third of the time
_LONG_MINUTES = 40  # room for half an hour of maintenance, and for what happens after it
_LONG_RARER = 10  # in a drawn one of that length, strikes come so many times more seldom
_DEED_CALLS, _DEED_WEIGHT = 4, 12  # what it takes to read what was announced
_DEEDS_SHARE = 3  # of a large fleet's budget its own deeds take at most a third: else events pile up for ever


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
    exchanges: int = 1
    shared_books: bool = False
    personal: bool = False
    changes_per_hour: float = 30.0
    orders_per_hour: float = 20.0
    announced: float = 0.7
    up_ms: tuple[int, int] = (20, 120)
    strikes: Mapping[str, float] = field(default_factory=dict)
    misdeeds: Mapping[str, float] = field(default_factory=dict)
    knobs: Mapping[str, float] = field(default_factory=dict)
    skip: frozenset[str] = frozenset()

    def lines(self) -> list[str]:
        """For people: what this world is, in a few lines."""
        fleet = (f"seed {self.seed}: {self.robots} robots on {self.accounts} accounts behind {self.egresses} egresses, "
                 f"{self.workers} workers, {self.minutes} min")
        budget = (f"{self.calls_per_minute} calls and {self.weight_per_minute} weight a minute, cadence {self.mode}, "
                  f"spend {self.spend}" + (", conditional orders" if self.conditional else "")
                  + (", two exchanges" if self.exchanges > 1 else "")
                  + (", all on one symbol" if self.shared_books else "")
                  + (", some robots disabled or with intervals of their own" if self.personal else ""))
        trade = (f"{self.changes_per_hour:g} changes and {self.orders_per_hour:g} orders a robot and hour, "
                 f"{self.announced:.0%} announced; requests travel {self.up_ms[0]} to {self.up_ms[1]} ms")
        strikes = ", ".join(f"{kind} {rate:.3g}/min" for kind, rate in self.strikes.items()) or "none"
        misdeeds = ", ".join(f"{kind} {share:.2%}" for kind, share in self.misdeeds.items()) or "none"
        knobs = ", ".join(f"{name} {value:g}" for name, value in self.knobs.items())
        settings = [f"settings: {knobs}"] if knobs else []
        return [fleet, budget, trade, *settings, f"strikes: {strikes}", f"misdeeds: {misdeeds}"]

    def without_faults(self) -> "Options":
        """The control: the same workload, and nothing goes wrong."""
        return replace(self, strikes={}, misdeeds={})


def draw(seed: int, *, minutes: int | None = None, robots: int | None = None) -> Options:
    """What `seed` stands for; a stated number of minutes or robots replaces the drawn one.

    A large fleet has ten robots an account, the engine's own settings but a rare heartbeat, and trades as often as its
    budget can follow. A run that is stated to be long meets as many strikes as one of forty minutes would, spread over
    its whole length: it is there for what comes with time, and how faults meet each other is what short runs show.
    """
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
        strikes=_strikes(rng, seed),
        misdeeds=_misdeeds(rng),
        exchanges=rng.choice((1, 1, 2)) if accounts > 1 else 1,
        personal=rng.random() < 0.3,
        knobs=_knobs(rng),
    )
    if rng.random() < 0.02 and drawn.robots <= 8:
        drawn = replace(drawn, minutes=_LONG_MINUTES,
                        strikes={**_rarer(drawn.strikes, _LONG_RARER), "maintenance": 0.1})
    elif minutes is not None and minutes > _LONG_MINUTES:
        drawn = replace(drawn, strikes=_rarer(drawn.strikes, minutes / _LONG_MINUTES))
    if robots is not None:
        drawn = replace(drawn, robots=robots, accounts=min(drawn.accounts, robots))
        if robots >= _LARGE:
            drawn = _large(drawn)
    return drawn if minutes is None else replace(drawn, minutes=minutes)


def _rarer(strikes: Mapping[str, float], times: float) -> dict[str, float]:
    return {kind: rate / times for kind, rate in strikes.items()}


def _large(drawn: Options) -> Options:
    calls, robots = Settings().calls_per_minute, drawn.robots
    deeds_per_hour = 60 * min(calls / _DEED_CALLS, drawn.weight_per_minute / _DEED_WEIGHT) / _DEEDS_SHARE
    return replace(drawn, accounts=robots // 10, calls_per_minute=calls, knobs={"heartbeat_ms": _LARGE_HEARTBEAT_MS},
                   changes_per_hour=round(min(drawn.changes_per_hour, 5.0, 0.8 * deeds_per_hour / robots), 3),
                   orders_per_hour=round(min(1.0, 0.2 * deeds_per_hour / robots), 3))


def _knobs(rng: Random) -> dict[str, float]:
    appetite = rng.choice((0.0, 0.0, 0.15, 0.4))
    values = {name: rng.choice(values) for name, values in _KNOBS.items()}
    return {name: value for name, value in values.items() if rng.random() < appetite}


def _strikes(rng: Random, seed: int) -> dict[str, float]:
    appetite = rng.choice((0.0, 0.1, 0.3, 0.6, 1.0))
    kinds = [kind for kind in STRIKES if kind not in _LATER_KINDS]
    rates = {kind: round(rng.choice((0.3, 1.0, 3.0)) * _RARE.get(kind, 1.0), 2) for kind in kinds}
    strikes = {kind: rate for kind, rate in rates.items() if rng.random() < appetite}
    own = Random(f"swarm later {seed}")
    later = {kind: own.choice((0.3, 1.0)) for kind in _LATER_KINDS}
    return strikes | {kind: rate for kind, rate in later.items() if own.random() < appetite}


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
        Account(f"account-{number}", SCOPED if options.exchanges > 1 and number % 2 else EXCHANGE,
                egress=f"egress-{number % options.egresses}" if number else "")
        for number in range(options.accounts))
    robots = tuple(
        Robot(f"robot-{number}", accounts[number % options.accounts].id,
              symbols[0] if options.shared_books else symbols[number // options.accounts % len(symbols)],
              priority=rng.choice((1.0, 1.0, 1.0, 2.0)), order_prefix=rng.choice(("", f"r{number}-")))
        for number in range(options.robots))
    if options.personal:
        robots = tuple(_personal(robot, rng) for robot in robots)
    settings = Settings(workers=options.workers, calls_per_minute=options.calls_per_minute, mode=options.mode,
                        spend=options.spend)
    return Setup(
        seed=options.seed, accounts=accounts, robots=robots, tariffs=_tariffs(options),
        settings=settings.but(**options.knobs),
        workload=Workload(
            changes_per_hour=options.changes_per_hour, orders_per_hour=options.orders_per_hour,
            announced=options.announced, by_hand=0.1, flips=0.1, liquidations=0.03, false_alarms=0.05,
            stops=0.3 if options.conditional else 0.0),
        lags=Lags(up_ms=options.up_ms),
        faults=FaultPlan(strikes=options.strikes, skip=options.skip,
                         misdeeds={Misdeed(kind): share for kind, share in options.misdeeds.items()}),
        limits=LimitRules(weight_per_minute=options.weight_per_minute), markets=_MARKETS, minutes=options.minutes)


def _personal(robot: Robot, rng: Random) -> Robot:
    """A robot that is off, or has intervals or a rate of its own, or none of that."""
    kind = rng.randrange(5)
    if kind == 0:
        return replace(robot, enabled=False)
    if kind == 1:
        return replace(robot, holding_ms=rng.choice((1_000, 20_000)), flat_ms=rng.choice((2_000, 90_000)))
    return replace(robot, changes_per_hour=rng.choice((0.01, 300.0)), priority=10.0) if kind == 2 else robot


def _tariffs(options: Options) -> dict[str, Tariff]:
    """The exchanges' tables with the drawn limit."""
    table = load_tariff(EXCHANGE)
    surfaces = (*table.surfaces, Surface.CONDITIONAL) if options.conditional else table.surfaces
    quotas = tuple(replace(quota, limit=options.weight_per_minute) for quota in table.quotas)
    table = replace(table, quotas=quotas, surfaces=surfaces)
    if options.exchanges == 1:
        return {EXCHANGE: table}
    scopes = {"order": ("instrument",), "order:conditional": ("instrument",), "markets": (), "time": ()}
    costs = {}
    for question, cost in table.costs.items():
        more = tuple((name, 1) for name in scopes.get(question, ("account", "endpoint")))
        costs[question] = replace(cost, weights=(*cost.weights, *more))
    scoped = replace(table, exchange=SCOPED, quotas=(*quotas, *_SCOPED_QUOTAS), costs=costs,
                     positions_show_orders=False)
    return {EXCHANGE: table, SCOPED: scoped}
