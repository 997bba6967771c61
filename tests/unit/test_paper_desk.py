"""The REST desk without sockets: keys, signatures, clocks, limits and every misdeed."""

from decimal import Decimal
from typing import Any

import orjson
import pytest
from tests.unit.paper_counter import RISK, START_MS, Counter

from fleetsync_adapters.paper.desk import Arrival, Reply
from fleetsync_adapters.paper.faults import Misdeed
from fleetsync_adapters.paper.limits import LimitRules
from fleetsync_adapters.paper.orders import Ticket


def code(reply: Reply) -> tuple[int, int]:
    return reply.status, orjson.loads(reply.body)["code"]


def test_a_signed_request_is_answered_and_says_the_used_weight() -> None:
    reply = Counter().ask("GET", RISK)
    assert (reply.status, reply.body, reply.headers["X-MBX-USED-WEIGHT-1M"]) == (200, b"[]", "5")


def test_keys_and_signatures_are_checked() -> None:
    counter = Counter()
    assert code(counter.send(Arrival("GET", RISK, ip="x"))) == (401, -2014)
    assert code(counter.send(Arrival("GET", RISK, "timestamp=1", "", "nobody", "x"))) == (401, -2015)
    assert code(counter.ask("GET", RISK, secret="wrong")) == (400, -1022)
    key = counter.venue.books.accounts[0].keys.api_key
    assert code(counter.send(Arrival("GET", RISK, "timestamp=1", "", key, "x"))) == (400, -1102)
    assert code(counter.send(Arrival("GET", RISK, "timestamp=1&signature=\u00e9", "", key, "x"))) == (400, -1022)


def test_a_signature_of_another_account_is_refused() -> None:
    counter = Counter()
    assert code(counter.ask("GET", RISK, secret=counter.venue.books.accounts[1].keys.secret)) == (400, -1022)


def test_the_timestamp_must_lie_within_the_receive_window_of_the_shown_clock() -> None:
    counter = Counter()
    for offset_ms, status in ((-5000, 200), (-5001, 400), (999, 200), (1000, 400)):
        assert counter.ask("GET", RISK, timestamp=START_MS + offset_ms).status == status
    assert code(counter.ask("GET", RISK, timestamp="soon")) == (400, -1102)
    assert code(counter.ask("GET", RISK, recvWindow=60_001)) == (400, -1131)
    counter.operate("POST", "clock", {"skew_ms": 5001})
    assert code(counter.ask("GET", RISK)) == (400, -1021)
    time = orjson.loads(counter.send(Arrival("GET", "/fapi/v1/time", ip="x")).body)
    assert time == {"serverTime": START_MS + 5001}


