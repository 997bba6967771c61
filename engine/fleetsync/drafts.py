"""Drafts: what the next sync of an account would ask, and what that would cost.

A draft is made before the budget is asked for it. One that the budget defers is kept for a moment: where the budget is
scarce each grant is followed by a refusal, and planning is the dearest part of both.
"""

from typing import TYPE_CHECKING, NamedTuple

from fleetsync.account import CLEAR, AccountState, Route
from fleetsync.budget import Charges, dispatch_calls_max
from fleetsync.messages import Call
from fleetsync.model import Surface
from fleetsync.planner import Need, cut, plan

if TYPE_CHECKING:
    from fleetsync.core import Core

_NEARLY_DUE = 8  # a surface due within an eighth of its interval is read along with one that is due
_KEPT_MS = 1_000  # robots come due meanwhile, and questions may be asked
_KEPT_MOST = 64
_NOTHING = Need()
ROUTINE = Need(positions=True)  # all that an account without anything open needs, where one list shows everything


class Draft(NamedTuple):
    """A sync that is not granted yet."""

    need: Need
    calls: tuple[Call, ...]
    charges: Charges
    left_over: tuple[Call, ...] = ()  # what one grant cannot hold
    later: Charges = ()  # of the charges, what is for pages after the first


class Drafts:
    """Makes them. It shares the core's state and changes nothing in it."""

    def __init__(self, core: "Core") -> None:
        self._core = core
        self._routine: dict[Route, Draft] = {}  # the last one of each route
        self._kept: dict[int, tuple[tuple[object, ...], int, Draft]] = {}  # by account: as of what, until when, which

    def kept(self, state: AccountState, now_ms: int) -> Draft | None:
        """The draft that was deferred a moment ago, if the account has nothing more on its agenda since."""
        if not self._kept:
            return None
        as_of, until_ms, draft = self._kept.pop(state.index, ((), 0, None))
        return draft if draft is not None and now_ms < until_ms and as_of == _as_of(state) else None

    def keep(self, state: AccountState, draft: Draft, now_ms: int) -> None:
        """The budget has deferred it."""
        if draft.need is ROUTINE:
            return
        if len(self._kept) >= _KEPT_MOST:
            self._kept.clear()
        self._kept[state.index] = _as_of(state), now_ms + _KEPT_MS, draft

    def forget(self, state: AccountState) -> None:
        """The account is gone, or is reached otherwise."""
        self._kept.pop(state.index, None)

    def need(self, state: AccountState, stretched_ms: int, now_ms: int) -> Need:
        """What the account's waiting and urgent robots want read, and which questions may be asked now."""
        agenda = state.agenda
        nothing_on = agenda is CLEAR or not (agenda.urgent or agenda.questions or agenda.pages)
        if nothing_on and not state.books and state.route.one_list:
            return ROUTINE if state.waiting else _NOTHING  # who waits is due: what is read re-arms all that it covers
        fleet, timing, offers_conditional = self._core.fleet, self._core.timing, state.route.conditional
        positions = False
        orders: dict[str, int] = {}  # symbol -> due since; what is asked for at once comes before all that
        conditional: dict[str, int] = {}
        for slot, since_ms in state.urgent.items():
            positions = positions or state.positions_as_of_ms < since_ms
            if max(state.orders_as_of_ms, fleet.orders_as_of_ms[slot]) < since_ms:
                orders[fleet.symbols[slot]] = 0
            if offers_conditional and fleet.conditional_as_of(state, slot) < since_ms:
                conditional[fleet.symbols[slot]] = 0
        shared_ms = timing.shared_ms(state)
        for slot in state.waiting:
            intervals_ms = shared_ms or timing.intervals_ms(slot, state)
            due_ms = timing.surfaces_due(slot, state, intervals_ms)
            until_ms = stretched_ms + intervals_ms[fleet.phase[slot]] // _NEARLY_DUE
            positions = positions or due_ms[0] <= until_ms
            symbol = fleet.symbols[slot]
            if 0 <= due_ms[1] <= until_ms:
                orders[symbol] = min(due_ms[1], orders.get(symbol, due_ms[1]))
            if 0 <= due_ms[2] <= until_ms:
                conditional[symbol] = min(due_ms[2], conditional.get(symbol, due_ms[2]))
        questions = tuple([call for call, at_ms in agenda.questions.items() if at_ms <= now_ms])
        pages = {**state.route.tariff.parts, **agenda.pages}
        return Need(positions, _by_age(orders), _by_age(conditional), questions, tuple(pages.items()))

    def make(self, state: AccountState, need: Need, now_ms: int) -> Draft:
        """Plan what serves a need, as far as one grant holds it, and work out what it costs."""
        core, route = self._core, state.route
        if need is ROUTINE:
            charges = core.tolls.routine_charges(state, now_ms)
            routine = self._routine.get(route)
            if routine is None or routine.charges is not charges:
                routine = self._routine[route] = Draft(need, route.routine, charges)
            return routine
        calls, left_over = plan(need, route.prices), tuple[Call, ...]()
        if len(calls) > 1:
            calls, left_over = self._cut(state, calls)
        return Draft(need, calls, core.tolls.charges(state, calls, now_ms), left_over,
                     core.tolls.later(state, calls, now_ms))

    def _cut(self, state: AccountState, calls: tuple[Call, ...]) -> tuple[tuple[Call, ...], tuple[Call, ...]]:
        """What one grant holds of a plan, and the rest; what was left over the last time comes first."""
        if state.left_over:
            ranks = {_question(call): rank for rank, call in enumerate(state.left_over)}
            last = len(state.left_over)
            calls = tuple(sorted(calls, key=lambda call: ranks.get(_question(call), last)))
        if state.route.circuit.opened_at_ms or state.failures > 1:  # one tells whether it answers again:
            calls = tuple(sorted(calls, key=lambda call: call.surface is not Surface.TIME))  # the clock's, if refused
            return calls[:1], calls[1:]
        settings = self._core.settings  # what the worker's pace would hold back until it expires is not granted
        calls_max = min(dispatch_calls_max(settings.calls_per_minute), max(settings.account_calls_per_second // 2, 1))
        taken = cut(calls, state.route.tariff, calls_max, state.route.weights_max)
        return calls[:taken], calls[taken:]


def _question(call: Call) -> tuple[str, ...]:
    """What a call asks, which stays the same from plan to plan: not from when on, nor how many pages."""
    return call.surface, call.symbol, call.order_id, call.client_id, "conditional" if call.conditional else ""


def _as_of(state: AccountState) -> tuple[object, ...]:
    """What a draft depends on, as far as it changes without a sync."""
    route, agenda = state.route, state.agenda
    return (len(state.waiting), len(agenda.urgent), len(agenda.questions), agenda.failures, route.prices,
            route.circuit.opened_at_ms)


def _by_age(since_ms: dict[str, int]) -> tuple[str, ...]:
    """Symbols, longest due first: when a grant cannot hold all, those left over come first the next time."""
    if len(since_ms) < 2:
        return tuple(since_ms)
    return tuple(sorted(since_ms, key=lambda symbol: (since_ms[symbol], symbol)))
