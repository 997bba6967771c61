"""The HTTP side of a whole engine: worker processes, a real file, the exchange behind sockets."""

import asyncio
import io
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from tests.process.scene import QUICK, Paper, paper_exchange, robot, stage, until

from fleetsync.units import SECOND_MS
from fleetsync_adapters.control import find_running, run_file_of
from fleetsync_adapters.http_api import ApiServer

pytestmark = pytest.mark.process

TOKEN = "only-this-test-knows-it"
_FLOOD = """
import resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(int(sys.argv[2]))]
print(len(held), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def paper() -> Iterator[Paper]:
    with paper_exchange() as running:
        yield running


async def ask(session: aiohttp.ClientSession, method: str, url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else io.BytesIO(orjson.dumps(body))
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    async with session.request(method, url, data=data, headers=headers) as response:
        return response.status, orjson.loads(await response.read())


def test_the_way_of_a_trade_from_the_exchange_to_a_follower_through_worker_processes(paper: Paper,
                                                                                    tmp_path: Path) -> None:
    db = str(tmp_path / "x.duckdb")

    async def run() -> None:
        async with (stage(paper, robot(), robot("s", symbol=paper.markets.all[3].symbol), store=db,
                          settings=QUICK.but(workers=1, call_timeout_ms=5 * SECOND_MS)) as scene,
                    ApiServer(scene.engine, token=TOKEN, run_file=run_file_of(db))):
            running = await asyncio.to_thread(find_running, db)
            assert running is not None
            following = asyncio.create_task(asyncio.to_thread(next, running.follow(0)))
            order = await scene.open("r")
            answer = await asyncio.to_thread(running.notify, [{"robot": "r", "kind": "opened", "side": "long"}])
            assert answer["accepted"] == 1
            change = await asyncio.wait_for(following, 30)
            assert (change["number"], change["kind"], change["robots"]) == (1, "position_opened", ["r"])
            assert Decimal(change["after"]["size"]) == Decimal(order["size"])
            assert (await asyncio.to_thread(running.sync, "r"))["phase"] == "holding"
            assert (await asyncio.to_thread(running.sync, "s"))["phase"] == "flat"
            assert (await asyncio.to_thread(running.status))["workers_up"] == 1

    asyncio.run(run())


@contextmanager
def descriptors(most: int) -> Iterator[None]:
    """So many for this process, and for those it starts."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_flood_of_connections_that_say_nothing_leaves_the_engine_what_it_needs(paper: Paper) -> None:
    async def run() -> None:
        async with (stage(paper, robot(), settings=QUICK.but(workers=1, call_timeout_ms=5 * SECOND_MS)) as scene,
                    ApiServer(scene.engine, token=TOKEN) as api, aiohttp.ClientSession() as session):
            flood = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _FLOOD, api.url.rpartition(":")[2], "900", stdout=asyncio.subprocess.PIPE)
            assert flood.stdout is not None
            assert await flood.stdout.readline() == b"900\n"
            try:
                (worker,) = scene.engine.status().crew
                os.kill(worker["pid"], signal.SIGKILL)
                await until(lambda: scene.engine.status().workers_up == 1
                            and scene.engine.status().crew[0]["pid"] != worker["pid"], "another worker")
                await scene.engine.sync("r")
                assert len(os.listdir("/proc/self/fd")) < 300
            finally:
                flood.kill()
                await flood.wait()
            await until(lambda: len(os.listdir("/proc/self/fd")) < 100, "they are gone")
            assert (await ask(session, "GET", f"{api.url}/v1/status"))[0] == 200

    with descriptors(600):
        asyncio.run(run())
