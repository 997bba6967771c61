from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetsync_adapters.paper.markets import Markets
from fleetsync_adapters.paper.prices import STEP_MS, PricePath, Watch

START_MS = 1_790_000_000_000


def test_the_same_seed_gives_the_same_markets_and_prices_in_any_order_of_asking() -> None:
    one, other = Markets(7, 50), Markets(7, 50)
    instants = [START_MS + minute * 60_000 for minute in range(20)]
    forwards = [[market.price(at_ms) for at_ms in instants] for market in one.all]
    backwards = [[market.price(at_ms) for at_ms in reversed(instants)][::-1] for market in other.all]
    assert forwards == backwards
    assert [market.id for market in one.all] == [market.id for market in other.all]


def test_another_seed_gives_other_prices() -> None:
    assert Markets(1, 3).all[0].price(START_MS) != Markets(2, 3).all[0].price(START_MS)


def test_six_hundred_markets_have_their_own_names_and_look_like_the_exchanges() -> None:
    markets = Markets(1)
    assert len(markets.by_id) == len(markets.by_symbol) == 600
    assert markets.by_symbol["BTC/USDT:USDT"].id == "BTCUSDT"


def test_prices_lie_on_a_tick_and_stay_within_reach_of_the_start() -> None:
    for market in Markets(3, 100).all:
        prices = [market.price(START_MS + hour * 3_600_000) for hour in range(200)]
        assert all(price % market.tick == 0 and price > 0 for price in prices)
        assert max(prices) < 2 * min(prices)
        assert len(set(prices)) > 150


def test_a_price_stands_still_within_a_step_and_moves_between_steps() -> None:
    path = PricePath(5, 1_000_000, 1000)
    at_ms = START_MS - START_MS % STEP_MS
    assert path.ticks(at_ms) == path.ticks(at_ms + STEP_MS - 1)
    assert len({path.ticks(at_ms + step * STEP_MS) for step in range(50)}) > 10


def test_the_smallest_size_is_on_a_lot_and_worth_enough() -> None:
    for market in Markets(3, 60).all:
        size = market.smallest_size(START_MS, Decimal(5))
        assert size % market.lot == 0
        assert size * market.price(START_MS) >= 5
        assert (size - market.lot) * market.price(START_MS) < 5


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    after_ms=st.integers(0, 10**8),
    millionths=st.integers(-3000, 3000),
    falling=st.booleans(),
)
def test_the_first_crossing_is_the_one_that_looking_at_every_step_finds(
    seed: int, after_ms: int, millionths: int, falling: bool
) -> None:
    path = PricePath(seed, 500_000, 1000)
    from_ms = START_MS + after_ms
    until_ms = from_ms + 90_000
    level = path.ticks(from_ms) * (1_000_000 + millionths) // 1_000_000
    steps = range(-(-from_ms // STEP_MS) * STEP_MS, until_ms + 1, STEP_MS)
    hits = (at for at in steps if (path.ticks(at) <= level if falling else path.ticks(at) >= level))
    assert path.first_crossing(level, falling=falling, from_ms=from_ms, until_ms=until_ms) == next(hits, None)


@pytest.mark.parametrize("pace_ms", [100, 700, 61_000])
def test_a_watch_finds_the_same_hit_whether_it_looks_often_or_seldom(pace_ms: int) -> None:
    path = PricePath(11, 500_000, 1000)
    level = path.ticks(START_MS) * 1_004 // 1_000
    due = path.first_crossing(level, falling=False, from_ms=START_MS + 1, until_ms=START_MS + 86_400_000)
    assert due is not None
    watch = Watch(path, level, falling=False, searched_until_ms=START_MS)
    at_ms = START_MS
    while watch.search(at_ms) is None:
        assert at_ms < due
        at_ms += pace_ms
    assert watch.search(at_ms) == due


def test_a_watch_that_starts_again_counts_only_later_prices() -> None:
    path = PricePath(11, 500_000, 1000)
    level = path.ticks(START_MS)
    watch = Watch(path, level, falling=True, searched_until_ms=START_MS - 1)
    first = watch.search(START_MS + 3_600_000)
    assert first is not None
    watch.restart(first)
    second = watch.search(START_MS + 3_600_000)
    assert second is not None
    assert second > first
