"""An hour at full load with faults: memory, open files and the database level off, and nothing is lost or wrong.

`SOAK_MINUTES` says how long (60). A line of figures a minute is printed. A run of less than half an hour tries it out:
what it loses or tells wrongly is found, growth is not judged, since the database's log is not folded into it once.
"""

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.process.feed_engine import Plan
from tests.process.feed_stage import Stage
from tests.process.soak_watch import FILES_MAX, LOG_MIB, Watch

from fleetsync_adapters.paper.faults import Misdeed
from fleetsync_adapters.paper.process import PaperProcess

pytestmark = pytest.mark.process

MINUTES = float(os.environ.get("SOAK_MINUTES", "60"))
PLAN = Plan(accounts=600, robots=6_000, markets=40, workers=2, every_ms=500, settle_ms=3_000, syncs_kept=5_000)
"""Its wishes are twice the budget of 60,000 calls a minute."""
TRADED = 150
"""Robots that trade. A book remembers its last orders that ended: few books are full of them soon, and then level."""
JUDGED_MINUTES = 30
LOOK_S = 5
RARE = {Misdeed.BANNED: 2e-6, Misdeed.THROTTLED: 2e-6, Misdeed.CLOCK_SKEW: 2e-4}
"""Those that stop the whole fleet, or an account's signatures, for a while."""
SHARE = 0.002


def test_what_grows_without_end_is_told_from_what_levels_off() -> None:
    watch = Watch()
    for minute in range(60):
        for name, value in {"leak memory": 100 + 2 * minute, "steady memory": 100 + min(minute, 15) + minute % 3,
                            "hidden memory": 400 + minute * 2, "leak files": 30 + minute // 2,
                            "steady files": 11 + minute % 4 * (minute + 40),
                            "hidden files": 11 + minute // 3 + minute % 4 * 80}.items():
            watch._add(name, "files" if "files" in name else "MiB", value)
    told = " ".join(watch.grown(("leak", "steady", "hidden")))
    assert "steady" not in told
    for leak in ("leak memory", "hidden memory", "leak files", "hidden files"):
        assert leak in told


@pytest.mark.parametrize(("name", "most"), [("log", LOG_MIB), ("worker files", FILES_MAX)])
def test_what_has_a_most_is_told_when_it_was_above_it_once(name: str, most: int) -> None:
    for highest, told in ((most, []), (most + 1, [name])):
        watch = Watch()
        for value in (5, highest, 5, 5, 5, 5):
            watch._add(name, "files" if "files" in name else "MiB", value)
        assert [one.partition(":")[0] for one in watch.grown(("worker",))] == told


@pytest.mark.soak
def test_an_hour_at_full_load_with_faults_levels_off_and_loses_nothing(tmp_path: Path) -> None:
    stage, watch = asyncio.run(_soak(tmp_path))
    stage.check_feed()
    grown = watch.grown(("engine without database", "engine files", "worker", "database without changes"))
    print("\n".join(grown) or "all levelled off")
    assert not grown or MINUTES < JUDGED_MINUTES


async def _soak(folder: Path) -> tuple[Stage, Watch]:
    seed = int(os.environ.get("SOAK_SEED", str(time.time_ns() % 1_000_000)))
    print(f"\nseed {seed}, {MINUTES} minutes, {PLAN}", flush=True)
    async with (PaperProcess(seed=seed, accounts=PLAN.accounts, markets=PLAN.markets, unlimited=True) as paper,
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session):
        stage = Stage(str(folder / "soak.duckdb"), paper, session, random.Random(seed), PLAN, announced_share=0.01,
                      post_pause_s=0.1, traded=TRADED, errors=folder / "errors.txt")
        process, work, watch = stage.spawn(), [], Watch()
        try:
            await stage.ready(process)
            await stage.all_up()
            work += [asyncio.create_task(job) for job in (stage.post(), stage.consume(), stage.trade())]
            trouble = asyncio.create_task(_trouble(stage))
            await _watch(stage, process.pid, watch, [*work, trouble])
            trouble.cancel()
            await asyncio.gather(trouble, return_exceptions=True)
            await paper.admin.behave()
            await stage.come_to_rest(work)
            await stage.stop(process)
            stage.check_state(await paper.admin.books())
        except BaseException:
            print((folder / "errors.txt").read_text()[-5_000:], flush=True)
            raise
        finally:
            process.kill()
            process.wait()
            for job in work:
                job.cancel()
            await asyncio.gather(*work, return_exceptions=True)
    return stage, watch


async def _watch(stage: Stage, parent: int, watch: Watch, work: "list[asyncio.Task[Any]]") -> None:
    """Measure until the time is over; worker 0 is left alone by the trouble, so that its memory tells something."""
    steps, a_minute = round(MINUTES * 60 / LOOK_S), 60 // LOOK_S
    for step in range(1, steps + 1):
        await asyncio.sleep(LOOK_S)
        assert not any(job.done() for job in work), [job for job in work if job.done()]
        status = await stage.status()
        pids = {"engine": parent, "worker": status["crew"][0]["pid"], "exchange": stage.paper.pid}
        watch.look(pids, stage.db, status["last_change"])
        if step % a_minute == 0:
            print(f"{watch.line()}; {status['calls_last_minute']:,} calls a minute, {status['last_change']:,} changes, "
                  f"{stage.accepted_hints:,} hints, {status['events_pending']} pending, faults {status['faults']}",
                  flush=True)


async def _trouble(stage: Stage) -> None:
    """Every minute other faults at other rates, then quiet; and worker 1 or the whole exchange is hurt."""
    minute = 0
    while True:
        minute += 1
        shares = {kind.value: stage.rng.uniform(0, RARE.get(kind, SHARE)) for kind in Misdeed}
        await stage.paper.admin.misbehave_by_seed(minute, shares, delay_ms=[20, 1_500], latency_ms=[0, 10], rows=1)
        await asyncio.sleep(10 + 20 * stage.rng.random())
        crew = (await stage.status())["crew"]
        match minute % 4, crew[1]["pid"]:
            case 0, _:  # a while in which it accepts connections and answers nothing
                await _stand_still(stage.paper.pid, 5)
            case 1, pid if pid:
                os.kill(pid, signal.SIGKILL)
            case 2, pid if pid:
                await _stand_still(pid, 20)
        await asyncio.sleep(5 + 5 * stage.rng.random())
        await stage.paper.admin.behave()
        await asyncio.sleep(10)


async def _stand_still(pid: int, span_s: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(span_s)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
