"""The due heap against a plain dictionary that is searched from end to end."""

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fleetsync.heap import DueHeap

_BASE_MS = 1_700_000_000_000
_SLOTS = st.integers(0, 30)
_INSTANTS = st.integers(-50, 200)


class HeapBesideADictionary(RuleBasedStateMachine):
    """Every operation on both; they never tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.heap = DueHeap(_BASE_MS)
        self.model: dict[int, int] = {}

    @rule(slot=_SLOTS, after_ms=_INSTANTS)
    def put(self, slot: int, after_ms: int) -> None:
        self.heap.put(slot, _BASE_MS + after_ms)
        self.model[slot] = _BASE_MS + max(after_ms, 0)  # what lies before the base is due at the base

    @rule(slot=_SLOTS, after_ms=_INSTANTS)
    def put_sooner(self, slot: int, after_ms: int) -> None:
        self.heap.put_sooner(slot, _BASE_MS + after_ms)
        at_ms = _BASE_MS + max(after_ms, 0)
        self.model[slot] = min(self.model.get(slot, at_ms), at_ms)

    @rule(slot=st.integers(0, 60))
    def remove(self, slot: int) -> None:
        self.heap.remove(slot)
        self.model.pop(slot, None)

    @rule(after_ms=_INSTANTS)
    def pop_due(self, after_ms: int) -> None:
        due = sorted((at_ms, slot) for slot, at_ms in self.model.items() if at_ms <= _BASE_MS + after_ms)
        slot = self.heap.pop_due(_BASE_MS + after_ms)
        assert slot == (due[0][1] if due else -1)
        self.model.pop(slot, None)

    @invariant()
    def the_same_is_known(self) -> None:
        assert len(self.heap) == len(self.model)
        assert self.heap.next_due_at_ms() == min(self.model.values(), default=None)
        for slot in range(62):
            assert self.heap.due_at_ms(slot) == self.model.get(slot)
            assert (slot in self.heap) is (slot in self.model)


HeapBesideADictionary.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestTheHeapAndADictionaryNeverTellApart = HeapBesideADictionary.TestCase


def test_slots_of_one_instant_come_in_the_order_of_their_numbers_however_they_were_put() -> None:
    for seed in range(20):
        slots = list(range(200))
        Random(seed).shuffle(slots)
        heap = DueHeap()
        for slot in slots:
            heap.put(slot, 5)
        assert [heap.pop_due(5) for _ in range(201)] == [*range(200), -1]


@pytest.mark.parametrize("live", [1, 500, 5_000])
def test_memory_stays_bounded_by_what_is_live_however_often_slots_move(live: int) -> None:
    heap, rng = DueHeap(), Random(live)
    for slot in range(live):
        heap.put(slot, slot)
    for _ in range(20_000):
        heap.put(rng.randrange(live), rng.randrange(1_000_000))
        assert heap.size <= 2 * live + 1_000
    assert len(heap) == live


def test_after_pruning_the_order_is_still_the_order() -> None:
    heap, rng, model = DueHeap(), Random(1), dict[int, int]()
    for _ in range(10_000):
        slot, at_ms = rng.randrange(300), rng.randrange(10_000)
        heap.put(slot, at_ms)
        model[slot] = at_ms
    assert [heap.pop_due(10_000) for _ in range(300)] == [s for _, s in sorted((at, s) for s, at in model.items())]


def test_nothing_is_due_before_its_instant_and_everything_at_it() -> None:
    heap = DueHeap(_BASE_MS)
    heap.put(3, _BASE_MS + 100)
    assert heap.pop_due(_BASE_MS + 99) == -1
    assert heap.pop_due(_BASE_MS + 100) == 3


def test_two_years_and_the_last_slot_fit_an_entry() -> None:
    heap, slot, at_ms = DueHeap(_BASE_MS), (1 << 16) - 1, _BASE_MS + 2 * 365 * 86_400_000
    heap.put(slot, at_ms)
    assert heap.next_due_at_ms() == at_ms
    assert heap.pop_due(at_ms) == slot


def test_what_lies_absurdly_far_away_waits_at_the_furthest_instant_and_can_be_moved() -> None:
    heap = DueHeap(_BASE_MS)
    heap.put(1, 10**30)
    heap.put(0, _BASE_MS + 5)
    assert heap.due_at_ms(1) == _BASE_MS + (1 << 39) - 1
    assert heap.take_due(_BASE_MS + 10) == [0]
    heap.put_sooner(1, _BASE_MS + 7)
    assert heap.take_due(_BASE_MS + 10) == [1]
