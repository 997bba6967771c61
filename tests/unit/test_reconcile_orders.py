"""The rules by which an order fills, changes, ends, or stays what it was."""

from typing import Any

import pytest
from tests.unit.builders import RULES, T0, book, conditionals, fill, fills, kinds, lookup, not_found, order, orders

from fleetsync.book import Announcement, Book, Reconciled, Sight
from fleetsync.messages import Call
from fleetsync.model import Certainty, Order, Surface
from fleetsync.reconcile import reconcile

LATER = RULES.visibility_grace_ms + 1_000  # beyond the grace of every order here, within its retention
RETIRED = RULES.order_retention_ms + LATER


def _see(known: Book, *sights: Sight, now_ms: int = LATER, announced: tuple[Announcement, ...] = ()) -> Reconciled:
    return reconcile(known, sights, announced, RULES, now_ms)


def _calls(result: Reconciled) -> list[Call]:
    return [question.call for question in result.questions]


def _bought(fill_id: str, size: str, at_ms: int = 600, order_id: str = "7") -> Any:
    return fill(fill_id, size, "buy", at_ms, order_id)


def test_an_order_that_left_the_list_is_asked_for_by_id_and_stays() -> None:
    result = _see(book(order()), orders(1000))
    assert (result.findings, result.book.orders) == ((), (order(),))
    assert _calls(result) == [Call(Surface.ORDER, order().symbol, order_id="7")]
    assert result.book.certainty(Surface.ORDERS) is Certainty.DISPUTED


@pytest.mark.parametrize("reads", [2, 5, 50])
def test_no_number_of_lists_without_it_ends_an_order(reads: int) -> None:
    known = book(order())
    for number in range(reads):
        result = _see(known, orders(1000 + 300 * number))
        assert result.findings == ()
        known = result.book
    assert known.orders == (order(),)


@pytest.mark.parametrize(("status", "filled", "cause"), [
    ("closed", "2", "fill"), ("canceled", "1", "external"), ("expired", "0", "external")])
def test_an_order_ends_by_its_own_status_with_the_filled_part_kept(status: str, filled: str, cause: str) -> None:
    over = order(status=status, filled=filled, at_ms=900)
    result = _see(book(order()), orders(1000), lookup(1001, over))
    assert [(f.kind, f.cause, f.after) for f in result.findings] == [("order_ended", cause, over)]
    assert (result.book.orders, result.book.doubts, result.book.ended) == ((), (), (over,))


def test_a_fill_that_the_status_does_not_show_yet_is_kept() -> None:
    over = order(status="canceled", filled="0", at_ms=900)
    result = _see(book(order()), orders(1000), lookup(1001, over), fills(1002, _bought("1", "1.5"), since_ms=400))
    assert isinstance(result.findings[0].after, Order)
    assert (result.findings[0].after.filled, result.findings[0].evidence["trades"]) == ("1.5", ["1"])


def test_an_end_that_shows_less_filled_than_was_seen_keeps_what_was_seen() -> None:
    result = _see(book(order(filled="1")), orders(1000), lookup(1001, order(status="canceled", at_ms=900)))
    assert isinstance(result.findings[0].after, Order)
    assert result.findings[0].after.filled == "1"


@pytest.mark.parametrize("at_ms", [0, 300])
def test_an_end_without_a_good_instant_is_still_an_end(at_ms: int) -> None:
    """Some exchanges give no time of the last update where one order is asked for."""
    result = _see(book(order()), lookup(1001, order(status="canceled", at_ms=at_ms)))
    assert kinds(result.findings) == ["order_ended"]


def test_an_order_that_fills_between_the_list_and_the_lookup_ends_once_with_its_fill() -> None:
    listed, over = order(filled="1", at_ms=900), order(filled="2", status="closed", at_ms=950)
    result = _see(book(order()), orders(1000, listed), lookup(1001, over))
    assert kinds(result.findings) == ["order_filled", "order_ended"]
    again = _see(result.book, lookup(1001, over), orders(1000, listed))
    assert again.findings == ()


