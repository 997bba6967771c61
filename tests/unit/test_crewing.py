"""The roster: who waits for a full worker, and who comes first when it has room again."""

from collections.abc import Callable
from typing import cast

from fleetsync.account import AccountState, Route
from fleetsync.crewing import Room, Roster
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


def full(places: int) -> Roster:
    """A crew of one worker with no place left."""
    roster = crewed(places)
    for _ in range(places):
        roster.started(0)
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
    roster = full(50)
    for index in range(1_000):
        roster.stall(account(index), index)
    for _ in range(40):
        roster.finished(0)
    assert [state.index for state, *_ in roster.unstall()] == list(range(40))
    for _ in range(40):
        roster.started(0)
    assert roster.unstall() == []


def test_a_place_that_whoever_was_taken_out_for_it_leaves_unused_is_the_next_ones() -> None:
    roster = full(2)
    for index in range(5):
        roster.stall(account(index), index)
    assert not roster.leaves_places()
    roster.finished(0)
    for index in range(3):
        assert roster.leaves_places()
        assert [state.index for state, *_ in roster.unstall()] == [index]
    roster.started(0)
    assert not roster.leaves_places()
    assert roster.unstall() == []


def test_urgent_accounts_come_first_and_scheduled_ones_are_not_shut_out() -> None:
    roster = full(10)
    for index in range(100):
        roster.stall(account(index), index)
        roster.stall(account(1_000 + index), index, urgent=True)
    for _ in range(10):
        roster.finished(0)
    freed = [state.index for state, *_ in roster.unstall()]
    assert freed == [*range(1_000, 1_008), 0, 1]


def test_of_single_places_too_one_in_five_is_left_to_scheduled_accounts() -> None:
    roster = full(1)
    for index in range(100):
        roster.stall(account(index), index)
        roster.stall(account(1_000 + index), index, urgent=True)
    freed, urgent = list[bool](), False
    for _ in range(20):
        roster.finished(0, urgent=urgent)
        ((_, _, urgent),) = roster.unstall()
        freed.append(urgent)
        roster.started(0, urgent=urgent)
    assert freed == [True, True, True, True, False] * 4


def test_an_account_that_waits_twice_keeps_its_older_key() -> None:
    roster, state = full(1), account(3)
    roster.stall(state, 500)
    roster.stall(state, 900)
    assert roster.waits(state)
    roster.finished(0)
    assert roster.unstall() == [(state, 500, False)]


def test_accounts_that_cannot_be_served_take_no_room() -> None:
    roster, stopped, busy, idle = full(1), account(0), account(1), account(2)
    stopped.stopped, busy.busy = "auth", 7
    for state in (stopped, busy, idle):
        roster.stall(state, 0)
    roster.finished(0)
    assert [state for state, *_ in roster.unstall()] == [idle]


def rounds(room: Room, waited_ms: Callable[[int], int], count: int = 12) -> int:
    """Report whole rounds of a worker that is kept full, by how long a sync lies at each size; the size in the end."""
    for _ in range(count):
        for _ in range(max(room.size, 16)):
            room.reported(waited_ms(room.size), room.size)
    return room.size


def test_a_worker_that_comes_to_its_syncs_at_once_keeps_all_its_room_however_slow_the_exchange_is() -> None:
    assert rounds(Room(166), lambda _: 0) == 166


def test_room_shrinks_until_what_lies_at_a_worker_is_soon_come_to() -> None:
    room = Room(166)
    size = rounds(room, lambda size: size // 2)  # each sync costs the worker half a millisecond
    assert size < 60
    assert size // 2 <= 24  # what is urgent waits no longer than that


def test_room_grows_again_once_the_worker_is_quick_again() -> None:
    room = Room(166)
    assert rounds(room, lambda size: size * 2) == 16
    assert rounds(room, lambda _: 1, 60) == 166


def test_room_that_is_not_used_does_not_grow() -> None:
    room = Room(100)
    small = rounds(room, lambda size: size)
    for _ in range(1_000):
        room.reported(0, small - 1)
    assert room.size == small


def test_a_few_syncs_that_lay_long_do_not_shrink_the_room() -> None:
    room = Room(100)
    for number in range(1_000):
        room.reported(3_000 if number % 3 == 0 else 1, 100)
    assert room.size == 100


def test_a_worker_gets_some_room_however_late_it_is() -> None:
    assert rounds(Room(100), lambda _: 60_000) == 16
    assert rounds(Room(3), lambda _: 60_000) == 3


def test_scheduled_work_is_held_back_where_it_lies_long_and_urgent_work_is_not() -> None:
    roster = crewed(100)
    for _ in range(300):
        for _ in range(16):
            roster.started(0)
        for _ in range(16):
            roster.finished(0, waited_ms=500)
    for _ in range(16):
        assert roster.serves(0, ROUTE)
        roster.started(0)
    assert not roster.serves(0, ROUTE)
    assert roster.serves(0, ROUTE, urgent=True)
    for index in range(100):
        roster.stall(account(index), index)
    roster.finished(0, waited_ms=500)
    assert len(roster.unstall()) == 1
