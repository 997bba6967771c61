"""A link: one end of the socket pair between the engine and a worker process."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import cast

from fleetsync.messages import Dispatch, SyncDone
from fleetsync.wire import FrameDecoder, Message, WireError, encode

log = logging.getLogger(__name__)

GATHER_S = 0.008
"""At full load frames leave this far apart, with all that came up meanwhile: a frame costs far more than a message.
Where it is quiet, a message leaves at once, and an urgent one does always, with all that waits before it."""
UNSENT_MAX = 64 * 2**20
"""Bytes that may wait for an end that does not read: more than 10,000 accounts take to be introduced."""


class Link(asyncio.Protocol):
    """One end: what is sent within a short while leaves as one frame; what arrives is handed on by the reading.

    Args:
        receive: takes the messages of a reading, in order.
        instead: what to send for a message that fits into no frame; None drops it.
        unsent_max: with more bytes than this waiting for the other end, it counts as hung and the link is cut.
    """

    def __init__(self, receive: Callable[[Sequence[Message]], None],
                 instead: Callable[[Message, WireError], Message | None], unsent_max: int = UNSENT_MAX) -> None:
        self._receive = receive
        self._instead = instead
        self._unsent_max = unsent_max
        self._loop = asyncio.get_running_loop()
        self._decoder = FrameDecoder()
        self._outbox: list[Message] = []
        self._leaving: asyncio.Handle | None = None  # the next frame ...
        self._hurries = False  # ... and whether something urgent is in it
        self._flushed_s = 0.0  # by the loop's clock
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[str] = self._loop.create_future()
        """Done when nothing more will arrive; holds what the other end did wrong, "" when it just went."""

    def send(self, message: Message) -> None:
        """Take a message for the next frame; never blocks. After the link is closed it does nothing."""
        if self._transport is None:
            return
        if isinstance(message, Dispatch | SyncDone) and message.urgent and not self._hurries:
            self._hurries = True
            self._leave(self._loop.call_soon(self._flush))
        elif self._leaving is None:
            self._leave(self._loop.call_at(self._flushed_s + GATHER_S, self._flush))  # in this turn when that is past
        self._outbox.append(message)

    def finish(self) -> None:
        """Send what is waiting, then close."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def cut(self, reason: str = "") -> None:
        """Close at once; what is waiting is lost."""
        if not self.closed.done():
            self.closed.set_result(reason)
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # by what it does: other loops' are no subclass

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        try:
            messages = self._decoder.feed(data)
        except WireError as error:
            self.cut(f"sent what cannot be read: {error}")
        else:
            if messages and not self.closed.done():
                self._receive(messages)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._transport = None
        if not self.closed.done():
            self.closed.set_result("")

    def _leave(self, handle: asyncio.Handle | None) -> None:
        """The next frame leaves by this and nothing else."""
        if self._leaving is not None:
            self._leaving.cancel()
        self._leaving = handle

    def _flush(self) -> None:
        self._leave(None)
        self._hurries = False
        waiting, self._outbox, self._flushed_s = self._outbox, [], self._loop.time()
        if not waiting or self._transport is None:
            return
        try:
            data = encode(waiting)
        except WireError:
            data = b"".join([self._encoded(message) for message in waiting])
        self._transport.write(data)
        unsent = self._transport.get_write_buffer_size()
        if unsent > self._unsent_max:
            self.cut(f"left {unsent} bytes unread")

    def _encoded(self, message: Message) -> bytes:
        try:
            return encode([message])
        except WireError as error:
            log.warning("not sent: %s", error)
            substitute = self._instead(message, error)
        try:
            return encode([substitute]) if substitute else b""
        except WireError as error:
            log.warning("nor what stands for it: %s", error)
            return b""
