"""What every `Exchange` promises when something goes wrong, whichever exchange it is."""

import pytest
from tests.contract.exchange_scene import (
    CONDITIONAL,
    ORDERS,
    POSITIONS,
    SCENES,
    SYMBOL,
    Scene,
    Stage,
    account_of,
    stage_on,
)  # fmt: skip

from fleetsync.messages import Call
from fleetsync.model import Account, Fault, Order, Secret, Surface
from fleetsync_adapters.paper.faults import Misdeed


@pytest.fixture(params=SCENES)
def stage(request: pytest.FixtureRequest) -> Stage:
    return stage_on(request.param)


def test_opening_again_after_a_fault_succeeds(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        scene.misbehave(Misdeed.MAINTENANCE)
        answer, requests = await scene.exchange.open()
        assert (answer.fault, len(requests)) == (Fault.DOWN, 1)
        assert not scene.exchange.lists(SYMBOL)
        answer, _ = await scene.exchange.open()
        assert answer.fault is None
        assert scene.exchange.lists(SYMBOL)

    stage(play, opened=False)


def test_an_account_is_refused_before_the_markets_are_loaded_without_any_request(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        scene.exchange.add_account(account_of(scene.account))
        answer, requests = await scene.ask(POSITIONS)
        assert (answer.fault, requests) == (Fault.REFUSED, ())
        answer, requests = await scene.exchange.ask("nobody", POSITIONS, full=False)
        assert (answer.fault, requests) == (Fault.REFUSED, ())

    stage(play, opened=False)


def test_an_unlisted_symbol_is_a_bad_symbol_and_nothing_is_sent(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        for surface in (Surface.ORDERS, Surface.ORDER, Surface.FILLS):
            answer, requests = await scene.ask(Call(surface, symbol="NOSUCH/USDT:USDT", order_id="1"))
            assert (answer.fault, answer.rows, requests) == (Fault.BAD_SYMBOL, None, ())

    stage(play)


def test_a_wrong_secret_is_an_auth_fault_of_this_account_alone(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        wrong = Account("w", "binanceusdm", Secret(scene.account.keys.api_key), Secret("not-the-secret"))
        scene.exchange.add_account(wrong)
        refused, _ = await scene.exchange.ask("w", POSITIONS, full=False)
        served, _ = await scene.ask(POSITIONS)
        assert (refused.fault, served.fault) == (Fault.AUTH, None)
        assert "not-the-secret" not in repr(refused)
        assert scene.account.keys.api_key not in repr(refused)

    stage(play)


@pytest.mark.parametrize(
    ("misdeed", "fault", "status"),
    [
        (Misdeed.RESET, Fault.NETWORK, 0),
        (Misdeed.RESET_AFTER, Fault.NETWORK, 0),
        (Misdeed.SERVER_ERROR, Fault.DOWN, 502),
        (Misdeed.MAINTENANCE, Fault.DOWN, 503),
        (Misdeed.BUSY, Fault.DOWN, 503),
        (Misdeed.UNKNOWN_DONE, Fault.DOWN, 503),
        (Misdeed.THROTTLED, Fault.RATE_LIMITED, 429),
        (Misdeed.BANNED, Fault.BANNED, 418),
        (Misdeed.TRUNCATED, Fault.MALFORMED, 200),
        (Misdeed.HTML, Fault.MALFORMED, 200),
        (Misdeed.EMPTY_BODY, Fault.MALFORMED, 200),
        (Misdeed.EMPTY_OBJECT, Fault.MALFORMED, 200),
    ],
)
@pytest.mark.parametrize("call", [POSITIONS, ORDERS, CONDITIONAL], ids=lambda call: call.surface.value)
def test_a_misdeed_is_a_fault_with_its_request_and_never_an_empty_answer(
    stage: Stage, misdeed: Misdeed, fault: Fault, status: int, call: Call
) -> None:
    async def play(scene: Scene) -> None:
        scene.trade("BUY")
        before, _ = await scene.ask(call)
        scene.misbehave(misdeed)
        answer, (request,) = await scene.ask(call)
        assert (answer.fault, answer.rows, answer.complete, request.status) == (fault, None, False, status)
        if fault is Fault.BANNED:
            return
        if status == 429:
            assert request.retry_after_ms >= 1_000
        after, _ = await scene.ask(call)
        assert (before.fault, after.unchanged) == (None, True), "a fault does not change what was told last"

    stage(play)


def test_a_ban_says_how_long_it_lasts(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        scene.misbehave(Misdeed.BANNED, delay_ms=40_000)
        answer, (request,) = await scene.ask(POSITIONS)
        assert 30_000 < request.retry_after_ms == answer.retry_after_ms <= 41_000

    stage(play)


def test_a_request_without_an_answer_is_told_with_status_zero_after_the_call_timeout(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        scene.misbehave(Misdeed.LOST_ANSWER)
        answer, (request,) = await scene.ask(POSITIONS)
        assert (answer.fault, request.status, request.weight) == (Fault.NETWORK, 0, 5)

    stage(play, call_timeout_ms=300)


def test_a_clock_that_is_off_is_a_clock_fault(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        scene.misbehave(Misdeed.CLOCK_SKEW, "positionRisk", delay_ms=90_000)
        answer, requests = await scene.ask(POSITIONS)
        assert (answer.fault, requests[0].status) == (Fault.CLOCK, 400)
        assert (await scene.ask(POSITIONS))[0].fault is None

    stage(play)


def test_rows_that_are_told_twice_are_one_row(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        order_id = scene.trade("BUY", "LIMIT", "0.5")
        scene.misbehave(Misdeed.DOUBLED_ROWS, "openOrders")
        answer, _ = await scene.ask(ORDERS)
        assert {row.id for row in answer.rows or () if isinstance(row, Order)} == {order_id}

    stage(play)


def test_closing_twice_is_fine_and_opening_again_serves_on(stage: Stage) -> None:
    async def play(scene: Scene) -> None:
        scene.trade("BUY")
        await scene.exchange.close()
        await scene.exchange.close()
        assert (await scene.ask(POSITIONS))[0].fault is Fault.REFUSED
        assert (await scene.exchange.open())[0].fault is None
        assert (await scene.ask(POSITIONS))[0].rows

    stage(play)
