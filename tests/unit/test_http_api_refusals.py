"""The HTTP side: what it refuses."""

import asyncio
import logging
from typing import Any

import orjson
import pytest
from tests.unit.http_lab import ROUTES, TOKEN, Lab, lab, served

from fleetsync import Engine
from fleetsync.errors import ConfigError
from fleetsync_adapters.http_api import ApiServer
from fleetsync_adapters.http_api.gate import is_loopback
from fleetsync_adapters.http_api.shapes import BATCH_LIMIT, BODY_LIMIT

JSON = {"Content-Type": "application/json"}


# -- tokens

def test_every_route_but_health_refuses_without_the_token_and_with_a_wrong_one() -> None:
    async def run() -> None:
        async with lab(token=TOKEN) as made:
            wrong = [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": f"Basic {TOKEN}"},
                     {"Authorization": f"Bearer {TOKEN[:-1]}"}, {"Authorization": f"Bearer {TOKEN}x"},
                     {"Authorization": TOKEN}, {"Authorization": "Bearer \xff\xfe"},
                     {"Authorization": f"Bearer {TOKEN.upper()}"}, {"X-Token": TOKEN}]
            made.session.headers.clear()
            for method, path in ROUTES:
                for headers in wrong:
                    refused = await made.ask(method, path, headers=headers)
                    assert (refused.status, refused.code) == (401, "unauthorized"), (method, path, headers)
                    assert refused.headers["WWW-Authenticate"] == "Bearer"
                    assert TOKEN not in refused.content.decode()
                assert (await made.ask(method, f"{path}?token={TOKEN}")).status == 401
            assert (await made.ask("GET", "/healthz")).status == 200
            assert set(made.engine.core.fleet.slot_of) == {"r0", "r1", "r2", "r3"}

    asyncio.run(run())


def test_the_right_token_is_taken_whatever_the_case_of_the_scheme() -> None:
    async def test(made: Lab) -> None:
        for scheme in ("Bearer", "bearer", "BEARER"):
            assert (await made.ask("GET", "/v1/status", headers={"Authorization": f"{scheme} {TOKEN}"})).status == 200

    served(test, token=TOKEN)


def test_two_authorizations_are_none() -> None:
    async def test(made: Lab) -> None:
        status, _ = await raw(made, f"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
                              "Authorization: Bearer guess\r\n\r\n".encode())
        assert status == 401

    served(test, token=TOKEN)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "127.0.0.1.example.org", ""])
def test_off_loopback_it_does_not_start_without_a_token(host: str) -> None:
    async def run() -> None:
        with pytest.raises(ConfigError, match="a token is required"):
            ApiServer(Engine(), host=host)

    asyncio.run(run())


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "has a blank in it", "ümlaut-ümlaut-ümlaut", "x" * 513,
                                   "line\nbreak-in-the-middle"])
def test_a_token_that_is_too_weak_or_cannot_travel_is_refused_and_not_shown(token: str) -> None:
    async def run() -> None:
        with pytest.raises(ConfigError, match="16 to 512") as refused:
            ApiServer(Engine(), token=token)
        assert len(token) < 5 or token not in str(refused.value)

    asyncio.run(run())


def test_loopback_is_told_from_the_rest() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]", "::ffff:127.0.0.1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "10.0.0.1", "::", "::ffff:10.0.0.1", "localhost.example.org", "", "1"]))


def test_a_server_on_all_addresses_is_reached_by_its_token_and_gives_snapshots_on_this_machine() -> None:
    async def test(made: Lab) -> None:
        assert made.api.url.startswith("http://127.0.0.1:")
        assert (await made.ask("GET", "/v1/status", headers={"Host": "fleet.example.org"})).status == 200
        assert (await made.ask("POST", "/v1/snapshot")).status == 200

    served(test, token=TOKEN, host="0.0.0.0")


# -- pages in browsers

