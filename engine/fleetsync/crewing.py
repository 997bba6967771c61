"""Which worker serves which account, which workers are up, and which exchanges they have open. Pure bookkeeping.

An account stays with its worker index for life: when a worker dies, its replacement has the same index and is told the
same accounts again. Accounts whose worker cannot take a sync now are *stalled* there and come back when it can.
"""

from dataclasses import dataclass, field

from fleetsync.account import AccountState, Route
from fleetsync.fleet import Fleet
from fleetsync.messages import AddAccount, ToWorker

_SCHEDULED_ONE_IN = 5  # of the places that come free, one in so many is not for urgent work, however much there is
_WAITED_MS = 20  # as long as syncs may lie at a worker before it comes to them: what is urgent waits as long
_ROOM_MIN = 16  # a worker gets this many, however late it is
_ROUND_MIN = 16  # fewer reports say nothing about a worker


class Room:
    """How many scheduled syncs a worker can use at once. More would lie there as a queue in front of urgent ones.

    What tells is how long syncs waited until the worker came to them: it leaves out how long the exchange takes, for
    which as many syncs as there are budgets for may be under way. Once a round (as many reports as there is room for)
    the median is looked at: where it is too long, room shrinks in proportion; where it is not and all room was used,
    room grows. The median, since a pause of some process is in a few of them.

    Args:
        most: never more than this; it is the room of a worker that nothing is known of.
    """

    def __init__(self, most: int) -> None:
        self.size = self._most = most
        self._waited_ms: list[int] = []
        self._was_full = False

    def reported(self, waited_ms: int, in_flight: int) -> None:
        """A sync came back that had waited so long; as many were in flight, itself included."""
        waits_ms = self._waited_ms
        waits_ms.append(waited_ms)
        self._was_full = self._was_full or in_flight >= self.size
        if len(waits_ms) < max(self.size, _ROUND_MIN):
            return
        waits_ms.sort()
        middle_ms = waits_ms[len(waits_ms) // 2]
        if middle_ms > _WAITED_MS:
            self.size = max(self.size * max(_WAITED_MS, middle_ms // 2) // middle_ms, min(_ROOM_MIN, self._most))
        elif self._was_full:
            self.size = min(self.size + self.size // 8 + 1, self._most)
        waits_ms.clear()
        self._was_full = False


@dataclass(slots=True)
class _Worker:
    room: Room
    pid: int = 0  # 0: down
    accounts: int = 0
    in_flight: int = 0
    scheduled: int = 0  # of these, how many are not urgent
    routes: dict[str, Route] = field(default_factory=dict)  # those its accounts use
    opened: dict[str, bool] = field(default_factory=dict)  # by route name; False: being opened
    stalled: dict[int, tuple[AccountState, int]] = field(default_factory=dict)  # account index -> (account, key)
    pressing: dict[int, tuple[AccountState, int]] = field(default_factory=dict)  # the same for urgent ones
    unopened: dict[str, dict[int, tuple[AccountState, int, bool]]] = field(default_factory=dict)  # by route; urgent?
    pressed: int = 0  # places that urgent ones got since the others had their share; see `unstall`

    @property
    def waiting(self) -> int:
        return len(self.stalled) + len(self.pressing) + sum(map(len, self.unopened.values()))


class Roster:
    """The workers as the core knows them."""

    def __init__(self, workers: int, in_flight_max: int, urgent_share: float = 0.0) -> None:
        scheduled_max = max(int(in_flight_max * (1 - urgent_share)), 1)  # the rest is kept for urgent work
        self._workers = [_Worker(Room(scheduled_max)) for _ in range(workers)]
        self._in_flight_max = in_flight_max
        self._freed: set[int] = set()  # workers that have taken in a report since accounts were last unstalled
        self.opening_at_ms: int | None = None  # when the opening of an exchange may be tried (again)
        self.fresh: dict[int, AccountState] = {}  # accounts whose worker has to be told about them or their symbols

    def place(self) -> int:
        """The worker for a new account: the one with the fewest."""
        worker = min(range(len(self._workers)), key=lambda index: self._workers[index].accounts)
        self._workers[worker].accounts += 1
        return worker

    def joined(self, state: AccountState) -> None:
        """An account was placed on its worker."""
        routes = self._workers[state.worker].routes
        if state.route.name not in routes:
            routes[state.route.name] = state.route
            self.opening_at_ms = 0
        self.fresh[state.index] = state

    def took_out(self, state: AccountState) -> None:
        """An account does not wait for its worker any more."""
        crewed = self._workers[state.worker]
        crewed.stalled.pop(state.index, None)
        crewed.pressing.pop(state.index, None)
        for waiting in crewed.unopened.values():
            waiting.pop(state.index, None)

    def left(self, state: AccountState) -> None:
        """An account is gone."""
        self.took_out(state)
        self.fresh.pop(state.index, None)
        self._workers[state.worker].accounts -= 1

    def introductions(self, fleet: Fleet) -> list[tuple[int, ToWorker]]:
        """What workers have to be told of accounts that are new to them, or have new symbols to check."""
        told: list[tuple[int, ToWorker]] = []
        if not self.fresh:
            return told
        waiting, self.fresh = self.fresh, {}
        for index, state in waiting.items():
            if self.up(state.worker):
                symbols = tuple(sorted({fleet.symbols[slot] for slot in state.slots}))
                told.append((state.worker, AddAccount(state.account, symbols)))
            else:
                self.fresh[index] = state
        return told

    def up(self, worker: int) -> bool:
        """Whether the worker is running."""
        return self._workers[worker].pid > 0

    def came_up(self, worker: int, pid: int) -> None:
        """The worker is running and knows nothing yet."""
        crewed = self._workers[worker]
        crewed.pid, crewed.in_flight, crewed.scheduled = pid, 0, 0
        crewed.opened.clear()
        self.opening_at_ms = 0

    def went_down(self, worker: int) -> None:
        """The worker is gone, with everything it knew."""
        self._workers[worker].pid = 0
        self._workers[worker].opened.clear()

    def to_open(self) -> list[tuple[int, Route]]:
        """Routes that running workers need and have not opened."""
        return [
            (index, route)
            for index, worker in enumerate(self._workers) if worker.pid
            for name, route in worker.routes.items() if name not in worker.opened
        ]

    def opening(self, worker: int, route: Route) -> None:
        """A worker was told to open a route."""
        self._workers[worker].opened[route.name] = False

    def opened(self, worker: int, route: Route) -> None:
        """A worker has opened a route: who waited for that waits for a place now."""
        crewed = self._workers[worker]
        crewed.opened[route.name] = True
        for state, key_ms, urgent in crewed.unopened.pop(route.name, {}).values():
            self.stall(state, key_ms, urgent=urgent)
        self._freed.add(worker)

    def open_failed(self, worker: int, route: Route, retry_at_ms: int) -> None:
        """A worker could not open a route; it is tried again."""
        self._workers[worker].opened.pop(route.name, None)
        self.open_later(retry_at_ms)

    def open_later(self, at_ms: int) -> None:
        """An exchange cannot be opened before an instant; others may be sooner."""
        self.opening_at_ms = min(self.opening_at_ms or at_ms, at_ms)

    def serves(self, worker: int, route: Route, *, urgent: bool = False) -> bool:
        """Whether the worker can take a sync on that route now."""
        crewed = self._workers[worker]
        if crewed.in_flight >= self._in_flight_max or (crewed.scheduled >= crewed.room.size and not urgent):
            return False
        return crewed.pid > 0 and crewed.opened.get(route.name, False)

    def started(self, worker: int, *, urgent: bool = False) -> None:
        """A sync was handed to the worker."""
        crewed = self._workers[worker]
        crewed.in_flight += 1
        crewed.scheduled += not urgent

    def finished(self, worker: int, *, urgent: bool = False, waited_ms: int | None = None) -> None:
        """A sync of the worker was reported, or given up; it lay there for `waited_ms` until the worker came to it."""
        crewed = self._workers[worker]
        if waited_ms is not None and not urgent:
            crewed.room.reported(waited_ms, crewed.scheduled)
        if crewed.in_flight:
            crewed.in_flight -= 1
        if crewed.scheduled and not urgent:
            crewed.scheduled -= 1
        self._freed.add(worker)

    def stall(self, state: AccountState, key_ms: int, *, urgent: bool = False) -> None:
        """The account waits for its worker, under its key in the lane that it came from; of several, the oldest."""
        crewed = self._workers[state.worker]
        if not crewed.opened.get(state.route.name, False):  # no place that comes free is of use to it
            unopened = crewed.unopened.setdefault(state.route.name, {})
            _, before_ms, pressing = unopened.get(state.index, (state, key_ms, False))
            unopened[state.index] = state, min(key_ms, before_ms), urgent or pressing
            return
        waiting = crewed.pressing if urgent else crewed.stalled
        _, before_ms = waiting.get(state.index, (state, key_ms))
        waiting[state.index] = state, min(key_ms, before_ms)

    def waits(self, state: AccountState) -> bool:
        """Whether this account waits for its worker."""
        crewed = self._workers[state.worker]
        return (state.index in crewed.stalled or state.index in crewed.pressing
                or state.index in crewed.unopened.get(state.route.name, ()))

    def is_short(self) -> bool:
        """Whether anybody waits for a place at a worker."""
        return any(worker.stalled or worker.pressing for worker in self._workers)

    def unstall(self) -> list[tuple[AccountState, int, bool]]:
        """Take out who waits for the workers that reported since the last call, as many as each can take now.

        Once a turn and not at each report: else each would take out again as many as the ones before it. Of each
        account its key, and whether it is urgent.
        """
        freed: list[tuple[AccountState, int, bool]] = []
        for worker in self._freed:
            crewed = self._workers[worker]
            room, scheduled_room = self._in_flight_max - crewed.in_flight, crewed.room.size - crewed.scheduled
            share = min((crewed.pressed + room) // _SCHEDULED_ONE_IN, len(crewed.stalled), max(scheduled_room, 0))
            pressed = _take_out(crewed.pressing, room - share, freed, urgent=True)
            taken = _take_out(crewed.stalled, min(room - pressed, scheduled_room), freed, urgent=False)
            crewed.pressed = 0 if taken else min(crewed.pressed + pressed, _SCHEDULED_ONE_IN - 1)
        self._freed = {worker for worker in self._freed if self._workers[worker].pressing or
                       self._workers[worker].stalled}
        return freed

    def leaves_places(self) -> bool:
        """Whether somebody waits for a place at a worker that has one: who was taken out for it did not need it."""
        for worker in self._freed:
            crewed = self._workers[worker]
            if crewed.in_flight < self._in_flight_max and (
                    crewed.pressing or (crewed.stalled and crewed.scheduled < crewed.room.size)):
                return True
        return False

    @property
    def running(self) -> int:
        """Workers that are up."""
        return sum(worker.pid > 0 for worker in self._workers)

    def view(self) -> list[dict[str, int]]:
        """For people: one row a worker."""
        return [{"worker": index, "pid": w.pid, "accounts": w.accounts, "in_flight": w.in_flight,
                 "stalled": w.waiting} for index, w in enumerate(self._workers)]


def _take_out(waiting: dict[int, tuple[AccountState, int]], room: int, freed: list[tuple[AccountState, int, bool]], *,
              urgent: bool) -> int:
    """Take out up to `room` accounts, who came first first; returns how many."""
    taken = 0
    while waiting and taken < room:
        state, key_ms = waiting.pop(next(iter(waiting)))
        if not (state.stopped or state.busy):  # those take no room, and would leave others waiting for good
            freed.append((state, key_ms, urgent))
            taken += 1
    return taken
