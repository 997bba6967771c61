"""The rules by which a position changes, closes, flips, or stays what it was."""

from typing import Any

import pytest
from tests.unit.builders import RULES, T0, book, fill, fills, kinds, lookup, order, orders, position, positions

from fleetsync.book import Announcement, Book, Reconciled, Sight
from fleetsync.model import Certainty, Position, Surface
from fleetsync.reconcile import reconcile


def _see(known: Book, *sights: Sight, now_ms: int = T0, announced: tuple[Announcement, ...] = ()) -> Reconciled:
    return reconcile(known, sights, announced, RULES, now_ms)


def _asked(result: Reconciled, surface: Surface) -> list[int]:
    return [question.not_before_ms for question in result.questions if question.call.surface is surface]


@pytest.mark.parametrize("sight", [
    positions(1000, complete=False),
    orders(1000, complete=False),
    Sight(Surface.POSITIONS, 1000, complete=False),
], ids=["partial positions", "partial orders", "failed positions"])
def test_a_partial_or_failed_surface_closes_nothing(sight: Sight) -> None:
    known = book(position(), order())
    result = _see(known, sight, now_ms=1000)
    assert result.findings == ()
    assert (result.book.positions, result.book.orders, result.book.doubts) == (known.positions, known.orders, ())


def test_a_position_that_appears_is_opened_and_known() -> None:
    result = _see(book(), positions(1000, position()))
    assert kinds(result.findings) == ["position_opened"]
    assert result.book.positions == (position(),)


@pytest.mark.parametrize(("size", "price", "kind"), [
    ("2", "100", "position_grew"), ("0.5", "100", "position_shrank"), ("1", "101", "position_updated")])
def test_a_newer_row_of_the_same_side_is_one_change(size: str, price: str, kind: str) -> None:
    result = _see(book(position()), positions(1000, position(size, at_ms=900, entry_price=price)))
    assert kinds(result.findings) == [kind]
    again = _see(result.book, positions(1100, position(size, at_ms=900, entry_price=price)))
    assert again.findings == ()


def test_the_first_empty_list_disputes_a_position_and_asks_for_a_second_reading_and_its_fills() -> None:
    result = _see(book(position()), positions(1000), now_ms=1100)
    assert result.findings == ()
    assert result.book.certainty(Surface.POSITIONS) is Certainty.DISPUTED
    assert _asked(result, Surface.POSITIONS) == [1000 + RULES.confirm_gap_ms]
    assert [q.call.since_ms for q in result.questions if q.call.surface is Surface.FILLS] == [500]


def _close(known: Book, *readings: Sight) -> list[str]:
    """What is found by readings one after the other, until the questions for the cause have had their turn."""
    found: list[str] = []
    for reading in readings:
        result = _see(known, reading)
        known = result.book
        found += kinds(result.findings)
    return found


def test_two_empty_lists_without_its_fills_do_not_close_a_position() -> None:
    assert _close(book(position()), positions(1000), positions(1250)) == []


def test_further_empty_lists_after_the_gap_close_it_once_its_cause_was_asked_for() -> None:
    assert _close(book(position()), positions(1000), positions(1250), positions(1500), positions(1750)) == [
        "position_closed"]


def test_a_second_empty_list_within_the_gap_closes_nothing() -> None:
    assert _close(book(position()), positions(1000), positions(1100), positions(1200), positions(1249)) == []


def test_the_same_answer_twice_is_one_reading_even_without_a_gap() -> None:
    known = book(position())
    for _ in range(5):
        result = reconcile(known, [positions(1000)], (), RULES.__class__(confirm_gap_ms=0), T0)
        assert result.findings == ()
        known = result.book
    assert known.doubts[0].reads == 1


def test_a_reading_that_shows_the_position_again_ends_the_dispute() -> None:
    assert _close(book(position()), positions(1000), positions(1250, position()), positions(1500)) == []


