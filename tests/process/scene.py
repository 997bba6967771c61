"""A whole engine against a whole exchange: the real client, a real socket, the paper exchange in its own process.

Tests wait for facts: `until` looks again and again at something that the engine, its store or the exchange's own
ledger says, and fails when it has not come true within a bound that no passing test gets near.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from fleetsync import Account, Change, Engine, ExchangeSpec, Robot, RobotState, Secret, Settings
from fleetsync.journal import Notice
from fleetsync.model import Order, Phase, Position
from fleetsync.ports import Clock, Store
from fleetsync.report import SurfaceState
from fleetsync_adapters.memory_store import MemoryStore
from fleetsync_adapters.paper.markets import Market, Markets
from fleetsync_adapters.paper.process import PaperAdmin, PaperProcess
from fleetsync_adapters.tariffs import load_tariff

PATIENCE_S = 30
"""How long a fact may take on a busy machine before the test fails; no test waits this long for a pass."""
BTC, ETH, SOL = "BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"
POSITIONS, ORDERS, ORDER, FILLS = "v3/positionRisk", "v1/openOrders", "GET /fapi/v1/order", "v1/userTrades"
NOT_LIMITED = {"quotas": {"weight": {"limit": 100_000_000}}}
"""The exchange's weight pool out of the way: the budget is not tested here, and a module's tests share an address."""

QUICK = Settings(
    workers=0, calls_per_minute=60_000, holding_ms=250, working_ms=250, flat_ms=500, floor_ms=100, confirm_gap_ms=40,
    settle_ms=900, visibility_grace_ms=300, doubt_retry_ms=60, call_timeout_ms=700, backoff_ms=40, backoff_max_ms=300,
    account_calls_per_second=500)
"""Everything that lasts seconds in earnest lasts tenths here."""
STILL = QUICK.but(holding_ms=60_000, working_ms=60_000, flat_ms=60_000)
"""The same, and nothing is looked at by schedule after the first time: what happens, events have caused."""

T = TypeVar("T")


async def until(fact: Callable[[], T | None], what: str | Callable[[], object]) -> T:
    """Wait until `fact()` is true and give it."""
    by_s = time.monotonic() + PATIENCE_S
    while not (found := fact()):
        assert time.monotonic() < by_s, f"never seen: {what if isinstance(what, str) else what()}"
        await asyncio.sleep(0.004)
    return found


async def until_told(ask: Callable[[], Awaitable[T | None]], what: str) -> T:
    """The same for a fact that has to be asked for."""
    by_s = time.monotonic() + PATIENCE_S
    while not (found := await ask()):
        assert time.monotonic() < by_s, f"never seen: {what}"
        await asyncio.sleep(0.004)
    return found


@dataclass(frozen=True, slots=True)
class Paper:
    """A running paper exchange, as all tests of a module share it."""

    base_url: str
    markets: Markets

    def admin(self) -> PaperAdmin:
        """Its admin endpoints, for one event loop."""
        return PaperAdmin(self.base_url)


@contextmanager
def paper_exchange(*, seed: int = 5, markets: int = 30, **options: Any) -> Iterator[Paper]:
    """A paper exchange in its own process; without limits unless they are asked for."""
    process = PaperProcess(seed=seed, accounts=1, markets=markets, **{"unlimited": True, **options})
    asyncio.run(process.start())
    try:
        yield Paper(process.base_url, Markets(seed, markets))
    finally:
        assert asyncio.run(process.stop()) == 0, "the paper exchange ended in disorder"


@dataclass(slots=True)
class Scene:
    """An engine that runs, the exchange's admin, and the exchange's names of the accounts."""

    engine: Engine
    admin: PaperAdmin
    paper: Paper
    ids: dict[str, str]  # our account -> the exchange's
    robots: dict[str, Robot]
    notices: list[Notice] = field(default_factory=list)

    # -- what the engine says

    def state(self, robot: str = "r") -> RobotState:
        return self.engine.state(robot)

    def position(self, robot: str = "r") -> Position | None:
        """The one position that is known of a robot."""
        known = self.state(robot).positions.value
        assert len(known) < 2
        return known[0] if known and isinstance(known[0], Position) else None

    def orders(self, robot: str = "r") -> list[Order]:
        return _orders_in(self.state(robot).orders)

    def conditional(self, robot: str = "r") -> list[Order]:
        return _orders_in(self.state(robot).conditional)

    async def known(self) -> None:
        """Wait until every robot has been read once."""
        await until(lambda: all(self.state(robot).phase is not Phase.UNKNOWN for robot in self.robots),
                    lambda: f"every robot known: {self.engine!r} {self.notices}")

    async def changes(self, after: int = 0, robot: str | None = None) -> list[Change]:
        return await self.engine.changes_page(after, 10_000, robot)

    async def change(self, kind: str, robot: str = "r", *, after: int = 0) -> Change:
        """The first committed change of a kind, once it is there."""
        return (await self.changes_of(kind, robot, after=after))[0]

    async def changes_of(self, kind: str, robot: str = "r", *, count: int = 1, after: int = 0) -> list[Change]:
        async def look() -> list[Change]:
            found = [change for change in await self.changes(after, robot) if change.kind == kind]
            return found if len(found) >= count else []

        try:
            return await until_told(look, f"{count} {kind} of {robot}")
        except AssertionError as error:
            told = [(c.number, c.kind, c.key, c.cause) for c in await self.changes()]
            raise AssertionError(f"{error}; changes {told}; state {self.state(robot)}; {self.notices}") from None

    async def kinds(self, robot: str = "r", *, after: int = 0) -> list[str]:
        return [change.kind for change in await self.changes(after, robot)]

    @property
    def last_change(self) -> int:
        return self.engine.core.journal.last_change

    # -- what happens at the exchange

    def at(self, robot: str) -> tuple[str, str]:
        """The exchange's account and the symbol of a robot."""
        return self.ids[self.robots[robot].account], self.robots[robot].symbol

    def market(self, robot: str = "r") -> Market:
        return self.paper.markets.by_symbol[self.robots[robot].symbol]

    async def open(self, robot: str = "r", side: str = "buy", notional: str = "200") -> dict[str, Any]:
        return await self.admin.open_position(*self.at(robot), side, notional=notional)

    async def open_and_see(self, robot: str = "r", side: str = "buy", notional: str = "200") -> Position:
        await self.open(robot, side, notional)
        state = await self.engine.sync(robot)
        assert state.phase is Phase.HOLDING
        position = self.position(robot)
        assert position is not None
        return position

    async def close(self, robot: str = "r") -> dict[str, Any]:
        order = await self.admin.close_position(*self.at(robot))
        assert order is not None, "there was nothing to close"
        return order

    async def rest(self, robot: str = "r", side: str = "buy", *, notional: str = "200", **more: Any) -> dict[str, Any]:
        """A limit order so far away that it only rests."""
        market = self.market(robot)
        share = Decimal("0.5") if side == "buy" else Decimal("1.5")
        price = (market.price(now_ms()) * share).quantize(market.tick)
        size = market.smallest_size(now_ms(), Decimal(notional) / share)
        placed = await self.admin.place_order(*self.at(robot), side, "limit", str(size), price=str(price), **more)
        order: dict[str, Any] = placed["order"]
        return order

    async def misbehave(self, kind: str, endpoint: str = "", *, account: str = "", count: int = 1, **more: int) -> None:
        """A misdeed for requests of one of our accounts; of the only one where none is named."""
        name = self.ids[account or next(iter(self.ids))]
        await self.admin.misbehave(kind, endpoint=endpoint, account=name, count=count, **more)

    async def calls(self, account: str = "", endpoint: str = "", after: int = -1) -> list[dict[str, Any]]:
        """The requests that the exchange has received from one of our accounts, by its own ledger."""
        name = self.ids[account or next(iter(self.ids))]
        found: list[dict[str, Any]] = []
        while True:
            page = await self.admin.ask("GET", "ledger", None, account=name, after=after, limit=10_000)
            found += [row for row in page["rows"] if endpoint in row["endpoint"]]
            if len(page["rows"]) < 10_000:
                return found
            after = page["next_after"]

    async def seen_by_exchange(self, endpoint: str, more_than: int = 0) -> int:
        """Wait until the exchange has received more than so many requests of an endpoint; how many there are then."""
        async def look() -> int:
            count = len(await self.calls(endpoint=endpoint))
            return count if count > more_than else 0

        return await until_told(look, f"more than {more_than} x {endpoint}")

    async def books(self) -> dict[str, dict[str, Any]]:
        """What the exchange holds for each of our accounts."""
        return {ours: (await self.admin.books(name))[name] for ours, name in self.ids.items()}


