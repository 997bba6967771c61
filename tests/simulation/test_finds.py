"""What seeds have found: the smallest world that broke a promise, kept as it was found and named for what was wrong."""

from dataclasses import replace

from fleetsync_adapters.simulation.swarm import Options, draw
from fleetsync_adapters.simulation.trial import attempt

CALM = Options(seed=25, robots=15, accounts=1, workers=1, calls_per_minute=60, weight_per_minute=1_200, minutes=2,
               changes_per_hour=120.0, orders_per_hour=20.0, announced=0.9, up_ms=(0, 0))


def kept(options: Options) -> None:
    verdict = attempt(options)
    assert verdict.good, verdict.error or verdict.breaches


def test_a_list_of_positions_that_names_a_symbol_proves_nothing_about_its_orders() -> None:
    """A fill had proven the close; the list before it was taken to prove that no order rested, and an event was served
    on the strength of that."""
    kept(replace(CALM, robots=16, workers=2, knobs={"doubt_retry_ms": 200}))


def test_a_robot_that_joins_is_agreed_only_when_its_conditional_orders_were_read_after_that() -> None:
    kept(replace(CALM, seed=0, robots=4, accounts=2, conditional=True, calls_per_minute=120, minutes=3,
                 strikes={"robot_added": 3.0, "robot_moved": 3.0, "account_added": 3.0}))


def test_what_a_worker_lets_expire_for_an_accounts_pace_is_asked_first_the_next_time() -> None:
    """Of three calls in a grant the pace let one leave, always the same one."""
    kept(replace(CALM, seed=15, robots=8, accounts=8, egresses=1, calls_per_minute=1_200, conditional=True, exchanges=2,
                 orders_per_hour=80.0, announced=1.0, up_ms=(5, 60),
                 knobs={"account_calls_per_second": 3, "flat_ms": 60_000}))


def test_waiting_for_a_worker_does_not_hold_back_the_time_of_everybody_else() -> None:
    kept(replace(CALM, seed=40, robots=30, accounts=3, minutes=3, changes_per_hour=5.0, announced=0.5,
                 shared_books=True, conditional=True, up_ms=(20, 200),
                 knobs={"in_flight_per_worker": 1, "urgent_share": 0, "jitter": 0}))


def test_an_event_of_a_clock_that_was_set_back_is_served_at_once() -> None:
    """It was dated in the future: no reading could be late enough, and the robot was read again and again."""
    kept(replace(CALM, seed=1, robots=6, calls_per_minute=600,
                 strikes={"clock_step": 2.0, "event_storm": 6.0, "commit_slow": 3.0}))


def test_an_order_that_takes_the_place_of_a_cancelled_one_between_two_lists_of_positions_is_seen() -> None:
    """Both lists named the symbol, so the second was the same again: it was taken to prove that no order rests."""
    kept(draw(9132).without_faults())


def test_an_order_that_a_wrong_look_up_called_open_is_not_kept_by_lists_that_are_the_same_again() -> None:
    """The list without it had raised the doubt that the look-up dispelled; its successors were `as before`."""
    kept(draw(30869))


def test_who_waits_for_a_worker_gets_the_place_that_another_left_unused() -> None:
    """The one place was offered to an account of an exchange that was not open yet, and then to nobody."""
    kept(draw(31394))


def test_a_dear_list_may_wait_for_the_exchanges_minute_to_turn_while_the_buckets_stand_full() -> None:
    """Its counter and what it may not show yet left no room for the list; the promise knew of buckets alone."""
    kept(draw(90299).without_faults())


def test_an_order_whose_end_two_questions_ask_for_does_not_stay_disputed() -> None:
    """One call a grant, and what was left over the last time comes first: the two counted as one, which came last."""
    kept(draw(95267))


def test_a_robot_that_joins_after_its_accounts_orders_but_before_its_positions_were_read_is_not_agreed() -> None:
    """Just after a restart: the lists of orders had left its rows out, and counted as read."""
    kept(draw(143633))


def test_the_late_report_of_a_sync_that_was_given_up_is_no_reading_while_markets_are_opened() -> None:
    """The promise counted syncs under way without those of the markets: one given up seemed to be one of them."""
    kept(draw(149986))
