"""The budget, held against an exchange that counts for itself: never over, full where it is scarce, even, and just."""

from bisect import bisect_left, bisect_right
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetsync.budget import Budget, Deferral, Ledger, dispatch_calls_max
from fleetsync.config import Settings
from fleetsync.tariff import Quota, Scope

START_MS = 1_700_000_000_000
MINUTE_MS = 60_000
SETTINGS = Settings(grant_valid_ms=300, network_jitter_ms=200)
SLACK_MS = 500


def _quota(limit: int, window_ms: int = MINUTE_MS, *, aligned: bool = False) -> Quota:
    return Quota("weight", Scope.EGRESS, limit, window_ms, aligned)


def _ledger(limit: int, window_ms: int = MINUTE_MS, *, biggest: int = 5, aligned: bool = False) -> Ledger:
    return Ledger("weight", _quota(limit, window_ms, aligned=aligned), biggest=biggest, settings=SETTINGS,
                  now_ms=START_MS)


class _Exchange:
    """Counts what arrives."""

    def __init__(self) -> None:
        self.arrived: list[tuple[int, int]] = []

    def take(self, at_ms: int, units: int) -> None:
        self.arrived.append((at_ms, units))

    def worst(self, window_ms: int, *, since_ms: int = 0) -> int:
        """Units in the fullest window that begins at an arrival."""
        arrived = sorted(row for row in self.arrived if row[0] >= since_ms)
        worst = total = last = 0
        for start_ms, units in arrived:
            while last < len(arrived) and arrived[last][0] < start_ms + window_ms:
                total += arrived[last][1]
                last += 1
            worst = max(worst, total)
            total -= units
        return worst

    def aligned(self, window_ms: int) -> dict[int, int]:
        """Units by aligned window."""
        totals: dict[int, int] = {}
        for at_ms, units in self.arrived:
            totals[at_ms // window_ms] = totals.get(at_ms // window_ms, 0) + units
        return totals


def _ask(ledger: Ledger, units: int, now_ms: int, *, urgent: bool = False) -> int:
    """0 when granted, otherwise when to ask again."""
    opens_at_ms = ledger.opens_at_ms(units, now_ms, urgent=urgent)
    if opens_at_ms > now_ms:
        return opens_at_ms
    ledger.charge(units, now_ms)
    return 0


_ACTIONS = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "ask", "wait", "leap", "limit", "freeze"]), st.integers(1, 60),
              st.booleans(), st.integers(0, SLACK_MS)),
    min_size=50, max_size=400)