def test_a_list_sent_between_two_empty_ones_that_shows_the_position_late_makes_the_next_empty_one_the_first() -> None:
    known = _see(book(position()), positions(1000)).book
    known = _see(known, positions(1200)).book
    known = _see(known, positions(1100, position())).book
    assert known.doubts[0].reads == 1


def test_its_own_fills_prove_a_close_at_once() -> None:
    result = _see(book(position()), positions(1000), fills(1001, fill("1", order_id="8"), since_ms=500),
                  lookup(1002, order("8", client_id="hand-1", status="closed", side="sell")))
    closed = result.findings[-1]
    assert (closed.kind, closed.cause, closed.exchange_at_ms) == ("position_closed", "external", 600)
    assert (closed.evidence["trades"], closed.evidence["surfaces"]) == (["1"], ["positions", "fills"])
    assert closed.seen_at_ms == 1001


def test_fills_alone_close_nothing_while_lists_show_the_position() -> None:
    known = book(position())
    assert _see(known, fills(1001, fill("1"), since_ms=500)).findings == ()
    assert _see(known, positions(1000, position()), fills(1001, fill("1"), since_ms=500)).findings == ()


def test_fills_that_opened_as_much_as_they_closed_prove_no_close() -> None:
    bought = fill("1", side="buy", at_ms=550)
    result = _see(book(position()), positions(1000), fills(1001, bought, fill("2"), since_ms=500))
    assert result.findings == ()
    assert result.book.doubts[0].proven == ""


def test_fills_from_before_the_position_moved_last_prove_nothing() -> None:
    result = _see(book(position()), positions(1000), fills(1001, fill("1", at_ms=500), since_ms=0))
    assert result.book.doubts[0].proven == ""


@pytest.mark.parametrize("sight", [
    fills(1001, fill("1"), since_ms=500, complete=False), fills(1001, fill("1"), since_ms=550)],
    ids=["a page of them", "from later on"])
def test_fills_that_were_not_read_to_the_end_prove_no_close(sight: Sight) -> None:
    assert _see(book(position()), positions(1000), sight).book.doubts[0].proven == ""


def test_two_readings_of_fills_with_a_hole_between_them_do_not_count_as_one() -> None:
    old, new = fills(600, since_ms=400), fills(1001, fill("1", at_ms=950), since_ms=900)
    assert _see(book(position()), positions(1000), old, new).book.doubts[0].proven == ""


def test_fills_of_a_hedged_account_prove_no_close_since_they_may_be_the_other_sides() -> None:
    hedged = position(hedged=True)
    result = _see(book(hedged), positions(1000), fills(1001, fill("1"), since_ms=500))
    assert result.book.doubts[0].proven == ""
    assert result.book.positions == (hedged,)


def test_fills_prove_nothing_where_the_exchange_does_not_say_when_the_position_moved() -> None:
    known = book(position(at_ms=0))
    assert _see(known, positions(1000), fills(1001, fill("1"), since_ms=0)).book.doubts[0].proven == ""


def test_fills_that_know_of_no_close_ask_for_a_third_reading_after_the_grace() -> None:
    known, grace_ms = book(position()), RULES.visibility_grace_ms
    for as_of_ms in (1000, 1300, 1600, 1900):
        result = _see(known, positions(as_of_ms), fills(as_of_ms, since_ms=500))
        assert result.findings == ()
        assert result.book.doubts[0].proven == ""
        known = result.book
    result = _see(known, positions(500 + grace_ms), fills(500 + grace_ms, since_ms=500))
    assert kinds(result.findings) == ["position_closed"]


def test_a_position_that_a_clock_ahead_of_ours_dates_is_closed_after_the_grace_all_the_same() -> None:
    hour_ms, grace_ms = 3_600_000, RULES.visibility_grace_ms
    known = book(position(at_ms=hour_ms))
    for as_of_ms in (1000, 1300, 1600, 999 + grace_ms):
        result = _see(known, positions(as_of_ms), fills(as_of_ms, since_ms=500))
        assert result.findings == ()
        known = result.book
    result = _see(known, positions(1300 + grace_ms), fills(1300 + grace_ms, since_ms=500))
    assert kinds(result.findings) == ["position_closed"]


