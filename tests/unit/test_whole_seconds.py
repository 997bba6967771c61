"""Gate tells to the second when a position moved, and to the millisecond when it was filled: through adapter and core.

Whatever lies in one second proves no order of things. A wrong close is the worst that may come of it; another reading
is cheap.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.builders import RULES, book, fill, fills, kinds, position, positions
from tests.unit.ccxt_venues import SYMBOL, staged
from tests.unit.core_world import World

from fleetsync.book import Announcement, Book
from fleetsync.messages import Answer, Call, Rows
from fleetsync.model import Surface
from fleetsync.reconcile import reconcile
from fleetsync_adapters.tariffs import load_tariff

GATE = load_tariff("gate")
SECOND = 1_700_000_100_000  # begins here, and all moves of these tests lie in it
CLOSED = [Announcement("closed", SECOND)]


def as_read(call: Call, path: str, raw: Sequence[dict[str, Any]]) -> Rows:
    """What our adapter makes of Gate's rows."""

    async def show() -> Rows:
        async with staged("gate", {path: raw}) as stage:
            answer, _ = await stage.ask(call, full=True)
            assert answer.fault is None, answer.detail
            return answer.rows or ()

    return asyncio.run(show())


def held(contracts: int, moved_s: int) -> Rows:
    return as_read(Call(Surface.POSITIONS), "/api/v4/futures/usdt/positions", [{
        "contract": "BTC_USDT", "size": contracts, "mode": "single", "leverage": "10", "entry_price": "50000",
        "value": "25", "mark_price": "50000", "update_time": moved_s, "open_time": moved_s - 500, "margin": "1",
    }])  # fmt: skip


def filled(*fills_told: tuple[str, int, int]) -> Rows:
    call = Call(Surface.FILLS, SYMBOL, since_ms=1)
    return as_read(call, "/api/v4/futures/usdt/my_trades_timerange", [{
        "trade_id": name, "order_id": f"o{name}", "contract": "BTC_USDT", "size": contracts, "price": "50000",
        "create_time": at_ms / 1_000, "role": "taker",
    } for name, contracts, at_ms in fills_told])  # fmt: skip


class GateWorld(World):
    """The whole core by Gate's tariff; its next list of positions can be made to lie."""

    def __init__(self) -> None:
        super().__init__(tariff=replace(GATE, exchange="paper"))
        self.truth_told = self.account()
        self.robot("r1")
        self.lies: list[Rows] = []
        self.answer = self.told

    def told(self, _: str, call: Call, now_ms: int) -> Answer | None:
        if call.surface is Surface.POSITIONS and self.lies:
            return Answer(call, now_ms, complete=True, rows=self.lies.pop())
        if call.surface is Surface.FILLS:  # by whole seconds, as Gate is asked
            since_ms = call.since_ms - call.since_ms % 1_000
            rows = tuple(row for row in self.truth_told.rows[Surface.FILLS] if row.at_ms >= since_ms)
            return Answer(call, now_ms, complete=True, rows=rows)
        return None


@pytest.mark.parametrize("hint", ["closed", "suspect"])
def test_the_fill_that_made_a_position_what_it_is_does_not_close_it_again(hint: str) -> None:
    """Of 10 contracts 5 were sold. One list that lies, and that sale would have closed the other 5."""
    world = GateWorld()
    moved_s = world.now_ms // 1_000
    world.truth_told.positions = [*held(5, moved_s)]
    world.truth_told.rows[Surface.FILLS] = filled(("77", -5, moved_s * 1_000 + 700))
    world.run(20_000)
    world.lies = [()]
    world.event("r1", hint)
    world.run(60_000)
    assert world.lies == []
    assert [change.kind for change in world.changes] == ["position_opened"]
    assert world.core.inbox.pending == {}


