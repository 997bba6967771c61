"""How workers end: by the crew's will, and by signals from elsewhere."""

import asyncio
import os
import signal

import pytest
from tests.process.crew_support import Rig, is_running, order

from fleetsync.messages import Call, WorkerLost, WorkerUp
from fleetsync.model import Surface

pytestmark = pytest.mark.process

POSITIONS = Call(Surface.POSITIONS)


def test_stop_lets_calls_in_flight_finish() -> None:
    async def story() -> None:
        async with Rig() as rig:
            rig.ask(1, order("wait:200"))
            rig.ask(2, POSITIONS)
            await rig.ear.done(2)
            await rig.crew.stop(20_000)
            assert (await rig.ear.answers(1))[0].complete
            assert not rig.ear.all(WorkerLost)

    asyncio.run(story())


@pytest.mark.parametrize("trouble", ["never", "freeze:60000"])
def test_stop_gives_up_what_outlasts_the_grace_and_can_be_called_twice(trouble: str) -> None:
    async def story() -> None:
        async with Rig() as rig:
            rig.ask(1, order(trouble))
            rig.ask(2, POSITIONS)
            before_ms = rig.clock.now_ms()
            await rig.crew.stop(500)
            assert rig.clock.now_ms() - before_ms < 10_000
            assert not is_running(rig.pid())
            await rig.crew.stop(500)

    asyncio.run(story())


def test_a_second_stop_ends_the_first_at_once() -> None:
    async def story() -> None:
        async with Rig() as rig:
            rig.ask(1, order("never"))
            rig.ask(2, POSITIONS)
            await rig.ear.done(2)
            patient = asyncio.create_task(rig.crew.stop(600_000))
            await asyncio.sleep(0)
            await rig.crew.stop(0)
            await patient

    asyncio.run(asyncio.wait_for(story(), 60))


def test_a_worker_that_gets_sigterm_drains_and_is_replaced() -> None:
    async def story() -> None:
        async with Rig() as rig:
            rig.ask(1, order("wait:200"))
            rig.ask(2, POSITIONS)
            await rig.ear.done(2)
            os.kill(rig.pid(), signal.SIGTERM)
            assert (await rig.ear.answers(1))[0].complete
            assert (await rig.ear.next(WorkerLost))[0].reason == "ended with exit code 0"
            await rig.ear.next(WorkerUp, 2)

    asyncio.run(story())


def test_sigterm_to_the_whole_service_still_lets_calls_finish() -> None:
    async def story() -> None:
        async with Rig() as rig:
            rig.ask(1, order("wait:300"))
            rig.ask(2, POSITIONS)
            await rig.ear.done(2)
            os.kill(rig.pid(), signal.SIGTERM)
            await rig.crew.stop(20_000)
            assert (await rig.ear.answers(1))[0].complete

    asyncio.run(story())


def test_a_worker_ignores_sigint() -> None:
    async def story() -> None:
        async with Rig() as rig:
            os.kill(rig.pid(), signal.SIGINT)
            rig.ask(1, POSITIONS)
            assert (await rig.ear.answers(1))[0].complete
            assert not rig.ear.all(WorkerLost)

    asyncio.run(story())
