"""A bug planted on purpose, for each promise: its checker must catch it, or it checks nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fleetsync import budget, cadence, events, grants, journal, reading, reconcile, settle
from fleetsync.account import NOBODY, AccountState
from fleetsync.book import Sight
from fleetsync.messages import Answer, Call
from fleetsync.model import Surface
from fleetsync_adapters import store_rows
from fleetsync_adapters.simulation.liveness import Convergence
from fleetsync_adapters.simulation.swarm import Options
from fleetsync_adapters.simulation.trial import PROMISES, attempt

Plant = Callable[[pytest.MonkeyPatch], None]
BUSY = Options(seed=7, robots=12, accounts=3, egresses=1, workers=2, calls_per_minute=120, minutes=3,
               changes_per_hour=120.0, orders_per_hour=60.0, up_ms=(20, 120))


def _exceeds(patch: pytest.MonkeyPatch) -> None:
    """The budget admits everything at once."""
    patch.setattr(budget.Ledger, "opens_at_ms", lambda _self, _units, now_ms, *, urgent: now_ms)


def _forgets_to_charge(patch: pytest.MonkeyPatch) -> None:
    """Every fifth charge is lost."""
    charge, count = budget.Ledger.charge, [0]

    def charged(self: budget.Ledger, units: int, now_ms: int) -> None:
        count[0] += 1
        if count[0] % 5:
            charge(self, units, now_ms)

    patch.setattr(budget.Ledger, "charge", charged)


def _runs_twice(patch: pytest.MonkeyPatch) -> None:
    """An account with a sync in flight does not count as busy."""
    dispatch = grants.Granter._dispatch

    def dispatched(self: grants.Granter, state: AccountState, *given: Any, **more: Any) -> None:
        dispatch(self, state, *given, **more)
        state.busy = 0

    patch.setattr(grants.Granter, "_dispatch", dispatched)


def _forgets_to_rearm(patch: pytest.MonkeyPatch) -> None:
    """After its sync, now and then an account's robots are not put back."""
    rearm, count = settle.Settlement.rearm, [0]

    def rearmed(self: settle.Settlement, state: AccountState, stretched_ms: int) -> int:
        count[0] += 1
        if count[0] % 20 == 0:
            state.route.due -= len(state.waiting)
            state.waiting = NOBODY
            for slot in state.slots:
                state.route.robots.remove(slot)
            return stretched_ms
        return rearm(self, state, stretched_ms)

    patch.setattr(settle.Settlement, "rearm", rearmed)


def _serves_one_route(patch: pytest.MonkeyPatch) -> None:
    """Where routes share a scarce cap, the first one takes it."""
    patch.setattr(grants, "_longest_waiting", lambda routes, _now_ms: routes[0])


def _stretches_for_nothing(patch: pytest.MonkeyPatch) -> None:
    """Time stands still for a while each second, though nobody waits."""
    measure = cadence.StretchClock.measure

    def measured(self: cadence.StretchClock, real_ms: int) -> None:
        self.slip_ms += 300
        measure(self, real_ms)

    patch.setattr(cadence.StretchClock, "measure", measured)


def _drops_events(patch: pytest.MonkeyPatch) -> None:
    """An event is written down and forgotten."""
    def accept(self: events.Inbox, event: events.Event, into: journal.Journal) -> None:
        into.batch.events[event.id] = event.plain()

    patch.setattr(events.Inbox, "accept", accept)


def _answers_nobody(patch: pytest.MonkeyPatch) -> None:
    """Forced syncs never run out of time, and are never proven."""
    patch.setattr(events.Inbox, "expire", lambda *_: None)
    patch.setattr(events.Inbox, "answered", lambda *_: False)


def _closes_at_first_absence(patch: pytest.MonkeyPatch) -> None:
    """One list without a position closes it."""
    patch.setattr(reconcile, "_READS_ENOUGH", 1)
    patch.setattr(reconcile, "_READS_AGAINST_FILLS", 1)


def _skips_a_number(patch: pytest.MonkeyPatch) -> None:
    """Every tenth change takes two numbers; the store lets it through."""
    change = journal.Journal.change

    def changed(self: journal.Journal, *given: Any, **more: Any) -> None:
        self.last_change += self.last_change % 10 == 9
        change(self, *given, **more)

    patch.setattr(journal.Journal, "change", changed)
    patch.setattr(store_rows, "split_replayed", lambda changes, _last: ([], changes))


def _keeps_what_ended(patch: pytest.MonkeyPatch) -> None:
    """The row of an ended order stays in the store."""
    write = journal.Journal._write_row

    def written(self: journal.Journal, account: str, symbol: str, finding: Any) -> None:
        if finding.kind != "order_ended":
            write(self, account, symbol, finding)

    patch.setattr(journal.Journal, "_write_row", written)


def _piles_up_questions(patch: pytest.MonkeyPatch) -> None:
    """Each question leaves another one behind, for tomorrow."""
    ask = reading.Reader.ask

    def asked(self: reading.Reader, state: AccountState, call: Call, at_ms: int) -> None:
        ask(self, state, call, at_ms)
        for number in range(20):
            ask(self, state, Call(Surface.ORDER, "", order_id=f"{at_ms}{number}"), at_ms + 86_400_000)

    patch.setattr(reading.Reader, "ask", asked)


def _overlooks_orders(patch: pytest.MonkeyPatch) -> None:
    """What the lists of orders show is not looked at."""
    collect = reading.Reader.collect

    def collected(self: reading.Reader, state: AccountState, answer: Answer, sights: dict[str, list[Sight]]) -> None:
        if answer.call.surface is not Surface.ORDERS:
            collect(self, state, answer, sights)

    patch.setattr(reading.Reader, "collect", collected)


CANARIES: dict[str, tuple[Plant, Options]] = {
    "quotas": (_exceeds, replace(BUSY, calls_per_minute=60)),
    "grants": (_forgets_to_charge, BUSY),
    "one_run": (_runs_twice, replace(BUSY, calls_per_minute=2_400)),
    "nobody_forgotten": (_forgets_to_rearm, BUSY),
    "fair_turns": (_serves_one_route, replace(BUSY, robots=40, accounts=9, egresses=2, calls_per_minute=60,
                                                changes_per_hour=2.0)),
    "stretch_is_used": (_stretches_for_nothing, replace(BUSY, calls_per_minute=1_200, minutes=4)),
    "events_served": (_drops_events, BUSY),
    "syncs_answered": (_answers_nobody, replace(BUSY, strikes={"forced_syncs": 6.0})),
    "truth": (_closes_at_first_absence, replace(BUSY, misdeeds={"empty_list": 0.2}, calls_per_minute=600)),
    "numbers": (_skips_a_number, BUSY),
    "replay": (_keeps_what_ended, BUSY),
    "bounded_memory": (_piles_up_questions, BUSY),
    "convergence": (_overlooks_orders, BUSY),
}


def test_there_is_a_canary_for_every_promise() -> None:
    names = {promise.name for promise in PROMISES} | {Convergence.name}
    assert CANARIES.keys() == names


@pytest.mark.parametrize("promise", CANARIES)
def test_a_planted_bug_is_caught_by_the_checker_of(promise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, options = CANARIES[promise]
    assert attempt(options).good, "without the bug the promise is kept"
    plant(monkeypatch)
    verdict = attempt(options)
    assert promise in {breach.promise for breach in verdict.breaches}, verdict.error or "nothing was caught"
