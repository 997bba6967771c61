"""What a reading proves: a list that names a symbol proves no absence there, and memory goes by our own clock."""

from tests.unit.builders import RULES, T0, book, fill, fills, order, orders, position, positions
from tests.unit.core_world import World

from fleetsync.book import Announcement
from fleetsync.messages import Answer, Call
from fleetsync.model import Surface
from fleetsync.reconcile import reconcile


def test_a_book_that_a_fill_has_emptied_may_still_hide_orders_until_a_list_leaves_its_symbol_out() -> None:
    known = reconcile(book(position(at_ms=500)), [positions(1_000, position("0", at_ms=0))], (), RULES, T0).book
    seen = [fills(1_200, fill("f1", at_ms=900), since_ms=500)]
    emptied = reconcile(known, seen, (Announcement("closed", 1),), RULES, T0).book
    assert emptied.positions == ()
    assert emptied.hides_orders
    assert not emptied.is_quiet, "or the list that named it would count as proof that no order rests"
    assert reconcile(emptied, [orders(1_300)], (), RULES, T0).book.is_quiet
    assert reconcile(emptied, [positions(1_300)], (), RULES, T0).book.is_quiet


def test_a_list_that_names_a_symbol_for_its_position_asks_for_no_orders_beside_it() -> None:
    held = reconcile(book(position()), [positions(1_000, position())], (), RULES, T0).book
    assert held.hinted
    assert not held.hides_orders
    assert not reconcile(book(order()), [positions(1_000, position("0", at_ms=0))], (), RULES, T0).book.hides_orders


def test_when_something_was_told_is_dated_by_our_clock_and_kept_while_nothing_is() -> None:
    told = reconcile(book(), [positions(1_000, position())], (), RULES, T0).book
    assert told.told_at_ms == T0
    assert reconcile(told, [positions(1_500, position())], (), RULES, T0 + 5_000).book.told_at_ms == T0


def test_an_order_that_its_list_left_out_once_is_found_because_the_positions_go_on_naming_its_symbol() -> None:
    world, last, lies = World(), dict[Call, object](), [True]
    truth = world.account()
    world.robot("r0")

    def answered(account: str, call: Call, now_ms: int) -> Answer:
        """As a worker does: rows only where they are news, or wanted."""
        rows = () if call.surface is Surface.ORDERS and truth.orders and lies and lies.pop() else truth.rows_of(call)
        same, last[call] = last.get(call) == rows, rows
        return Answer(call, now_ms, complete=True, rows=None if same and not world.sent[-1].dispatch.full else rows)

    world.answer = answered
    world.run(40_000)
    truth.positions.append(position("0", at_ms=0))
    truth.orders.append(order())
    world.event("r0")
    world.run(70_000)
    assert not lies
    book = world.core.fleet.book(world.core.fleet.state_of(0), "BTC/USDT:USDT")
    assert [row.id for row in book.orders] == [order().id]