@pytest.mark.parametrize("host", ["evil.example.org", "evil.example.org:80", "127.0.0.1.evil.example.org", "[::2]", ""])
def test_without_a_token_a_name_that_was_pointed_at_us_is_refused(host: str) -> None:
    async def test(made: Lab) -> None:
        for path in ("/v1/robots", "/v1/changes/stream", "/docs"):
            refused = await made.ask("GET", path, headers={"Host": host})
            assert (refused.status, refused.code) == (403, "foreign_host")
        assert (await made.ask("GET", "/v1/robots", headers={"Host": "localhost:1"})).status == 200

    served(test)


@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", "http://127.0.0.1:1", "http://[", "", "x" * 99])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_page_of_another_origin_may_ask_nothing(origin: str, token: str | None) -> None:
    async def test(made: Lab) -> None:
        for method, path in (("GET", "/v1/status"), ("POST", "/v1/robots/r0/sync"), ("DELETE", "/v1/robots/r0")):
            refused = await made.ask(method, path, headers={"Origin": origin})
            assert (refused.status, refused.code) == (403, "foreign_origin")
        assert "r0" in made.engine.core.fleet.slot_of
        assert (await made.ask("GET", "/v1/status", headers={"Origin": made.api.url})).status == 200
        assert "Access-Control-Allow-Origin" not in (await made.ask("GET", "/v1/status")).headers

    served(test, token=token)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"])
def test_a_body_that_a_page_could_send_without_asking_is_refused(kind: str) -> None:
    async def test(made: Lab) -> None:
        event = b'{"robot": "r0", "kind": "suspect"}'
        refused = await made.ask("POST", "/v1/events", data=event, headers={"Content-Type": kind})
        assert (refused.status, refused.code) == (415, "not_json")
        assert made.engine.core.inbox.accepted == 0

    served(test)


# -- size and shape

def test_a_body_beyond_the_limit_is_refused_before_it_is_read() -> None:
    async def test(made: Lab) -> None:
        status, answer = await raw(made, b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                                   b"Content-Type: application/json\r\nContent-Length: 999999999999\r\n\r\n[")
        assert (status, answer["error"]["code"]) == (413, "body_too_large")

    served(test)


