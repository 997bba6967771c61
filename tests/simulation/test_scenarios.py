"""Named stories: hard situations, and histories in which a seed once found a bug; every promise is checked in each."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fleetsync.messages import Call, Dispatch, Request, ToWorker
from fleetsync.model import Certainty, Phase, Robot
from fleetsync.units import MINUTE_MS, SECOND_MS
from fleetsync_adapters.paper.faults import Fault, FaultOrder, Misdeed
from fleetsync_adapters.simulation.life import Life
from fleetsync_adapters.simulation.observe import Observer
from fleetsync_adapters.simulation.swarm import Options
from fleetsync_adapters.simulation.trial import Verdict, attempt
from fleetsync_adapters.simulation.world import World

CALM = Options(seed=11, robots=8, accounts=2, workers=2, calls_per_minute=600, minutes=3, changes_per_hour=60.0,
               orders_per_hour=30.0, up_ms=(20, 120))
FAULTY = replace(CALM, strikes={"slow_start": 1e-9})  # faults may be scripted, none is drawn


def play(options: Options, script: Callable[[World], None] | None = None, *observers: Observer) -> Verdict:
    """Run the story; every promise must have been kept."""
    verdict = attempt(options, observers, script)
    assert verdict.good, verdict.error or verdict.breaches
    return verdict


def later(world: World, after_s: float, deed: Callable[[], Any]) -> None:
    world.after(int(after_s * SECOND_MS), lambda _: deed(), None)


class Sent(Observer):
    """The instants of all requests, and all dispatches."""

    def __init__(self) -> None:
        self.requests: list[tuple[int, Call, Request]] = []
        self.dispatches: list[tuple[int, Dispatch]] = []

    def requested(self, at_ms: int, sync_id: int, egress: str, account: str, call: Call, request: Request) -> None:
        self.requests.append((at_ms, call, request))

    def sent(self, at_ms: int, worker: int, message: ToWorker) -> None:
        if isinstance(message, Dispatch):
            self.dispatches.append((at_ms, message))

    def calls_between(self, start_ms: int, end_ms: int) -> int:
        return sum(start_ms <= at_ms < end_ms for at_ms, _, _ in self.requests)

    def fullest_minute(self) -> int:
        instants = [at_ms for at_ms, _, _ in self.requests]
        return max(sum(at_ms < other < at_ms + MINUTE_MS for other in instants) + 1 for at_ms in instants)


class Turns(Observer):
    """How often the loop went round."""

    def __init__(self) -> None:
        self.count = 0

    def turned(self, at_ms: int, life: Life) -> None:
        self.count += 1


@pytest.mark.parametrize("step", range(0, 150, 8))
def test_an_engine_that_is_killed_between_any_two_of_its_steps_loses_and_repeats_nothing(step: int) -> None:
    def script(world: World) -> None:
        def light() -> None:
            assert world.life is not None
            world.life.fuse = step

        for kill in range(4):
            later(world, 20 + 35 * kill, light)

    assert play(replace(FAULTY, changes_per_hour=200.0), script).lives == 5


def test_after_half_an_hour_of_maintenance_the_fleet_is_known_again_and_little_was_spent_on_asking() -> None:
    sent = Sent()

    def script(world: World) -> None:
        def close() -> None:
            assert world.chaos is not None
            world.chaos.down_until_ms = world.now_ms + 30 * MINUTE_MS

        later(world, 60, close)

    verdict = play(replace(FAULTY, minutes=33), script, sent)
    begin_ms = sent.requests[0][0]
    asked = sent.calls_between(begin_ms + 5 * MINUTE_MS, begin_ms + 30 * MINUTE_MS)
    assert asked < 25 * 6, "an exchange that is down is probed, a few times a minute"
    assert verdict.converged_ms < 2 * MINUTE_MS


def test_news_in_a_report_that_never_came_is_told_by_the_next_answer() -> None:
    """The worker had read the news: to it, the next answer was as before, and nobody was told for ever."""
    def script(world: World) -> None:
        def lose() -> None:
            assert world.chaos is not None
            world.chaos.spoil_message = "lost"

        for number in range(12):
            later(world, 15 + 13 * number, lose)

    play(replace(FAULTY, changes_per_hour=300.0), script)


@pytest.mark.parametrize("skew_ms", [-8_000, 300, 8_000, 60_000])
def test_an_order_ends_in_our_books_whatever_the_exchanges_clock_says(skew_ms: int) -> None:
    """An order that the exchange dates after our reading was never doubted, and stayed open for ever."""
    def script(world: World) -> None:
        def jump() -> None:
            world.skew(skew_ms)

        later(world, 30, jump)

    play(replace(FAULTY, orders_per_hour=300.0, changes_per_hour=20.0), script)


def test_a_robot_that_joins_an_account_which_is_read_more_often_is_soon_known() -> None:
    """Each answer for the others moved its own first run on, and it stayed unknown."""
    joined: list[tuple[Phase, Certainty]] = []

    def script(world: World) -> None:
        def join() -> None:
            world.add_robot(Robot("late", "account-0", world.venue.markets.all[-1].symbol))

        def look() -> None:
            assert world.life is not None
            fleet = world.life.core.fleet
            slot = fleet.slot("late")
            joined.append((Phase(fleet.phase[slot]), fleet.certainty(slot)))

        later(world, 60, join)
        later(world, 70, look)

    play(replace(CALM, mode="adaptive", spend="all", accounts=1), script)
    assert joined[0][0] is not Phase.UNKNOWN
    assert joined[0][1] is Certainty.AGREED


def test_every_symbol_of_an_account_is_read_though_a_grant_holds_one_call() -> None:
    """Positions came first in each plan; what stood behind them was cut off each time, for ever."""
    ages_ms: list[int] = []

    def script(world: World) -> None:
        def look() -> None:
            assert world.life is not None
            fleet = world.life.core.fleet
            ages_ms.extend(world.now_ms - fleet.orders_as_of(fleet.state_of(slot), slot) for slot in range(12))

        later(world, 179, look)

    play(replace(CALM, robots=12, accounts=1, calls_per_minute=60, orders_per_hour=120.0, changes_per_hour=2.0), script)
    assert max(ages_ms) < 45 * SECOND_MS


def test_addresses_that_share_a_scarce_cap_are_served_alike() -> None:
    """Their times stand still together, so their heads wait equally long: the last address was never served."""
    sent = Sent()
    play(replace(CALM, robots=12, accounts=3, egresses=3, calls_per_minute=60), None, sent)
    served = {account: sum(one.account == account for _, one in sent.dispatches)
              for account in ("account-0", "account-1", "account-2")}
    assert min(served.values()) > max(served.values()) / 3


def test_an_order_that_ended_before_a_crash_is_not_told_again_for_an_event_that_was_still_pending() -> None:
    def script(world: World) -> None:
        def kill() -> None:
            if world.life is not None:
                world.life.fuse = 0

        for number in range(10):
            later(world, 20 + 15 * number, kill)

    play(replace(FAULTY, orders_per_hour=200.0, announced=1.0, misdeeds={"lost_answer": 0.05}), script)


def test_an_account_that_is_refused_is_left_alone_until_it_is_resumed() -> None:
    sent = Sent()

    def script(world: World) -> None:
        book = world.book_of("account-0")

        def revoke() -> None:
            del world.venue.books.by_key[book.keys.api_key]
            world.forget_seats("account-0")

        def mend() -> None:
            world.venue.books.by_key[book.keys.api_key] = book
            world.resume_account(world.accounts["account-0"])

        later(world, 30, revoke)
        later(world, 120, mend)

    play(FAULTY, script, sent)
    begin_ms = sent.dispatches[0][0] // MINUTE_MS * MINUTE_MS
    mine = [at_ms for at_ms, one in sent.dispatches if one.account == "account-0"]
    assert not [at_ms for at_ms in mine if begin_ms + 40 * SECOND_MS < at_ms < begin_ms + 119 * SECOND_MS]
    assert [at_ms for at_ms in mine if at_ms > begin_ms + 120 * SECOND_MS]


def test_a_new_engine_does_not_poll_into_the_ban_that_the_old_one_met() -> None:
    sent = Sent()

    def script(world: World) -> None:
        def ban() -> None:
            world.venue.faults.order([FaultOrder(Fault(Misdeed.BANNED, 60_000))])

        def kill() -> None:
            world.kill_engine()

        later(world, 30, ban)
        later(world, 40, kill)

    verdict = play(FAULTY, script, sent)
    assert verdict.lives == 2
    assert sum(request.status == 418 for _, _, request in sent.requests) < 10, "only what was under way when it came"


def test_a_second_program_that_eats_half_of_the_weight_leads_to_no_429() -> None:
    sent = Sent()

    def script(world: World) -> None:
        def eat(_: object) -> None:
            if world.now_ms < world.setup.end_at_ms:
                world.venue.limits.charge("direct", 20, world.exchange_ms())
                world.after(SECOND_MS, eat, None)

        world.after(10 * SECOND_MS, eat, None)
        assert world.chaos is not None
        world.chaos.foreign_until_ms = world.setup.end_at_ms

    play(replace(FAULTY, robots=30, accounts=8, calls_per_minute=1_200, minutes=6), script, sent)
    assert {request.status for _, _, request in sent.requests} <= {200, 400}
    assert max(request.used_weight for _, _, request in sent.requests) > 1_200


def test_a_budget_that_is_cut_and_raised_again_makes_no_burst() -> None:
    sent = Sent()

    def script(world: World) -> None:
        later(world, 120, lambda: world.set_calls_per_minute(60))
        later(world, 300, lambda: world.set_calls_per_minute(300))

    play(replace(CALM, robots=30, accounts=8, calls_per_minute=300, minutes=7), script, sent)
    begin_ms = sent.requests[0][0] // MINUTE_MS * MINUTE_MS
    minutes = [sent.calls_between(begin_ms + n * MINUTE_MS, begin_ms + (n + 1) * MINUTE_MS) for n in range(7)]
    assert all(calls <= 60 for calls in minutes[3:5]), minutes
    assert max(minutes) <= 300, minutes
    assert minutes[6] > 100, "it is used again"


def test_a_fleet_that_its_budget_cannot_serve_does_not_keep_the_loop_busy() -> None:
    """Its time stands still, and could run five times as fast: some robot is always about to come due."""
    turns = Turns()
    verdict = play(replace(CALM, robots=2_000, accounts=50, calls_per_minute=60, spend="all", changes_per_hour=0.2,
                           orders_per_hour=0.1), None, turns)
    assert verdict.calls > 500
    assert turns.count < 10 * verdict.calls


def test_five_thousand_events_at_once_are_all_served() -> None:
    def script(world: World) -> None:
        def storm() -> None:
            for number in range(5_000):
                world.tell(f"robot-{number % 8}", "suspect")

        later(world, 60, storm)

    verdict = play(replace(CALM, announced=0.0), script)
    assert verdict.events >= 5_000
    assert verdict.converged_ms <= 60 * SECOND_MS
