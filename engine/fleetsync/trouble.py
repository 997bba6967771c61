"""What goes wrong: faults, stops, freezes and the exchanges' own counters, taken in from answers.

A fault of the network rests the account, one of its keys stops it, one of a symbol stops that symbol's robots; a limit
freezes the ledgers that guard it. Each is said once, stands in the status, and nothing of it is ever read as "gone".
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fleetsync.account import CLEAR, NOBODY, NOTHING, AccountState, Route
from fleetsync.health import backoff_ms
from fleetsync.messages import Answer, Call, Request
from fleetsync.model import Fault, Phase, Surface
from fleetsync.sync import Sync
from fleetsync.tariff import Scope
from fleetsync.units import DAY_MS, MINUTE_MS, SECOND_MS

if TYPE_CHECKING:
    from fleetsync.core import Core

_BAN_MOST_MS = 30 * DAY_MS  # ten times Binance's longest; what says more is a broken header, and is looked at then
_BAN_DEFAULT_MS = 2 * MINUTE_MS  # Binance's first ban; used where an exchange bans without saying for how long
_TIME_SAMPLES = 3  # the one with the shortest way is believed
_RETRYABLE = {Fault.NETWORK, Fault.DOWN, Fault.MALFORMED, Fault.CLOCK, Fault.REFUSED}
_NO_ANSWER = {Fault.NETWORK, Fault.DOWN, Fault.MALFORMED}  # faults that leave open whether the exchange is there
LISTS = (Surface.POSITIONS, Surface.ORDERS, Surface.CONDITIONAL)


class Trouble:
    """The core's dealings with faults. It shares the core's state."""

    def __init__(self, core: "Core") -> None:
        self._core = core

    def failed(self, state: AccountState, sync: Sync, answer: Answer, now_ms: int) -> None:
        """One call brought no usable answer."""
        core, fault = self._core, answer.fault
        assert fault is not None
        if fault is Fault.EXPIRED:
            self._expired(state, answer.call, now_ms)
            return
        core.journal.count_fault(fault.value)
        if not (_is_unlimited(answer) or fault in _NO_ANSWER):
            self._answered(state.route)
        if fault is Fault.MALFORMED:  # the worker may have understood what it could not hand over:
            state.wants_rows |= lists_of((answer.call,))  # to it, the next answer would be as before
        self._act(state, sync, answer, now_ms)
        if answer.call.surface not in (*LISTS, Surface.TIME) and not state.stopped and fault is not Fault.BAD_SYMBOL:
            state.own("questions").setdefault(answer.call, max(state.parked_until_ms, now_ms))  # it is still open

    def _act(self, state: AccountState, sync: Sync, answer: Answer, now_ms: int) -> None:
        """What a fault does to the account, its symbol or its limits."""
        fault = answer.fault
        assert fault is not None
        detail = f"{fault.value}: {answer.detail}" if answer.detail else fault.value
        if fault is Fault.AUTH:
            self.stop_account(state, detail)
        elif fault is Fault.BAD_SYMBOL:
            self.symbols_unknown(state, (answer.call.symbol,))
        elif fault in {Fault.BANNED, Fault.RATE_LIMITED}:
            self.freeze(state.route, state.account.id, answer, now_ms)
            if _is_unlimited(answer):
                self._rest(state, sync, fault, detail, now_ms)
        elif fault in _RETRYABLE:
            self._rest(state, sync, fault, detail, now_ms)
            if fault is Fault.CLOCK and Surface.TIME.value in sync.route.tariff.costs:
                state.own("questions").setdefault(Call(Surface.TIME, pages=_TIME_SAMPLES), now_ms)

    def _expired(self, state: AccountState, call: Call, now_ms: int) -> None:
        """Mostly it is the account's pace that left no room: it rests for a turn, and this call is first then."""
        state.left_over = (call, *state.left_over)
        turn_ms = SECOND_MS // self._core.settings.account_calls_per_second
        state.parked_until_ms = max(state.parked_until_ms, now_ms + turn_ms)
        if call.surface not in (*LISTS, Surface.TIME):
            state.own("questions").setdefault(call, now_ms)

    def _rest(self, state: AccountState, sync: Sync, fault: Fault, detail: str, now_ms: int) -> None:
        core = self._core
        if state.parked_until_ms <= now_ms:  # once a sync, however many of its calls failed
            state.failures += 1
            state.parked_until_ms = now_ms + backoff_ms(state.failures, core.settings, core.rng)
        if state.last_fault != detail:
            state.last_fault = detail
            core.journal.account_changed(state)
        core.journal.notice("warning", f"account:{state.account.id}",
                            f"account {state.account.id}: {detail}; it is tried again")
        if fault in {Fault.NETWORK, Fault.DOWN, Fault.RATE_LIMITED}:
            self._circuit_failed(sync.route, state.account.id, detail, now_ms)

    def _circuit_failed(self, route: Route, account: str, detail: str, now_ms: int) -> None:
        core = self._core
        if route.circuit.failed(account, now_ms, core.settings, core.rng):
            core.journal.notice("error", f"route:{route.name}",
                                f"{route.name} does not serve us ({detail}); it is probed until it does")

    def healthy(self, state: AccountState) -> None:
        """The account answers: what was said of it and of its route is over."""
        core = self._core
        if state.route.circuit.failures:
            self._answered(state.route)
        if state.agenda is CLEAR:
            return
        if (state.failures or state.last_fault) and not state.parked_until_ms:
            state.failures, state.last_fault = 0, ""
            core.journal.over(f"account:{state.account.id}", f"account {state.account.id} answers again")
            core.journal.account_changed(state)

    def _answered(self, route: Route) -> None:
        """The exchange answered, if only to refuse: it is not down."""
        if route.circuit.failures:
            if route.circuit.succeeded():
                route.unblock()
            self._core.journal.over(f"route:{route.name}", f"{route.name} answers again")

    def stop_account(self, state: AccountState, reason: str) -> None:
        """Serve an account no more until somebody resumes it; its robots become unknown."""
        core = self._core
        state.stopped = state.last_fault = reason
        state.positions_key_ms = state.orders_key_ms = 0  # when it is resumed, it is read at once
        state.questions = NOTHING
        state.urgent = NOTHING
        state.route.due -= len(state.waiting)
        state.waiting = NOBODY
        state.route.ready.remove(state.index)
        state.route.urgent.remove(state.index)
        for slot in state.slots:
            core.fleet.phase[slot] = Phase.UNKNOWN
            state.route.robots.remove(slot)
            core.journal.robot_changed(slot)
            core.inbox.check(slot, state, core.fleet, core.journal, 0)
        core.journal.account_changed(state)
        core.journal.over(f"account:{state.account.id}")  # of a passing fault, or of an earlier stop
        core.journal.notice("error", f"account:{state.account.id}",
                            f"account {state.account.id} stopped, {reason}; mend its keys and resume it")

    def symbols_unknown(self, state: AccountState, symbols: Sequence[str]) -> None:
        """Stop the robots on symbols that the exchange does not list."""
        core = self._core
        for symbol in symbols:
            for slot in core.fleet.slots_on(state, symbol):
                if slot in core.fleet.stopped:
                    continue
                core.fleet.stopped[slot] = f"bad_symbol: {state.route.exchange} does not list {symbol}"
                core.fleet.phase[slot] = Phase.UNKNOWN
                state.route.robots.remove(slot)
                core.journal.robot_changed(slot)
                core.inbox.check(slot, state, core.fleet, core.journal, 0)
                robot = core.fleet.ids[slot]
                core.journal.notice("error", f"robot:{robot}",
                                    f"robot {robot} stopped: {state.route.exchange} does not list {symbol}")

    def freeze(self, route: Route, account: str, answer: Answer, now_ms: int) -> None:
        """The exchange said stop: freeze what it guards, for as long as it says."""
        core = self._core
        cost = route.tariff.cost(answer.call)
        banned = answer.fault is Fault.BANNED
        default_ms = _BAN_DEFAULT_MS if banned else SECOND_MS
        until_ms = now_ms + min(max(answer.retry_after_ms or default_ms, SECOND_MS), _BAN_MOST_MS)
        names = {quota.name: quota.scope for quota in route.tariff.quotas}
        guarded = [name for name, _ in cost.weights if not banned or names[name] is Scope.EGRESS]
        guarded = guarded or [name for name, scope in names.items() if scope is Scope.EGRESS]
        for name in guarded:
            ledger = core.tolls.ledger(route, name, account, cost.endpoint, answer.call.symbol, now_ms)
            ledger.freeze(until_ms)
            core.journal.froze(ledger.key, ledger.frozen_until_ms)  # an earlier one may last longer
            until_ms = max(until_ms, ledger.frozen_until_ms)
        if banned or not guarded:
            route.freeze(until_ms)
            core.journal.froze(route.freeze_key, route.frozen_until_ms)
        core.journal.notice("error" if banned else "warning", f"freeze:{route.name}",
                            f"{route.name}: {answer.fault}; nothing is sent for {-(-(until_ms - now_ms) // 1000)} s",
                            until_ms)

    def limited_lately(self, sync: Sync, answers: Sequence[Answer], now_ms: int) -> None:
        """Answers that come too late for everything else still tell of a limit that may not be over."""
        for answer in answers:
            default_ms = _BAN_DEFAULT_MS if answer.fault is Fault.BANNED else 0
            if answer.as_of_ms + (answer.retry_after_ms or default_ms) > now_ms:
                self.limited(sync, answer, now_ms)

    def limited(self, sync: Sync, answer: Answer, now_ms: int) -> None:
        """An answer that tells nothing else any more still tells of a limit."""
        if answer.fault in {Fault.BANNED, Fault.RATE_LIMITED}:
            self.freeze(sync.route, sync.state.account.id if sync.state is not None else "", answer, now_ms)

    def not_opened(self, route: Route, answer: Answer, now_ms: int) -> None:
        """The markets could not be loaded; a ban met there holds for everything behind it, too."""
        assert answer.fault is not None
        self._core.journal.count_fault(answer.fault.value)
        if answer.fault in {Fault.BANNED, Fault.RATE_LIMITED}:
            self.freeze(route, "", answer, now_ms)

    def feedback(self, route: Route, requests: Sequence[Request], now_ms: int) -> None:
        """What the exchange's own counters say corrects our ledgers."""
        for request in requests:
            if request.used_weight >= 0:
                for ledger in self._core.tolls.reported(route, now_ms):
                    ledger.observe(request.used_weight, request.sent_at_ms, now_ms)

    def weigh_ceilings(self, route: Route) -> None:
        """Say it where the budget cannot hold the ceilings of the adaptive mode, and when it can again."""
        journal, key = self._core.journal, f"ceilings:{route.name}"
        if route.law.overload > 1:
            journal.notice("warning", key, f"{route.name}: the budget cannot hold holding_ceiling_s and "
                                           f"flat_ceiling_s; they give way {route.law.overload:.1f} times over")
        else:
            journal.over(key, f"{route.name}: the budget holds the ceilings again")


def _is_unlimited(answer: Answer) -> bool:
    """Whether an exchange turned us away and did not say for how long: it may be the account, or all of us."""
    return answer.fault is Fault.RATE_LIMITED and not answer.retry_after_ms


def lists_of(calls: Sequence[Call]) -> frozenset[tuple[Surface, str]]:
    """Which lists calls ask for, as `Agenda.wants_rows` names them."""
    return frozenset((call.surface, call.symbol) for call in calls if call.surface in LISTS)
