"""Milliseconds and decimals: exact, and rounded to the cautious side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.units import canonical, ms_from_s


@pytest.mark.parametrize(("seconds", "span_ms"), [
    (0, 0), (5, 5_000), (2.007, 2_007), (1.001, 1_001), (0.0001, 1), (2.0071, 2_008), (1e-9, 1),
    (86_400.5, 86_400_500)])
def test_seconds_become_the_milliseconds_that_were_written(seconds: float, span_ms: int) -> None:
    assert ms_from_s(seconds) == span_ms


@given(st.integers(0, 10**9))
def test_every_whole_number_of_milliseconds_survives_being_written_in_seconds(span_ms: int) -> None:
    assert ms_from_s(float(f"{span_ms // 1000}.{span_ms % 1000:03}")) == span_ms


@pytest.mark.parametrize(("text", "spelt"), [
    ("1.50", "1.5"), ("1E-8", "0.00000001"), ("1e3", "1000"), ("-0.00", "0"), ("0E-10", "0"), ("-2.0", "-2"),
    ("100", "100"), ("0.000", "0"), ("1234567890.123456789012345678901", "1234567890.123456789012345678901")])
def test_a_decimal_has_one_spelling(text: str, spelt: str) -> None:
    assert canonical(text) == spelt


@pytest.mark.parametrize("text", ["", "NaN", "Infinity", "-inf", "one", "1,5"])
def test_what_is_no_finite_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="decimal"):
        canonical(text)
