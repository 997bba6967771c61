"""Where places at the workers are scarce, and not calls."""

from collections import Counter

from tests.unit.core_world import World

from fleetsync.messages import Call
from fleetsync.model import Surface

SYMBOL = "BTC/USDT:USDT"


def _fleet(world: World, accounts: int) -> None:
    for index in range(accounts):
        world.account(f"a{index}")
        world.robot(f"r{index}", f"a{index}")
    world.run(3_000)
    world.sent.clear()


def test_accounts_with_urgent_work_without_end_take_turns_at_the_only_place() -> None:
    """Whoever had just been served came again before those who were let in, and they went back to the end."""
    world = World(in_flight_per_worker=1, calls_per_minute=6_000)
    _fleet(world, 6)
    for _ in range(1_000):
        for index in range(6):
            world.core.expedite(world.core.fleet.slot(f"r{index}"), world.now_ms)
        world.run(10)
    turns = Counter(sent.dispatch.account for sent in world.sent)
    assert len(turns) == 6
    assert max(turns.values()) <= min(turns.values()) + 2


def test_a_spare_budget_makes_nobody_due_while_others_wait_for_a_place() -> None:
    """Time ran ahead as fast as it may, though no call more could be sent in it."""
    world = World(in_flight_per_worker=1, spend="all", calls_per_minute=6_000, call_timeout_ms=20_000)
    world.latency_ms = lambda _: 2_000
    _fleet(world, 20)
    world.run(60_000)
    (route,) = world.core.fleet.routes.values()
    assert route.stretch.speed_max > 2
    assert route.stretch.slip_ms > -10_000


def test_a_question_that_was_open_when_its_account_was_stopped_is_asked_when_it_is_resumed() -> None:
    world = World()
    _fleet(world, 1)
    (state,) = world.core.fleet.account_by_id.values()
    world.core.settlement.reader.ask(state, Call(Surface.ORDER, SYMBOL, "7"), world.now_ms)
    state.stopped = "auth"
    world.core.resume_account("a0", None, world.now_ms)
    assert state.index in state.route.urgent
