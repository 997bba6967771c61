"""An engine process that comes and goes, and those who talk to it: somebody who posts events, a reader, a trader."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import orjson
from tests.process.feed_engine import TOKEN, Plan, fleet

from fleetsync.model import Robot
from fleetsync_adapters.control import find_running
from fleetsync_adapters.duckdb_store import DuckDBStore
from fleetsync_adapters.paper.markets import Markets
from fleetsync_adapters.paper.process import PaperAdmin, PaperFailed, PaperProcess

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
"""How long a fact may take on a busy machine before a test fails; no test waits this long for a pass."""
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
_SYNCS_AT_ONCE = 40

Process = subprocess.Popen[bytes]
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
    plan: Plan = field(default_factory=Plan)
    announced_share: float = 0.5  # of the hints: announcements of what never comes
    post_pause_s: float = 0.05
    traded: int | None = None  # how many of the robots trade; None: all
    errors: Path | None = None  # a file for what the engine writes to its standard error
    url: str = ""  # of the engine that runs; "" while none does
    seen: list[dict[str, Any]] = field(default_factory=list)  # what the consumer has read
    accepted: set[str] = field(default_factory=set)  # announcements answered with 200
    unanswered: set[str] = field(default_factory=set)  # sent, and not accepted as far as anybody knows
    accepted_hints: int = 0
    trading: bool = True

    @property
    def robots(self) -> list[Robot]:
        return fleet(self.paper.seed, self.plan)[1]

    # -- the engine

    def spawn(self) -> Process:
        """Start an engine process."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(ROOT)])}
        with Path(self.errors or os.devnull).open("ab") as sink:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.process.feed_engine", self.db, self.paper.base_url, str(self.paper.seed),
                 *self.plan.arguments()],
                env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=sink)

    async def ready(self, process: Process) -> None:
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

    async def all_up(self) -> None:
        """Wait until all workers are up."""
        by_s = time.monotonic() + PATIENCE_S
        while (told := await self.status())["workers_up"] < told["workers"]:
            assert time.monotonic() < by_s, f"workers do not come up: {told}"
            await asyncio.sleep(0.05)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request to whatever engine runs."""
        data = None if body is None else orjson.dumps(body)
        async with self.session.request(method, self.url + path, data=data, headers=HEADERS) as response:
            return response.status, orjson.loads(await response.read())

    async def status(self) -> dict[str, Any]:
        code, told = await self.ask("GET", "/v1/status")
        assert code == 200, told
        found: dict[str, Any] = told
        return found

    # -- who talks to it

    async def post(self) -> None:
        """Send hints for ever: plain ones, and announcements of what never comes, each of which must be told once."""
        number, robots = 0, [robot.id for robot in self.robots]
        while True:
            events, announced = [], set()
            for _ in range(self.rng.randrange(1, 20)):
                number += 1
                event = {"robot": self.rng.choice(robots), "kind": "suspect", "text": f"event {number}"}
                if self.rng.random() < self.announced_share:  # no robot here is ever short
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
            await asyncio.sleep(self.rng.random() * self.post_pause_s)

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
        robots = self.robots[:self.traded]
        markets, admin = Markets(self.paper.seed, self.plan.markets), PaperAdmin(self.paper.base_url)
        resting: dict[str, str] = {}
        try:
            while self.trading:
                one = self.rng.choice(robots)
                market, at_ms = markets.by_symbol[one.symbol], time.time_ns() // 1_000_000
                with suppress(PaperFailed):  # it may refuse, or stand still for a while
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

    # -- the end

    async def come_to_rest(self, work: "Sequence[asyncio.Task[None]]") -> None:
        """No more trades and hints; every pending event served; one last forced sync; the consumer has read all."""
        posting, consuming, trading = work
        self.trading = False
        await asyncio.wait_for(trading, PATIENCE_S)
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)
        by_s = time.monotonic() + PATIENCE_S
        while (await self.status())["events_pending"]:
            assert time.monotonic() < by_s, f"never served: {await self._waiting()}"
            await asyncio.sleep(0.05)
        await self.sync_all()
        last = (await self.status())["last_change"]
        await until(lambda: consuming.done() or (self.seen and self.seen[-1]["number"] >= last),
                    lambda: f"change {last}, was at {self.seen[-1]['number']}")
        assert not consuming.done(), consuming.result()
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)

    async def _waiting(self) -> list[tuple[dict[str, Any], Any]]:
        """The events that wait, each with why its robot is looked at when it is."""
        store = DuckDBStore((await self.ask("POST", "/v1/snapshot"))[1]["path"], readonly=True)
        events = list(store.load().events.values())[:5]
        store.close()
        return [(event, (await self.ask("GET", f"/v1/explain/{event['robot']}"))[1]) for event in events]

    async def sync_all(self) -> None:
        """A forced sync of each robot, some at a time; all of them are proven."""
        room = asyncio.Semaphore(_SYNCS_AT_ONCE)

        async def sync(robot: Robot) -> None:
            async with room:
                status, answer = await self.ask("POST", f"/v1/robots/{robot.id}/sync", {"timeout_ms": 15_000})
                assert (status, answer.get("certainty")) == (200, "agreed"), answer

        await asyncio.gather(*(sync(robot) for robot in self.robots))

    async def stop(self, process: Process) -> None:
        """SIGTERM, and an end in order."""
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0

    def check_feed(self) -> None:
        """Numbers without gap or repeat; every accepted announcement told once, and none that nobody made."""
        numbers = [change["number"] for change in self.seen]
        assert numbers == list(range(1, len(numbers) + 1))
        told = Counter(change["evidence"]["event"]["text"] for change in self.seen if change["kind"] == "event_unseen")
        assert {text: told[text] for text in self.accepted} == dict.fromkeys(self.accepted, 1)
        assert set(told) <= self.accepted | self.unanswered
        assert set(told.values()) <= {1}

    def check_state(self, books: dict[str, Any]) -> None:
        """The feed's replay, the store and the exchange say the same."""
        store = DuckDBStore(self.db, readonly=True)
        held = store.load()
        store.close()
        assert held.events == {}
        assert held.last_change == self.seen[-1]["number"]
        positions = {key: (one.side, one.size, one.entry_price) for key, one in held.positions.items()}
        orders = {key: (one.side, one.size, one.filled, one.price) for key, one in held.orders.items()}
        assert replayed(self.seen) == (positions, orders)
        shown = {(account, row["symbol"], row["side"]): (row["side"], row["size"])
                 for account, book in books.items() for row in book["positions"]}
        assert {key: value[:2] for key, value in positions.items()} == shown
        assert set(orders) == {(account, row["symbol"], row["id"])
                               for account, book in books.items() for row in book["orders"]}


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
                del orders[change["account"], change["symbol"], before["id"]]
            if after and change["kind"] != "order_ended":
                key = change["account"], change["symbol"], after["id"]
                assert key not in orders, f"placed twice: {change}"
                orders[key] = after["side"], after["size"], after["filled"], after["price"]
    return positions, orders
