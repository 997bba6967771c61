"""kill -9 of the engine while events come in and the feed is read: nothing accepted is lost, nothing told twice."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import orjson
import pytest
from tests.process import feed_engine
from tests.process.feed_engine import ACCOUNTS, MARKETS, TOKEN

from fleetsync_adapters.control import find_running
from fleetsync_adapters.duckdb_store import DuckDBStore
from fleetsync_adapters.paper.markets import Markets
from fleetsync_adapters.paper.process import PaperAdmin, PaperProcess

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
KILLS, SEED = 22, 3
PATIENCE_S = 40
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}

T = TypeVar("T")


async def until(fact: Callable[[], T | None], what: Callable[[], object]) -> T:
    """Wait until a fact is true."""
    by_s = time.monotonic() + PATIENCE_S
    while not (found := fact()):
        assert time.monotonic() < by_s, f"never seen: {what()}"
        await asyncio.sleep(0.01)
    return found


@dataclass(slots=True)
class Stage:
    """An engine that comes and goes, those who talk to it, and an exchange that stays."""

    db: str
    paper: PaperProcess
    session: aiohttp.ClientSession
    rng: random.Random
    url: str = ""  # of the engine that runs; "" while none does
    seen: list[dict[str, Any]] = field(default_factory=list)  # what the consumer has read
    accepted: set[str] = field(default_factory=set)  # announcements answered with 200
    unanswered: set[str] = field(default_factory=set)  # sent, and not accepted as far as anybody knows
    accepted_hints: int = 0
    trading: bool = True

    # -- the engine

    def spawn(self) -> "subprocess.Popen[bytes]":
        """Start an engine process."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(ROOT)])}
        return subprocess.Popen(
            [sys.executable, "-m", "tests.process.feed_engine", self.db, self.paper.base_url, str(SEED)],
            env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def ready(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait until it answers."""
        def there() -> str:
            assert process.poll() is None, f"the engine ended by itself with {process.returncode}"
            running = find_running(self.db)
            return running.url if running is not None and running.pid == process.pid else ""

        by_s = time.monotonic() + PATIENCE_S
        while not (url := await asyncio.to_thread(there)):
            assert time.monotonic() < by_s, "the engine does not answer"
            await asyncio.sleep(0.02)
        self.url = url

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request to whatever engine runs."""
        data = None if body is None else orjson.dumps(body)
        async with self.session.request(method, self.url + path, data=data, headers=HEADERS) as response:
            return response.status, orjson.loads(await response.read())

    # -- who talks to it

    async def post(self) -> None:
        """Send hints for ever: plain ones, and announcements of what never comes, each of which must be told once."""
        number = 0
        while True:
            events, announced = [], set()
            for _ in range(self.rng.randrange(1, 20)):
                number += 1
                event = {"robot": f"r{self.rng.randrange(16)}", "kind": "suspect", "text": f"event {number}"}
                if self.rng.random() < 0.5:  # no robot here is ever short
                    event |= {"kind": "opened", "side": "short"}
                    announced.add(event["text"])
                events.append(event)
            self.unanswered |= announced
            with suppress(aiohttp.ClientError):
                status, answer = await self.ask("POST", "/v1/events", events)
                assert status == 503 or (status == 200 and not answer["refused"]), answer
                if status == 200:
                    self.unanswered -= announced
                    self.accepted |= announced
                    self.accepted_hints += len(events)
            await asyncio.sleep(self.rng.random() * 0.05)

    async def consume(self) -> None:
        """Read the feed for ever, by page or by stream, and go on behind the last change after every interruption."""
        while True:
            after = self.seen[-1]["number"] if self.seen else 0
            with suppress(aiohttp.ClientError):
                if self.rng.random() < 0.5:
                    status, answer = await self.ask("GET", f"/v1/changes?after={after}&limit=50")
                    assert status in {200, 503}, answer
                    self.seen += answer["changes"] if status == 200 else []
                else:
                    await self._read_stream(after, self.rng.randrange(500, 60_000))
            await asyncio.sleep(self.rng.random() * 0.03)

    async def _read_stream(self, after: int, cut: int) -> None:
        """Whole frames of one connection, as they come, until it breaks, so many bytes are read, or nothing comes."""
        headers = {**HEADERS, "Last-Event-ID": str(after)}
        text = b""
        async with self.session.get(self.url + "/v1/changes/stream", headers=headers) as response:
            assert response.status == 200, await response.read()
            while cut > 0:
                try:
                    portion = await asyncio.wait_for(response.content.readany(), 1)
                except TimeoutError:
                    break
                if not portion:
                    break
                cut -= len(portion)
                *whole, text = (text + portion).split(b"\n\n")
                self.seen += [orjson.loads(frame.partition(b"\ndata: ")[2]) for frame in whole if b"\ndata: " in frame]
            response.close()

    async def trade(self) -> None:
        """Open, close, rest and cancel at the exchange for ever; all positions are long ones."""
        _, robots = feed_engine.fleet(SEED)
        markets, admin = Markets(SEED, MARKETS), PaperAdmin(self.paper.base_url)
        resting: dict[str, str] = {}
        try:
            while self.trading:
                one = self.rng.choice(robots)
                market, at_ms = markets.by_symbol[one.symbol], time.time_ns() // 1_000_000
                if one.id in resting:
                    await admin.cancel_order(one.account, resting.pop(one.id))
                elif self.rng.random() < 0.4:
                    price = (market.price(at_ms) / 2).quantize(market.tick)
                    size = market.smallest_size(at_ms, Decimal(500))
                    placed = await admin.place_order(one.account, one.symbol, "buy", "limit", str(size),
                                                     price=str(price))
                    resting[one.id] = placed["order"]["id"]
                elif await admin.close_position(one.account, one.symbol) is None:
                    await admin.open_position(one.account, one.symbol, "buy", notional="300")
                await asyncio.sleep(self.rng.random() * 0.06)
        finally:
            await admin.close()


def test_kill_9_loses_no_accepted_event_and_leaves_no_gap_and_no_repeat_in_the_feed(tmp_path: Path) -> None:
    stage = asyncio.run(_killed_again_and_again(str(tmp_path / "feed.duckdb")))
    numbers = [change["number"] for change in stage.seen]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 10 * KILLS
    assert stage.accepted_hints > 20 * KILLS
    told = Counter(change["evidence"]["event"]["text"] for change in stage.seen if change["kind"] == "event_unseen")
    assert len(stage.accepted) > 5 * KILLS
    assert {text: told[text] for text in stage.accepted} == dict.fromkeys(stage.accepted, 1)
    assert set(told) <= stage.accepted | stage.unanswered
    assert set(told.values()) == {1}


async def _killed_again_and_again(db: str) -> Stage:
    async with (PaperProcess(seed=SEED, accounts=ACCOUNTS, markets=MARKETS, unlimited=True) as paper,
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session):
        stage = Stage(db, paper, session, random.Random(SEED))
        process, work = stage.spawn(), []
        try:
            await stage.ready(process)
            work += [asyncio.create_task(job) for job in (stage.post(), stage.consume(), stage.trade())]
            for kill in range(KILLS):
                # The random moment; nothing is waited for. Now and then it comes before the engine is up.
                await asyncio.sleep(stage.rng.random() * 0.8)
                process.kill()
                process.wait()
                assert not any(job.done() for job in work), [job for job in work if job.done()]
                process = stage.spawn()
                if kill % 4 != 3 or kill == KILLS - 1:
                    await stage.ready(process)
            await _come_to_rest(stage, work)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0
            _compare(stage, db, (await paper.admin.books()))
        finally:
            process.kill()
            process.wait()
            for job in work:
                job.cancel()
            await asyncio.gather(*work, return_exceptions=True)
    return stage


async def _come_to_rest(stage: Stage, work: "list[asyncio.Task[None]]") -> None:
    """No more trades and hints; every pending event served; one last forced sync; the consumer has read all."""
    posting, consuming, trading = work
    stage.trading = False
    await asyncio.wait_for(trading, PATIENCE_S)
    posting.cancel()
    await asyncio.gather(posting, return_exceptions=True)
    by_s = time.monotonic() + PATIENCE_S
    while pending := (await stage.ask("GET", "/v1/status"))[1]["events_pending"]:
        assert time.monotonic() < by_s, f"{pending} events are never served"
        await asyncio.sleep(0.05)
    for robot in feed_engine.fleet(SEED)[1]:
        status, answer = await stage.ask("POST", f"/v1/robots/{robot.id}/sync", {"timeout_ms": 10_000})
        assert (status, answer.get("certainty")) == (200, "agreed"), answer
    last = (await stage.ask("GET", "/v1/status"))[1]["last_change"]
    await until(lambda: consuming.done() or (stage.seen and stage.seen[-1]["number"] >= last),
                lambda: f"change {last}, was at {stage.seen[-1]['number']}")
    assert not consuming.done(), consuming.result()
    consuming.cancel()
    await asyncio.gather(consuming, return_exceptions=True)


def _compare(stage: Stage, db: str, books: dict[str, Any]) -> None:
    """The feed's replay, the store and the exchange say the same."""
    store = DuckDBStore(db, readonly=True)
    held = store.load()
    store.close()
    assert held.events == {}
    assert held.last_change == stage.seen[-1]["number"]
    positions = {key: (one.side, one.size, one.entry_price) for key, one in held.positions.items()}
    orders = {key: (one.side, one.size, one.filled, one.price) for key, one in held.orders.items()}
    assert replayed(stage.seen) == (positions, orders)
    shown = {(account, row["symbol"], row["side"]): (row["side"], row["size"])
             for account, book in books.items() for row in book["positions"]}
    assert {key: value[:2] for key, value in positions.items()} == shown
    assert set(orders) == {(account, row["id"]) for account, book in books.items() for row in book["orders"]}


def replayed(changes: Iterable[dict[str, Any]]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """What taking out every `before` and putting in every `after` leaves: positions and orders."""
    positions: dict[Any, Any] = {}
    orders: dict[Any, Any] = {}
    for change in changes:
        before, after = change["before"], change["after"]
        if change["key"].startswith("position:"):
            if before:
                del positions[change["account"], change["symbol"], before["side"]]
            if after:
                key = change["account"], change["symbol"], after["side"]
                assert key not in positions, f"opened twice: {change}"
                positions[key] = after["side"], after["size"], after["entry_price"]
        elif change["key"].startswith("order:"):
            if before:
                del orders[change["account"], before["id"]]
            if after and change["kind"] != "order_ended":
                assert (change["account"], after["id"]) not in orders, f"placed twice: {change}"
                orders[change["account"], after["id"]] = (after["side"], after["size"], after["filled"], after["price"])
    return positions, orders
