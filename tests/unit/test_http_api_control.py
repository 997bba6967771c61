"""The control client: it finds the engine that has a database open, and tells its errors as ours."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.unit.http_lab import TOKEN, Lab, served, until

from fleetsync.errors import ConfigError, FleetsyncError, Permanent, Retryable, RobotStopped, SyncTimeout, UnknownRobot
from fleetsync.model import Phase
from fleetsync_adapters.control import Running, find_running, run_file_of
from fleetsync_adapters.duckdb_store import DuckDBStore


def controlled(tmp_path: Path, test: Callable[[Lab, Running], Any], **options: Any) -> None:
    """Run a blocking test in a thread beside the engine; it gets what `find_running` found."""
    db = str(tmp_path / "x.duckdb")

    async def run(made: Lab) -> None:
        running = await asyncio.to_thread(find_running, db)
        assert running is not None
        result = test(made, running)
        await (result if asyncio.iscoroutine(result) else asyncio.sleep(0))

    served(run, store=db, run_file=run_file_of(db), **options)


def test_the_engine_of_a_database_is_found_while_it_runs(tmp_path: Path) -> None:
    db = str(tmp_path / "x.duckdb")

    def test(made: Lab, running: Running) -> None:
        assert (running.url, running.pid, running.token) == (made.api.url, os.getpid(), TOKEN)
        assert TOKEN not in repr(running)

    assert find_running(db) is None
    controlled(tmp_path, test, token=TOKEN)
    assert find_running(db) is None


def test_an_engine_that_stands_still_is_told_from_one_that_is_gone(tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the file open and answers nobody: that it was "in use by another process" helped nobody either."""
    monkeypatch.setattr("fleetsync_adapters.control._HEALTH_MS", 100)
    db = str(tmp_path / "x.duckdb")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        told = {"pid": os.getpid(), "url": url, "started_at_ms": 1, "token": None}
        Path(run_file_of(db)).write_bytes(orjson.dumps(told))
        with pytest.raises(Retryable, match=f"PID {os.getpid()}.* does not answer"):
            find_running(db)


def test_a_client_asks_for_all_that_an_engine_tells(tmp_path: Path) -> None:
    async def test(made: Lab, running: Running) -> None:
        await made.flip("r0", 3)

        def asked() -> None:
            assert running.status()["robots"] == 4
            assert [change["number"] for change in running.changes(1, 2)] == [2, 3]
            assert running.changes(robot="r1") == []
            assert running.robot("r0")["phase"] == "holding"
            assert running.explain("r0")["robot"] == "r0"
            assert running.sync("r0")["certainty"] == "agreed"
            assert running.notify([{"robot": "r0", "kind": "manual"}])["accepted"] == 1
            path = running.snapshot()
            copy = DuckDBStore(path, readonly=True)
            assert copy.load().last_change == 3
            copy.close()

        await asyncio.to_thread(asked)

    controlled(tmp_path, test, token=TOKEN)


def test_refusals_are_errors_of_the_same_kind_again(tmp_path: Path) -> None:
    async def test(made: Lab, running: Running) -> None:
        made.venue.faults.rates = made.venue.faults.rates.__class__(latency_ms=(400, 400))

        def asked() -> None:
            with pytest.raises(UnknownRobot, match="nobody"):
                running.sync("nobody")
            with pytest.raises(SyncTimeout, match="within 20 ms"):
                running.sync("r0", timeout_ms=20)
            with pytest.raises(ConfigError, match="limit"):
                running.changes(limit=0)
            with pytest.raises(Permanent, match="token"):
                Running(running.pid, running.url, token="wrong-but-long-enough").status()

        await asyncio.to_thread(asked)
        made.engine.core.fleet.stopped[0] = "for the test"
        with pytest.raises(RobotStopped, match="for the test"):
            await asyncio.to_thread(running.sync, "r0")

    controlled(tmp_path, test, token=TOKEN)


