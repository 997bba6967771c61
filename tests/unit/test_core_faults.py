"""The core under faults, restarts and a fleet that changes: what stops, what survives, and that nothing is lost."""

import pytest
from tests.unit.builders import order, position
from tests.unit.core_world import LATENCY_MS, START_MS, World, failing, settled

from fleetsync.messages import Answer, Call, SyncDone, WorkerUp
from fleetsync.model import Account, Fault, Phase, Surface
from fleetsync.ports import Loaded

ETH = "ETH/USDT:USDT"


def test_a_lost_workers_work_goes_back_and_is_done_again_when_it_is_up() -> None:
    world = World()
    world.account()
    world.robot("r")
    world.run(10_000)
    world.latency_ms = lambda _: 5_000
    world.event("r")
    world.run(1_000)
    assert world.core.in_flight
    world.lose(0)
    assert not world.core.in_flight
    world.run(5_000)
    sent = len(world.sent)
    world.core.receive(WorkerUp(0, 200), world.now_ms)
    world.run(8_000)
    assert len(world.sent) > sent
    assert not world.core.inbox.pending
    assert world.core.journal.uncertain_calls > 0
    settled(world)


def test_a_late_report_of_a_sync_that_was_given_up_proves_nothing_and_is_counted_once() -> None:
    world = World()
    truth = world.account()
    world.robot("r")
    world.run(10_000)
    truth.positions = [position(at_ms=START_MS)]
    world.latency_ms = lambda _: 60_000
    world.event("r")
    world.run(30_000)
    assert world.core.journal.uncertain_calls > 0
    truth.positions = []
    world.latency_ms = lambda _: LATENCY_MS
    world.run(120_000)
    assert world.changes == []
    assert world.core.journal.uncertain_calls == 0
    settled(world)


def test_wrong_keys_stop_the_account_and_not_the_fleet_until_it_is_resumed() -> None:
    world = World()
    for account in ("main", "other"):
        world.account(account)
        world.robot(f"of-{account}", account)
    world.answer = failing(fault=Fault.AUTH, account="main")
    world.run(120_000)
    assert len(world.syncs("main")) == 1
    assert len(world.syncs("other")) >= 4
    assert world.core.fleet.account_by_id["main"].stopped.startswith("auth")
    world.answer = lambda *_: None
    world.event("of-main")
    world.core.resume_account("main", Account("main", "paper"), world.now_ms)
    world.run(1_000)
    assert not world.core.inbox.pending
    world.run(60_000)
    assert len(world.syncs("main")) >= 3


def test_every_stop_of_an_account_is_said_also_after_a_passing_fault_and_a_second_time() -> None:
    world = World()
    world.account()
    world.robot("r")
    for fault in (Fault.NETWORK, Fault.AUTH):
        world.answer = failing(fault=fault)
        world.run(40_000)
    world.core.resume_account("main", None, world.now_ms)
    world.run(40_000)
    said = [notice.text for notice in world.core.journal.notices if notice.key == "account:main"]
    assert sum("stopped, auth" in text for text in said) == 2


def test_a_symbol_that_is_not_listed_stops_its_robots_and_is_not_asked_for_again() -> None:
    world = World()
    truth = world.account()
    truth.positions, truth.orders = [position("0")], [order()]  # an order rests: the list names the symbol
    world.robot("good")
    world.robot("bad", symbol="NOPE/USDT:USDT")
    world.answer = lambda account, call, now_ms: (
        Answer(call, now_ms, fault=Fault.BAD_SYMBOL) if call.symbol.startswith("NOPE") else None)
    world.core.receive(SyncDone(0, (), ()), world.now_ms)
    world.run(20_000)
    slot = world.core.fleet.slot("bad")
    question = Call(Surface.FILLS, "NOPE/USDT:USDT")
    world.core.settlement.reader.ask(world.core.fleet.state_of(slot), question, world.now_ms)
    world.run(60_000)
    asked = [call for sent in world.sent for call in sent.dispatch.calls if call.symbol.startswith("NOPE")]
    assert len(asked) == 1
    assert "does not list" in world.core.fleet.stopped[slot]
    assert world.core.fleet.phase_seen(world.core.fleet.slot("good")) is Phase.WORKING


def test_an_exchange_that_is_down_is_probed_and_all_accounts_come_back_when_it_answers() -> None:
    world = World()
    for number in range(30):
        world.account(f"a{number}")
        world.robot(f"r{number}", f"a{number}")
    world.run(60_000)
    world.answer = failing(fault=Fault.DOWN)
    world.run(60_000)
    sent = len(world.sent)
    world.run(300_000)
    assert 5 <= len(world.sent) - sent <= 60  # a healthy minute takes sixty
    world.answer = lambda *_: None
    world.run(90_000)
    state = world.core.fleet.account_by_id["a0"]
    assert not state.route.circuit.is_open
    assert all(max(world.syncs(f"a{number}")) > world.now_ms - 40_000 for number in range(30))
    settled(world)


