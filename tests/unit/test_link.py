"""Two ends of one socket pair in one loop: what is sent together travels together, and a broken peer is told apart."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from tests.process.crew_support import until

from fleetsync.link import Link
from fleetsync.messages import Dispatch, SyncDone, WorkerLost
from fleetsync.wire import Beat, Message, WireError


class End(Link):
    """A link that keeps each reading."""

    def __init__(self, unsent_max: int = 2**20) -> None:
        self.readings: list[list[Message]] = []
        super().__init__(lambda messages: self.readings.append(list(messages)), self.instead, unsent_max)

    def instead(self, message: Message, error: WireError) -> Message | None:
        return WorkerLost(0, str(error)) if isinstance(message, WorkerLost) and message.worker else None

    @property
    def heard(self) -> list[Message]:
        return [message for reading in self.readings for message in reading]


async def connected(sock: socket.socket) -> End:
    end = End()
    await asyncio.get_running_loop().create_unix_connection(lambda: end, sock=sock)
    return end


def run(story: Callable[[End, End], Awaitable[None]]) -> None:
    async def told() -> None:
        ends = [await connected(sock) for sock in socket.socketpair()]
        await story(*ends)
        for end in ends:
            end.cut()
        await asyncio.sleep(0)

    asyncio.run(told())


def test_what_is_sent_together_arrives_together_and_in_order() -> None:
    async def story(ours: End, theirs: End) -> None:
        for number in range(100):
            ours.send(Beat(number))
        await until(lambda: theirs.readings, "a reading")
        assert theirs.readings == [[Beat(number) for number in range(100)]]

    run(story)


def test_every_burst_leaves_though_frames_keep_a_distance() -> None:
    async def story(ours: End, theirs: End) -> None:
        for number in range(50):
            ours.send(Beat(number))
            await asyncio.sleep(0)
        await until(lambda: len(theirs.heard) == 50, "all bursts")
        assert theirs.heard == [Beat(number) for number in range(50)]
        assert len(theirs.readings) < 50

    run(story)


def test_what_is_urgent_leaves_at_once_with_all_that_waits_before_it() -> None:
    async def story(ours: End, theirs: End) -> None:
        ours.send(Beat(0))
        await until(lambda: theirs.readings, "the first frame")
        ours._flushed_s = asyncio.get_running_loop().time() + 3_600  # no other frame would leave for an hour
        ours.send(Beat(1))
        ours.send(Dispatch(2, "main", (), 0, urgent=False))
        assert theirs.heard == [Beat(0)]
        ours.send(Dispatch(3, "main", (), 0, urgent=True))
        ours.send(SyncDone(4, (), (), urgent=True))
        ours.send(Beat(5))
        await until(lambda: len(theirs.readings) == 2, "the second frame")
        assert [getattr(message, "sync_id", 0) for message in theirs.readings[1]] == [0, 2, 3, 4, 0]
        ours.send(Beat(6))  # frames keep their distance again from the one that hurried
        await until(lambda: len(theirs.heard) == 7, "the third frame")

    run(story)


def test_finishing_sends_what_is_waiting_first() -> None:
    async def story(ours: End, theirs: End) -> None:
        ours.send(Beat(1))
        ours.finish()
        assert await theirs.closed == ""
        assert theirs.heard == [Beat(1)]
        ours.send(Beat(2))  # nothing happens

    run(story)


def test_one_message_that_cannot_be_written_costs_only_itself() -> None:
    async def story(ours: End, theirs: End) -> None:
        for message in (Beat(1), WorkerLost(7, "\ud800"), WorkerLost(0, "\ud800"), Beat(2)):
            ours.send(message)
        await until(lambda: Beat(2) in theirs.heard, "the last message")
        first, instead, last = theirs.heard
        assert (first, last) == (Beat(1), Beat(2))
        assert isinstance(instead, WorkerLost)
        assert "cannot be written" in instead.reason

    run(story)


def test_an_end_that_talks_nonsense_is_cut_off_with_the_reason() -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair()
        end = await connected(ours)
        theirs.send(b"GET / HTTP/1.1\r\n")
        assert "cannot be read: a frame of version 71" in await end.closed
        theirs.close()
        await asyncio.sleep(0)

    asyncio.run(story())
