"""How an engine begins and ends inside somebody's program: nobody waits in vain, nothing is left behind."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.http_lab import STILL, lent, until

from fleetsync import Engine, Robot
from fleetsync.errors import ConfigError, EngineEnded, SyncTimeout
from fleetsync.journal import Notice
from fleetsync.ports import Batch
from fleetsync_adapters.memory_store import MemoryStore
from fleetsync_adapters.paper.faults import Fault, FaultOrder, Misdeed
from fleetsync_adapters.paper.orders import Ticket
from fleetsync_adapters.paper.venue import Venue

_PATIENCE_S = 30
_OFTEN = STILL.but(holding_ms=100, working_ms=100, flat_ms=100)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def told() -> None:
        async with asyncio.timeout(_PATIENCE_S):
            await story()

    asyncio.run(told())


class Broken(MemoryStore):
    """A store of which anything may come."""

    error: BaseException | None = None

    def commit(self, batch: Batch, at_ms: int) -> None:
        if self.error is not None:
            raise self.error
        super().commit(batch, at_ms)


async def _consumed(engine: Engine, numbers: list[int]) -> None:
    async for change in engine.changes():
        numbers.append(change.number)  # noqa: PERF401 - seen while it goes on


def _open(venue: Venue, engine: Engine) -> None:
    market, at_ms = venue.markets.all[0], engine.clock.now_ms()
    venue.open_by_hand(venue.books.accounts[0], Ticket(market=market, side="BUY", type="MARKET",
                                                       size=market.smallest_size(at_ms, Decimal(200))), at_ms)


def test_when_an_engine_is_stopped_whoever_reads_its_changes_comes_to_their_end() -> None:
    async def story() -> None:
        numbers: list[int] = []
        with lent() as (venue, engine, _):
            _open(venue, engine)
            async with asyncio.TaskGroup() as group, engine:
                group.create_task(_consumed(engine, numbers))
                await until(lambda: numbers, "a change")
        assert numbers[0] == 1

    run(story)


def test_a_stopped_engine_says_so_to_whoever_asks_it() -> None:
    async def story() -> None:
        with lent() as (_, engine, _):
            async with engine:
                await engine.sync("r0")
            with pytest.raises(EngineEnded, match="was stopped"):
                await engine.sync("r0")
            with pytest.raises(EngineEnded, match="was stopped"):
                engine.notify("r0", "closed")
            with pytest.raises(EngineEnded, match="was stopped"):
                await engine.changes_page(0, 1)

    run(story)


def test_who_waits_for_a_sync_when_the_engine_is_stopped_is_told_so() -> None:
    async def story() -> None:
        with lent() as (venue, engine, _):
            async with engine:
                await engine.sync("r0")
                venue.faults.order([FaultOrder(Fault(Misdeed.LOST_ANSWER), count=50)])
                waiting = asyncio.create_task(engine.sync("r0"))
                await asyncio.sleep(0)
                await engine.stop(drain_ms=50)
                with pytest.raises(EngineEnded, match="was stopped"):
                    await waiting

    run(story)


def test_a_stop_that_is_given_up_goes_on_and_the_next_one_waits_for_its_end(tmp_path: Path) -> None:
    async def story() -> None:
        path = str(tmp_path / "fleet.duckdb")
        with lent(store=path) as (_, engine, _):
            await engine.start()
            await engine.sync("r0")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await engine.stop()
            await engine.stop()
        with lent(store=path) as (_, again, _):  # would be refused where the file is still open
            async with again:
                await again.sync("r0")

    run(story)


def test_an_engine_that_cannot_be_started_leaves_its_file_to_the_next_one(tmp_path: Path) -> None:
    async def story() -> None:
        path = str(tmp_path / "fleet.duckdb")
        with lent(Robot("r0", "nobody", "BTC/USDT:USDT"), store=path) as (_, engine, _), pytest.raises(ConfigError):
            async with engine:
                raise AssertionError("it was started")
        with lent(store=path) as (_, mended, _):
            async with mended:
                await mended.sync("r0")

    run(story)


def test_whatever_a_listener_does_with_a_notice_the_engine_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    def listen(notice: Notice) -> None:
        heard.append(notice.text)
        raise RuntimeError("of the user's own")

    async def story() -> None:
        with lent(settings=_OFTEN, on_notice=listen) as (venue, engine, _):
            async with engine:
                await engine.sync("r0")
                del venue.books.by_key[venue.books.accounts[0].keys.api_key]
                engine.resume_account("a0")
                await until(lambda: any("stopped" in text for text in heard), "a notice")
                await engine.sync("r1")

    with caplog.at_level(logging.ERROR, "fleetsync"):
        run(story)
    assert "on_notice raised RuntimeError" in caplog.text
    assert "of the user's own" not in caplog.text


def test_an_engine_that_has_failed_makes_no_more_calls_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        store = Broken()
        with lent(store=store, settings=_OFTEN) as (venue, engine, _):
            await engine.start()
            await engine.sync("r0")
            reading = asyncio.create_task(_consumed(engine, []))
            store.error = ZeroDivisionError("of somebody's own store")
            with pytest.raises(ZeroDivisionError):
                await engine.failed()
            with pytest.raises(EngineEnded, match="has failed, ZeroDivisionError"):
                await engine.sync("r0")
            with pytest.raises(EngineEnded, match="has failed"):
                engine.notify("r0", "closed")
            with pytest.raises(EngineEnded, match="has failed"):
                await reading
            await until(lambda: not engine.core.in_flight, "what was out is back")
            calls = venue.ledger.total.calls
            await asyncio.sleep(0.5)  # five intervals
            assert venue.ledger.total.calls == calls
            store.error = None
            await engine.stop()
            with pytest.raises(EngineEnded, match="has failed"):
                await engine.sync("r0")

    with caplog.at_level(logging.CRITICAL, "fleetsync"):
        run(story)
    assert "makes no more calls" in caplog.text


def test_an_error_of_the_disk_is_outlived_and_a_forced_sync_says_what_holds_it_up() -> None:
    async def story() -> None:
        store = Broken()
        with lent(store=store, settings=_OFTEN) as (venue, engine, _):
            async with engine:
                await engine.sync("r0")
                store.error = OSError(28, "No space left on device")
                _open(venue, engine)
                with pytest.raises(SyncTimeout, match="the store takes no commits"):
                    await engine.sync("r0", timeout_ms=100)
                store.error = None
                await engine.sync("r0")

    run(story)
