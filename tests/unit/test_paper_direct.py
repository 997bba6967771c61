"""The engine's port on the books, without sockets; and what an older state of a surface looks like."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from fleetsync.clock import VirtualClock
from fleetsync.errors import ConfigError
from fleetsync.messages import Answer, Call, Request
from fleetsync.model import Account, Fault, Secret, Surface
from fleetsync.ports import ExchangeSpec
from fleetsync_adapters.paper.books import BookOrder
from fleetsync_adapters.paper.direct import PaperDirect
from fleetsync_adapters.paper.faults import Fault as Misbehaviour
from fleetsync_adapters.paper.faults import FaultOrder, FaultRates, Misdeed
from fleetsync_adapters.paper.lending import lend, open_direct, take_back
from fleetsync_adapters.paper.limits import LimitRules
from fleetsync_adapters.paper.orders import Ticket
from fleetsync_adapters.paper.venue import Venue, VenueRules

START_MS = 1_790_000_000_000
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
POSITIONS, ORDERS = Call(Surface.POSITIONS), Call(Surface.ORDERS)


class World:
    """A venue, a direct exchange for its first account, and a hand-driven clock."""

    def __init__(self, **rules: Any) -> None:
        self.venue = Venue(VenueRules(seed=3, accounts=2, markets=20, **rules))
        self.at_ms = START_MS
        self.slept: list[int] = []
        self.direct = PaperDirect(self.venue, now_ms=lambda: self.at_ms, sleep_ms=self.sleep)
        keys = self.venue.books.accounts[0].keys
        self.direct.load(self.at_ms)
        self.direct.add_account(Account("main", "binanceusdm", Secret(keys.api_key), Secret(keys.secret)))

    async def sleep(self, span_ms: int) -> None:
        self.slept.append(span_ms)

    def ask(self, call: Call, *, full: bool = False) -> Answer:
        self.at_ms += 10
        return self.direct.answer("main", call, self.at_ms, full=full)[1]

    def requests(self, call: Call) -> tuple[Request, ...]:
        return self.direct.answer("main", call, self.at_ms)[2]

    def order(self, side: str, size: str, *, symbol: str = BTC, off: int | None = None, **more: Any) -> BookOrder:
        self.at_ms += 10
        market = self.venue.markets.by_symbol[symbol]
        price = Decimal(0)
        if off is not None:
            price = (market.price(self.at_ms) * (1_000_000 + off) / 1_000_000).quantize(market.tick)
        ticket = Ticket(market=market, side=side, type="MARKET" if off is None else "LIMIT", size=Decimal(size),
                        price=price, **more)
        return self.venue.orders.place(self.venue.books.accounts[0], ticket, self.at_ms)

    def misbehave(self, kind: Misdeed, *, delay_ms: int = 0, rows: int = 1) -> None:
        self.venue.faults.order([FaultOrder(Misbehaviour(kind, delay_ms, rows))])


def test_positions_show_what_is_held_and_a_zero_row_for_symbols_with_orders_only() -> None:
    world = World()
    world.order("SELL", "0.02")
    world.order("BUY", "0.05", symbol=ETH, off=-90_000)
    rows = world.ask(POSITIONS).rows
    assert rows is not None
    assert [(row.symbol, row.side, row.size) for row in rows] == [(BTC, "short", "0.02"), (ETH, "long", "0")]


def test_an_equal_answer_carries_no_rows_unless_they_are_asked_for() -> None:
    world = World()
    assert world.ask(POSITIONS).rows == ()
    assert world.ask(POSITIONS).unchanged
    assert world.ask(POSITIONS, full=True).rows == ()
    world.order("BUY", "0.02")
    changed = world.ask(POSITIONS)
    assert changed.rows is not None
    assert len(changed.rows) == 1
    assert world.ask(POSITIONS).unchanged
    assert world.ask(ORDERS).rows == ()


def test_a_change_elsewhere_in_the_account_is_no_change_of_this_surface() -> None:
    world = World()
    world.ask(Call(Surface.ORDERS, BTC))
    world.order("BUY", "0.05", symbol=ETH, off=-90_000)
    assert world.ask(Call(Surface.ORDERS, BTC)).unchanged
    assert not world.ask(Call(Surface.ORDERS, ETH)).unchanged


def test_an_account_that_is_added_again_is_told_everything_again() -> None:
    world = World()
    world.ask(POSITIONS)
    keys = world.venue.books.accounts[0].keys
    world.direct.add_account(Account("main", "binanceusdm", Secret(keys.api_key), Secret(keys.secret)))
    assert world.ask(POSITIONS).rows == ()


def test_an_order_is_found_by_either_id_and_otherwise_not_found() -> None:
    world = World()
    placed = world.order("BUY", "0.01", client_id="mine")
    by_id = world.ask(Call(Surface.ORDER, BTC, order_id=str(placed.id)))
    by_client = world.ask(Call(Surface.ORDER, BTC, client_id="mine"))
    assert by_id.rows == by_client.rows
    assert by_id.rows is not None
    assert by_id.rows[0].status == "closed"  # type: ignore[union-attr]  # an order
    assert world.ask(Call(Surface.ORDER, BTC, order_id="1")).fault is Fault.NOT_FOUND
    assert world.requests(Call(Surface.ORDER, BTC, order_id="1"))[0].status == 400


def test_conditional_orders_are_a_surface_of_their_own() -> None:
    world = World()
    world.order("BUY", "0.02")
    account, market = world.venue.books.accounts[0], world.venue.markets.by_symbol[BTC]
    ticket = Ticket(market=market, side="SELL", type="STOP_MARKET", close_position=True,
                    trigger=(market.price(world.at_ms) / 2).quantize(market.tick))
    trigger = world.venue.orders.place_trigger(account, ticket, world.at_ms)
    listed = world.ask(Call(Surface.CONDITIONAL)).rows
    assert listed is not None
    assert [(row.id, row.conditional, row.reduce_only) for row in listed] == [(str(trigger.id), True, True)]  # type: ignore[union-attr]  # orders
    assert world.ask(ORDERS).rows == ()
    assert world.ask(Call(Surface.ORDER, BTC, order_id=str(trigger.id), conditional=True)).rows == listed


def test_fills_beyond_a_page_need_more_requests_or_are_partial() -> None:
    world = World(limits=LimitRules(unlimited=True))
    for number in range(1300):
        world.order("BUY" if number % 2 else "SELL", "0.001")
    part = world.ask(Call(Surface.FILLS, BTC, since_ms=START_MS))
    assert (part.complete, len(part.rows or ())) == (False, 1000)
    whole = world.ask(Call(Surface.FILLS, BTC, since_ms=START_MS, pages=3))
    assert (whole.complete, len(whole.rows or ())) == (True, 1300)
    assert len(world.requests(Call(Surface.FILLS, BTC, since_ms=START_MS, pages=3))) == 2


def test_limits_are_those_of_the_exchange_and_say_how_long_to_wait() -> None:
    world = World(limits=LimitRules(weight_per_minute=12, refusals_before_ban=1))
    assert world.ask(POSITIONS).fault is None
    assert world.ask(POSITIONS).fault is None
    refused = world.ask(POSITIONS)
    assert (refused.fault, refused.retry_after_ms % 1000) == (Fault.RATE_LIMITED, 0)
    assert refused.retry_after_ms > 0
    assert world.ask(POSITIONS).fault is Fault.BANNED
    summary = world.venue.ledger.summary()
    assert (summary["refused_429"], summary["refused_418"], summary["calls"]) == (1, 1, 5)


def test_wrong_keys_unknown_symbols_and_unserved_accounts_are_faults() -> None:
    world = World()
    world.direct.add_account(Account("thief", "binanceusdm", Secret("guess"), Secret("guess")))
    assert world.direct.answer("thief", POSITIONS, world.at_ms)[1].fault is Fault.AUTH
    assert world.ask(Call(Surface.ORDERS, "NO/USDT:USDT")).fault is Fault.BAD_SYMBOL
    world.direct.remove_account("main")
    assert world.ask(POSITIONS).fault is Fault.REFUSED


@pytest.mark.parametrize(
    ("kind", "fault", "status"),
    [
        (Misdeed.LOST_REQUEST, Fault.NETWORK, 0), (Misdeed.LOST_ANSWER, Fault.NETWORK, 0),
        (Misdeed.RESET, Fault.NETWORK, 0), (Misdeed.RESET_AFTER, Fault.NETWORK, 0),
        (Misdeed.SERVER_ERROR, Fault.DOWN, 502), (Misdeed.MAINTENANCE, Fault.DOWN, 503),
        (Misdeed.BUSY, Fault.DOWN, 503), (Misdeed.UNKNOWN_DONE, Fault.DOWN, 503),
        (Misdeed.UNKNOWN_NOT_DONE, Fault.DOWN, 503), (Misdeed.THROTTLED, Fault.RATE_LIMITED, 429),
        (Misdeed.BANNED, Fault.BANNED, 418), (Misdeed.TRUNCATED, Fault.MALFORMED, 200),
        (Misdeed.HTML, Fault.MALFORMED, 200), (Misdeed.EMPTY_BODY, Fault.MALFORMED, 200),
        (Misdeed.EMPTY_OBJECT, Fault.MALFORMED, 200),
    ],
)  # fmt: skip
def test_a_misdeed_becomes_the_fault_that_the_real_client_reports(kind: Misdeed, fault: Fault, status: int) -> None:
    world = World()
    world.misbehave(kind)
    _, answer, requests = world.direct.answer("main", POSITIONS, world.at_ms)
    assert (answer.fault, answer.rows, requests[0].status) == (fault, None, status)
    assert world.venue.ledger.rows()[-1].status == status


def test_a_skewed_clock_refuses_the_request_only_outside_the_receive_window() -> None:
    world = World()
    for skew_ms, fault in ((70_000, Fault.CLOCK), (-70_000, Fault.CLOCK), (500, None), (-500, None)):
        world.misbehave(Misdeed.CLOCK_SKEW, delay_ms=skew_ms)
        assert world.ask(POSITIONS).fault is fault


def test_lost_answers_take_the_whole_time_out_and_late_ones_their_delay() -> None:
    world = World(faults=FaultRates(latency_ms=(30, 30)))
    assert world.direct.answer("main", POSITIONS, world.at_ms)[0] == 30
    world.misbehave(Misdeed.LOST_ANSWER)
    assert world.direct.answer("main", POSITIONS, world.at_ms)[0] == 10_000
    world.misbehave(Misdeed.LATE_ANSWER, delay_ms=400)
    assert world.direct.answer("main", POSITIONS, world.at_ms)[0] == 430
    world.misbehave(Misdeed.LATE_ANSWER, delay_ms=60_000)
    latency_ms, answer, _ = world.direct.answer("main", POSITIONS, world.at_ms)
    assert (latency_ms, answer.fault) == (10_000, Fault.NETWORK)


def test_an_empty_list_looks_whole_and_the_truth_after_it_is_told_again() -> None:
    world = World()
    world.order("BUY", "0.02")
    before = world.ask(POSITIONS).rows
    world.misbehave(Misdeed.EMPTY_LIST)
    empty = world.ask(POSITIONS)
    assert (empty.rows, empty.complete, empty.fault) == ((), True, None)
    assert world.ask(POSITIONS).rows == before


def test_a_short_page_is_partial() -> None:
    world = World()
    for symbol in (BTC, ETH):
        world.order("BUY", "0.05", symbol=symbol, off=-90_000)
    world.misbehave(Misdeed.SHORT_PAGE)
    answer = world.ask(ORDERS)
    assert (answer.complete, len(answer.rows or ())) == (False, 1)


def test_an_old_answer_is_repeated_as_it_was_when_the_question_was_last_asked() -> None:
    world = World()
    world.misbehave(Misdeed.REPEATED)
    world.venue.faults.orders[0].endpoint = "openOrders"
    assert world.ask(POSITIONS).rows == ()
    world.venue.faults.orders[0].endpoint = "positionRisk"
    world.order("BUY", "0.02")
    assert world.ask(POSITIONS).unchanged
    assert len(world.ask(POSITIONS).rows or ()) == 1


def test_an_order_just_placed_is_not_found_and_an_ended_one_is_forgotten_when_told_so() -> None:
    world = World()
    resting = world.order("BUY", "0.01", off=-90_000)
    ended = world.order("BUY", "0.01")
    for kind, placed, fault in (
        (Misdeed.NOT_FOUND, resting, Fault.NOT_FOUND),
        (Misdeed.FORGOTTEN, resting, None),
        (Misdeed.FORGOTTEN, ended, Fault.NOT_FOUND),
    ):
        world.misbehave(kind)
        assert world.ask(Call(Surface.ORDER, BTC, order_id=str(placed.id))).fault is fault


def test_an_older_state_is_exactly_what_the_surface_showed_then() -> None:
    world = World(limits=LimitRules(unlimited=True))
    calls = (POSITIONS, ORDERS, Call(Surface.CONDITIONAL), Call(Surface.FILLS, BTC, since_ms=START_MS))
    shown: list[tuple[int, list[Any]]] = []
    steps: tuple[Callable[[], object], ...] = (
        lambda: world.order("BUY", "0.02"),
        lambda: world.order("SELL", "0.01", off=300),
        lambda: world.order("BUY", "0.3", symbol=ETH, off=-250),
        lambda: world.order("SELL", "0.05"),
        lambda: world.venue.close_by_hand(
            world.venue.books.accounts[0], world.venue.markets.by_symbol[BTC], world.at_ms + 10
        ),
    )

    def look(call: Call) -> Any:
        return world.direct.answer("main", call, world.at_ms, full=True)[1].rows

    for step in steps:
        step()
        for _ in range(6):
            world.at_ms += 40_000
            shown.append((world.at_ms, [look(call) for call in calls]))
    for then_ms, rows in shown:
        for call, row in zip(calls, rows, strict=True):
            world.misbehave(Misdeed.OLDER_STATE, delay_ms=world.at_ms - then_ms)
            assert look(call) == row
    assert len({str(rows) for _, rows in shown}) > len(steps)


def test_a_lent_venue_is_opened_by_its_name_and_waits_in_the_given_time() -> None:
    world = World(faults=FaultRates(latency_ms=(25, 25)))
    lend("test", world.venue, now_ms=lambda: world.at_ms, sleep_ms=world.sleep)
    spec = ExchangeSpec("binanceusdm", egress="e1", options={"venue": "test"})
    exchange = open_direct(spec, VirtualClock())
    keys = world.venue.books.accounts[1].keys
    exchange.add_account(Account("other", "binanceusdm", Secret(keys.api_key), Secret(keys.secret)))

    async def drive() -> Answer:
        assert not exchange.lists(BTC)
        answer, requests = await exchange.open()
        assert (answer.complete, requests[0].endpoint) == (True, "GET /fapi/v1/exchangeInfo")
        assert exchange.lists(BTC)
        asked, _ = await exchange.ask("other", POSITIONS, full=False)
        await exchange.close()
        return asked

    assert asyncio.run(drive()).rows == ()
    assert world.slept == [25, 25]
    assert world.venue.ledger.summary("e1")["calls"] == 2
    take_back("test")
    with pytest.raises(ConfigError, match="'test'"):
        open_direct(spec, VirtualClock())
