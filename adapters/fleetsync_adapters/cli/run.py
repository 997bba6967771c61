"""`fleetsync run`: put an engine together, keep it running, end it in order, and say what it did."""

import asyncio
import signal
import socket
import tempfile
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fleetsync.config import Settings
from fleetsync.engine import Engine
from fleetsync.journal import Notice
from fleetsync.units import MINUTE_MS, ms_from_s, s_from_ms
from fleetsync_adapters.cli.assembly import Assembly
from fleetsync_adapters.cli.entry import end_at_once
from fleetsync_adapters.cli.feed import Feed
from fleetsync_adapters.cli.http_side import HttpSide
from fleetsync_adapters.cli.serving import Serving
from fleetsync_adapters.cli.summary import Result
from fleetsync_adapters.cli.witness import Witness, find_witness
from fleetsync_adapters.demo import Demo, DemoSize
from fleetsync_adapters.duckdb_store import DuckDBStore
from fleetsync_adapters.http_api.listening import listen
from fleetsync_adapters.paper.process import PaperFailed

DEMO_S = 60
_LAST_SYNC_MS = 2 * MINUTE_MS
_HASTY_MS = 1_000  # what is left for the last sync once somebody has pressed Ctrl-C ...
_HASTY_DRAIN_MS = 1_200  # ... and for the calls in flight: with the rest, less than 3 s
_ONE_SIGNAL_S = 0.1  # who ends a whole group of processes may signal one of them twice; no finger is that fast
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What was asked for on the command line."""

    assembly: Assembly | None = None  # None: the demo
    span_s: float | None = None  # None: until Ctrl-C; the demo ends by itself
    db: str | None = None
    settings: Mapping[str, int] = field(default_factory=dict)  # the demo's, where options give them
    size: DemoSize = field(default_factory=DemoSize)
    http: HttpSide | None = None  # for others


class Face(Protocol):
    """What shows a run while it goes on."""

    def say(self, text: str) -> None:
        """One line of progress."""

    def notice(self, notice: Notice) -> None:
        """Something people should know."""

    def begin(self, engine: Engine, feed: Feed) -> None:
        """The engine runs."""

    def end(self) -> None:
        """It does not any more."""

    def let_go(self) -> None:
        """The process ends here and now: leave the terminal in order."""


class Interrupted(Exception):
    """Ctrl-C came before there was anything to end in order."""


class Stop:
    """Ctrl-C and SIGTERM: the first asks for an end, the second is one."""

    def __init__(self, face: Face) -> None:
        self.asked = asyncio.Event()
        self.child_pids: list[int] = []
        self._face = face
        self._asked_at_s = 0.0

    def install(self) -> None:
        """Take the signals over."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # no signal handlers on this platform's loop
                loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if not self.asked.is_set():
            self._asked_at_s = now_s
            self.asked.set()
        elif now_s - self._asked_at_s >= _ONE_SIGNAL_S:
            with suppress(Exception):
                self._face.let_go()
            end_at_once(*self.child_pids)

    async def unless_asked(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something that may be given up.

        Raises:
            Interrupted: it was.
        """
        task, asked = asyncio.ensure_future(work), asyncio.ensure_future(self.asked.wait())
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Interrupted
        finally:
            for one in (task, asked):
                one.cancel()
            await asyncio.gather(task, asked, return_exceptions=True)


async def run(order: RunOrder, face: Face) -> Result | None:
    """Run until the time is over or somebody ends it; None when that was before it began.

    Raises:
        FleetsyncError: it could not be started, or could not go on.
    """
    stop = Stop(face)
    stop.install()
    try:
        async with AsyncExitStack() as stack:
            return await _Run(order, face, stop, stack).through()
    except Interrupted:
        return None


class _Run:
    """One run, from its parts to its result."""

    def __init__(self, order: RunOrder, face: Face, stop: Stop, stack: AsyncExitStack) -> None:
        self._order = order
        self._face = face
        self._stop = stop
        self._stack = stack
        self._feed = Feed()
        self._demo: Demo | None = None

    async def through(self) -> Result:
        listener = await self._listening()
        assembly, store = await self._assemble()
        engine = Engine(assembly.accounts, assembly.robots, settings=assembly.settings, exchanges=assembly.exchanges,
                        egress_proxies=assembly.proxies, store=store, on_notice=self._noticed)
        witness = await self._stop.unless_asked(find_witness(assembly))
        if witness is not None:
            self._stack.push_async_callback(witness.close)
        serving = Serving(engine, assembly.db_path, self._order.http, listener)
        await self._stop.unless_asked(engine.start())
        self._stack.push_async_callback(self._end, engine)
        self._stack.push_async_callback(serving.stop)
        await serving.start()
        if serving.public is not None:
            self._face.say(f"the HTTP interface is at {serving.public.url}")
        started_ms = engine.clock.now_ms()
        self._feed.after = engine.core.journal.last_change
        following = asyncio.create_task(self._feed.follow(engine), name="cli-feed")
        self._stack.push_async_callback(_cancelled, following)
        self._face.begin(engine, self._feed)
        self._stack.callback(self._face.end)
        await self._live(engine)
        status = engine.status()
        ages_ms = {phase: ages.summary() for phase, ages in engine.ages.by_phase.items()}
        urgent_ms = engine.ages.urgent.summary()
        kept_in_sync = status.calls * MINUTE_MS / max(status.at_ms - started_ms, 1)
        (mismatches, compared), _ = await asyncio.gather(self._compare(engine, assembly, witness), serving.stop())
        await _cancelled(following)
        await self._feed.catch_up(engine)
        await self._end(engine)
        ended_ms = engine.clock.now_ms()
        meter = engine.core.journal.meter  # calls that were in flight have been counted meanwhile
        status.calls, status.worst_minute_calls = meter.calls, meter.worst_minute
        status.syncs, status.changes = engine.core.journal.syncs, engine.core.journal.changes
        return Result(
            seconds=s_from_ms(ended_ms - started_ms), status=status, db_path=assembly.db_path,
            ages_ms=ages_ms, urgent_ms=urgent_ms, by_kind=dict(self._feed.by_kind),
            by_cause=dict(self._feed.by_cause), mismatches=mismatches, compared=compared,
            exchange=await _seen_by(witness), driven=self._demo.driven if self._demo else None,
            kept_in_sync_per_minute=kept_in_sync,
            holding=len(self._demo.holding) if self._demo else status.phases["holding"] + status.phases["working"],
        )

    # -- the parts

    async def _listening(self) -> socket.socket | None:
        """The socket for others: a port that is taken is told before anything is started."""
        public = self._order.http
        if public is None:
            return None
        listener = await listen(public.host, public.port)
        self._stack.callback(listener.close)
        return listener

    async def _assemble(self) -> tuple[Assembly, DuckDBStore]:
        """The parts, with the database open: a file in use is told before anything is started."""
        order = self._order
        if order.assembly is not None:
            return order.assembly, self._opened(order.assembly.db_path)
        demo = Demo(order.size)
        db_path = order.db or str(Path(tempfile.mkdtemp(prefix="fleetsync-demo-")) / "demo.duckdb")
        store = self._opened(db_path)
        self._face.say(f"demo: {order.size.robots} robots on {order.size.accounts} accounts of a paper exchange; "
                       f"their state is kept in {db_path}")
        settings = Settings().but(**order.settings)
        self._demo = await self._stop.unless_asked(self._stack.enter_async_context(demo))
        self._stop.child_pids.append(demo.paper.pid)
        self._face.say(f"the paper exchange serves at {demo.paper.base_url}")
        return Assembly(settings, tuple(demo.accounts), tuple(demo.robots), {demo.spec.exchange: demo.spec},
                        db_path), store

    def _opened(self, db_path: str) -> DuckDBStore:
        store = DuckDBStore(db_path)
        self._stack.callback(store.close)
        return store

    def _noticed(self, notice: Notice) -> None:
        self._feed.notices.append(notice)
        self._face.notice(notice)

    # -- its life and end

    async def _live(self, engine: Engine) -> None:
        """Until the time is over, somebody ends it, or the engine cannot go on."""
        span_s = self._order.span_s or (DEMO_S if self._demo else None)
        if self._demo is not None:
            self._demo.live(engine, ms_from_s(span_s) if span_s else None)
        with suppress(TimeoutError, Interrupted):
            async with asyncio.timeout(span_s):
                await self._stop.unless_asked(engine.failed())
        if self._demo is not None:
            await self._demo.rest()

    async def _compare(self, engine: Engine, assembly: Assembly, witness: Witness | None) -> tuple[int | None, str]:
        """The last quiet sync, and how many robots differ from the exchange's books; or why that is not known."""
        if witness is None:
            return None, ""
        if not self._stop.asked.is_set():
            self._face.say("a last sync of all robots")
        comparing = asyncio.ensure_future(witness.mismatches(engine, assembly.robots, timeout_ms=_LAST_SYNC_MS))
        asked = asyncio.ensure_future(self._stop.asked.wait())
        await asyncio.wait({comparing, asked}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({comparing}, timeout=s_from_ms(_HASTY_MS))
        try:
            if not comparing.done():
                return None, "it was ended before every robot could be read once more"
            differ = comparing.result()
        except PaperFailed as error:
            return None, error.message
        else:
            return differ, "" if differ is not None else "not every robot could be read once more"
        finally:
            await _cancelled(comparing)
            await _cancelled(asked)

    async def _end(self, engine: Engine) -> None:
        if self._stop.asked.is_set():
            await engine.stop(drain_ms=_HASTY_DRAIN_MS)
        else:
            await engine.stop()


async def _seen_by(witness: Witness | None) -> Mapping[str, int] | None:
    """The exchange's own ledger."""
    if witness is None:
        return None
    try:
        return await witness.ledger()
    except PaperFailed:
        return None


async def _cancelled(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
