"""A filled part that one wrong answer made too large: taken back by what later lists insist on, and no less."""

from tests.unit.builders import RULES, T0, book, kinds, lookup, order, orders

from fleetsync.book import Book, Reconciled, Sight
from fleetsync.model import Certainty, Surface
from fleetsync.reconcile import reconcile


def _see(known: Book, *sights: Sight) -> Reconciled:
    return reconcile(known, sights, (), RULES, T0)


def test_a_smaller_filled_part_that_every_list_insists_on_is_believed_after_the_grace_and_not_before() -> None:
    known = book(order(filled="0.9"))
    for as_of_ms in (1000, 2000, 3000, 999 + RULES.visibility_grace_ms):
        result = _see(known, orders(as_of_ms, order(filled="0.1")))
        assert result.findings == ()
        assert result.book.orders == known.orders
        assert result.book.certainty(Surface.ORDERS) is Certainty.DISPUTED
        known = result.book
    result = _see(known, orders(1000 + RULES.visibility_grace_ms, order(filled="0.1")))
    assert kinds(result.findings) == ["order_updated"]
    assert [one.filled for one in result.book.orders] == ["0.1"]
    assert result.book.doubts == ()


def test_a_smaller_filled_part_of_an_earlier_instant_is_an_old_row_however_often_it_is_shown() -> None:
    known = book(order(filled="0.9", at_ms=600))
    for as_of_ms in (1000, 2000, 3000, 1000 + RULES.visibility_grace_ms, 5000 + RULES.visibility_grace_ms):
        result = _see(known, orders(as_of_ms, order(filled="0.1", at_ms=500)))
        assert (result.findings, result.book.doubts) == ((), ())
        known = result.book


def test_a_contradiction_about_a_filled_part_is_over_when_a_list_agrees_again_or_the_order_ends() -> None:
    doubted = _see(book(order(filled="0.9")), orders(1000, order(filled="0.1"))).book
    assert _see(doubted, orders(1100, order(filled="0.9"))).book.doubts == ()
    assert _see(doubted, lookup(1100, order(filled="1", status="closed"))).book.doubts == ()