@pytest.mark.parametrize("end", ["auth", "refused", "malformed", "expired", "worker lost"])
def test_a_probe_that_ends_in_any_way_leaves_room_for_the_next(end: str) -> None:
    world = World()
    for number in range(12):
        world.account(f"a{number}")
        world.robot(f"r{number}", f"a{number}")
    world.run(40_000)
    world.answer = failing(fault=Fault.NETWORK)
    world.run(60_000)
    circuit = world.core.fleet.account_by_id["a0"].route.circuit
    assert circuit.state != "closed"
    if end == "worker lost":
        world.latency_ms = lambda _: 4_000
        while not circuit.probing:
            world.run(100)
        world.lose(0)
        world.core.receive(WorkerUp(0, 300), world.now_ms)
        world.latency_ms = lambda _: LATENCY_MS
    else:
        answer = failing(fault=Fault(end))
        world.answer = lambda account, call, now_ms: answer(account, call, now_ms) if int(account[1:]) < 6 else None
        world.run(30_000)
    world.answer = lambda *_: None
    world.run(180_000)
    assert circuit.state == "closed"
    alive = [f"a{number}" for number in range(12) if not world.core.fleet.account_by_id[f"a{number}"].stopped]
    assert alive
    assert all(max(world.syncs(account)) > world.now_ms - 40_000 for account in alive)


def test_a_removed_robots_slot_that_is_used_again_gets_none_of_the_old_answers() -> None:
    world = World()
    world.account().positions = [position()]
    world.robot("old")
    world.run(5_000)
    world.latency_ms = lambda _: 1_000
    world.event("old")
    world.run(500)
    slot = world.core.fleet.slot("old")
    assert world.core.in_flight
    world.core.remove_robot("old")
    world.robot("new", symbol=ETH, first_in_ms=20_000)
    assert world.core.fleet.slot("new") == slot
    world.run(5_000)
    state = world.core.fleet.state_of(slot)
    assert (list(state.waiting), dict(state.urgent), state.route.due) == ([], {}, 0)
    assert slot in state.route.robots
    world.core.remove_robot("new")
    world.run(60_000)
    assert state.route.due == 0
    settled(world)


def test_what_a_removed_robots_events_wanted_to_know_is_asked_no_more() -> None:
    world = World()
    world.account()
    world.robot("gone")
    world.robot("stays", symbol=ETH)
    world.run(40_000)
    for name in ("gone", "stays"):
        for number in range(3):
            world.event(name, "order_cancelled", order_id=f"{name}-{number}")
    state = world.core.fleet.state_of(world.core.fleet.slot("stays"))
    assert len(state.questions) == 6
    world.core.remove_robot("gone")
    assert {call.symbol for call in state.questions} == {ETH}


def test_a_robot_that_moves_to_another_account_in_flight_is_read_there_and_only_there() -> None:
    world = World()
    world.account()
    world.account("second").positions = [position()]
    world.robot("r")
    world.run(5_000)
    world.event("r")
    world.run(10)
    world.core.remove_robot("r")
    world.robot("r", "second")
    moved_ms = world.now_ms
    world.run(60_000)
    assert [at_ms for at_ms in world.syncs() if at_ms > moved_ms] == []
    assert len([at_ms for at_ms in world.syncs("second") if at_ms > moved_ms]) >= 11
    assert world.core.fleet.phase_seen(world.core.fleet.slot("r")) is Phase.HOLDING


def test_accounts_that_wait_for_a_full_worker_all_come_back() -> None:
    world = World(in_flight_per_worker=2)
    for number in range(40):
        world.account(f"a{number}")
        world.robot(f"r{number}", f"a{number}")
    world.latency_ms = lambda _: 1_000
    world.run(20_000)
    world.answer = failing(fault=Fault.AUTH, account="a7")
    for number in range(40):
        world.event(f"r{number}")
    world.run(120_000)
    assert world.core.fleet.account_by_id["a7"].stopped
    for number in set(range(40)) - {7}:
        assert max(world.syncs(f"a{number}")) > world.now_ms - 60_000
    assert set(world.core.inbox.pending) <= {7}  # it is served when the account is resumed
    settled(world)


def test_what_an_earlier_run_knew_is_a_change_when_it_is_gone_and_no_first_sight() -> None:
    world = World()
    world.account().positions = [position()]
    world.robot("r")
    world.run(10_000)
    loaded = world.loaded()
    again = World(loaded=loaded, at_ms=world.now_ms + 5_000)
    again.account()
    again.robot("r")
    again.run(20_000)
    assert [(change.kind, change.number) for change in again.changes] == [("position_closed", 2)]


def test_an_event_that_was_not_served_is_found_again_after_a_restart_and_served_first() -> None:
    world = World()
    world.account()
    world.robot("r")
    world.event("r", "opened", side="long")
    world.run(1)
    loaded = world.loaded()
    assert len(loaded.events) == 1
    again = World(loaded=loaded, at_ms=world.now_ms + 60_000)
    again.account()
    again.robot("r", first_in_ms=25_000)
    again.core.readmit_events(again.now_ms)
    again.run(5_000)  # a twentieth of the minute's quota may be owed by the run before
    assert len(again.sent) >= 1
    again.run(17_000)
    assert not again.loaded().events


def test_a_question_whose_grant_ran_out_is_asked_again() -> None:
    world = World()
    world.account()
    world.robot("r")
    world.run(5_000)
    state = world.core.fleet.account_by_id["main"]
    question = Call(Surface.FILLS, "BTC/USDT:USDT", since_ms=1)
    expired = iter([True])
    world.answer = lambda account, call, now_ms: (
        Answer(call, now_ms, fault=Fault.EXPIRED) if call == question and next(expired, False) else None)
    world.core.settlement.reader.ask(state, question, world.now_ms)
    world.core.make_urgent(state, world.now_ms)
    world.run(5_000)
    assert sum(question in sent.dispatch.calls for sent in world.sent) == 2
    assert not state.questions


def test_an_empty_store_restores_nothing() -> None:
    world = World(loaded=Loaded())
    world.account()
    world.robot("r")
    world.run(1_000)
    assert world.core.journal.last_change == 0
    assert world.changes == []
