"""What a run has seen so far, kept for people: committed changes, counted, and the last notices."""

import asyncio
from collections import Counter, deque

from fleetsync.engine import Engine
from fleetsync.journal import Notice
from fleetsync.model import Change

_PAGE = 500
_KEPT = 200


class Feed:
    """Follows the committed changes of one run."""

    def __init__(self) -> None:
        self.by_kind: Counter[str] = Counter()
        self.by_cause: Counter[str] = Counter()
        self.last: deque[Change] = deque(maxlen=_KEPT)
        self.notices: deque[Notice] = deque(maxlen=_KEPT)
        self.after = 0  # the number of the last change that was counted

    async def follow(self, engine: Engine) -> None:
        """Count changes as they are committed, for ever."""
        async for change in engine.changes(self.after):
            self._count(change)

    async def catch_up(self, engine: Engine) -> None:
        """Count what was committed since; to be called once `follow` has ended."""
        while page := await engine.changes_page(self.after, _PAGE):
            for change in page:
                self._count(change)
            await asyncio.sleep(0)

    def _count(self, change: Change) -> None:
        self.after = change.number
        self.by_kind[change.kind] += 1
        self.by_cause[change.cause] += 1
        self.last.append(change)
