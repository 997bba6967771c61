"""The roster: who waits for a full worker, and who comes first when it has room again."""

from typing import cast

from fleetsync.crewing import Roster
from fleetsync.fleet import AccountState, Route
from fleetsync.model import Account


class Named:
    """As much of a route as the roster looks at."""

    name = "binanceusdm"


ROUTE = cast("Route", Named())


def account(index: int) -> AccountState:
    return AccountState(index, Account(f"account-{index}", "binanceusdm"), ROUTE, 0)


def crewed(in_flight_max: int, urgent_share: float = 0.0) -> Roster:
    roster = Roster(1, in_flight_max, urgent_share)
    roster.came_up(0, 4711)
    roster.opened(0, ROUTE)
    return roster


def test_scheduled_work_leaves_a_share_of_a_worker_to_urgent_work() -> None:
    roster = crewed(10, 0.2)
    for _ in range(8):
        assert roster.serves(0, ROUTE)
        roster.started(0)
    assert not roster.serves(0, ROUTE)
    for _ in range(2):
        assert roster.serves(0, ROUTE, urgent=True)
        roster.started(0, urgent=True)
    assert not roster.serves(0, ROUTE, urgent=True)


def test_many_reports_of_a_turn_take_out_as_many_accounts_as_there_is_room_for() -> None:
    roster = crewed(50)
    for _ in range(50):
        roster.started(0)
    for index in range(1_000):
        roster.stall(account(index), index)
    for _ in range(40):
        roster.finished(0)
    assert [state.index for state, _ in roster.unstall()] == list(range(40))
    assert roster.unstall() == []


def test_urgent_accounts_come_first_and_scheduled_ones_are_not_shut_out() -> None:
    roster = crewed(10)
    for _ in range(10):
        roster.started(0)
    for index in range(100):
        roster.stall(account(index), index)
        roster.stall(account(1_000 + index), index, urgent=True)
    for _ in range(10):
        roster.finished(0)
    freed = [state.index for state, _ in roster.unstall()]
    assert freed == [*range(1_000, 1_008), 0, 1]


def test_an_account_that_waits_twice_keeps_its_older_key() -> None:
    roster, state = crewed(1), account(3)
    roster.started(0)
    roster.stall(state, 500)
    roster.stall(state, 900)
    assert roster.waits(state)
    roster.finished(0)
    assert roster.unstall() == [(state, 500)]


def test_accounts_that_cannot_be_served_take_no_room() -> None:
    roster, stopped, busy, idle = crewed(1), account(0), account(1), account(2)
    stopped.stopped, busy.busy = "auth", 7
    roster.started(0)
    for state in (stopped, busy, idle):
        roster.stall(state, 0)
    roster.finished(0)
    assert [state for state, _ in roster.unstall()] == [idle]
