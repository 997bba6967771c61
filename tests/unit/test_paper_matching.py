"""The paper exchange's books: what orders do to positions and balances."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.paper_books import HOUR_MS, START_MS, off, opened

from fleetsync_adapters.paper.books import BookOrder, BookRules
from fleetsync_adapters.paper.orders import Ticket
from fleetsync_adapters.paper.refusals import Refusal
from fleetsync_adapters.paper.venue import Venue

NO_FEES = BookRules(taker_fee=Decimal(0), maker_fee=Decimal(0), in_parts=False)


def order(venue: Venue, side: str, size: str, *, at_ms: int = START_MS, **more: Any) -> BookOrder:
    market = more.pop("market", venue.markets.all[0])
    ticket = Ticket(market=market, side=side, type=more.pop("type", "MARKET"), size=Decimal(size), **more)
    return venue.orders.place(venue.books.accounts[0], ticket, at_ms)


def code_of(act: Callable[[], object]) -> int:
    with pytest.raises(Refusal) as caught:
        act()
    return caught.value.code


def test_a_market_order_fills_at_once_at_the_price_of_its_instant() -> None:
    venue, account, market = opened()
    placed = order(venue, "BUY", "0.01")
    assert (placed.status, placed.filled) == ("FILLED", Decimal("0.01"))
    assert account.positions[market.id].entry == market.price(START_MS)
    assert account.fills[market.id][0].fee == (market.price(START_MS) * Decimal("0.01") * Decimal("0.0005"))


def test_adding_averages_the_entry_and_closing_realises_the_difference() -> None:
    venue, account, market = opened(NO_FEES)
    later_ms, last_ms = START_MS + HOUR_MS, START_MS + 2 * HOUR_MS
    first, second, third = (market.price(at_ms) for at_ms in (START_MS, later_ms, last_ms))
    order(venue, "BUY", "0.02")
    order(venue, "BUY", "0.02", at_ms=later_ms)
    average = (first + second) / 2
    assert account.positions[market.id].entry == average
    order(venue, "SELL", "0.04", at_ms=last_ms)
    assert market.id not in account.positions
    assert account.balance == account.deposited + (third - average) * Decimal("0.04")


def test_a_sale_larger_than_the_position_flips_it_at_the_new_price() -> None:
    venue, account, market = opened(NO_FEES)
    later_ms = START_MS + HOUR_MS
    order(venue, "BUY", "0.01")
    order(venue, "SELL", "0.03", at_ms=later_ms)
    position = account.positions[market.id]
    assert (position.size, position.entry) == (Decimal("-0.02"), market.price(later_ms))
    gain = (market.price(later_ms) - market.price(START_MS)) * Decimal("0.01")
    assert account.balance == account.deposited + gain


def test_a_limit_order_rests_until_the_price_is_there_and_fills_at_its_own_price() -> None:
    venue, account, market = opened(NO_FEES)
    price = off(market, -400)
    placed = order(venue, "BUY", "0.01", type="LIMIT", price=price)
    due_ms = market.path.first_crossing(
        market.ticks(price), falling=True, from_ms=START_MS + 1, until_ms=START_MS + 24 * HOUR_MS
    )
    assert due_ms is not None
    venue.matching.touch(account, due_ms - 1)
    assert placed.status == "NEW"
    venue.matching.touch(account, due_ms)
    assert (placed.status, placed.ended_at_ms) == ("FILLED", due_ms)
    assert account.positions[market.id].entry == price
    assert account.fills[market.id][0].maker


def test_limit_orders_fill_in_parts_that_add_up() -> None:
    venue, account, market = opened(BookRules())
    shares = []
    for number in range(12):
        placed = order(venue, "BUY", "0.05", type="LIMIT", price=off(market, -100), client_id=f"c{number}")
        venue.matching.touch(account, START_MS + 24 * HOUR_MS)
        assert placed.status == "FILLED"
        shares.append([fill.size for fill in account.fills[market.id] if fill.order_id == placed.id])
    assert all(sum(parts) == Decimal("0.05") for parts in shares)
    assert max(len(parts) for parts in shares) > 1
    assert min(len(parts) for parts in shares) == 1


def test_an_order_that_crosses_at_once_is_a_taker_and_gets_the_better_price() -> None:
    venue, account, market = opened()
    placed = order(venue, "BUY", "0.01", type="LIMIT", price=off(market, 5000))
    assert placed.status == "FILLED"
    assert not account.fills[market.id][0].maker
    assert account.positions[market.id].entry == market.price(START_MS)


def test_a_post_only_order_that_crosses_is_refused_and_an_ioc_that_does_not_expires() -> None:
    venue, _, market = opened()
    above = off(market, 900)
    assert code_of(lambda: order(venue, "BUY", "0.01", type="LIMIT", price=above, time_in_force="GTX")) == -5022
    missed = order(venue, "BUY", "0.01", type="LIMIT", price=off(market, -900), time_in_force="IOC")
    assert (missed.status, missed.filled) == ("EXPIRED", Decimal(0))


def test_reduce_only_without_a_position_is_refused_and_a_larger_one_is_cut() -> None:
    venue, account, market = opened()
    assert code_of(lambda: order(venue, "SELL", "0.01", reduce_only=True)) == -2022
    order(venue, "BUY", "0.01")
    assert code_of(lambda: order(venue, "BUY", "0.01", reduce_only=True)) == -2022
    closing = order(venue, "SELL", "0.07", reduce_only=True)
    assert (closing.size, closing.status) == (Decimal("0.01"), "FILLED")
    assert market.id not in account.positions


def test_a_resting_reduce_only_order_shrinks_with_the_position_and_ends_with_it() -> None:
    venue, account, market = opened()
    order(venue, "BUY", "0.04")
    resting = order(venue, "SELL", "0.04", type="LIMIT", price=off(market, 90_000), reduce_only=True)
    order(venue, "SELL", "0.01", at_ms=START_MS + 1)
    assert (resting.size, resting.updated_at_ms, resting.status) == (Decimal("0.03"), START_MS + 1, "NEW")
    order(venue, "SELL", "0.03", at_ms=START_MS + 2)
    assert (resting.status, resting.ended_at_ms) == ("EXPIRED", START_MS + 2)
    assert account.resting == {}


def test_a_client_id_is_unique_among_open_orders_only() -> None:
    venue, account, market = opened()
    first = order(venue, "BUY", "0.01", type="LIMIT", price=off(market, -90_000), client_id="mine")
    assert code_of(lambda: order(venue, "BUY", "0.01", client_id="mine")) == -4116
    venue.orders.cancel(account, first, START_MS + 1)
    again = order(venue, "BUY", "0.01", client_id="mine", at_ms=START_MS + 2)
    assert account.by_client_id["mine"] == again.id


def test_cancelling_keeps_what_is_filled_and_an_ended_order_cannot_be_cancelled() -> None:
    venue, account, market = opened(BookRules())
    for number in range(40):
        placed = order(venue, "BUY", "0.05", type="LIMIT", price=off(market, -60), client_id=f"c{number}")
        at_ms = START_MS
        while placed.status == "NEW":
            at_ms += 100
            venue.matching.touch(account, at_ms)
        if placed.status == "PARTIALLY_FILLED":
            break
    venue.orders.cancel(account, placed, at_ms)
    assert placed.status == "CANCELED"
    assert 0 < placed.filled < placed.size
    assert code_of(lambda: venue.orders.cancel(account, placed, at_ms)) == -2011


@pytest.mark.parametrize(
    ("ticket", "code"),
    [
        ({"size": "0"}, -4003),
        ({"size": "0.00001"}, -1111),
        ({"size": "0.01", "side": "UP"}, -1117),
        ({"size": "0.01", "type": "LIMIT", "price": Decimal("60000.001")}, -4014),
        ({"size": "0.01", "type": "LIMIT"}, -1102),
        ({"size": "0.01", "type": "STOP_MARKET"}, -4120),
        ({"size": "0.01", "type": "ODD"}, -1116),
        ({"size": "0.01", "client_id": "x" * 37}, -4015),
        ({"size": "0.01", "time_in_force": "SOON"}, -1115),
        ({"size": "0.0001", "type": "LIMIT", "price": Decimal(100)}, -4164),
        ({"size": "900"}, -2019),
    ],
)
def test_a_bad_order_is_refused_with_the_exchanges_code_and_changes_nothing(ticket: dict[str, Any], code: int) -> None:
    venue, account, _ = opened()
    side, size = ticket.pop("side", "BUY"), ticket.pop("size")
    assert code_of(lambda: order(venue, side, size, **ticket)) == code
    assert (account.version, account.orders, account.balance) == (0, {}, account.deposited)


def test_a_stop_becomes_a_market_order_when_its_trigger_is_reached() -> None:
    venue, account, market = opened(NO_FEES)
    order(venue, "BUY", "0.02")
    ticket = Ticket(market=market, side="SELL", type="STOP_MARKET", size=Decimal("0.02"), trigger=off(market, -300),
                    reduce_only=True, client_id="stop")
    trigger = venue.orders.place_trigger(account, ticket, START_MS)
    due_ms = market.path.first_crossing(
        market.ticks(trigger.trigger), falling=True, from_ms=START_MS + 1, until_ms=START_MS + 24 * HOUR_MS
    )
    assert due_ms is not None
    venue.matching.touch(account, due_ms)
    assert (trigger.status, trigger.ended_at_ms) == ("FINISHED", due_ms)
    became = account.orders[trigger.order_id]
    assert (became.type, became.client_id, became.status, became.created_at_ms) == ("MARKET", "stop", "FILLED", due_ms)
    assert market.id not in account.positions


def test_a_reducing_stop_without_a_position_expires_and_one_beyond_the_price_is_refused() -> None:
    venue, account, market = opened()
    ticket = Ticket(market=market, side="SELL", type="STOP_MARKET", trigger=off(market, -300), close_position=True)
    trigger = venue.orders.place_trigger(account, ticket, START_MS)
    venue.matching.touch(account, START_MS + 24 * HOUR_MS)
    assert (trigger.status, trigger.order_id) == ("EXPIRED", 0)
    above = Ticket(market=market, side="SELL", type="STOP_MARKET", size=Decimal("0.01"), trigger=off(market, 500))
    assert code_of(lambda: venue.orders.place_trigger(account, above, START_MS)) == -2021


def test_liquidation_cancels_the_symbols_orders_and_closes_under_the_exchanges_own_client_id() -> None:
    venue, account, market = opened()
    order(venue, "SELL", "0.02")
    resting = order(venue, "BUY", "0.01", type="LIMIT", price=off(market, -90_000))
    forced = venue.orders.liquidate(account, market, START_MS + 5)
    assert forced.client_id.startswith("autoclose-")
    assert (forced.side, forced.status, resting.status) == ("BUY", "FILLED", "CANCELED")
    assert account.positions == {}


def test_closing_by_hand_uses_the_web_pages_client_id() -> None:
    venue, account, market = opened()
    assert venue.close_by_hand(account, market, START_MS) is None
    order(venue, "SELL", "0.02")
    closed = venue.close_by_hand(account, market, START_MS + 1)
    assert closed is not None
    assert closed.client_id.startswith("web_")
    assert account.positions == {}


def test_an_unfilled_order_is_forgotten_after_three_days_and_a_filled_one_after_ninety() -> None:
    venue, account, market = opened()
    day_ms = 24 * HOUR_MS
    filled = order(venue, "BUY", "0.01")
    unfilled = order(venue, "BUY", "0.01", type="LIMIT", price=off(market, -90_000))
    resting = order(venue, "BUY", "0.01", type="LIMIT", price=off(market, -95_000))
    venue.orders.cancel(account, unfilled, START_MS)
    remembers = venue.books.remembers
    assert remembers(unfilled, START_MS + 3 * day_ms)
    assert not remembers(unfilled, START_MS + 3 * day_ms + 1)
    assert remembers(filled, START_MS + 90 * day_ms)
    assert not remembers(filled, START_MS + 90 * day_ms + 1)
    assert remembers(resting, START_MS + 1000 * day_ms)


def test_forgotten_orders_leave_memory() -> None:
    venue, account, market = opened()
    for number in range(300):
        at_ms = START_MS + number * HOUR_MS
        placed = order(venue, "BUY", "0.01", type="LIMIT", price=off(market, -95_000, at_ms), at_ms=at_ms)
        venue.orders.cancel(account, placed, at_ms)
    assert len(account.orders) < 200
    assert set(account.by_client_id.values()) == set(account.orders)
