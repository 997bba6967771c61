"""Sides of a position: flips, hedged accounts, and rows of size zero."""

import pytest
from tests.unit.builders import RULES, T0, book, fill, fills, kinds, lookup, order, orders, position, positions

from fleetsync.book import Book, Reconciled, Sight
from fleetsync.reconcile import reconcile


def _see(known: Book, *sights: Sight, now_ms: int = T0) -> Reconciled:
    return reconcile(known, sights, (), RULES, now_ms)


def _close(known: Book, *readings: Sight) -> list[str]:
    """What is found by readings one after the other, until the questions for the cause have had their turn."""
    found: list[str] = []
    for reading in readings:
        result = _see(known, reading)
        known = result.book
        found += kinds(result.findings)
    return found


def test_the_close_of_one_hedged_side_does_not_hide_the_older_row_of_the_other() -> None:
    known = book(position(hedged=True))
    for as_of_ms in (1000, 1300, 1600, 1900):
        known = _see(known, positions(as_of_ms)).book
    short = position(side="short", at_ms=450, hedged=True)
    assert kinds(_see(known, positions(2200, short)).findings) == ["position_opened"]


def test_a_position_of_the_other_side_is_a_flip_on_a_one_way_account() -> None:
    short = position("3", "short", at_ms=900)
    result = _see(book(position()), positions(1000, short))
    assert kinds(result.findings) == ["position_flipped"]
    assert (result.findings[0].before, result.findings[0].after) == (position(), short)
    assert result.book.positions == (short,)


def test_a_flip_that_is_read_from_its_fills_first_still_shows_the_new_side() -> None:
    """The close and the new side bear the same instant: one execution made both."""
    known = _see(book(position()), positions(1000), fills(1001, fill("1", "3", order_id="8"), since_ms=500),
                 lookup(1002, order("8", status="closed", side="sell"))).book
    assert known.positions == ()
    assert kinds(_see(known, positions(1300, position("2", "short", at_ms=600))).findings) == ["position_opened"]


def test_an_old_row_of_the_other_side_is_no_flip() -> None:
    assert _see(book(position()), positions(1000, position(side="short", at_ms=400))).book.positions == (position(),)


def test_both_sides_of_a_hedged_account_live_side_by_side() -> None:
    long, short = position(hedged=True), position("2", "short", hedged=True)
    result = _see(book(long), positions(1000, long, short))
    assert (kinds(result.findings), result.book.positions) == (["position_opened"], (long, short))
    result = _see(result.book, positions(1100, short))
    assert [doubt.key for doubt in result.book.doubts] == ["position:long"]


def test_a_newer_row_of_size_zero_is_the_proof_of_a_close() -> None:
    known = _see(book(position()), positions(1000, position("0", at_ms=700))).book
    assert known.doubts[0].proven == "positions"
    assert _close(known, positions(1300), positions(1600), positions(1900)) == ["position_closed"]


@pytest.mark.parametrize("at_ms", [0, 400, 500])
def test_a_row_of_size_zero_that_is_not_newer_is_an_absence_like_any_other(at_ms: int) -> None:
    known = _see(book(position()), positions(1000, position("0", at_ms=at_ms))).book
    assert (known.doubts[0].proven, known.doubts[0].reads) == ("", 1)


def test_a_row_of_size_zero_on_one_hedged_side_says_nothing_of_the_other() -> None:
    zero = position("0", "short", at_ms=700, hedged=True)
    known = _see(book(position(hedged=True)), positions(1000, position(hedged=True), zero)).book
    assert (known.doubts, len(known.positions)) == ((), 1)


def test_a_position_that_was_proven_closed_and_shows_anew_was_closed_and_opened() -> None:
    known = _see(book(position()), positions(1000, position("0", at_ms=700))).book
    result = _see(known, positions(1300, position(at_ms=900)))
    assert kinds(result.findings) == ["position_closed", "position_opened"]


def test_zero_size_means_that_orders_rest_on_the_symbol_until_they_are_read() -> None:
    known = _see(book(), positions(1000, position("0"))).book
    assert known.hinted
    assert not _see(known, positions(1300, position("0")), orders(1300)).book.hinted


@pytest.mark.parametrize("backwards", [False, True])
def test_a_row_of_size_zero_proves_nothing_against_a_side_that_its_own_list_shows(backwards: bool) -> None:
    """A hedged account may keep an empty row for the one-way position as well."""
    rows = [position("0", at_ms=700), position(hedged=True)]
    known = _see(book(position(hedged=True)), positions(1000, *(reversed(rows) if backwards else rows))).book
    assert (known.doubts, len(known.positions)) == ((), 1)


def test_an_account_that_shows_both_sides_at_once_keeps_them_apart_though_it_does_not_say_so() -> None:
    long, short = position(), position("2", "short", at_ms=600)
    known, found = book(long), list[str]()
    for as_of_ms in (1000, 1300, 1600):
        result = _see(known, positions(as_of_ms, long, short))
        known, found = result.book, found + kinds(result.findings)
    assert (found, len(known.positions)) == (["position_opened"], 2)
    alone = _see(known, positions(1900, short._replace(updated_at_ms=700)))
    assert (alone.findings, [doubt.key for doubt in alone.book.doubts]) == ((), ["position:long"])
