"""kill -9 and SIGSTOP of engine and workers while events come in and the feed is read: nothing is lost or doubled."""

import asyncio
import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from tests.process.crew_support import is_running
from tests.process.feed_engine import Plan
from tests.process.feed_stage import Stage, until

from fleetsync_adapters.paper.process import PaperProcess

pytestmark = pytest.mark.process

ENGINE_KILLS, WORKER_KILLS, FREEZES, SEED = 8, 14, 2, 3
PLAN = Plan(workers=2, silence_ms=1_500)


def test_kill_9_loses_no_accepted_event_and_leaves_no_gap_and_no_repeat_in_the_feed(tmp_path: Path) -> None:
    stage = asyncio.run(_killed_again_and_again(str(tmp_path / "feed.duckdb")))
    stage.check_feed()
    assert len(stage.seen) > 10 * (ENGINE_KILLS + WORKER_KILLS)
    assert stage.accepted_hints > 20 * ENGINE_KILLS
    assert len(stage.accepted) > 5 * ENGINE_KILLS


async def _killed_again_and_again(db: str) -> Stage:
    async with (PaperProcess(seed=SEED, accounts=PLAN.accounts, markets=PLAN.markets, unlimited=True) as paper,
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session):
        stage = Stage(db, paper, session, random.Random(SEED), PLAN)
        process, work, frozen = stage.spawn(), [], set[int]()
        try:
            await stage.ready(process)
            work += [asyncio.create_task(job) for job in (stage.post(), stage.consume(), stage.trade())]
            victims = ["engine"] * ENGINE_KILLS + ["worker"] * WORKER_KILLS + ["frozen worker"] * FREEZES
            stage.rng.shuffle(victims)
            for victim in victims:
                # The random moment; nothing is waited for.
                await asyncio.sleep(stage.rng.random() * 0.8)
                assert not any(job.done() for job in work), [job for job in work if job.done()]
                if victim != "engine":
                    frozen |= await _hurt_a_worker(stage, signal.SIGKILL if victim == "worker" else signal.SIGSTOP)
                    continue
                process.kill()
                process.wait()
                process = stage.spawn()
                if stage.rng.random() < 0.2:  # now and then a kill comes before the engine is up
                    await asyncio.sleep(stage.rng.random())
                    process.kill()
                    process.wait()
                    process = stage.spawn()
                await stage.ready(process)
            await stage.come_to_rest(work)
            await stage.stop(process)
            stage.check_state(await paper.admin.books())
            await until(lambda: not any(map(is_running, _thawed(frozen))), lambda: f"the end of {frozen}")
        finally:
            process.kill()
            process.wait()
            for job in work:
                job.cancel()
            await asyncio.gather(*work, return_exceptions=True)
    return stage


async def _hurt_a_worker(stage: Stage, by: signal.Signals) -> set[int]:
    """Whichever is there; none may be, when the last ones were killed a moment ago. Gives those that are frozen."""
    crew = [row["pid"] for row in (await stage.status())["crew"] if row["pid"]]
    if not crew:
        return set()
    victim = stage.rng.choice(crew)
    with suppress(ProcessLookupError):
        os.kill(victim, by)
    return {victim} if by is signal.SIGSTOP else set()


def _thawed(frozen: set[int]) -> set[int]:
    """Workers that were frozen when their engine was killed can end only when they move again."""
    for pid in frozen:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    return frozen
