import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync_adapters.paper.ledger import Ledger

MINUTE_MS = 60_000
START_MS = 1_790_000_000_123


def worst_sliding(instants: list[int]) -> int:
    return max(sum(start <= at < start + MINUTE_MS for at in instants) for start in instants)


def worst_aligned(instants: list[int], weights: list[int]) -> int:
    minutes: dict[int, int] = {}
    for at, weight in zip(instants, weights, strict=True):
        minutes[at // MINUTE_MS] = minutes.get(at // MINUTE_MS, 0) + weight
    return max(minutes.values())


@given(st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 40)), min_size=1, max_size=80), st.integers(2, 30))
def test_the_worst_minutes_are_those_that_counting_every_window_finds(
    requests: list[tuple[int, int]], keep: int
) -> None:
    ledger = Ledger(keep)
    at_ms = START_MS
    instants, weights = [], []
    for gap_ms, weight in requests:
        at_ms += gap_ms
        instants.append(at_ms)
        weights.append(weight)
        ledger.receive(at_ms, 0, "GET /x", weight, "a")
    found = ledger.summary()
    assert found["calls"] == len(instants)
    assert found["weight"] == sum(weights)
    assert found["worst_minute_calls"] == worst_sliding(instants)
    assert found["worst_minute_weight"] == worst_aligned(instants, weights)
    assert len(ledger.rows(limit=1000)) <= keep


def test_two_calls_exactly_a_minute_apart_never_share_a_window() -> None:
    ledger = Ledger()
    for at_ms in (START_MS, START_MS + MINUTE_MS):
        ledger.receive(at_ms, 0, "GET /x", 1, "a")
    assert ledger.summary()["worst_minute_calls"] == 1
    ledger.receive(START_MS + 2 * MINUTE_MS - 1, 0, "GET /x", 1, "a")
    assert ledger.summary()["worst_minute_calls"] == 2


def test_rows_are_read_page_by_page_and_older_ones_go_first() -> None:
    ledger = Ledger(keep=10)
    for number in range(25):
        ledger.settle(ledger.receive(START_MS + number, number % 3, f"GET /{number % 2}", number, "a"), 200)
    rows = ledger.rows()
    assert [row.number for row in rows] == list(range(rows[0].number, 25))
    assert 5 <= len(rows) <= 10
    page = ledger.rows(after=rows[0].number, limit=2)
    assert [row.number for row in page] == [rows[1].number, rows[2].number]
    assert {row.account for row in ledger.rows(account=1)} == {1}
    last = rows[-1]
    assert (last.at_ms, last.endpoint, last.weight, last.status, last.ip) == (START_MS + 24, "GET /0", 24, 200, "a")


def test_totals_stay_exact_after_rows_were_dropped() -> None:
    ledger = Ledger(keep=4)
    for number in range(100):
        status = 429 if number % 10 == 0 else 200
        ledger.settle(ledger.receive(START_MS, number % 2, "GET /x", 1, "a"), status)
    assert ledger.summary()["refused_429"] == 10
    assert ledger.by_endpoint["GET /x"] == 100
    assert ledger.by_account[0] == ledger.by_account[1] == 50


def test_each_address_has_totals_of_its_own() -> None:
    ledger = Ledger()
    for number, ip in enumerate(("a", "a", "b")):
        ledger.settle(ledger.receive(START_MS + number, 0, "GET /x", 5, ip), 418 if ip == "b" else 200)
    assert ledger.summary("a") == {
        "calls": 2, "weight": 10, "worst_minute_calls": 2, "worst_minute_weight": 10, "refused_429": 0,
        "refused_418": 0,
    }
    assert ledger.summary("b")["refused_418"] == 1
    assert ledger.summary("nobody")["calls"] == 0


def test_a_status_that_turns_out_otherwise_replaces_the_first_one() -> None:
    ledger = Ledger()
    number = ledger.receive(START_MS, 0, "GET /x", 1, "a")
    ledger.settle(number, 200)
    ledger.amend(number, 200, 400)
    assert dict(ledger.by_status) == {200: 0, 400: 1}
    assert ledger.rows()[0].status == 400


def test_a_clock_that_steps_back_does_not_put_rows_out_of_order() -> None:
    ledger = Ledger()
    ledger.receive(START_MS, 0, "GET /x", 1, "a")
    ledger.receive(START_MS - 5_000, 0, "GET /x", 1, "a")
    assert [row.at_ms for row in ledger.rows()] == [START_MS, START_MS]


def test_a_ledger_that_could_keep_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Ledger(keep=1)
