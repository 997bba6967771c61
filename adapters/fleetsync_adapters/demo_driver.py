"""The robots of the demo, trading: a schedule carried out through the exchange's own order endpoints.

These calls are the robots' own: they leave under an address of their own, so that the exchange's ledger tells them
from the engine's, and they cost nothing of its budget. What a robot does it tells the engine, as a real one would;
what is done by hand nobody tells.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

import ccxt.async_support as ccxt

from fleetsync.errors import FleetsyncError
from fleetsync.model import Account, Robot
from fleetsync.units import canonical, s_from_ms
from fleetsync_adapters.ccxt_leader import make_view
from fleetsync_adapters.demo_schedule import Deed, Step
from fleetsync_adapters.paper.process import PaperAdmin

ROBOTS_ADDRESS = "robots"  # what the paper exchange's ledger shows as the address of these calls
NOTIONAL_USDT = 200

_LOG = logging.getLogger(__name__)
_SIDE_HELD = {"buy": "long", "sell": "short"}


class Notify(Protocol):
    """`Engine.notify`."""

    def __call__(self, robot: str, kind: str, *, order_id: str = "", client_id: str = "", side: str = "") -> object:
        """Say that a robot changed."""


@dataclass(slots=True)
class Driven:
    """What the robots did, for the summary."""

    deeds: int = 0
    told: int = 0
    by_hand: int = 0
    refused: dict[str, int] = field(default_factory=dict)  # by the exchange, or nobody to tell


class Driver:
    """Carries out schedules on a paper exchange; one at a time for each robot."""

    def __init__(self, base_url: str, admin: PaperAdmin, accounts: Mapping[str, Account], books: Mapping[str, str],
                 robots: Mapping[str, Robot]) -> None:
        """Trade for `robots`; `books` are the exchange's own names of the accounts."""
        self._base_url = base_url
        self._admin = admin
        self._accounts = accounts
        self._books = books
        self._robots = robots
        self._client: Any = None
        self._views: dict[str, Any] = {}
        self._orders: dict[str, str] = {}  # robot -> its resting order
        self._count = 0
        self._locks: dict[str, asyncio.Lock] = {}
        self.done = Driven()

    async def open(self) -> None:
        """Connect and load the markets."""
        # ccxt's own __del__ complains about every view that is dropped, although only the client has connections.
        client = type("binanceusdm", (ccxt.binanceusdm,), {"__del__": lambda _: None})({"enableRateLimit": False})
        client.urls["api"] = _moved(client.urls["api"], self._base_url)
        client.headers = {"X-Paper-Ip": ROBOTS_ADDRESS}
        client.options["fetchMarkets"] = {"types": ["linear"]}
        client.has["fetchCurrencies"] = False
        client.ssl_context = False  # plain HTTP on loopback: no bundle of certificates to load
        client.timeout_on_exit = 0
        self._client = client
        await client.load_markets()
        for account in self._accounts.values():
            self._views[account.id] = make_view(client, account)

    async def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            await self._client.close()

    async def carry_out(self, steps: list[Step], now_ms: Callable[[], int], notify: Notify) -> None:
        """Do each step at its time, until cancelled; then wait for those that have begun."""
        start_ms = now_ms()
        under_way: set[asyncio.Task[None]] = set()
        try:
            for step in steps:
                await asyncio.sleep(s_from_ms(max(start_ms + step.after_ms - now_ms(), 0)))
                task = asyncio.create_task(self.do(step, notify))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
        finally:
            await asyncio.gather(*under_way)

    async def do(self, step: Step, notify: Notify) -> None:
        """Do one step; what the exchange refuses is counted."""
        robot = self._robots[step.robot]
        async with self._locks.setdefault(robot.id, asyncio.Lock()):
            try:
                told = await (self._by_hand(step, robot) if step.by_hand else self._by_robot(step, robot))
                if told is not None:
                    self.done.deeds += 1
                    self.done.by_hand += step.by_hand
                if told:
                    notify(robot.id, **told)
                    self.done.told += 1
            except (ccxt.BaseError, FleetsyncError) as error:
                name = type(error).__name__
                self.done.refused[name] = self.done.refused.get(name, 0) + 1
                _LOG.debug("%s could not %s: %s", robot.id, step.deed, error)

    # -- the robot itself: each returns what to tell the engine; None when there was nothing to do

    async def _by_robot(self, step: Step, robot: Robot) -> dict[str, str] | None:
        view = self._views[robot.account]
        if step.deed is Deed.OPEN:
            return await self._open(view, robot, step.side)
        if step.deed is Deed.CLOSE:
            return await self._close(view, robot)
        if step.deed is Deed.REST:
            return await self._rest(view, robot, step)
        order_id = self._orders.pop(robot.id, "")
        if not order_id:
            return None
        await view.cancel_order(order_id, robot.symbol)
        return {"kind": "order_cancelled", "order_id": order_id}

    async def _open(self, view: Any, robot: Robot, side: str) -> dict[str, str]:
        size = await self._size(view, robot.symbol)
        await view.create_order(robot.symbol, "market", side, size, None, self._marked(robot))
        return {"kind": "opened", "side": _SIDE_HELD[side]}

    async def _close(self, view: Any, robot: Robot) -> dict[str, str] | None:
        position = await self._held(robot)
        if position is None:
            return None
        side = "sell" if position["side"] == "long" else "buy"
        marked = {**self._marked(robot), "reduceOnly": True}
        await view.create_order(robot.symbol, "market", side, position["size"], None, marked)
        return {"kind": "closed", "side": position["side"]}

    async def _rest(self, view: Any, robot: Robot, step: Step) -> dict[str, str] | None:
        size, side = await self._size(view, robot.symbol), step.side
        marked: dict[str, Any] = self._marked(robot)
        if step.reduces:
            position = await self._held(robot)
            if position is None:
                return None
            side, size = "sell" if position["side"] == "long" else "buy", position["size"]
            marked["reduceOnly"] = True
        price = await self._price(view, robot.symbol, side, step.away)
        order = await view.create_order(robot.symbol, "limit", side, size, price, marked)
        self._orders[robot.id] = order["id"]
        return {"kind": "order_placed", "order_id": order["id"], "client_id": marked["clientOrderId"]}

    # -- the same by hand

    async def _by_hand(self, step: Step, robot: Robot) -> dict[str, str] | None:
        book = self._books[robot.account]
        if step.deed is Deed.OPEN:
            await self._admin.open_position(book, robot.symbol, step.side, notional=str(NOTIONAL_USDT))
        elif step.deed is Deed.CLOSE:
            if await self._admin.close_position(book, robot.symbol) is None:
                return None
        elif step.deed is Deed.CANCEL:
            order_id = self._orders.pop(robot.id, "")
            if not order_id:
                return None
            await self._admin.cancel_order(book, order_id)
        else:
            return await self._rest_by_hand(step, robot, book)
        return {}

    async def _rest_by_hand(self, step: Step, robot: Robot, book: str) -> dict[str, str] | None:
        view = self._views[robot.account]
        side, size = step.side, await self._size(view, robot.symbol)
        if step.reduces:
            position = await self._held(robot)
            if position is None:
                return None
            side, size = "sell" if position["side"] == "long" else "buy", position["size"]
        price = await self._price(view, robot.symbol, side, step.away)
        placed = await self._admin.place_order(book, robot.symbol, side, "limit", size, price=price,
                                               reduce_only=step.reduces)
        self._orders[robot.id] = placed["order"]["id"]
        return {}

    # -- figures

    def _marked(self, robot: Robot) -> dict[str, Any]:
        self._count += 1
        return {"clientOrderId": f"{robot.order_prefix}{self._count}"}

    async def _held(self, robot: Robot) -> dict[str, Any] | None:
        """What the robot holds; a real one keeps its own account of that."""
        books = await self._admin.books(self._books[robot.account])
        positions = books[self._books[robot.account]]["positions"]
        return next((position for position in positions if position["symbol"] == robot.symbol), None)

    async def _last(self, view: Any, symbol: str) -> Decimal:
        shown = await view.fapiPublicGetTickerPrice({"symbol": view.market_id(symbol)})
        return Decimal(shown["price"])

    async def _size(self, view: Any, symbol: str) -> str:
        least = Decimal(str(view.market(symbol)["limits"]["amount"]["min"] or 0))
        size = max(NOTIONAL_USDT / await self._last(view, symbol), least)
        return str(view.amount_to_precision(symbol, canonical(size)))

    async def _price(self, view: Any, symbol: str, side: str, away: int) -> str:
        last = await self._last(view, symbol)
        price = last * (1 + Decimal(-away if side == "buy" else away) / 1_000_000)
        return str(view.price_to_precision(symbol, canonical(price)))


def _moved(urls: Any, base_url: str) -> Any:
    """The addresses that ccxt has, with every host replaced by that of `base_url`."""
    if isinstance(urls, Mapping):
        return {name: _moved(inner, base_url) for name, inner in urls.items()}
    if isinstance(urls, str) and "://" in urls:
        _, _, path = urls.partition("://")[2].partition("/")
        return f"{base_url}/{path}"
    return urls
