"""One life of the engine: what `fleetsync.engine.Engine` does around the core, in virtual time and without waiting.

The order of things is the engine's: receive, tick, send; one writer, one batch at a time; what a batch holds is
acknowledged only after its commit. A life can be cut short between any two of its steps.
"""

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from fleetsync.assembly import recent_changes
from fleetsync.cadence import first_runs
from fleetsync.core import Core
from fleetsync.errors import StoreFailed
from fleetsync.events import Event, Waiter
from fleetsync.messages import Dispatch, FromWorker, SyncDone
from fleetsync.ports import Batch, Loaded
from fleetsync.units import SECOND_MS
from fleetsync_adapters.memory_store import MemoryStore
from fleetsync_adapters.simulation.crew import SimCrew

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.world import World

_IDLE_MS = 1_000  # the engine's loop goes round at least this often
_COMMIT_LAZY_MS = 500
_COMMIT_RETRY_MS = 1_000
_ENDED_MS = 50  # a worker notices within this that its engine is gone


class Killed(Exception):
    """The engine was killed in the middle of a step."""


class Life:
    """One engine, from its start to its end."""

    def __init__(self, world: "World", store: MemoryStore, number: int) -> None:
        """Start on what `store` holds; `number` counts the lives of this world."""
        now_ms = world.now_ms
        self.number = number
        self.store = store
        self.began_at_ms = now_ms
        self.dead = False
        self.fuse = -1  # steps left until it is killed; negative: it is not
        self.dies_committing = ""  # killed at its next commit: "before" it is applied, or "after"
        self.paused_until_ms = 0
        self.wake_at_ms = now_ms
        self.committing = False
        self.syncs: dict[int, str] = {}  # those that were not reported: whose they are
        self._world = world
        self._rng: Random = world.rng("life")
        self._messages: list[FromWorker] = []
        self._lazy_at_ms = 0
        setup = world.setup
        self.core = Core(world.settings, dict(setup.tariffs), workers=setup.settings.workers, seed=setup.seed + number,
                         now_ms=now_ms)
        self.crew = SimCrew(world, max(setup.settings.workers, 1), world.rng("crew"))

    def start(self) -> None:
        """Load what an earlier life committed, and begin to sync."""
        world, core, now_ms = self._world, self.core, self._world.now_ms
        loaded = self.store.load()
        core.restore(loaded, now_ms, recent_changes(self.store, loaded, now_ms))
        for account in world.accounts.values():
            core.add_account(account, now_ms)
        for robot, after_ms in first_runs(world.robots.values(), core.settings):
            core.add_robot(robot, now_ms, now_ms + after_ms)
        core.readmit_events(now_ms)
        self._forget_absent(loaded)
        self.crew.start()
        world.after(SECOND_MS, self._second, None)
        for hook in world.hooks.begun:
            hook(now_ms, self)

    def kill(self) -> None:
        """The process ends here, and with it what was not committed."""
        self.dead = True
        self.crew.end(_ENDED_MS)

    # -- the loop

    def deliver(self, message: FromWorker) -> None:
        """A message has come in; the loop takes it up."""
        self._messages.append(message)
        self.wake_at_ms = max(self._world.now_ms, self.paused_until_ms)

    def wake(self) -> None:
        """Let the loop go round now."""
        self.wake_at_ms = max(self._world.now_ms, self.paused_until_ms)

    def turn(self, now_ms: int) -> None:
        """The loop once: receive, decide, perform; then the writer looks for work."""
        core, hooks = self.core, self._world.hooks
        if self._messages:
            self._receive(now_ms)
        core.tick(now_ms)
        self._step()
        if core.commands:
            for worker, command in core.take_commands():
                if isinstance(command, Dispatch):
                    self.syncs[command.sync_id] = command.account
                for hook in hooks.sent:
                    hook(now_ms, worker, command)
                self.crew.send(worker, command)
                self._step()
        if core.journal.notices:
            core.journal.take_notices()
        wake_at_ms = core.next_wake_at_ms(now_ms)
        self.wake_at_ms = now_ms + _IDLE_MS if wake_at_ms is None else min(max(wake_at_ms, now_ms + 1),
                                                                           now_ms + _IDLE_MS)
        if not self.committing:
            self._write(now_ms)
        for hook in hooks.turned:
            hook(now_ms, self)

    def _receive(self, now_ms: int) -> None:
        messages, self._messages = self._messages, []
        for message in messages:
            self.core.receive(message, now_ms)
            for hook in self._world.hooks.received:
                hook(now_ms, message)
            if isinstance(message, SyncDone):
                self.syncs.pop(message.sync_id, None)
            self._step()

    def _step(self) -> None:
        if self.fuse >= 0:
            self.fuse -= 1
            if self.fuse < 0:
                raise Killed

    def _second(self, _: object) -> None:
        if not self.dead:
            if self._world.now_ms >= self.paused_until_ms:
                self.core.housekeep(self._world.now_ms, SECOND_MS)
            self._world.after(SECOND_MS, self._second, None)

    # -- what people and robots ask

    def notify(self, robot: str, kind: str, *, side: str = "", order_id: str = "") -> int:
        """An event; returns its number. It is accepted once its batch is committed."""
        core, now_ms = self.core, self._world.now_ms
        slot = core.fleet.slot(robot)
        if core.fleet.stopped.get(slot) or core.fleet.state_of(slot).stopped:
            return 0
        at_ms = core.fleet.after_readings(slot, now_ms)
        event = Event(core.inbox.next_id(), slot, robot, kind, at_ms, order_id, "", side)
        for hook in self._world.hooks.notified:
            hook(now_ms, event.id, robot)
        core.notify(event, at_ms)
        self.wake()
        return event.id

    def ask(self, token: int, robot: str, span_ms: int) -> bool:
        """A forced sync with a deadline; False when the robot is stopped."""
        core, now_ms = self.core, self._world.now_ms
        slot = core.fleet.slot(robot)
        if core.fleet.stopped.get(slot) or core.fleet.state_of(slot).stopped:
            return False
        for hook in self._world.hooks.asked:
            hook(now_ms, token, robot, now_ms + span_ms)
        at_ms = core.fleet.after_readings(slot, now_ms)
        core.await_sync(Waiter(token, slot, at_ms, at_ms + span_ms), at_ms)
        self.wake()
        return True

    # -- writing

    def _write(self, now_ms: int) -> None:
        """Begin to commit when there is reason to."""
        journal = self.core.journal
        batch = journal.batch
        pressing = batch.changes or batch.events or journal.served or journal.answered
        if not pressing and now_ms < self._lazy_at_ms:
            return
        self._lazy_at_ms = now_ms + _COMMIT_LAZY_MS
        taken = self.core.take_batch()
        served, answered = journal.take_served(), journal.take_answered()
        self._step()
        self.committing = True
        self._begin((taken, served, answered))

    def _begin(self, work: tuple[Batch, Sequence[tuple[int, int]], Sequence[tuple[int, str]]]) -> None:
        if self.dead:
            return
        span_ms = self._world.draw(self._rng, self._world.setup.lags.commit_ms) + self._world.commit_slow_ms
        if not work[0]:
            self._acknowledge(work)
        elif span_ms:
            self._world.after(max(span_ms // 2, 1), self._apply, (*work, span_ms - span_ms // 2))
        else:
            self._apply((*work, 0))

    def _apply(self, work: tuple[Batch, Sequence[tuple[int, int]], Sequence[tuple[int, str]], int]) -> None:
        if self.dead:
            return
        batch, served, answered, left_ms = work
        now_ms = self._world.now_ms
        if self.dies_committing:
            self._world.effects["engine_kill_committing"] += 1
        if self.dies_committing == "before":
            raise Killed
        try:
            self.store.commit(batch, now_ms)
        except StoreFailed as error:
            torn = "went through" in error.message
            self._world.effects["commit_torn" if torn else "commit_fail"] += 1
            if torn:
                self._committed(batch, served)
            self.core.journal.notice("error", "store", str(error))
            self._world.after(_COMMIT_RETRY_MS, self._begin, (batch, served, answered))
            return
        self._committed(batch, served)
        if self.dies_committing:
            raise Killed
        if left_ms:
            self._world.after(left_ms, self._acknowledge, (batch, served, answered))
        else:
            self._acknowledge((batch, served, answered))

    def _committed(self, batch: Batch, served: Sequence[tuple[int, int]]) -> None:
        for hook in self._world.hooks.committed:
            hook(self._world.now_ms, batch, served)

    def _acknowledge(self, work: tuple[Batch, Sequence[tuple[int, int]], Sequence[tuple[int, str]]]) -> None:
        if self.dead:
            return
        _, served, answered = work
        self.committing = False
        self.core.journal.over("store")
        for hook in self._world.hooks.acknowledged:
            hook(self._world.now_ms, served)
        self._answer(answered)

    def _answer(self, answered: Sequence[tuple[int, str]]) -> None:
        for token, why_not in answered:
            for hook in self._world.hooks.answered:
                hook(self._world.now_ms, token, why_not)

    # -- starting

    def _forget_absent(self, loaded: Loaded) -> None:
        """Rows of robots and accounts that are not in the fleet any more."""
        batch, fleet = self.core.journal.batch, self.core.fleet
        batch.robots.update(dict.fromkeys(robot for robot in loaded.robots if robot not in fleet.slot_of))
        batch.accounts.update(dict.fromkeys(one for one in loaded.accounts if one not in fleet.account_by_id))
