"""The crew over real processes: what kills, hangs or floods a worker costs its work in flight, and nothing else."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.process.crew_support import Ear, Rig, account, children, is_running, open_files, order, spec, until

from fleetsync.clock import SystemClock
from fleetsync.config import Settings
from fleetsync.crew import ProcessCrew
from fleetsync.errors import ConfigError, CrewLost
from fleetsync.messages import AddAccount, Call, Dispatch, OpenExchange, SymbolsUnknown, SyncDone, WorkerLost, WorkerUp
from fleetsync.model import Fault, Surface
from fleetsync.ports import ExchangeSpec
from fleetsync.wire import FRAME_MAX

pytestmark = pytest.mark.process

POSITIONS = Call(Surface.POSITIONS)
JUMPY = Settings(worker_silence_ms=600)


def test_workers_start_serve_and_stop() -> None:
    async def story() -> None:
        async with Rig(workers=2) as rig:
            assert (rig.crew.size, rig.crew.alive) == (2, 2)
            assert len({rig.pid(0), rig.pid(1), os.getpid()}) == 3
            for worker in (0, 1):
                rig.ask(worker, POSITIONS, order("wait:5"), worker=worker)
                assert [answer.complete for answer in await rig.ear.answers(worker)] == [True, True]
            pids = [rig.pid(0), rig.pid(1)]
        assert rig.crew.alive == 0
        assert not any(map(is_running, pids))
        assert not rig.ear.all(WorkerLost)

    asyncio.run(story())


def test_a_killed_worker_is_lost_at_once_and_replaced() -> None:
    async def story() -> None:
        async with Rig(workers=2) as rig:
            rig.ask(1, order("never"))
            rig.ask(2, POSITIONS)
            await rig.ear.done(2)
            first = rig.pid(0)
            os.kill(first, signal.SIGKILL)
            assert await rig.ear.next(WorkerLost) == [WorkerLost(0, "was ended by SIGKILL")]
            rig.ask(3, POSITIONS)  # to a lost worker: nothing happens
            rig.ask(4, POSITIONS, worker=1)
            await rig.ear.done(4)
            await rig.ear.next(WorkerUp, 3)
            assert rig.pid(0) != first
            rig.ask(5, POSITIONS)
            assert (await rig.ear.answers(5))[0].fault is Fault.REFUSED  # it knows no account yet
            await rig.prepare(0)
            rig.ask(6, POSITIONS)
            assert (await rig.ear.answers(6))[0].complete
            assert not {1, 3} & {done.sync_id for done in rig.ear.all(SyncDone)}

    asyncio.run(story())


def test_answers_that_a_dying_worker_sent_are_delivered_before_its_loss() -> None:
    async def story() -> None:
        async with Rig() as rig:
            for sync_id in range(50):
                rig.ask(sync_id, POSITIONS if sync_id < 49 else order("exit:7"))
            await rig.ear.next(WorkerLost)
            assert rig.ear.all(WorkerLost) == [WorkerLost(0, "ended with exit code 7")]
            lost_at = next(at for at, message in enumerate(rig.ear.heard) if isinstance(message, WorkerLost))
            assert not [message for message in rig.ear.heard[lost_at:] if isinstance(message, SyncDone)]

    asyncio.run(story())


def test_a_stopped_worker_falls_silent_and_is_replaced() -> None:
    async def story() -> None:
        async with Rig(JUMPY) as rig:
            frozen = rig.pid()
            os.kill(frozen, signal.SIGSTOP)
            [lost] = await rig.ear.next(WorkerLost)
            assert "silent" in lost.reason
            assert not is_running(frozen)
            await rig.ear.next(WorkerUp, 2)

    asyncio.run(story())


def test_a_worker_whose_loop_is_blocked_falls_silent_and_is_replaced() -> None:
    async def story() -> None:
        async with Rig(JUMPY) as rig:
            rig.ask(1, order("freeze:60000"))
            [lost] = await rig.ear.next(WorkerLost)
            assert "silent" in lost.reason

    asyncio.run(story())


def test_an_idle_or_slow_worker_is_not_silent() -> None:
    async def story() -> None:
        async with Rig(JUMPY) as rig:
            rig.ask(1, order("wait:1500"))  # well beyond the silence allowed
            assert (await rig.ear.answers(1))[0].complete
            assert not rig.ear.all(WorkerLost)

    asyncio.run(story())


def test_a_worker_that_reads_nothing_is_cut_off_instead_of_filling_the_memory() -> None:
    async def story() -> None:
        async with Rig(unsent_max=100_000) as rig:
            os.kill(rig.pid(), signal.SIGSTOP)
            big = AddAccount(account("x" * 100), tuple("S" * 100 for _ in range(1_000)))

            def fill() -> list[WorkerLost]:
                rig.crew.send(0, big)
                return rig.ear.all(WorkerLost)

            [lost] = await until(fill, "the worker cut off")
            assert "bytes unread" in lost.reason
            await rig.ear.next(WorkerUp, 2)

    asyncio.run(story())


def test_an_answer_too_large_for_a_frame_is_a_fault_and_the_worker_goes_on() -> None:
    async def story() -> None:
        async with Rig() as rig:
            rig.ask(1, order(f"huge:{FRAME_MAX}"))
            done = await rig.ear.done(1)
            assert done.answers[0].fault is Fault.MALFORMED
            assert "larger than a frame" in done.answers[0].detail
            assert len(done.requests) == 1
            rig.ask(2, order(f"huge:{FRAME_MAX // 2}"))
            assert (await rig.ear.answers(2))[0].rows
            assert not rig.ear.all(WorkerLost)

    asyncio.run(story())


def test_a_dispatch_that_cannot_be_written_is_refused_by_the_crew_itself() -> None:
    async def story() -> None:
        async with Rig() as rig:
            rig.ask(1, Call(Surface.ORDERS, "\ud800"), POSITIONS)
            rig.ask(2, POSITIONS)
            assert [answer.fault for answer in await rig.ear.answers(1)] == [Fault.REFUSED] * 2
            assert (await rig.ear.answers(2))[0].complete

    asyncio.run(story())


def test_an_expired_grant_is_not_sent(tmp_path: Path) -> None:
    log = tmp_path / "sent"

    async def story() -> None:
        async with Rig(of=spec(sent_log=str(log))) as rig:
            rig.ask(1, order("late"), send_by_ms=rig.clock.now_ms() - 1)
            rig.ask(2, order("in time"))
            assert (await rig.ear.answers(1))[0].fault is Fault.EXPIRED
            assert (await rig.ear.answers(2))[0].complete
        assert "in time" in log.read_text()
        assert "late" not in log.read_text()

    asyncio.run(story())


def test_symbols_unknown_cross_the_border_too() -> None:
    async def story() -> None:
        async with Rig() as rig:
            rig.crew.send(0, AddAccount(account("b"), ("NO/USDT:USDT",)))
            assert await rig.ear.next(SymbolsUnknown) == [SymbolsUnknown("b", ("NO/USDT:USDT",))]

    asyncio.run(story())


def test_twenty_restarts_leave_no_file_open_and_no_process_behind() -> None:
    async def story() -> None:
        before = children()
        async with Rig() as rig:
            files = open_files()
            for restart in range(20):
                os.kill(rig.pid(), signal.SIGKILL)
                await rig.ear.next(WorkerUp, restart + 2)
            assert len(rig.ear.all(WorkerLost)) == 20
            assert open_files() == files
            assert len(children() - before) == 1
        assert children() == before

    asyncio.run(story())


def test_a_worker_lost_again_and_again_waits_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def hurried(delay: float) -> None:
        if delay:
            pauses.append(delay)
        await sleep(0 if delay >= 0.5 else delay)

    async def story() -> None:
        async with Rig(respawn_max_ms=1_500) as rig:
            monkeypatch.setattr(asyncio, "sleep", hurried)
            for restart in range(5):
                os.kill(rig.pid(), signal.SIGKILL)
                await rig.ear.next(WorkerUp, restart + 2)

    asyncio.run(story())
    assert [pause for pause in pauses if pause >= 0.5] == [0.5, 1.0, 1.5, 1.5]


def test_workers_that_never_come_up_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetsync.process.run_worker", os._exit)

    async def story() -> None:
        crew = Rig(workers=2).crew
        await crew.start(ear := Ear())
        with pytest.raises(CrewLost, match=r"5 worker processes in a row .* exit code"):
            await asyncio.wait_for(crew.failed, 60)
        await crew.stop(0)
        assert ear.heard == []  # what never came up cannot be lost
        assert crew.alive == 0

    asyncio.run(story())


def test_a_crew_with_workers_left_keeps_trying_to_replace_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with Rig(workers=2) as rig:
            tries = 0

            def no_more_files() -> None:
                nonlocal tries
                tries += 1
                raise OSError(24, "Too many open files")

            with monkeypatch.context() as limit:
                limit.setattr("socket.socketpair", no_more_files)
                os.kill(rig.pid(1), signal.SIGKILL)
                await until(lambda: tries > 10, "eleven starts tried")
                rig.ask(1, POSITIONS)
                assert (await rig.ear.answers(1))[0].complete
                assert rig.crew.alive == 1
            await rig.ear.next(WorkerUp, 3)
            assert not rig.crew.failed.done()

    asyncio.run(story())


def test_a_cancelled_engine_leaves_no_worker_behind() -> None:
    before = children()
    ear = Ear()

    async def story() -> None:
        rig = Rig(workers=2)
        await rig.crew.start(ear)
        await ear.next(WorkerUp, 2)  # and then the engine dies of something, without a word to its crew

    asyncio.run(story())
    assert children() == before


def test_options_that_cannot_travel_are_refused_at_start() -> None:
    async def story() -> None:
        crew = Rig(of=spec(bad=object())).crew
        with pytest.raises(ConfigError, match="options"):
            await crew.start(Ear())
        await crew.stop(0)

    asyncio.run(story())


def test_a_crew_of_processes_needs_a_worker() -> None:
    with pytest.raises(ConfigError, match="LocalCrew"):
        ProcessCrew([ExchangeSpec("echo")], Settings(workers=0), SystemClock())


def test_messages_before_a_worker_is_up_are_dropped() -> None:
    async def story() -> None:
        rig = Rig()
        rig.crew.send(0, OpenExchange(1, "echo", "", 0))
        await rig.crew.start(rig.ear)
        rig.crew.send(0, Dispatch(2, "a", (POSITIONS,), rig.soon_ms()))
        await rig.ear.next(WorkerUp)
        await rig.prepare(0)
        await rig.crew.stop(0)
        assert not {1, 2} & {done.sync_id for done in rig.ear.all(SyncDone)}

    asyncio.run(story())
