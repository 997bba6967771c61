"""The HTTP side before anybody has asked anything: crowds, silence, and bodies that are made to cost."""

import asyncio
import os
import resource
from contextlib import suppress
from pathlib import Path

import pytest
from tests.unit.http_lab import TOKEN, Lab, served, until

from fleetsync_adapters.http_api import ApiServer, connections

_FEW = 40


Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _opened(made: Lab, count: int) -> list[Opened]:
    host, port = made.api.url.removeprefix("http://").rsplit(":", 1)
    return [await asyncio.open_connection(host, int(port)) for _ in range(count)]


async def _closed(opened: list[Opened]) -> None:
    for _, writer in opened:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in opened), return_exceptions=True)


def test_a_crowd_of_strangers_takes_no_more_than_its_share_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", _FEW)

    async def test(made: Lab) -> None:
        before = len(os.listdir("/proc/self/fd"))
        opened = await _opened(made, 4 * _FEW)
        await until(lambda: len(os.listdir("/proc/self/fd")) - before <= 4 * _FEW + _FEW, "those beyond are closed")
        assert (await made.engine.sync("r0")).robot == "r0"
        await _closed(opened)
        await until(lambda: len(os.listdir("/proc/self/fd")) - before < 4, "the crowd is gone")
        assert (await made.ask("GET", "/healthz")).status == 200

    served(test, token=TOKEN)


def test_the_share_is_a_quarter_of_what_the_process_may_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, most in ((64, 16), (1_024, 256), (1 << 20, 512), (resource.RLIM_INFINITY, 512), (2, 1)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert connections.connections_max() == most


def test_who_connects_and_says_nothing_or_half_a_word_is_closed_and_a_stream_is_not(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LOOK_MS", 150)

    async def test(made: Lab) -> None:
        (silent, _), (halting, writer) = opened = await _opened(made, 2)
        writer.write(b"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        async with made.session.get(made.api.url + "/v1/changes/stream") as stream:
            for reader in (silent, halting):
                async with asyncio.timeout(10):
                    with suppress(ConnectionResetError):
                        assert await reader.read() == b""
            await asyncio.sleep(0.5)
            await made.flip("r0", 1)
            async with asyncio.timeout(10):
                while not (await stream.content.readline()).startswith(b"data: "):
                    pass
        await _closed(opened)

    served(test)


@pytest.mark.parametrize("body", ["one", "many"])
def test_a_body_of_a_hundred_thousand_unknown_fields_is_refused_before_it_is_looked_through(body: str) -> None:
    async def test(made: Lab) -> None:
        event = {"robot": "r0", "kind": "suspect"} | {f"x{number}": 0 for number in range(100_000)}
        answered = await made.ask("POST", "/v1/events", event if body == "one" else [event])
        assert answered.status in {207, 422}
        assert "100,002 fields" in answered.content.decode()
        assert len(answered.content) < 1_000

    served(test)


def test_a_body_that_trickles_in_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetsync_adapters.http_api.shapes._BODY_MS", 200)

    async def test(made: Lab) -> None:
        ((reader, writer),) = opened = await _opened(made, 1)
        writer.write(b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                     b"Content-Length: 1000\r\n\r\n{")
        async with asyncio.timeout(10):
            assert b" 408 " in await reader.readline()
        await _closed(opened)

    served(test)


def test_the_sides_of_one_engine_share_its_snapshots(tmp_path: Path) -> None:
    async def test(made: Lab) -> None:
        async with ApiServer(made.engine) as second:
            paths = []
            for side in (made.api, second, made.api, second):
                async with made.session.post(side.url + "/v1/snapshot") as answer:
                    assert answer.status == 200
                    paths.append((await answer.json())["path"])
            assert len(set(paths)) == 4
            assert _there(paths) == paths[1:], "the newest three"
        assert _there(paths) == paths[1:], "the other side is still there"

    served(test, store=str(tmp_path / "fleet.duckdb"))


def test_a_side_that_is_stopped_twice_takes_no_snapshots_from_the_other(tmp_path: Path) -> None:
    async def test(made: Lab) -> None:
        second = await ApiServer(made.engine).start()
        path = (await made.ask("POST", "/v1/snapshot")).json["path"]
        for _ in range(3):
            await second.stop()
            assert _there([path])

    served(test, store=str(tmp_path / "fleet.duckdb"))


def _there(paths: list[str]) -> list[str]:
    return [path for path in paths if os.path.exists(path)]
