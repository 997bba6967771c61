"""The simulated crew: worker processes that are started, found silent, killed and replaced, all in virtual time.

What processes add to what a worker does (`worker`) is here: messages are under way for a while, a death loses what was
not sent, and a hang is found by its silence.
"""

from random import Random
from typing import TYPE_CHECKING, Any

from fleetsync.messages import SyncDone, ToWorker, WorkerLost, WorkerUp
from fleetsync.model import Account
from fleetsync_adapters.simulation.worker import SimWorker

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.world import World

_RESPAWN_MS = 500  # a replacement waits this long before it starts
_LATE_MAX_MS = 40_000  # a report that a fault holds back


class SimCrew:
    """The worker processes of one engine. They end with it."""

    def __init__(self, world: "World", size: int, rng: Random) -> None:
        """A crew that is not started."""
        self.workers: list[SimWorker | None] = [None] * size
        self.ended = False
        self.slow_start_ms = 0  # a fault: the next start takes this much longer
        self._world = world
        self._rng = rng

    def start(self) -> None:
        """Start every worker."""
        for index in range(len(self.workers)):
            self._launch(index)

    def send(self, worker: int, message: ToWorker) -> None:
        """Through the pipe to a worker; to a lost one it does nothing."""
        process = self.workers[worker]
        if process is None:
            return
        at_ms = self._world.now_ms + self._world.draw(self._rng, self._world.setup.lags.pipe_ms)
        process.told_at_ms = at_ms = max(at_ms, process.told_at_ms)  # a pipe keeps the order
        if at_ms > self._world.now_ms:
            self._world.at(at_ms, process.take, message)
        else:
            process.take(message)

    def kill(self, worker: int, reason: str) -> bool:
        """A worker dies; it is noticed at once, and replaced."""
        process = self.workers[worker]
        if process is None or self.ended:
            return False
        process.died_at_ms = self._world.now_ms
        self.workers[worker] = None
        if process.up:
            self._world.deliver(WorkerLost(worker, reason))
        self._world.after(_RESPAWN_MS, self._launch, worker)
        return True

    def hang(self, worker: int, span_ms: int) -> bool:
        """A worker stands still; if it does so for too long it is killed for its silence."""
        process, now_ms = self.workers[worker], self._world.now_ms
        if process is None or self.ended or now_ms < process.hung_until_ms:
            return False
        process.hang(now_ms + span_ms)
        silence_ms = self._world.setup.settings.worker_silence_ms
        if span_ms > silence_ms:
            self._world.after(silence_ms, self._found_silent, process)
        return True

    def end(self, within_ms: int) -> None:
        """The engine is gone; each worker notices within `within_ms` and ends."""
        self.ended = True
        for process in self.workers:
            if process is not None:
                process.died_at_ms = self._world.now_ms + self._rng.randint(0, within_ms)
        self.workers = [None] * len(self.workers)

    def _found_silent(self, process: SimWorker) -> None:
        if self.workers[process.index] is process:
            self.kill(process.index, "fell silent")

    def _launch(self, index: int) -> None:
        if self.ended or self.workers[index] is not None:
            return
        process = SimWorker(self._world, index, self._world.next_pid(), self._deliver)
        self.workers[index] = process
        start_ms = self._world.draw(self._rng, self._world.setup.lags.start_ms) + self.slow_start_ms
        self._world.effects["slow_start"] += self.slow_start_ms > 0
        self.slow_start_ms = 0
        self._world.after(start_ms, self._came_up, process)

    def _came_up(self, process: SimWorker) -> None:
        if self._world.now_ms < process.died_at_ms and not self.ended:
            process.up = True
            self._deliver(process, WorkerUp(process.index, process.pid))

    def forget_seats(self, account: Account) -> None:
        """Whatever a worker's client knew of an account, it is a stranger to the exchange now."""
        for process in self.workers:
            if process is not None:
                process.introduce_again(account)

    def _deliver(self, process: SimWorker, message: Any) -> None:
        chaos = self._world.chaos
        if self.ended:
            return
        how = chaos.spoil() if chaos is not None and isinstance(message, SyncDone) else ""
        if how:
            if how == "lost":
                return
            self._world.after(self._rng.randint(1, _LATE_MAX_MS), self._deliver_late, (process, message))
            if how == "late":
                return
        self._world.deliver(message)

    def _deliver_late(self, held: tuple[SimWorker, Any]) -> None:
        process, message = held
        if not self.ended and self._world.now_ms < process.died_at_ms:
            self._world.deliver(message)
