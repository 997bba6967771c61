"""Peers that break the rules of a network: nothing wrong is told, nothing piles up, and all is well when it is over."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.process import cli_support
from tests.process.crew_support import open_files
from tests.process.rough_road import Way, road_to
from tests.process.scene import QUICK, Paper, paper_exchange, stage, until
from tests.process.small_room import no_files

from fleetsync.model import Certainty, Phase
from fleetsync_adapters.paper.process import PaperAdmin

pytestmark = pytest.mark.process
TRIES = 3


@pytest.fixture(scope="module")
def paper() -> Iterator[Paper]:
    with paper_exchange(seed=11) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Beyond(Paper):
    """The exchange as it is reached over the road; its admin is reached without it."""

    direct: str = ""

    def admin(self) -> PaperAdmin:
        return PaperAdmin(self.direct)


@pytest.mark.parametrize("way", [way for way in Way if way is not Way.CLEAR])
def test_a_broken_road_closes_no_position_and_fills_no_memory_and_is_caught_up_with(paper: Paper, way: Way) -> None:
    async def act() -> None:
        async with (road_to(paper.base_url) as road,
                    stage(Beyond(road.base_url, paper.markets, paper.base_url), settings=QUICK) as scene):
            await scene.open_and_see()
            files = open_files()
            await road.set(way)
            failed = scene.engine.status().faults.get("network", 0)
            await until(lambda: scene.engine.status().faults.get("network", 0) >= failed + TRIES, "several failures")
            assert "network" in scene.engine.status().failing_accounts["a"]
            assert road.met >= TRIES or way is Way.CLOSED
            await scene.close()
            assert scene.state().phase is Phase.HOLDING
            assert scene.state().certainty is Certainty.AGREED
            assert await scene.kinds() == ["position_opened"]
            assert open_files() < files + 20
            await road.set(Way.CLEAR)
            await scene.change("position_closed")
            await until(lambda: not scene.engine.status().failing_accounts, "the account's recovery")
            told = [kind for kind in await scene.kinds() if kind.startswith("position")]
            assert told == ["position_opened", "position_closed"]

    asyncio.run(act())


def test_processes_without_descriptors_say_so_and_go_on_when_there_are_some_again(tmp_path: Path) -> None:
    with cli_support.paper_exchange() as exchange:
        main = exchange.account()
        exchange.ask("open_position", main.id, cli_support.BTC, "buy")
        fleet = cli_support.fleet_file(tmp_path, exchange.base_url, {"r1": cli_support.BTC})
        order = ("run", str(fleet), "--json", "--db", "state.duckdb")
        with cli_support.started(tmp_path, *order, **main.variables) as run:
            engine = run.engine(tmp_path / "state.duckdb")
            cli_support.until(lambda: len(engine.changes()) == 1, "the position")
            crew = [row["pid"] for row in engine.status()["crew"]]
            with no_files([run.process.pid, *crew]):
                exchange.ask("misbehave", "reset", count=2)  # they need new connections
                cli_support.until(lambda: [line for line in run.errors if "account main: network" in line],
                                  "a worker that says that it cannot connect")
                exchange.ask("close_position", main.id, cli_support.BTC)
                victim = next(pid for pid in crew if pid)
                os.kill(victim, signal.SIGKILL)
                cli_support.until(lambda: [line for line in run.errors if "Too many open files" in line],
                                  "the engine says why it cannot start a worker")
                assert run.process.poll() is None
            cli_support.until(lambda: engine.status()["workers_up"] == 2, "a worker in its place")
            cli_support.until(lambda: engine.robot("r1")["phase"] == "flat", "the close is seen")
            told = engine.changes()
            assert [change["number"] for change in told] == list(range(1, len(told) + 1))
            run.process.send_signal(signal.SIGTERM)
            assert run.result()["mismatches"] == 0
