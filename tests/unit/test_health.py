"""When an account rests, and when a route's circuit opens, probes and closes."""

from random import Random

import pytest

from fleetsync.config import Settings
from fleetsync.health import Circuit, backoff_ms

SETTINGS = Settings(backoff_ms=1_000, backoff_max_ms=60_000)


def _opened(at_ms: int = 1_000) -> Circuit:
    circuit, rng = Circuit(), Random(1)
    for number in range(100):
        if circuit.failed(f"a{number % 3}", at_ms, SETTINGS, rng):
            return circuit
    raise AssertionError("it never opened")


@pytest.mark.parametrize("failures", [1, 2, 3, 6, 7, 50, 5_000])
def test_rests_double_up_to_a_bound_with_half_of_each_at_random(failures: int) -> None:
    rng = Random(failures)
    full_ms = min(1_000 * 2 ** min(failures - 1, 20), 60_000)
    rests = [backoff_ms(failures, SETTINGS, rng) for _ in range(500)]
    assert full_ms // 2 <= min(rests) < max(rests) <= full_ms
    assert max(rests) - min(rests) > 0.4 * full_ms


def test_failures_of_one_account_alone_open_no_circuit() -> None:
    circuit = Circuit()
    assert not any(circuit.failed("a", 1_000, SETTINGS, Random(1)) for _ in range(1_000))
    assert (circuit.state, circuit.admits_at_ms(1_000)) == ("closed", 1_000)


def test_failures_across_accounts_open_it_once() -> None:
    circuit, rng = Circuit(), Random(1)
    told = [circuit.failed(f"a{number % 2}", 1_000, SETTINGS, rng) for number in range(50)]
    assert told.count(True) == 1
    assert circuit.state == "open"


def test_an_answer_between_failures_begins_the_count_anew() -> None:
    circuit = Circuit()
    for number in range(200):
        assert not circuit.failed(f"a{number}", 1_000, SETTINGS, Random(1))
        if number % 5 == 0:
            assert not circuit.succeeded()
    assert circuit.state == "closed"


def test_an_open_circuit_admits_one_probe_at_a_time() -> None:
    circuit = _opened()
    due_ms = circuit.admits_at_ms(1_000)
    assert due_ms > 1_000
    assert circuit.admits_at_ms(due_ms) == due_ms
    circuit.sent()
    assert circuit.state == "half-open"
    assert circuit.admits_at_ms(due_ms) > due_ms
    assert circuit.admits_at_ms(due_ms + 600_000) > due_ms + 600_000


def test_the_first_answer_closes_it_and_says_so_once() -> None:
    circuit = _opened()
    circuit.sent()
    assert circuit.succeeded()
    assert not circuit.succeeded()
    assert (circuit.state, circuit.admits_at_ms(2_000)) == ("closed", 2_000)


def test_probes_that_fail_come_ever_more_seldom_up_to_a_bound() -> None:
    circuit, rng, now_ms, waits = _opened(), Random(2), 1_000, []
    for _ in range(30):
        at_ms = circuit.admits_at_ms(now_ms)
        waits.append(at_ms - now_ms)
        now_ms = at_ms
        circuit.sent()
        circuit.failed("a1", now_ms, SETTINGS, rng)
    assert max(waits[:3]) <= 4_000
    assert all(15_000 <= wait <= 30_000 for wait in waits[10:])


def test_a_probe_that_told_nothing_makes_room_for_the_next() -> None:
    circuit = _opened()
    now_ms = circuit.admits_at_ms(1_000)
    circuit.sent()
    circuit.ended(now_ms + 50)
    assert circuit.state == "open"
    assert now_ms + 50 < circuit.admits_at_ms(now_ms + 50) <= now_ms + 2_050


def test_the_end_of_a_call_on_a_closed_circuit_changes_nothing() -> None:
    circuit = Circuit()
    circuit.sent()
    circuit.ended(5_000)
    assert circuit.admits_at_ms(5_000) == 5_000