@settings(max_examples=150, deadline=None)
@given(_ACTIONS, st.sampled_from([(60, 60_000), (600, 60_000), (2_400, 60_000), (10, 1_000), (150, 10_000), (3, 2_000)]))
def test_no_window_holds_more_than_the_quota_whatever_comes_when_and_however_late_it_arrives(
        actions: list[tuple[str, int, bool, int]], quota: tuple[int, int]) -> None:
    limit, window_ms = quota
    ledger, exchange, now_ms, frozen_ms = _ledger(limit, window_ms), _Exchange(), START_MS, 0
    for action, number, urgent, travel_ms in actions:
        if action == "wait":
            now_ms += number * number
        elif action == "leap":
            now_ms += number * window_ms // 20
        elif action == "limit":
            ledger.set_limit(max(limit * number // 60, 1), 5, SETTINGS.urgent_share, now_ms)
        elif action == "freeze" and number > 55:
            ledger.freeze(now_ms + number * 10)
            frozen_ms = max(frozen_ms, now_ms + number * 10)
        else:
            units = min(1 + number % 8, limit)
            for _ in range(number):
                wait_until_ms = _ask(ledger, units, now_ms, urgent=urgent)
                if not wait_until_ms:
                    assert now_ms >= frozen_ms
                    exchange.take(now_ms + travel_ms, units)
                elif travel_ms % 2:
                    now_ms = wait_until_ms
                else:
                    break
    assert exchange.worst(window_ms) <= limit
    assert max(exchange.aligned(window_ms).values(), default=0) <= limit


@pytest.mark.parametrize("seed", range(30))
def test_charges_larger_than_the_burst_keep_every_window_too(seed: int) -> None:
    """A list of many pages is one charge."""
    rng = Random(seed)
    ledger, exchange, now_ms = _ledger(600), _Exchange(), START_MS
    while now_ms < START_MS + 10 * MINUTE_MS:
        units = rng.choice([1, 1, 5, 40, 64, 120])
        while opens_at_ms := _ask(ledger, units, now_ms, urgent=rng.random() < 0.3):
            now_ms = opens_at_ms
        exchange.take(now_ms + rng.randint(0, SLACK_MS), units)
        now_ms += rng.choice([0, 0, 0, 10, 3_000])
    assert exchange.worst(MINUTE_MS) <= 600


@pytest.mark.parametrize("limit", [600, 1_200, 2_400])
def test_with_demand_above_it_97_percent_of_the_quota_are_used_and_evenly(limit: int) -> None:
    ledger, rng = _ledger(limit, biggest=dispatch_calls_max(limit)), Random(limit)
    granted: list[int] = []
    now_ms = START_MS
    while now_ms < START_MS + 11 * MINUTE_MS:
        units = rng.randint(1, dispatch_calls_max(limit))
        while opens_at_ms := _ask(ledger, units, now_ms):
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
    exchange, now_ms = _Exchange(), START_MS
    for _ in range(5):
        ledger = Ledger("weight", _quota(600), biggest=8, settings=SETTINGS, now_ms=now_ms)
        until_ms = now_ms + 17_000
        while now_ms < until_ms:
            opens_at_ms = _ask(ledger, 1, now_ms)
            if not opens_at_ms:
                exchange.take(now_ms, 1)
            now_ms = opens_at_ms or now_ms
    assert exchange.worst(MINUTE_MS) <= 600


def test_scheduled_work_leaves_the_reserve_to_urgent_work() -> None:
    ledger, now_ms = _ledger(2_400, biggest=24), START_MS + MINUTE_MS
    while not _ask(ledger, 1, now_ms):
        pass
    spent = 0
    while not _ask(ledger, 1, now_ms, urgent=True):
        spent += 1
    assert spent == ledger.reserve >= 0.2 * ledger.burst - 1


def test_urgent_work_is_admitted_at_once_behind_any_demand_of_scheduled_work() -> None:
    ledger, now_ms = _ledger(1_200, biggest=12), START_MS + MINUTE_MS
    for _ in range(500):
        while not _ask(ledger, 1, now_ms):
            pass
        now_ms += 1_000
        while not _ask(ledger, 1, now_ms):
            pass
        assert not _ask(ledger, 1, now_ms, urgent=True)


def test_a_grant_charges_all_ledgers_and_a_deferral_none() -> None:
    budget = Budget(SETTINGS, now_ms=START_MS)
    wide = budget.ledger("wide", _quota(6_000), biggest=50, now_ms=START_MS)
    narrow = budget.ledger("narrow", _quota(5, 1_000), biggest=1, now_ms=START_MS)
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
    ledger, rng, now_ms = _ledger(600), Random(3), START_MS
    for _ in range(2_000):
        units, urgent = rng.randint(1, 5), rng.random() < 0.3
        opens_at_ms = ledger.opens_at_ms(units, now_ms, urgent=urgent)
        if opens_at_ms > now_ms:
            assert ledger.opens_at_ms(units, opens_at_ms - 1, urgent=urgent) == opens_at_ms
            now_ms = opens_at_ms
        assert not _ask(ledger, units, now_ms, urgent=urgent)


def test_a_freeze_holds_for_everybody_and_work_resumes_at_its_rate_and_not_as_a_herd() -> None:
    ledger, now_ms = _ledger(600), START_MS + 5 * MINUTE_MS
    until_ms = now_ms + 90_000
    ledger.freeze(until_ms)
    ledger.freeze(now_ms + 1_000)  # a shorter one takes nothing away
    assert ledger.opens_at_ms(1, until_ms - 1, urgent=True) == until_ms
    granted, now_ms = 0, until_ms
    while now_ms < until_ms + 1_000:
        opens_at_ms = _ask(ledger, 1, now_ms, urgent=True)
        granted += not opens_at_ms
        now_ms = opens_at_ms or now_ms
    assert granted <= 600 / 60 + 1


def test_a_freeze_of_an_earlier_run_waits_for_its_ledger() -> None:
    budget = Budget(SETTINGS, now_ms=START_MS)
    budget.freezes["weight"] = START_MS + 40_000
    ledger = budget.ledger("weight", _quota(600), biggest=5, now_ms=START_MS)
    assert ledger.opens_at_ms(1, START_MS, urgent=True) == START_MS + 40_000


def test_a_change_of_the_cap_settles_within_a_window_without_a_burst() -> None:
    budget, exchange, now_ms = Budget(Settings(calls_per_minute=2_400), now_ms=START_MS), _Exchange(), START_MS
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


def test_a_jump_of_the_clock_admits_one_burst_and_no_more() -> None:
    ledger, now_ms = _ledger(600, biggest=8), START_MS + MINUTE_MS
    for _ in range(3):
        now_ms += 3_600_000
        granted = 0
        while not _ask(ledger, 1, now_ms, urgent=True):
            granted += 1
        assert granted == ledger.burst


def _beside(pace: dict[int, float], minutes: int, seed: int, *, limit: int = 2_400) -> tuple[_Exchange, _Exchange]:
    """Our calls under full demand, and those of another program at a pace (units a minute) by minute."""
    rng, ledger = Random(seed), _ledger(limit, biggest=40, aligned=True)
    ours, theirs = _Exchange(), _Exchange()
    counted: dict[int, int] = {}
    arriving: list[tuple[int, int, int]] = []  # (arrives, sent, units)
    reports: list[tuple[int, int, int]] = []  # (told, sent, used)
    now_ms, foreign, next_ask_ms = START_MS - START_MS % MINUTE_MS, 0.0, 0
    ledger.tat_us = now_ms * 1000
    start_ms = now_ms
    while now_ms < start_ms + minutes * MINUTE_MS:
        window = now_ms // MINUTE_MS
        foreign += pace[(now_ms - start_ms) // MINUTE_MS] * 20 / MINUTE_MS
        if foreign >= 5:
            counted[window] = counted.get(window, 0) + int(foreign)
            theirs.take(now_ms, int(foreign))
            foreign -= int(foreign)
        for row in [row for row in arriving if row[0] <= now_ms]:
            arriving.remove(row)
            counted[window] = counted.get(window, 0) + row[2]
            ours.take(now_ms, row[2])
            reports.append((now_ms + rng.randint(20, 150), row[1], counted[window]))
        for report in [report for report in reports if report[0] <= now_ms]:
            reports.remove(report)
            ledger.observe(report[2], report[1], now_ms)
        while now_ms >= next_ask_ms:
            units = rng.choice([5, 5, 5, 1, 40])
            next_ask_ms = _ask(ledger, units, now_ms)
            if not next_ask_ms:
                sent_ms = now_ms + rng.randint(0, 250)
                arriving.append((sent_ms + rng.randint(10, 200), sent_ms, units))
        now_ms += 20
    return ours, theirs


@pytest.mark.parametrize("pace", [0, 60, 300, 600, 1_200, 1_800, 2_000])
def test_our_calls_and_a_steady_neighbours_never_exceed_the_limit_of_an_aligned_window(pace: int) -> None:
    ours, theirs = _beside(dict.fromkeys(range(5), float(pace)), 5, pace)
    mine, other = ours.aligned(MINUTE_MS), theirs.aligned(MINUTE_MS)
    assert all(mine.get(window, 0) + other.get(window, 0) <= 2_400 for window in mine)
    # What is used in all stays worth having: the margin for the neighbour is a quarter of its use.
    assert sum(mine.values()) / 5 >= 0.9 * (2_400 - 1.25 * pace) - 50


@pytest.mark.parametrize(("first", "step"), [(0, 120), (300, 150), (600, 200), (1_500, -250), (1_200, -400)])
def test_nor_do_they_while_the_neighbour_grows_moderately_or_shrinks(first: int, step: int) -> None:
    pace = {minute: float(max(first + step * minute, 0)) for minute in range(8)}
    ours, theirs = _beside(pace, 8, first)
    mine, other = ours.aligned(MINUTE_MS), theirs.aligned(MINUTE_MS)
    assert all(mine.get(window, 0) + other.get(window, 0) <= 2_400 for window in mine)


def test_when_the_neighbour_leaves_its_share_is_ours_again_within_two_windows() -> None:
    pace = dict.fromkeys(range(3), 2_300.0) | dict.fromkeys(range(3, 8), 0.0)
    ours, _ = _beside(pace, 8, 1)
    totals = [total for _, total in sorted(ours.aligned(MINUTE_MS).items())]
    assert totals[-2] >= 0.95 * 2_400


def test_our_own_calls_never_look_like_a_neighbours() -> None:
    """Alone, with the exchange's counter read, the quota is used as fully as without it."""
    ours, _ = _beside(dict.fromkeys(range(6), 0.0), 6, 4)
    totals = [total for _, total in sorted(ours.aligned(MINUTE_MS).items())]
    assert min(totals[1:-1]) >= 0.94 * 2_400


def test_a_counter_of_a_window_that_is_over_changes_nothing() -> None:
    ledger, now_ms = _ledger(2_400, aligned=True), START_MS - START_MS % MINUTE_MS + MINUTE_MS
    ledger.charge(5, now_ms + 10)
    before = ledger.emission_us
    ledger.observe(2_390, now_ms - 1, now_ms + 100)  # sent before the edge
    ledger.observe(2_390, now_ms + 20, now_ms + 100)  # so near the edge that its clock may have counted it before
    assert (ledger.emission_us, ledger.seen_used) == (before, -1)


def test_a_burst_of_a_neighbour_slows_us_and_does_not_stop_us() -> None:
    ledger, start_ms = _ledger(2_400, biggest=5, aligned=True), START_MS - START_MS % MINUTE_MS + MINUTE_MS
    ledger.charge(5, start_ms + 300)
    ledger.observe(605, start_ms + 300, start_ms + 400)
    granted, now_ms = 0, start_ms + 400
    while now_ms < start_ms + MINUTE_MS:
        opens_at_ms = _ask(ledger, 5, now_ms)
        if not opens_at_ms:
            granted += 5
            ledger.observe(605 + granted, now_ms, now_ms)
        now_ms = max(opens_at_ms, now_ms)
    assert granted >= 500
