"""The least mean time that an unannounced change can go unseen by polling, in closed form.

A round of an account costs `c` calls and shows the changes of all its robots, which come at the rate `l` (weighed by
priority). Polled every `T`, a change waits T/2 on average. Under `sum(c / T) = R` the weighed mean of T/2 is least for
T proportional to sqrt(c / l), and is then

    (sum sqrt(c l))^2 / (2 R sum l)          the sums over accounts, l = sum of (weight x rate) over its robots.

A robot that holds changes at another rate than a flat one, so a policy that knows phases does better than one mean
rate allows: sqrt(c l) is averaged over what the account's robots hold. R is what the budget leaves after the narrowest
of the operator's cap and the exchange's own quotas. No calls are set aside for events: it is a bound, not a promise.
"""

from collections.abc import Mapping, Sequence
from math import sqrt
from random import Random

from fleetsync.messages import Call
from fleetsync.model import Account, Robot, Surface
from fleetsync.tariff import Scope, Tariff
from fleetsync.units import HOUR_MS, MINUTE_MS
from fleetsync_adapters.simulation.workload import Workload

_DRAWS = 24  # states of an account's robots that the mean of sqrt(c l) is taken over ...
_DRAWS_IN_ALL = 4_800  # ... fewer where there are many accounts to take the mean over, too


def optimum_unseen_ms(accounts: Sequence[Account], robots: Sequence[Robot], tariffs: Mapping[str, Tariff],
                      workload: Workload, budget_per_minute: int, seed: int = 1) -> int | None:
    """See the module's docstring; None when no unannounced change is expected."""
    by_account: dict[str, list[Robot]] = {account.id: [] for account in accounts}
    for robot in robots:
        if robot.enabled:
            by_account[robot.account].append(robot)
    rng = Random(f"{seed} optimum")
    whole = rates = 0.0
    draws = min(_DRAWS, max(_DRAWS_IN_ALL // max(len(accounts), 1), 2))
    for account in accounts:
        mine = by_account[account.id]
        cost = round_calls(tariffs[account.exchange], len({robot.symbol for robot in mine}))
        states = [sum(rate_now(robot, workload, rng) for robot in mine) for _ in range(draws)]
        whole += sqrt(cost) * sum(map(sqrt, states)) / draws
        rates += sum(mean_rate(robot, workload) for robot in mine)
    if not rates:
        return None
    calls_per_ms = calls_affordable(accounts, tariffs, budget_per_minute) / MINUTE_MS
    return round(whole * whole / (2 * calls_per_ms * rates))


def mean_rate(robot: Robot, workload: Workload) -> float:
    """Unannounced changes of a robot a millisecond, times its priority."""
    return robot.priority * silent_share(workload) * rate_per_hour(robot, workload) / HOUR_MS


def rate_now(robot: Robot, workload: Workload, rng: Random) -> float:
    """The same in a state drawn for it: who holds rarely closes soon."""
    share = min(max(workload.holding_share, 0.001), 0.999)
    in_state = share if rng.random() < share else 1 - share
    return mean_rate(robot, workload) / (2 * in_state)


def silent_share(workload: Workload) -> float:
    """The share of changes that nobody announces."""
    return 1 - (1 - workload.by_hand) * workload.announced


def rate_per_hour(robot: Robot, workload: Workload) -> float:
    """Changes of a robot an hour."""
    return workload.rate_of.get(robot.id, workload.changes_per_hour)


def round_calls(tariff: Tariff, symbols: int) -> int:
    """Calls of one round of a quiet account: the list of positions, and that of orders where it does not show them."""
    if tariff.positions_show_orders:
        return 1
    return 2 if tariff.offers(Surface.ORDERS, all_symbols=True) else 1 + max(symbols, 1)


def calls_affordable(accounts: Sequence[Account], tariffs: Mapping[str, Tariff], budget_per_minute: int) -> float:
    """Calls a minute: the operator's cap, or what all IP quotas together admit, whichever is less."""
    routes = {(account.exchange, account.egress) for account in accounts}
    admitted = sum(route_calls(tariffs[exchange]) for exchange, _ in routes)
    return min(float(budget_per_minute), admitted)


def shared_weight(tariff: Tariff, call: Call) -> int:
    """What one request weighs in the scarcest quota that a whole address shares; 0 where it shares none."""
    shared = {quota.name for quota in tariff.quotas if quota.scope is Scope.EGRESS}
    return max((weight for name, weight in tariff.cost(call).weights if name in shared), default=0)


def route_calls(tariff: Tariff) -> float:
    """Calls a minute that one address may make for quiet accounts."""
    weights = dict(tariff.costs[Surface.POSITIONS.value].weights)
    return min((quota.limit * MINUTE_MS / quota.window_ms / weights[quota.name] for quota in tariff.quotas
                if quota.scope is Scope.EGRESS and weights.get(quota.name)), default=float("inf"))
