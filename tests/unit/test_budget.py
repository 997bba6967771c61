"""The budget, held against an exchange that counts for itself: never over, full where it is scarce, even, and just."""

from bisect import bisect_left, bisect_right
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.budget_world import MINUTE_MS, SETTINGS, SLACK_MS, START_MS, CountingExchange, ask, ledger_of, quota_of

from fleetsync.budget import Budget, Deferral, dispatch_calls_max
from fleetsync.config import Settings
from fleetsync.ledger import Ledger

_ACTIONS = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "ask", "wait", "leap", "limit", "freeze", "restart"]), st.integers(1, 60),
              st.booleans(), st.integers(0, SLACK_MS)),
    min_size=50, max_size=400)


_QUOTAS = [(60, 60_000), (600, 60_000), (2_400, 60_000), (10, 1_000), (150, 10_000), (3, 2_000)]


@settings(max_examples=150, deadline=None)
@given(_ACTIONS, st.sampled_from(_QUOTAS))
def test_no_window_holds_more_than_the_quota_whatever_comes_when_and_however_late_it_arrives(
        actions: list[tuple[str, int, bool, int]], quota: tuple[int, int]) -> None:
    limit, window_ms = quota
    ledger, exchange, now_ms, frozen_ms = ledger_of(limit, window_ms), CountingExchange(), START_MS, 0
    ours = limit
    for action, number, urgent, travel_ms in actions:
        if action == "wait":
            now_ms += number * number
        elif action == "leap":
            now_ms += number * window_ms // 20
        elif action == "limit":
            ours = max(limit * number // 60, 1)
            ledger.set_limit(ours, 5, SETTINGS.urgent_share, now_ms)
        elif action == "restart" and number > 45:
            ledger = Ledger("weight", quota_of(ours, window_ms), biggest=5, settings=SETTINGS, now_ms=now_ms)
            ledger.follow(now_ms)
            ledger.freeze(frozen_ms)
        elif action == "freeze" and number > 55:
            ledger.freeze(now_ms + number * 10)
            frozen_ms = max(frozen_ms, now_ms + number * 10)
        else:
            units = min(1 + number % 8, limit)
            for _ in range(number):
                wait_until_ms = ask(ledger, units, now_ms, urgent=urgent)
                if not wait_until_ms:
                    assert now_ms >= frozen_ms
                    exchange.take(now_ms + travel_ms, units)
                elif travel_ms % 2:
                    now_ms = wait_until_ms
                else:
                    break
    assert exchange.worst(window_ms) <= limit
    assert max(exchange.aligned(window_ms).values(), default=0) <= limit


@pytest.mark.parametrize(("limit", "window_ms"), [(10, 1_000), (600, MINUTE_MS)])
def test_a_run_that_starts_under_a_low_limit_does_not_forget_the_run_before_when_the_limit_is_raised(
        limit: int, window_ms: int) -> None:
    exchange, before = CountingExchange(), ledger_of(limit, window_ms)
    now_ms = begun_ms = START_MS + 2 * window_ms  # its bucket is full
    while now_ms < begun_ms + window_ms:
        wait_until_ms = ask(before, 1, now_ms, urgent=True)
        if not wait_until_ms:
            exchange.take(now_ms, 1)
        now_ms = max(now_ms, wait_until_ms)
    now_ms = begun_ms + window_ms - 1
    after = Ledger("weight", quota_of(1, window_ms), biggest=5, settings=SETTINGS, now_ms=now_ms)
    after.follow(now_ms)
    after.set_limit(limit, 5, SETTINGS.urgent_share, now_ms)
    while not ask(after, 1, now_ms, urgent=True):
        exchange.take(now_ms, 1)
    assert exchange.worst(window_ms) <= limit


@pytest.mark.parametrize("seed", range(30))
def test_charges_larger_than_the_burst_keep_every_window_too(seed: int) -> None:
    """A list of many pages is one charge."""
    rng = Random(seed)
    ledger, exchange, now_ms = ledger_of(600), CountingExchange(), START_MS
    while now_ms < START_MS + 10 * MINUTE_MS:
        units = rng.choice([1, 1, 5, 40, 64, 120])
        while opens_at_ms := ask(ledger, units, now_ms, urgent=rng.random() < 0.3):
            now_ms = opens_at_ms
        exchange.take(now_ms + rng.randint(0, SLACK_MS), units)
        now_ms += rng.choice([0, 0, 0, 10, 3_000])
    assert exchange.worst(MINUTE_MS) <= 600


@pytest.mark.parametrize("limit", [600, 1_200, 2_400])
def test_with_demand_above_it_97_percent_of_the_quota_are_used_and_evenly(limit: int) -> None:
    ledger, rng = ledger_of(limit, biggest=dispatch_calls_max(limit)), Random(limit)
    granted: list[int] = []
    now_ms = START_MS
    while now_ms < START_MS + 11 * MINUTE_MS:
        units = rng.randint(1, dispatch_calls_max(limit))
        while opens_at_ms := ask(ledger, units, now_ms):
            now_ms = opens_at_ms
        granted += [now_ms] * units
    settled = [at_ms for at_ms in granted if at_ms >= START_MS + MINUTE_MS]
    assert len(settled) >= 0.97 * limit * 10
    assert len(settled) <= limit * 10
    seconds = [bisect_left(settled, at_ms + 1_000) - bisect_left(settled, at_ms)
               for at_ms in range(START_MS + MINUTE_MS, START_MS + 11 * MINUTE_MS, 1_000)]
    assert max(seconds) <= limit / 60 + ledger.burst


def test_a_new_ledger_starts_empty_so_that_what_an_earlier_run_spent_is_allowed_for() -> None:
    """Two runs, one after the other at once, are one run to the exchange."""
    exchange, now_ms = CountingExchange(), START_MS
    for _ in range(5):
        ledger = Ledger("weight", quota_of(600), biggest=8, settings=SETTINGS, now_ms=now_ms)
        until_ms = now_ms + 17_000
        while now_ms < until_ms:
            opens_at_ms = ask(ledger, 1, now_ms)
            if not opens_at_ms:
                exchange.take(now_ms, 1)
            now_ms = opens_at_ms or now_ms
    assert exchange.worst(MINUTE_MS) <= 600


def test_scheduled_work_leaves_the_reserve_to_urgent_work() -> None:
    ledger, now_ms = ledger_of(2_400, biggest=24), START_MS + MINUTE_MS
    ledger.known_from_ms = now_ms + MINUTE_MS  # no log, no overdraft
    while not ask(ledger, 1, now_ms):
        pass
    spent = 0
    while not ask(ledger, 1, now_ms, urgent=True):
        spent += 1
    assert spent == ledger.reserve >= 0.2 * ledger.burst - 1


def test_in_a_quiet_minute_a_burst_of_urgent_work_goes_at_once_up_to_the_overdraft() -> None:
    ledger, now_ms = ledger_of(2_400, biggest=24), START_MS + 5 * MINUTE_MS
    while not ask(ledger, 1, now_ms):
        pass
    spent = 0
    while not (opens_at_ms := ask(ledger, 11, now_ms, urgent=True)):
        spent += 11
    assert ledger.reserve + ledger.overdraft - 11 < spent <= ledger.reserve + ledger.overdraft
    assert ledger.overdraft == 120
    assert not ask(ledger, 11, opens_at_ms, urgent=True)  # from there on at the rate


def test_an_overdraft_is_worked_off_before_scheduled_work_goes_on() -> None:
    ledger, now_ms = ledger_of(2_400, biggest=24), START_MS + 5 * MINUTE_MS
    while not ask(ledger, 11, now_ms, urgent=True):
        pass
    opens_at_ms = ledger.opens_at_ms(1, now_ms, urgent=False)
    owed = ledger.burst + ledger.overdraft - 11 - (ledger.burst - ledger.reserve - 1)
    assert opens_at_ms - now_ms >= owed * MINUTE_MS // 2_400


def test_where_the_window_has_no_room_nothing_is_overdrawn() -> None:
    """A minute of bursts in which nothing else was sent: the log, and not the bucket, says when it is enough."""
    ledger, exchange, now_ms = ledger_of(2_400, biggest=24), CountingExchange(), START_MS + 5 * MINUTE_MS
    refused_by_log = 0
    for _ in range(3_000):
        bucket_ms = -(-(ledger.tat_us - (ledger.burst + ledger.overdraft - 5) * ledger.emission_us) // 1000)
        opens_at_ms = ask(ledger, 5, now_ms, urgent=True)
        if not opens_at_ms:
            exchange.take(now_ms + SLACK_MS * (now_ms % 2), 5)
        refused_by_log += opens_at_ms > max(bucket_ms, now_ms)
        now_ms = opens_at_ms or now_ms
    assert refused_by_log > 0
    assert 0.97 * 2_400 <= exchange.worst(MINUTE_MS) <= 2_400


def test_bursts_of_urgent_work_take_nothing_from_the_use_of_a_scarce_quota() -> None:
    ledger, exchange, rng, now_ms = ledger_of(2_400, biggest=24), CountingExchange(), Random(5), START_MS
    next_burst_ms, urgent = START_MS + 5_000, 0
    while now_ms < START_MS + 11 * MINUTE_MS:
        if now_ms >= next_burst_ms:
            urgent, next_burst_ms = rng.randint(1, 30), now_ms + rng.randint(500, 20_000)
        units = 11 if urgent else 5
        opens_at_ms = ask(ledger, units, now_ms, urgent=urgent > 0)
        if opens_at_ms:
            now_ms = opens_at_ms if urgent else min(opens_at_ms, max(next_burst_ms, now_ms + 1))
        else:
            urgent -= urgent > 0
            exchange.take(now_ms, units)
    settled = [units for at_ms, units in exchange.arrived if at_ms >= START_MS + MINUTE_MS]
    assert sum(settled) >= 0.97 * 2_400 * 10
    assert exchange.worst(MINUTE_MS + SLACK_MS) <= 2_400


def test_after_another_run_nothing_is_overdrawn_for_a_window_and_what_it_may_owe_is_worked_off_first() -> None:
    exchange, now_ms = CountingExchange(), START_MS + 5 * MINUTE_MS
    ledger = ledger_of(2_400, biggest=24)
    while now_ms < START_MS + 6 * MINUTE_MS:  # the run before ends in an overdraft, as deep as it can
        while not ask(ledger, 1, now_ms):
            exchange.take(now_ms, 1)
        now_ms += 200
    while not ask(ledger, 1, now_ms, urgent=True):
        exchange.take(now_ms, 1)
    budget = Budget(SETTINGS, now_ms=now_ms)
    budget.follow(now_ms)
    ledger = budget.ledger("weight", quota_of(2_400), biggest=24, now_ms=now_ms)
    first_ms = ledger.opens_at_ms(1, now_ms, urgent=True)
    assert first_ms - now_ms > ledger.overdraft * MINUTE_MS // 2_400
    known_ms = now_ms + MINUTE_MS + SLACK_MS
    while now_ms < known_ms + MINUTE_MS:
        opens_at_ms = ask(ledger, 11, now_ms, urgent=True)
        if not opens_at_ms:
            exchange.take(now_ms, 11)
            assert now_ms >= known_ms or ledger.tat_us - now_ms * 1000 <= ledger.burst * ledger.emission_us
        now_ms = opens_at_ms or now_ms
    assert exchange.worst(MINUTE_MS + SLACK_MS) <= 2_400


def test_where_nothing_outlives_a_run_nothing_is_overdrawn_after_a_change_of_the_limit_either() -> None:
    budget = Budget(SETTINGS, now_ms=START_MS)
    budget.follow(None)
    ledger = budget.ledger("weight", quota_of(2_400), biggest=24, now_ms=START_MS)
    budget.set_calls_per_minute(600, START_MS)
    now_ms = START_MS + 10 * MINUTE_MS
    for paced in (ledger, budget.operator):
        while not ask(paced, 1, now_ms, urgent=True):
            pass
        assert paced.tat_us - now_ms * 1000 <= paced.burst * paced.emission_us


def test_urgent_work_is_admitted_at_once_behind_any_demand_of_scheduled_work() -> None:
    ledger, now_ms = ledger_of(1_200, biggest=12), START_MS + MINUTE_MS
    for _ in range(500):
        while not ask(ledger, 1, now_ms):
            pass
        now_ms += 1_000
        while not ask(ledger, 1, now_ms):
            pass
        assert not ask(ledger, 1, now_ms, urgent=True)


def test_a_grant_charges_all_ledgers_and_a_deferral_none() -> None:
    budget = Budget(SETTINGS, now_ms=START_MS)
    wide = budget.ledger("wide", quota_of(6_000), biggest=50, now_ms=START_MS)
    narrow = budget.ledger("narrow", quota_of(5, 1_000), biggest=1, now_ms=START_MS)
    now_ms = START_MS + MINUTE_MS
    answers = [budget.request([(budget.operator, 1), (wide, 5), (narrow, 1)], now_ms, urgent=True) for _ in range(20)]
    granted = answers.count(None)
    assert 0 < granted < 20
    assert (budget.operator.granted, wide.granted, narrow.granted) == (granted, 5 * granted, granted)
    last = answers[-1]
    assert isinstance(last, Deferral)
    assert last.ledger is narrow
    assert budget.request([(budget.operator, 1), (wide, 5)], now_ms, urgent=True) is None  # it holds up nobody else
    assert budget.request([(budget.operator, 1), (narrow, 1)], last.at_ms, urgent=True) is None


def test_a_deferral_names_the_instant_from_which_the_same_request_is_granted_and_no_earlier() -> None:
    ledger, rng, now_ms = ledger_of(600), Random(3), START_MS
    for _ in range(2_000):
        units, urgent = rng.randint(1, 5), rng.random() < 0.3
        opens_at_ms = ledger.opens_at_ms(units, now_ms, urgent=urgent)
        if opens_at_ms > now_ms:
            assert ledger.opens_at_ms(units, opens_at_ms - 1, urgent=urgent) == opens_at_ms
            now_ms = opens_at_ms
        assert not ask(ledger, units, now_ms, urgent=urgent)


def test_a_freeze_holds_for_everybody_and_work_resumes_at_its_rate_and_not_as_a_herd() -> None:
    ledger, now_ms = ledger_of(600), START_MS + 5 * MINUTE_MS
    until_ms = now_ms + 90_000
    ledger.freeze(until_ms)
    ledger.freeze(now_ms + 1_000)  # a shorter one takes nothing away
    assert ledger.opens_at_ms(1, until_ms - 1, urgent=True) == until_ms
    granted, now_ms = 0, until_ms
    while now_ms < until_ms + 1_000:
        opens_at_ms = ask(ledger, 1, now_ms, urgent=True)
        granted += not opens_at_ms
        now_ms = opens_at_ms or now_ms
    assert granted <= 600 / 60 + 1


def test_a_freeze_of_an_earlier_run_waits_for_its_ledger() -> None:
    budget = Budget(SETTINGS, now_ms=START_MS)
    budget.freezes["weight"] = START_MS + 40_000
    ledger = budget.ledger("weight", quota_of(600), biggest=5, now_ms=START_MS)
    assert ledger.opens_at_ms(1, START_MS, urgent=True) == START_MS + 40_000


def test_a_change_of_the_cap_settles_within_a_window_without_a_burst() -> None:
    budget, exchange, now_ms = Budget(Settings(calls_per_minute=2_400), now_ms=START_MS), CountingExchange(), START_MS
    caps = {0: 2_400, 3: 600, 6: 2_400}
    for minute in range(10):
        if minute in caps:
            budget.set_calls_per_minute(caps[minute], now_ms)
        while now_ms < START_MS + (minute + 1) * MINUTE_MS:
            deferral = budget.request([(budget.operator, 1)], now_ms, urgent=False)
            if deferral is None:
                exchange.take(now_ms, 1)
            else:
                now_ms = deferral.at_ms
    at = sorted(at_ms for at_ms, _ in exchange.arrived)

    def used(first_minute: float, minutes: float = 1) -> int:
        start_ms = START_MS + int(first_minute * MINUTE_MS)
        return bisect_right(at, start_ms + int(minutes * MINUTE_MS) - 1) - bisect_left(at, start_ms)

    assert exchange.worst(MINUTE_MS) <= 2_400
    assert 0.97 * 600 <= used(3.05) <= 600
    assert 0.97 * 600 <= used(4) <= 600
    assert 0.97 * 2_400 <= used(6.05) <= 2_400
    assert used(6, 1 / 60) <= 40 + budget.operator.burst  # the first second after the cap was raised


def test_a_jump_of_the_clock_admits_one_burst_and_one_overdraft_and_no_more() -> None:
    ledger, now_ms = ledger_of(600, biggest=8), START_MS + MINUTE_MS
    for _ in range(3):
        now_ms += 3_600_000
        granted = 0
        while not ask(ledger, 1, now_ms, urgent=True):
            granted += 1
        assert granted == ledger.burst + ledger.overdraft
