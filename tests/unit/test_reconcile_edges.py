"""The edges of the rules of `reconcile`: one instant, one reading or one unit to either side of each."""

import pytest
from tests.unit.builders import (
    RULES,
    SYMBOL,
    T0,
    book,
    conditionals,
    fill,
    fills,
    kinds,
    lookup,
    not_found,
    order,
    orders,
    position,
    positions,
)

from fleetsync.book import Book, Question, Reconciled, Sight, merged
from fleetsync.messages import Call
from fleetsync.model import Surface
from fleetsync.reconcile import reconcile

LATER = RULES.visibility_grace_ms + 1_000


def _see(known: Book, *sights: Sight, now_ms: int = T0) -> Reconciled:
    return reconcile(known, sights, (), RULES, now_ms)


def test_a_close_without_readable_fills_takes_three_readings_and_not_two() -> None:
    known, reads = book(position()), list[int]()
    for as_of_ms in (1000, 1300, 1600, 1900, 2200, 2500):
        result = _see(known, positions(as_of_ms))
        reads += [finding.evidence["reads"] for finding in result.findings]
        assert [doubt.proven for doubt in result.book.doubts] in ([""], ["positions"], [])
        assert as_of_ms >= 1600 or not result.book.doubts[0].proven
        known = result.book
    assert len(reads) == 1


def test_a_list_from_before_the_doubt_that_comes_late_does_not_set_it_back() -> None:
    known = _see(book(position()), positions(1000)).book
    known = _see(known, positions(1300)).book
    (doubt,) = _see(known, positions(900, position())).book.doubts
    assert (doubt.first_at_ms, doubt.reads) == (1000, 2)


def test_a_row_of_the_very_instant_of_a_proven_end_is_from_before_it() -> None:
    known = _see(book(position()), positions(1000, position("0", at_ms=700))).book
    assert _see(known, positions(1300, position("2", at_ms=700))).findings == ()
    assert kinds(_see(known, positions(1300, position("2", at_ms=701))).findings) == [
        "position_closed", "position_opened"]


def test_after_a_close_a_row_from_between_its_last_move_and_its_end_opens_nothing() -> None:
    known = _see(book(position()), positions(1000), fills(1001, fill("1", at_ms=900, order_id="8"), since_ms=500),
                 lookup(1002, order("8", status="closed", side="sell"))).book
    assert (known.positions, known.closed[0].updated_at_ms) == ((), 900)
    assert _see(known, positions(1300, position("0.5", at_ms=899))).findings == ()


def test_an_older_row_counts_as_a_sight_of_the_position_all_the_same() -> None:
    known = _see(book(position("2", at_ms=700)), positions(1000)).book
    known = _see(known, positions(1300)).book
    known = _see(known, positions(1600, position("2", at_ms=600))).book
    assert [doubt.reads for doubt in known.doubts] == [0]


def test_a_late_list_neither_doubts_an_order_nor_opens_one() -> None:
    known = book(order(), read_at_ms=2000)
    result = _see(known, orders(1000, order("8")), conditionals(1000))
    assert (result.findings, result.book.doubts, result.book.orders) == ((), (), known.orders)


def test_an_order_beyond_the_retention_ends_after_two_lists_and_not_after_one() -> None:
    as_of_ms = RULES.order_retention_ms + LATER
    known = _see(book(order()), orders(as_of_ms)).book
    result = _see(known, not_found(as_of_ms + 1), fills(as_of_ms + 2, since_ms=400))
    assert (result.findings, result.book.doubts[0].fills_read) == ((), True)
    assert kinds(_see(result.book, orders(as_of_ms + 300)).findings) == ["order_ended"]


def test_fills_that_were_read_before_an_order_was_missed_do_not_count_as_read_since() -> None:
    known = _see(book(order()), fills(LATER - 1, since_ms=400), orders(LATER)).book
    assert not known.doubts[0].fills_read
    assert _see(known, fills(LATER, since_ms=400)).book.doubts[0].fills_read


def test_a_newer_open_row_with_less_filled_than_its_end_is_from_before_that_end() -> None:
    known = _see(book(order()), lookup(1001, order(status="canceled", filled="1", at_ms=900))).book
    assert _see(known, orders(1300, order(filled="0.5", at_ms=950))).findings == ()
    assert kinds(_see(known, orders(1300, order(filled="1", at_ms=950))).findings) == ["order_opened"]


def test_the_execution_that_made_a_position_is_not_one_that_closed_it() -> None:
    """On a one-way account a flip's execution is on the closing side of what it opened at the same instant."""
    made = fill("1", "1", side="sell", at_ms=500)
    known = _see(book(position()), positions(1000), fills(1001, made, since_ms=500)).book
    result = _see(known, positions(1300), fills(1301, made, since_ms=500))
    assert (result.findings, result.book.doubts[0].proven) == ((), "")


def test_what_was_added_on_the_way_has_to_be_closed_as_well() -> None:
    rows = [fill("1", "1", "buy", 600), fill("2", "1", "sell", 700), fill("3", "1", "sell", 800, order_id="8")]
    sights = [positions(1000), fills(1001, *rows, since_ms=500), lookup(1002, order("8", status="closed"))]
    (closed,) = _see(book(position()), *sights).findings
    assert closed.evidence["trades"] == ["2", "3"]
    assert closed.exchange_at_ms == 800


@pytest.mark.parametrize("known", [book(position()), book(order()), book(hinted=True)], ids=str)
def test_a_book_with_something_in_it_is_not_quiet(known: Book) -> None:
    assert book().is_quiet
    assert not known.is_quiet


def test_a_book_with_a_doubt_left_is_not_quiet() -> None:
    doubted = _see(book(position()), positions(1000)).book
    assert not book(doubts=doubted.doubts).is_quiet


@pytest.mark.parametrize("backwards", [False, True])
def test_questions_for_the_same_fills_become_one_from_the_earliest_start_at_the_earliest_instant(
        backwards: bool) -> None:
    early, late = (Question(Call(Surface.FILLS, SYMBOL, since_ms=since_ms), at_ms)
                   for since_ms, at_ms in ((1, 20), (2, 10)))
    asked = merged((late, early) if backwards else (early, late))
    assert asked == (Question(Call(Surface.FILLS, SYMBOL, since_ms=1), 10),)


def test_a_late_list_that_shows_a_position_takes_back_what_lists_without_it_said() -> None:
    held = position(at_ms=500)
    known = book(held)
    for at_ms, rows in ((100_000, ()), (102_000, ()), (101_000, (held,)), (104_000, ())):
        result = reconcile(known, [positions(at_ms, *rows)], [], RULES, at_ms + 100)
        known = result.book
        assert result.findings == ()
    (doubt,) = known.doubts
    assert (doubt.reads, doubt.proven) == (2, "")
