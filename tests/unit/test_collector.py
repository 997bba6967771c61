"""The garbage collector is kept away from what stays, and from nothing else."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from fleetsync import collector


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


class Ring:
    """Refers to itself."""

    def __init__(self) -> None:
        self.ring = self


def test_a_large_fleet_is_out_of_the_collectors_sight_until_its_engine_ends() -> None:
    assert gc.get_freeze_count() == 0
    kept = collector.keep_large(1_000_000)
    assert gc.get_freeze_count() > 0
    collector.release(kept=kept)
    assert gc.get_freeze_count() == 0


def test_a_small_fleet_leaves_the_collector_as_its_program_has_set_it() -> None:
    gc.freeze()
    before = gc.get_freeze_count()
    collector.release(kept=collector.keep_large(100))
    assert gc.get_freeze_count() == before


def test_beside_a_large_fleet_young_objects_are_looked_at_less_often_until_the_last_engine_has_ended() -> None:
    gc.set_threshold(700, 10, 10)
    first, second = collector.keep_large(1_000_000), collector.keep_large(1_000_000)
    assert gc.get_threshold() == (10_000, 10, 10)
    collector.release(kept=first)
    assert gc.get_threshold() == (10_000, 10, 10)
    collector.release(kept=second)
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("chosen", [0, 50_000])
def test_a_program_that_never_collects_or_less_often_is_left_as_it_is(chosen: int) -> None:
    gc.set_threshold(chosen, 10, 10)
    kept = collector.keep_large(1_000_000)
    assert gc.get_threshold() == (chosen, 10, 10)
    collector.release(kept=kept)
    assert gc.get_threshold() == (chosen, 10, 10)


def test_what_a_program_chooses_while_an_engine_runs_stays() -> None:
    gc.set_threshold(700, 10, 10)
    kept = collector.keep_large(1_000_000)
    gc.set_threshold(2_000, 10, 10)
    collector.release(kept=kept)
    assert gc.get_threshold() == (2_000, 10, 10)


def test_markets_that_are_loaded_again_do_not_stay_twice() -> None:
    first = weakref.ref(Ring())
    collector.keep()
    assert first() is None  # garbage is not kept
    ring: Ring | None = Ring()
    second = weakref.ref(ring)
    collector.keep()
    ring = None
    collector.keep()
    assert second() is None  # nor what has become garbage since


def test_a_worker_looks_at_what_has_lived_for_long_only_when_it_is_told_to() -> None:
    collector.seldom()
    old = Ring()
    gc.collect()  # it has lived for long
    reference = weakref.ref(old)
    del old
    seen = [dict(row) for row in gc.get_stats()]
    while gc.get_stats()[1]["collections"] < seen[1]["collections"] + 3:
        _ = [Ring() for _ in range(10_000)]
    assert gc.get_stats()[2]["collections"] == seen[2]["collections"]
    assert reference() is not None
    collector.collect()
    assert reference() is None
