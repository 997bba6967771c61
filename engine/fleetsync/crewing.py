"""Which worker serves which account, which workers are up, and which exchanges they have open. Pure bookkeeping.

An account stays with its worker index for life: when a worker dies, its replacement has the same index and is told the
same accounts again. Accounts whose worker cannot take a sync now are *stalled* there and come back when it can.
"""

from dataclasses import dataclass, field

from fleetsync.fleet import AccountState, Fleet, Route


@dataclass(slots=True)
class _Worker:
    pid: int = 0  # 0: down
    accounts: int = 0
    in_flight: int = 0
    routes: dict[str, Route] = field(default_factory=dict)  # those its accounts use
    opened: dict[str, bool] = field(default_factory=dict)  # by route name; False: being opened
    stalled: dict[int, tuple[AccountState, int]] = field(default_factory=dict)  # account index -> (account, key)


class Roster:
    """The workers as the core knows them."""

    def __init__(self, workers: int, in_flight_max: int) -> None:
        self._workers = [_Worker() for _ in range(workers)]
        self._in_flight_max = in_flight_max
        self.opening_at_ms: int | None = None  # when the opening of an exchange may be tried (again)
        self.fresh: dict[int, AccountState] = {}  # accounts whose worker has to be told about them or their symbols

    def place(self) -> int:
        """The worker for a new account: the one with the fewest."""
        worker = min(range(len(self._workers)), key=lambda index: self._workers[index].accounts)
        self._workers[worker].accounts += 1
        return worker

    def joined(self, state: AccountState) -> None:
        """An account was placed on its worker."""
        self._workers[state.worker].routes[state.route.name] = state.route
        self.fresh[state.index] = state

    def symbols(self, fleet: Fleet, state: AccountState) -> tuple[str, ...]:
        """The symbols that an account's robots trade, for its worker to check."""
        return tuple(sorted({fleet.symbols[slot] for slot in state.slots}))

    def up(self, worker: int) -> bool:
        """Whether the worker is running."""
        return self._workers[worker].pid > 0

    def came_up(self, worker: int, pid: int) -> None:
        """The worker is running and knows nothing yet."""
        crewed = self._workers[worker]
        crewed.pid, crewed.in_flight = pid, 0
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
        """A worker has opened a route."""
        self._workers[worker].opened[route.name] = True

    def open_failed(self, worker: int, route: Route, retry_at_ms: int) -> None:
        """A worker could not open a route; it is tried again."""
        self._workers[worker].opened.pop(route.name, None)
        self.opening_at_ms = min(self.opening_at_ms or retry_at_ms, retry_at_ms)

    def serves(self, worker: int, route: Route) -> bool:
        """Whether the worker can take a sync on that route now."""
        crewed = self._workers[worker]
        return crewed.in_flight < self._in_flight_max and crewed.pid > 0 and crewed.opened.get(route.name, False)

    def started(self, worker: int) -> None:
        """A sync was handed to the worker."""
        self._workers[worker].in_flight += 1

    def finished(self, worker: int) -> None:
        """A sync of the worker was reported, or given up."""
        crewed = self._workers[worker]
        crewed.in_flight = max(crewed.in_flight - 1, 0)

    def stall(self, state: AccountState, key_ms: int) -> None:
        """The account waits for its worker."""
        _, before_ms = self._workers[state.worker].stalled.get(state.index, (state, key_ms))
        self._workers[state.worker].stalled[state.index] = state, min(key_ms, before_ms)

    def stalled(self, worker: int) -> bool:
        """Whether accounts wait for this worker."""
        return bool(self._workers[worker].stalled)

    def waits(self, state: AccountState) -> bool:
        """Whether this account waits for its worker."""
        return state.index in self._workers[state.worker].stalled

    def unstall(self, worker: int) -> list[tuple[AccountState, int]]:
        """Take out the accounts that wait for this worker, as many as it can take now."""
        crewed = self._workers[worker]
        room = self._in_flight_max - crewed.in_flight
        freed: list[tuple[AccountState, int]] = []
        while crewed.stalled and len(freed) < room:
            state, key_ms = crewed.stalled.pop(next(iter(crewed.stalled)))
            if not (state.stopped or state.busy):  # those take no room, and would leave others waiting for good
                freed.append((state, key_ms))
        return freed

    @property
    def running(self) -> int:
        """Workers that are up."""
        return sum(worker.pid > 0 for worker in self._workers)

    def view(self) -> list[dict[str, int]]:
        """For people: one row a worker."""
        return [{"worker": index, "pid": w.pid, "accounts": w.accounts, "in_flight": w.in_flight,
                 "stalled": len(w.stalled)} for index, w in enumerate(self._workers)]
