"""Whatever an exchange sends: an answer or a fault comes out, one wrong answer closes nothing, and memory is bounded.

Bodies are the real exchanges' shapes with something changed inside, since random bytes stop at the first check.
"""

import asyncio
import json
import tracemalloc
from collections.abc import Iterator
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.ccxt_venues import SYMBOL, Stage, Venue, staged
from tests.unit.core_world import World
from tests.unit.fuzzing import tried

from fleetsync.messages import Answer, Call, SyncDone
from fleetsync.model import Fault, Fill, Order, Phase, Position, Surface
from fleetsync.wire import FrameDecoder, encode
from fleetsync_adapters import ccxt_session

AT_MS = 1_790_000_000_000
_BINANCE_ORDER = {
    "orderId": 101, "symbol": "BTCUSDT", "status": "NEW", "clientOrderId": "bot-1", "price": "40000.0", "avgPrice": "0",
    "origQty": "0.002", "executedQty": "0.001", "cumQuote": "0", "timeInForce": "GTC", "type": "LIMIT",
    "reduceOnly": False, "closePosition": False, "side": "BUY", "positionSide": "BOTH", "stopPrice": "0",
    "workingType": "CONTRACT_PRICE", "priceProtect": False, "origType": "LIMIT", "time": AT_MS, "updateTime": AT_MS,
}  # fmt: skip
_OKX_ORDER = {
    "instType": "SWAP", "instId": "BTC-USDT-SWAP", "ordId": "101", "clOrdId": "bot1", "px": "40000", "sz": "2",
    "ordType": "limit", "side": "buy", "posSide": "net", "tdMode": "cross", "accFillSz": "1", "fillPx": "", "state":
    "partially_filled", "avgPx": "", "lever": "10", "fee": "0", "feeCcy": "USDT", "reduceOnly": "false", "cTime":
    str(AT_MS), "uTime": str(AT_MS), "tradeId": "", "category": "normal", "algoId": "", "slTriggerPx": "",
    "tpTriggerPx": "",
}  # fmt: skip


def _okx(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"code": "0", "msg": "", "data": list(rows)}


# exchange -> surface -> a body as the exchange sends it
BODIES: dict[str, dict[Surface, Any]] = {
    "binanceusdm": {
        Surface.POSITIONS: [{
            "symbol": "BTCUSDT", "positionSide": "BOTH", "positionAmt": "0.005", "entryPrice": "50000.0",
            "breakEvenPrice": "50010", "markPrice": "50100.1", "unRealizedProfit": "0.5", "liquidationPrice": "0",
            "isolatedMargin": "0", "notional": "250.5", "marginAsset": "USDT", "isolatedWallet": "0",
            "initialMargin": "25", "maintMargin": "1", "positionInitialMargin": "25", "openOrderInitialMargin": "0",
            "adl": 1, "bidNotional": "0", "askNotional": "0", "updateTime": AT_MS}],
        Surface.ORDERS: [_BINANCE_ORDER],
        Surface.ORDER: _BINANCE_ORDER,
        Surface.FILLS: [{
            "buyer": True, "commission": "0.01", "commissionAsset": "USDT", "id": 7, "maker": False, "orderId": 100,
            "price": "50000.0", "qty": "0.005", "quoteQty": "250", "realizedPnl": "0", "side": "BUY",
            "positionSide": "BOTH", "symbol": "BTCUSDT", "time": AT_MS}],
    },
    "okx": {
        Surface.POSITIONS: _okx({
            "instType": "SWAP", "instId": "BTC-USDT-SWAP", "posId": "1", "posSide": "net", "pos": "5", "avgPx": "50000",
            "mgnMode": "cross", "lever": "10", "upl": "0.1", "uplRatio": "0", "liqPx": "", "markPx": "50001",
            "imr": "1", "margin": "", "mmr": "0.1", "notionalUsd": "2500", "ccy": "USDT", "adl": "1",
            "cTime": str(AT_MS), "uTime": str(AT_MS)}),
        Surface.ORDERS: _okx(_OKX_ORDER),
        Surface.ORDER: _okx(_OKX_ORDER),
        Surface.FILLS: _okx({
            "instType": "SWAP", "instId": "BTC-USDT-SWAP", "tradeId": "7", "ordId": "100", "clOrdId": "", "billId": "9",
            "fillPx": "50000", "fillSz": "5", "side": "buy", "posSide": "net", "execType": "T", "feeCcy": "USDT",
            "fee": "-0.1", "ts": str(AT_MS)}),
    },
}
CALLS = {
    Surface.POSITIONS: Call(Surface.POSITIONS),
    Surface.ORDERS: Call(Surface.ORDERS, SYMBOL),
    Surface.ORDER: Call(Surface.ORDER, SYMBOL, order_id="101"),
    Surface.FILLS: Call(Surface.FILLS, SYMBOL, since_ms=AT_MS - 1_000),
}
CASES = [(exchange, surface) for exchange, bodies in BODIES.items() for surface in bodies]

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-2**63, 2**63), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12), st.just([]), st.just({}), st.sampled_from([
        "NaN", "Infinity", "-0", "1e999999", "9" * 5_000, "0x10", "1_000", "\u0663", "", " ", "null", "-1", "0",
        "BOTH", "LONG", "SHORT", "NEW", "FILLED", "SELL", [[[[[]]]]], {"a": {"b": {"c": 1}}}, 10**30, -1.5e300]))


