"""The loop around the core: reports that nobody waits for share a turn, and what is urgent gets one at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from tests.process.crew_support import until

from fleetsync import loop as module
from fleetsync.clock import SystemClock
from fleetsync.core import Core
from fleetsync.journal import Journal
from fleetsync.loop import Loop
from fleetsync.messages import FromWorker, SyncDone, ToWorker
from fleetsync.ports import Crew
from fleetsync.writer import Writer

HOUR_MS = 3_600_000


class Turns:
    """As much of a core as the loop looks at; it notes which reports each turn took in."""

    def __init__(self, in_flight: int) -> None:
        self.in_flight = dict.fromkeys(range(in_flight))
        self.journal = Journal()
        self.turns: list[list[int]] = []
        self._taken: list[int] = []

    def receive(self, message: FromWorker, _now_ms: int) -> None:
        assert isinstance(message, SyncDone)
        self._taken.append(message.sync_id)

    def tick(self, _now_ms: int) -> None:
        self.turns.append(self._taken)
        self._taken = []

    def take_commands(self) -> list[tuple[int, ToWorker]]:
        return []

    def next_wake_at_ms(self, now_ms: int) -> int:
        return now_ms + HOUR_MS


class NothingFound:
    """As much of a writer."""

    def look(self) -> None:
        """No change, no event."""


def run(in_flight: int, story: Callable[[Loop, Turns], Awaitable[None]]) -> None:
    async def told() -> None:
        core = Turns(in_flight)
        loop = Loop(cast("Core", core), cast("Crew", None), SystemClock(), cast("Writer", NothingFound()), print)
        task = asyncio.create_task(loop.run())
        await until(lambda: core.turns, "the first turn")
        await story(loop, core)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(told())


def report(loop: Loop, *numbers: int, urgent: bool = False) -> None:
    loop.deliver([SyncDone(number, (), (), urgent=urgent) for number in numbers])


async def some_turns_of_asyncio() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_with_many_syncs_in_flight_reports_wait_for_each_other_and_share_a_turn(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DISTANCE_MS", HOUR_MS)

    async def story(loop: Loop, core: Turns) -> None:
        for number in range(50):
            report(loop, number)
            await some_turns_of_asyncio()
        assert core.turns == [[]]
        report(loop, 50, urgent=True)
        await until(lambda: len(core.turns) == 2, "the turn that the urgent report made")
        assert core.turns[1] == [*range(51)]

    run(100, story)


def test_a_hint_does_not_wait_for_reports_to_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DISTANCE_MS", HOUR_MS)

    async def story(loop: Loop, core: Turns) -> None:
        for turn in range(2, 6):
            report(loop, turn)
            loop.wake()
            await until(lambda turn=turn: len(core.turns) == turn, "a turn for each hint")  # type: ignore[misc]  # bound
        assert core.turns == [[], [2], [3], [4], [5]]

    run(100, story)


def test_reports_that_came_together_are_taken_in_though_nothing_else_happens() -> None:
    async def story(loop: Loop, core: Turns) -> None:
        for number in range(50):
            report(loop, number)
        await until(lambda: core.turns[-1], "their turn")
        assert core.turns[-1] == [*range(50)]

    run(100, story)


def test_with_few_syncs_in_flight_each_report_has_a_turn_of_its_own_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DISTANCE_MS", HOUR_MS)

    async def story(loop: Loop, core: Turns) -> None:
        for number in range(5):
            report(loop, number)
            await some_turns_of_asyncio()
        assert core.turns == [[], [0], [1], [2], [3], [4]]

    run(3, story)
