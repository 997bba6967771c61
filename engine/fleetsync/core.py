"""The core: sole owner of the state. `receive` takes a message, `tick` lets time pass, `take_commands` says what to do.

No await, no clock, no file: the same core runs under the real shell and the simulation. A robot goes this way:

    heap (due) -> its account's `waiting` -> ready heap -> plan -> grant -> Dispatch ... SyncDone -> settle -> heap

Urgent work (events, forced syncs, open questions) is a lane of accounts in front of the ready ones. An account has at
most one sync in flight; what comes up meanwhile waits for its end and makes one further run. Grants are asked for in
the order of the keys, and whoever cannot be granted now does not hold up those behind it.
"""

from collections.abc import Iterable
from dataclasses import asdict
from random import Random

from fleetsync.account import AccountState
from fleetsync.book import Rules
from fleetsync.budget import Budget
from fleetsync.config import Settings
from fleetsync.crewing import Roster
from fleetsync.events import Event, Inbox, Waiter
from fleetsync.fleet import Fleet
from fleetsync.grants import Granter
from fleetsync.journal import Journal
from fleetsync.membership import Membership
from fleetsync.messages import Call, FromWorker, SymbolsUnknown, SyncDone, ToWorker, WorkerLost, WorkerUp
from fleetsync.model import Account, Change, Robot, Surface
from fleetsync.planner import Prices
from fleetsync.ports import Batch, Loaded
from fleetsync.settle import Settlement
from fleetsync.sync import Sync
from fleetsync.tariff import Tariff
from fleetsync.timing import Timing
from fleetsync.tolls import Tolls

_GIVEN_UP_KEPT = 10_000  # syncs without a report that are remembered


