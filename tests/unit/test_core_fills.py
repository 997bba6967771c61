"""Fills that reach further back than can ever be read: what they would have told ends as unknown, and is let go."""

from dataclasses import replace

from tests.unit.core_world import World

from fleetsync.messages import Answer, Call
from fleetsync.model import Fault, Fill, Order, Surface
from fleetsync.units import DAY_MS, HOUR_MS
from fleetsync_adapters.tariffs import load_tariff

WEEK_MS = 7 * DAY_MS  # Bitget tells fills week by week, a request each
SYMBOL = "BTC/USDT:USDT"


class OldOrder(World):
    """Bitget, and an order that has rested for days when it leaves its list; nobody knows it by its id any more."""

    def __init__(self, age_days: int, *fills: Fill) -> None:
        super().__init__(tariff=replace(load_tariff("bitget"), exchange="paper"))
        created_ms = self.now_ms - age_days * DAY_MS
        self.row = Order("55", "c55", SYMBOL, "buy", "limit", "5", "4", "1", "open", reduce_only=False,
                         conditional=False, created_at_ms=created_ms, updated_at_ms=created_ms)
        self.truth_told = self.account()
        self.truth_told.orders = [self.row]
        self.fills = [fill._replace(at_ms=created_ms + fill.at_ms) for fill in fills]
        self.asked: list[Call] = []
        self.robot("r1")
        self.answer = self.told
        self.run(60_000)
        self.truth_told.orders = []

    def told(self, _: str, call: Call, now_ms: int) -> Answer | None:
        if call.surface is Surface.ORDER:
            return Answer(call, now_ms, fault=Fault.NOT_FOUND)
        if call.surface is Surface.FILLS:
            self.asked.append(call)
            until_ms = call.since_ms + call.pages * WEEK_MS
            rows = tuple(fill for fill in self.fills if call.since_ms <= fill.at_ms < until_ms)
            return Answer(call, now_ms, complete=until_ms > now_ms, rows=rows)
        return None

    def ended(self) -> list[tuple[str, str, str]]:
        return [(change.cause, change.after["status"], change.after["filled"]) for change in self.changes
                if change.kind == "order_ended" and change.after]  # fmt: skip


def test_an_order_whose_fills_reach_further_back_than_can_be_read_ends_as_unknown() -> None:
    """Five weeks are ever read at once: it was doubted for ever, at five requests each half a minute."""
    world = OldOrder(60)
    world.run(HOUR_MS)
    assert max(call.pages for call in world.asked) * WEEK_MS < 60 * DAY_MS
    assert world.ended() == [("retention", "unknown", "1")]
    change = world.changes[-1]
    assert change.evidence["surfaces"] == ["orders", "order"], "its fills were not read to the end"
    asked = len(world.asked)
    world.run(HOUR_MS)
    assert len(world.asked) == asked
    assert world.core.fleet.certainty(0).value == "agreed"


def test_the_part_that_the_fills_in_reach_prove_is_kept() -> None:
    world = OldOrder(60, Fill("1", "55", SYMBOL, "buy", "5", "1", 0), Fill("2", "55", SYMBOL, "buy", "5", "2", DAY_MS),
                     Fill("3", "9", SYMBOL, "buy", "5", "1", DAY_MS))  # fmt: skip
    world.run(HOUR_MS)
    assert world.ended() == [("retention", "unknown", "3")]
    grown = next(change for change in world.changes if change.kind == "order_filled")
    assert world.now_ms - HOUR_MS <= grown.seen_at_ms <= world.now_ms


def test_an_order_whose_fills_can_be_read_to_the_end_waits_for_them() -> None:
    world = OldOrder(30, Fill("1", "55", SYMBOL, "buy", "5", "4", 29 * DAY_MS))
    world.run(HOUR_MS)
    assert world.ended() == [("fill", "closed", "4")]


def test_a_young_order_is_asked_for_while_the_exchange_should_still_know_it() -> None:
    """As long as it should be known, `not found` is strange, and what cannot be read may be what ended it."""
    world = OldOrder(0)
    world.answer = lambda account, call, now_ms: (
        Answer(call, now_ms, complete=False, rows=()) if call.surface is Surface.FILLS else
        world.told(account, call, now_ms))  # fmt: skip
    world.run(HOUR_MS)
    assert world.ended() == []
    world.run(25 * HOUR_MS, step_ms=10_000)
    assert world.ended() == [("retention", "unknown", "1")]
