"""What an operator can see and do."""

from typing import Any

import orjson
import pytest
from tests.unit.paper_counter import RISK, START_MS, Counter

from fleetsync_adapters.paper.desk import Arrival


def test_an_operator_opens_shows_and_closes_a_position_by_hand() -> None:
    counter = Counter()
    where = {"account": "paper-00001", "symbol": "ETH/USDT:USDT"}
    status, opened = counter.operate("POST", "position", {**where, "side": "sell", "notional": "500"})
    assert (status, opened["order"]["status"]) == (200, "closed")
    _, books = counter.operate("GET", "books")
    assert [row["symbol"] for row in books["accounts"]["paper-00001"]["positions"]] == ["ETH/USDT:USDT"]
    _, closed = counter.operate("POST", "position", {**where, "close": True})
    assert closed["order"]["client_id"].startswith("web_")
    assert counter.operate("GET", "books")[1]["accounts"] == {}
    assert counter.operate("POST", "position", {**where, "close": True})[1] == {"order": None}


def test_an_operator_places_cancels_and_liquidates() -> None:
    counter = Counter()
    where = {"account": "paper-00000", "symbol": "BTC/USDT:USDT"}
    limit = {**where, "side": "buy", "type": "limit", "size": "0.01", "price": "40000"}
    _, placed = counter.operate("POST", "order", limit)
    stop = {**where, "side": "sell", "type": "stop_market", "size": "0.01", "trigger": "30000"}
    _, waiting = counter.operate("POST", "order", stop)
    _, books = counter.operate("GET", "books", account="paper-00000")
    held = books["accounts"]["paper-00000"]
    assert [row["id"] for row in held["orders"]] == [placed["order"]["id"]]
    assert [row["id"] for row in held["conditional"]] == [waiting["trigger_id"]]
    for number in (placed["order"]["id"], waiting["trigger_id"]):
        assert counter.operate("POST", "cancel", {"account": "paper-00000", "order_id": number})[0] == 200
    assert counter.operate("POST", "liquidate", where)[0] == 400
    counter.operate("POST", "position", {**where, "side": "buy", "size": "0.01"})
    assert counter.operate("POST", "liquidate", where)[1]["order"]["client_id"].startswith("autoclose-")


def test_new_accounts_come_with_their_keys_and_no_other_answer_holds_a_secret() -> None:
    counter = Counter()
    _, opened = counter.operate("POST", "accounts", {"count": 2, "balance": "50"})
    assert [one["id"] for one in opened["accounts"]] == ["paper-00002", "paper-00003"]
    secrets = [account.keys.secret for account in counter.venue.books.accounts]
    assert opened["accounts"][0]["secret"] == secrets[2]
    counter.ask("GET", RISK)
    for path in ("ledger", "ledger/summary", "books", "faults"):
        text = str(counter.operate("GET", path)[1])
        assert not any(secret in text for secret in secrets)
    assert not any(secret in repr(counter.venue.books.accounts) for secret in secrets)


def test_the_ledger_is_read_in_pages_and_summed_up() -> None:
    counter = Counter()
    for _ in range(5):
        counter.ask("GET", RISK)
    _, page = counter.operate("GET", "ledger", limit="2")
    assert [row["account"] for row in page["rows"]] == ["paper-00000"] * 2
    _, rest = counter.operate("GET", "ledger", after=str(page["next_after"]))
    assert len(rest["rows"]) == 3
    _, summary = counter.operate("GET", "ledger/summary")
    assert (summary["calls"], summary["worst_minute_calls"], summary["worst_minute_weight"]) == (5, 5, 25)
    assert (summary["by_endpoint"], summary["by_account"]) == ({f"GET {RISK}": 5}, {"paper-00000": 5})


def test_faults_limits_and_clock_are_set_by_the_operator() -> None:
    counter = Counter()
    orders = [{"kind": "html", "endpoint": "positionRisk"}]
    counter.operate("POST", "faults", {"orders": orders, "seed": 5, "shares": {"busy": 0.0}, "latency_ms": [3, 3]})
    assert counter.ask("GET", RISK).body.startswith(b"<html>")
    assert counter.operate("GET", "faults")[1]["met"] == {"html": 1}
    counter.operate("DELETE", "faults")
    assert counter.operate("POST", "limits", {"weight_per_minute": 7})[1]["weight_per_minute"] == 7
    assert counter.ask("GET", RISK).status == 429
    counter.operate("POST", "limits", {"forgive": True})
    assert counter.ask("GET", RISK).status == 200


def test_time_moves_on_by_order_while_clients_keep_their_clocks() -> None:
    counter = Counter()
    _, clock = counter.operate("POST", "clock", {"advance_ms": 86_400_000})
    assert clock == {"now_ms": START_MS + 86_400_000, "skew_ms": -86_400_000}
    visit = counter.desk.receive(Arrival("GET", "/fapi/v1/time", ip="x"), counter.clockwork.now_ms())
    assert orjson.loads(counter.desk.answer(visit, counter.clockwork.now_ms()).body) == {"serverTime": START_MS}
    again = counter.operate("POST", "clock", {"advance_ms": 1000, "skew_ms": 50})[1]
    assert again["skew_ms"] == 50 - 86_401_000
    assert counter.operate("POST", "clock", {"advance_ms": -1})[0] == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("position", {"symbol": "BTC/USDT:USDT"}),
        ("position", {"account": "nobody", "symbol": "BTC/USDT:USDT", "side": "buy", "size": "1"}),
        ("position", {"account": "paper-00000", "symbol": "NO", "side": "buy", "size": "1"}),
        ("position", {"account": "paper-00000", "symbol": "BTC/USDT:USDT", "side": "buy", "size": 0.1}),
        ("position", {"account": "paper-00000", "symbol": "BTC/USDT:USDT", "side": "buy", "size": "much"}),
        ("faults", {"shares": {"explode": 0.5}}),
        ("faults", {"shares": {"busy": 7}}),
        ("faults", {"often": 1}),
        ("limits", {"speed": 1}),
        ("limits", {"weight_per_minute": 0}),
        ("accounts", {"count": 0}),
        ("clock", {"back": 1}),
        ("ledger/clear", [1]),
    ],
)
def test_a_malformed_admin_request_is_refused_with_a_reason(path: str, body: Any) -> None:
    counter = Counter()
    status, answer = counter.operate("POST", path, body)
    assert status == 400
    assert answer["error"]


def test_an_unknown_admin_endpoint_is_not_found() -> None:
    assert Counter().operate("GET", "secrets")[0] == 404
