"""Putting an engine together: the garbage collector does not see a large fleet while its engine runs."""

import gc
from collections.abc import Iterator

import pytest

from fleetsync.assembly import keep, release


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_a_large_fleet_is_kept_out_of_the_collectors_sight_until_its_engine_ends() -> None:
    assert gc.get_freeze_count() == 0
    kept = keep(1_000_000)
    assert gc.get_freeze_count() > 0
    release(kept=kept)
    assert gc.get_freeze_count() == 0


def test_a_small_fleet_leaves_the_collector_as_its_program_has_set_it() -> None:
    gc.freeze()
    before = gc.get_freeze_count()
    release(kept=keep(100))
    assert gc.get_freeze_count() == before
