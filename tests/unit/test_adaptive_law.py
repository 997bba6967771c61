"""The adaptive law: intervals by what was learnt of an account's robots, kept until something changes them."""

from math import sqrt
from random import Random
from typing import Any

import pytest
from tests.unit.core_world import START_MS, TARIFF

from fleetsync.adaptive import Adaptive
from fleetsync.config import Settings
from fleetsync.fleet import Fleet
from fleetsync.model import Account, Phase, Robot
from fleetsync.units import HOUR_MS, MINUTE_MS

_ROUTE = TARIFF.exchange


def _world(accounts: int, robots: int, **robot: Any) -> tuple[Fleet, Adaptive]:
    """So many flat robots on each of so many accounts, after the first pass over the fleet."""
    settings = Settings(mode="adaptive", floor_ms=1, holding_ceiling_ms=HOUR_MS, flat_ceiling_ms=HOUR_MS)
    fleet = Fleet(settings, {_ROUTE: TARIFF}, START_MS)
    for number in range(accounts):
        fleet.add_account(Account(f"a{number}", _ROUTE), 0, START_MS)
        for each in range(robots):
            slot = fleet.add_robot(Robot(f"a{number}r{each}", f"a{number}", f"C{each}/USDT:USDT", **robot))
            fleet.phase[slot] = Phase.FLAT
    law = Adaptive(fleet)
    _pass(fleet, law)
    return fleet, law


def _pass(fleet: Fleet, law: Adaptive) -> None:
    """Let the fleet's sums be renewed once over all accounts."""
    (route,) = fleet.routes.values()
    route.law.overload = 0.0
    while not route.law.overload:
        law.renew()


def test_an_interval_is_proportional_to_the_root_of_cost_by_rate() -> None:
    settings = Settings(mode="adaptive", floor_ms=1, holding_ceiling_ms=HOUR_MS, flat_ceiling_ms=HOUR_MS)
    fleet = Fleet(settings, {_ROUTE: TARIFF}, START_MS)
    for number, an_hour in enumerate((1.0, 4.0, 16.0)):
        fleet.add_account(Account(f"a{number}", _ROUTE), 0, START_MS)
        slot = fleet.add_robot(Robot(f"r{number}", f"a{number}", "BTC/USDT:USDT", changes_per_hour=an_hour))
        fleet.phase[slot] = Phase.HOLDING
    law = Adaptive(fleet)
    _pass(fleet, law)
    spans = [law.intervals_ms(fleet.state_of(slot))[Phase.HOLDING] for slot in range(3)]
    assert spans[0] == pytest.approx(2 * spans[1], rel=0.01)
    assert spans[1] == pytest.approx(2 * spans[2], rel=0.01)


def test_a_change_of_phase_changes_the_interval_of_its_account_at_once() -> None:
    fleet, law = _world(20, 2)
    state = fleet.state_of(0)
    before_ms = law.intervals_ms(state)[Phase.FLAT]
    fleet.phase[0] = Phase.HOLDING
    law.changed(state)
    assert law.intervals_ms(state)[Phase.FLAT] < before_ms // 2


def test_what_a_reading_finds_changes_the_interval_at_once() -> None:
    fleet, law = _world(20, 1)
    state = fleet.state_of(0)
    before_ms = law.intervals_ms(state)[Phase.FLAT]
    law.learn(0, changed=True, since_ms=START_MS, now_ms=START_MS + MINUTE_MS)
    often_ms = law.intervals_ms(state)[Phase.FLAT]
    assert often_ms < before_ms
    for minute in range(2, 600):
        law.learn(0, changed=False, since_ms=START_MS + (minute - 1) * MINUTE_MS,
                     now_ms=START_MS + minute * MINUTE_MS)
    assert law.intervals_ms(state)[Phase.FLAT] > often_ms


def test_a_robot_that_is_gone_and_one_that_takes_its_slot_start_without_its_history() -> None:
    fleet, law = _world(3, 2)
    for minute in range(1, 30):
        law.learn(0, changed=True, since_ms=START_MS + (minute - 1) * MINUTE_MS,
                     now_ms=START_MS + minute * MINUTE_MS)
    law.forget(0)
    fleet.remove_robot(0)
    slot = fleet.add_robot(Robot("new", "a0", "NEW/USDT:USDT"))
    fleet.phase[slot] = Phase.FLAT
    assert slot == 0
    assert law.rates.of_robot(0) == pytest.approx(law.rates.of_robot(2))


@pytest.mark.parametrize("seed", range(5))
def test_a_kept_interval_is_what_the_law_gives_anew_after_any_history(seed: int) -> None:
    rng = Random(seed)
    fleet, law = _world(6, 4, priority=2.0)
    now_ms = START_MS
    for _ in range(400):
        slot, now_ms = rng.randrange(24), now_ms + rng.randrange(30_000)
        state = fleet.state_of(slot)
        if rng.random() < 0.3:
            fleet.phase[slot] = rng.choice([Phase.FLAT, Phase.HOLDING, Phase.WORKING])
            law.changed(state)
        else:
            law.learn(slot, changed=rng.random() < 0.1, since_ms=now_ms - 10_000, now_ms=now_ms)
        for _ in range(8):  # in one of them each root is worked out anew
            _pass(fleet, law)
        for other in fleet.accounts:
            assert other is not None
            rate = sum(law.rates.of_robot(mine) * 2.0 for mine in other.slots)
            assert law.rates.of_account(other) == pytest.approx(rate)
            wish_ms = (other.route.law.scale or 0.0) * sqrt(law.cost(other) / rate)
            shown_ms = law.intervals_ms(other)[Phase.FLAT]
            assert shown_ms == pytest.approx(min(wish_ms, HOUR_MS), rel=0.01, abs=1)
