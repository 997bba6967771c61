"""The hard situations of limits: herds, refusals, bans, and the edge of the exchange's window."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process.scene import (
    BTC,
    ETH,
    QUICK,
    SOL,
    Paper,
    now_ms,
    open_accounts,
    paper_exchange,
    robot,
    spec,
    stage,
    until,
    until_told,
)

from fleetsync import Engine, Settings
from fleetsync.model import Phase

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def paper() -> Iterator[Paper]:
    with paper_exchange(seed=8) as running:
        yield running


# -- 10: herds, refusals, bans


def test_a_whole_fleet_that_starts_at_once_is_no_herd() -> None:
    accounts = [f"a{number}" for number in range(16)]
    robots = [robot(f"{name}-{symbol[:3]}", name, symbol) for name in accounts for symbol in (BTC, ETH, SOL)]
    settings = Settings(workers=0, calls_per_minute=1_200)

    async def act(paper: Paper) -> None:
        async with stage(paper, *robots, settings=settings, overrides={}) as scene:
            counted = await scene.admin.summary()
            assert (counted["refused_429"], counted["refused_418"]) == (0, 0)
            rows = (await scene.admin.ledger())["rows"]
            # The operator's burst of scheduled and urgent work, and what its rate adds in 100 ms.
            assert max(sum(0 <= row["at_ms"] - first["at_ms"] < 100 for row in rows) for first in rows) <= 24

    with paper_exchange(unlimited=False) as limited:
        asyncio.run(act(limited))


def test_a_429_is_obeyed_by_the_whole_fleet_until_its_window_is_over(paper: Paper) -> None:
    async def act() -> None:
        async with stage(paper, robot("x", "a", BTC), robot("y", "b", ETH), settings=QUICK) as scene:
            await scene.open("y")
            await scene.misbehave("throttled", account="a", delay_ms=1_500)
            await until(lambda: any("rate_limited" in notice.text for notice in scene.notices), "the freeze")
            await until_told(lambda: calls_after(429), "a call after it")
            refused = await refusal(429)
            assert min(row["at_ms"] for row in await calls_after(429)) >= refused + 2_000 - 20  # Retry-After: 2 s
            assert (await scene.engine.sync("y")).phase is Phase.HOLDING

    async def refusal(status: int) -> int:
        return int(next(row["at_ms"] for row in await paper_rows() if row["status"] == status))

    async def calls_after(status: int) -> list[dict[str, int]]:
        """Those that were granted after it: what is under way already may still arrive."""
        rows = await paper_rows()
        last = max((row["at_ms"] for row in rows if row["status"] == status), default=None)
        under_way_ms = Settings().grant_valid_ms + Settings().network_jitter_ms
        return [row for row in rows if last is not None and row["at_ms"] > last + under_way_ms]

    async def paper_rows() -> list[dict[str, int]]:
        admin = paper.admin()
        try:
            rows: list[dict[str, int]] = (await admin.ledger(limit=100_000))["rows"]
            return rows
        finally:
            await admin.close()

    asyncio.run(act())


def test_a_ban_silences_the_fleet_also_over_a_restart(paper: Paper, tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")

    async def act() -> None:
        admin = paper.admin()
        fleet = await open_accounts(admin, ["a"])
        await admin.close()
        async with stage(paper, settings=QUICK, store=path, accounts=fleet) as scene:
            await scene.misbehave("banned", delay_ms=3_600)
            await until(lambda: any("banned" in notice.text for notice in scene.notices), "the ban")
            refused = next(row for row in await scene.calls() if row["status"] == 418)
        async with stage(paper, settings=QUICK, store=path, accounts=fleet, known=False) as scene:
            await scene.known()
            after = [row["at_ms"] for row in await scene.calls(after=refused["number"])]
            assert min(after) >= refused["at_ms"] + 4_000 - 20  # Retry-After: 4 s, whole seconds
            assert (await scene.admin.summary())["refused_418"] == 1

    asyncio.run(act())


# -- 11: the edge of the exchange's window


@pytest.mark.soak
def test_no_fixed_minute_of_the_exchange_holds_more_than_its_limit_when_the_budget_is_used_up() -> None:
    robots = [robot(f"r{number}", f"a{number % 20}", symbol) for number, symbol in enumerate([BTC, ETH, SOL] * 20)]
    settings = Settings(workers=0, calls_per_minute=60_000, holding_ms=1_000, working_ms=1_000, flat_ms=1_000)

    async def act(paper: Paper) -> None:
        async with stage(paper, *robots, settings=settings, overrides={"quotas": {"weight": {"limit": 600}}}) as scene:
            began = now_ms()
            await until_over(scene.engine, began + 135_000)
            counted = await scene.admin.summary()
            assert (counted["refused_429"], counted["refused_418"]) == (0, 0)
            assert 500 < counted["worst_minute_weight"] <= 600

    async def until_over(engine: Engine, at_ms: int) -> None:
        while now_ms() < at_ms:
            await asyncio.sleep(1)
            assert engine.status().workers_up

    with paper_exchange(unlimited=False, weight_per_minute=600) as limited:
        assert spec(limited, settings).tariff
        asyncio.run(act(limited))
