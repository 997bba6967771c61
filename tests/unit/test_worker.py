"""The worker, in this process: grants, pace, deadlines, and whatever an exchange's code may do."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.process.crew_support import Rig, account, order, spec, until
from tests.process.echo_exchange import FACTORY

from fleetsync.config import Settings
from fleetsync.messages import AddAccount, Call, OpenExchange, RemoveAccount, SymbolsUnknown, SyncDone
from fleetsync.model import Fault, Surface
from fleetsync.ports import ExchangeSpec
from fleetsync.tariff import Cost, Tariff

POSITIONS = Call(Surface.POSITIONS)


def run(story: Callable[[Rig], Awaitable[None]], settings: Settings | None = None,
        of: ExchangeSpec | None = None) -> None:
    async def told() -> None:
        async with Rig(settings, workers=0, of=of) as rig:
            await story(rig)

    asyncio.run(told())


def test_each_call_gets_one_answer_in_the_order_asked() -> None:
    async def story(rig: Rig) -> None:
        calls = (order("wait:30"), POSITIONS, order("wait:1"))
        rig.ask(1, *calls)
        done = await rig.ear.done(1)
        assert tuple(answer.call for answer in done.answers) == calls
        assert all(answer.complete for answer in done.answers)
        assert len(done.requests) == 3

    run(story)


def test_the_calls_of_one_dispatch_run_side_by_side() -> None:
    async def story(rig: Rig) -> None:
        rig.ask(1, order("never"), order("never"))
        rig.ask(2, POSITIONS)
        assert await rig.ear.answers(2)  # though sync 1 hangs
        assert not [done for done in rig.ear.all(SyncDone) if done.sync_id == 1]

    run(story)


def test_an_expired_grant_is_answered_and_never_sent() -> None:
    async def story(rig: Rig) -> None:
        rig.ask(1, POSITIONS, send_by_ms=rig.clock.now_ms() - 1)
        done = await rig.ear.done(1)
        assert done.answers[0].fault is Fault.EXPIRED
        assert done.requests == ()

    run(story)


def test_a_batch_is_paced_and_what_the_pace_leaves_no_time_for_expires_in_time() -> None:
    async def story(rig: Rig) -> None:
        began_ms = rig.clock.now_ms()
        rig.ask(1, *[POSITIONS] * 60, send_by_ms=began_ms + 250)  # 5 at once, then one each 100 ms
        answers = await rig.ear.answers(1)
        assert rig.clock.now_ms() - began_ms < 4_000  # at its turn, the last one would be told after 5.5 s
        sent = [answer for answer in answers if answer.fault is None]
        assert 5 <= len(sent) <= 8
        assert {answer.fault for answer in answers if answer not in sent} == {Fault.EXPIRED}
        assert len((await rig.ear.done(1)).requests) == len(sent)

    run(story, Settings(account_calls_per_second=10))


def test_one_accounts_pace_does_not_hold_up_another() -> None:
    async def story(rig: Rig) -> None:
        rig.crew.send(0, AddAccount(account("b"), ()))
        rig.ask(1, *[POSITIONS] * 30)
        rig.ask(2, POSITIONS, who="b")
        await rig.ear.done(2)
        assert not [done for done in rig.ear.all(SyncDone) if done.sync_id == 1]

    run(story, Settings(account_calls_per_second=10))


def test_a_call_without_an_answer_is_given_up_and_counted_as_sent() -> None:
    async def story(rig: Rig) -> None:
        rig.ask(1, order("never"))
        done = await rig.ear.done(1)
        assert done.answers[0].fault is Fault.NETWORK
        [request] = done.requests
        assert (request.endpoint, request.weight, request.status) == ("GET /order", 3, 0)

    tariff = Tariff("echo", (), {"order": Cost("GET /order", (("weight", 3),))})
    run(story, of=ExchangeSpec("echo", factory=FACTORY, tariff=tariff, call_timeout_ms=1))


def test_what_an_adapter_raises_becomes_a_fault_that_shows_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    async def story(rig: Rig) -> None:
        rig.ask(1, order("raise"), POSITIONS)
        raised, fine = await rig.ear.answers(1)
        assert raised.fault is Fault.MALFORMED
        assert "RuntimeError" in raised.detail
        assert fine.complete
        assert "sesame" not in raised.detail

    with caplog.at_level(logging.DEBUG):
        run(story)
    assert "RuntimeError at ask" in caplog.text
    assert "sesame" not in caplog.text


def test_an_account_that_is_not_served_is_refused() -> None:
    async def story(rig: Rig) -> None:
        rig.ask(1, POSITIONS, order("x"), who="stranger")
        rig.crew.send(0, RemoveAccount("a"))
        rig.ask(2, POSITIONS)
        for sync_id in (1, 2):
            done = await rig.ear.done(sync_id)
            assert {answer.fault for answer in done.answers} == {Fault.REFUSED}
            assert done.requests == ()
        assert len((await rig.ear.done(1)).answers) == 2

    run(story)


def test_an_exchange_is_loaded_once_however_often_it_is_opened() -> None:
    async def story(rig: Rig) -> None:
        for sync_id in (1, 2):
            rig.crew.send(0, OpenExchange(sync_id, "echo", "", rig.soon_ms()))
            done = await rig.ear.done(sync_id)
            assert done.answers[0].complete
            assert done.requests == ()

    run(story)


def test_opening_obeys_its_grant_and_can_be_asked_again() -> None:
    async def story() -> None:
        rig = Rig(workers=0)
        await rig.crew.start(rig.ear)
        rig.crew.send(0, OpenExchange(1, "echo", "", rig.clock.now_ms() - 1))
        late = await rig.ear.done(1)
        assert late.answers[0].fault is Fault.EXPIRED
        assert late.requests == ()
        rig.crew.send(0, OpenExchange(2, "echo", "", rig.soon_ms()))
        done = await rig.ear.done(2)
        assert done.answers[0].complete
        assert [request.endpoint for request in done.requests] == ["GET /markets"]
        await rig.crew.stop(0)

    asyncio.run(story())


def test_an_exchange_that_no_spec_names_is_refused() -> None:
    async def story(rig: Rig) -> None:
        rig.crew.send(0, OpenExchange(1, "echo", "another egress", rig.soon_ms()))
        assert (await rig.ear.answers(1))[0].fault is Fault.REFUSED

    run(story)


def test_symbols_that_the_markets_do_not_list_are_reported_now_and_when_added_later() -> None:
    async def story(rig: Rig) -> None:
        rig.crew.send(0, AddAccount(account("b"), ("BTC/USDT:USDT", "NO/USDT:USDT")))
        rig.crew.send(0, AddAccount(account("c"), ("ETH/USDT:USDT",)))
        assert await rig.ear.next(SymbolsUnknown) == [SymbolsUnknown("b", ("NO/USDT:USDT",))]
        rig.crew.send(0, AddAccount(account("c"), ("ETH/USDT:USDT", "NIX/USDT:USDT")))
        assert (await rig.ear.next(SymbolsUnknown, 2))[1] == SymbolsUnknown("c", ("NIX/USDT:USDT",))

    run(story)


@pytest.mark.parametrize("factory", ["no_such_module:open", "tests.process.echo_exchange:missing", "nonsense"])
def test_an_exchange_whose_code_is_missing_is_refused_when_it_is_opened(factory: str) -> None:
    async def story() -> None:
        rig = Rig(workers=0, of=ExchangeSpec("echo", factory=factory))
        await rig.crew.start(rig.ear)
        rig.crew.send(0, OpenExchange(1, "echo", "", rig.soon_ms()))
        answer = (await rig.ear.answers(1))[0]
        assert answer.fault is Fault.REFUSED
        assert factory in answer.detail
        await rig.crew.stop(0)

    asyncio.run(story())


def test_draining_finishes_what_is_in_flight_and_sends_nothing_new(tmp_path: Path) -> None:
    log = tmp_path / "sent"

    async def story(rig: Rig) -> None:
        rig.ask(1, order("wait:50"))
        await until(log.exists, "the call sent")
        stopping = asyncio.create_task(rig.crew.stop(5_000))
        await asyncio.sleep(0)
        rig.ask(2, POSITIONS)
        await stopping
        assert (await rig.ear.answers(1))[0].complete
        assert (await rig.ear.answers(2))[0].fault is Fault.EXPIRED

    run(story, of=spec(sent_log=str(log)))


def test_draining_gives_up_what_outlasts_the_grace(tmp_path: Path) -> None:
    log = tmp_path / "sent"

    async def story(rig: Rig) -> None:
        rig.ask(1, order("never"))
        await until(log.exists, "the call sent")
        before_ms = rig.clock.now_ms()
        await rig.crew.stop(50)
        assert rig.clock.now_ms() - before_ms < 5_000
        assert rig.crew.alive == 0
        assert not [done for done in rig.ear.all(SyncDone) if done.sync_id == 1]

    run(story, of=spec(sent_log=str(log)))


def test_exchanges_are_closed_at_the_end(tmp_path: Path) -> None:
    log = tmp_path / "sent"

    async def story(rig: Rig) -> None:
        await rig.crew.stop(0)
        assert log.read_text() == "closed\n"

    run(story, of=spec(sent_log=str(log)))
