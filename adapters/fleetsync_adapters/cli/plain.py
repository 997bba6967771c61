"""A run in plain lines, for logs and programs: notices at once, the engine's one line now and then."""

import asyncio
import sys
from typing import TextIO

from fleetsync.engine import Engine
from fleetsync.journal import Notice
from fleetsync_adapters.cli.feed import Feed

STATUS_EVERY_S = 5


class PlainFace:
    """Writes lines to a stream."""

    def __init__(self, out: TextIO | None = None) -> None:
        """Write to `out`, the standard error stream by default."""
        self._out = out or sys.stderr
        self._telling: asyncio.Task[None] | None = None

    def say(self, text: str) -> None:
        """One line."""
        self._out.write(f"{text}\n")
        self._out.flush()

    def notice(self, notice: Notice) -> None:
        """One line with its level."""
        self.say(f"{notice.level}: {notice.text}")

    def begin(self, engine: Engine, _feed: Feed) -> None:
        """Tell the engine's state from now on."""
        self._telling = asyncio.create_task(self._tell(engine), name="cli-status")

    def end(self) -> None:
        """Tell no more."""
        if self._telling is not None:
            self._telling.cancel()

    async def _tell(self, engine: Engine) -> None:
        while True:
            await asyncio.sleep(STATUS_EVERY_S)
            self.say(str(engine.status()))