def test_fills_that_know_of_no_close_are_not_forgotten_by_the_next_snapshot() -> None:
    known = _see(book(position()), positions(1000), fills(1000, since_ms=500)).book
    for as_of_ms in (1300, 1600, 1900):
        result = _see(known, positions(as_of_ms))
        assert result.book.doubts[0].proven == ""
        known = result.book


def test_fills_of_a_part_do_not_help_empty_lists_to_close_the_whole() -> None:
    """A take-profit took a tenth; then the list came back empty twice."""
    known, part = book(position("10")), fill("1", "1")
    for as_of_ms in (1000, 1300, 1600, 1900):
        result = _see(known, positions(as_of_ms), fills(as_of_ms + 1, part, since_ms=500))
        assert result.findings == ()
        known = result.book


def test_fills_as_large_as_the_position_close_it_with_a_second_reading_on_a_hedged_account() -> None:
    known = book(position(hedged=True))
    traded = [fill("1", order_id="8")]
    known = _see(known, positions(1000), fills(1001, *traded, since_ms=500)).book
    result = _see(known, positions(1300), fills(1301, *traded, since_ms=500), lookup(1302, order("8", status="closed")))
    assert kinds(result.findings) == ["position_closed"]
    assert _see(known, positions(1200), fills(1201, *traded, since_ms=500)).findings == ()


def test_a_position_that_moved_twice_in_one_millisecond_is_not_closed_by_its_fills_alone() -> None:
    """The row may have shown the first move only: 1 bought, 1 bought, 1 sold leaves 1."""
    bought = [fill("1", side="buy", at_ms=500, order_id="a"), fill("2", side="buy", at_ms=500, order_id="b")]
    result = _see(book(position()), positions(1000), fills(1001, *bought, fill("3"), since_ms=400))
    assert result.book.doubts[0].proven == ""
    one_order = [row._replace(order_id="a") for row in bought]
    result = _see(book(position()), positions(1000), fills(1001, *one_order, fill("3"), since_ms=400))
    assert result.book.doubts[0].proven == "fills"


def test_old_fills_are_no_evidence_against_a_position_that_has_no_instant() -> None:
    known, old = book(position(at_ms=0)), fill("1", at_ms=100)
    for as_of_ms in (1000, 1300):
        result = _see(known, positions(as_of_ms), fills(as_of_ms + 1, old))
        assert result.findings == ()
        known = result.book
    for as_of_ms in (1600, 1900, 2200, 2500):
        result = _see(known, positions(as_of_ms), fills(as_of_ms + 1, old))
        known = result.book
        if result.findings:
            break
    assert [finding.evidence["trades"] for finding in result.findings] == [[]]


def test_an_older_row_never_overwrites_a_newer_one() -> None:
    known = book(position("2", at_ms=700))
    result = _see(known, positions(1000, position("1", at_ms=600)))
    assert (result.findings, result.book.positions) == ((), known.positions)


def test_an_older_row_that_every_reading_insists_on_is_believed_after_the_grace() -> None:
    """An exchange whose clock was set back must not be deaf ground for an hour."""
    known, row = book(position("2", at_ms=700)), position("1", at_ms=600)
    for as_of_ms in (1000, 3000, 5000):
        result = _see(known, positions(as_of_ms, row))
        assert result.findings == ()
        assert result.book.certainty(Surface.POSITIONS) is Certainty.DISPUTED
        assert _asked(result, Surface.POSITIONS)
        known = result.book
    result = _see(known, positions(1000 + RULES.visibility_grace_ms, row))
    assert (kinds(result.findings), result.book.positions, result.book.doubts) == (["position_shrank"], (row,), ())


