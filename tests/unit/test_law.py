"""The scale of the adaptive intervals: it spends the budget, whatever bounds the intervals have."""

from random import Random

import pytest

from fleetsync.law import Bounds, Demand

_FLOOR_MS = 1_000
_Account = tuple[float, float, Bounds]  # cost, root, bounds


def _accounts(rng: Random, count: int, *, aim: float = 1.0) -> list[_Account]:
    ceilings_ms = [10_000 if rng.random() < 0.4 else 120_000 for _ in range(count)]
    return [(rng.choice([1.0, 5.0]), rng.lognormvariate(0, 1.5), Bounds(_FLOOR_MS, int(ceiling_ms * aim), ceiling_ms))
            for ceiling_ms in ceilings_ms]


def _spent(accounts: list[_Account], scale: float) -> float:
    return sum(cost / min(max(scale * root, floor_ms), aim_ms) for cost, root, (floor_ms, aim_ms, _) in accounts)


def _passed(accounts: list[_Account], budget: float, scale: float | None) -> float:
    demand = Demand(scale)
    for cost, root, bounds in accounts:
        demand.add(cost, root, bounds)
    return demand.scale_for(budget)


@pytest.mark.parametrize("seed", range(40))
def test_a_few_passes_find_the_scale_that_spends_the_budget_to_the_full(seed: int) -> None:
    rng = Random(seed)
    accounts = _accounts(rng, 200)
    least, most = _spent(accounts, 1e12), _spent(accounts, 1e-12)
    budget = least + (most - least) * rng.choice([0.001, 0.05, 0.3, 0.9])
    scale: float | None = None
    for _ in range(40):
        scale = _passed(accounts, budget, scale)
    assert _spent(accounts, scale or 0.0) == pytest.approx(budget, rel=0.01)


@pytest.mark.parametrize("seed", range(20))
def test_where_only_ceilings_bind_eight_passes_are_enough_also_after_the_budget_has_moved(seed: int) -> None:
    rng = Random(seed)
    accounts = [(cost, root, Bounds(0, aim_ms, aim_ms)) for cost, root, (_, aim_ms, _) in _accounts(rng, 200)]
    scale: float | None = None
    for share in (1.2, 8.0, 1.02, 3.0):
        budget = _spent(accounts, 1e12) * share
        for _ in range(8):
            scale = _passed(accounts, budget, scale)
        assert _spent(accounts, scale or 0.0) == pytest.approx(budget, rel=0.001)


def test_with_a_budget_below_all_ceilings_every_interval_is_beyond_its_ceiling_and_a_larger_one_is_found() -> None:
    accounts = _accounts(Random(1), 50)
    least = _spent(accounts, 1e12)
    scale = _passed(accounts, least / 2, None)
    assert all(scale * root >= ceiling_ms for _, root, (_, _, ceiling_ms) in accounts)
    for _ in range(40):
        scale = _passed(accounts, least * 2, scale)
    assert _spent(accounts, scale) == pytest.approx(least * 2, rel=0.01)


def test_who_is_aimed_below_its_ceiling_costs_more_and_only_the_ceilings_themselves_say_what_cannot_be_held() -> None:
    accounts = _accounts(Random(2), 50, aim=0.8)
    demand = Demand(1e9)
    for cost, root, bounds in accounts:
        demand.add(cost, root, bounds)
    assert demand.bound == pytest.approx(demand.least / 0.8)
