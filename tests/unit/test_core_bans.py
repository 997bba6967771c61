"""Limits and bans: what the exchange said stands, over restarts, changes of the cap and other routes' business."""

from dataclasses import replace

import pytest
from tests.unit.builders import position
from tests.unit.core_world import LATENCY_MS, TARIFF, Truth, World, failing, settled

from fleetsync.messages import Answer
from fleetsync.model import Account, Fault
from fleetsync.ports import Loaded
from fleetsync.tariff import Quota, Scope
from fleetsync_adapters.tariffs import load_tariff

_BY_ACCOUNT = replace(TARIFF, quotas=(Quota("weight", Scope.ACCOUNT, 2_400, 60_000),))


def frozen(world: World, fault: Fault) -> tuple[int, Loaded]:
    """Two accounts, of which one meets a limit of 45 s: until when it lasts, and what a restart finds of it."""
    for account in ("main", "other"):
        world.account(account)
        world.robot(f"of-{account}", account)
    world.run(10_000)
    world.answer = failing(fault=fault, retry_after_ms=45_000)
    world.event("of-main")
    world.run(1_000)
    until_ms = world.syncs("main")[-1] + LATENCY_MS + 45_000
    world.answer = lambda *_: None
    loaded = world.loaded()
    return until_ms, loaded


@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.BANNED])
def test_a_limit_freezes_the_calls_it_guards_for_as_long_as_it_says_and_over_a_restart(fault: Fault) -> None:
    world = World()
    until_ms, loaded = frozen(world, fault)
    assert set(loaded.freezes.values()) == {until_ms}
    world.event("of-other")
    world.run(40_000)
    assert max(world.syncs("main") + world.syncs("other")) < until_ms - 40_000
    restarted = World(loaded=loaded, at_ms=world.now_ms)
    restarted.account()
    restarted.robot("of-main")
    restarted.run(10_000)
    assert min(restarted.syncs()) >= until_ms


def test_a_limit_that_says_an_absurd_span_freezes_for_thirty_days_and_stops_no_other_route() -> None:
    world = World()
    world.account()
    world.robot("r")
    world.run(1_000)
    world.answer = failing(fault=Fault.BANNED, retry_after_ms=10**18)
    world.event("r")
    world.run(1_000)
    until_ms = max(world.loaded().freezes.values())
    assert 0 < until_ms - world.now_ms <= 30 * 24 * 3_600_000
    world.run(120_000)
    assert max(world.syncs()) < until_ms


def test_a_ban_that_is_met_while_the_markets_load_freezes_too() -> None:
    world = World()
    world.account()
    world.robot("r")
    world.answer = lambda account, call, now_ms: Answer(call, now_ms, fault=Fault.BANNED, retry_after_ms=60_000)
    world.run(50_000)
    assert len(world.opened) == 1
    assert set(world.loaded().freezes) == {"paper:weight", "paper:*"}


@pytest.mark.parametrize("fault", [Fault.BANNED, Fault.RATE_LIMITED])
def test_a_ban_holds_where_no_quota_stands_for_the_address_over_restarts_and_changes_of_the_cap(fault: Fault) -> None:
    """Where all limits are the accounts' own, no ledger guards what a ban guards; a call may have none at all."""
    free = replace(_BY_ACCOUNT, costs={key: replace(cost, weights=()) for key, cost in TARIFF.costs.items()})
    world = World(tariff=_BY_ACCOUNT if fault is Fault.BANNED else free)
    until_ms, loaded = frozen(world, fault)
    sent = len(world.sent)
    world.core.set_calls_per_minute(2_000, world.now_ms)
    world.event("of-other")
    world.run(30_000)
    assert len(world.sent) == sent
    restarted = World(tariff=world.core.fleet.tariffs["paper"], loaded=loaded, at_ms=world.now_ms)
    restarted.account()
    restarted.robot("of-main")
    restarted.event("of-main")
    restarted.run(5_000)
    assert (restarted.opened, restarted.sent) == ([], [])
    restarted.run(30_000)
    assert min(restarted.syncs()) >= until_ms


