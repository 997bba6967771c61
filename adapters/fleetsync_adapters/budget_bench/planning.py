"""Finding the least budget that keeps a service level: by bisection over simulations, verified with another seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from typing import Any

from fleetsync.messages import Call
from fleetsync.model import Surface
from fleetsync_adapters.budget_bench.fleets import BenchFleet
from fleetsync_adapters.budget_bench.measure import Measure
from fleetsync_adapters.budget_bench.optimum import route_calls, shared_weight
from fleetsync_adapters.budget_bench.slo import Objective, broken
from fleetsync_adapters.budget_bench.trial import Trial, attempt
from fleetsync_adapters.budget_bench.variants import behind, grown, variants

PLENTY = 1_000_000  # calls a minute that never bind
_PRECISION = 0.02  # of a budget
_STEP_UP = 0.03  # a budget that another seed does not confirm is raised by this share, then by twice as much, ...
_GROWTH_MAX = 64
_ADDRESSES_STEP = 1.2
_HOPELESS = 2.0  # an objective missed by this factor after some minutes is not met any more
_HOPELESS_AFTER = 3  # minutes
Tell = Callable[[str], None]
Row = dict[str, Any]


@dataclass(slots=True)
class Plan:
    """What was found; `budget_per_minute` is 0 where no budget keeps the service level."""

    objectives: tuple[Objective, ...]
    policy: str
    demand: Row
    addresses: int = 0
    budget_per_minute: int = 0
    verified: Row = field(default_factory=dict)
    trials: int = 0
    given_per_minute: int = 0  # --budget, and what it holds:
    given: Row = field(default_factory=dict)
    accounts_fit: int = 0
    robots_fit: int = 0
    base: Row = field(default_factory=dict)  # what the changes are compared with: the same seed, nothing changed
    changes: list[tuple[str, Row, bool]] = field(default_factory=list)  # (words, row, whether it keeps the level)


class Planner:
    """Simulates one fleet again and again.

    Args:
        fleet, policy: what is planned for.
        objectives: what must hold.
        minutes: virtual minutes a trial; the last word has twice as many.
        seed: of the search; the verification uses the next one.
        tell: takes a line of progress.
    """

    def __init__(self, fleet: BenchFleet, policy: str, objectives: Sequence[Objective], *, minutes: int, seed: int,
                 tell: Tell) -> None:
        self._fleet, self._policy, self._objectives = fleet, policy, tuple(objectives)
        self._minutes, self._seed, self._tell = minutes, seed, tell
        self.trials = 0

    def plan(self, given_per_minute: int = 0) -> Plan:
        """Find the budget, and what a given one holds."""
        # An address for each account: what the fleet would ask for if nothing but the calls themselves cost.
        demand = self._row(behind(self._fleet, len(self._fleet.accounts)), PLENTY)
        plan = Plan(self._objectives, self._policy, demand)
        if not broken(self._objectives, demand):
            self._find(plan)
        if given_per_minute:
            self._judge(plan, given_per_minute)
        plan.trials = self.trials
        return plan

    def _find(self, plan: Plan) -> None:
        plan.addresses = self.addresses(plan.demand)
        fleet = behind(self._fleet, plan.addresses)
        high = max(ceil(plan.demand["worst_minute_calls"] * 1.05), 2)
        while not self._holds(fleet, high) and high < PLENTY:
            high *= 2
        plan.budget_per_minute, plan.verified = self._confirmed(fleet, self.least(1, high, partial(self._holds, fleet)))
        self._compare(plan, fleet)

    @staticmethod
    def least(low: int, high: int, holds: Callable[[int], bool]) -> int:
        """The least budget above `low` that holds, to 2 %; `high` is known to hold."""
        while high - low > max(high * _PRECISION, 1):
            middle = (low + high) // 2
            if holds(middle):
                high = middle
            else:
                low = middle
        return high

    def addresses(self, demand: Row) -> int:
        """How many egress addresses the exchanges' own limits ask for, with what it takes to be on time besides.

        It ends: with an address for each account, the level was held.
        """
        addresses = needed_addresses(self._fleet, demand)
        while addresses < len(self._fleet.accounts) and not self._holds(behind(self._fleet, addresses), PLENTY):
            addresses = min(max(addresses + 1, ceil(addresses * _ADDRESSES_STEP)), len(self._fleet.accounts))
        return addresses

    def _confirmed(self, fleet: BenchFleet, budget: int) -> tuple[int, Row]:
        """The least budget from this one on that also holds twice as long under another seed; 0 where none does."""
        rows: dict[int, Row] = {}

        def holds(tried: int) -> bool:
            rows[tried] = self._row(fleet, tried, seed=self._seed + 1, minutes=2 * self._minutes)
            self._tell(f"{tried} calls a minute under another seed")
            return not broken(self._objectives, rows[tried])

        if holds(budget):
            return budget, rows[budget]
        low, step = budget, ceil(budget * _STEP_UP)
        while not holds(low + step):
            low, step = low + step, 2 * step
            if low > PLENTY:
                return 0, rows[low]
        found = self.least(low, low + step, holds)
        return found, rows[found]

    def _compare(self, plan: Plan, fleet: BenchFleet) -> None:
        if not plan.budget_per_minute:
            return
        plan.base = self._row(fleet, plan.budget_per_minute)
        for variant in variants(fleet, self._policy):
            row = self._row(variant.fleet, plan.budget_per_minute, policy=variant.policy)
            plan.changes.append((variant.words, row, not broken(self._objectives, row)))
        plan.changes.sort(key=lambda change: (not change[2], change[1]["calls_per_minute"]))

    def _judge(self, plan: Plan, given: int) -> None:
        """How many robots like these a given budget keeps at the level, the addresses growing as they must not."""
        plan.given_per_minute = given
        fleet = behind(self._fleet, max(plan.addresses, 1))
        plan.given = self._row(fleet, given)
        own = len(fleet.accounts)
        low, high = (own, 2 * own) if not broken(self._objectives, plan.given) else (0, own)
        while low and high < own * _GROWTH_MAX and self._holds(grown(fleet, high), given):
            low, high = high, 2 * high
        while high - low > max(high * _PRECISION, 1):
            middle = (low + high) // 2
            if self._holds(grown(fleet, middle), given):
                low = middle
            else:
                high = middle
        plan.accounts_fit = low
        plan.robots_fit = len(grown(fleet, low).robots)

    # -- trials

    def _holds(self, fleet: BenchFleet, budget: int) -> bool:
        row = self._row(fleet, budget)
        missed = broken(self._objectives, row)
        told = ", ".join(f"{one.what} {one.figure} {(one.value_ms(row) or 0) / 1000:.1f} s" for one in missed)
        self._tell(f"{'any number of' if budget == PLENTY else budget} calls a minute for {len(fleet.robots)} robots: "
                   f"{'misses ' + told if missed else 'holds'}")
        return not missed

    def _row(self, fleet: BenchFleet, budget: int, *, seed: int | None = None, minutes: int | None = None,
             policy: str | None = None) -> Row:
        self.trials += 1
        trial = Trial(fleet, budget, policy or self._policy, minutes or self._minutes,
                      self._seed if seed is None else seed)
        return attempt(trial, hopeless=self._hopeless).row

    def _hopeless(self, measure: Measure) -> bool:
        if measure.until_ms - measure.from_ms <= 0 or len(measure.strip) < 1:
            return False
        settings = self._fleet.settings
        row = measure.row(settings.holding_ceiling_ms, settings.flat_ceiling_ms)
        measured = sum(ages.robot_time for ages in measure.ages.values())
        if measured < _HOPELESS_AFTER * 60_000 * len(self._fleet.robots):
            return False
        return any((one.value_ms(row) or 0) > one.limit_ms * _HOPELESS for one in self._objectives)


def needed_addresses(fleet: BenchFleet, row: Row) -> int:
    """Addresses by arithmetic: the weight that the fleet asks for over what one address may use."""
    # One fleet on several exchanges: each has its own share of the calls, by its share of the accounts.
    most = 1
    for exchange, tariff in fleet.tariffs.items():
        share = sum(account.exchange == exchange for account in fleet.accounts) / len(fleet.accounts)
        calls = route_calls(tariff)
        weight_limit = calls * shared_weight(tariff, Call(Surface.POSITIONS))
        if 0 < weight_limit < float("inf"):
            most = max(most, ceil(row["weight_per_minute"] * share / (weight_limit * 0.95)))
    return min(most, len(fleet.accounts))


def with_policy(fleet: BenchFleet, policy: str | None) -> tuple[BenchFleet, str]:
    """The fleet's own policy, or another one."""
    chosen = policy or fleet.settings.mode
    return replace(fleet, settings=fleet.settings.but(mode=chosen)), chosen
