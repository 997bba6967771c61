"""Settling a sync: from a worker's report to knowledge, changes, questions, health, and the next run of every robot.

The one circle of the machine, next run -> heap, is closed here, in `rearm`.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fleetsync.book import Book, Reconciled, Rules, Sight
from fleetsync.fleet import NOBODY, NOTHING, AccountState
from fleetsync.health import backoff_ms
from fleetsync.heap import DueHeap
from fleetsync.messages import Answer, Call, SyncDone
from fleetsync.model import Fault, Order, Phase, Position, Surface
from fleetsync.reconcile import reconcile
from fleetsync.sync import Sync
from fleetsync.trouble import LISTS, Trouble
from fleetsync.units import MINUTE_MS

if TYPE_CHECKING:
    from fleetsync.core import Core

_PAGES_MAX = 64  # no list is followed further; what is longer stays partial
_PLACE_KEPT_MS = 500  # whom one grant could not serve whole keeps its place up to this far back, behind who waits longer
_SIBLINGS_MAX = 32  # robots on the same symbol that one external change expedites
_SIBLING_FRESH_MS = 1_000
_BOOK_MEMORY_MS = 10 * MINUTE_MS  # how long an empty book remembers what ended on it


class Settlement:
    """The half of the core that takes answers in. It shares the core's state and decides nothing about grants."""

    def __init__(self, core: "Core") -> None:
        self._core = core
        self.trouble = Trouble(core)
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
        state.busy = 0
        state.parked_until_ms = 0
        if core.journal.wants_record(now_ms):
            core.journal.batch.syncs.append(sync.record(done, now_ms))
        read_before_ms = state.positions_as_of_ms
        changes_before = core.journal.last_change
        sights: dict[str, list[Sight]] = {}
        good = 0
        for answer in done.answers:
            if answer.fault is None or (answer.fault is Fault.NOT_FOUND and answer.call.surface is Surface.ORDER):
                good += 1
                self._stamp(state, sync, answer)
                if answer.rows is not None or answer.fault is not None:
                    self._collect(state, answer, sights)
            else:
                self.trouble.failed(state, sync, answer, now_ms)
        if good:
            self.trouble.healthy(state)
        touched: Collection[int] = sync.slots
        if sights or sync.urgent_slots:
            together = {*sync.slots, *sync.urgent_slots}
            for symbol, seen in sights.items():
                together.update(self._reconcile(state, symbol, seen, now_ms))
            touched = together
        if core.timing.adaptive and state.positions_as_of_ms > read_before_ms:
            self._learn(touched, core.journal.found_since(changes_before), read_before_ms, now_ms)
        self._finish(state, sync, touched, now_ms)

    def _learn(self, touched: Iterable[int], found: set[str], since_ms: int, now_ms: int) -> None:
        fleet = self._core.fleet
        for slot in touched:
            if fleet.account_of[slot] is not None:
                changed = fleet.ids[slot] in found
                self._core.timing.learn(slot, changed=changed, since_ms=since_ms, now_ms=now_ms)

    def abandon(self, sync: Sync, now_ms: int) -> None:
        """Nothing will be heard of this sync: whoever waited for it waits again."""
        state = sync.state
        if state is None:
            self._core.roster.open_failed(sync.worker, sync.route, now_ms + self._core.settings.backoff_ms)
            return
        state.busy = 0
        for call in sync.calls:
            if call.surface not in LISTS:
                self.ask(state, call, now_ms)
        self._finish(state, sync, {*sync.slots, *sync.urgent_slots}, now_ms)

    def _finish(self, state: AccountState, sync: Sync, touched: Collection[int], now_ms: int) -> None:
        core, account_of = self._core, self._core.fleet.account_of
        stretched_ms = state.route.stretch.now_ms(now_ms)
        core.timing.draw_jitter(state, core.rng)
        self._look_at(state, touched, now_ms)
        for slot in sync.slots:
            if account_of[slot] is state:
                state.wait(slot)
                state.route.due += 1
        for slot, since_ms in sync.urgent_slots.items():
            if account_of[slot] is state and not core.fleet.read_since(slot, since_ms):
                state.own("urgent")[slot] = max(since_ms, state.urgent.get(slot, 0))
        oldest_ms = self.rearm(state, stretched_ms)
        for slot in () if touched is sync.slots else touched:
            if account_of[slot] is state and slot not in state.waiting:
                state.route.robots.put(slot, max(core.timing.wish_ms(slot, state), stretched_ms + 1))
        # What one grant could not hold keeps its place: stretched time must wait for it too.
        self.next_step(state, now_ms, max(oldest_ms, stretched_ms - _PLACE_KEPT_MS))

    def _look_at(self, state: AccountState, touched: Iterable[int], now_ms: int) -> None:
        """What the reading says of the robots it concerns: their phases, and whom it answers."""
        fleet, inbox = self._core.fleet, self._core.inbox
        stays_flat = state.route.one_list and not state.books and state.positions_as_of_ms > 0
        for slot in touched:
            if fleet.account_of[slot] is not state:
                continue
            if not (stays_flat and fleet.phase[slot] == Phase.FLAT):
                self.refresh_phase(slot, state)
            if inbox.pending or inbox.waiters:
                self._check_inbox(slot, state, now_ms)

    def rearm(self, state: AccountState, stretched_ms: int) -> int:
        """Back to the heap with every waiting robot that is no longer due; those still due stay waiting.

        Returns the oldest wish among these, or `stretched_ms`.
        """
        fleet, route, timing = self._core.fleet, state.route, self._core.timing
        still_due, oldest_ms = [], stretched_ms
        for slot in state.waiting:
            wish_ms = timing.wish_ms(slot, state)
            if wish_ms <= stretched_ms and slot not in fleet.stopped and not state.stopped:
                still_due.append(slot)
                oldest_ms = min(oldest_ms, wish_ms)
            elif not state.stopped and slot not in fleet.stopped:
                route.robots.put(slot, wish_ms)
        route.due -= len(state.waiting) - len(still_due)
        state.waiting = still_due or NOBODY
        return oldest_ms

    def next_step(self, state: AccountState, now_ms: int, key_ms: int | None = None) -> None:
        """What an idle account wants next: its questions and urgent robots now or later, its due robots in turn."""
        if state.stopped or state.busy or not (state.urgent or state.questions or state.waiting):
            return
        at_ms = max(now_ms, state.parked_until_ms)
        question_ms = min(state.questions.values(), default=None)
        if state.urgent or (question_ms is not None and question_ms <= at_ms):
            state.route.urgent.put_sooner(state.index, at_ms)
        elif question_ms is not None:
            self.wakeups.put_sooner(state.index, question_ms)
        if state.waiting:
            if at_ms > now_ms:
                self.wakeups.put_sooner(state.index, at_ms)
            else:
                key_ms = state.route.stretch.now_ms(now_ms) if key_ms is None else key_ms
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

    # -- what answers say

    def _stamp(self, state: AccountState, sync: Sync, answer: Answer) -> None:
        """Note until when and how far the account has been read."""
        fleet, call, as_of_ms = self._core.fleet, answer.call, answer.as_of_ms
        if call.surface not in LISTS and call.surface is not Surface.FILLS:
            return
        if not answer.complete:
            pages = state.pages.get(call.surface, 1)
            state.own("pages")[call.surface] = min(pages * 2, _PAGES_MAX)
            if pages >= _PAGES_MAX:
                text = f"account {state.account.id}: {call.surface} is longer than {_PAGES_MAX} pages and stays partial"
                self._core.journal.notice("warning", f"pages:{state.account.id}:{call.surface}", text)
            return
        if call.surface is Surface.FILLS:
            state.own("pages").pop(Surface.FILLS, None)  # each question has a length of its own
        elif call.surface is Surface.POSITIONS:
            state.positions_key_ms = max(state.positions_key_ms, sync.key_ms)
            state.positions_as_of_ms = max(state.positions_as_of_ms, as_of_ms)
        elif not call.symbol:
            if call.surface is Surface.ORDERS:
                state.orders_key_ms, state.orders_as_of_ms = sync.key_ms, as_of_ms
            else:
                state.conditional_key_ms, state.conditional_as_of_ms = sync.key_ms, as_of_ms
        else:
            for slot in fleet.slots_on(state, call.symbol):
                if call.surface is Surface.ORDERS:
                    fleet.orders_key_ms[slot], fleet.orders_as_of_ms[slot] = sync.key_ms, as_of_ms
                else:
                    fleet.conditional_read[slot] = sync.key_ms, as_of_ms

    def _collect(self, state: AccountState, answer: Answer, sights: dict[str, list[Sight]]) -> None:
        """Sort an answer's rows by the books they speak of; a list also speaks of every book it leaves out."""
        call = answer.call
        not_found = answer.fault is Fault.NOT_FOUND
        if answer.rows is None and not not_found:
            return  # the same as last time, and nothing was open then
        rows = answer.rows or ()
        if call.symbol:
            symbols = {call.symbol}
        else:
            symbols = set(state.books)
            symbols.update(row.symbol for row in rows if self._is_ours(state, row))
        for symbol in symbols:
            mine = tuple(row for row in rows if row.symbol == symbol)
            sights.setdefault(symbol, []).append(Sight(
                call.surface, answer.as_of_ms, answer.complete, mine,  # type: ignore[arg-type]  # one kind a surface
                call.order_id, call.client_id, call.since_ms, not_found))

    def _is_ours(self, state: AccountState, row: object) -> bool:
        return isinstance(row, Position | Order) and bool(self._core.fleet.slots_on(state, row.symbol))

    def _reconcile(self, state: AccountState, symbol: str, sights: Sequence[Sight], now_ms: int) -> list[int]:
        """Reconcile one book, and carry out what follows. Returns the robots it concerns."""
        core, fleet = self._core, self._core.fleet
        slots = fleet.slots_on(state, symbol)
        known = state.books.get(symbol) or self._new_book(state, symbol, slots)
        prefixes = tuple(fleet.prefix_of[slot] for slot in slots if slot in fleet.prefix_of)
        rules: Rules = replace(core.rules, prefixes=prefixes,
                               order_retention_ms=state.route.tariff.order_retention_ms)
        result = reconcile(known, sights, core.inbox.announced(slots), rules, now_ms)
        self._keep(state, symbol, result, now_ms)
        core.journal.record(fleet, state, symbol, result.findings)
        for question in result.questions:
            call = question.call
            if call.surface is Surface.FILLS:
                call = replace(call, pages=state.pages.get(Surface.FILLS, 1))
            self.ask(state, call, question.not_before_ms)
        if state.questions and not (result.questions or result.book.doubts):
            self._drop_questions(state, symbol, slots)
        if any(f.cause in {"external", "liquidation"} and f.kind.startswith("position") for f in result.findings):
            self._expedite_siblings(symbol, set(slots), now_ms)
        return slots

    def _new_book(self, state: AccountState, symbol: str, slots: Sequence[int]) -> Book:
        """An empty book. Once a robot on it is known, it was read before: what appears then is not a first sight."""
        read = 1 if any(self._core.fleet.phase[slot] for slot in slots) else 0
        return Book(state.account.id, symbol, positions_as_of_ms=read, orders_as_of_ms=read, conditional_as_of_ms=read)

    def ask(self, state: AccountState, call: Call, at_ms: int) -> None:
        """Note an open question. The fills of one symbol are one question, from the earliest instant wanted."""
        questions = state.own("questions")
        if call.surface is Surface.FILLS:
            for other in [one for one in questions if one.surface is Surface.FILLS and one.symbol == call.symbol]:
                at_ms = min(at_ms, questions.pop(other))
                call = replace(call, since_ms=min(call.since_ms, other.since_ms), pages=max(call.pages, other.pages))
        questions[call] = min(questions.get(call, at_ms), at_ms)

    def _drop_questions(self, state: AccountState, symbol: str, slots: Sequence[int]) -> None:
        """Nothing about this book is open any more, so nothing has to be asked about it; events ask for themselves."""
        if not any(slot in self._core.inbox.pending for slot in slots):
            for call in [call for call in state.questions if call.symbol == symbol]:
                del state.own("questions")[call]

    def _keep(self, state: AccountState, symbol: str, result: Reconciled, now_ms: int) -> None:
        book = result.book
        over_ms = max((order.updated_at_ms for order in book.ended), default=0)
        if book.is_quiet and max(over_ms, book.closed_at_ms) < now_ms - _BOOK_MEMORY_MS:
            state.own("books").pop(symbol, None)
            state.books = state.books or NOTHING
        else:
            state.own("books")[symbol] = book

    def _expedite_siblings(self, symbol: str, own: set[int], now_ms: int) -> None:
        """A hand that closed one position may be closing others on the same symbol: look at them at once."""
        fleet = self._core.fleet
        expedited = 0
        for slot in fleet.same_symbol(symbol):
            if expedited >= _SIBLINGS_MAX:
                return
            if slot not in own and fleet.age_as_of(slot) < now_ms - _SIBLING_FRESH_MS:
                self._core.expedite(slot, now_ms)
                expedited += 1

    def has_doubts(self, state: AccountState) -> bool:
        """Whether anything about the account is disputed: then answers must carry their rows."""
        return any(book.doubts or book.hinted for book in state.books.values())

    def refresh_phase(self, slot: int, state: AccountState) -> None:
        """Derive a robot's phase from what is known; a phase that changes is re-keyed by the caller."""
        fleet = self._core.fleet
        book = state.books.get(fleet.symbols[slot])
        if not state.positions_as_of_ms or (not fleet.orders_as_of(state, slot)
                                            and Surface.ORDERS in state.route.tariff.surfaces):
            phase = Phase.UNKNOWN
        elif book is not None and book.positions:
            phase = Phase.HOLDING
        else:
            phase = Phase.WORKING if book is not None and book.orders else Phase.FLAT
        if fleet.phase[slot] != phase:
            fleet.phase[slot] = phase
            self._core.journal.robot_changed(slot)

    def _check_inbox(self, slot: int, state: AccountState, now_ms: int) -> None:
        core = self._core
        if slot not in core.inbox.pending and slot not in core.inbox.waiters:
            return
        again_ms = core.inbox.check(slot, state, core.fleet, core.journal, now_ms)
        if again_ms is None:
            return
        for event in core.inbox.pending.get(slot, ()):
            if event.expects and event.tries and (event.order_id or event.client_id):
                lookup = Call(Surface.ORDER, core.fleet.symbols[slot], event.order_id,
                              "" if event.order_id else event.client_id)
                state.own("questions").setdefault(lookup, again_ms)
        if again_ms > now_ms:
            self.wakeups.put_sooner(state.index, again_ms)
        elif not state.questions:
            # What was read since counts: asked anew each time, a plan that its grant cuts would never read the rest.
            since_ms = core.inbox.wanted_since_ms(slot)
            state.own("urgent")[slot] = now_ms if core.fleet.read_since(slot, since_ms) else since_ms

    # -- exchanges and restarts

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

    def adopt(self, state: AccountState) -> None:
        """Take over the rows of an earlier run: what is known, though not yet read again."""
        account = state.account.id
        positions, orders = self._core.journal.inherited.pop(account, ([], []))
        for symbol in {row.symbol for row in positions} | {order.symbol for order in orders}:
            # as_of 1: it was read once, so what is found now is a change and not a first sight
            state.own("books")[symbol] = Book(
                account, symbol, tuple(row for row in positions if row.symbol == symbol),
                tuple(order for order in orders if order.symbol == symbol),
                positions_as_of_ms=1, orders_as_of_ms=1, conditional_as_of_ms=1)
