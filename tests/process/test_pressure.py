"""Too much at once, and somebody who stands still: a burst of events, a reader that stops reading, a frozen worker."""

import asyncio
import os
import random
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest
from tests.process.crew_support import is_running
from tests.process.feed_engine import TOKEN, Plan
from tests.process.feed_stage import Stage, until
from tests.process.soak_watch import memory_mib

from fleetsync_adapters.paper.process import PaperProcess

pytestmark = pytest.mark.process
BURST, BATCH, SENDERS = 100_000, 10_000, 3
BURST_MIB = 400
"""The engine may hold this much more while a hundred thousand events come in at once."""
PLAN = Plan(accounts=5, robots=50, markets=12, workers=2, silence_ms=1_500)


@asynccontextmanager
async def served(folder: Path, plan: Plan) -> "AsyncIterator[tuple[Stage, int]]":
    """An engine process with its HTTP side, all workers up; it ends in order."""
    async with (PaperProcess(seed=4, accounts=plan.accounts, markets=plan.markets, unlimited=True) as paper,
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session):
        stage = Stage(str(folder / "x.duckdb"), paper, session, random.Random(4), plan, errors=folder / "errors.txt")
        process = stage.spawn()
        try:
            await stage.ready(process)
            await stage.all_up()
            yield stage, process.pid
            await stage.stop(process)
        finally:
            process.kill()
            process.wait()


def test_a_hundred_thousand_events_in_a_burst_are_accepted_durably_and_served_in_bounded_memory(
        tmp_path: Path) -> None:
    async def run() -> None:
        async with served(tmp_path, PLAN) as (stage, pid):
            lazy = _reader_that_stops(stage)
            before_mib, peak = memory_mib(pid), [0.0]
            beside = [asyncio.create_task(job) for job in (stage.consume(), _keeps_answering(stage, pid, peak))]
            ids = await _burst(stage)
            assert len(set(ids)) == BURST
            assert (await stage.status())["events"] == BURST
            asked_at_ms = time.time_ns() // 1_000_000
            status, state = await stage.ask("POST", "/v1/robots/r7/sync", {"timeout_ms": 30_000})
            assert status == 200, state  # whatever is still pending: this one is not behind it
            assert state["as_of_ms"] >= asked_at_ms
            last = await _all_served(stage)
            await until(lambda: any(job.done() for job in beside) or (stage.seen and stage.seen[-1]["number"] >= last),
                        lambda: f"change {last} read by the others")
            assert not any(job.done() for job in beside), [job for job in beside if job.done()]
            for job in beside:
                job.cancel()
            assert peak[0] < before_mib + BURST_MIB
            stage.check_feed()
            assert last >= BURST // 20
            # Who stopped reading comes back behind what it has: nothing is missing, nothing is told twice.
            resumed = _whole_frames(lazy)
            assert len(resumed) < last
            while resumed[-1] < last:
                page = (await stage.ask("GET", f"/v1/changes?after={resumed[-1]}&limit=1000"))[1]["changes"]
                resumed += [change["number"] for change in page]
            assert resumed == list(range(1, last + 1))

    asyncio.run(run())


async def _burst(stage: Stage) -> list[int]:
    """A hundred thousand hints, some of them announcements of what never comes, over a few connections."""
    batches = iter([[_event(batch * BATCH + number) for number in range(BATCH)] for batch in range(BURST // BATCH)])
    ids: list[int] = []

    async def send() -> None:
        for batch in batches:
            status, answer = await stage.ask("POST", "/v1/events", batch)
            assert (status, answer["accepted"]) == (200, BATCH)
            ids.extend(answer["ids"])

    began_s = time.monotonic()
    await asyncio.gather(*(send() for _ in range(SENDERS)))
    print(f"{BURST:,} events accepted durably in {time.monotonic() - began_s:.1f} s")
    stage.accepted = {f"event {number}" for number in range(0, BURST, 20)}
    return ids


def _event(number: int) -> dict[str, str]:
    event = {"robot": f"r{number % PLAN.robots}", "kind": "suspect", "text": f"event {number}"}
    return event | ({"kind": "opened", "side": "short"} if number % 20 == 0 else {})


async def _keeps_answering(stage: Stage, pid: int, peak: list[float]) -> None:
    """The loop that takes the burst answers all the while; and what it holds is measured."""
    while True:
        assert (await stage.ask("GET", "/healthz"))[0] == 200
        peak[0] = max(peak[0], memory_mib(pid))
        await asyncio.sleep(0.02)


async def _all_served(stage: Stage) -> int:
    """Wait until no event waits; the number of the last change then."""
    by_s = time.monotonic() + 60
    while (told := await stage.status())["events_pending"]:
        assert time.monotonic() < by_s, told
        await asyncio.sleep(0.05)
    last: int = told["last_change"]
    return last


def _reader_that_stops(stage: Stage) -> socket.socket:
    """A connection to the change stream that takes next to nothing from the network."""
    parts = urlsplit(stage.url)
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    lazy.connect((parts.hostname, parts.port))
    lazy.sendall(f"GET /v1/changes/stream?after=0 HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                 f"Authorization: Bearer {TOKEN}\r\n\r\n".encode())
    lazy.settimeout(1)
    return lazy


def _whole_frames(lazy: socket.socket) -> list[int]:
    """The numbers of the changes that had reached a reader before it stopped."""
    text = b""
    with lazy:
        while len(text) < 3_000:
            text += lazy.recv(1_000)
    return [orjson.loads(line[6:])["number"] for part in text.split(b"\n\n")[:-1]
            for line in part.split(b"\n") if line.startswith(b"data: ")]


@pytest.mark.soak  # shorter ones are among the troubles of test_feed
def test_a_worker_that_is_frozen_for_half_a_minute_is_replaced_and_the_others_go_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with served(tmp_path, replace(PLAN, silence_ms=12_000)) as (stage, _):
            work = [asyncio.create_task(job) for job in (stage.post(), stage.consume(), stage.trade())]
            crew = (await stage.status())["crew"]
            frozen = crew[0]["pid"]
            os.kill(frozen, signal.SIGSTOP)
            try:
                await _goes_on(stage, work)
                await asyncio.sleep(30)
                await _replaced(stage, frozen)
            finally:
                if is_running(frozen):
                    os.kill(frozen, signal.SIGCONT)
            assert not is_running(frozen)
            assert "silent" in (tmp_path / "errors.txt").read_text()
            await stage.come_to_rest(work)
            stage.check_feed()

    asyncio.run(run())


async def _goes_on(stage: Stage, work: "list[asyncio.Task[Any]]") -> None:
    """The robots of the other workers are served while one is frozen: changes and hints go through."""
    changes, hints = len(stage.seen), stage.accepted_hints
    await until(lambda: any(job.done() for job in work)
                or (len(stage.seen) > changes + 5 and stage.accepted_hints > hints + 20), lambda: "life beside it")
    assert not any(job.done() for job in work), [job for job in work if job.done()]


async def _replaced(stage: Stage, frozen: int) -> None:
    by_s = time.monotonic() + 60
    while (await stage.status())["crew"][0]["pid"] in {0, frozen}:
        assert time.monotonic() < by_s, "another worker in its place"
        await asyncio.sleep(0.05)