def test_a_fill_is_counted_once_whatever_the_order_of_the_surfaces() -> None:
    listed, traded = orders(1000, order(filled="1", at_ms=900)), fills(1001, _bought("1", "1"), since_ms=400)
    for sights in ([listed, traded], [traded, listed], [listed, traded, traded], [traded, listed, listed]):
        result = _see(book(order()), *sights)
        assert kinds(result.findings) == ["order_filled"]
        assert result.book.orders[0].filled == "1"
        assert _see(result.book, *sights).findings == ()


def test_fills_that_prove_more_than_the_rows_of_a_doubted_order_are_a_change() -> None:
    result = _see(book(order()), orders(1000), fills(1001, _bought("1", "0.5"), since_ms=400))
    assert [(f.kind, f.cause) for f in result.findings] == [("order_filled", "fill")]
    assert result.book.orders[0].filled == "0.5"


def test_fills_as_large_as_the_order_do_not_end_it_before_it_was_asked_for() -> None:
    """Its size may have been amended since it was read last."""
    assert _see(book(order()), orders(1000), fills(1001, _bought("1", "2"), since_ms=400)).book.orders


def test_fills_as_large_as_the_order_end_it_when_the_exchange_knows_it_no_more() -> None:
    traded = fills(1002, _bought("1", "1.5"), _bought("2", "0.5", at_ms=700), since_ms=400)
    young = _see(book(order()), orders(1000), not_found(1001), traded)
    assert kinds(young.findings) == ["order_filled"]  # it may be a size amended and a lookup that lags
    result = _see(book(order()), orders(1000), not_found(LATER), traded)
    ended = result.findings[0].after
    assert isinstance(ended, Order)
    assert (ended.status, ended.filled, ended.updated_at_ms) == ("closed", "2", 700)


def test_an_order_whose_filled_part_grew_is_newer_whatever_its_clock_says() -> None:
    """Hosts of one exchange differ by milliseconds."""
    result = _see(book(order(at_ms=700)), orders(1000, order(filled="1", at_ms=690)))
    assert (kinds(result.findings), result.book.orders[0].filled) == (["order_filled"], "1")


def test_an_order_that_is_created_under_the_id_of_one_that_ended_is_a_new_one() -> None:
    known = _see(book(order()), lookup(1001, order(status="canceled", filled="1", at_ms=900))).book
    anew = order(created_at_ms=2000, at_ms=2000)
    result = _see(known, orders(3000, anew))
    assert (kinds(result.findings), result.book.orders) == (["order_opened"], (anew,))


def test_a_status_that_is_no_known_word_does_not_end_a_listed_order() -> None:
    result = _see(book(order()), orders(1000, order(status="unknown", at_ms=900)))
    assert (result.findings, [row.status for row in result.book.orders]) == ((), ["open"])
    new = _see(book(), orders(1000, order(status="unknown")))
    assert kinds(new.findings) == ["order_opened"]


def test_a_status_that_is_no_known_word_says_as_much_of_a_doubted_order_as_not_found() -> None:
    known, found = book(order(filled="0.5")), list[str]()
    for number in range(4):
        as_of_ms = LATER + 300 * number
        sights = [orders(as_of_ms), lookup(as_of_ms + 1, order(status="unknown", filled="0.5")),
                  fills(as_of_ms + 2, since_ms=400)]
        result = _see(known, *sights, now_ms=as_of_ms)
        assert result.findings == () or number >= 2
        assert all(question.not_before_ms > as_of_ms for question in result.questions)
        known, found = result.book, found + kinds(result.findings)
    assert (found, known.ended[0].status) == (["order_ended"], "unknown")


def test_an_answer_that_settles_nothing_is_not_asked_for_again_at_once() -> None:
    result = _see(book(order(filled="1", at_ms=700)), orders(1000), lookup(1001, order(at_ms=600)), now_ms=1100)
    assert result.book.doubts
    assert {question.not_before_ms for question in result.questions} == {1100 + RULES.doubt_retry_ms}


def test_fills_end_an_order_of_which_it_is_not_known_when_it_was_created() -> None:
    known, traded = book(order(created_at_ms=0)), fills(LATER + 2, _bought("1", "2"))
    result = _see(known, orders(LATER), not_found(LATER + 1), traded)
    assert [getattr(finding.after, "status", "") for finding in result.findings] == ["closed"]


