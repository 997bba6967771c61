"""What the engine can know at best: which question was answered whole, when it was sent, and when it was executed.

Made from what passes between engine, workers and exchange, and from nothing that the engine says of itself.
"""

from typing import TYPE_CHECKING

from fleetsync.messages import Answer, Call, Dispatch, FromWorker, OpenExchange, Request, SyncDone, ToWorker
from fleetsync.model import Robot, Surface
from fleetsync_adapters.simulation.life import Life
from fleetsync_adapters.simulation.observe import Observer

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.world import World

LISTS = frozenset({Surface.POSITIONS, Surface.ORDERS, Surface.CONDITIONAL})
Asked = tuple[str, Surface, str]  # account, surface, symbol ("" for all)


class Readings(Observer):
    """The newest complete reading of each question in this life of the engine, as sent and as executed."""

    def __init__(self) -> None:
        """Nothing was read."""
        self.sent_at_ms: dict[Asked, int] = {}
        self.executed_at_ms: dict[Asked, int] = {}  # on the exchange's clock
        self.shown_at_ms: dict[Asked, int] = {}  # when its report came, of those that brought their rows
        self._shown: dict[str, frozenset[str]] = {}  # by account: symbols of the last list of positions
        self._quiet_at_ms: dict[tuple[str, str], int] = {}  # of these: when a list was last sent that left them out
        self._open: dict[int, str] = {}  # syncs whose report counts -> account ("": of no account)
        self._executed: dict[tuple[int, Surface, str], int] = {}
        self._world: World | None = None

    def bind(self, world: "World") -> None:
        """Watch this world."""
        self._world = world

    def begun(self, at_ms: int, life: Life) -> None:
        """Nothing that an earlier life read counts."""
        self.sent_at_ms.clear()
        self.executed_at_ms.clear()
        self.shown_at_ms.clear()
        self._shown.clear()
        self._quiet_at_ms.clear()
        self._open.clear()
        self._executed.clear()

    def sent(self, at_ms: int, worker: int, message: ToWorker) -> None:
        """A question goes out."""
        if isinstance(message, Dispatch):
            self._open[message.sync_id] = message.account
        elif isinstance(message, OpenExchange):
            self._open[message.sync_id] = ""

    def parted(self, at_ms: int, account: str) -> None:
        """What is out for it is not read any more."""
        self._open = {sync: other for sync, other in self._open.items() if other != account}

    def requested(self, at_ms: int, sync_id: int, route: str, account: str, call: Call, request: Request) -> None:
        """It is executed."""
        if sync_id in self._open and call.surface in LISTS:
            assert self._world is not None
            self._executed[sync_id, call.surface, call.symbol] = self._world.exchange_ms()

    def turned(self, at_ms: int, life: Life) -> None:
        """What was given up is not read any more, whenever its report comes."""
        if len(life.core.in_flight) < len(self._open):
            self._open = {sync: account for sync, account in self._open.items() if sync in life.core.in_flight}

    def received(self, at_ms: int, message: FromWorker) -> None:
        """It is answered."""
        if not isinstance(message, SyncDone):
            return
        account = self._open.pop(message.sync_id, None)
        for answer in message.answers:
            call = answer.call
            if call.surface not in LISTS:
                continue
            executed_ms = self._executed.pop((message.sync_id, call.surface, call.symbol), 0)
            if account is not None and answer.complete and answer.fault is None:
                asked = account, call.surface, call.symbol
                self._read(asked, answer, executed_ms)
                if answer.rows is not None:
                    self.shown_at_ms[asked] = at_ms

    def _read(self, asked: Asked, answer: Answer, executed_ms: int) -> None:
        before_ms = self.sent_at_ms.get(asked, 0)
        if answer.as_of_ms >= before_ms:
            self.sent_at_ms[asked], self.executed_at_ms[asked] = answer.as_of_ms, executed_ms
        if asked[1] is Surface.POSITIONS and answer.rows is not None:
            shown, account = frozenset(getattr(row, "symbol", "") for row in answer.rows), asked[0]
            self._quiet_at_ms.update(dict.fromkeys(
                [(account, symbol) for symbol in shown - self._shown.get(account, frozenset())], before_ms))
            self._shown[account] = shown

    # -- what follows from it

    def latest(self, account: str, surface: Surface, symbol: str) -> int:
        """When the newest reading that tells of this symbol was sent; 0: never."""
        return _newest(self.sent_at_ms, account, surface, symbol)

    def executed(self, account: str, surface: Surface, symbol: str) -> int:
        """When the newest reading that tells of this symbol was executed; 0: never."""
        return _newest(self.executed_at_ms, account, surface, symbol)

    def knows(self, robot: Robot, since_ms: int) -> bool:
        """Whether a robot's surfaces were all read, by questions sent or by rows told since an instant."""
        if self.whole(robot) >= since_ms:
            return True
        assert self._world is not None
        tariff = self._world.setup.tariffs[self._world.accounts[robot.account].exchange]
        wanted = [Surface.POSITIONS] if tariff.positions_show_orders else [Surface.POSITIONS, Surface.ORDERS]
        wanted += [surface for surface in tariff.surfaces if surface is Surface.CONDITIONAL]
        return all(_newest(self.shown_at_ms, robot.account, surface, robot.symbol) >= since_ms for surface in wanted)

    def orders(self, account: str, symbol: str, *, shown_by_positions: bool) -> int:
        """The same for orders, where a list of positions without a symbol may prove that none rest on it."""
        latest_ms = self.latest(account, Surface.ORDERS, symbol)
        if not shown_by_positions:
            return latest_ms
        if symbol in self._shown.get(account, ()):
            return max(latest_ms, self._quiet_at_ms.get((account, symbol), 0))
        return max(latest_ms, self.latest(account, Surface.POSITIONS, symbol))

    def whole(self, robot: Robot) -> int:
        """Since when at least every surface of a robot was read."""
        assert self._world is not None
        tariff = self._world.setup.tariffs[self._world.accounts[robot.account].exchange]
        instants = [self.latest(robot.account, Surface.POSITIONS, robot.symbol),
                    self.orders(robot.account, robot.symbol, shown_by_positions=tariff.positions_show_orders)]
        if Surface.CONDITIONAL in tariff.surfaces:
            instants.append(self.latest(robot.account, Surface.CONDITIONAL, robot.symbol))
        return min(instants)


def _newest(table: dict[Asked, int], account: str, surface: Surface, symbol: str) -> int:
    return max(table.get((account, surface, ""), 0), table.get((account, surface, symbol), 0))
