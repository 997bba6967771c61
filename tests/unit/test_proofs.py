"""What a reading proves: a list that names a symbol proves no absence there, and memory goes by our own clock."""

from tests.unit.builders import RULES, T0, book, fill, fills, order, orders, position, positions

from fleetsync.book import Announcement
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
