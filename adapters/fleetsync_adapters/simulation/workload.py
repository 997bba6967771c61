"""Robots that trade: when and how the true books change, and which of it is announced.

A robot alternates between flat and holding, places and cancels orders, and tells the engine of it with a probability;
hands and the exchange touch it without a word. Instants follow from a stated model, or are those of a recording.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from math import exp, log
from random import Random
from typing import TYPE_CHECKING

from fleetsync.model import Robot
from fleetsync.units import HOUR_MS
from fleetsync_adapters.paper.books import BookAccount
from fleetsync_adapters.paper.markets import Market
from fleetsync_adapters.paper.orders import Ticket
from fleetsync_adapters.paper.refusals import Refusal

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.world import World

_RECORDED_BY_HAND = ("hand_flip", "hand_place", "hand_cancel", "hand_stop")  # deeds of a recording that nobody tells
ACTIONS = ("open", "close", "flip", "place", "cancel", "stop", "hand_open", "hand_close", "liquidate",
           *_RECORDED_BY_HAND)  # fmt: skip
_ANNOUNCED_AS = {"open": "opened", "close": "closed", "flip": "opened", "place": "order_placed",
                 "cancel": "order_cancelled", "stop": "order_placed"}  # fmt: skip
_SILENT = frozenset({"hand_open", "hand_close", "liquidate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """How robots trade. Rates are of one robot; `rate_of` states them robot by robot instead."""

    changes_per_hour: float = 4.0
    """Opens and closes of a position together, on average."""
    rate_spread: float = 0.0
    """Sigma of the log-normal by which robots' rates differ; 0: all alike."""
    holding_share: float = 0.2
    """Share of the time that a robot holds a position."""
    orders_per_hour: float = 0.0
    """Limit orders placed (and later cancelled, where the price did not reach them)."""
    announced: float = 0.8
    """Share of a robot's own deeds that it announces."""
    by_hand: float = 0.05
    """Share of opens and closes that a person makes, who tells nobody."""
    flips: float = 0.0
    """Share of closes that turn into a position of the other side."""
    liquidations: float = 0.0
    """Share of closes that the exchange makes."""
    stops: float = 0.0
    """Share of orders that are conditional ones."""
    false_alarms: float = 0.0
    """Announcements without a deed, as a share of the real ones."""
    tell_ms: tuple[int, int] = (0, 200)
    """How long after the deed it is announced."""
    rate_of: Mapping[str, float] = field(default_factory=dict)
    """Changes per hour of single robots, by id."""
    recording: tuple[tuple[int, str, str], ...] = ()
    """(instant, robot, one of `ACTIONS`): these and nothing else, in place of the model."""


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that was really done to the books."""

    robot: str
    account: str
    symbol: str
    action: str
    announced: bool


class Trader:
    """Does to the venue what the workload says."""

    def __init__(self, world: "World", rng: Random) -> None:
        """Trade in this world."""
        self._world = world
        self._rng = rng
        self._plan = world.setup.workload
        self.ended = False
        self.deeds = 0

    def begin(self) -> None:
        """Fill the books as they are on average, and plan the first deeds."""
        if self._plan.recording:
            for at_ms, name, action in self._plan.recording:
                self._world.at(at_ms, self._recorded, (name, action))
            return
        for robot in self._world.robots.values():
            self.adopt(robot)

    def adopt(self, robot: Robot) -> None:
        """A robot begins to trade."""
        if self._plan.recording:
            return
        if self._rng.random() < self._plan.holding_share:
            self._do(robot, "open", tell=False)
        self._plan_next(robot)
        if self._plan.orders_per_hour > 0:
            self._plan_order(robot)

    # -- when

    def rate_per_hour(self, robot: Robot) -> float:
        """How many changes an hour this robot makes."""
        stated = self._plan.rate_of.get(robot.id)
        if stated is not None:
            return stated
        if not self._plan.rate_spread:
            return self._plan.changes_per_hour
        sigma = self._plan.rate_spread
        drawn = Random(f"{self._world.setup.seed} rate {robot.id}").normalvariate(0, 1)
        return exp(log(max(self._plan.changes_per_hour, 1e-9)) + sigma * drawn - sigma * sigma / 2)

    def _plan_next(self, robot: Robot) -> None:
        """The end of the present state: both states' mean spans give the stated rate and share."""
        rate = self.rate_per_hour(robot)
        if rate <= 0:
            return
        share = min(max(self._plan.holding_share, 0.001), 0.999)
        mean_ms = 2 * HOUR_MS / rate * (share if self._position(robot) else 1 - share)
        self._world.after(1 + int(self._rng.expovariate(1 / mean_ms)), self._change, robot)

    def _plan_order(self, robot: Robot) -> None:
        mean_ms = HOUR_MS / self._plan.orders_per_hour
        self._world.after(1 + int(self._rng.expovariate(1 / mean_ms)), self._order, robot)

    # -- what

    def _change(self, robot: Robot) -> None:
        if self.ended or not self._trades(robot):
            return
        plan, draw = self._plan, self._rng.random()
        held = self._position(robot) is not None
        if draw < plan.by_hand:
            action = "hand_close" if held else "hand_open"
        elif held and draw < plan.by_hand + plan.liquidations:
            action = "liquidate"
        elif held:
            action = "flip" if self._rng.random() < plan.flips else "close"
        else:
            action = "open"
        self._do(robot, action, tell=self._rng.random() < plan.announced)
        if plan.false_alarms and self._rng.random() < plan.false_alarms:
            self._world.tell(robot.id, self._rng.choice(("opened", "suspect", "manual")), side="", order_id="")
        self._plan_next(robot)

    def _order(self, robot: Robot) -> None:
        if self.ended or not self._trades(robot):
            return
        book, market = self._book(robot)
        resting = (any(one.market is market for one in book.resting.values())
                   or any(one.market is market for one in book.waiting.values()))
        if resting and self._rng.random() < 0.5:
            action = "cancel"
        else:
            action = "stop" if self._rng.random() < self._plan.stops else "place"
        self._do(robot, action, tell=self._rng.random() < self._plan.announced)
        self._plan_order(robot)

    def _recorded(self, deed: tuple[str, str]) -> None:
        robot = self._world.robots.get(deed[0])
        if robot is not None and not self.ended:
            by_hand = deed[1] in _RECORDED_BY_HAND
            action = deed[1].removeprefix("hand_") if by_hand else deed[1]
            self._do(robot, action, tell=not by_hand and self._rng.random() < self._plan.announced)

    def _do(self, robot: Robot, action: str, *, tell: bool) -> None:
        """Carry it out; what the exchange refuses has not happened."""
        at_ms = self._world.exchange_ms()
        try:
            told = self._carry_out(robot, action, at_ms)
        except Refusal:
            return
        if told is None:
            return
        side, order_id = told
        announced = tell and action not in _SILENT
        self.deeds += 1
        deed = Deed(robot.id, robot.account, robot.symbol, action, announced)
        for hook in self._world.hooks.acted:
            hook(self._world.now_ms, deed)
        if announced:
            kind = _ANNOUNCED_AS[action]
            named = self._rng.random()
            after_ms = self._rng.randint(*self._plan.tell_ms)
            self._world.after(after_ms, self._tell, (robot.id, kind, side if named < 0.5 else "",
                                                     order_id if named >= 0.75 else ""))

    def _tell(self, told: tuple[str, str, str, str]) -> None:
        robot, kind, side, order_id = told
        life = self._world.life
        if life is not None and self._world.now_ms < life.paused_until_ms:
            self._world.at(life.paused_until_ms, self._tell, told)
            return
        self._world.tell(robot, kind, side=side, order_id=order_id)

    def _carry_out(self, robot: Robot, action: str, at_ms: int) -> tuple[str, str] | None:
        """What there is to announce: (side, order id); None when there was nothing to do."""
        book, market = self._book(robot)
        desk, held = self._world.venue.orders, self._position(robot)
        if action in {"open", "hand_open"}:
            buy = self._rng.random() < 0.5
            size = market.smallest_size(at_ms, Decimal(self._rng.randint(20, 200)))
            order = desk.place(book, Ticket(market=market, side="BUY" if buy else "SELL", type="MARKET", size=size,
                                            client_id=self._name(robot, action)), at_ms)
            return "long" if buy else "short", str(order.id)
        if action in {"close", "hand_close", "flip"}:
            if held is None:
                return None
            size = abs(held) * (2 if action == "flip" else 1)
            order = desk.place(book, Ticket(market=market, side="SELL" if held > 0 else "BUY", type="MARKET", size=size,
                                            reduce_only=action != "flip", client_id=self._name(robot, action)), at_ms)
            was, now = ("long", "short") if held > 0 else ("short", "long")
            return now if action == "flip" else was, str(order.id)
        if action == "liquidate":
            return None if held is None else ("", str(desk.liquidate(book, market, at_ms).id))
        return self._order_out(robot, action, book, market, at_ms)

    def _order_out(self, robot: Robot, action: str, book: BookAccount, market: Market,
                   at_ms: int) -> tuple[str, str] | None:
        desk, price = self._world.venue.orders, market.price(at_ms)
        buy = self._rng.random() < 0.5
        # Millionths of the price: some are reached, some never. What was filled in a recording, it says itself.
        away = 200_000 if self._plan.recording else self._rng.choice((500, 2_000, 20_000))
        level = (price * (1_000_000 + (-away if buy else away)) / 1_000_000).quantize(market.tick)
        size = market.smallest_size(at_ms, Decimal(self._rng.randint(20, 200)))
        if action == "place":
            order = desk.place(book, Ticket(market=market, side="BUY" if buy else "SELL", type="LIMIT", size=size,
                                            price=level, client_id=self._name(robot, action)), at_ms)
            return "", str(order.id)
        if action == "stop":
            trigger = desk.place_trigger(book, Ticket(
                market=market, side="SELL" if buy else "BUY", type="STOP_MARKET", size=size, trigger=level,
                client_id=self._name(robot, action)), at_ms)
            return "", str(trigger.id)
        for order in book.resting.values():
            if order.market is market:
                return "", str(desk.cancel(book, order, at_ms).id)
        for waiting in book.waiting.values():
            if waiting.market is market:
                return "", str(desk.cancel_trigger(book, waiting, at_ms).id)
        return None

    # -- look-ups

    def _name(self, robot: Robot, action: str) -> str:
        """Robots mark their orders, hands do not."""
        return "" if action in _SILENT or not robot.order_prefix else f"{robot.order_prefix}{self.deeds}"

    def _trades(self, robot: Robot) -> bool:
        return self._world.robots.get(robot.id) is robot

    def _book(self, robot: Robot) -> tuple[BookAccount, Market]:
        return self._world.book_of(robot.account), self._world.venue.markets.by_symbol[robot.symbol]

    def _position(self, robot: Robot) -> Decimal | None:
        book, market = self._book(robot)
        self._world.venue.matching.touch(book, self._world.exchange_ms())
        position = book.positions.get(market.id)
        return None if position is None else position.size
