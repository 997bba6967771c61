"""Settings: what is refused, and with which words."""

from typing import Any

import pytest

from fleetsync.config import Settings
from fleetsync.errors import ConfigError
from fleetsync.model import Robot


@pytest.mark.parametrize("share", [0, 0.0, 0.5])
def test_a_share_may_be_written_as_a_whole_number(share: float) -> None:
    kept = Settings(urgent_share=share, jitter=0).urgent_share
    assert (kept, type(kept)) == (share, float)


@pytest.mark.parametrize(("wrong", "told"), [
    ({"urgent_share": 1}, "urgent_share must be between 0 and 0.9, was 1.0"),
    ({"urgent_share": -1}, "urgent_share must be between 0 and 0.9, was -1.0"),
    ({"urgent_share": float("nan")}, "urgent_share must be between 0 and 0.9, was nan"),
    ({"jitter": "0.1"}, "jitter must be a number, was '0.1'"),
    ({"jitter": True}, "jitter must be a number, was True"),
    ({"holding_ms": 5_000.0}, "holding_ms must be a whole number, was 5000.0"),
    ({"holding_ms": None}, "holding_ms must be a whole number, was None"),
    ({"workers": True}, "workers must be a whole number, was True"),
    ({"flat_ms": 0}, "flat_ms must be above 0, was 0"),
    ({"flat_ms": 10**15}, "flat_ms must be at most ten years"),
    ({"workers": -1}, "workers must be 0 or above, was -1"),
    ({"mode": "fast"}, "mode must be one of fixed, adaptive, was 'fast'"),
    ({"spend": ""}, "spend must be one of needed, all, was ''"),
    ({"floor_ms": 6_000}, "floor_ms (6000) must not be above an interval"),
], ids=str)
def test_a_wrong_setting_is_refused_by_its_name(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Settings(**wrong)
    assert str(refused.value).startswith(told)


def test_a_copy_with_other_settings_is_checked_again() -> None:
    with pytest.raises(ConfigError, match="calls_per_minute"):
        Settings().but(calls_per_minute=0)


@pytest.mark.parametrize("wrong", [
    {"priority": 0}, {"priority": 1e-9}, {"priority": float("inf")}, {"priority": float("nan")}, {"holding_ms": 0},
    {"holding_ms": 10**15}, {"changes_per_hour": 0.0}, {"changes_per_hour": float("inf")},
    {"changes_per_hour": float("nan")},
], ids=str)
def test_a_robot_whose_numbers_make_no_instants_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Robot("r", "a", "BTC/USDT:USDT", **wrong)