@st.composite
def mutated(draw: st.DrawFn, body: Any) -> str:
    """A real body with a few things changed inside, or cut off, or with nonsense between."""
    changed = deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        changed = _changed(draw, changed)
    text = json.dumps(changed)
    place = draw(st.integers(0, len(text)))
    match draw(st.sampled_from(["whole"] * 6 + ["cut", "filled", "numbers"])):
        case "cut":
            return text[:place]
        case "filled":
            return text[:place] + draw(st.text(max_size=5)) + text[place:]
        case "numbers":
            return text.replace("0", draw(st.sampled_from(["NaN", "1e400", "-", "00", "Infinity"])), 1)
    return text


def _changed(draw: st.DrawFn, value: Any) -> Any:
    """The value with one change somewhere inside."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        if not draw(st.integers(0, 4)):
            return {name: one for name, one in value.items() if name != key}
        return value | {key: _changed(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        place = draw(st.integers(0, len(value) - 1))
        match draw(st.integers(0, 5)):
            case 0:
                return value[:place] + value[place + 1:]
            case 1:
                return [*value, *value]
            case 2:
                return [*value, draw(ODD)]
        return [*value[:place], _changed(draw, value[place]), *value[place + 1:]]
    return draw(ODD)


class Client:
    """The real client on a socket, for tests that are no coroutines."""

    def __init__(self, exchange: str) -> None:
        self.exchange = exchange
        self._runner = asyncio.Runner()
        self._staged = staged(exchange, now_ms=lambda: AT_MS + 5_000)
        self.stage: Stage = self._runner.run(self._staged.__aenter__())

    @property
    def venue(self) -> Venue:
        return self.stage.venue

    def read(self, surface: Surface, body: str) -> Answer:
        """What the client makes of a body."""
        self.venue.otherwise = body
        answer, _ = self._runner.run(self.stage.ask(CALLS[surface], full=True))
        return answer

    def close(self) -> None:
        self._runner.run(self._staged.__aexit__(None, None, None))
        self._runner.close()


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Client]]:
    made = {exchange: Client(exchange) for exchange in BODIES}
    yield made
    for client in made.values():
        client.close()


def exact(amount: str) -> bool:
    """Whether a figure is a decimal number, of a size that a person could read."""
    return Decimal(amount).is_finite() and len(amount) <= 125


def sound(answer: Answer) -> bool:
    """Whether an answer is a fault without rows, or rows in which everything means something."""
    if answer.fault is not None:
        return answer.rows is None and not answer.complete
    for row in answer.rows or ():
        match row:
            case Position():
                good = row.side in {"long", "short"} and Decimal(row.size) >= 0 and exact(row.size)
            case Order():
                good = bool(row.id) and row.side in {"buy", "sell"} and exact(row.size) and exact(row.filled)
            case Fill():
                good = bool(row.id) and row.side in {"buy", "sell"} and exact(row.size) and exact(row.price)
        if not good:
            return False
    return True


@pytest.mark.parametrize(("exchange", "surface"), CASES)
def test_the_bodies_of_this_fuzz_are_read_as_what_they_are(clients: dict[str, Client], exchange: str,
                                                          surface: Surface) -> None:
    answer = clients[exchange].read(surface, json.dumps(BODIES[exchange][surface]))
    assert (answer.fault, answer.complete) == (None, True), answer.detail
    assert answer.rows is not None
    assert len(answer.rows) == 1
    assert sound(answer)


@pytest.mark.parametrize(("exchange", "surface"), CASES)
@tried(120)
@given(data=st.data())
def test_a_changed_body_is_a_sound_answer_or_a_fault_that_a_worker_can_send(
        clients: dict[str, Client], exchange: str, surface: Surface, data: st.DataObject) -> None:
    body = data.draw(mutated(BODIES[exchange][surface]))
    answer = clients[exchange].read(surface, body)
    assert sound(answer), (body, answer)
    done = SyncDone(1, (answer,), ())
    assert FrameDecoder().feed(encode([done])) == [done]


@pytest.mark.parametrize("exchange", BODIES)
@tried(60)
@given(data=st.data())
def test_no_single_changed_body_closes_a_position_or_ends_an_order_and_the_truth_comes_back(
        clients: dict[str, Client], exchange: str, data: st.DataObject) -> None:
    client, bodies = clients[exchange], BODIES[exchange]
    world = World(holding_ms=1_000, working_ms=1_000, flat_ms=1_000)
    truth = world.account()
    truth.positions = list(_rows(client, bodies, Surface.POSITIONS))
    truth.orders = list(_rows(client, bodies, Surface.ORDERS))
    truth.rows = {surface: _rows(client, bodies, surface) for surface in (Surface.ORDER, Surface.FILLS)}
    world.robot("r")
    world.run(3_000)
    assert world.core.fleet.phase_seen(world.core.fleet.slot("r")) is Phase.HOLDING
    known = len(world.changes)
    surface = data.draw(st.sampled_from([Surface.POSITIONS, Surface.ORDERS]))
    wrong = [client.read(surface, data.draw(mutated(bodies[surface])))]

    def once(account: str, call: Call, now_ms: int) -> Answer | None:
        if call.surface is Surface.ORDER and call.order_id not in {"", "101"}:
            return Answer(call, now_ms, fault=Fault.NOT_FOUND)
        return wrong.pop()._replace(call=call, as_of_ms=now_ms) if wrong and call.surface is surface else None

    world.answer = once
    world.run(90_000)
    assert not wrong
    told = {change.kind for change in world.changes[known:] if change.key in {"position:long", "order:101"}}
    assert not told & {"position_closed", "order_ended"}, world.changes[known:]
    book = world.core.fleet.account_by_id["main"].books[SYMBOL]
    assert list(book.positions) == truth.positions
    assert list(book.orders) == truth.orders


def _rows(client: Client, bodies: dict[Surface, Any], surface: Surface) -> Any:
    return client.read(surface, json.dumps(bodies[surface])).rows


@pytest.mark.parametrize("told", [True, False])
def test_an_answer_without_end_is_given_up_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch, *,
                                                                     told: bool) -> None:
    monkeypatch.setattr(ccxt_session, "BODY_MAX", 1 << 20)

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(1 << 40)} if told else {})
        await response.prepare(request)
        while True:
            await response.write(b"[" * 65_536)

    async def play() -> None:
        async with staged("binanceusdm") as stage:
            stage.venue.raw = endless
            tracemalloc.start()
            try:
                answer, _ = await stage.ask(CALLS[Surface.POSITIONS])
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert answer.fault in {Fault.MALFORMED, Fault.NETWORK}
            assert (answer.rows, answer.complete) == (None, False)
            assert peak < 8 << 20
            stage.venue.raw = None
            stage.venue.otherwise = "[]"
            assert (await stage.ask(CALLS[Surface.POSITIONS]))[0].complete

    asyncio.run(play())
