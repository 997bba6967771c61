"""Change numbers without gap, state = replay of changes, and memory that stays bounded."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from fleetsync.core import Core
from fleetsync.heap import DueHeap
from fleetsync.messages import RemoveAccount
from fleetsync.model import Change, Order, Position
from fleetsync.ports import Batch
from fleetsync_adapters.simulation.life import Life
from fleetsync_adapters.simulation.promises import Promise
from fleetsync_adapters.simulation.world import World

Key = tuple[str, str, str]
_STALE_MAX = 1_000  # entries a heap may keep beyond twice its live ones
_QUESTIONS_A_ROW = 4  # of one order or position ...
_QUESTIONS_MORE = 16  # ... and some for the clock, and for events that were just served
_FADING = 0.99  # a second: what a storm of events wanted to know is asked bit by bit
_LOOK_EVERY_MS = 300_000  # large fleets are looked at every five minutes
_SMALL = 500
_GONE_KEPT_MS = 180_000  # the longest window, a look at each minute, and a pause of the loop
_NAMES = {kind: kind._fields for kind in (Position, Order)}


class Numbers(Promise):
    """Counts the committed changes."""

    name: ClassVar[str] = "numbers"
    sentence: ClassVar[str] = "Change numbers run without gap or repeat, over crashes and failed commits."

    def __init__(self) -> None:
        """Number 1 comes first."""
        super().__init__()
        self._changes: list[Change] = []

    def committed(self, at_ms: int, batch: Batch, served: Sequence[tuple[int, int]]) -> None:
        """Each number follows the one before; one that comes again is the same change."""
        for change in batch.changes:
            last = len(self._changes)
            if change.number == last + 1:
                self._changes.append(change)
            elif not 1 <= change.number <= last or self._changes[change.number - 1] != change:
                self.broken(f"change {change.number} was committed after {last}")


class Replay(Promise):
    """Keeps the state that the committed changes make, and holds the store's rows against it."""

    name: ClassVar[str] = "replay"
    sentence: ClassVar[str] = "The stored state is the replay of the committed changes, at every instant."

    def __init__(self) -> None:
        """Nothing is known."""
        super().__init__()
        self._last = 0
        self._rows: dict[Key, dict[str, Any]] = {}

    def committed(self, at_ms: int, batch: Batch, served: Sequence[tuple[int, int]]) -> None:
        """Play the changes, then compare the rows that the batch wrote."""
        for change in batch.changes:
            if change.number > self._last:
                self._last = change.number
                self._play(change)
        for (account, symbol, side), position in batch.positions.items():
            self._same((account, symbol, side), position)
        for (account, symbol, order_id), order in batch.orders.items():
            self._same((account, symbol, f"order {order_id}"), order)

    def crashed(self, at_ms: int, life: Life) -> None:
        """Everything that a new engine will find."""
        self.compare()

    def compare(self) -> None:
        """All rows of the store against the replay."""
        store = self.world.store
        stored: dict[Key, Position | Order] = dict(store.positions)
        stored.update({(account, symbol, f"order {order}"): row
                       for (account, symbol, order), row in store.orders.items()})
        for key in sorted(stored.keys() | self._rows.keys()):
            self._same(key, stored.get(key))

    def _play(self, change: Change) -> None:
        before, after = change.before, change.after
        if before is not None:
            key = self._key(change, before)
            if _terms(self._rows.get(key)) != _terms(before):
                self.broken(f"change {change.number}, {change.kind} {change.key}: what it says was before is not what "
                            f"the changes before it made")
            self._rows.pop(key, None)
        if after is not None and change.kind != "order_ended":
            key = self._key(change, after)
            if before is None and key in self._rows:
                self.broken(f"change {change.number}, {change.kind} {change.key}: it was there before")
            self._rows[key] = after

    @staticmethod
    def _key(change: Change, row: dict[str, Any]) -> Key:
        if change.kind.startswith("order_"):
            return change.account, change.symbol, f"order {row['id']}"
        return change.account, change.symbol, row["side"]

    def _same(self, key: Key, stored: Position | Order | None) -> None:
        row = None if stored is None else {name: getattr(stored, name) for name in _NAMES[type(stored)]}
        if self._rows.get(key) != row:
            self.broken(f"{' '.join(key)}: the store holds {row}, the changes make {self._rows.get(key)}")