def test_of_two_moves_in_one_second_the_row_may_show_the_first() -> None:
    """5 were bought, read, and 5 more bought within the second. A sale of 5 leaves 5, and closes nothing."""
    world = GateWorld()
    moved_s = world.now_ms // 1_000
    world.truth_told.positions = [*held(5, moved_s)]
    world.truth_told.rows[Surface.FILLS] = filled(
        ("1", 5, moved_s * 1_000 + 100), ("2", 5, moved_s * 1_000 + 700), ("3", -5, moved_s * 1_000 + 20_100))
    world.run(20_000)
    world.lies = [()]
    world.event("r1", "closed")
    world.run(60_000)
    assert world.lies == []
    assert [change.kind for change in world.changes] == ["position_opened"]


def closed_at(at_ms: int) -> Book:
    """5 were sold, and then the other 5."""
    known = book(position("10", at_ms=SECOND - 60_001), read_at_ms=SECOND - 10_000)
    sold = fills(at_ms + 50, fill("78", "5", at_ms=at_ms - 100), fill("79", "5", at_ms=at_ms, order_id="10"),
                 since_ms=SECOND - 61_000)  # fmt: skip
    result = reconcile(known, [positions(at_ms + 50), sold], CLOSED, RULES, at_ms + 100)
    assert kinds(result.findings) == ["position_closed"]
    return result.book


def test_a_row_of_the_second_in_which_a_position_closed_may_be_what_was_left_before() -> None:
    """A list that lags behind would open it anew, and its absence close it a second time."""
    known = closed_at(SECOND + 200)
    result = reconcile(known, [positions(SECOND + 400, position("5", at_ms=SECOND + 999))], [], RULES, SECOND + 400)
    assert result.findings == ()
    assert not result.book.positions
    asked = {question.call for question in result.questions}
    assert Call(Surface.FILLS, SYMBOL, since_ms=SECOND + 200) in asked, "its fills tell"
    sold = fills(SECOND + 700, since_ms=SECOND + 200)
    still = positions(SECOND + 700, position("5", at_ms=SECOND + 999))
    result = reconcile(result.book, [still, sold], [], RULES, SECOND + 700)
    assert result.findings == ()
    for at_ms in (SECOND + 1_000, SECOND + 1_300):
        result = reconcile(result.book, [positions(at_ms)], [], RULES, at_ms)
        assert result.findings == ()
    assert result.book.doubts == ()


def test_a_position_that_opens_in_the_second_of_its_close_is_told_with_the_fills_that_opened_it() -> None:
    known = closed_at(SECOND + 200)
    anew = position("5", at_ms=SECOND + 999)
    result = reconcile(known, [positions(SECOND + 700, anew)], [], RULES, SECOND + 700)
    assert result.findings == ()
    bought = fills(SECOND + 1_000, fill("80", "5", "buy", SECOND + 600, "11"), since_ms=SECOND + 200)
    result = reconcile(result.book, [positions(SECOND + 1_000, anew), bought], [], RULES, SECOND + 1_000)
    assert kinds(result.findings) == ["position_opened"]
    assert result.book.positions == (anew,)


def test_a_row_from_before_a_close_that_is_proven_and_not_yet_told_is_no_new_position() -> None:
    known = book(position("10", at_ms=SECOND - 60_001), read_at_ms=SECOND - 10_000)
    sold = fills(SECOND + 250, fill("78", "5", at_ms=SECOND + 100), fill("79", "5", at_ms=SECOND + 200, order_id="10"),
                 since_ms=SECOND - 61_000)  # fmt: skip
    result = reconcile(known, [positions(SECOND + 250), sold], [], RULES, SECOND + 300)
    assert result.findings == (), "whose order closed it is asked first"
    lagging = [positions(SECOND + 400, position("5", at_ms=SECOND + 999))]
    result = reconcile(result.book, lagging, [], RULES, SECOND + 400)
    assert "position_opened" not in kinds(result.findings)
    assert not any(row.size == "5" for row in result.book.positions)
