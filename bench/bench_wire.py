"""Between processes: what does a sync cost the parent in frames, there and back?"""

import asyncio
import socket
from collections.abc import Sequence
from functools import partial
from time import process_time_ns
from typing import Any

import orjson
import pytest
from bench.figures import Figures, Round, compared
from bench.lab import START_MS

from fleetsync.link import Link
from fleetsync.messages import Answer, Call, Dispatch, Request, SyncDone
from fleetsync.model import Order, Position, Surface
from fleetsync.wire import FrameDecoder, Message, encode

_POSITIONS = Call(Surface.POSITIONS)
_SYNCS = 4_096
_TARGET_US = 20.0


def dispatches(count: int) -> list[Dispatch]:
    """As the parent sends them."""
    return [Dispatch(number, f"account-{number:07}", (_POSITIONS,), START_MS) for number in range(1, count + 1)]


def reports(count: int) -> list[SyncDone]:
    """As workers answer when nothing changed."""
    answer = Answer(_POSITIONS, START_MS, complete=True)
    request = Request("GET /fapi/v3/positionRisk", 5, START_MS, 200, 1_234)
    return [SyncDone(number, (answer,), (request,)) for number in range(1, count + 1)]


def parents_part(batch: int) -> Round:
    """Encode the dispatches, decode the reports, frame by frame."""
    out, back = dispatches(batch), encode(reports(batch))

    def run() -> float:
        begun_ns = process_time_ns()
        for _ in range(_SYNCS // batch):
            encode(out)
            FrameDecoder().feed(back)
        return (process_time_ns() - begun_ns) / _SYNCS / 1e3

    return run


def bare_orjson(batch: int) -> Round:
    """The same bytes, without messages, checks or frames."""
    out = orjson.loads(encode(dispatches(batch))[5:])
    back = encode(reports(batch))[5:]

    def run() -> float:
        begun_ns = process_time_ns()
        for _ in range(_SYNCS // batch):
            orjson.dumps(out)
            orjson.loads(back)
        return (process_time_ns() - begun_ns) / _SYNCS / 1e3

    return run


@pytest.mark.parametrize("batch", [1, 16, 128])
def bench_frames(benchmark: Any, figures: Figures, batch: int) -> None:
    """A sync's dispatch and report by how many wait together."""
    cost = compared(benchmark, parents_part(batch), {"bare orjson": bare_orjson(batch)}, 9)
    name = f"a sync there and back, {batch} a frame"
    figures.add("wire", f"{name}: bare orjson", cost["bare orjson"], "us")
    figures.add("wire", f"{name}: ours", cost["ours"], "us", _TARGET_US if batch > 1 else None)


def bench_loaded_rows(benchmark: Any, figures: Figures) -> None:
    """A report that carries 100 positions and 100 orders, as after a restart."""
    positions = tuple([Position(f"COIN{n}/USDT:USDT", "long", "1.5", "100.25", START_MS) for n in range(100)])
    orders = tuple([Order(str(n), f"r{n}-1", f"COIN{n}/USDT:USDT", "sell", "limit", "110", "1", "0", "open",
                          reduce_only=True, conditional=False, created_at_ms=START_MS, updated_at_ms=START_MS)
                    for n in range(100)])
    back = encode([SyncDone(1, (Answer(_POSITIONS, START_MS, complete=True, rows=positions),
                                Answer(Call(Surface.ORDERS), START_MS, complete=True, rows=orders)), ())])

    def run() -> float:
        begun_ns = process_time_ns()
        for _ in range(50):
            FrameDecoder().feed(back)
        return (process_time_ns() - begun_ns) / 50 / 1e3

    cost = compared(benchmark, run, {}, 9)
    figures.add("wire", "reading a report of 100 positions and 100 orders", cost["ours"], "us")


def _same(link: Link) -> Link:
    return link


def bench_over_a_socket_pair(benchmark: Any, figures: Figures) -> None:
    """Both ends of a real link in one process, 256 syncs in flight: the CPU of both ends together."""
    async def session() -> float:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        done = loop.create_future()
        left = [_SYNCS]

        def answer(messages: Sequence[Message]) -> None:
            for _ in messages:
                worker.send(report)

        def receive(messages: Sequence[Message]) -> None:
            left[0] -= len(messages)
            if left[0] <= 0 and not done.done():
                done.set_result(None)
            for job in jobs[:len(messages)]:
                parent.send(job)

        parent, worker = Link(receive, lambda *_: None), Link(answer, lambda *_: None)
        for end, protocol in ((ours, parent), (theirs, worker)):
            end.setblocking(False)  # noqa: FBT003 - the name is Python's
            await loop.create_unix_connection(partial(_same, protocol), sock=end)
        jobs, report = dispatches(256), reports(1)[0]
        begun_ns = process_time_ns()
        for job in jobs:
            parent.send(job)
        await done
        cost = (process_time_ns() - begun_ns) / _SYNCS / 1e3
        parent.cut()
        worker.cut()
        await asyncio.gather(parent.closed, worker.closed)
        await asyncio.sleep(0)
        return cost

    cost = compared(benchmark, lambda: asyncio.run(session()), {}, 5)
    figures.add("wire", "a sync over a real socket pair, 256 in flight, both ends together", cost["ours"], "us",
                2 * _TARGET_US)
