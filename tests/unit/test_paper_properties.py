"""Whatever happens to the paper exchange's books, and however often they are looked at."""

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.paper_books import HOUR_MS, START_MS, off, opened

from fleetsync_adapters.paper.books import BookAccount, BookRules
from fleetsync_adapters.paper.markets import Market
from fleetsync_adapters.paper.orders import Ticket
from fleetsync_adapters.paper.refusals import Refusal
from fleetsync_adapters.paper.venue import Venue

_COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(["market", "limit", "reduce", "stop", "cancel", "close"]),
        st.sampled_from(["BUY", "SELL"]),
        st.integers(1, 40),  # size in lots of 0.001
        st.integers(-1500, 1500),  # price off the present one, in millionths
        st.integers(0, 300_000),  # time since the last command
        st.integers(0, 2),  # market
    ),
    min_size=1, max_size=25,
)


def play(venue: Venue, commands: list[tuple[str, str, int, int, int, int]], peek_ms: int) -> BookAccount:
    """Run the commands; look at the books every `peek_ms` in between (0: never)."""
    account = venue.books.accounts[0]
    at_ms = START_MS
    for kind, side, lots, millionths, wait_ms, where in commands:
        then_ms = at_ms + wait_ms
        while peek_ms and at_ms + peek_ms < then_ms:
            at_ms += peek_ms
            venue.matching.touch(account, at_ms)
        at_ms = then_ms
        market = venue.markets.all[where]
        try:
            command(venue, account, market, kind, side, lots, millionths, at_ms)
        except Refusal:
            continue
    venue.matching.touch(account, at_ms + HOUR_MS)
    return account


def command(
    venue: Venue, account: BookAccount, market: Market, kind: str, side: str, lots: int, millionths: int, at_ms: int
) -> None:
    size = market.smallest_size(at_ms, Decimal(lots * 20))
    price = off(market, millionths, at_ms)
    if kind == "cancel":
        venue.matching.touch(account, at_ms)  # else who is chosen would depend on the last look
        resting = list(account.resting.values())
        venue.orders.cancel(account, resting[lots % len(resting)] if resting else None, at_ms)
    elif kind == "close":
        venue.close_by_hand(account, market, at_ms)
    elif kind == "stop":
        ticket = Ticket(market=market, side=side, type="STOP_MARKET", size=size, trigger=price,
                        reduce_only=lots % 2 == 0)
        venue.orders.place_trigger(account, ticket, at_ms)
    else:
        ticket = Ticket(market=market, side=side, type="MARKET" if kind == "market" else "LIMIT", size=size,
                        price=Decimal(0) if kind == "market" else price, reduce_only=kind == "reduce")
        venue.orders.place(account, ticket, at_ms)


@settings(max_examples=60, deadline=None)
@given(commands=_COMMANDS, seed=st.integers(0, 50))
def test_positions_are_the_sum_of_fills_and_the_balance_adds_up_exactly(
    commands: list[tuple[str, str, int, int, int, int]], seed: int
) -> None:
    venue, account, _ = opened(BookRules(), seed)
    play(venue, commands, 0)
    fills = [fill for each in account.fills.values() for fill in each]
    for market in venue.markets.all:
        signed = sum((fill.size if fill.side == "BUY" else -fill.size) for fill in fills if fill.market is market)
        position = account.positions.get(market.id)
        assert (position.size if position else 0) == signed
    for placed in account.orders.values():
        mine = [fill for fill in fills if fill.order_id == placed.id]
        assert placed.filled == sum(fill.size for fill in mine)
        assert placed.quote == sum(fill.size * fill.price for fill in mine)
        assert 0 <= placed.filled <= placed.size
        assert placed.is_open == (placed.id in account.resting)
    assert account.balance == account.deposited + sum(fill.profit - fill.fee for fill in fills)
    assert [fill.at_ms for fill in fills if fill.market is fills[0].market] == sorted(
        fill.at_ms for fill in fills if fill.market is fills[0].market
    )


@settings(max_examples=60, deadline=None)
@given(commands=_COMMANDS, seed=st.integers(0, 50), peek_ms=st.sampled_from([100, 7_321, 60_000]))
def test_how_often_the_books_are_looked_at_changes_nothing_in_them(
    commands: list[tuple[str, str, int, int, int, int]], seed: int, peek_ms: int
) -> None:
    seldom = play(opened(BookRules(), seed)[0], commands, 0)
    often = play(opened(BookRules(), seed)[0], commands, peek_ms)
    assert facts(seldom) == facts(often)


def facts(account: BookAccount) -> Any:
    return (
        account.balance,
        {name: (one.size, one.entry, one.updated_at_ms) for name, one in account.positions.items()},
        [(one.id, one.status, one.size, one.filled, one.ended_at_ms) for one in account.orders.values()],
        [(one.id, one.status, one.ended_at_ms, one.order_id) for one in account.triggers.values()],
        {name: [(f.order_id, f.price, f.size, f.at_ms) for f in each] for name, each in account.fills.items()},
    )
