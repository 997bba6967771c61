"""Service levels, and the budget that keeps one."""

from typing import Any

import pytest

from fleetsync.errors import ConfigError
from fleetsync_adapters.budget_bench.fleets import BenchFleet, fleet_made
from fleetsync_adapters.budget_bench.planning import Planner
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


def test_what_no_budget_keeps_is_found_out() -> None:
    level = parse("flat p99 <= 1s")
    plan = Planner(small(), "fixed", level, minutes=3, seed=1, tell=lambda text: None).plan()
    assert (plan.budget_per_minute, broken(level, plan.demand)) == (0, [*level])


def test_a_given_budget_says_how_many_robots_fit_and_more_budget_holds_more() -> None:
    level = parse("holding p95 <= 6s")
    planner = Planner(small(), "fixed", level, minutes=3, seed=1, tell=lambda text: None)
    fits = [planner.plan(budget).robots_fit for budget in (100, 250)]
    assert 20 <= fits[0] < fits[1]
