"""The call meter: exact counts of the worst minute, however fast and out of order the reports come."""

from hypothesis import given
from hypothesis import strategies as st

from fleetsync.meter import CallMeter
from fleetsync.units import MINUTE_MS

START_MS = 1_760_000_000_000


def fullest_minute(sent: list[int]) -> int:
    return max(sum(end - MINUTE_MS < at_ms <= end for at_ms in sent) for end in sent)


@given(st.lists(st.tuples(st.integers(0, 9_000), st.integers(0, 20_000)), min_size=1, max_size=60), st.data())
def test_the_worst_minute_is_that_of_all_windows_whatever_the_order_of_the_reports(
        steps: list[tuple[int, int]], data: st.DataObject) -> None:
    meter, sent, now_ms = CallMeter(), list[int](), START_MS
    for forward_ms, late_ms in steps:
        now_ms += forward_ms
        sent.append(now_ms - late_ms)
        meter.count(sent[-1])
        if data.draw(st.booleans()):
            assert meter.worst_minute == fullest_minute(sent)
    assert meter.calls == len(sent)
    assert meter.worst_minute == fullest_minute(sent)
    assert meter.last_minute(now_ms) == sum(at_ms > now_ms - MINUTE_MS for at_ms in sent)


def test_a_flood_is_counted_exactly_and_what_is_old_is_forgotten() -> None:
    meter = CallMeter()
    for at_ms in range(START_MS, START_MS + 10 * MINUTE_MS, 5):
        meter.count(at_ms)
        meter.count(at_ms)
    assert meter.worst_minute == 2 * MINUTE_MS // 5
    assert meter.last_minute(START_MS + 10 * MINUTE_MS) == 2 * (MINUTE_MS // 5 - 1)
    assert len(meter._at_ms) < 5 * MINUTE_MS // 5
