"""The budget beside another program on the same address: what both use in an aligned window stays within the limit."""

from random import Random

import pytest
from tests.unit.budget_world import MINUTE_MS, START_MS, CountingExchange, ask, ledger_of


def _beside(pace: dict[int, float], minutes: int, seed: int, *,
            urgent: float = 0.0) -> tuple[CountingExchange, CountingExchange]:
    """Our calls under full demand, a share of them urgent, and another program's at a pace (units a minute)."""
    rng, ledger = Random(seed), ledger_of(2_400, biggest=40, aligned=True)
    ours, theirs = CountingExchange(), CountingExchange()
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
            next_ask_ms = ask(ledger, units, now_ms, urgent=urgent > 0 and rng.random() < urgent)
            if not next_ask_ms:
                sent_ms = now_ms + rng.randint(0, 250)
                arriving.append((sent_ms + rng.randint(10, 200), sent_ms, units))
        now_ms += 20
    return ours, theirs


@pytest.mark.parametrize("urgent", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("pace", [0, 60, 300, 600, 1_200, 1_800, 2_000])
def test_our_calls_and_a_steady_neighbours_never_exceed_the_limit_of_an_aligned_window(pace: int,
                                                                                       urgent: float) -> None:
    ours, theirs = _beside(dict.fromkeys(range(5), float(pace)), 5, pace, urgent=urgent)
    mine, other = ours.aligned(MINUTE_MS), theirs.aligned(MINUTE_MS)
    assert all(mine.get(window, 0) + other.get(window, 0) <= 2_400 for window in mine)
    # What is used in all stays worth having: the margin for the neighbour is a quarter of its use. Where all work is
    # urgent it is overdrawn now and then, and a minute later a part stays unused: how much, is chance.
    worth = 0.9 if urgent < 1 else 0.7
    assert sum(mine.values()) / 5 >= worth * (2_400 - 1.25 * pace) - 50


@pytest.mark.parametrize("urgent", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("first", "step"), [(0, 120), (300, 150), (600, 200), (1_500, -250), (1_200, -400)])
def test_nor_do_they_while_the_neighbour_grows_moderately_or_shrinks(first: int, step: int, urgent: float) -> None:
    pace = {minute: float(max(first + step * minute, 0)) for minute in range(8)}
    ours, theirs = _beside(pace, 8, first, urgent=urgent)
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
    ledger, now_ms = ledger_of(2_400, aligned=True), START_MS - START_MS % MINUTE_MS + MINUTE_MS
    ledger.charge(5, now_ms + 10)
    before = ledger.emission_us
    ledger.observe(2_390, now_ms - 1, now_ms + 100)  # sent before the edge
    ledger.observe(2_390, now_ms + 20, now_ms + 100)  # so near the edge that its clock may have counted it before
    assert (ledger.emission_us, ledger.seen_used) == (before, -1)


def test_a_burst_of_a_neighbour_slows_us_and_does_not_stop_us() -> None:
    ledger, start_ms = ledger_of(2_400, biggest=5, aligned=True), START_MS - START_MS % MINUTE_MS + MINUTE_MS
    ledger.charge(5, start_ms + 300)
    ledger.observe(605, start_ms + 300, start_ms + 400)
    granted, now_ms = 0, start_ms + 400
    while now_ms < start_ms + MINUTE_MS:
        opens_at_ms = ask(ledger, 5, now_ms)
        if not opens_at_ms:
            granted += 5
            ledger.observe(605 + granted, now_ms, now_ms)
        now_ms = max(opens_at_ms, now_ms)
    assert granted >= 500


def test_our_own_call_at_the_turn_of_a_minute_is_no_neighbours_however_late_we_look() -> None:
    """Few calls: the first look at the new minute comes when that call is long done, and counted there."""
    ledger, turn_ms = ledger_of(600, biggest=40, aligned=True), (START_MS // MINUTE_MS + 2) * MINUTE_MS
    ledger.charge(5, turn_ms - 2_000)
    ledger.observe(5, turn_ms - 2_000, turn_ms - 1_800)
    rate_us = ledger.emission_us
    ledger.charge(8, turn_ms - 100)
    ledger.charge(5, turn_ms + 3_000)
    ledger.observe(13, turn_ms + 3_000, turn_ms + 3_150)
    assert (ledger.foreign, ledger.emission_us) == (0, rate_us)
