"""A bug planted on purpose, for each promise: its checker must catch it, or it checks nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetsync import (
    cadence,
    events,
    fleet,
    grants,
    journal,
    ledger,
    membership,
    reading,
    reconcile,
    settle,
    sync,
    timing,
    tolls,
    trouble,
)
from fleetsync.account import NOBODY, AccountState
from fleetsync.book import Sight
from fleetsync.messages import Answer, Call
from fleetsync.model import Fault, Surface
from fleetsync_adapters import store_rows
from fleetsync_adapters.simulation.liveness import Convergence
from fleetsync_adapters.simulation.swarm import Options
from fleetsync_adapters.simulation.trial import PROMISES, attempt

Plant = Callable[[pytest.MonkeyPatch], None]
BUSY = Options(seed=7, robots=12, accounts=3, egresses=1, workers=2, calls_per_minute=120, minutes=3,
               changes_per_hour=120.0, orders_per_hour=60.0, up_ms=(20, 120))


def _exceeds(patch: pytest.MonkeyPatch) -> None:
    """The budget admits everything at once."""
    patch.setattr(ledger.Ledger, "opens_at_ms", lambda _self, _units, now_ms, *, urgent: now_ms)


def _forgets_to_charge(patch: pytest.MonkeyPatch) -> None:
    """Every fifth charge is lost."""
    charge, count = ledger.Ledger.charge, [0]

    def charged(self: ledger.Ledger, units: int, now_ms: int) -> None:
        count[0] += 1
        if count[0] % 5:
            charge(self, units, now_ms)

    patch.setattr(ledger.Ledger, "charge", charged)


def _lets_an_endpoint_be_asked_at_will(patch: pytest.MonkeyPatch) -> None:
    """The limits of accounts, endpoints and instruments are not kept; those of the address are."""
    opens_at_ms = ledger.Ledger.opens_at_ms

    def opens(self: ledger.Ledger, units: int, now_ms: int, *, urgent: bool) -> int:
        return now_ms if "/" in self.key else opens_at_ms(self, units, now_ms, urgent=urgent)

    patch.setattr(ledger.Ledger, "opens_at_ms", opens)


def _charges_the_operator_alone(patch: pytest.MonkeyPatch) -> None:
    """A call in five does not count towards its exchange's weight."""
    charges, count = tolls.Tolls.charges, [0]

    def charged(self: tolls.Tolls, *given: Any) -> Any:
        count[0] += 1
        return charges(self, *given) if count[0] % 5 else charges(self, *given)[:1]

    patch.setattr(tolls.Tolls, "charges", charged)


def _puts_off(patch: pytest.MonkeyPatch) -> None:
    """Now and then a robot's next run is a day away."""
    wish, count = timing.Timing.wish_ms, [0]

    def wished(self: timing.Timing, *given: Any) -> int:
        count[0] += 1
        return wish(self, *given) + (86_400_000 if count[0] % 50 == 0 else 0)

    patch.setattr(timing.Timing, "wish_ms", wished)


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


def _waits_for_nothing(patch: pytest.MonkeyPatch) -> None:
    """Three seconds pass after each refusal, whatever is in the bucket."""
    opens_at_ms = ledger.Ledger.opens_at_ms

    def opens(self: ledger.Ledger, units: int, now_ms: int, *, urgent: bool) -> int:
        at_ms = opens_at_ms(self, units, now_ms, urgent=urgent)
        return at_ms + 3_000 if at_ms > now_ms else at_ms

    patch.setattr(ledger.Ledger, "opens_at_ms", opens)


def _drops_events(patch: pytest.MonkeyPatch) -> None:
    """An event is written down and forgotten."""
    def accept(self: events.Inbox, event: events.Event, into: journal.Journal) -> None:
        into.batch.events[event.id] = event.plain()

    patch.setattr(events.Inbox, "accept", accept)


def _serves_events_unread(patch: pytest.MonkeyPatch) -> None:
    """A list of positions counts as a reading of everything."""
    patch.setattr(fleet.Fleet, "read_since",
                  lambda self, slot, since_ms: self.state_of(slot).positions_as_of_ms >= since_ms)


def _serves_events_in_dispute(patch: pytest.MonkeyPatch) -> None:
    """An open question about a robot keeps nothing waiting."""
    patch.setattr(events, "_disputed", lambda *_: False)


def _takes_no_429_to_heart(patch: pytest.MonkeyPatch) -> None:
    """An exchange that has had enough is asked on."""
    freeze = trouble.Trouble.freeze

    def froze(self: trouble.Trouble, route: Any, account: str, answer: Answer, now_ms: int) -> None:
        if answer.fault is not Fault.RATE_LIMITED:
            freeze(self, route, account, answer, now_ms)

    patch.setattr(trouble.Trouble, "freeze", froze)


def _never_writes_events_down(patch: pytest.MonkeyPatch) -> None:
    """Each third event is lost before it is written."""
    accept = events.Inbox.accept

    def accepted(self: events.Inbox, event: events.Event, into: journal.Journal) -> None:
        if event.id % 3:
            accept(self, event, into)

    patch.setattr(events.Inbox, "accept", accepted)


