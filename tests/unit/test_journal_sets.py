"""Sets of slots that held the whole fleet once give their memory back."""

from fleetsync.fleet import lean


def test_a_set_that_held_the_fleet_once_is_made_anew_at_its_size() -> None:
    slots = set(range(100_000))
    full = slots.__sizeof__()
    slots -= set(range(10, 100_000))
    made = lean(slots)
    assert made == set(range(10))
    assert made.__sizeof__() * 100 < full


def test_a_set_of_its_size_stays_the_same_one() -> None:
    for count in (0, 1, 100, 100_000):
        slots = set(range(count))
        assert lean(slots) is slots
