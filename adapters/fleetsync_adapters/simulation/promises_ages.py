"""What is called agreed was so at the exchange, no earlier than it is dated."""

from typing import TYPE_CHECKING, ClassVar

from fleetsync.account import AccountState
from fleetsync.model import Certainty, Order, Robot, Surface
from fleetsync_adapters.paper.views import open_orders
from fleetsync_adapters.simulation.faults import LIE_REST_MS
from fleetsync_adapters.simulation.life import Life
from fleetsync_adapters.simulation.liveness import true_rows
from fleetsync_adapters.simulation.promises import Promise

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.world import World

_LISTS = (Surface.POSITIONS, Surface.ORDERS)
_SMALL_FLEET, _ROBOTS_A_SECOND = 200, 8  # looked at each second, in turn; of a larger fleet, one


class Ages(Promise):
    """Holds the engine's instants against the readings, and its books against the exchange's."""

    name: ClassVar[str] = "ages"
    sentence: ClassVar[str] = ("No age is younger than the reading behind it, and what is called agreed was true when"
                               " it was read, or later.")

    def __init__(self) -> None:
        """Nobody was looked at."""
        super().__init__()
        self._from = 0
        self._round: list[Robot] = []

    def second(self, at_ms: int, world: "World") -> None:
        """The next share of the fleet."""
        life = world.life
        if life is None:
            return
        robots = self._robots(world)
        looks = min(len(robots), _ROBOTS_A_SECOND if len(robots) <= _SMALL_FLEET else 1)
        for offset in range(looks):
            robot = robots[(self._from + offset) % len(robots)]
            slot = life.core.fleet.slot_of.get(robot.id)
            if slot is not None and world.robots.get(robot.id) is robot:
                self._look(robot, slot, life)
        self._from = (self._from + looks) % max(len(robots), 1)

    def _robots(self, world: "World") -> list[Robot]:
        """Everybody, as of the beginning of each round."""
        if len(world.robots) <= _SMALL_FLEET or self._from == 0 or not self._round:
            self._round = list(world.robots.values())
        return self._round

    def _look(self, robot: Robot, slot: int, life: Life) -> None:
        fleet, state = life.core.fleet, life.core.fleet.state_of(slot)
        account, symbol, readings = robot.account, robot.symbol, self.readings
        shown = state.route.tariff.positions_show_orders
        read_ms = readings.latest(account, Surface.POSITIONS, symbol)
        claims = [("its position", state.positions_as_of_ms, read_ms),
                  ("its orders", fleet.orders_as_of(state, slot),
                   max(readings.latest(account, Surface.ORDERS, symbol), read_ms if shown else 0))]
        if state.route.conditional:
            claims.append(("its conditional orders", fleet.conditional_as_of(state, slot),
                           readings.latest(account, Surface.CONDITIONAL, symbol)))
        for what, claimed_ms, truly_ms in claims:
            if claimed_ms > truly_ms:
                self.broken(f"{robot.id}: {what} is dated {claimed_ms - truly_ms} ms after the newest reading")
        if fleet.certainty(slot) is not Certainty.AGREED:
            return
        joined_ms = self.world.joined_at_ms.get(robot.id, 0)
        if not readings.knows(robot, joined_ms):
            self.broken(f"{robot.id} is agreed, and was not read since it joined {account}")
        chaos = self.world.chaos
        lied_at_ms = chaos.lied_at_ms.get(account, -LIE_REST_MS) if chaos is not None else -LIE_REST_MS
        if self.world.now_ms > lied_at_ms + LIE_REST_MS:
            self._compare(robot, state, lied_at_ms)

    def _compare(self, robot: Robot, state: AccountState, lied_at_ms: int) -> None:
        """Where nothing has happened since the newest reading, what is known is what is there.

        A reading from before the last lie may be the lie: with a small budget it is the newest for long.
        """
        world, readings = self.world, self.readings
        account, symbol = robot.account, robot.symbol
        held, _ = true_rows(world, account, symbol, world.exchange_ms())
        true_book, market = world.book_of(account), world.venue.markets.by_symbol[symbol]
        book, fills = state.books.get(symbol), true_book.fills.get(market.id, [])
        known = {row.side: row for row in book.positions} if book is not None else {}
        if min(readings.latest(account, surface, symbol) for surface in _LISTS) <= lied_at_ms:
            return
        if (not fills or fills[-1].at_ms < readings.executed(account, Surface.POSITIONS, symbol)) and known != held:
            self.broken(f"{robot.id} is agreed to hold {sorted(known)}, in truth {sorted(held)}, "
                        f"and was read after that")
        orders = {row.id: row for row in book.orders if not row.conditional} if book is not None else {}
        self._compare_orders(robot, orders, readings.executed(account, Surface.ORDERS, symbol))

    def _compare_orders(self, robot: Robot, known: dict[str, Order], executed_ms: int) -> None:
        true_book = self.world.book_of(robot.account)
        market = self.world.venue.markets.by_symbol[robot.symbol]
        for view in open_orders(true_book, market):
            if view.updated_at_ms < executed_ms and str(view.order.id) not in known:
                self.broken(f"{robot.id} is agreed, order {view.order.id} rests and is not known, though it was read")
        for key in known:
            order = true_book.orders.get(int(key))
            if order is None or (not order.is_open and order.updated_at_ms < executed_ms):
                self.broken(f"{robot.id} is agreed, order {key} is known and does not rest, though it was read")