def test_an_answer_that_was_on_its_way_does_not_lift_a_ban() -> None:
    world = World(tariff=_BY_ACCOUNT)
    for account in ("main", "other"):
        world.account(account)
        world.robot(f"of-{account}", account)
    world.run(10_000)
    route = world.core.fleet.account_by_id["main"].route
    for number in range(10):  # the exchange seemed down, and its circuit is open
        route.circuit.failed(f"a{number}", world.now_ms, world.settings, world.core.rng)
    route.freeze(world.now_ms + 60_000)
    assert route.circuit.is_open
    world.core.settlement.trouble.healthy(world.core.fleet.account_by_id["other"])
    sent = len(world.sent)
    world.event("of-other")
    world.run(50_000)
    assert len(world.sent) == sent


def test_an_exchange_that_is_banned_does_not_keep_others_from_being_opened() -> None:
    other = replace(TARIFF, exchange="spare")
    world = World()
    world.core.fleet.tariffs["spare"] = other
    world.account()
    world.robot("r")
    world.answer = lambda _, call, now_ms: Answer(call, now_ms, fault=Fault.BANNED, retry_after_ms=60_000)
    world.run(5_000)
    world.core.add_account(Account("two", "spare"), world.now_ms)
    world.truth["two"] = Truth()
    world.robot("s", "two")
    world.answer = lambda *_: None
    world.run(5_000)
    assert world.syncs("two")
    assert not world.syncs("main")


@pytest.mark.parametrize("exchange", ["okx", "bybit", "bitget", "gate", "binanceusdm"])
def test_an_address_that_is_turned_away_without_a_word_for_how_long_asks_ever_more_rarely(exchange: str) -> None:
    """Most 429 have no Retry-After: with a rest of a second each, a fleet asked on as often as ever."""
    world = World(tariff=replace(load_tariff(exchange), exchange="paper"))
    for number in range(20):
        world.account(f"a{number}").positions.append(position())
        world.robot(f"r{number}", f"a{number}")
    world.run(60_000)
    before = world.requests
    world.run(120_000)
    healthy = world.requests - before
    world.answer = failing(fault=Fault.RATE_LIMITED)
    before = world.requests
    world.run(120_000)
    assert world.requests - before < min(60, healthy // 2)
    world.answer = lambda *_: None
    world.run(60_000)
    before = world.requests
    world.run(120_000)
    assert world.requests - before > healthy * 0.9, "and is back once it is served again"
    settled(world)


def test_one_account_that_is_turned_away_rests_alone() -> None:
    world = World(tariff=replace(load_tariff("okx"), exchange="paper"))
    for name in ("main", "other"):
        world.account(name).positions.append(position())
        world.robot(name, name)
    world.run(60_000)
    world.answer = failing(fault=Fault.RATE_LIMITED, account="main")
    world.run(120_000)
    assert len([at_ms for at_ms in world.syncs("main") if at_ms > world.now_ms - 60_000]) < 6
    assert len([at_ms for at_ms in world.syncs("other") if at_ms > world.now_ms - 60_000]) > 10
    assert not world.core.fleet.routes["paper", ""].circuit.is_open
    settled(world)


@pytest.mark.parametrize("fault", [Fault.BANNED, Fault.RATE_LIMITED])
def test_a_limit_that_is_told_after_its_sync_was_given_up_still_holds(fault: Fault) -> None:
    world = World()
    world.account()
    world.robot("r")
    world.run(10_000)
    give_up_ms = world.settings.grant_valid_ms + world.settings.call_timeout_ms + 5_000
    world.answer = failing(fault=fault, retry_after_ms=300_000)
    world.latency_ms = lambda _: give_up_ms + 2_000
    world.event("r")
    world.run(100)
    sent_ms = world.syncs()[-1]
    world.run(give_up_ms + 3_000)
    world.answer, seen = lambda *_: None, len(world.syncs())
    world.latency_ms = lambda _: LATENCY_MS
    world.run(200_000)
    assert not [at_ms for at_ms in world.syncs()[seen:] if at_ms < sent_ms + 300_000]
