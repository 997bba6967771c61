"""Seeded runs against an exchange that misbehaves in every way at once, while people and prices trade under the robots.

When the faults stop, one quiet sync has to bring what is committed to what the exchange holds; and everything that was
told meanwhile has to be true by the exchange's own fills and orders.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from tests.process.scene import NOT_LIMITED, QUICK, Paper, Scene, now_ms, robot, spec, stage

from fleetsync import Change, Robot
from fleetsync.clock import SystemClock
from fleetsync.events import KINDS
from fleetsync.messages import Call
from fleetsync.model import Account, Fault, Fill, Order, Surface
from fleetsync.ports import Exchange
from fleetsync_adapters.ccxt_exchange import open_exchange
from fleetsync_adapters.memory_store import MemoryStore
from fleetsync_adapters.paper.faults import Misdeed
from fleetsync_adapters.paper.markets import Markets
from fleetsync_adapters.paper.process import PaperFailed, PaperProcess

pytestmark = pytest.mark.process
SEEDS_TESTED, SEEDS_IN_ALL = 24, 200
AT_ONCE = 8  # runs in this process, each with an exchange of its own
TRADING_MS = 2_500
MARKETS = 8
SETTINGS = QUICK.but(settle_ms=1_500, visibility_grace_ms=400)
RARE = {Misdeed.BANNED: 0.002, Misdeed.THROTTLED: 0.002, Misdeed.LOST_REQUEST: 0.01, Misdeed.LOST_ANSWER: 0.01}
"""Those that cost a run most of its time: an address that is locked out, and a call's whole time-out."""


def shares(rng: Random) -> dict[str, float]:
    """A share for every kind of misdeed; together they meet about every third request."""
    return {kind.value: round(rng.uniform(0, RARE.get(kind, 0.035)), 4) for kind in Misdeed}


def fleet(markets: Markets) -> list[Robot]:
    """Three accounts with two books each, one of them shared by two robots."""
    symbols = [market.symbol for market in markets.all]
    apart = [robot(f"r{number}", f"a{number % 3}", symbols[number], prefix=f"r{number}-") for number in range(6)]
    return [*apart, robot("shares", "a0", symbols[0], prefix="shares-")]


async def trade(scene: Scene, rng: Random) -> None:
    """What people and robots do at the exchange meanwhile; some of it is announced, some of it wrongly."""
    over_ms = now_ms() + TRADING_MS
    number = 0
    while now_ms() < over_ms:
        number += 1
        name = rng.choice(list(scene.robots))
        with suppress(PaperFailed):  # the exchange may refuse: too little margin, nothing to cancel, ...
            await act(scene, rng, name, number)
        if rng.random() < 0.3:
            scene.engine.notify(name, rng.choice(KINDS), side=rng.choice(["", "", "", "long", "short"]))
        await asyncio.sleep(rng.uniform(0, 0.08))
    for ours, book in (await scene.books()).items():
        for order in book["orders"]:
            if order["client_id"].endswith("-near"):
                with suppress(PaperFailed):  # it may fill at this very moment
                    await scene.admin.cancel_order(scene.ids[ours], order["id"])


async def act(scene: Scene, rng: Random, name: str, number: int) -> None:
    """One thing at the exchange."""
    account, symbol = scene.at(name)
    side = rng.choice(["buy", "sell"])
    chance = rng.random()
    if chance < 0.3:
        await scene.open(name, side, str(rng.randint(20, 400)))
    elif chance < 0.5:
        await scene.admin.close_position(account, symbol)
    elif chance < 0.55:
        await scene.admin.liquidate(account, symbol)
    elif chance < 0.7:
        await scene.rest(name, side, client_id=f"{name}-{number}-far")
    elif chance < 0.85:
        market = scene.market(name)
        price = (market.price(now_ms()) * (1 + Decimal(rng.randint(-8, 8)) / 10_000)).quantize(market.tick)
        size = market.smallest_size(now_ms(), Decimal(rng.randint(50, 500)))
        await scene.admin.place_order(account, symbol, side, "limit", str(size), price=str(price),
                                      client_id=f"{name}-{number}-near")
        if rng.random() < 0.5:
            scene.engine.notify(name, "order_placed", client_id=f"{name}-{number}-near")
    else:
        resting = (await scene.admin.books(account))[account]["orders"]
        if resting:
            await scene.admin.cancel_order(account, rng.choice(resting)["id"])


# -- what has to hold


def committed(scene: Scene) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Positions and orders as the store has them."""
    assert isinstance(scene.engine.store, MemoryStore)
    held = scene.engine.store.load()
    return ({key: (row.size, row.entry_price) for key, row in held.positions.items()},
            {key: (row.size, row.filled, row.price) for key, row in held.orders.items()})


async def on_the_books(scene: Scene) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """The same as the exchange has them."""
    books = await scene.books()
    return ({(ours, row["symbol"], row["side"]): (row["size"], row["entry_price"])
             for ours, book in books.items() for row in book["positions"]},
            {(ours, row["symbol"], row["id"]): (row["size"], row["filled"], row["price"])
             for ours, book in books.items() for row in book["orders"]})


def replayed(changes: Iterable[Change]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """What taking out every `before` and putting in every `after` leaves."""
    positions: dict[Any, Any] = {}
    orders: dict[Any, Any] = {}
    for change in changes:
        before, after = change.before, change.after
        if change.key.startswith("position:"):
            if before:
                del positions[change.account, change.symbol, before["side"]]
            if after:
                positions[change.account, change.symbol, after["side"]] = (after["size"], after["entry_price"])
        elif after and change.kind.startswith("order_"):
            orders.pop((change.account, change.symbol, after["id"]), None)
            if change.kind != "order_ended":
                orders[change.account, change.symbol, after["id"]] = (after["size"], after["filled"], after["price"])
    return positions, orders


@dataclass(slots=True)
class Truth:
    """The exchange's own records, asked for with a client of our own once it behaves."""

    exchange: Exchange

    async def fills(self, account: str, symbol: str, since_ms: int) -> list[Fill]:
        answer, _ = await self.exchange.ask(account, Call(Surface.FILLS, symbol, since_ms=since_ms, pages=8), full=True)
        assert answer.complete, answer.detail
        return sorted((row for row in answer.rows or () if isinstance(row, Fill)), key=lambda row: int(row.id))

    async def order(self, account: str, symbol: str, order_id: str) -> Order | None:
        answer, _ = await self.exchange.ask(account, Call(Surface.ORDER, symbol, order_id=order_id), full=True)
        if answer.fault is Fault.NOT_FOUND:
            return None
        assert answer.rows, answer.detail
        order = answer.rows[0]
        assert isinstance(order, Order)
        return order


