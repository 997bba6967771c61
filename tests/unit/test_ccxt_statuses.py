"""Each word by which an exchange tells that an order has ended is an end: what ended is never asked for for ever."""

import asyncio
import inspect
import re
from collections.abc import Iterable
from typing import Any

import ccxt.async_support
import pytest
from tests.unit.ccxt_venues import SYMBOL, staged
from tests.unit.test_ccxt_lookups import LOOKUPS

from fleetsync.messages import Call
from fleetsync.model import Order, Surface
from fleetsync_adapters import ccxt_rows as rows
from fleetsync_adapters.ccxt_wires import WIRES

FILLED = {"okx": "accFillSz", "bybit": "cumExecQty", "bitget": "baseVolume"}  # of 2; Gate tells what is left of 4
STATUS = {"okx": "state", "bybit": "orderStatus", "bitget": "status", "gate": "finish_as"}

# The words of the exchanges' documentations, and what an order is that has filled nothing, a half, all.
OPEN, FULL, CUT, REJECTED = ("open",) * 3, ("closed",) * 3, ("canceled", "canceled", "closed"), ("rejected",) * 3
WORDS: dict[str, dict[str, tuple[str, str, str]]] = {
    "okx": {
        "live": OPEN, "partially_filled": OPEN, "partially_effective": OPEN, "pause": OPEN, "filled": FULL,
        "effective": FULL, "canceled": CUT, "mmp_canceled": CUT, "order_failed": CUT, "partially_failed": CUT,
    },
    "bybit": {
        "New": OPEN, "PartiallyFilled": OPEN, "Untriggered": OPEN, "Triggered": OPEN, "Filled": FULL, "Cancelled": CUT,
        "PartiallyFilledCanceled": CUT, "Deactivated": CUT, "Rejected": REJECTED,
    },
    "bitget": {
        "live": OPEN, "partially_filled": OPEN, "executing": OPEN, "filled": FULL, "executed": FULL, "canceled": CUT,
        "cancelled": CUT, "fail_execute": REJECTED,
    },
    "gate": {
        "_new": OPEN, "_update": OPEN, "filled": FULL, "succeeded": FULL, "cancelled": CUT, "liquidated": CUT,
        "ioc": CUT, "auto_deleveraged": CUT, "reduce_only": CUT, "position_closed": CUT, "reduce_out": CUT, "stp": CUT,
        "failed": CUT, "expired": CUT, "a_new_word": CUT,
    },
}  # fmt: skip


def stood(exchange_id: str, changes: Iterable[dict[str, Any]]) -> list[str]:
    """The statuses of an order, read with one change of its row after the other."""
    path, row, body, _, _, order_id = LOOKUPS[exchange_id]

    async def show() -> list[str]:
        found = []
        async with staged(exchange_id) as stage:
            for change in changes:
                stage.venue.answers[path] = body(row | change)
                answer, _ = await stage.ask(Call(Surface.ORDER, SYMBOL, order_id=order_id))
                assert answer.fault is None, answer.detail
                found += [order.status for order in answer.rows or () if isinstance(order, Order)]
        return found

    return asyncio.run(show())


def change_to(exchange_id: str, word: str, halves: int) -> dict[str, Any]:
    """Of a row: that word, and so much filled."""
    if exchange_id == "gate":
        status = "open" if word.startswith("_") else "finished"
        return {"status": status, "finish_as": word, "size": 4, "left": 4 - 2 * halves}
    return {STATUS[exchange_id]: word, FILLED[exchange_id]: str(halves)}


@pytest.mark.parametrize("exchange_id", WORDS)
def test_each_word_of_an_exchange_says_whether_an_order_rests_and_how_it_ended(exchange_id: str) -> None:
    words = WORDS[exchange_id]
    changes = [change_to(exchange_id, word, halves) for word in words for halves in range(3)]
    found = stood(exchange_id, changes)
    assert {word: tuple(found[3 * place : 3 * place + 3]) for place, word in enumerate(words)} == words


@pytest.mark.parametrize("exchange_id", WIRES)
def test_no_word_that_ccxt_knows_is_unknown_here_or_ends_what_rests(exchange_id: str) -> None:
    source = inspect.getsource(getattr(ccxt.async_support, exchange_id).parse_order_status)
    theirs = dict(re.findall(r"'(\w+)': '(\w+)'", source))
    assert len(theirs) > 5, "ccxt writes its table in another way now"
    found = stood(exchange_id, [change_to(exchange_id, word, 1) for word in theirs])
    assert "unknown" not in found
    assert [status == "open" for status in found] == [status == "open" for status in theirs.values()]


def test_the_detail_of_an_order_on_bitget_names_its_status_otherwise() -> None:
    assert stood("bitget", [{"status": None, "state": "canceled"}]) == ["canceled"]


@pytest.mark.parametrize(("word", "status"), [
    ("succeeded", "closed"), ("cancelled", "canceled"), ("failed", "canceled"), ("expired", "canceled"), ("", "open")])
def test_a_conditional_order_on_gate_ends_by_its_own_word_and_has_filled_nothing(word: str, status: str) -> None:
    row = {
        "id": 77, "status": "finished" if word else "open", "finish_as": word, "create_time": 1700000000.0,
        "initial": {"contract": "BTC_USDT", "size": -3, "price": "0", "tif": "ioc", "text": "t-x"},
        "trigger": {"price": "40000", "rule": 2},
    }  # fmt: skip

    async def show() -> None:
        async with staged("gate", {"/api/v4/futures/usdt/price_orders/77": row}) as stage:
            answer, _ = await stage.ask(Call(Surface.ORDER, SYMBOL, order_id="77", conditional=True))
            assert answer.fault is None, answer.detail
            assert [(order.status, order.filled) for order in answer.rows or () if isinstance(order, Order)] == [
                (status, "0")]

    asyncio.run(show())


def test_an_exchange_without_a_wire_is_read_by_ccxts_words_and_those_of_gate_that_it_passes_on() -> None:
    row = {"id": "1", "symbol": "X", "side": "buy", "amount": "2.0", "filled": "2", "status": "stp"}
    assert rows.unified_order(row, conditional=False).status == "closed"
    assert rows.unified_order(row | {"filled": "1"}, conditional=False).status == "canceled"
    assert rows.unified_order(row | {"status": "canceling"}, conditional=False).status == "unknown"
    assert rows.unified_order(row | {"status": None}, conditional=False).status == "unknown"