def test_unknown_paths_symbols_and_orders_get_the_exchanges_codes() -> None:
    counter = Counter()
    assert code(counter.ask("GET", "/fapi/v1/nothing")) == (404, -5000)
    assert code(counter.ask("GET", "/fapi/v1/openOrders", symbol="NOUSDT")) == (400, -1121)
    assert code(counter.ask("GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=1)) == (400, -2013)
    assert code(counter.ask("GET", "/fapi/v1/order", symbol="BTCUSDT")) == (400, -1102)
    assert code(counter.ask("GET", "/fapi/v1/order", symbol="BTCUSDT", orderId="1x")) == (400, -1130)
    assert code(counter.ask("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId=1)) == (400, -2011)
    assert code(counter.ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", limit=1001)) == (400, -1130)
    wide: dict[str, Any] = {"startTime": START_MS - 8 * 86_400_000, "endTime": START_MS}
    assert code(counter.ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", **wide)) == (400, -1127)


@pytest.mark.parametrize("size", ["NaN", "Infinity", "1e400", "-1", "0x10", "1" * 40])
def test_a_hostile_quantity_is_refused(size: str) -> None:
    counter = Counter()
    reply = counter.ask("POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity=size)
    assert reply.status == 400
    assert counter.venue.books.accounts[0].orders == {}


def test_429_says_when_to_come_back_and_418_follows_for_who_goes_on() -> None:
    counter = Counter(LimitRules(weight_per_minute=10, refusals_before_ban=2))
    statuses = [counter.ask("GET", RISK).status for _ in range(5)]
    assert statuses == [200, 200, 429, 429, 418]
    banned = counter.ask("GET", RISK)
    assert (code(banned), banned.headers["Retry-After"]) == ((418, -1003), "120")
    assert counter.ask("GET", RISK, ip="2.2.2.2").status == 200
    counter.at_ms += 120_000
    assert counter.ask("GET", RISK).status == 200
    summary = counter.venue.ledger.summary()
    assert (summary["refused_429"], summary["refused_418"]) == (2, 2)


def test_order_counts_are_shown_and_refused_with_1015() -> None:
    counter = Counter(LimitRules(orders_per_10s=1))
    order: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
    first = counter.ask("POST", "/fapi/v1/order", **order)
    assert (first.headers["X-MBX-ORDER-COUNT-10S"], first.headers["X-MBX-ORDER-COUNT-1M"]) == ("1", "1")
    assert code(counter.ask("POST", "/fapi/v1/order", **order)) == (429, -1015)
    assert counter.ask("POST", "/fapi/v1/order", number=1, **order).status == 200


@pytest.mark.parametrize(
    ("kind", "status", "gone", "done"),
    [
        (Misdeed.LOST_REQUEST, 0, "silent", False), (Misdeed.LOST_ANSWER, 200, "silent", True),
        (Misdeed.RESET, 0, "reset", False), (Misdeed.RESET_AFTER, 200, "reset", True),
        (Misdeed.SERVER_ERROR, 502, "", False), (Misdeed.MAINTENANCE, 503, "", False), (Misdeed.BUSY, 503, "", False),
        (Misdeed.UNKNOWN_DONE, 503, "", True), (Misdeed.UNKNOWN_NOT_DONE, 503, "", False),
        (Misdeed.THROTTLED, 429, "", False), (Misdeed.BANNED, 418, "", False), (Misdeed.TRUNCATED, 200, "", True),
        (Misdeed.HTML, 200, "", True), (Misdeed.EMPTY_BODY, 200, "", True), (Misdeed.EMPTY_OBJECT, 200, "", True),
        (Misdeed.LATE_ANSWER, 200, "", True), (Misdeed.LATENCY, 200, "", True),
    ],
)  # fmt: skip
def test_a_misdeed_on_an_order_says_one_thing_and_does_another(
    kind: Misdeed, status: int, gone: str, done: bool
) -> None:
    counter = Counter()
    counter.misbehave(kind, delay_ms=300)
    reply = counter.ask("POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
    assert (reply.status, reply.gone) == (status, gone)
    assert bool(counter.venue.books.accounts[0].positions) is done
    assert counter.venue.ledger.rows()[0].status == (0 if gone else status)


def test_bodies_are_spoilt_as_ordered() -> None:
    counter = Counter()
    bodies = {}
    for kind in (Misdeed.TRUNCATED, Misdeed.HTML, Misdeed.EMPTY_BODY, Misdeed.EMPTY_OBJECT):
        counter.misbehave(kind)
        bodies[kind] = counter.ask("GET", "/fapi/v3/balance").body
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(bodies[Misdeed.TRUNCATED])
    assert bodies[Misdeed.HTML].startswith(b"<html>")
    assert (bodies[Misdeed.EMPTY_BODY], bodies[Misdeed.EMPTY_OBJECT]) == (b"", b"{}")


def test_latency_comes_before_execution_and_a_late_answer_after_it() -> None:
    counter = Counter()
    counter.misbehave(Misdeed.LATENCY, delay_ms=700)
    visit = counter.desk.receive(Arrival("GET", "/fapi/v1/time", ip="x"), counter.at_ms)
    assert visit.wait_ms == 700
    late = orjson.loads(counter.desk.answer(visit, counter.at_ms + 700).body)
    assert late == {"serverTime": START_MS + 700}
    counter.misbehave(Misdeed.LATE_ANSWER, delay_ms=700)
    assert counter.ask("GET", RISK).wait_ms == 700


def test_lists_can_be_empty_short_doubled_or_older() -> None:
    counter = Counter()
    account = counter.venue.books.accounts[0]
    for market in counter.venue.markets.all[:3]:
        size = market.smallest_size(START_MS, Decimal(50))
        counter.venue.orders.place(account, Ticket(market=market, side="BUY", type="MARKET", size=size), START_MS)
    counter.at_ms += 1000
    lengths = {}
    for kind in (Misdeed.EMPTY_LIST, Misdeed.SHORT_PAGE, Misdeed.DOUBLED_ROWS, Misdeed.OLDER_STATE):
        counter.misbehave(kind, delay_ms=1001, rows=2)
        lengths[kind] = len(orjson.loads(counter.ask("GET", RISK).body))
    assert list(lengths.values()) == [0, 2, 6, 0]
    assert len(orjson.loads(counter.ask("GET", RISK).body)) == 3


def test_v3_lists_symbols_with_something_and_v2_lists_all() -> None:
    counter = Counter()
    held = {"account": "paper-00000", "symbol": "BTC/USDT:USDT", "side": "buy", "size": "0.01"}
    counter.operate("POST", "position", held)
    assert len(orjson.loads(counter.ask("GET", RISK).body)) == 1
    assert len(orjson.loads(counter.ask("GET", "/fapi/v2/positionRisk").body)) == 20
