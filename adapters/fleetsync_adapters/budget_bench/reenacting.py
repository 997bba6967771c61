"""A recorded run's deeds, hints and forced syncs, done again in a simulated world at their instants."""

from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from random import Random
from typing import TYPE_CHECKING

from fleetsync.events import KINDS, Waiter
from fleetsync.units import MINUTE_MS
from fleetsync_adapters.budget_bench.recorded import Asked, Recorded, RecordedDeed
from fleetsync_adapters.paper.orders import Ticket
from fleetsync_adapters.paper.refusals import Refusal
from fleetsync_adapters.simulation.workload import Deed, Trader

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.world import World

_TOLD_MS = (0, 20)  # where hints were not recorded: robots tell when the exchange has answered
_ANSWERED_WITHIN_MS = MINUTE_MS  # a forced sync's patience
_NOTIONAL = Decimal(100)
_AWAY = Decimal("0.2")  # of the price: what was filled in a recording, it says itself
_TOLD_AS = {"open": "opened", "close": "closed", "flip": "opened", "place": "order_placed", "cancel": "order_cancelled"}


class Reenactor(Trader):
    """Trades as a run did; what it was told and asked comes in beside it.

    Orders get other ids here than they had there: whoever names one is given the new one.
    """

    def __init__(self, world: "World", rng: Random, run: Recorded, deeds: Sequence[RecordedDeed],
                 shift_ms: int) -> None:
        """Do `deeds` again in this world, `shift_ms` later than they were."""
        super().__init__(world, rng)
        self.refused = 0
        self._run, self._again, self._shift_ms = run, deeds, shift_ms
        self._orders: dict[str, int] = {}  # id there -> id here
        self._ids_there = {deed.order.get("client_id", ""): deed.name for deed in deeds if deed.action == "place"}
        self._hints_recorded = run.settings is not None
        self._tokens = 0

    def begin(self) -> None:
        """Plan everything; of one instant, deeds come before what is said of them."""
        for deed in self._again:
            self._world.at(deed.at_ms + self._shift_ms, self._enact, deed)
        for asked in self._run.asked:
            if asked.robot:
                self._world.at(asked.at_ms + self._shift_ms, self._ask, asked)

    # -- deeds

    def _enact(self, deed: RecordedDeed) -> None:
        robot = self._world.robots.get(deed.robot)
        if robot is None:
            return
        at_ms = self._world.exchange_ms()
        try:
            order_id = self._carry(deed, at_ms)
        except Refusal:
            self.refused += 1
            return
        if order_id is None:
            return
        self.deeds += 1
        action = f"hand_{deed.action}" if deed.by_hand else deed.action
        for hook in self._world.hooks.acted:
            hook(self._world.now_ms, Deed(robot.id, robot.account, robot.symbol, action, deed.told))
        if deed.told and not self._hints_recorded and deed.action in _TOLD_AS:
            hint = (robot.id, _TOLD_AS[deed.action], "" if order_id else deed.name, order_id)
            self._world.after(self._rng.randint(*_TOLD_MS), self._tell, hint)

    def _carry(self, deed: RecordedDeed, at_ms: int) -> str | None:
        """Do it; returns the id of a resting order that it concerns, None when there was nothing to do."""
        if deed.order:
            return self._carry_order(deed, at_ms)
        book, market = self._book(self._world.robots[deed.robot])
        held = self._position(self._world.robots[deed.robot])
        if deed.filled_order and held is not None and deed.action in {"open", "grow"}:
            return None  # the fill has brought it
        if deed.action == "open":
            side, size = "SELL" if deed.name == "short" else "BUY", market.smallest_size(at_ms, _NOTIONAL)
        elif held is None:
            return None
        elif deed.action == "grow":
            side, size = "BUY" if held > 0 else "SELL", market.smallest_size(at_ms, _NOTIONAL)
        else:
            side, size = "SELL" if held > 0 else "BUY", abs(held)
            if deed.action == "shrink":
                size = max((size / 2 / market.lot).to_integral_value(ROUND_DOWN), Decimal(1)) * market.lot
            size *= 2 if deed.action == "flip" else 1
        self._world.venue.orders.place(book, Ticket(
            market=market, side=side, type="MARKET", size=size, reduce_only=deed.action in {"close", "shrink"},
            client_id=self._client_id(deed)), at_ms)
        return ""

    def _carry_order(self, deed: RecordedDeed, at_ms: int) -> str | None:
        book, market = self._book(self._world.robots[deed.robot])
        venue = self._world.venue
        if deed.action == "place":
            buys = deed.order.get("side") != "sell"
            level = (market.price(at_ms) * (1 - _AWAY if buys else 1 + _AWAY)).quantize(market.tick)
            placed = venue.orders.place(book, Ticket(
                market=market, side="BUY" if buys else "SELL", type="LIMIT", price=level,
                size=market.smallest_size(at_ms, _NOTIONAL), reduce_only=bool(deed.order.get("reduce_only")),
                client_id=self._client_id(deed)), at_ms)
            self._orders[deed.name] = placed.id
            return str(placed.id)
        resting = book.resting.get(self._orders.get(deed.name, 0))
        if resting is None:
            return None
        if deed.action == "cancel":
            return str(venue.orders.cancel(book, resting, at_ms).id)
        share = Decimal(deed.order.get("filled") or 0) / (Decimal(deed.order.get("size") or 0) or 1)
        wanted = min((resting.size * share / market.lot).to_integral_value(ROUND_UP) * market.lot, resting.size)
        if wanted > resting.filled:
            venue.matching.fill(book, resting, wanted - resting.filled, resting.price, at_ms, maker=True)
        return str(resting.id)

    def _client_id(self, deed: RecordedDeed) -> str:
        """Robots mark their orders, hands do not."""
        prefix = self._world.robots[deed.robot].order_prefix
        return "" if deed.by_hand or not prefix else f"{prefix}{self.deeds}"

    # -- what was said of them

    def _ask(self, asked: Asked) -> None:
        life = self._world.life
        if life is None or asked.robot not in life.core.fleet.slot_of:
            return
        if asked.what == "sync":
            now_ms, slot = self._world.now_ms, life.core.fleet.slot(asked.robot)
            self._tokens += 1
            not_before_ms = now_ms - int(asked.detail.get("max_age_ms", 0))
            life.core.await_sync(Waiter(self._tokens, slot, not_before_ms, now_ms + _ANSWERED_WITHIN_MS), now_ms)
            life.wake()
        elif asked.what in KINDS or asked.what == "other":
            if asked.what == "closed":
                # Whoever says so has closed: what came and went between two readings is in no change.
                self._enact(RecordedDeed(asked.at_ms, asked.robot, "close", by_hand=False, told=True))
            there = asked.detail.get("order_id") or self._ids_there.get(asked.detail.get("client_id", ""), "")
            here = self._orders.get(there, 0)
            self._world.tell(asked.robot, asked.what, side=asked.detail.get("side", ""),
                             order_id=str(here) if here else "")
