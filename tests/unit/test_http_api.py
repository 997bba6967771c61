"""The HTTP side: what it shows to people and programs, its snapshots and its ends."""

import asyncio
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.http_lab import STILL, TOKEN, Lab, lab, served, until

from fleetsync_adapters.duckdb_store import DuckDBStore

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"


# -- for people and programs

def test_the_metrics_are_valid_and_name_no_robot_and_no_account() -> None:
    async def test(made: Lab) -> None:
        await made.flip("r0", 2)
        text = (await made.ask("GET", "/metrics")).content.decode()
        families = {family.name: family for family in text_string_to_metric_families(text)}
        phases = {sample.labels["phase"]: sample.value for sample in families["fleetsync_robots"].samples}
        assert sum(phases.values()) == 4
        (calls,) = families["fleetsync_calls"].samples
        assert calls.value == made.engine.core.journal.meter.calls
        labels = {value for family in families.values() for sample in family.samples
                  for value in sample.labels.values()}
        assert not labels & {"r0", "r1", "r2", "r3", "a0", "a1"}

    served(test)


def test_the_status_holds_the_engines_line_and_counts() -> None:
    async def test(made: Lab) -> None:
        status = await made.get("/v1/status")
        assert status["robots"] == 4
        assert status["line"].startswith("<Engine robots=4")
        assert (await made.get("/healthz"))["started_at_ms"] == status["started_at_ms"]

    served(test)


class _Loads(HTMLParser):
    """What a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{tag} {name}={value}" for name, value in attrs
                       if tag in {"script", "link", "img", "iframe"} or name == "src" or (value or "").startswith("//")]


def test_the_page_of_the_schema_names_every_route_and_loads_nothing() -> None:
    async def test(made: Lab) -> None:
        page = await made.ask("GET", "/docs")
        assert page.status == 200
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        text = page.content.decode()
        schema = await made.get("/openapi.json")
        assert len(schema["paths"]) >= 12
        for path in schema["paths"]:
            assert path in text
        parser = _Loads()
        parser.feed(text)
        assert parser.loads == []

    served(test)


def test_the_schema_describes_every_route_that_is_served() -> None:
    async def test(made: Lab) -> None:
        schema = await made.get("/openapi.json")
        told = {(method.upper(), path) for path, methods in schema["paths"].items() for method in methods}
        assert told == {
            ("POST", "/v1/events"), ("POST", "/v1/robots/{robot}/sync"), ("GET", "/v1/robots"), ("POST", "/v1/robots"),
            ("GET", "/v1/robots/{robot}"), ("DELETE", "/v1/robots/{robot}"), ("GET", "/v1/explain/{robot}"),
            ("GET", "/v1/accounts"), ("POST", "/v1/accounts/{account}/resume"), ("DELETE", "/v1/accounts/{account}"),
            ("PUT", "/v1/accounts/{account}/egress"), ("PUT", "/v1/budget"),
            ("GET", "/v1/status"), ("GET", "/v1/changes"), ("GET", "/v1/changes/stream"), ("POST", "/v1/snapshot"),
            ("GET", "/healthz"), ("GET", "/metrics"),
        }  # fmt: skip

    served(test)


# -- snapshots

def test_a_snapshot_is_a_database_of_the_committed_state_for_its_owner_only(tmp_path: Path) -> None:
    async def run() -> None:
        async with lab(store=str(tmp_path / "x.duckdb")) as made:
            await made.flip("r0", 3)
            paths = [Path((await made.ask("POST", "/v1/snapshot")).json["path"]) for _ in range(5)]
            assert [path.exists() for path in paths] == [False, False, True, True, True]
            assert paths[-1].parent.parent == tmp_path
            assert paths[-1].parent.stat().st_mode & 0o777 == 0o700
            copy = DuckDBStore(str(paths[-1]), readonly=True)
            assert copy.load().last_change == made.engine.last_committed == 3
            copy.close()

    asyncio.run(run())
    assert [path.name for path in tmp_path.iterdir()] == ["x.duckdb"]


def test_snapshots_that_a_killed_run_left_are_removed_at_the_next_start(tmp_path: Path) -> None:
    left = tmp_path / "x.duckdb.snapshots"
    left.mkdir(0o700)
    (left / "snapshot-7.duckdb").write_bytes(b"old")

    async def test(_made: Lab) -> None:
        assert not left.exists()

    served(test, store=str(tmp_path / "x.duckdb"))


def test_a_directory_of_others_is_neither_used_nor_removed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "precious").write_text("x")
    (tmp_path / "x.duckdb.snapshots").symlink_to(theirs)

    async def test(made: Lab) -> None:
        refused = await made.ask("POST", "/v1/snapshot")
        assert (refused.status, refused.code) == (503, "store_refused")
        assert str(tmp_path) not in refused.content.decode()
        assert [path.name for path in theirs.iterdir()] == ["precious"]

    served(test, store=str(tmp_path / "x.duckdb"))


def test_an_engine_without_a_file_gives_snapshots_too() -> None:
    async def test(made: Lab) -> None:
        await made.flip("r0", 2)
        path = Path((await made.ask("POST", "/v1/snapshot")).json["path"])
        copy = DuckDBStore(str(path), readonly=True)
        assert copy.load().last_change == made.engine.last_committed == 2
        copy.close()

    served(test)


# -- ends

def test_stopping_is_quick_and_answers_who_waits() -> None:
    async def run() -> None:
        async with lab(token=TOKEN) as made:
            made.venue.faults.rates = made.venue.faults.rates.__class__(latency_ms=(8_000, 8_000))
            waiting = asyncio.create_task(made.ask("POST", "/v1/robots/r0/sync", {"timeout_ms": 60_000}))
            stream = await made.session.get(made.api.url + "/v1/changes/stream")
            await until(lambda: made.engine.core.inbox.waiters, "the sync waits")
            began = asyncio.get_running_loop().time()
            await made.api.stop()
            assert asyncio.get_running_loop().time() - began < 2
            answered = await waiting
            assert (answered.status, answered.code) == (503, "stopping")
            frames = (await stream.read()).split(b"\n\n")
            assert (frames[0], frames[-1]) == (b"retry: 1000", b"")  # ended in order, behind a whole frame
            with pytest.raises(aiohttp.ClientConnectionError):
                await made.ask("GET", "/healthz")

    asyncio.run(run())


def test_a_failed_engine_is_told_and_takes_nothing_any_more(caplog: pytest.LogCaptureFixture) -> None:
    async def test(made: Lab) -> None:
        def broken(*_anything: object) -> None:
            raise ArithmeticError("two and two are five")

        vars(made.engine.core)["tick"] = broken  # a fault of ours, which no input can cause
        sync = await made.ask("POST", "/v1/robots/r0/sync", {"timeout_ms": 5_000})
        assert (sync.status, sync.code) == (503, "engine_failed")
        health = await made.ask("GET", "/healthz")
        assert (health.status, health.json["status"]) == (503, "failed")
        assert (await made.ask("POST", "/v1/events", {"robot": "r0", "kind": "manual"})).code == "engine_failed"
        assert "two and two" in caplog.text

    served(test, settings=STILL)