def test_two_executions_of_one_id_are_two_where_an_order_of_ours_met_another() -> None:
    bought, sold = _bought("1", "0.5"), _bought("1", "0.5", order_id="8")._replace(side="sell")
    for traded in ([bought, sold], [sold, bought]):
        result = _see(book(order()), orders(1000), fills(1001, *traded, since_ms=400))
        assert result.book.orders[0].filled == "0.5"


def test_an_old_list_does_not_bring_back_an_order_that_its_fills_ended() -> None:
    traded = fills(1002, _bought("1", "1"), _bought("2", "1", at_ms=700), since_ms=400)
    known = _see(book(order()), orders(1000), not_found(LATER), traded).book
    result = _see(known, orders(LATER + 300, order(filled="1", at_ms=600)))
    assert (result.findings, result.book.orders) == ((), ())


def _asked_in_vain(from_ms: int, *, answers: int, with_fills: bool = True) -> Reconciled:
    known, result = book(order(filled="0.5")), None
    for number in range(answers):
        as_of_ms = from_ms + 300 * number
        sights = [orders(as_of_ms), not_found(as_of_ms + 1)]
        if with_fills:
            sights.append(fills(as_of_ms + 2, since_ms=400))
        result = _see(known, *sights, now_ms=as_of_ms + 50)
        known = result.book
        if result.findings:
            break
    assert result is not None
    return result


def test_not_found_within_the_grace_ends_nothing() -> None:
    assert _asked_in_vain(1000, answers=20).findings == ()


def test_not_found_within_the_grace_ends_nothing_however_late_the_answer_comes() -> None:
    known = book(order())
    for number in range(9):
        as_of_ms = 1000 + 300 * number
        sights = [orders(as_of_ms), not_found(as_of_ms + 1), fills(as_of_ms + 2, since_ms=400)]
        result = _see(known, *sights, now_ms=RETIRED)
        assert result.findings == ()
        known = result.book


def test_not_found_without_its_fills_ends_nothing() -> None:
    assert _asked_in_vain(RETIRED, answers=20, with_fills=False).findings == ()


def test_not_found_three_times_after_the_grace_ends_an_order_as_unknown() -> None:
    assert _asked_in_vain(LATER, answers=2).findings == ()
    ended = _asked_in_vain(LATER, answers=3).findings[0]
    assert isinstance(ended.after, Order)
    assert (ended.kind, ended.cause, ended.after.status) == ("order_ended", "external", "unknown")


def test_retention_passed_means_unknown_with_the_filled_part_kept() -> None:
    ended = _asked_in_vain(RETIRED, answers=2).findings[0]
    assert isinstance(ended.after, Order)
    assert (ended.cause, ended.after.status, ended.after.filled) == ("retention", "unknown", "0.5")


def test_the_same_not_found_delivered_again_counts_once() -> None:
    known = _see(book(order()), orders(1000), not_found(1001)).book
    for _ in range(10):
        known = _see(known, not_found(1001)).book
    assert known.doubts[0].asked == 1


def test_fills_and_the_lookup_may_come_in_different_snapshots() -> None:
    """A small budget sends one call at a time."""
    known, found = book(order()), list[str]()
    for number in range(4):
        as_of_ms = LATER + 300 * number
        for sight in (orders(as_of_ms), not_found(as_of_ms + 100), fills(as_of_ms + 200, since_ms=400)):
            result = _see(known, sight)
            known, found = result.book, found + kinds(result.findings)
    assert (found, known.orders) == (["order_ended"], ())


def test_questions_that_prove_nothing_are_asked_at_growing_distances_up_to_a_bound() -> None:
    known, waits = book(order()), []
    for number in range(12):
        result = _see(known, orders(1000 + 300 * number), not_found(1001 + 300 * number), now_ms=1100)
        waits.append(result.questions[0].not_before_ms - 1100)
        known = result.book
    assert waits[0] == RULES.doubt_retry_ms
    assert waits == sorted(waits)
    assert waits[-1] == RULES.retry_max_ms