def test_a_body_that_grows_beyond_the_limit_is_refused_while_it_comes() -> None:
    async def test(made: Lab) -> None:
        async def endless() -> Any:
            for _ in range(BODY_LIMIT // 65_536 + 64):
                yield b" " * 65_536

        refused = await made.ask("POST", "/v1/events", data=endless(), headers=JSON)
        assert (refused.status, refused.code) == (413, "body_too_large")

    served(test)


def test_a_batch_beyond_the_limit_is_refused_whole() -> None:
    async def test(made: Lab) -> None:
        batch = [{"robot": "r0", "kind": "suspect"}] * (BATCH_LIMIT + 1)
        for path in ("/v1/events", "/v1/robots"):
            refused = await made.ask("POST", path, batch)
            assert (refused.status, refused.code) == (422, "batch_too_large")
        assert made.engine.core.inbox.accepted == 0
        assert (await made.ask("POST", "/v1/events", [])).json == {"accepted": 0, "ids": [], "refused": []}

    served(test)


@pytest.mark.parametrize("body", [
    b"{", b"[1,", b"nonsense", b"\xff\xfe", b'{"robot": "\\ud800", "kind": "manual"}', b"[" * 100_000, b'{"a":' * 5_000,
    b'{"robot": NaN}', b'{"robot": 1e999}', b"\x00", b"'r0'",
])  # fmt: skip
def test_what_is_not_json_is_refused_with_its_place(body: bytes) -> None:
    async def test(made: Lab) -> None:
        for method, path in (("POST", "/v1/events"), ("PUT", "/v1/budget"), ("POST", "/v1/robots/r0/sync")):
            refused = await made.ask(method, path, data=body, headers=JSON)
            assert refused.status in {400, 422}
            assert refused.code in {"bad_json", "invalid"}

    served(test)


def test_wrong_parameters_are_refused_with_their_name() -> None:
    async def test(made: Lab) -> None:
        for path, name in (("/v1/robots?limit=0", "limit"), ("/v1/robots?limit=1001", "limit"),
                           ("/v1/robots?after=-1", "after"), ("/v1/robots?after=x", "after"),
                           ("/v1/robots?phase=asleep", "phase"), ("/v1/changes?limit=1e3", "limit"),
                           (f"/v1/changes?after={2**53}", "after"), ("/v1/changes/stream?after=1.5", "after"),
                           (f"/v1/changes?robot={'x' * 1025}", "robot")):
            refused = await made.ask("GET", path)
            assert (refused.status, refused.code) == (422, "invalid"), path
            assert name in refused.json["error"]["message"]
        for number in ("x", "-1", "1.5", "9" * 17, "²"):
            refused = await made.ask("GET", "/v1/changes/stream", headers={"Last-Event-ID": number})
            assert (refused.status, refused.code) == (422, "invalid")

    served(test)


def test_unknown_paths_and_methods_are_json_errors() -> None:
    async def test(made: Lab) -> None:
        assert (await made.ask("GET", "/v1/nothing")).code == "not_found"
        assert (await made.ask("GET", "/v1/events")).code == "method_not_allowed"
        assert (await made.ask("PATCH", "/v1/budget")).code == "method_not_allowed"
        assert (await made.ask("OPTIONS", "/v1/budget")).status == 405

    served(test)


def test_hostile_bytes_end_with_a_refusal_or_a_closed_connection_and_the_server_goes_on(
        caplog: pytest.LogCaptureFixture) -> None:
    hostile = [
        b"\x00" * 2_000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        (b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0"
         b"\r\n\r\n"),
        b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET /v1/robots/%ff%fe%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET http://evil.example.org/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ]  # fmt: skip

    async def test(made: Lab) -> None:
        for request in hostile:
            status, _ = await raw(made, request)
            assert status in {0, 200, 400, 403, 404, 415, 422}, request[:80]
        assert (await made.ask("GET", "/v1/status")).status == 200
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]

    served(test)


def test_a_client_that_leaves_in_the_middle_of_its_body_is_forgotten_quietly(caplog: pytest.LogCaptureFixture) -> None:
    async def test(made: Lab) -> None:
        for sent in (b"", b"[", b'[{"robot": "r0", "kind": "suspect"}'):
            _, writer = await asyncio.open_connection("127.0.0.1", int(made.api.url.rpartition(":")[2]))
            writer.write(b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                         b"Content-Length: 400\r\n\r\n" + sent)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        assert (await made.ask("GET", "/v1/status")).status == 200
        assert made.engine.core.inbox.accepted == 0
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]

    served(test)


def test_a_snapshot_is_for_programs_on_this_machine_whatever_a_header_says() -> None:
    async def test(made: Lab) -> None:
        seen: list[Any] = []
        app = made.api._server.config.loaded_app if made.api._server else None  # the application as uvicorn runs it
        assert app is not None
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
                 "path": "/v1/snapshot", "raw_path": b"/v1/snapshot", "query_string": b"", "root_path": "",
                 "client": ("192.0.2.7", 4711), "server": ("192.0.2.1", 80),
                 "headers": [(b"host", b"x"), (b"authorization", f"Bearer {TOKEN}".encode()),
                             (b"x-forwarded-for", b"127.0.0.1"), (b"forwarded", b"for=127.0.0.1")]}

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            seen.append(message)

        await app(scope, receive, send)
        assert seen[0]["status"] == 403
        assert orjson.loads(seen[1]["body"])["error"]["code"] == "not_local"

    served(test, token=TOKEN)


async def raw(made: Lab, request: bytes) -> tuple[int, Any]:
    """Bytes as they are; the answer's status (0: none) and JSON, if it is some."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(made.api.url.rpartition(":")[2]))
    try:
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(20):
            answer = await reader.read()
    except (ConnectionError, TimeoutError):
        answer = b""
    finally:
        writer.transport.abort()
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1]) if head.startswith(b"HTTP/1.1 ") else 0
    return status, orjson.loads(body) if b"application/json" in head else None