def was_gone(fills: Iterable[Fill], side: str, after_ms: int, by_ms: int) -> bool:
    """Whether a position of that side was gone at some instant after `after_ms` and by `by_ms`."""
    net = Decimal(0)
    for fill in fills:
        net += Decimal(fill.size) if fill.side == "buy" else -Decimal(fill.size)
        if after_ms < fill.at_ms <= by_ms and (net <= 0 if side == "long" else net >= 0):
            return True
    return False


async def check_told(truth: Truth, changes: list[Change], began_ms: int) -> None:
    """Every end that was told is true by the exchange's records, and told once."""
    assert [change.number for change in changes] == list(range(1, len(changes) + 1)), "numbers have a gap"
    once = [(change.kind, change.account, change.key) for change in changes
            if change.kind in {"order_opened", "order_ended"}]
    assert len(once) == len({*once}), f"told twice: {sorted(one for one in once if once.count(one) > 1)}"
    fills: dict[tuple[str, str], list[Fill]] = {}
    for change in changes:
        if change.kind in {"position_closed", "position_flipped"}:
            book = change.account, change.symbol
            if book not in fills:
                fills[book] = await truth.fills(*book, began_ms)
            assert change.before is not None
            # A reading is as of its sending: it may have been executed up to its time-out later.
            by_ms = change.seen_at_ms + SETTINGS.call_timeout_ms
            assert was_gone(fills[book], change.before["side"], change.before["updated_at_ms"], by_ms), (
                f"false close: {change}")
        elif change.kind == "order_ended":
            assert change.after is not None
            order = await truth.order(change.account, change.symbol, change.after["id"])
            assert order is not None
            assert order.status != "open", f"false end: {change}"
            if change.after["status"] != "unknown":
                told = change.after["status"], change.after["filled"]
                assert told == (order.status, order.filled), f"{told}, in truth {order}"


async def one_run(seed: int) -> None:
    rng = Random(seed)
    began_ms = now_ms()
    process = PaperProcess(seed=seed, accounts=1, markets=MARKETS, unlimited=True)
    async with process:
        paper = Paper(process.base_url, Markets(seed, MARKETS))
        async with stage(paper, *fleet(paper.markets), settings=SETTINGS) as scene:
            accounts = [state.account for state in scene.engine.core.fleet.accounts if state is not None]
            await scene.admin.misbehave_by_seed(seed, shares(rng), delay_ms=[20, 300], latency_ms=[0, 15], rows=1)
            await trade(scene, rng)
            await scene.admin.behave()
            unproven = await scene.engine.sync_all(timeout_ms=20_000)
            assert unproven == [], f"not proven when all was quiet: {unproven} {scene.engine!r} {scene.notices[-5:]}"
            assert committed(scene) == await on_the_books(scene)
            changes = await scene.changes()
            assert replayed(changes) == committed(scene)
            await with_truth(paper, accounts, changes, began_ms)
            assert len(changes) >= 10, "a run in which too little happened proves nothing"


async def with_truth(paper: Paper, accounts: list[Account], changes: list[Change], began_ms: int) -> None:
    exchange = open_exchange(spec(paper, SETTINGS.but(call_timeout_ms=10_000), NOT_LIMITED), SystemClock())
    try:
        await exchange.open()
        for account in accounts:
            exchange.add_account(account)
        await check_told(Truth(exchange), changes, began_ms)
    finally:
        await exchange.close()


def run_all(seeds: Iterable[int]) -> None:
    """All seeds, some at a time; whatever fails is told with its seed."""

    async def main() -> list[str]:
        room = asyncio.Semaphore(AT_ONCE)

        async def guarded(seed: int) -> str:
            async with room:
                try:
                    async with asyncio.timeout(120):
                        await one_run(seed)
                except (AssertionError, TimeoutError) as error:
                    return f"seed {seed}: {type(error).__name__} {error}"
            return ""

        return [told for told in await asyncio.gather(*(guarded(seed) for seed in seeds)) if told]

    failed = asyncio.run(main())
    assert not failed, f"{len(failed)} runs failed:\n" + "\n".join(failed)


def test_after_any_misbehaviour_the_state_is_the_exchanges_and_all_that_was_told_is_true() -> None:
    run_all(range(1, SEEDS_TESTED + 1))


@pytest.mark.soak
def test_the_same_holds_for_all_two_hundred_seeds() -> None:
    run_all(range(SEEDS_TESTED + 1, SEEDS_IN_ALL + 1))