def _terms(row: dict[str, Any] | None) -> dict[str, Any] | None:
    """A row without its instant: a position that was left and taken up again on the same terms is no change."""
    return None if row is None else {name: value for name, value in row.items() if name != "updated_at_ms"}


class BoundedMemory(Promise):
    """Looks at the size of everything that could grow."""

    name: ClassVar[str] = "bounded_memory"
    sentence: ClassVar[str] = "Memory is bounded by the fleet, its open orders and the events that wait."

    def __init__(self) -> None:
        """Nothing waits."""
        super().__init__()
        self._waited: dict[str, float] = {}  # by account: events that waited, fading
        self._live: dict[str, int] = {}  # by heap: entries at the look before
        self._parted_at_ms: dict[str, int] = {}

    def parted(self, at_ms: int, account: str) -> None:
        """From now on little may be kept of it."""
        self._parted_at_ms[account] = at_ms

    def second(self, at_ms: int, world: World) -> None:
        """Hold sizes against what they may depend on."""
        life = world.life
        if life is None or (len(world.robots) > _SMALL and at_ms % _LOOK_EVERY_MS >= 1_000):
            return
        core = life.core
        fleet, accounts = core.fleet, len(core.fleet.account_by_id)
        running = sum(not sync.void for sync in core.in_flight.values())
        sizes = {"syncs in flight": (running, accounts + world.setup.settings.workers * len(fleet.routes)),
                 "commands": (sum(not isinstance(command, RemoveAccount) for _, command in core.commands), 0),
                 "event numbers": (len(core.inbox.pending), len(fleet))}
        for route in fleet.routes.values():
            for name, heap, live_max in (("robots", route.robots, len(fleet)), ("ready", route.ready, accounts),
                                         ("urgent", route.urgent, accounts)):
                sizes.update(self._heap(f"{route.name} {name}", heap, live_max, large=len(world.robots) > _SMALL))
        self._look_at_events(core)
        gone = {ledger.owner for ledger in core.budget.ledgers()
                if ledger.owner not in fleet.account_by_id and ledger.owner and ledger.frozen_until_ms <= at_ms}
        sizes["accounts that are gone and have ledgers"] = len(gone), sum(
            parted_ms > at_ms - _GONE_KEPT_MS for parted_ms in self._parted_at_ms.values())
        for state in fleet.account_by_id.values():
            most = _QUESTIONS_MORE
            if len(state.questions) > most:
                rows = sum(len(book.orders) + len(book.positions) for book in state.books.values())
                most += _QUESTIONS_A_ROW * (rows + len(state.books)) + int(self._waited.get(state.account.id, 0.0))
            for name, size, size_max in (("questions", len(state.questions), most),
                                         ("waiting robots", len(state.waiting), len(state.slots)),
                                         ("books", len(state.books), world.setup.markets)):
                if size > size_max:
                    sizes[f"{name} of {state.account.id}"] = size, size_max
        for name, (size, most) in sizes.items():
            if size > most:
                self.broken(f"{name}: {size}, at most {most} were expected")

    def _heap(self, name: str, heap: DueHeap, live_max: int, *, large: bool) -> dict[str, tuple[int, int]]:
        """A heap is pruned when something is put in: what was taken out since the look before counts as live."""
        live, self._live[name] = max(heap.live, self._live.get(name, 0)), heap.live
        if large:  # between two looks so far apart, any of them may have been in it
            live = live_max
        return {name: (heap.live, live_max), f"{name} with stale ones": (heap.size, 2 * live + _STALE_MAX)}

    def _look_at_events(self, core: Core) -> None:
        """What waits now, or has lately: questions may outlive the events that asked them."""
        waited = {account: events * _FADING for account, events in self._waited.items() if events >= 1}
        waiting = Counter[str]()
        for slot, events in core.inbox.pending.items():
            waiting[core.fleet.state_of(slot).account.id] += len(events)
        self._waited = waited | {account: max(float(events), waited.get(account, 0.0))
                                 for account, events in waiting.items()}
