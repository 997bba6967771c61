"""Time goes forward, at the monotonic clock's pace, and is one for all processes."""

import subprocess
import sys
import time

import pytest

from fleetsync.clock import SystemClock, VirtualClock
from fleetsync.units import DAY_MS


def test_the_system_clock_starts_at_the_systems_own_time() -> None:
    before_ms = time.time_ns() // 1_000_000
    now_ms = SystemClock().now_ms()
    after_ms = time.time_ns() // 1_000_000
    assert before_ms - 1 <= now_ms <= after_ms + 1  # two roundings


def test_setting_the_system_clock_back_or_forth_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    before_ms, real = clock.now_ms(), time.time_ns
    for jump_ms in (-DAY_MS, DAY_MS):
        monkeypatch.setattr(time, "time_ns", lambda jump_ms=jump_ms: real() + jump_ms * 1_000_000)
        now_ms = clock.now_ms()
        assert before_ms <= now_ms < before_ms + DAY_MS // 2
        before_ms = now_ms


def test_two_clocks_of_one_base_agree_across_processes() -> None:
    clock = SystemClock()
    script = f"from fleetsync.clock import SystemClock; print(SystemClock({clock.base_at_ms}).now_ms())"
    before_ms = clock.now_ms()
    told = subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {script}"],
                          check=True, capture_output=True, text=True)
    assert before_ms <= int(told.stdout) <= clock.now_ms()


def test_the_virtual_clock_stands_still_until_it_jumps() -> None:
    clock = VirtualClock(1_000)
    assert clock.now_ms() == clock.now_ms() == 1_000
    clock.jump_to(5_000)
    assert clock.now_ms() == 5_000


def test_the_virtual_clock_refuses_to_go_back() -> None:
    clock = VirtualClock(1_000)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.jump_to(999)
    assert clock.now_ms() == 1_000
