"""The HTTP side: connections that take room and time. No token is needed to open one, so none may cost the engine."""

import asyncio
import os
import resource
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from tests.unit.http_lab import TOKEN, Lab, lab, served, until

from fleetsync_adapters.http_api import accepting, connections

HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n["


class Raw:
    """A client that sends what it likes, when it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, made: Lab) -> "Raw":
        return cls(*await asyncio.open_connection("127.0.0.1", int(made.api.url.rpartition(":")[2])))

    async def rest(self, within_s: float = 20) -> bytes:
        """What comes until the other end closes."""
        text = b""
        async with asyncio.timeout(within_s):
            while part := await self._some():
                text += part
        return text

    async def _some(self) -> bytes:
        try:
            return await self.reader.read(65_536)
        except ConnectionError:
            return b""

    async def trickle(self, text: bytes, gap_s: float) -> bytes:
        """Send it byte by byte, until the other end closes or there is no more; what has come back."""
        coming = asyncio.ensure_future(self.rest())
        for byte in text:
            if coming.done():
                break
            self.writer.write(bytes([byte]))
            await asyncio.wait({coming}, timeout=gap_s)
        return await coming

    def close(self) -> None:
        self.writer.transport.abort()


# -- room

@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_beyond_the_most_connections_others_are_refused_at_once_and_taken_again_when_one_ends(
        new_loop: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "connections_max", lambda: 4)

    async def run() -> None:
        async with lab(token=TOKEN) as made:
            async with made.session.get(made.api.url + "/v1/changes/stream") as stream:
                held = [await Raw.to(made) for _ in range(3)]
                for _ in range(60):
                    refused = await Raw.to(made)
                    assert await refused.rest(within_s=2) == b""
                    refused.close()
                assert caplog.text.count("4 HTTP connections are open: more are closed at once") == 1
                held[0].writer.write(HEAD + b"Connection: close\r\n\r\n")  # who is in is served
                assert (await held[0].rest()).startswith(b"HTTP/1.1 200 ")
                assert (await made.ask("GET", "/v1/status")).status == 200  # and now there is room for another
                assert await stream.content.readline() == b"retry: 1000\n"
            for one in held:
                one.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def test_a_flood_that_came_while_the_loop_stood_still_takes_no_more_than_its_share_either(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 20)

    async def test(made: Lab) -> None:
        most = 0
        before = len(os.listdir("/proc/self/fd"))

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, len(os.listdir("/proc/self/fd")))
                await asyncio.sleep(0)

        address = ("127.0.0.1", int(made.api.url.rpartition(":")[2]))
        flood = [socket.create_connection(address) for _ in range(300)]  # in the kernel until the loop goes on
        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.3)
        watching.cancel()
        assert most - before - len(flood) <= 20 + 2  # /proc itself is one
        for one in flood:
            one.close()

    served(test)


def test_without_a_descriptor_to_give_the_server_rests_and_then_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def test(made: Lab) -> None:
        address = ("127.0.0.1", int(made.api.url.rpartition(":")[2]))
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as client:
            client.settimeout(0)
            resource.setrlimit(resource.RLIMIT_NOFILE, (_first_free(), before[1]))
            try:
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, address)
                await until(lambda: "no connection can be accepted now" in caplog.text, "it was told")
                began_s = time.process_time()
                await asyncio.sleep(0.5)
                assert time.process_time() - began_s < 0.3  # it does not try again and again
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            await loop.sock_sendall(client, HEAD + b"\r\n")
            assert (await loop.sock_recv(client, 100)).startswith(b"HTTP/1.1 200 ")
        assert caplog.text.count("no connection can be accepted now") == 1

    served(test)


def _first_free() -> int:
    """The number that the next descriptor would have."""
    found = os.open("/dev/null", os.O_RDONLY)
    os.close(found)
    return found


# -- time

def test_a_head_that_trickles_does_not_begin_its_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LOOK_MS", 500)

    async def test(made: Lab) -> None:
        for first in (b"", HEAD + b"\r\n"):  # nor after an answer, where its first byte ends uvicorn's own limit
            slow = await Raw.to(made)
            slow.writer.write(first)
            assert (await slow.trickle(b"GET /" + b"x" * 400, 0.05)).count(b"HTTP/1.1 ") == (first != b"")
            slow.close()

    served(test)


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_body_that_trickles_is_cut_also_where_nobody_reads_it(token: str | None,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LOOK_MS", 500)
    monkeypatch.setattr("fleetsync_adapters.http_api.shapes._BODY_MS", 400)

    async def test(made: Lab) -> None:
        slow = await Raw.to(made)
        slow.writer.write(POST)
        answered = await slow.trickle(b" " * 399, 0.05)  # sent in 20 s
        assert answered.startswith(b"HTTP/1.1 401 " if token else b"HTTP/1.1 408 ")
        slow.close()
        assert made.engine.core.inbox.accepted == 0
        assert (await made.ask("GET", "/v1/status")).status == 200

    served(test, token=token)


def test_a_client_that_takes_no_answer_is_cut_without_a_token_too() -> None:
    async def test(made: Lab) -> None:
        assert made.api._server is not None
        inside: Any = made.api._server.server_state.connections
        greedy = socket.create_connection(("127.0.0.1", int(made.api.url.rpartition(":")[2])))
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        greedy.settimeout(0)
        loop = asyncio.get_running_loop()
        sending = asyncio.ensure_future(loop.sock_sendall(greedy, (HEAD + b"\r\n") * 100_000))
        client = greedy.getsockname()
        await until(lambda: [one for one in inside if one.client == client and one.flow.write_paused], "it is full")
        await until(lambda: client not in {one.client for one in inside}, "it was cut off")
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)  # it may have been told so, too
        greedy.close()

    served(test, token=TOKEN, stalled_ms=300)


def test_who_is_still_answered_is_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LOOK_MS", 150)

    async def test(made: Lab) -> None:
        made.venue.faults.rates = made.venue.faults.rates.__class__(latency_ms=(400, 400))
        async with made.session.get(made.api.url + "/v1/changes/stream") as stream:
            began_s = time.monotonic()
            proven = await made.ask("POST", "/v1/robots/r0/sync", {"timeout_ms": 10_000})
            assert proven.status == 200
            assert time.monotonic() - began_s > 0.35  # more than two looks
            while time.monotonic() - began_s < 1.5:
                assert await stream.content.readany()
            await made.trade("r0")
            await made.engine.sync("r0")
            text = b""
            while b"position_opened" not in text:
                text += await stream.content.readany()

    served(test, stalled_ms=250, heartbeat_ms=20)
