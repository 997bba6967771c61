"""Settling a sync: from a worker's report to knowledge, changes, questions, health, and the next run of every robot.

The one circle of the machine, next run -> heap, is closed here, in `rearm`.
"""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from fleetsync.account import CLEAR, NOBODY, AccountState
from fleetsync.adaptive import Adaptive
from fleetsync.book import Sight
from fleetsync.cadence import SLIP_TOLERANCE_MS
from fleetsync.events import Event
from fleetsync.health import backoff_ms
from fleetsync.heap import DueHeap
from fleetsync.messages import Answer, Call, SyncDone
from fleetsync.model import Fault, Phase, Surface
from fleetsync.reading import Reader
from fleetsync.sync import Sync
from fleetsync.trouble import LISTS, Trouble, lists_of

if TYPE_CHECKING:
    from fleetsync.core import Core

_PLACE_KEPT_MS = 500  # whom one grant could not serve whole keeps its place this far back, behind who waits longer
_NOT_YET = 1 << 60  # an instant that no reading reaches: the account is being read as it was before


class Settlement:
    """The half of the core that takes answers in. It shares the core's state and decides nothing about grants."""

    def __init__(self, core: "Core") -> None:
        self._core = core
        self.trouble = Trouble(core)
        self.reader = Reader(core)
        self.wakeups = DueHeap(core.fleet.base_at_ms)  # accounts to look at again: parked, or with questions for later

    # -- one report

    def settle(self, sync: Sync, done: SyncDone, now_ms: int) -> None:
        """Take in a worker's report of a sync."""
        core, state = self._core, sync.state
        core.journal.syncs += 1
        self.trouble.feedback(sync.route, done.requests, now_ms)
        if state is None:
            self._opened(sync, done.answers[0], now_ms)
            return
        if sync.void:
            core.membership.reported(sync, done.answers, now_ms)
            return
        state.came_back()
        if core.journal.wants_record(now_ms):
            core.journal.batch.syncs.append(sync.record(done, now_ms))
        if self._is_as_before(state, sync, done):
            self._put_back(state, sync, done.answers[0].as_of_ms, now_ms)
            return
        stamps, index = state.route.stamps, state.index
        late = bool(sync.slots) and core.timing.was_late(sync.slots[0], state, sync.key_ms)
        read_before_ms = stamps.positions_as_of_ms[index]
        self.reader.proven_before = read_before_ms, stamps.positions_key_ms[index]
        changes_before = core.journal.last_change
        core.inbox.hear(done, state, core.fleet)
        sights = self._read(state, sync, done, now_ms)
        touched: Collection[int] = sync.slots
        if sights or sync.urgent_slots:
            together = {*sync.slots, *sync.urgent_slots}
            for symbol, seen in sights.items():
                together.update(self.reader.reconcile(state, symbol, seen, now_ms))
            touched = together
        if core.timing.adaptive is not None and stamps.positions_as_of_ms[index] > read_before_ms:
            core.timing.adaptive.waited(state, stamps.positions_as_of_ms[index] - read_before_ms)
            self._learn(core.timing.adaptive, touched, core.journal.found_since(changes_before), read_before_ms, now_ms)
        self._finish(state, sync, touched, now_ms, late=late)

    def _read(self, state: AccountState, sync: Sync, done: SyncDone, now_ms: int) -> dict[str, list[Sight]]:
        """Go through the answers: how far the account was read, what went wrong, and what they show of each book."""
        sights: dict[str, list[Sight]] = {}
        good = 0
        for answer in done.answers:
            if answer.fault is None or (answer.fault is Fault.NOT_FOUND and answer.call.surface is Surface.ORDER):
                good += 1
                self.reader.stamp(state, sync, answer)
                if answer.rows is not None or answer.fault is not None:
                    self.reader.collect(state, answer, sights)
            else:
                self.trouble.failed(state, sync, answer, now_ms)
        if good:
            self.trouble.healthy(state)
        return sights

    def _is_as_before(self, state: AccountState, sync: Sync, done: SyncDone) -> bool:
        """Whether an account that holds nothing, and of which nobody waits to hear, still holds nothing.

        That is what most syncs find. It changes what the way through all the cases would, in half the time.
        """
        answer, inbox = done.answers[0], self._core.inbox
        quiet = state.agenda is CLEAR and sync.calls is state.route.routine and not (state.books or sync.urgent_slots)
        told = answer.rows is not None or answer.fault is not None or not answer.complete
        awaited = inbox.pending or inbox.waiters or self._core.fleet.unread or state.route.circuit.failures
        return quiet and not (told or awaited or state.waiting or self._core.timing.adaptive is not None)

    def _put_back(self, state: AccountState, sync: Sync, as_of_ms: int, now_ms: int) -> None:
        """An account is as it was: its robots go back to the heap."""
        fleet, route, timing = self._core.fleet, state.route, self._core.timing
        late = bool(sync.slots) and timing.was_late(sync.slots[0], state, sync.key_ms)
        self.reader.stamp_positions(state, sync.key_ms, as_of_ms)
        timing.draw_jitter(state, self._core.rng, late=late)
        for slot in sync.slots:
            if fleet.phase[slot] != Phase.FLAT:
                self.refresh_phase(slot, state)
        stretched_ms = route.stretch.now_ms(now_ms)
        flat_ms = timing.flat_wish_ms(state)
        if flat_ms > stretched_ms and not fleet.stopped:  # nearly always: nobody is due again yet
            for slot in sync.slots:
                route.robots.put(slot, flat_ms if fleet.phase[slot] == Phase.FLAT else timing.wish_ms(slot, state))
            return
        state.waiting = sync.slots
        route.due += len(sync.slots)
        oldest_ms = self.rearm(state, stretched_ms)
        if state.waiting:
            self.next_step(state, now_ms, max(oldest_ms, stretched_ms - _PLACE_KEPT_MS))

    def _learn(self, law: Adaptive, touched: Iterable[int], found: set[str], since_ms: int, now_ms: int) -> None:
        fleet = self._core.fleet
        for slot in touched:
            if fleet.account_of[slot] is not None:
                law.learn(slot, changed=fleet.ids[slot] in found, since_ms=since_ms, now_ms=now_ms)

    def abandon(self, sync: Sync, now_ms: int) -> None:
        """Nothing will be heard of this sync: whoever waited for it waits again."""
        state = sync.state
        if state is None:
            self._core.roster.open_failed(sync.worker, sync.route, now_ms + self._core.settings.backoff_ms)
            return
        state.busy = 0
        # The worker may have read news that we never heard of: to it, the next answer would be as before.
        state.wants_rows |= lists_of(sync.calls)
        for call in [call for call in sync.calls if call.surface not in LISTS]:
            self.reader.ask(state, call, now_ms)
        self._finish(state, sync, {*sync.slots, *sync.urgent_slots}, now_ms)

    def _finish(self, state: AccountState, sync: Sync, touched: Collection[int], now_ms: int, *,
                late: bool = False) -> None:
        core, account_of = self._core, self._core.fleet.account_of
        if state.agenda.stopped:
            return  # nobody on it is served, nor known, until somebody resumes it
        stretched_ms = state.route.stretch.now_ms(now_ms)
        core.timing.draw_jitter(state, core.rng, late=late)
        if core.fleet.unread:
            for slot, since_ms in list(core.fleet.unread.items()):
                if since_ms == _NOT_YET and core.fleet.account_of[slot] is state:
                    self.joined(slot, state, now_ms)
        self._look_at(state, touched, now_ms)
        ours = [slot for slot in sync.slots if account_of[slot] is state]
        state.waiting = [*state.waiting, *ours] if state.waiting else ours
        state.route.due += len(ours)
        for slot, since_ms in sync.urgent_slots.items():
            if account_of[slot] is state and not core.fleet.read_since(slot, since_ms):
                state.own("urgent")[slot] = max(since_ms, state.urgent.get(slot, 0))
        oldest_ms = self.rearm(state, stretched_ms)
        for slot in () if touched is sync.slots else set(touched).difference(ours, state.waiting):
            if account_of[slot] is state:
                state.route.robots.put(slot, max(core.timing.wish_ms(slot, state), stretched_ms + 1))
        if state.waiting or state.agenda is not CLEAR:
            # What one grant could not hold keeps its place: stretched time must wait for it too.
            self.next_step(state, now_ms, max(oldest_ms, stretched_ms - _PLACE_KEPT_MS))
            state.tidy()

    def _look_at(self, state: AccountState, touched: Iterable[int], now_ms: int) -> None:
        """What the reading says of the robots it concerns: their phases, and whom it answers."""
        fleet, inbox = self._core.fleet, self._core.inbox
        stays_flat = state.route.one_list and not state.books and fleet.stamps.positions_as_of_ms[state.index] > 0
        for slot in touched:
            if fleet.account_of[slot] is state and not (stays_flat and fleet.phase[slot] == Phase.FLAT):
                self.refresh_phase(slot, state)
        if inbox.pending or inbox.waiters:
            # Of all its robots: the sync may have answered one that it was not sent for, and one that was to be looked
            # at again meanwhile could not be. Nobody else would ever come back to them.
            for slot in [slot for slot in state.slots if slot in inbox.pending or slot in inbox.waiters]:
                self._check_inbox(slot, state, now_ms)

    def rearm(self, state: AccountState, stretched_ms: int) -> int:
        """Back to the heap with every waiting robot that is no longer due; those still due stay waiting.

        Returns the oldest wish among these, or `stretched_ms`.
        """
        fleet, route, timing = self._core.fleet, state.route, self._core.timing
        still_due, oldest_ms, shared_ms = [], stretched_ms, timing.shared_ms(state)
        for slot in () if state.agenda.stopped else state.waiting:
            if slot in fleet.stopped:
                continue
            wish_ms = timing.wish_ms(slot, state, shared_ms)
            if wish_ms > stretched_ms:
                route.robots.put(slot, wish_ms)
            else:
                still_due.append(slot)
                oldest_ms = min(oldest_ms, wish_ms)
        route.due -= len(state.waiting) - len(still_due)
        state.waiting = still_due or NOBODY
        return oldest_ms

    def next_step(self, state: AccountState, now_ms: int, key_ms: int | None = None, *,
                  since_ms: int | None = None) -> None:
        """What an idle account wants next: its questions and urgent robots now or later, its due robots in turn.

        Who waited for a worker keeps its place: `key_ms` in the ready lane (stretched), `since_ms` in the urgent one.
        """
        agenda = state.agenda
        if agenda.stopped or state.busy or not (agenda.urgent or agenda.questions or state.waiting):
            return
        at_ms = max(now_ms, agenda.parked_until_ms)
        question_ms = min(agenda.questions.values(), default=None)
        if agenda.urgent or (question_ms is not None and question_ms <= at_ms):
            state.route.urgent.put_sooner(state.index, max(since_ms or now_ms, agenda.parked_until_ms))
        if question_ms is not None and question_ms > at_ms:  # what is urgent may turn out to have been read meanwhile
            self.wakeups.put_sooner(state.index, question_ms)
        if state.waiting:
            if at_ms > now_ms:
                self.wakeups.put_sooner(state.index, at_ms)
            else:
                # Who waited for a worker waited for no quota, which must not hold back the time of all others.
                stretched_ms = state.route.stretch.now_ms(now_ms)
                key_ms = stretched_ms if key_ms is None else max(key_ms, stretched_ms - SLIP_TOLERANCE_MS)
                state.route.ready.put_sooner(state.index, key_ms)

    def wake(self, now_ms: int) -> None:
        """Accounts whose rest is over, or whose questions may be asked now."""
        while (index := self.wakeups.pop_due(now_ms)) >= 0:
            state = self._core.fleet.accounts[index]
            if state is not None and not state.busy:
                for slot in state.slots if self._core.inbox.pending else ():
                    if slot in self._core.inbox.pending:
                        state.own("urgent")[slot] = now_ms
                self.next_step(state, now_ms)

    def joined(self, slot: int, state: AccountState, now_ms: int) -> None:
        """A robot joined an account whose rows were read, and left, without it: only a new reading with rows tells."""
        fleet = self._core.fleet
        fleet.unread[slot] = _NOT_YET if state.busy else now_ms
        if not state.busy:
            state.wants_rows |= {(surface, name) for surface in LISTS for name in ("", fleet.symbols[slot])}
            self._core.expedite(slot, now_ms)

    def refresh_phase(self, slot: int, state: AccountState) -> None:
        """Derive a robot's phase from what is known; a phase that changes is re-keyed by the caller."""
        fleet = self._core.fleet
        book = state.books.get(fleet.symbols[slot]) if state.books else None
        since_ms = fleet.unread.get(slot, 1) if fleet.unread else 1
        read = fleet.stamps.positions_as_of_ms[state.index] >= since_ms
        if read and Surface.ORDERS in state.route.tariff.surfaces:
            read = fleet.orders_as_of(state, slot) >= since_ms
        if read and state.route.conditional:
            read = fleet.conditional_as_of(state, slot) >= since_ms
        if not read:
            phase = Phase.UNKNOWN
        elif book is not None and book.positions:
            phase = Phase.HOLDING
        else:
            phase = Phase.WORKING if book is not None and book.orders else Phase.FLAT
        if read and fleet.unread:
            fleet.unread.pop(slot, None)
        if fleet.phase[slot] != phase:
            fleet.phase[slot] = phase
            self._core.timing.changed(state)
            self._core.journal.robot_changed(slot)

    def _check_inbox(self, slot: int, state: AccountState, now_ms: int) -> None:
        core = self._core
        if slot not in core.inbox.pending and slot not in core.inbox.waiters:
            return
        before = core.inbox.pending.get(slot, ())
        again_ms = core.inbox.check(slot, state, core.fleet, core.journal, now_ms)
        self._forget_lookups(slot, state, before)
        if again_ms is None:
            return
        for event in core.inbox.pending.get(slot, ()):
            if event.tries and event.names_order:
                lookup = Call(Surface.ORDER, core.fleet.symbols[slot], event.order_id,
                              "" if event.order_id else event.client_id)
                self.reader.ask(state, lookup, event.again_at_ms)
        if again_ms > now_ms:
            self.wakeups.put_sooner(state.index, again_ms)
        elif not state.questions:
            # What was read since counts: asked anew each time, a plan that its grant cuts would never read the rest.
            since_ms = core.inbox.wanted_since_ms(slot)
            state.own("urgent")[slot] = now_ms if core.fleet.read_since(slot, since_ms) else since_ms

    def _forget_lookups(self, slot: int, state: AccountState, before: Iterable[Event]) -> None:
        """What only a served event wanted to know is not asked any more."""
        left = self._core.inbox.pending.get(slot, ())
        symbol = self._core.fleet.symbols[slot]
        book = state.books.get(symbol)
        doubted = {doubt.key for doubt in book.doubts} if book is not None else set()
        wanted = {(event.order_id, "" if event.order_id else event.client_id) for event in left}
        for event in before if state.questions else ():
            names = event.order_id, "" if event.order_id else event.client_id
            if any(names) and names not in wanted and f"order:{event.order_id}" not in doubted:
                state.own("questions").pop(Call(Surface.ORDER, symbol, *names), None)

    # -- exchanges

    def _opened(self, sync: Sync, answer: Answer, now_ms: int) -> None:
        core = self._core
        if answer.fault is None:
            core.roster.opened(sync.worker, sync.route)
            sync.route.circuit.succeeded()
            core.journal.over(f"route:{sync.route.name}", f"{sync.route.name} answers again")
            return
        self.trouble.not_opened(sync.route, answer, now_ms)
        failures = min(sync.route.circuit.failures + 1, 6)
        wait_ms = max(answer.retry_after_ms, backoff_ms(failures, core.settings, core.rng))
        core.roster.open_failed(sync.worker, sync.route, now_ms + wait_ms)
        sync.route.circuit.failed(f"worker {sync.worker}", now_ms, core.settings, core.rng)
        detail = f"{answer.fault.value}: {answer.detail}" if answer.detail else answer.fault.value
        core.journal.notice("error", f"route:{sync.route.name}",
                            f"{sync.route.name}: its markets could not be loaded ({detail}); it is tried again")