def _orders_in(surface: SurfaceState) -> list[Order]:
    return [row for row in surface.value if isinstance(row, Order)]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def robot(name: str = "r", account: str = "a", symbol: str = BTC, prefix: str = "") -> Robot:
    return Robot(name, account, symbol, order_prefix=prefix)


def spec(paper: Paper, settings: Settings, overrides: Mapping[str, Any] | None = None) -> ExchangeSpec:
    tariff = load_tariff("binanceusdm", NOT_LIMITED if overrides is None else overrides)
    return ExchangeSpec("binanceusdm", base_url=paper.base_url, tariff=tariff,
                        call_timeout_ms=settings.call_timeout_ms)


async def open_accounts(admin: PaperAdmin, names: list[str]) -> tuple[list[Account], dict[str, str]]:
    """Fresh accounts at the exchange, under our names; and the exchange's names of them."""
    opened = await admin.open_accounts(len(names))
    accounts = [Account(name, "binanceusdm", Secret(one["api_key"]), Secret(one["secret"]))
                for name, one in zip(names, opened, strict=True)]
    return accounts, {name: one["id"] for name, one in zip(names, opened, strict=True)}


@asynccontextmanager
async def stage(paper: Paper, *robots: Robot, settings: Settings = QUICK, store: Store | str | None = None,
                overrides: Mapping[str, Any] | None = None, known: bool = True,
                accounts: tuple[list[Account], dict[str, str]] | None = None,
                clock: Clock | None = None) -> AsyncIterator[Scene]:
    """An engine with these robots on fresh accounts (or on those given), started and read once."""
    fleet = robots or (robot(),)
    admin = paper.admin()
    try:
        names = list(dict.fromkeys(one.account for one in fleet))
        opened, ids = accounts or await open_accounts(admin, names)
        notices: list[Notice] = []
        engine = Engine(opened, fleet, settings=settings, store=MemoryStore() if store is None else store, seed=1,
                        exchanges={"binanceusdm": spec(paper, settings, overrides)}, clock=clock,
                        on_notice=notices.append)
        async with engine:
            scene = Scene(engine, admin, paper, ids, {one.id: one for one in fleet}, notices)
            if known:
                await scene.known()
            yield scene
    finally:
        await admin.behave()
        await admin.close()


def soon_reached(markets: Markets, at_ms: int) -> tuple[Market, str, Decimal]:
    """A market, a side and a price beyond the market's that it will reach within a second and stay beyond for one."""
    best: tuple[int, Market, str, int] | None = None
    for market in markets.all:
        ticks = [market.path.ticks(at_ms + 100 * step) for step in range(24)]
        for side, sign in (("buy", 1), ("sell", -1)):
            path = [sign * one for one in ticks]
            for start in range(4, 12):
                target, before = max(path[start:start + 12]), min(path[:start - 1])
                if target < before and (best is None or start < best[0]):
                    best = (start, market, side, sign * target)
    assert best is not None, "no price moves enough: take more markets"
    _, market, side, target = best
    return market, side, Decimal(target).scaleb(-market.price_digits)
