"""The change stream: resumed without gap or repeat, at the reader's pace, ended in order."""

import asyncio
import random
import socket
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.http_lab import Lab, served, until

from fleetsync.model import Change
from fleetsync_adapters.http_api.stream import STREAMS_MAX, frame


async def frames(made: Lab, *, after: int | None = None, header: int | None = None, count: int = 0,
                 cut: int | None = None) -> list[dict[str, Any]]:
    """Whole frames of one connection: `count` of them, or those within the first `cut` bytes that are there."""
    path = "/v1/changes/stream" + ("" if after is None else f"?after={after}")
    headers = {} if header is None else {"Last-Event-ID": str(header)}
    taken, text = [], b""
    async with made.session.get(made.api.url + path, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        while cut is None or len(text) < cut:
            text += await response.content.readany()
            taken = parsed(text)
            if (count and len(taken) >= count) or (cut and taken and taken[-1]["number"] == made.engine.last_committed):
                break
        response.close()
    return parsed(text[:cut])


def parsed(text: bytes) -> list[dict[str, Any]]:
    """The changes of a stream's whole frames; each stands under its number."""
    changes = []
    for part in text.split(b"\n\n")[:-1]:
        fields = dict(line.split(b": ", 1) for line in part.split(b"\n"))
        if b"data" in fields:
            change = orjson.loads(fields[b"data"])
            assert int(fields[b"id"]) == change["number"]
            changes.append(change)
    return changes


def numbers(changes: list[dict[str, Any]]) -> list[int]:
    return [change["number"] for change in changes]


def test_a_stream_begins_behind_the_given_number_and_goes_on_with_what_is_committed() -> None:
    async def test(made: Lab) -> None:
        await made.flip("r0", 4)
        last = made.engine.last_committed
        assert numbers(await frames(made, count=last)) == list(range(1, last + 1))
        assert numbers(await frames(made, after=2, count=last - 2)) == list(range(3, last + 1))
        reading = asyncio.create_task(frames(made, after=last, count=2))
        await until(lambda: _streams(made), "the reader is there")
        await made.flip("r1", 2)
        assert numbers(await reading) == [last + 1, last + 2]

    served(test)


def test_the_header_of_a_returning_reader_wins_over_the_address() -> None:
    async def test(made: Lab) -> None:
        await made.flip("r0", 4)
        last = made.engine.last_committed
        assert numbers(await frames(made, after=0, header=last - 1, count=1)) == [last]

    served(test)


def test_page_and_stream_show_the_same_changes() -> None:
    async def test(made: Lab) -> None:
        await made.flip("r0", 5)
        await made.flip("r1", 3)
        page = (await made.get("/v1/changes?limit=1000"))["changes"]
        assert await frames(made, count=len(page)) == page

    served(test)


def test_a_reader_that_is_cut_off_anywhere_misses_and_repeats_nothing() -> None:
    async def test(made: Lab) -> None:
        rng = random.Random(7)
        writing = asyncio.create_task(made.flip("r0", 60))
        seen: list[int] = []
        while not (writing.done() and seen and seen[-1] == made.engine.last_committed):
            after = seen[-1] if seen else 0
            if made.engine.last_committed > after:
                seen += numbers(await frames(made, header=after, cut=rng.randrange(1, 4_000)))
            await asyncio.sleep(0)
        await writing
        assert seen == list(range(1, 61))

    served(test)


@settings(derandomize=True, database=None, deadline=None, max_examples=300)
@given(st.data())
def test_a_frame_survives_any_text_in_a_change(data: st.DataObject) -> None:
    text = data.draw(st.text())
    change = Change(1, text, text, (text,), "position_opened", text, "external", None, {text: text}, {"detail": text},
                    0, 0)
    shown = frame(change)
    assert shown.count(b"\n") == 3
    assert parsed(shown)[0]["after"] == {text: text}


def test_a_silent_stream_shows_that_it_is_alive() -> None:
    async def test(made: Lab) -> None:
        async with made.session.get(made.api.url + "/v1/changes/stream") as response:
            text = b""
            while text.count(b": still here\n\n") < 3:
                text += await response.content.readany()
        assert parsed(text) == []

    served(test, heartbeat_ms=20)


def test_a_reader_that_stops_reading_slows_nobody_and_is_cut_off() -> None:
    async def test(made: Lab) -> None:
        lazy = _lazy_reader(made)
        await until(lambda: _streams(made), "it is there")
        number = made.engine.core.journal.last_change
        await flood(made, 3_000)
        # The others go on: a reader beside it gets all, and syncs are as quick as ever.
        assert len(await frames(made, after=number, count=3_000)) == 3_000
        await asyncio.wait_for(made.engine.sync("r1"), 5)
        await until(lambda: not _streams(made), "it was cut off")
        lazy.close()

    served(test, stalled_ms=300)


def test_streams_are_counted_and_one_too_many_is_refused() -> None:
    async def test(made: Lab) -> None:
        opened = [await made.session.get(made.api.url + "/v1/changes/stream") for _ in range(STREAMS_MAX)]
        refused = await made.ask("GET", "/v1/changes/stream")
        assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "too_many_streams", "1")
        for response in opened:
            response.close()
        await until(lambda: not _streams(made), "all are gone")
        assert await frames(made, cut=5) == []

    served(test)


def _streams(made: Lab) -> int:
    assert made.api._host is not None
    return made.api._host.streams


def _lazy_reader(made: Lab) -> socket.socket:
    """A connection that asks for the stream and never reads."""
    lazy = socket.create_connection(("127.0.0.1", int(made.api.url.rpartition(":")[2])))
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    lazy.sendall(b"GET /v1/changes/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return lazy


async def flood(made: Lab, changes: int) -> None:
    """As many changes as an exchange would need minutes for: events that announce what never comes."""
    batch = [{"robot": f"r{number % 4}", "kind": "opened", "side": "short", "text": "x" * 2_000}
             for number in range(changes)]
    before = made.engine.last_committed
    assert (await made.ask("POST", "/v1/events", batch)).json["accepted"] == changes
    await until(lambda: made.engine.last_committed >= before + changes, "each was told as not seen")
