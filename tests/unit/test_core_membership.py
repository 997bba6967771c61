"""Accounts that leave, come back, and are reached otherwise, with a sync of theirs out or not."""

from dataclasses import replace

import pytest
from tests.unit.builders import order, position
from tests.unit.core_world import START_MS, TARIFF, World, failing, settled

from fleetsync.errors import ConfigError
from fleetsync.messages import Answer, Call, RemoveAccount
from fleetsync.model import Account, Fault, Phase, Surface
from fleetsync.tariff import Cost, Quota, Scope

_COSTS = {name: Cost(cost.endpoint, (*cost.weights, ("own", 1))) for name, cost in TARIFF.costs.items()}
OWN_QUOTA = replace(TARIFF, quotas=(*TARIFF.quotas, Quota("own", Scope.ACCOUNT, 20, 2_000)), costs=_COSTS)


def _holding(**more: object) -> World:
    world = World(**more)  # type: ignore[arg-type]  # settings by name
    world.account().positions.append(position())
    world.robot("btc")
    world.run(3_000)
    return world


def _phase(world: World, robot: str = "btc") -> Phase:
    return world.core.fleet.phase_seen(world.core.fleet.slot(robot))


def _in_flight(world: World) -> int:
    """Send a sync and stop while it is out; returns its number."""
    world.event("btc")
    world.run(10)
    (sync_id,) = world.core.in_flight
    return sync_id


def test_an_account_that_leaves_takes_its_robots_with_it_and_is_asked_no_more() -> None:
    world = _holding()
    world.account("other")
    world.robot("eth", "other", "ETH/USDT:USDT")
    world.run(3_000)
    world.core.remove_account("main", world.now_ms)
    assert [command for _, command in world.core.commands] == [RemoveAccount("main")]
    sent = len(world.syncs())
    world.run(60_000)
    assert len(world.syncs()) == sent
    assert "btc" not in world.core.fleet.slot_of
    assert world.syncs("other")[-1] > START_MS + 30_000
    rows = world.loaded()
    assert (list(rows.accounts), list(rows.robots)) == (["other"], ["eth"])
    assert len(rows.positions) == 1, "what it held when it was read last stays on file"
    with pytest.raises(ConfigError, match="no account 'main'"):
        world.core.remove_account("main", world.now_ms)


def test_an_account_that_comes_back_is_known_and_only_what_changed_meanwhile_is_told() -> None:
    world = _holding()
    world.core.remove_account("main", world.now_ms)
    world.run(30_000)
    world.core.add_account(Account("main", "paper"), world.now_ms)
    world.robot("btc")
    assert _phase(world) is Phase.UNKNOWN, "it was not read yet"
    world.run(3_000)
    assert _phase(world) is Phase.HOLDING
    assert [change.kind for change in world.changes] == ["position_opened"]
    world.core.remove_account("main", world.now_ms)
    world.truth["main"].positions.clear()
    world.core.add_account(Account("main", "paper"), world.now_ms)
    world.robot("btc")
    world.run(60_000)
    assert _phase(world) is Phase.FLAT
    assert [change.kind for change in world.changes] == ["position_opened", "position_closed"]


def test_what_is_out_when_an_account_leaves_proves_nothing_about_it_when_it_is_back() -> None:
    """And until it is over nothing else is asked: there are never two runs at once."""
    world = _holding()
    world.latency_ms = lambda _: 2_000
    world.truth["main"].positions.clear()  # what is out will say so; the account has a position again before it is back
    first = _in_flight(world)
    world.truth["main"].positions.append(position(size="7", updated_at_ms=world.now_ms))
    world.core.remove_account("main", world.now_ms)
    world.core.add_account(Account("main", "paper"), world.now_ms)
    world.robot("btc")
    world.run(1_500)
    assert list(world.core.in_flight) == [first]
    assert _phase(world) is Phase.UNKNOWN
    world.latency_ms = lambda _: 80
    world.run(3_000)
    assert first not in world.core.in_flight
    assert _phase(world) is Phase.HOLDING
    assert [row["size"] for change in world.changes if (row := change.after)][-1] == "7"
    world.account("third")
    assert len(world.core.fleet.accounts) == 2, "the old index is free again"
    settled(world)


@pytest.mark.parametrize("fault", [Fault.BANNED, Fault.RATE_LIMITED])
def test_a_limit_met_by_what_is_out_holds_though_its_account_has_left(fault: Fault) -> None:
    world = _holding()
    world.account("other")
    world.robot("eth", "other", "ETH/USDT:USDT", first_in_ms=1_000)
    world.answer = failing(fault=fault, account="main", retry_after_ms=30_000)
    _in_flight(world)
    world.core.remove_account("main", world.now_ms)
    until_ms = world.now_ms + 30_000
    world.run(40_000)
    assert world.syncs("other")[0] >= until_ms
    settled(world)


def test_a_worker_that_never_reports_what_is_out_keeps_nobody_who_comes_back_away() -> None:
    world = _holding(call_timeout_ms=1_000)
    world.silent.add(0)
    first = _in_flight(world)
    world.core.remove_account("main", world.now_ms)
    world.core.add_account(Account("main", "paper"), world.now_ms)
    world.robot("btc")
    world.silent.clear()
    world.run(20_000)
    assert first not in world.core.in_flight
    assert _phase(world) is Phase.HOLDING
    settled(world)