def _answers_nobody(patch: pytest.MonkeyPatch) -> None:
    """Forced syncs never run out of time, and are never proven."""
    patch.setattr(events.Inbox, "expire", lambda *_: None)
    patch.setattr(events.Inbox, "answered", lambda *_: False)


def _closes_at_first_absence(patch: pytest.MonkeyPatch) -> None:
    """One list without a position closes it."""
    patch.setattr(reconcile, "_READS_ENOUGH", 1)
    patch.setattr(reconcile, "_READS_AGAINST_FILLS", 1)


def _dates_readings_by_their_report(patch: pytest.MonkeyPatch) -> None:
    """What was read is called as young as its report."""
    stamp = reading.Reader.stamp

    def stamped(self: reading.Reader, state: AccountState, sync: Any, answer: Answer) -> None:
        stamp(self, state, sync, answer._replace(as_of_ms=answer.as_of_ms + 100))

    patch.setattr(reading.Reader, "stamp", stamped)


def _loses_news_with_a_report(patch: pytest.MonkeyPatch) -> None:
    """After a report that never came, "as before" is believed to mean what we know."""
    patch.setattr(grants.Granter, "_wants_rows", lambda *_: False)


def _believes_what_was_out(patch: pytest.MonkeyPatch) -> None:
    """A sync that was out when its account left, or came to be reached otherwise, counts like any other."""
    patch.setattr(membership.Membership, "_still_out_until_ms", lambda *_: 0)
    patch.setattr(sync.Sync, "void", property(lambda _: False, lambda *_: None))


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


SCOPED = replace(BUSY, exchanges=2, calls_per_minute=1_200, strikes={"event_storm": 6.0})
CANARIES: tuple[tuple[str, Plant, Options], ...] = (
    ("quotas", _exceeds, replace(BUSY, calls_per_minute=60)),
    ("quotas", _lets_an_endpoint_be_asked_at_will, SCOPED),
    ("quotas", _takes_no_429_to_heart, replace(BUSY, calls_per_minute=600, strikes={"throttle": 6.0})),
    ("grants", _forgets_to_charge, BUSY),
    ("grants", _charges_the_operator_alone, BUSY),
    ("one_run", _runs_twice, replace(BUSY, calls_per_minute=2_400)),
    ("nobody_forgotten", _forgets_to_rearm, BUSY),
    ("nobody_forgotten", _puts_off, BUSY),
    ("fair_turns", _serves_one_route, replace(BUSY, robots=60, accounts=15, egresses=2, calls_per_minute=60,
                                                changes_per_hour=2.0)),
    ("stretch_is_used", _stretches_for_nothing, replace(BUSY, calls_per_minute=1_200, minutes=4)),
    ("stretch_is_used", _waits_for_nothing, replace(BUSY, calls_per_minute=150, robots=30, accounts=8)),
    ("events_served", _drops_events, BUSY),
    ("events_served", _serves_events_unread, BUSY),
    ("events_served", _never_writes_events_down, BUSY),
    ("events_served", _serves_events_in_dispute, replace(BUSY, calls_per_minute=600)),
    ("syncs_answered", _serves_events_in_dispute, replace(BUSY, calls_per_minute=600, strikes={"forced_syncs": 12.0})),
    ("syncs_answered", _answers_nobody, replace(BUSY, strikes={"forced_syncs": 6.0})),
    ("truth", _closes_at_first_absence, replace(BUSY, misdeeds={"empty_list": 0.2}, calls_per_minute=600)),
    ("ages", _dates_readings_by_their_report, BUSY),
    ("ages", _loses_news_with_a_report, replace(BUSY, strikes={"message_lost": 30.0}, announced=0.0,
                                                 calls_per_minute=600)),
    ("ages", _believes_what_was_out, replace(BUSY, strikes={"account_changed": 30.0, "account_removed": 30.0},
                                             calls_per_minute=600, up_ms=(100, 300))),
    ("numbers", _skips_a_number, BUSY),
    ("replay", _keeps_what_ended, BUSY),
    ("bounded_memory", _piles_up_questions, BUSY),
    ("convergence", _overlooks_orders, BUSY),
)


_KEPT: dict[str, bool] = {}


def test_there_is_a_canary_for_every_promise() -> None:
    names = {promise.name for promise in PROMISES} | {Convergence.name}
    assert {promise for promise, _, _ in CANARIES} == names


@pytest.mark.parametrize(("promise", "plant", "options"), CANARIES,
                         ids=[f"{promise}-{plant.__name__.lstrip('_')}" for promise, plant, _ in CANARIES])
def test_a_planted_bug_is_caught_by_the_checker_of(promise: str, plant: Plant, options: Options,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    assert _kept(options), "without the bug the promise is kept"
    plant(monkeypatch)
    verdict = attempt(options, until_broken=promise)
    assert promise in {breach.promise for breach in verdict.breaches}, verdict.error or "nothing was caught"


def _kept(options: Options) -> bool:
    """Whether every promise is kept as things are; several bugs are planted in the same world."""
    if repr(options) not in _KEPT:
        _KEPT[repr(options)] = attempt(options).good
    return _KEPT[repr(options)]


def test_the_readme_names_every_promise_that_is_checked() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    table = text[text.index("## What it promises"):text.index("## Architecture")]
    names = [promise.name for promise in PROMISES] + [Convergence.name]
    assert [name for name in names if f"`{name}`" not in table] == []
