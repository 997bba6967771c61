"""What most syncs find is settled on a short way of its own: it must decide what the way through all the cases does."""

from random import Random
from typing import Any

import pytest
from tests.unit.builders import position
from tests.unit.core_world import LATENCY_MS, World

from fleetsync.messages import Answer, Call, Dispatch
from fleetsync.model import Fault
from fleetsync.settle import Settlement

ACCOUNTS = 24


class Comparing(World):
    """A world whose worker compares: rows that it has told before are told as "as before"."""

    def __init__(self, seed: int, **settings: Any) -> None:
        super().__init__(workers=2, **settings)
        self.chance = Random(seed)
        self._told: dict[tuple[str, Call], tuple[Any, ...]] = {}
        self._full = False
        self.latency_ms, self.answer = self._sent, self._compared

    def _sent(self, dispatch: Dispatch) -> int:
        self._full = dispatch.full
        return LATENCY_MS + self.chance.randrange(400)

    def _compared(self, account: str, call: Call, now_ms: int) -> Answer | None:
        if account not in self.truth:
            return None
        if self.chance.random() < 0.01:
            return Answer(call, now_ms, fault=Fault.NETWORK)
        rows = self.truth[account].rows_of(call)
        same, self._told[account, call] = self._told.get((account, call)) == rows and not self._full, rows
        return Answer(call, now_ms, complete=True, rows=None if same else rows)


def _history(seed: int, **settings: Any) -> tuple[list[Any], list[Any], int]:
    """Ten minutes of a fleet that is quiet most of the time; what was sent, what was found, what is known."""
    world = Comparing(seed, **settings)
    for number in range(ACCOUNTS):
        world.account(f"a{number}")
        for other in range(1 + number % 3):
            world.robot(f"r{number}-{other}", f"a{number}", "BTC/USDT:USDT" if not other else f"C{other}/USDT:USDT",
                        first_in_ms=number * 1_000, priority=2.0 if number == 5 and seed % 2 else 1.0)
    chance, worst = Random(seed), 0
    for minute in range(10):
        world.run(60_000)
        worst = max(worst, *(route.due for route in world.core.fleet.routes.values()))
        lucky = world.truth[f"a{chance.randrange(ACCOUNTS)}"]
        lucky.positions = [] if lucky.positions else [position(updated_at_ms=world.now_ms)]
        if minute % 4 == 0:
            world.event(f"r{chance.randrange(ACCOUNTS)}-0")
        if minute in {5, 7}:  # now and then a sync is in flight
            world.core.remove_robot(f"r{minute}-{minute % 3}")
    ages = [world.core.fleet.age_as_of(slot) for slot in world.core.fleet.slot_of.values()]
    return world.sent, [*world.changes, *ages], worst


@pytest.mark.parametrize(("settings", "waits"), [
    ({}, False), ({"calls_per_minute": 75}, True), ({"spend": "all"}, False)])
def test_the_short_way_of_a_quiet_account_leads_where_the_long_one_leads(
        monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], waits: bool) -> None:
    taken = 0
    put_back = Settlement._put_back

    def counted(self: Settlement, *given: Any) -> None:
        nonlocal taken
        taken += 1
        put_back(self, *given)

    monkeypatch.setattr(Settlement, "_put_back", counted)
    short = [_history(seed, **settings) for seed in range(2)]
    assert taken > 100, "most syncs find nothing"
    monkeypatch.setattr(Settlement, "_is_as_before", lambda *_: False)
    assert [_history(seed, **settings) for seed in range(2)] == short
    assert any(worst > 1 for _, _, worst in short) or not waits