class Core:
    """See the module's docstring. All public methods take the instant as an argument and return at once."""

    def __init__(self, settings: Settings, tariffs: dict[str, Tariff], *, workers: int, seed: int, now_ms: int,
                 rules: Rules | None = None) -> None:
        self.settings = settings
        self.rng = Random(seed)
        self.budget = Budget(settings, now_ms=now_ms)
        self.fleet = Fleet(settings, tariffs, now_ms)
        self.tolls = Tolls(self.budget)
        self.timing = Timing(self.fleet, settings)
        self.journal = Journal(settings.sync_records_per_second)
        self.inbox = Inbox(settings)
        self.roster = Roster(max(workers, 1), settings.in_flight_per_worker, settings.urgent_share)
        self.in_flight: dict[int, Sync] = {}
        self.rules = rules or Rules(settings.confirm_gap_ms, settings.visibility_grace_ms, settings.doubt_retry_ms,
                                    settings.flat_ms)
        self.settlement = Settlement(self)
        self.granter = Granter(self)
        self.membership = Membership(self)
        self.commands: list[tuple[int, ToWorker]] = []
        self._given_up: dict[int, Sync] = {}  # those whose report may still come
        self._heartbeat_slot = 0

    # -- the fleet changes

    def restore(self, loaded: Loaded, now_ms: int, recent: Iterable[Change] = ()) -> None:
        """Take over what an earlier run committed, before any account or robot is added; none of it counts as read.

        `recent` are its last changes: what ended in them must not be told again when an old answer or a pending event
        brings it up once more.
        """
        self.journal.asked(now_ms, "", "start", asdict(self.settings))
        self.journal.restore(loaded, recent)
        self.inbox.restore(loaded.events, loaded.last_event)
        if loaded.accounts or not loaded.durable:
            self.budget.follow(now_ms if loaded.durable else None)
        for key, until_ms in loaded.freezes.items():
            if until_ms > now_ms:
                self.budget.freezes[key] = until_ms
            else:
                self.journal.batch.freezes[key] = None

    def readmit_events(self, now_ms: int) -> None:
        """Take up what an earlier run accepted and did not serve, even if by a clock that was ahead of ours."""
        for event_id, row in self.inbox.restored.items():
            slot = self.fleet.slot_of.get(row["robot"])
            if slot is None:
                self.journal.batch.events[event_id] = None
            else:
                self.notify(Event(slot=slot, **{**row, "at_ms": min(row["at_ms"], now_ms)}), now_ms)
        self.inbox.restored = {}

    def add_account(self, account: Account, now_ms: int) -> None:
        """Serve an account from now on; its robots follow with `add_robot`."""
        self.membership.add(account, now_ms)

    def remove_account(self, account_id: str, now_ms: int) -> None:
        """Serve an account and its robots no more; what it holds stays in the store, should it come back."""
        self.membership.remove(account_id, now_ms)

    def change_account(self, account: Account, now_ms: int) -> None:
        """Reach an account with other keys or over another egress; its robots and their events stay with it."""
        self.membership.change(account, now_ms)

    def resume_account(self, account_id: str, account: Account | None, now_ms: int) -> None:
        """Serve a stopped account again; with other keys, or over another egress, if given."""
        self.membership.resume(account_id, account, now_ms)

    def add_robot(self, robot: Robot, now_ms: int, first_at_ms: int | None = None) -> None:
        """Schedule a robot. Its first run is at `first_at_ms`, at once by default."""
        slot = self.fleet.add_robot(robot)
        state = self.fleet.state_of(slot)
        self.timing.changed(state)
        self.journal.robot_changed(slot)
        self.roster.fresh[state.index] = state
        if robot.enabled and state.was_read:
            self.settlement.joined(slot, state, now_ms)
        if robot.enabled and not state.stopped:
            route = state.route
            route.robots.put(slot, route.stretch.now_ms(now_ms if first_at_ms is None else first_at_ms))

    def remove_robot(self, robot_id: str) -> None:
        """Forget a robot; what its account holds stays known."""
        slot = self.fleet.slot(robot_id)
        self.journal.robot_removed(robot_id, slot)
        self.inbox.robot_removed(slot, self.journal)
        sync = self.in_flight.get(self.fleet.state_of(slot).busy)
        if sync is not None:  # its answers must not reach a robot that is given this slot meanwhile
            sync.slots = [other for other in sync.slots if other != slot]
            sync.urgent_slots = {other: since_ms for other, since_ms in sync.urgent_slots.items() if other != slot}
        self.timing.forget(slot)
        self.fleet.remove_robot(slot)

    def set_calls_per_minute(self, limit: int, now_ms: int) -> None:
        """Change the operator's cap while running."""
        self.settings = self.fleet.settings = self.settings.but(calls_per_minute=limit)
        self.budget.set_calls_per_minute(limit, now_ms)
        self.journal.asked(now_ms, "", "settings", {"calls_per_minute": limit})
        self.granter.urgent_blocked_ms = self.granter.scheduled_blocked_ms = 0
        for route in self.fleet.routes.values():
            route.prices = Prices(route.tariff, limit)  # what is scarce decides what is cheap
            route.unblock()

    # -- events

    def notify(self, event: Event, now_ms: int) -> None:
        """A hint that a robot changed: look at it at once."""
        self.inbox.accept(event, self.journal)
        self.fleet.last_event_at_ms[event.slot] = event.at_ms
        state, symbol = self.fleet.state_of(event.slot), self.fleet.symbols[event.slot]
        book = state.books.get(symbol)
        if event.kind == "closed" and book is not None and book.positions:
            # Its fills prove a close at once, where a list without it would have to be read twice.
            since_ms = min(position.moved_from_ms for position in book.positions)
            self.settlement.reader.ask(state, Call(Surface.FILLS, symbol, since_ms=since_ms), now_ms)
        elif event.kind == "order_cancelled" and event.order_id:
            # Likewise its own status proves its end; the list would only raise the question.
            orders = book.orders if book is not None else ()
            conditional = any(order.id == event.order_id and order.conditional for order in orders)
            lookup = Call(Surface.ORDER, symbol, order_id=event.order_id, conditional=conditional)
            self.settlement.reader.ask(state, lookup, now_ms)
        self.expedite(event.slot, now_ms)

    def await_sync(self, waiter: Waiter, now_ms: int) -> None:
        """A forced sync: answered through the journal once the robot is proven as young as asked."""
        if not self.inbox.answered(waiter, self.fleet, self.journal):
            self.inbox.wait(waiter, self.fleet, self.journal, now_ms)
            self.expedite(waiter.slot, now_ms)

    def expedite(self, slot: int, now_ms: int) -> None:
        """Put a robot to the front of the urgent lane. In flight or parked accounts take it up when they come back."""
        state = self.fleet.state_of(slot)
        if slot in self.fleet.stopped or state.stopped:
            return
        state.own("urgent")[slot] = now_ms
        self.make_urgent(state, now_ms)

    def make_urgent(self, state: AccountState, now_ms: int) -> None:
        """Put an account with urgent robots or open questions into the urgent lane."""
        if not state.busy:
            state.route.urgent.put_sooner(state.index, max(now_ms, state.parked_until_ms))

    # -- messages from the workers

    def receive(self, message: FromWorker, now_ms: int) -> None:
        """Take in one message of a worker."""
        if isinstance(message, SyncDone):
            self._done(message, now_ms)
        elif isinstance(message, WorkerUp):
            self._worker_up(message)
        elif isinstance(message, WorkerLost):
            self._worker_lost(message, now_ms)
        elif isinstance(message, SymbolsUnknown):
            state = self.fleet.account_by_id.get(message.account)
            if state is not None:
                self.settlement.trouble.symbols_unknown(state, message.symbols)

    def _done(self, done: SyncDone, now_ms: int) -> None:
        self.journal.count_requests(done.requests)
        sync = self.in_flight.pop(done.sync_id, None)
        if sync is None:
            self._done_late(done, now_ms)
            return
        waited_ms = done.taken_at_ms - sync.started_at_ms if done.taken_at_ms else None
        self.roster.finished(sync.worker, urgent=sync.urgent, waited_ms=waited_ms)
        if sync.route.circuit.probing:
            sync.route.circuit.ended(now_ms)
        if sync.later or len(done.requests) > len(sync.calls):
            self.tolls.over(sync.calls, sync.later, len(done.requests), now_ms)
        sync.route.keep_time(now_ms)  # after a pause of the loop, keys would lie as far ahead as that lasted
        self.settlement.settle(sync, done, now_ms)

    def _done_late(self, done: SyncDone, now_ms: int) -> None:
        """A sync that was given up: too late to prove anything, but its calls are certain now, and a ban is a ban."""
        sync = self._given_up.pop(done.sync_id, None)
        if sync is not None:
            self.journal.uncertain_calls -= sum(call.pages for call in sync.calls)
            self.settlement.trouble.limited_lately(sync, done.answers, now_ms)

    def _worker_up(self, message: WorkerUp) -> None:
        self.roster.came_up(message.worker, message.pid)
        self.journal.over(f"worker:{message.worker}", f"worker {message.worker} is up again")
        for state in self.fleet.accounts:
            if state is not None and state.worker == message.worker:
                self.roster.fresh[state.index] = state

    def _worker_lost(self, message: WorkerLost, now_ms: int) -> None:
        self.roster.went_down(message.worker)
        self.journal.notice("warning", f"worker:{message.worker}", f"worker {message.worker} lost: {message.reason}")
        for sync in [sync for sync in self.in_flight.values() if sync.worker == message.worker]:
            self._give_up(sync, now_ms)

    def _give_up(self, sync: Sync, now_ms: int) -> None:
        """No report of this sync will be believed any more: its robots go back to where they were."""
        del self.in_flight[sync.id]
        self.roster.finished(sync.worker, urgent=sync.urgent)
        sync.route.circuit.ended(now_ms)
        self.budget.release(sync.later, now_ms)
        calls = sum(call.pages for call in sync.calls)
        self.journal.uncertain_calls += calls
        if self.roster.up(sync.worker):  # it may still report
            self._given_up[sync.id] = sync
            if len(self._given_up) > _GIVEN_UP_KEPT:
                del self._given_up[next(iter(self._given_up))]
        if sync.void:
            self.membership.ended(sync, now_ms)
        else:
            self.settlement.abandon(sync, now_ms)

    # -- time

    def tick(self, now_ms: int) -> None:
        """Let time pass up to `now_ms`: give up what is overdue, wake what is due, grant what can be granted."""
        while self.in_flight and (oldest := next(iter(self.in_flight.values()))).give_up_at_ms <= now_ms:
            self._give_up(oldest, now_ms)
        self.commands += self.roster.introductions(self.fleet)
        self.granter.open_exchanges(now_ms)
        for state, key_ms, urgent in self.roster.unstall():
            if urgent:
                self.settlement.next_step(state, now_ms, since_ms=key_ms)
            else:
                self.settlement.next_step(state, now_ms, key_ms)
        self.settlement.wake(now_ms)
        for route in self.fleet.routes.values():
            self.granter.drain_due(route, now_ms)
        self.granter.grant_urgent(now_ms)
        self.granter.grant_scheduled(now_ms)
        self.inbox.expire(now_ms, self.fleet, self.journal)

    def next_wake_at_ms(self, now_ms: int) -> int | None:
        """When `tick` has something to do again, if no message comes before."""
        if self.roster.leaves_places():
            return now_ms
        granter = self.granter
        instants = [self.settlement.wakeups.next_due_at_ms(), self.inbox.next_expiry_at_ms(), self.roster.opening_at_ms]
        for sync in self.in_flight.values():  # the oldest
            instants.append(sync.give_up_at_ms)
            break
        for route in self.fleet.routes.values():
            if route.urgent.live and (due_at_ms := route.urgent.next_due_at_ms()) is not None:
                instants.append(max(due_at_ms, route.urgent_blocked_ms, granter.urgent_blocked_ms))
            if route.ready.live:  # whoever comes due before these can be served takes a place behind them
                instants.append(max(now_ms, route.scheduled_blocked_ms, granter.scheduled_blocked_ms))
            elif (due_at_ms := route.robots.next_due_at_ms()) is not None:
                instants.append(route.stretch.comes_at_ms(due_at_ms, now_ms))
        return min([at_ms for at_ms in instants if at_ms is not None], default=None)

    def take_commands(self) -> list[tuple[int, ToWorker]]:
        """What the crew has to be told since the last call: (worker, message)."""
        commands, self.commands = self.commands, []
        return commands

    def housekeep(self, now_ms: int, span_ms: int) -> None:
        """Every `span_ms`: mark the next share of the robots' rows for the coarse heartbeat to the store."""
        slots = len(self.fleet.ids)
        share = min(-(-slots * span_ms // self.settings.heartbeat_ms), slots)
        for offset in range(share):
            slot = (self._heartbeat_slot + offset) % slots
            if self.fleet.account_of[slot] is not None:
                self.journal.robot_aged(slot)
        self._heartbeat_slot = (self._heartbeat_slot + share) % max(slots, 1)
        self.timing.renew()
        self.membership.tidy(now_ms)
        for route in self.fleet.routes.values():
            route.stretch.measure(now_ms)
            self.settlement.trouble.weigh_ceilings(route)

    def take_batch(self, rows_max: int | None = None) -> Batch:
        """What has to be committed since the last call."""
        return self.journal.take_batch(self.fleet, rows_max)
