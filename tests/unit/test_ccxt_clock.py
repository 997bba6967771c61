"""The exchange's clock is followed when it complains: by the middle sample, in bounded steps, not too often."""

import asyncio
from typing import Any

import pytest
from tests.unit.ccxt_venues import staged

from fleetsync.messages import Call
from fleetsync.model import Fault, Surface
from fleetsync_adapters.ccxt_clock import LARGEST_STEP_MS, MEASURE_AT_MOST_EVERY_MS, SAMPLES, ExchangeClock, stepped
from fleetsync_adapters.paper.server import system_now_ms

REFUSAL = {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}


def test_one_sample_that_lies_does_not_carry_us_off() -> None:
    assert stepped(0, [(900, 90), (40, 90_000), (300, -200)]) == 90


def test_of_two_samples_the_one_with_the_shorter_round_trip_counts() -> None:
    assert stepped(0, [(900, 5_000), (40, 1_500)]) == 1_500


def test_a_step_is_bounded_and_reached_in_several() -> None:
    far = 3 * LARGEST_STEP_MS
    skew_ms = 0
    for reached in (1, 2, 3, 3):
        skew_ms = stepped(skew_ms, [(10, far)])
        assert skew_ms == reached * LARGEST_STEP_MS
    assert stepped(0, [(10, -far)]) == -LARGEST_STEP_MS


def test_what_was_sampled_before_the_exchange_fell_silent_counts() -> None:
    told = [1_002_000]

    async def theirs() -> int:
        if not told:
            raise ConnectionError
        return told.pop()

    async def play() -> None:
        clock = ExchangeClock(lambda: 1_000_000)
        with pytest.raises(ConnectionError):
            await clock.correct(theirs)
        assert clock.skew_ms == 2_000

    asyncio.run(play())


def test_the_clock_is_not_measured_at_every_complaint() -> None:
    at_ms, asked = 1_000_000, 0

    async def theirs() -> int:
        nonlocal asked
        asked += 1
        return at_ms + 2_000

    async def play() -> None:
        nonlocal at_ms
        clock = ExchangeClock(lambda: at_ms)
        assert await clock.correct(theirs)
        assert clock.now_ms() == at_ms + 2_000
        at_ms += MEASURE_AT_MOST_EVERY_MS - 1
        assert not await clock.correct(theirs)
        at_ms += 1
        assert await clock.correct(theirs)
        assert asked == 2 * SAMPLES

    asyncio.run(play())


def test_after_the_exchange_was_asked_its_time_requests_carry_it_and_every_sample_is_metered() -> None:
    ahead_ms = 90_000

    def answer(query: dict[str, str]) -> Any:
        off_ms = system_now_ms() + ahead_ms - int(query["timestamp"])
        return REFUSAL if off_ms > 5_000 else []

    async def play() -> None:
        paths = {
            "/fapi/v3/positionRisk": answer,
            "/fapi/v1/time": lambda _query: {"serverTime": system_now_ms() + ahead_ms},
        }
        async with staged("binanceusdm", paths) as stage:
            first, requests = await stage.ask(Call(Surface.POSITIONS))
            assert (first.fault, len(requests)) == (Fault.CLOCK, 1)  # no sample that was not granted
            told, requests = await stage.ask(Call(Surface.TIME, pages=SAMPLES))
            assert (told.fault, told.complete) == (None, True)
            assert [r.endpoint for r in requests] == ["GET /fapi/v1/time"] * SAMPLES
            assert [r.weight for r in requests] == [1] * SAMPLES
            second, requests = await stage.ask(Call(Surface.POSITIONS))
            assert (second.fault, len(requests)) == (None, 1)

    asyncio.run(play())


def test_a_clock_that_cannot_be_asked_is_left_after_the_first_sample() -> None:
    async def play() -> None:
        async with staged("binanceusdm", {"/fapi/v3/positionRisk": REFUSAL}) as stage:
            _, requests = await stage.ask(Call(Surface.TIME, pages=SAMPLES))
            assert len(requests) == 1
            answer, _ = await stage.ask(Call(Surface.POSITIONS))
            assert answer.fault is Fault.CLOCK

    asyncio.run(play())
