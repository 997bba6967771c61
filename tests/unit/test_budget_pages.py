"""Pages after the first leave when those before them have come, however late: no window may hold more for it."""

from heapq import heappop, heappush
from random import Random

import pytest
from tests.unit.budget_world import START_MS, CountingExchange
from tests.unit.core_world import TARIFF, World, settled

from fleetsync.budget import Budget
from fleetsync.config import Settings
from fleetsync.messages import Answer, Call, OpenExchange, Request, SyncDone
from fleetsync.model import Surface
from fleetsync.tariff import Quota, Scope

_QUOTA = Quota("address", Scope.EGRESS, 600, 5_000)
_PAGES = 3


def _stalled(seed: int, *, urgent_share: float) -> CountingExchange:
    """More accounts than the quota serves, each reading a list of three pages; the exchange stalls now and then."""
    rng, exchange, settings = Random(seed), CountingExchange(), Settings(calls_per_minute=60_000)
    budget = Budget(settings, now_ms=START_MS)
    ledger = budget.ledger("address", _QUOTA, biggest=2, now_ms=START_MS)
    reports: list[int] = []
    now_ms, stalled_until_ms = START_MS, 0
    while now_ms < START_MS + 40_000:
        if rng.random() < 0.002:
            stalled_until_ms = now_ms + rng.randint(1_000, 8_000)
        while reports and reports[0] <= now_ms:
            heappop(reports)
            budget.release([(ledger, _PAGES - 1)], now_ms)
        charges, later = [(ledger, _PAGES)], [(ledger, _PAGES - 1)]
        while budget.request(charges, now_ms, urgent=rng.random() < urgent_share, later=later) is None:
            left_ms = now_ms + rng.randint(0, settings.grant_valid_ms)
            exchange.take(left_ms + rng.randint(0, settings.network_jitter_ms), 1)
            for _ in range(_PAGES - 1):
                left_ms = max(left_ms, stalled_until_ms) + rng.randint(5, 60)
                exchange.take(left_ms + rng.randint(0, settings.network_jitter_ms), 1)
            heappush(reports, max(left_ms, stalled_until_ms) + 60)
        now_ms += rng.randint(1, 20)
    return exchange


@pytest.mark.parametrize("seed", range(4))
def test_pages_that_an_exchange_held_up_do_not_fall_together_into_one_window(seed: int) -> None:
    exchange = _stalled(seed, urgent_share=0.3 if seed % 2 else 0.0)
    assert exchange.worst(_QUOTA.window_ms) <= _QUOTA.limit
    assert len(exchange.arrived) > 1_000  # and it is used


def test_a_request_waits_for_the_last_of_the_ledgers_that_are_in_its_way() -> None:
    budget = Budget(Settings(), now_ms=START_MS)
    far, near = (budget.ledger(key, _QUOTA, biggest=2, now_ms=START_MS) for key in ("far", "near"))
    far.freeze(START_MS + 9_000)
    near.freeze(START_MS + 3_000)
    for charges in ([(far, 1), (near, 1)], [(near, 1), (far, 1)]):
        deferral = budget.request(charges, START_MS, urgent=True)
        assert deferral is not None
        assert (deferral.ledger, deferral.at_ms) == (far, START_MS + 9_000)
    assert (far.granted, near.granted) == (0, 0)


def test_what_is_held_is_charged_once_when_its_call_is_over_or_given_up() -> None:
    world = World(in_flight_per_worker=4)
    world.account()
    world.robot("r")
    world.run(10_000)
    state = world.core.fleet.account_by_id["main"]
    question = Call(Surface.FILLS, "BTC/USDT:USDT", since_ms=1, pages=4)
    held = []
    for lost in (False, True):
        world.core.settlement.reader.ask(state, question, world.now_ms)
        world.core.make_urgent(state, world.now_ms)
        world.run(20)
        held.append([ledger.held for ledger in world.core.budget.ledgers() if ledger.held])
        if lost:
            world.lose(0)
        world.run(5_000)
        assert [ledger.held for ledger in world.core.budget.ledgers()] == [0, 0]
    weight = dict(TARIFF.costs["fills"].weights)["weight"]
    assert held == [[3, 3 * weight]] * 2


def test_requests_beyond_what_was_granted_are_spent_all_the_same() -> None:
    """Some exchanges' markets take six requests."""
    world = World()
    world.account()
    world.robot("r")
    six = tuple(Request("GET /markets", 1, world.now_ms, 200) for _ in range(6))
    world.core.tick(world.now_ms)
    (opening,) = [message for _, message in world.core.take_commands() if isinstance(message, OpenExchange)]
    answer = Answer(Call(Surface.MARKETS), world.now_ms, complete=True)
    world.core.receive(SyncDone(opening.sync_id, (answer,), six), world.now_ms)
    assert world.core.budget.operator.granted == 6
    settled(world)
