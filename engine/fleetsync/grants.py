"""Granting: which account goes next, and whether the budget lets it.

Urgent accounts come first, then ready ones, the route whose head has waited longest first. An account that cannot be
granted waits for the ledger that is in the way and holds up nobody who does not need that ledger.
"""

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from fleetsync.account import CLEAR, NOBODY, NOTHING, AccountState, Route
from fleetsync.budget import Deferral
from fleetsync.cadence import SLIP_TOLERANCE_MS
from fleetsync.drafts import ROUTINE, Drafts
from fleetsync.messages import Call, Dispatch, OpenExchange
from fleetsync.model import Phase, Surface
from fleetsync.planner import Need, answers
from fleetsync.sync import Sync

if TYPE_CHECKING:
    from fleetsync.core import Core

_URGENT_IN_A_ROW = 4  # after so many urgent grants a scheduled one is served as if urgent, so that no storm starves it
_GIVE_UP_SLACK_MS = 5_000  # beyond a call's own deadline, how long a worker may take to report a sync
_LATE_MAX_MS = 2_000  # a key further behind than this counts as this far behind: nobody saves up turns


class Granter:
    """The half of the core that spends the budget. It shares the core's state."""

    def __init__(self, core: "Core") -> None:
        self._core = core
        self.drafts = Drafts(core)
        self._sync_id = 0
        self._urgent_in_a_row = 0
        self.urgent_blocked_ms = 0  # until when the operator's cap admits nothing ...
        self.scheduled_blocked_ms = 0  # ... and until when nothing but urgent work

    def open_exchanges(self, now_ms: int) -> None:
        """Load an exchange's markets in a worker that needs them: a call like any other, granted and charged."""
        opening_at_ms = self._core.roster.opening_at_ms
        if opening_at_ms is None or opening_at_ms > now_ms:
            return
        self._core.roster.opening_at_ms = None
        call = Call(Surface.MARKETS)
        for worker, route in self._core.roster.to_open():
            at_ms = route.frozen_until_ms
            if at_ms <= now_ms:
                deferral = self._circuit(route, now_ms) or self._core.budget.request(
                    self._core.tolls.route_charges(route, call, now_ms), now_ms, urgent=True)
                at_ms = deferral.at_ms if deferral is not None else now_ms
            if at_ms > now_ms:  # one that is banned or down must not hold up the others
                self._core.roster.open_later(at_ms)
                continue
            sync = self._sync(None, route, worker, (call,), [], 0, now_ms, urgent=True)
            self._core.roster.opening(worker, route)
            message = OpenExchange(sync.id, route.exchange, route.egress, now_ms + self._core.settings.grant_valid_ms)
            self._core.commands.append((worker, message))

    def drain_due(self, route: Route, now_ms: int) -> None:
        """Move every due robot to its account; one that an answer has covered meanwhile is only re-armed."""
        route.keep_time(now_ms)  # since the last turn, too
        stretched_ms = now_ms - route.stretch.slip_ms
        slots = route.robots.take_due(stretched_ms)
        if not slots:
            return
        core, fleet, timing = self._core, self._core.fleet, self._core.timing
        stopped = fleet.stopped
        # Some wishes lie far back (a list never read): they are due since now. Only what waits *here* stretches time.
        oldest_ms = stretched_ms - SLIP_TOLERANCE_MS
        shared_ms: Sequence[int] = ()
        last, flat_ms = None, 0  # robots of one account often come due together, and want the same
        for slot in slots:
            state = fleet.account_of[slot]
            if state is None or state.agenda.stopped or slot in stopped:
                continue
            if state is not last:
                last, flat_ms = state, timing.flat_wish_ms(state)
                shared_ms = () if flat_ms else timing.shared_ms(state)
            is_flat = flat_ms and fleet.phase[slot] == Phase.FLAT
            wish_ms = flat_ms if is_flat else timing.wish_ms(slot, state, shared_ms)
            if wish_ms > stretched_ms:
                if not fleet.phase[slot]:  # it joined an account that is read more often than it would be itself
                    core.settlement.refresh_phase(slot, state)
                route.robots.put(slot, wish_ms)
                continue
            state.wait(slot)
            route.due += 1
            if not state.busy:
                route.ready.put_sooner(state.index, max(wish_ms, oldest_ms))

    def grant_urgent(self, now_ms: int) -> None:
        """Serve the urgent lanes, who has waited longest first, with a scheduled account now and then.

        A scheduled account whose turn it is keeps it until the budget admits it: otherwise small urgent calls would
        take each unit as it comes, and a larger call would never find enough.
        """
        while self.urgent_blocked_ms <= now_ms:
            lanes = [route for route in self._core.fleet.routes.values()
                     if route.urgent.live and route.urgent_blocked_ms <= now_ms
                     and (route.urgent.next_due_at_ms() or now_ms + 1) <= now_ms]
            if not lanes:
                return
            if self._urgent_in_a_row >= _URGENT_IN_A_ROW:
                ready = [route for route in self._core.fleet.routes.values()
                         if route.ready.live and route.urgent_blocked_ms <= now_ms]
                if ready:
                    self._serve_scheduled(_longest_waiting(ready, now_ms), now_ms, borrowing=True)
                    continue
            route = min(lanes, key=lambda lane: lane.urgent.next_due_at_ms() or 0)
            since_ms = route.urgent.next_due_at_ms() or 0
            state = self._core.fleet.accounts[route.urgent.pop_due(now_ms)]
            if state is not None and not state.busy:
                self._dispatch(state, now_ms, urgent=True, key_ms=since_ms)

    def grant_scheduled(self, now_ms: int) -> None:
        """Serve ready accounts, the route whose head has waited longest first, until nothing can be granted."""
        routes = [route for route in self._core.fleet.routes.values() if route.ready.live]
        while routes and self.scheduled_blocked_ms <= now_ms:
            route = routes[0] if len(routes) == 1 else _longest_waiting(routes, now_ms)
            if route.scheduled_blocked_ms > now_ms or not self._serve_scheduled(route, now_ms):
                routes.remove(route)
        for route in self._core.fleet.routes.values():
            if route.stretch.speed_max > 1 and not route.ready.live:
                self._spend_spare(route, now_ms)

    def _spend_spare(self, route: Route, now_ms: int) -> None:
        """Nothing is due: let the route's time run ahead to its next robots, while the budget has room for them.

        Not while anybody waits for a worker: there places are scarce and not calls, and time that runs ahead makes more
        robots due whom nobody can serve.
        """
        while max(route.scheduled_blocked_ms, self.scheduled_blocked_ms) <= now_ms and not self._core.roster.is_short():
            head_ms = route.robots.next_due_at_ms()
            if head_ms is None or not route.stretch.hasten(head_ms, now_ms):
                return
            self.drain_due(route, now_ms)
            while route.scheduled_blocked_ms <= now_ms and self.scheduled_blocked_ms <= now_ms:
                if not self._serve_scheduled(route, now_ms):
                    break

    def _serve_scheduled(self, route: Route, now_ms: int, *, borrowing: bool = False) -> bool:
        """Serve the account at the head of a route; False when there was none."""
        first = route.ready.pop_first()
        if first is None:
            return False
        index, key_ms = first
        state = self._core.fleet.accounts[index]
        if state is not None and not state.busy:
            self._dispatch(state, now_ms, urgent=False, key_ms=key_ms, borrowing=borrowing)
        return True

    # -- one dispatch

    def _dispatch(self, state: AccountState, now_ms: int, *, urgent: bool, key_ms: int = 0,
                  borrowing: bool = False) -> None:
        """Plan, ask for a grant, send; or put the account back to where it will be taken up again.

        `key_ms` is the account's key in its lane: a real instant in the urgent one, a stretched one otherwise.
        """
        core, route, agenda = self._core, state.route, state.agenda
        stretched_ms = route.stretch.now_ms(now_ms)
        head_ms = stretched_ms if urgent else max(key_ms, stretched_ms - _LATE_MAX_MS)
        draft = self.drafts.kept(state, now_ms)
        need = draft.need if draft is not None else self.drafts.need(state, stretched_ms, now_ms)
        if need is not ROUTINE and not need:
            core.settlement.rearm(state, stretched_ms)
            return
        if agenda.parked_until_ms > now_ms:
            core.settlement.wakeups.put_sooner(state.index, agenda.parked_until_ms)
            return
        if not core.roster.serves(state.worker, route, urgent=urgent or borrowing):
            core.roster.stall(state, key_ms if urgent else head_ms, urgent=urgent)
            return
        draft = draft or self.drafts.make(state, need, now_ms)
        deferral = self._circuit(route, now_ms) if route.circuit.opened_at_ms else None
        deferral = deferral or core.budget.request(draft.charges, now_ms, urgent=urgent or borrowing, later=draft.later)
        if deferral is not None:
            self.drafts.keep(state, draft, now_ms)
            self._defer(state, deferral, key_ms, urgent=urgent, borrowing=borrowing)
            return
        self._urgent_in_a_row = self._urgent_in_a_row + 1 if urgent else 0
        slots, state.waiting = state.waiting, NOBODY
        route.due -= len(slots)
        calls = draft.calls
        sync = self._sync(state, route, state.worker, calls, slots, head_ms, now_ms, urgent=urgent)
        sync.later = draft.later
        state.busy, state.last_calls = sync.id, calls
        full = urgent
        if need is not ROUTINE or agenda is not CLEAR:
            full = urgent or bool(need.questions) or self._wants_rows(state, calls)
            self._take_up(state, sync, need)
            state.left_over = draft.left_over
        if route.urgent.live:
            route.urgent.remove(state.index)
        if urgent:  # a scheduled one was taken out of its lane
            route.ready.remove(state.index)
        message = Dispatch(sync.id, state.account.id, calls, now_ms + core.settings.grant_valid_ms, full, urgent)
        core.commands.append((state.worker, message))

    def _take_up(self, state: AccountState, sync: Sync, need: Need) -> None:
        """What a sync was sent for does not stand on the agenda any more."""
        if state.urgent:
            sync.urgent_slots, state.urgent = state.urgent, NOTHING
        if state.questions:
            for question in [question for question in need.questions if answers(sync.calls, question)]:
                state.own("questions").pop(question, None)
            state.questions = state.questions or NOTHING

    def _wants_rows(self, state: AccountState, calls: Sequence[Call]) -> bool:
        """Whether answers must carry their rows even when they are as before."""
        if state.books and self._core.settlement.reader.has_doubts(state):
            return True
        return bool(state.wants_rows) and any((call.surface, call.symbol) in state.wants_rows for call in calls)

    def _sync(self, state: AccountState | None, route: Route, worker: int, calls: tuple[Call, ...], slots: list[int],
              key_ms: int, now_ms: int, *, urgent: bool) -> Sync:
        self._sync_id += 1
        settings, pages = self._core.settings, calls[0].pages
        if len(calls) > 1:
            pages = max(call.pages for call in calls)
        give_up_at_ms = now_ms + settings.grant_valid_ms + settings.call_timeout_ms * pages + _GIVE_UP_SLACK_MS
        sync = Sync(self._sync_id, state, route, worker, calls, slots, key_ms, now_ms, give_up_at_ms, urgent, NOTHING)
        self._core.in_flight[sync.id] = sync
        self._core.roster.started(worker, urgent=urgent)
        if route.circuit.opened_at_ms:
            route.circuit.sent()
        return sync

    def _circuit(self, route: Route, now_ms: int) -> Deferral | None:
        if not route.circuit.opened_at_ms:
            return None
        at_ms = route.circuit.admits_at_ms(now_ms)
        return Deferral(None, at_ms) if at_ms > now_ms else None

    def _defer(self, state: AccountState, deferral: Deferral, key_ms: int, *, urgent: bool, borrowing: bool) -> None:
        """Wait for the ledger that is in the way, at the level it stands for: all, the route, or this account alone."""
        route = state.route
        if deferral.ledger is self._core.budget.operator:
            self.scheduled_blocked_ms = deferral.at_ms
            if urgent or borrowing:
                self.urgent_blocked_ms = deferral.at_ms
        elif deferral.ledger is None or deferral.ledger.key in self._core.tolls.egress_keys(route):
            route.scheduled_blocked_ms = deferral.at_ms
            if urgent or borrowing:
                route.urgent_blocked_ms = deferral.at_ms
        else:
            state.parked_until_ms = deferral.at_ms
            self._core.settlement.wakeups.put_sooner(state.index, deferral.at_ms)
            return
        if urgent:
            route.urgent.put(state.index, key_ms)
        else:
            route.ready.put(state.index, key_ms)


def _longest_waiting(routes: Sequence[Route], now_ms: int) -> Route:
    """Of routes with ready accounts, the one to be served first.

    The heads of all routes that cannot keep up lie equally far back, since their times stand still together. So it is
    the wait times how far the route's intervals are stretched: what the routes share then stretches all alike.
    """
    longest, longest_ms = routes[0], -inf
    for route in routes if len(routes) > 1 else ():
        stretch = route.stretch
        waited_ms = (now_ms - stretch.slip_ms - (route.ready.next_due_at_ms() or 0) + 1) * stretch.ratio
        if waited_ms > longest_ms:
            longest, longest_ms = route, waited_ms
    return longest
