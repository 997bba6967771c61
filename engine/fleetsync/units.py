"""Milliseconds, and how we round them.

Spans end in `_ms`, instants in `_at_ms`; both are integers. An instant counts milliseconds since the Unix epoch, read
from a clock that never goes back (see `clock`). Money and sizes are exact decimals carried as strings; they are never
floats. Rounding always goes to the cautious side: a wait is rounded up.
"""

from decimal import Decimal
from math import ceil

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
LONGEST_SPAN_MS = 3_660 * DAY_MS
"""Ten years: nobody means a longer wait, and sums of some of them still fit wherever instants are kept."""

ZERO = Decimal(0)
_DIGITS_MAX = 60  # of an amount, before or behind its point


def ms_from_s(seconds: float) -> int:
    """Whole milliseconds that last at least `seconds`, as they are written: 2.007 s are 2007 ms, not 2008."""
    return ceil(Decimal(str(seconds)) * SECOND_MS)


def s_from_ms(span_ms: int) -> float:
    """Seconds, for people and for asyncio's timers only; never stored."""
    return span_ms / SECOND_MS


def canonical(number: str | Decimal) -> str:
    """One spelling for a decimal: no exponent, no trailing zeros, no minus zero (`"1.50" -> "1.5"`).

    Raises:
        ValueError: `number` is not a finite decimal, or has more digits than any amount.
    """
    try:
        value = Decimal(number)
    except ArithmeticError as error:
        raise ValueError(f"not a decimal: {str(number)[:_DIGITS_MAX]!r}") from error
    if not value.is_finite():
        raise ValueError(f"not a finite decimal: {number!r}")
    if value == ZERO:
        return "0"
    if abs(value.adjusted()) > _DIGITS_MAX or len(value.as_tuple().digits) > _DIGITS_MAX:  # "1e999999" has a megabyte
        raise ValueError(f"a decimal of more than {_DIGITS_MAX} digits")
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