def test_a_follower_survives_a_restart_of_the_server_without_gap_or_repeat(tmp_path: Path) -> None:
    async def test(made: Lab, running: Running) -> None:
        await made.flip("r0", 2)
        seen: list[int] = []
        following = asyncio.create_task(asyncio.to_thread(
            lambda: seen.extend(change["number"] for change in islice(running.follow(1), 5))))
        await made.flip("r0", 2)
        port = int(made.api.url.rpartition(":")[2])
        await made.api.stop()
        await made.flip("r0", 2)
        made.api = type(made.api)(made.engine, port=port, token=TOKEN)
        await made.api.start()
        await asyncio.wait_for(following, 20)
        assert seen == [2, 3, 4, 5, 6]
        await made.api.stop()

    controlled(tmp_path, test, token=TOKEN)


def test_a_follower_of_another_database_is_told_so(tmp_path: Path) -> None:
    async def test(_made: Lab, running: Running) -> None:
        with pytest.raises(Permanent, match="no change has the number 17"):
            await asyncio.to_thread(next, running.follow(17))

    controlled(tmp_path, test)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"pid": "x"}', b'{"pid": 1}', b"\xff" * 50,
                                     b'{"pid": -5, "url": "x", "token": null, "started_at_ms": 1}'])
def test_a_damaged_run_file_is_no_engine(tmp_path: Path, content: bytes) -> None:
    Path(run_file_of(str(tmp_path / "x.duckdb"))).write_bytes(content)
    assert find_running(str(tmp_path / "x.duckdb")) is None


def test_a_run_file_of_a_dead_process_is_no_engine(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    write_run_file(tmp_path, ended.pid, "http://127.0.0.1:9")
    assert find_running(str(tmp_path / "x.duckdb")) is None


class _Stranger(BaseHTTPRequestHandler):
    """Another program that has the port by now."""

    asked: list[str]
    answer: bytes

    def do_GET(self) -> None:
        self.asked.append(str(self.headers))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_anything: Any) -> None:
        """Nothing: the test's output is the test's."""


@pytest.mark.parametrize("answer", [b"<html>", b"[1]", b'{"status": "ok"}', b'{"status": "ok", "started_at_ms": 2}'])
def test_another_program_on_the_port_is_no_engine_and_never_sees_the_token(tmp_path: Path, answer: bytes) -> None:
    handler = type("Handler", (_Stranger,), {"asked": [], "answer": answer})
    with HTTPServer(("127.0.0.1", 0), handler) as stranger:
        serving = threading.Thread(target=stranger.serve_forever)
        serving.start()
        try:
            write_run_file(tmp_path, os.getpid(), f"http://127.0.0.1:{stranger.server_port}")
            assert find_running(str(tmp_path / "x.duckdb")) is None
        finally:
            stranger.shutdown()
            serving.join()
    assert len(handler.asked) == 1  # type: ignore[attr-defined] # made two lines above
    assert TOKEN not in handler.asked[0]  # type: ignore[attr-defined] # as above


def test_nobody_there_is_told_and_can_be_tried_again() -> None:
    running = Running(1, "http://127.0.0.1:9", token=TOKEN)
    with pytest.raises(Retryable, match="no engine answers") as told:
        running.status()
    assert TOKEN not in str(told.value)
    with pytest.raises(FleetsyncError):
        next(running.follow(reconnect=False))


def test_the_client_starts_without_the_heavy_libraries() -> None:
    script = ("import sys, fleetsync_adapters.control\n"
              "assert not sys.modules.keys() & {'fastapi', 'uvicorn', 'aiohttp', 'duckdb', 'ccxt', 'pydantic'}")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


def test_a_served_event_is_seen_by_the_client(tmp_path: Path) -> None:
    async def test(made: Lab, running: Running) -> None:
        await made.trade("r0")
        await asyncio.to_thread(running.notify, [{"robot": "r0", "kind": "opened", "side": "long"}])
        await until(lambda: made.engine.state("r0").phase is Phase.HOLDING, "it was looked at")

    controlled(tmp_path, test)


def write_run_file(tmp_path: Path, pid: int, url: str) -> None:
    told = {"pid": pid, "url": url, "token": TOKEN, "started_at_ms": 1}
    Path(run_file_of(str(tmp_path / "x.duckdb"))).write_bytes(orjson.dumps(told))
