"""What `fleetsync plan` prints: the figure that was asked for, how it comes about, and what would make it smaller."""

from collections.abc import Iterator
from typing import Any

import click
import orjson
from rich.console import Console

from fleetsync_adapters.budget_bench.demand import Demand, expected_demand
from fleetsync_adapters.budget_bench.fleets import BenchFleet
from fleetsync_adapters.budget_bench.planning import Plan, Planner, Row, needed_addresses, with_policy
from fleetsync_adapters.budget_bench.slo import TOLERANCE, Objective, broken, parse
from fleetsync_adapters.budget_bench.table import seconds
from fleetsync_adapters.cli.benching import fleet_asked_for


def make_plan(*, fleet: str | None, slo: str, budget: int | None, policy: str | None, minutes: int, as_json: bool,
              seed: int, **options: Any) -> None:
    """Plan, and print it.

    Raises:
        ConfigError: the fleet or the service level is wrong.
    """
    objectives = parse(slo)
    simulated, chosen = with_policy(fleet_asked_for(fleet, options | {"seed": seed}), policy)
    told = Console(stderr=True)
    for line in simulated.lines():
        told.print(line, style="dim", highlight=False, soft_wrap=True)
    with told.status("the demand without any limit") as status:
        planner = Planner(simulated, chosen, objectives, minutes=minutes, seed=seed,
                          tell=status.update)
        plan = planner.plan(budget or 0)
    for line in plan_lines(plan, simulated, expected_demand(simulated)):
        click.echo(line)
    if as_json:
        click.echo(orjson.dumps(contract(plan)))


def plan_lines(plan: Plan, fleet: BenchFleet, expected: Demand) -> Iterator[str]:
    """The plan in words and numbers."""
    level = ", ".join(map(str, plan.objectives))
    if plan.budget_per_minute:
        yield f"{plan.budget_per_minute} calls a minute keep {level} ({plan.policy} policy)."
        yield (f"  verified for {plan.verified['minutes']} minutes under another seed: {_figures(plan, plan.verified)} "
               f"(a figure up to {TOLERANCE:.0%} above its limit counts as kept: the time under way adds to every age)")
    else:
        with_plenty = plan.verified or plan.demand
        yield f"No budget keeps {level} with these settings ({plan.policy} policy)."
        yield f"  with calls for everything: {_figures(plan, with_plenty)}"
        for one in broken(plan.objectives, with_plenty):
            yield f"  {one} is missed whatever the budget: {_remedy(one)}"
    if plan.policy == "fixed":
        yield "How it comes about:"
        yield from (f"  {line}" for line in expected.lines())
        yield (f"  simulated with calls for everything: {plan.demand['calls_per_minute']:.0f} calls a minute on "
               f"average, {plan.demand['worst_minute_calls']} in the worst 60 s")
    yield from _addresses(plan, fleet)
    yield from _given(plan, fleet)
    if plan.changes:
        yield from _changes(plan)
    yield f"({plan.trials} simulations)"


def _remedy(one: Objective) -> str:
    if one.what.endswith("announced"):
        return "shorten the intervals, or have robots announce what they do"
    return "look at the latency of the exchange" if one.what == "events" else "shorten the interval of that phase"


def _changes(plan: Plan) -> Iterator[str]:
    own = plan.base["calls_per_minute"]
    saving = [words for words, row, keeps in plan.changes if keeps and row["calls_per_minute"] < own]
    yield f"The cheapest change that keeps the level: {saving[0] if saving else 'none of these saves a call'}."
    yield f"What changes would do, each simulated with this budget, of which {own:.0f} calls a minute are used:"
    for words, row, keeps in plan.changes:
        yield (f"  {words}: {row['calls_per_minute']:.0f} calls a minute ({row['calls_per_minute'] - own:+.0f}), "
               f"{'keeps the level' if keeps else 'misses it: ' + _figures(plan, row)}")


def _addresses(plan: Plan, fleet: BenchFleet) -> Iterator[str]:
    weight = plan.demand["weight_per_minute"]
    yield (f"Egress addresses: the fleet asks for a weight of {weight:.0f} a minute; by the exchange's table that is "
           f"{needed_addresses(fleet, plan.demand)} of them"
           + (f"; to be on time it takes {plan.addresses}, simulated." if plan.addresses else "."))


def _given(plan: Plan, fleet: BenchFleet) -> Iterator[str]:
    if not plan.given_per_minute:
        return
    more = plan.robots_fit - len(fleet.robots)
    missed = broken(plan.objectives, plan.given)
    yield (f"A budget of {plan.given_per_minute}: {'does not keep the level' if missed else 'keeps the level'} "
           f"({_figures(plan, plan.given)}).")
    if more >= 0:
        yield f"  {more} more such robots fit: {plan.robots_fit} on {plan.accounts_fit} accounts, simulated."
    else:
        yield f"  it holds {plan.robots_fit} such robots on {plan.accounts_fit} accounts, {-more} fewer than there are."


def _figures(plan: Plan, row: Row) -> str:
    return ", ".join(f"{one.what} {one.figure} {seconds(one.value_ms(row))}" for one in plan.objectives)


def contract(plan: Plan) -> dict[str, Any]:
    """The JSON object of `fleetsync plan --json`."""
    return {
        "slo": [str(one) for one in plan.objectives], "policy": plan.policy,
        "budget_per_minute": plan.budget_per_minute or None, "egresses": plan.addresses or None,
        "verified": plan.verified or None, "demand": plan.demand, "simulations": plan.trials,
        "given": {"budget_per_minute": plan.given_per_minute, "keeps": not broken(plan.objectives, plan.given),
                  "robots": plan.robots_fit, "accounts": plan.accounts_fit} if plan.given_per_minute else None,
        "changes": [{"what": words, "calls_per_minute": row["calls_per_minute"], "keeps": keeps}
                    for words, row, keeps in plan.changes],
    }
