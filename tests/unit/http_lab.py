"""A served engine over a lent venue: no sockets to the exchange, real sockets to the HTTP side."""

import asyncio
import io
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

import aiohttp
import orjson

from fleetsync import Account, Engine, ExchangeSpec, Robot, Secret, Settings
from fleetsync.journal import Notice
from fleetsync.ports import Store
from fleetsync_adapters.http_api import ApiServer
from fleetsync_adapters.memory_store import MemoryStore
from fleetsync_adapters.paper.lending import lend, take_back
from fleetsync_adapters.paper.limits import LimitRules
from fleetsync_adapters.paper.orders import Ticket
from fleetsync_adapters.paper.venue import Venue, VenueRules
from fleetsync_adapters.tariffs import load_tariff

PATIENCE_S = 20
TOKEN = "a-token-that-nobody-else-knows"
_TEST_S = 120  # a test that waits for what never comes fails, and does not hang
STILL = Settings(
    workers=0, calls_per_minute=60_000, holding_ms=60_000, working_ms=60_000, flat_ms=60_000, floor_ms=100,
    confirm_gap_ms=20, settle_ms=300, visibility_grace_ms=100, doubt_retry_ms=40, backoff_ms=40, backoff_max_ms=200,
    account_calls_per_second=1_000)
"""After the first reading nothing is looked at by schedule: what happens was asked for."""
ROUTES = [
    ("POST", "/v1/events"), ("POST", "/v1/robots/r0/sync"), ("GET", "/v1/robots"), ("POST", "/v1/robots"),
    ("GET", "/v1/robots/r0"), ("DELETE", "/v1/robots/r0"), ("GET", "/v1/accounts"), ("GET", "/v1/explain/r0"),
    ("POST", "/v1/accounts/a0/resume"), ("PUT", "/v1/accounts/a0/egress"), ("DELETE", "/v1/accounts/a0"),
    ("PUT", "/v1/budget"), ("GET", "/v1/status"), ("GET", "/v1/changes"),
    ("GET", "/v1/changes/stream"), ("POST", "/v1/snapshot"), ("GET", "/metrics"), ("GET", "/docs"),
    ("GET", "/openapi.json"), ("GET", "/nowhere"),
]  # fmt: skip
"""Every route, and one that is none."""

T = TypeVar("T")
_names = itertools.count(1)


async def until(fact: Callable[[], T | None], what: str) -> T:
    """Wait until a fact is true."""
    by_s = time.monotonic() + PATIENCE_S
    while not (found := fact()):
        assert time.monotonic() < by_s, f"never seen: {what}"
        await asyncio.sleep(0.003)
    return found


@dataclass(slots=True)
class Answered:
    """One answer, read to its end."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.content)

    @property
    def code(self) -> str:
        """The error's code; fails where the answer is no error of ours."""
        error = self.json["error"]
        assert set(error) == {"code", "message", "hint"}
        assert self.headers["Content-Type"] == "application/json"
        return str(error["code"])


