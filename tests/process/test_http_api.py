"""The HTTP side of a whole engine: worker processes, a real file, the exchange behind sockets."""

import asyncio
import io
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from tests.process.scene import QUICK, STILL, Paper, Scene, paper_exchange, robot, stage, until

from fleetsync.units import SECOND_MS
from fleetsync_adapters.control import find_running, run_file_of
from fleetsync_adapters.http_api import ApiServer

pytestmark = pytest.mark.process

BURST, BATCH, SENDERS = 100_000, 10_000, 3
TOKEN = "only-this-test-knows-it"


@pytest.fixture(scope="module")
def paper() -> Iterator[Paper]:
    with paper_exchange() as running:
        yield running


async def ask(session: aiohttp.ClientSession, method: str, url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else io.BytesIO(orjson.dumps(body))
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    async with session.request(method, url, data=data, headers=headers) as response:
        return response.status, orjson.loads(await response.read())


def test_a_hundred_thousand_events_in_a_burst_are_accepted_durably_and_served(paper: Paper, tmp_path: Path) -> None:
    fleet = [robot(f"r{number}", f"a{number % 5}", paper.markets.all[number // 5].symbol) for number in range(50)]

    async def run() -> None:
        async with (stage(paper, *fleet, settings=STILL, store=str(tmp_path / "x.duckdb")) as scene,
                    ApiServer(scene.engine, token=TOKEN) as api, aiohttp.ClientSession() as session):
            batches = iter([[{"robot": f"r{number % 50}", "kind": "suspect", "text": f"{batch}"}
                             for number in range(BATCH)] for batch in range(BURST // BATCH)])
            ids: list[int] = []

            async def send() -> None:
                for batch in batches:
                    status, answer = await ask(session, "POST", f"{api.url}/v1/events", batch)
                    assert (status, answer["accepted"]) == (200, BATCH)
                    ids.extend(answer["ids"])

            waited = asyncio.create_task(_slowest_health(session, api.url))
            await asyncio.gather(*(send() for _ in range(SENDERS)))
            waited.cancel()
            assert len(set(ids)) == BURST
            assert scene.engine.core.inbox.accepted == BURST
            before_ms = scene.engine.clock.now_ms()
            state = await scene.engine.sync("r7")  # whatever is still pending: this one is not behind it
            assert state.as_of_ms >= before_ms
            await until(lambda: not scene.engine.status().events_pending, "all are served")
            await _without_rows(scene)

    asyncio.run(run())


async def _slowest_health(session: aiohttp.ClientSession, url: str) -> None:
    """Ask again and again: the loop that takes the burst has to answer all the while."""
    while True:
        began = time.monotonic()
        assert (await ask(session, "GET", f"{url}/healthz"))[0] == 200
        assert time.monotonic() - began < 5


async def _without_rows(scene: Scene) -> None:
    """Wait until no event is left in the store."""
    by_s = time.monotonic() + 30
    while left := len((await asyncio.to_thread(scene.engine.store.load)).events):
        assert time.monotonic() < by_s, f"{left} events are served and still stored"
        await asyncio.sleep(0.05)


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


def test_a_faulty_run_tells_no_secret_to_anybody(paper: Paper, tmp_path: Path, caplog: pytest.LogCaptureFixture,
                                                 capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level("DEBUG")
    caplog.handler.setLevel("DEBUG")
    db = tmp_path / "x.duckdb"

    async def run() -> list[str]:
        told: list[str] = []
        async with (stage(paper, robot(), store=str(db), settings=QUICK) as scene,
                    ApiServer(scene.engine, token=TOKEN) as api, aiohttp.ClientSession() as session):
            account = scene.engine.core.fleet.account_by_id["a"].account
            for misdeed in ("html", "truncated", "reset", "server_error", "throttled"):
                await scene.misbehave(misdeed, count=2)
                _, answer = await ask(session, "POST", f"{api.url}/v1/robots/r/sync", {"timeout_ms": 400})
                told.append(str(answer))
            told += [str(await ask(session, "GET", f"{api.url}/v1/{path}"))
                     for path in ("status", "robots", "robots/r", "accounts", "explain/r", "changes")]
            told += [str(notice) for notice in scene.notices]
            assert len(scene.notices) > 1  # it was a faulty run
            return [*told, account.api_key.reveal, account.api_secret.reveal]

    *told, api_key, api_secret = asyncio.run(run())
    written = capfd.readouterr()
    held = db.read_bytes()
    for secret in (api_key, api_secret, TOKEN):
        assert len(secret) > 20
        assert secret not in "".join(told)
        assert secret not in caplog.text
        assert secret not in written.out + written.err
        assert secret.encode() not in held
