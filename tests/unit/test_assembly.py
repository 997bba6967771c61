"""What an engine is put together from, as far as it is decided there."""

from fleetsync.assembly import recent_changes
from fleetsync.book import MEMORY_MS
from fleetsync.model import Change
from fleetsync.ports import Batch
from fleetsync_adapters.memory_store import MemoryStore

_NOW_MS = 1_790_000_000_000


def _store(seen_at_ms: list[int], waiting_since_ms: int | None = None) -> MemoryStore:
    store = MemoryStore()
    changes = [Change(number, "a", "BTC/USDT:USDT", ("r",), "order_ended", f"order:{number}", "external", None, None,
                      {}, at_ms, at_ms) for number, at_ms in enumerate(seen_at_ms, 1)]
    waiting = {"id": 1, "robot": "r", "kind": "manual", "at_ms": waiting_since_ms}
    store.commit(Batch(changes=changes, events={} if waiting_since_ms is None else {1: waiting}), _NOW_MS)
    return store


def _looked_back(store: MemoryStore) -> list[int]:
    return [change.number for change in recent_changes(store, store.load(), _NOW_MS)]


def test_nothing_was_told_and_a_little_is_looked_at_whole() -> None:
    assert _looked_back(_store([])) == []
    assert _looked_back(_store([_NOW_MS - 10 * MEMORY_MS] * 3)) == [1, 2, 3]


def test_a_page_that_reaches_back_beyond_what_is_remembered_is_enough() -> None:
    old, young = [_NOW_MS - 2 * MEMORY_MS] * 4_000, [_NOW_MS - 1_000] * 5_000
    assert _looked_back(_store(old + young)) == list(range(3_001, 9_001))


def test_what_was_told_while_an_event_waited_is_looked_back_on_however_much_came_after() -> None:
    told = [_NOW_MS - 3 * 3_600_000] + [_NOW_MS - 3_600_000] * 9_000
    assert 1 not in _looked_back(_store(told))
    assert 1 in _looked_back(_store(told, waiting_since_ms=_NOW_MS - 2 * 3_600_000))