class Lab:
    """The venue, the engine, its HTTP side, and a client."""

    def __init__(self, venue: Venue, engine: Engine, api: ApiServer, session: aiohttp.ClientSession) -> None:
        self.venue = venue
        self.engine = engine
        self.api = api
        self.session = session

    @property
    def secrets(self) -> list[str]:
        """Every secret of this engine."""
        keys = [account.keys for account in self.venue.books.accounts]
        return [TOKEN, *(one.api_key for one in keys), *(one.secret for one in keys)]

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Answered:
        """One request; `body` goes as JSON."""
        if body is not None:
            headers = {"Content-Type": "application/json", **more.get("headers", {})}
            more |= {"data": io.BytesIO(orjson.dumps(body)), "headers": headers}
        async with self.session.request(method, self.api.url + path, **more) as response:
            return Answered(response.status, dict(response.headers), await response.read())

    async def get(self, path: str, **more: Any) -> Any:
        """The JSON of a successful GET."""
        answered = await self.ask("GET", path, **more)
        assert answered.status == 200, answered
        return answered.json

    async def trade(self, robot: str, side: str = "BUY") -> None:
        """Somebody trades at the exchange, on the account and symbol of a robot; what is read from now on shows it."""
        state = self.engine.state(robot)
        account = self.venue.books.accounts[int(state.account.removeprefix("a"))]
        market, at_ms = self.venue.markets.by_symbol[state.symbol], self.engine.clock.now_ms()
        if side == "CLOSE":
            assert self.venue.close_by_hand(account, market, at_ms) is not None
        else:
            ticket = Ticket(market=market, side=side, type="MARKET", size=market.smallest_size(at_ms, Decimal(200)),
                            client_id=f"by-hand-{at_ms}-{next(_names)}")
            self.venue.open_by_hand(account, ticket, at_ms)
        # A reading within the same millisecond, but before the trade, could not be told from one after it.
        await until(lambda: self.engine.clock.now_ms() > at_ms, "time goes on")

    async def flip(self, robot: str, times: int) -> None:
        """Open and close so often, and have each of it proven: a change each."""
        for _ in range(times):
            held = self.engine.state(robot).positions.value
            await self.trade(robot, "CLOSE" if held else "BUY")
            await self.engine.sync(robot)


def venue_fleet(count: int, accounts: int, markets: Sequence[str]) -> list[Robot]:
    return [Robot(f"r{number}", f"a{number % accounts}", markets[number // accounts % len(markets)])
            for number in range(count)]


@contextmanager
def lent(*robots: Robot, count: int = 4, accounts: int = 2, store: Store | str | None = None,
         settings: Settings = STILL,
         on_notice: Callable[[Notice], None] = lambda _notice: None) -> Iterator[tuple[Venue, Engine, list[Robot]]]:
    """A venue, and an engine of its own that is not started yet."""
    venue = Venue(VenueRules(seed=5, accounts=accounts, markets=12, limits=LimitRules(unlimited=True)))
    symbols = [market.symbol for market in venue.markets.all]
    fleet = list(robots) or venue_fleet(count, accounts, symbols)
    owners = [Account(f"a{number}", "binanceusdm", Secret(one.keys.api_key), Secret(one.keys.secret))
              for number, one in enumerate(venue.books.accounts)]
    name = f"http-lab-{next(_names)}"
    spec = ExchangeSpec("binanceusdm", factory="fleetsync_adapters.paper.lending:open_direct",
                        tariff=load_tariff("binanceusdm", {"quotas": {"weight": {"limit": 100_000_000}}}),
                        options={"venue": name}, call_timeout_ms=500)
    engine = Engine(owners, fleet, settings=settings, exchanges={"binanceusdm": spec}, seed=1,
                    store=MemoryStore() if store is None else store, on_notice=on_notice)
    lend(name, venue, now_ms=engine.clock.now_ms)
    try:
        yield venue, engine, fleet
    finally:
        take_back(name)


@asynccontextmanager
async def lab(*robots: Robot, token: str | None = None, count: int = 4, accounts: int = 2,
              store: Store | str | None = None, settings: Settings = STILL, **options: Any) -> AsyncIterator[Lab]:
    """A lab whose robots have all been read once."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with lent(*robots, count=count, accounts=accounts, store=store, settings=settings) as (venue, engine, fleet):
        async with (engine, ApiServer(engine, token=token, **options) as api,
                    aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session):
            await until(lambda: all(engine.state(robot.id).phase for robot in fleet if robot.enabled),
                        "every robot known")
            yield Lab(venue, engine, api, session)


def served(test: Callable[[Lab], Awaitable[None]], *robots: Robot, **options: Any) -> None:
    """Run a test inside a lab."""

    async def run() -> None:
        async with lab(*robots, **options) as made:
            await asyncio.wait_for(test(made), _TEST_S)

    asyncio.run(run())
