"""The paper exchange as a process of its own: sockets open, signals end it, a ready file tells when it serves."""

import asyncio
import errno
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from fleetsync.errors import AddressInUse
from fleetsync_adapters.paper.admin import Admin, Clockwork
from fleetsync_adapters.paper.desk import Desk
from fleetsync_adapters.paper.face import Face
from fleetsync_adapters.paper.limits import LimitRules
from fleetsync_adapters.paper.venue import Venue, VenueRules

_BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Serving:
    """A paper exchange that is being served in this process."""

    venue: Venue
    desk: Desk
    clockwork: Clockwork
    host: str
    port: int

    @property
    def base_url(self) -> str:
        """Where it is reached."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def system_now_ms() -> int:
    """The system's clock."""
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def serving(
    venue: Venue, *, host: str = "127.0.0.1", port: int = 0, now_ms: Callable[[], int] = system_now_ms
) -> AsyncIterator[Serving]:
    """Serve a venue inside the caller's loop; port 0 takes a free one.

    Raises:
        AddressInUse: another program has the port.
    """
    desk = Desk(venue)
    clockwork = Clockwork(now_ms)
    face = Face(desk, clockwork.now_ms, Admin(desk, clockwork).handle)
    runner = web.ServerRunner(web.Server(face.handle, access_log=None), shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=_BACKLOG)
        try:
            await site.start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise AddressInUse(f"port {port} on {host} is taken", hint="choose another --port") from error
        yield Serving(venue, desk, clockwork, host, int(runner.addresses[0][1]))
    finally:
        await runner.cleanup()


async def serve(
    venue: Venue, *, host: str, port: int, ready: Callable[[Serving], None], stop: asyncio.Event | None = None,
    ends_with_stdin: bool = False,
) -> None:
    """Serve until SIGTERM, SIGINT or `stop`; or until the other end of a pipe at the standard input is closed.

    Raises:
        AddressInUse: another program has the port.
    """
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # no signal handlers on this platform's loop: Ctrl-C ends it the hard way
            loop.add_signal_handler(number, stop.set)
    if ends_with_stdin:  # nothing is ever written there: readable means its end
        loop.add_reader(sys.stdin.fileno(), stop.set)
    try:
        async with serving(venue, host=host, port=port) as running:
            ready(running)
            await stop.wait()
    finally:
        if ends_with_stdin:
            loop.remove_reader(sys.stdin.fileno())


def run_paper_exchange(
    host: str = "127.0.0.1",
    port: int = 18080,
    *,
    seed: int = 1,
    accounts: int = 100,
    markets: int = 600,
    weight_per_minute: int = 2400,
    unlimited: bool = False,
    ready_file: str | None = None,
    on_ready: Callable[[str], None] | None = None,
    ends_with_stdin: bool = False,
) -> None:
    """Run a paper exchange until SIGTERM or SIGINT, or (`ends_with_stdin`) whoever started it is gone; prints nothing.

    Once it serves, its base url is written to `ready_file` (whole, or not at all) and handed to `on_ready`.

    Raises:
        AddressInUse: another program has the port.
    """
    limits = LimitRules(weight_per_minute=weight_per_minute, unlimited=unlimited)
    venue = Venue(VenueRules(seed=seed, accounts=accounts, markets=markets, limits=limits))

    def ready(running: Serving) -> None:
        if ready_file is not None:
            _write_whole(Path(ready_file), running.base_url)
        if on_ready is not None:
            on_ready(running.base_url)

    asyncio.run(serve(venue, host=host, port=port, ready=ready, ends_with_stdin=ends_with_stdin))


def _write_whole(path: Path, text: str) -> None:
    """A reader finds the whole text or no file."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