def test_an_older_row_that_the_next_readings_do_not_repeat_is_forgotten() -> None:
    known = _see(book(position("2", at_ms=700)), positions(1000, position("1", at_ms=600))).book
    known = _see(known, positions(1300, position("2", at_ms=700))).book
    assert known.doubts == ()


def _closed_book() -> Book:
    known = book(position())
    for as_of_ms in (1000, 1300, 1600, 1900):
        known = _see(known, positions(as_of_ms)).book
    assert known.positions == ()
    return known


def test_an_old_row_does_not_reopen_a_closed_position() -> None:
    result = _see(_closed_book(), positions(2000, position()))
    assert (result.findings, result.book.positions) == ((), ())


def test_a_false_close_is_found_out_when_reading_after_reading_shows_the_position() -> None:
    known, found = _closed_book(), list[str]()
    for as_of_ms in range(2000, 2001 + RULES.visibility_grace_ms, 2000):
        result = _see(known, positions(as_of_ms, position()))
        known, found = result.book, found + kinds(result.findings)
    assert (found, known.positions, known.doubts) == (["position_opened"], (position(),), ())


def test_a_row_newer_than_the_close_opens_a_new_position() -> None:
    assert kinds(_see(_closed_book(), positions(2000, position(at_ms=501))).findings) == ["position_opened"]


def test_a_reading_sent_before_the_last_one_proves_no_absence() -> None:
    assert _see(book(position(), read_at_ms=2000), positions(1000)).book.doubts == ()


def test_a_late_whole_list_from_before_a_page_that_showed_the_position_proves_no_absence() -> None:
    known = _see(book(), positions(1000, position(), complete=False)).book
    assert _see(known, positions(900)).book.doubts == ()


def test_the_order_of_the_sights_in_a_snapshot_makes_no_difference() -> None:
    sights = [positions(1000), fills(1001, fill("1", order_id="7"), since_ms=0), orders(1002),
              lookup(1003, order(status="closed", filled="2", side="sell", at_ms=600))]
    known = book(position(), order(side="sell"))
    assert _see(known, *sights) == _see(known, *reversed(sights))


@pytest.mark.parametrize(("announced", "more", "cause"), [
    ([Announcement("closed", 1)], {}, "event"),
    ([], {}, "external"),
    ([Announcement("suspect", 1)], {}, "external"),
    ([], {"client_id": "bot-1"}, "fill"),
    ([], {"client_id": "autoclose-1"}, "liquidation"),
], ids=["announced", "by hand", "suspected", "by its robot", "by the exchange"])
def test_a_close_names_its_cause(announced: list[Announcement], more: dict[str, Any], cause: str) -> None:
    closer = order("8", status="closed", side="sell", **more)
    sights = [positions(1000), fills(1001, fill("1", order_id="8"), since_ms=500), lookup(1002, closer)]
    found = reconcile(book(position()), sights, announced, RULES, T0).findings
    assert next(finding.cause for finding in found if finding.kind == "position_closed") == cause


def test_what_the_first_reading_shows_is_no_news() -> None:
    fresh = Book("main", "BTC/USDT:USDT")
    assert [f.cause for f in _see(fresh, positions(1000, position()), orders(1000, order())).findings] == [
        "first_sight", "first_sight"]


def test_a_row_of_another_symbol_is_not_ours() -> None:
    other = Position("ETH/USDT:USDT", "long", "1", "100", 900)
    assert _see(book(), positions(1000, other)).findings == ()


def test_a_position_that_moved_by_the_whole_of_a_known_order_was_filled_by_it() -> None:
    """The list of positions may come before the one that misses the order: no hand was at work."""
    known = book(position(), order("7", side="buy", size="2"))
    (grew,) = _see(known, positions(1000, position("3", at_ms=900))).findings
    assert (grew.kind, grew.cause, grew.evidence["orders"]) == ("position_grew", "fill", ["7"])
    (other,) = _see(known, positions(1000, position("3.5", at_ms=900))).findings
    assert (other.cause, other.evidence["orders"]) == ("external", [])
