"""A run in plain lines, for logs and programs: notices at once, the engine's one line now and then."""

import asyncio
import io
import sys
from contextlib import suppress
from typing import TextIO

from fleetsync.engine import Engine
from fleetsync.journal import Notice
from fleetsync_adapters.cli.feed import Feed

STATUS_EVERY_S = 5


class PlainFace:
    """Writes lines to a stream."""

    def __init__(self, out: TextIO | None = None) -> None:
        """Write to `out`, the standard error stream by default."""
        self._out: TextIO = out or sys.stderr or io.StringIO()  # there is none after `2>&-`
        self._telling: asyncio.Task[None] | None = None

    def say(self, text: str) -> None:
        """One line. A stream that takes none (its disk is full, its reader has gone) is no reason to end."""
        with suppress(OSError, ValueError):
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

    def let_go(self) -> None:
        """Nothing has to be put right."""

    async def _tell(self, engine: Engine) -> None:
        while True:
            await asyncio.sleep(STATUS_EVERY_S)
            self.say(str(engine.status()))
