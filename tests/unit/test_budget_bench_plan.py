"""Service levels, and the budget that keeps one."""

from typing import Any

import pytest

from fleetsync.errors import ConfigError
from fleetsync_adapters.budget_bench.demand import expected_demand
from fleetsync_adapters.budget_bench.fleets import BenchFleet, fleet_made
from fleetsync_adapters.budget_bench.planning import PLENTY, Planner, needed_addresses
from fleetsync_adapters.budget_bench.slo import Objective, broken, parse
from fleetsync_adapters.budget_bench.trial import Trial, attempt
from fleetsync_adapters.budget_bench.variants import behind, grouped, grown
from fleetsync_adapters.simulation.workload import Workload


def small() -> BenchFleet:
    return fleet_made(20, 0.2, 5, "binanceusdm", Workload(changes_per_hour=10.0), 1)


def row(**p99_ms: int | None) -> dict[str, Any]:
    return {"age_ms": {phase: {"p99": p99_ms.get(phase)} for phase in ("holding", "working", "flat")}}


def test_a_service_level_is_read_as_people_write_it() -> None:
    assert parse("holding p99 <= 5s, flat p95<=500ms,Unannounced mean <= 1.5 min, events p99 <= 2s") == (
        Objective("holding", "p99", 5_000), Objective("flat", "p95", 500), Objective("unannounced", "mean", 90_000),
        Objective("events", "p99", 2_000))


@pytest.mark.parametrize(("text", "told"), [
    ("", "no objective"),
    ("holding p99 <= 5s,", "no objective"),
    ("holding p99 <= 5", "no objective"),
    ("holding <= 5s", "no objective"),
    ("resting p99 <= 5s", "'resting' is not measured"),
    ("holding p98 <= 5s", "holding has no 'p98'"),
    ("announced p99 <= 5s", "announced has no 'p99'"),
    ("holding p99 >= 5s", "upper limit"),
    ("holding p99 <= 5h", "'h' is no unit"),
    ("holding p99 <= 0s", "above 0"),
    ("holding p99 <= 5s, holding p99 <= 6s", "twice"),
])
def test_what_is_no_service_level_is_refused_with_the_place_and_an_example(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        parse(text)
    assert "like: holding p99 <= 5s" in str(refused.value)


def test_a_limit_is_kept_up_to_five_per_cent_above_it_and_by_who_was_never_there() -> None:
    level = parse("holding p99 <= 5s, flat p99 <= 30s")
    assert broken(level, row(holding=5_250)) == []
    assert broken(level, row(holding=5_251, flat=30_000)) == [level[0]]


def test_a_grown_fleet_repeats_the_accounts_with_their_robots() -> None:
    fleet = grown(small(), 12)
    assert (len(fleet.accounts), len(fleet.robots), len({robot.id for robot in fleet.robots})) == (12, 48, 48)
    assert {robot.account for robot in fleet.robots} == {account.id for account in fleet.accounts}
    assert set(grown(small(), 2).robots) == {r for r in small().robots if r.account in {"account-1", "account-2"}}


def test_a_grouped_fleet_keeps_every_robot_on_half_the_accounts_and_on_a_book_of_its_own() -> None:
    fleet = grouped(small())
    assert len(fleet.accounts) == 3
    assert [robot.id for robot in fleet.robots] == [robot.id for robot in small().robots]
    assert len({(robot.account, robot.symbol) for robot in fleet.robots}) == 20


def test_accounts_are_spread_evenly_over_addresses() -> None:
    assert [account.egress for account in behind(small(), 2).accounts] == ["ip-1", "ip-2", "ip-1", "ip-2", "ip-1"]


def test_the_least_budget_holds_and_a_quarter_less_does_not() -> None:
    level = parse("holding p95 <= 6s, flat p95 <= 30s")
    plan = Planner(small(), "fixed", level, minutes=4, seed=1, tell=lambda text: None).plan()
    assert plan.budget_per_minute
    assert broken(level, plan.verified) == []
    less = attempt(Trial(small(), plan.budget_per_minute * 3 // 4, "fixed", 8, 2)).row
    assert broken(level, less)
    assert [words for words, _, keeps in plan.changes if keeps]


def test_a_budget_is_found_where_the_search_met_nobody_who_holds_and_the_verification_does() -> None:
    fleet = fleet_made(1, 0.2, 1, "binanceusdm", Workload(), 1)
    level = parse("holding p99 <= 6s")
    plan = Planner(fleet, "fixed", level, minutes=3, seed=1, tell=lambda text: None).plan()
    assert plan.demand["age_ms"]["holding"]["p99"] is None
    assert plan.verified["age_ms"]["holding"]["p99"] <= 6_300
    assert 12 <= plan.budget_per_minute < 40


def test_the_arithmetic_of_a_small_fleet_is_what_a_person_works_out() -> None:
    fleet = fleet_made(4, 0.5, 2, "binanceusdm", Workload(changes_per_hour=30, announced=0.5, by_hand=0.0), 1)
    found = expected_demand(fleet)
    assert (found.holding_accounts, found.rounds, found.orders) == (1.5, 1.5 * 12 + 0.5 * 2, 4 * 0.5 * 2)
    assert (found.told, found.untold) == (1.0, 1.0)
    assert found.calls == found.rounds + found.orders + 2.25 + 2.5 + found.others


@pytest.mark.parametrize(("robots", "accounts", "changes_per_hour"), [(100, 10, 4.0), (200, 100, 4.0), (300, 20, 20.0)])
def test_the_arithmetic_comes_near_what_the_simulation_makes(robots: int, accounts: int,
                                                             changes_per_hour: float) -> None:
    fleet = fleet_made(robots, 0.2, accounts, "binanceusdm", Workload(changes_per_hour=changes_per_hour), 1)
    row = attempt(Trial(behind(fleet, accounts), PLENTY, "fixed", 10)).row
    assert expected_demand(fleet).calls == pytest.approx(row["calls_per_minute"], rel=0.10)


def test_addresses_are_the_weight_over_what_one_of_them_may_use() -> None:
    fleet = small()
    weights = (100, 2_280, 2_281, 4_561)
    assert [needed_addresses(fleet, {"weight_per_minute": weight}) for weight in weights] == [1, 1, 2, 3]
    assert needed_addresses(fleet, {"weight_per_minute": 1_000_000}) == len(fleet.accounts)


def test_what_no_budget_keeps_is_found_out() -> None:
    level = parse("flat p99 <= 1s")
    plan = Planner(small(), "fixed", level, minutes=3, seed=1, tell=lambda text: None).plan()
    assert (plan.budget_per_minute, broken(level, plan.demand)) == (0, [*level])


def test_a_given_budget_says_how_many_robots_fit_and_more_budget_holds_more() -> None:
    level = parse("holding p95 <= 6s")
    planner = Planner(small(), "fixed", level, minutes=3, seed=1, tell=lambda text: None)
    fits = [planner.plan(budget).accounts_fit for budget in (100, 250)]
    assert 5 <= fits[0] < fits[1]
    just, more = (attempt(Trial(grown(small(), accounts), 100, "fixed", 3)).row for accounts in (fits[0], fits[0] + 1))
    assert (broken(level, just), broken(level, more)) == ([], [*level])
