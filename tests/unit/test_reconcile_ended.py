"""Orders that have ended: who is told, and for how long an old answer is known for one."""

import pytest
from tests.unit.builders import RULES, T0, book, conditionals, fills, kinds, lookup, not_found, order, orders

from fleetsync.book import MEMORY_MS, Announcement, Book, Finding, Reconciled, Sight
from fleetsync.model import Order
from fleetsync.reconcile import reconcile


def _see(known: Book, *sights: Sight, announced: tuple[Announcement, ...] = ()) -> Reconciled:
    return reconcile(known, sights, announced, RULES, T0)


@pytest.mark.parametrize("name", [{"order_id": "8"}, {"client_id": "c8"}], ids=["its id", "ours"])
def test_an_order_that_began_and_ended_between_two_readings_is_told_to_who_announced_it(name: dict[str, str]) -> None:
    over, announced = order("8", status="closed", filled="2"), (Announcement("order_placed", 1, **name),)
    result = _see(book(), lookup(1001, over), announced=announced)
    assert (kinds(result.findings), result.book.orders) == (["order_ended"], ())
    assert _see(result.book, lookup(1300, over), announced=announced).findings == ()


@pytest.mark.parametrize("announced", [(), (Announcement("manual", 1),), (Announcement("order_placed", 1, "9"),)],
                         ids=["nobody", "without a name", "another one"])
def test_the_end_of_an_order_that_nobody_was_told_of_is_no_change(announced: tuple[Announcement, ...]) -> None:
    """It was looked up because it may have closed a position."""
    over = order("8", status="closed", filled="2")
    result = _see(book(), lookup(1001, over), announced=announced)
    assert (result.findings, result.book.orders) == ((), ())
    later = _see(result.book, lookup(1300, over), announced=(Announcement("order_placed", 2, order_id="8"),))
    assert kinds(later.findings) == ["order_ended"]  # who announces it later is told after all


def test_an_order_that_is_announced_when_its_end_may_be_forgotten_is_not_told_twice() -> None:
    over, at_ms = order("8", status="closed", filled="2", at_ms=900), 901 + MEMORY_MS
    result = _see(book(), lookup(at_ms, over), announced=(Announcement("order_cancelled", at_ms, order_id="8"),))
    assert (result.findings, result.book.ended) == ((), (over,))


def _ended_one_by_one(count: int, apart_ms: int) -> list[str]:
    known = book()
    for number in range(count):
        row = order(f"{number}", at_ms=1000 + number * apart_ms)
        known = _see(known, orders(row.updated_at_ms, row)).book
        known = _see(known, lookup(row.updated_at_ms, row._replace(status="canceled"))).book
    return [over.id for over in known.ended]


def test_the_memory_of_ended_orders_is_bounded() -> None:
    assert _ended_one_by_one(100, apart_ms=RULES.visibility_grace_ms) == [str(number) for number in range(68, 100)]
    assert len(_ended_one_by_one(600, apart_ms=0)) == 512


def test_a_list_that_lags_behind_a_mass_cancel_opens_none_of_its_orders_again() -> None:
    rows = [order(str(number), at_ms=900 + number) for number in range(200)]
    known = book(*rows)
    ends = [lookup(1500, row._replace(status="canceled", updated_at_ms=1400)) for row in rows]
    known = _see(known, orders(1450), *ends).book
    assert known.orders == ()
    assert _see(known, orders(2000, *rows)).findings == ()


def test_a_conditional_order_that_no_look_up_can_be_asked_for_ends_by_lists_and_fills() -> None:
    """Bitget has a look-up for plain orders alone: one that nobody could answer was waited for, for ever."""
    rules = RULES._replace(looks_up_conditional=False)
    known, at_ms = book(order(conditional=True)), T0 + 60_000
    seen: list[Finding] = []
    for _ in range(6):
        at_ms += 5_000
        result = reconcile(known, [conditionals(at_ms), fills(at_ms, since_ms=1)], [], rules, at_ms)
        known = result.book
        seen += result.findings
    assert [(finding.kind, finding.after.status) for finding in seen if isinstance(finding.after, Order)] == [
        ("order_ended", "unknown")]
    still = reconcile(book(order(conditional=True)), [conditionals(T0 + 60_000)], [], RULES, T0 + 60_000)
    assert still.book.orders, "where there is one, it is asked"


@pytest.mark.parametrize("conditional", [True, False])
def test_what_is_not_known_among_the_others_is_no_word_on_a_conditional_order(*, conditional: bool) -> None:
    """They are asked for elsewhere. A stop that had rested for days and was cancelled by name ended as "unknown"."""
    long_after_ms = T0 + 10 * RULES.order_retention_ms
    known = book(order(conditional=conditional))
    denied = not_found(long_after_ms + 20)._replace(conditional=not conditional)
    lists = conditionals if conditional else orders
    for at_ms in (long_after_ms, long_after_ms + 10, long_after_ms + 30):
        sights = [lists(at_ms), fills(at_ms, since_ms=1), denied._replace(as_of_ms=at_ms + 1)]
        result = reconcile(known, sights, [], RULES, at_ms + 1)
        known = result.book
        assert result.findings == ()
    assert known.orders
    ended = reconcile(known, [denied._replace(conditional=conditional, as_of_ms=long_after_ms + 50)], [], RULES,
                      long_after_ms + 50)
    assert kinds(ended.findings) == ["order_ended"]
