"""The robots' life in the demo: drawn by a seed, one thing at a time for each robot, as many closings as openings."""

from collections import Counter

from fleetsync_adapters.demo_schedule import BY_HAND, Deed, Step, schedule

ROBOTS = [f"r{number}" for number in range(100)]
HOLDING = ROBOTS[:20]
HOUR_MS = 3_600_000


def _life(seed: int = 1, span_ms: int = HOUR_MS) -> list[Step]:
    return schedule(ROBOTS, HOLDING, span_ms, seed)


def test_the_same_seed_gives_the_same_life_and_another_one_another() -> None:
    assert _life() == _life()
    assert _life(1) != _life(2)


def test_steps_come_in_order_within_the_span() -> None:
    steps = _life(span_ms=60_000)
    assert [step.after_ms for step in steps] == sorted(step.after_ms for step in steps)
    assert all(0 < step.after_ms < 60_000 for step in steps)
    assert 40 < len(steps) < 400


def test_a_robot_opens_only_when_it_holds_nothing_and_closes_what_it_opened() -> None:
    holding = set(HOLDING)
    rests: dict[str, bool] = {}
    for step in _life():
        if step.deed is Deed.OPEN:
            assert step.robot not in holding
            holding.add(step.robot)
        elif step.deed is Deed.CLOSE:
            holding.discard(step.robot)
        elif step.deed is Deed.REST:
            assert not rests.get(step.robot)
            assert step.reduces == (step.robot in holding)
            rests[step.robot] = True
        else:
            assert rests.pop(step.robot)
        assert 10 <= len(holding) <= 25


def test_about_one_deed_in_five_is_done_by_hand() -> None:
    by_hand = Counter(step.by_hand for step in _life())
    assert abs(by_hand[True] / by_hand.total() - BY_HAND) < 0.03


def test_a_fleet_without_holding_robots_lives_too() -> None:
    assert {step.deed for step in schedule(ROBOTS[:5], [], HOUR_MS, 3)} == {Deed.REST, Deed.CANCEL, Deed.CLOSE}
    assert schedule([], [], 1_000, 1) == []
