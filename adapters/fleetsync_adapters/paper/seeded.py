"""Seeded draws without state: the same words always give the same number, on every machine and in any order."""

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def draw(*words: int) -> int:
    """A well-mixed 64-bit number for these integers (SplitMix64's finisher over each word in turn)."""
    state = 0x243F6A8885A308D3
    for word in words:
        state = ((state ^ (word & _MASK)) * 0xD1342543DE82EF95 + _GOLDEN) & _MASK
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        state = mixed ^ (mixed >> 31)
    return state


def between(low: int, high: int, *words: int) -> int:
    """A number from `low` to `high`, both included."""
    return low + draw(*words) % (high - low + 1)


def chance(share: float, *words: int) -> bool:
    """True in about `share` of all words."""
    return draw(*words) < share * (_MASK + 1)