def test_a_list_that_shows_it_again_ends_the_doubt() -> None:
    known = _see(book(order()), orders(1000)).book
    assert _see(known, orders(1300, order())).book.doubts == ()


def test_a_list_from_before_the_doubt_does_not_end_it() -> None:
    known = _see(book(order()), orders(1000)).book
    assert _see(known, orders(900, order())).book.doubts


def test_an_older_row_never_overwrites_a_newer_one() -> None:
    known = book(order(filled="1", at_ms=700))
    for row in (order(at_ms=600), order(filled="1", at_ms=600, price="99")):
        result = _see(known, orders(1000, row))
        assert (result.findings, result.book.orders, result.book.doubts) == ((), known.orders, ())


def test_of_two_answers_about_one_order_the_one_further_on_counts() -> None:
    over = order(status="canceled", filled="1", at_ms=900)
    for sights in ([lookup(1001, over), lookup(1002, order())], [lookup(1002, over), lookup(1001, order())]):
        assert kinds(_see(book(order()), *sights).findings) == ["order_ended"]


def test_an_ended_order_stays_ended_whatever_late_answers_say() -> None:
    over = order(status="canceled", filled="1", at_ms=900)
    known = _see(book(order()), lookup(1001, over)).book
    for sight in (lookup(1001, over), lookup(1400, order()), orders(1500, order(at_ms=600)), orders(900, order())):
        result = _see(known, sight)
        assert (result.findings, result.book.orders) == ((), ())


def test_an_order_taken_for_lost_comes_back_when_it_is_shown_again() -> None:
    known = _asked_in_vain(LATER, answers=3).book
    result = _see(known, orders(LATER + 5000, order(filled="0.5")))
    assert (kinds(result.findings), result.book.ended) == (["order_opened"], ())


@pytest.mark.parametrize(("row", "kind"), [
    (order(filled="0.5", at_ms=900), "order_filled"), (order(size="1", at_ms=900), "order_updated"),
    (order(price="99", at_ms=900), "order_updated")], ids=["filled", "shrunk by the exchange", "moved"])
def test_a_resting_order_that_changes_is_one_change(row: Order, kind: str) -> None:
    result = _see(book(order()), orders(1000, row))
    assert kinds(result.findings) == [kind]
    assert _see(result.book, orders(1300, row)).findings == ()


def test_absence_in_the_list_of_plain_orders_says_nothing_of_a_conditional_one() -> None:
    known = book(order(conditional=True))
    assert _see(known, orders(1000)).book.doubts == ()
    doubted = _see(known, conditionals(1000))
    assert _calls(doubted) == [Call(Surface.ORDER, order().symbol, order_id="7", conditional=True)]


def test_a_conditional_order_that_turns_into_a_plain_one_is_a_change_and_no_end() -> None:
    stop, plain = order(conditional=True), order(at_ms=900)
    for sights in ([conditionals(1000), orders(1001, plain)], [orders(1000, plain), conditionals(1001)]):
        result = _see(book(stop), *sights)
        assert kinds(result.findings) == ["order_updated"]
        assert (result.book.orders, result.book.doubts) == ((plain,), ())


@pytest.mark.parametrize(("announced", "client_id", "cause"), [
    ((), "bot-7", "robot"), ((), "hand", "external"), ((Announcement("order_placed", 1),), "hand", "event"),
    ((Announcement("order_placed", 1, order_id="9"),), "hand", "external"), ((), "adl_autoclose", "liquidation")])
def test_a_new_order_names_its_cause(announced: tuple[Announcement, ...], client_id: str, cause: str) -> None:
    result = _see(book(), orders(1000, order(client_id=client_id)), announced=announced)
    assert [finding.cause for finding in result.findings] == [cause]


def test_an_order_that_the_exchanges_clock_dates_after_the_list_is_doubted_like_any_other() -> None:
    assert len(_see(book(order(created_at_ms=1100)), orders(1000)).book.doubts) == 1


def test_every_question_of_a_snapshot_is_asked_once() -> None:
    known = _see(book(order(), order("8")), orders(1000), not_found(1001), not_found(1001, "8"), now_ms=T0)
    calls = _calls(known)
    assert len(calls) == len(set(calls)) == 4  # two lookups, one list, one reading of fills
