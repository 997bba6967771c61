"""The adaptive mode on the whole core: what it costs to be watched, and how far the ceilings hold."""

from dataclasses import replace
from itertools import pairwise

import pytest
from tests.unit.builders import position
from tests.unit.core_world import TARIFF, World

from fleetsync.model import Phase, Surface

_MINUTE_MS = 60_000
_CEILING_MS = 10_000


def _world(*, calls_per_minute: int) -> World:
    """An adaptive core whose exchange limits nothing: only the operator's cap does."""
    quotas = tuple([replace(quota, limit=1_000_000_000) for quota in TARIFF.quotas])
    return World(tariff=replace(TARIFF, quotas=quotas), calls_per_minute=calls_per_minute, mode="adaptive",
                 holding_ceiling_ms=_CEILING_MS)


def _holders(world: World, rates: list[float]) -> None:
    """Accounts that hold a position each, with stated rates of unannounced changes an hour."""
    for number, rate in enumerate(rates):
        world.account(f"a{number}").positions = [position()]
        world.robot(f"r{number}", f"a{number}", first_in_ms=number * 100, changes_per_hour=rate)


def _position_reads(world: World, account: str, from_ms: int) -> list[int]:
    return [sent.at_ms for sent in world.sent if sent.dispatch.account == account and sent.at_ms >= from_ms
            and any(call.surface is Surface.POSITIONS for call in sent.dispatch.calls)]


def _said_of_ceilings(world: World) -> list[str]:
    return [notice.text for notice in world.core.journal.notices if notice.key.startswith("ceilings:")]


def test_a_robot_that_reports_its_changes_is_polled_less_than_one_that_does_not() -> None:
    world = _world(calls_per_minute=240)
    for number in range(4):
        world.account(f"a{number}").positions = [position()]
        world.robot(f"r{number}", f"a{number}")
    for minute in range(60):
        for number in range(4):
            world.truth[f"a{number}"].positions = [position(size=str(1 + minute % 7))]
            if number < 2:
                world.event(f"r{number}", "manual")
        world.run(_MINUTE_MS)
    fleet, law = world.core.fleet, world.core.timing.adaptive
    assert law is not None
    told, silent = ([fleet.slot(f"r{number}") for number in numbers] for numbers in ((0, 1), (2, 3)))
    assert max(map(law.rates.of_robot, told)) < min(map(law.rates.of_robot, silent)) / 5
    spans = [law.intervals_ms(fleet.state_of(slot))[Phase.HOLDING] for slot in (*told, *silent)]
    assert min(spans[:2]) > max(spans[2:])


@pytest.mark.parametrize(("calls_per_minute", "slack_ms"), [(1_200, 200), (600, 200), (300, 2_000)])
def test_a_holding_robot_is_never_older_than_its_ceiling_while_the_budget_can_hold_all_ceilings(
        calls_per_minute: int, slack_ms: int) -> None:
    """Of 300 every call is spent: there is a grant each 200 ms, and now and then a queue of some."""
    world = _world(calls_per_minute=calls_per_minute)
    rates = [0.001 * 3 ** (number % 12) for number in range(24)]  # from one a month to hundreds an hour
    _holders(world, rates)
    world.run(30 * _MINUTE_MS)
    settled_ms = world.now_ms - 20 * _MINUTE_MS
    gaps_ms: list[int] = []
    for number in range(24):
        reads = _position_reads(world, f"a{number}", settled_ms)
        gaps_ms += [later - earlier for earlier, later in pairwise(reads)]
    assert max(gaps_ms) <= _CEILING_MS + slack_ms
    assert sum(gap_ms > _CEILING_MS for gap_ms in gaps_ms) <= len(gaps_ms) / 20
    assert len(_position_reads(world, "a11", settled_ms)) > 2 * len(_position_reads(world, "a0", settled_ms))
    assert not _said_of_ceilings(world)


def test_where_the_budget_cannot_hold_all_ceilings_it_says_so_until_it_can() -> None:
    world = _world(calls_per_minute=60)
    _holders(world, [0.5] * 40)
    world.run(10 * _MINUTE_MS)
    (told,) = _said_of_ceilings(world)
    assert "cannot hold" in told
    reads = [len(_position_reads(world, f"a{number}", world.now_ms - 6 * _MINUTE_MS)) for number in range(40)]
    assert min(reads) >= 1  # they give way alike: nobody is left unread
    world.core.set_calls_per_minute(1_200, world.now_ms)
    world.run(2 * _MINUTE_MS)
    assert "holds the ceilings again" in _said_of_ceilings(world)[-1]
