"""The HTTP side: what is never told, where it listens, and where it says so."""

import asyncio
import logging
import socket
from pathlib import Path

import orjson
import pytest
from tests.unit.http_lab import ROUTES, TOKEN, Lab, served

from fleetsync import Engine
from fleetsync.errors import AddressInUse, ConfigError, StoreRefused
from fleetsync_adapters.http_api import ApiServer
from fleetsync_adapters.http_api.run_file import RunFile

# -- what is never told

def test_no_answer_and_no_log_holds_a_secret_or_a_path(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)

    async def test(made: Lab) -> None:
        told = [(await made.ask(method, path, headers=headers)).content.decode()
                for method, path in ROUTES if not path.endswith(("stream", "snapshot"))
                for headers in ({}, {"Authorization": "Bearer wrong-but-long-enough"})]
        told += [(await made.ask("POST", path, {"id": "x", "token": TOKEN, "api_key": secret, "robot": "r0",
                                               "kind": "manual"})).content.decode()
                 for path in ("/v1/events", "/v1/robots") for secret in made.secrets]
        for secret in (*made.secrets, str(tmp_path)):
            assert secret not in "".join(told)
            assert secret not in caplog.text
        assert TOKEN not in repr(made.api)

    served(test, token=TOKEN, store=str(tmp_path / "x.duckdb"))


def test_a_fault_of_ours_is_told_to_the_log_and_not_to_the_client(caplog: pytest.LogCaptureFixture) -> None:
    async def test(made: Lab) -> None:
        def broken() -> None:
            raise ArithmeticError("a detail that is ours")

        vars(made.engine)["status"] = broken
        refused = await made.ask("GET", "/v1/status")
        assert (refused.status, refused.code) == (500, "internal")
        assert "detail" not in refused.content.decode()
        assert caplog.text.count("ArithmeticError: a detail that is ours") == 1

    served(test)


# -- places

def test_a_port_that_is_taken_is_said_so() -> None:
    async def test(made: Lab) -> None:
        port = int(made.api.url.rpartition(":")[2])
        with pytest.raises(AddressInUse, match=f"port {port} is taken"):
            await ApiServer(made.engine, port=port).start()

    served(test)


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("::2", 0)])
def test_an_address_that_is_not_ours_is_said_so(host: str, port: int) -> None:
    async def test(made: Lab) -> None:
        with pytest.raises(ConfigError, match="cannot listen"):
            await ApiServer(made.engine, host=host, port=port, token=TOKEN).start()

    served(test)


@pytest.mark.parametrize("port", [-1, 65_536, 70_000])
def test_a_port_that_cannot_be_is_refused(port: int) -> None:
    async def run() -> None:
        with pytest.raises(ConfigError, match="port must be"):
            ApiServer(Engine(), port=port)

    asyncio.run(run())


def test_the_sixth_version_of_the_address_is_served_too() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")

    async def test(made: Lab) -> None:
        assert made.api.url.startswith("http://[::1]:")
        assert (await made.ask("GET", "/v1/status")).status == 200

    served(test, host="::1")


def test_the_run_file_is_the_owners_only_whole_and_gone_after_the_stop(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb.run.json"
    path.write_text("what a killed run left")

    async def test(made: Lab) -> None:
        assert path.stat().st_mode & 0o777 == 0o600
        told = orjson.loads(path.read_bytes())
        assert set(told) == {"pid", "url", "token", "started_at_ms"}
        assert (told["url"], told["token"]) == (made.api.url, TOKEN)

    served(test, token=TOKEN, run_file=str(path))
    assert list(tmp_path.iterdir()) == []


def test_a_run_file_of_another_run_is_left_alone(tmp_path: Path) -> None:
    mine, other = RunFile(str(tmp_path / "run.json")), RunFile(str(tmp_path / "run.json"))
    mine.write("http://127.0.0.1:1", None, 1)
    other.write("http://127.0.0.1:2", None, 2)
    mine.remove()
    assert b":2" in (tmp_path / "run.json").read_bytes()
    other.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_run_file_that_cannot_be_written_ends_the_start_and_frees_the_port(tmp_path: Path) -> None:
    async def test(made: Lab) -> None:
        server = ApiServer(made.engine, run_file=str(tmp_path / "no" / "run.json"))
        with pytest.raises(StoreRefused, match="cannot write"):
            await server.start()
        with pytest.raises(OSError, match=r"refused|Connect"):
            await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))

    served(test)
