"""The direct port and the real client, asked the same about the same books, tell the same.

What the simulation learns on `PaperDirect` is only worth something while this holds.
"""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from fleetsync.clock import SystemClock
from fleetsync.messages import Answer, Call
from fleetsync.model import Account, Secret, Surface
from fleetsync.ports import Exchange, ExchangeSpec
from fleetsync_adapters.ccxt_exchange import open_exchange
from fleetsync_adapters.paper.direct import PaperDirect, asyncio_sleep_ms
from fleetsync_adapters.paper.faults import Fault, FaultOrder, Misdeed
from fleetsync_adapters.paper.limits import LimitRules
from fleetsync_adapters.paper.orders import Ticket
from fleetsync_adapters.paper.server import serving, system_now_ms
from fleetsync_adapters.paper.venue import Venue, VenueRules

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
NEVER_ANSWERED = (Misdeed.LOST_REQUEST, Misdeed.LOST_ANSWER)


class Pair:
    """One venue, asked both ways."""

    def __init__(self, venue: Venue, base_url: str) -> None:
        self.venue = venue
        self.account = venue.books.accounts[0]
        self.direct: Exchange = PaperDirect(venue, now_ms=system_now_ms, sleep_ms=asyncio_sleep_ms, call_timeout_ms=400)
        spec = ExchangeSpec("binanceusdm", base_url=base_url, call_timeout_ms=400)
        self.real: Exchange = open_exchange(spec, SystemClock())

    async def open(self) -> None:
        keys = self.account.keys
        for exchange in (self.direct, self.real):
            opened, _ = await exchange.open()
            assert opened.complete
            exchange.add_account(Account("main", "binanceusdm", Secret(keys.api_key), Secret(keys.secret)))

    async def ask(self, call: Call, misdeed: Fault | None = None) -> tuple[Answer, Answer]:
        """Both answers, made comparable: their own instants and words for people are left out."""
        told = []
        for exchange in (self.direct, self.real):
            if misdeed is not None:
                self.venue.faults.order([FaultOrder(misdeed)])
            answer, _ = await exchange.ask("main", call, full=True)
            rows: Any = None if answer.rows is None else tuple(sorted(answer.rows, key=repr))
            told.append(answer._replace(as_of_ms=0, detail="", rows=rows, retry_after_ms=0))
        return told[0], told[1]

    def order(self, symbol: str, side: str, kind: str, off: int = 0, **more: Any) -> None:
        market, at_ms = self.venue.markets.by_symbol[symbol], system_now_ms()
        away = (market.price(at_ms) * (1_000_000 + off) / 1_000_000).quantize(market.tick)
        size = market.smallest_size(at_ms, Decimal(200))
        wanted: dict[str, Any] = {"size": size, **more}
        if kind.startswith("STOP"):
            stop = Ticket(market=market, side=side, type=kind, trigger=away, **wanted)
            self.venue.orders.place_trigger(self.account, stop, at_ms)
        else:
            price = away if off else Decimal(0)
            self.venue.orders.place(
                self.account, Ticket(market=market, side=side, type=kind, price=price, **wanted), at_ms
            )


def compare(misdeeds: tuple[Fault | None, ...] = (None,)) -> None:
    async def run() -> None:
        venue = Venue(VenueRules(seed=3, accounts=1, limits=LimitRules(unlimited=True)))
        async with serving(venue) as running:
            pair = Pair(venue, running.base_url)
            try:
                await pair.open()
                await same(pair, misdeeds)
            finally:
                await pair.real.close()

    asyncio.run(run())


async def same(pair: Pair, misdeeds: tuple[Fault | None, ...]) -> None:
    began_ms = system_now_ms()
    pair.order(BTC, "BUY", "MARKET", client_id="bot-1")
    pair.order(BTC, "SELL", "LIMIT", 90_000, reduce_only=True)
    pair.order(ETH, "BUY", "LIMIT", -90_000)
    pair.order(BTC, "SELL", "STOP_MARKET", -90_000, close_position=True, size=Decimal(0))
    ended, resting = list(pair.account.orders.values())[:2]
    calls = (
        Call(Surface.POSITIONS), Call(Surface.POSITIONS, BTC), Call(Surface.ORDERS), Call(Surface.ORDERS, ETH),
        Call(Surface.CONDITIONAL), Call(Surface.CONDITIONAL, BTC), Call(Surface.FILLS, BTC, since_ms=began_ms - 1000),
        Call(Surface.ORDER, BTC, order_id=str(ended.id)), Call(Surface.ORDER, BTC, client_id=resting.client_id),
        Call(Surface.ORDER, BTC, order_id=str(next(iter(pair.account.triggers))), conditional=True),
        Call(Surface.ORDER, BTC, order_id="77"), Call(Surface.ORDERS, "NO/USDT:USDT"),
    )
    for misdeed in misdeeds:
        for call in calls if misdeed is None or misdeed.kind not in NEVER_ANSWERED else calls[:1]:
            direct, real = await pair.ask(call, misdeed)
            assert direct == real, f"{misdeed} {call}"
        pair.venue.faults.clear()


def test_every_question_gets_the_same_answer_both_ways() -> None:
    compare()


@pytest.mark.parametrize(
    "kind",
    [
        *NEVER_ANSWERED, Misdeed.RESET, Misdeed.RESET_AFTER, Misdeed.SERVER_ERROR, Misdeed.MAINTENANCE, Misdeed.BUSY,
        Misdeed.UNKNOWN_DONE, Misdeed.UNKNOWN_NOT_DONE, Misdeed.THROTTLED, Misdeed.TRUNCATED, Misdeed.HTML,
        Misdeed.EMPTY_BODY, Misdeed.EMPTY_OBJECT, Misdeed.NOT_FOUND, Misdeed.FORGOTTEN, Misdeed.OLDER_STATE,
    ],
)  # fmt: skip
def test_a_misdeed_is_told_the_same_both_ways(kind: Misdeed) -> None:
    compare((Fault(kind, delay_ms=3_600_000 if kind is Misdeed.OLDER_STATE else 0),))