def test_an_index_that_is_given_to_another_account_brings_nothing_of_the_old_one() -> None:
    world = _holding()
    before = world.core.fleet.account_by_id["main"]
    world.core.remove_account("main", world.now_ms)
    world.account("other")
    state = world.core.fleet.account_by_id["other"]
    assert state.index == before.index
    assert (state.positions_as_of_ms, state.positions_key_ms, state.orders_as_of_ms) == (0, 0, 0)
    world.robot("eth", "other", "ETH/USDT:USDT")
    assert _phase(world, "eth") is Phase.UNKNOWN
    world.run(3_000)
    assert _phase(world, "eth") is Phase.FLAT
    assert len(world.core.fleet.accounts) == 1


def test_an_account_that_goes_another_way_keeps_its_robots_its_events_and_what_is_known() -> None:
    world = _holding()
    first = _in_flight(world)
    world.core.change_account(Account("main", "paper", egress="two"), world.now_ms)
    assert _phase(world) is Phase.HOLDING
    world.run(3_000)
    state = world.core.fleet.account_by_id["main"]
    assert state.route.name == "paper@two"
    assert world.core.fleet.routes["paper", ""].robots.live == 0
    assert world.sent[-1].dispatch.sync_id > first
    assert not world.core.inbox.pending, "its event was served by what was read on the new way"
    assert [change.kind for change in world.changes] == ["position_opened"]
    seen = len(world.syncs())
    world.run(60_000)
    assert len(world.syncs()) >= seen + 10
    settled(world)


def test_an_account_that_is_reached_otherwise_is_read_at_once_however_lately_it_was_read() -> None:
    world = _holding(flat_ms=60_000, holding_ms=60_000)
    changed_ms = world.now_ms
    assert world.syncs()[-1] < changed_ms - 1_000
    world.core.change_account(Account("main", "paper", egress="two"), changed_ms)
    world.run(1_000)
    assert world.syncs()[-1] >= changed_ms


def test_other_keys_are_used_at_once_and_what_rests_for_the_old_ones_rests_no_more() -> None:
    world = _holding()
    world.answer = failing(fault=Fault.NETWORK)
    world.run(60_000)
    assert world.core.fleet.account_by_id["main"].parked_until_ms > world.now_ms
    world.answer = lambda *_: None
    changed_ms = world.now_ms
    world.core.fleet.routes["paper", ""].circuit.succeeded()
    world.core.change_account(Account("main", "paper"), world.now_ms)
    world.run(200)
    assert world.syncs()[-1] - changed_ms <= 10


def test_an_account_of_another_exchange_is_another_account() -> None:
    world = _holding()
    with pytest.raises(ConfigError, match="on paper, not on spare"):
        world.core.change_account(Account("main", "spare"), world.now_ms)


def test_what_an_account_may_ask_itself_is_counted_over_every_way_and_over_its_leaving() -> None:
    """A limit of its own starts anew neither on another egress nor with another membership."""
    world = _holding(tariff=OWN_QUOTA, holding_ms=200, floor_ms=100, account_calls_per_second=100,
                     calls_per_minute=60_000)
    for number in range(40):
        world.core.change_account(Account("main", "paper", egress=str(number % 2)), world.now_ms)
        world.run(50)
        world.core.remove_account("main", world.now_ms)
        world.core.add_account(Account("main", "paper"), world.now_ms)
        world.robot("btc")
        world.run(50)
    calls_ms = [sent.at_ms for sent in world.sent for _ in sent.dispatch.calls]
    assert len(calls_ms) > 20
    assert max(sum(at_ms - 2_000 < other_ms <= at_ms for other_ms in calls_ms) for at_ms in calls_ms) <= 20


def test_nothing_is_kept_of_accounts_that_are_gone_for_good() -> None:
    world = _holding(tariff=OWN_QUOTA)
    for number in range(30):
        truth = world.account(f"a{number}")
        truth.orders.append(order(id=str(number)))
        world.robot(f"r{number}", f"a{number}")
        world.run(2_000)
        truth.orders.clear()
        world.run(60_000)
        world.core.remove_account(f"a{number}", world.now_ms)
    owners = {ledger.owner for ledger in world.core.budget.ledgers()}
    assert len(owners) < 8, "those of the last minutes"
    world.run(700_000)
    assert {ledger.owner for ledger in world.core.budget.ledgers()} == {"", "main"}
    journal = world.core.journal
    assert (journal.inherited, journal.ended, journal.closed) == ({}, {}, {})
    assert len(world.core.fleet.accounts) == 2


def test_a_limit_outlives_an_account_that_is_gone_for_as_long_as_it_lasts_and_no_longer() -> None:
    world = _holding(tariff=OWN_QUOTA)
    world.account("other")
    world.robot("eth", "other", "ETH/USDT:USDT")
    world.answer = failing(fault=Fault.RATE_LIMITED, account="other", retry_after_ms=3_600_000)
    world.run(10_000)
    world.answer = lambda *_: None
    world.core.remove_account("other", world.now_ms)
    world.run(3_000_000, step_ms=10_000)
    assert "other" in {ledger.owner for ledger in world.core.budget.ledgers()}
    world.run(1_000_000, step_ms=10_000)
    assert "other" not in {ledger.owner for ledger in world.core.budget.ledgers()}


def test_a_stopped_account_is_resumed_on_another_way() -> None:
    world = _holding()

    def refuse(account: str, call: Call, at_ms: int) -> Answer | None:
        return Answer(call, at_ms, fault=Fault.AUTH) if call.surface is Surface.POSITIONS else None

    world.answer = refuse
    world.run(10_000)
    assert world.core.fleet.account_by_id["main"].stopped
    world.answer = lambda *_: None
    world.core.change_account(Account("main", "paper", egress="two"), world.now_ms)
    world.run(10_000)
    assert _phase(world) is Phase.UNKNOWN, "it stays stopped until it is resumed"
    world.core.resume_account("main", None, world.now_ms)
    world.run(3_000)
    assert _phase(world) is Phase.HOLDING
    settled(world)
