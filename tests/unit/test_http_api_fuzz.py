"""The HTTP side under requests drawn from its own schema: never a fault of ours, always JSON, never a secret."""

import asyncio
import http.client
import queue
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fuzzing import tried
from tests.unit.http_lab import TOKEN, Lab, lab
from tests.unit.schema_fuzz import Drawn, Requests, Shapes

from fleetsync import Account, Robot, Secret

EXAMPLES = 60  # of each route
KNOWN: dict[str, list[Any]] = {
    "robot": ["r0", "r1"], "account": ["a0", "a1", "gone"], "id": ["new", "r0"], "kind": ["suspect", "closed", "boo"],
    "symbol": ["BTC/USDT:USDT", "NO/SUCH:COIN"], "after": [0, 1, 2], "timeout_ms": [1, 40], "max_age_ms": [0, 60_000],
    "calls_per_minute": [60_000, 70_000], "last-event-id": ["0", "1"],
}  # fmt: skip


class Served:
    """A lab that runs in a thread of its own, for a test that blocks."""

    def __init__(self) -> None:
        self._ready: queue.Queue[Lab | BaseException] = queue.Queue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        made = self._ready.get(timeout=60)
        if isinstance(made, BaseException):
            raise made
        self.lab = made
        self.secrets = [secret.encode() for secret in made.secrets]
        self.schema: dict[str, Any] = orjson.loads(self.ask(Drawn("GET", "/openapi.json"))[2])

    def _run(self) -> None:
        async def serve() -> None:
            self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
            async with lab(token=TOKEN) as made:
                await made.flip("r0", 3)
                self._ready.put(made)
                await self._over.wait()

        try:
            asyncio.run(serve())
        except BaseException as error:
            self._ready.put(error)
            raise

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def come_back(self) -> None:
        """Whoever was removed is there again: else most of what is drawn would meet nobody."""
        back = threading.Event()

        def add() -> None:
            engine, fleet = self.lab.engine, self.lab.engine.core.fleet
            for number, book in enumerate(self.lab.venue.books.accounts):
                if f"a{number}" not in fleet.account_by_id:
                    engine.add_account(Account(f"a{number}", "binanceusdm", Secret(book.keys.api_key),
                                               Secret(book.keys.secret)))
                if f"r{number}" not in fleet.slot_of:
                    engine.add_robot(Robot(f"r{number}", f"a{number}", self.lab.venue.markets.all[0].symbol))
            back.set()

        self._loop.call_soon_threadsafe(add)
        assert back.wait(timeout=60)

    def ask(self, drawn: Drawn) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request; of a stream only its head is read."""
        parts = urlsplit(self.lab.api.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        try:
            connection.request(drawn.method, drawn.path, drawn.body or None,
                               {"Authorization": f"Bearer {TOKEN}", **drawn.headers})
            response = connection.getresponse()
            streams = response.headers.get("Content-Type", "").startswith("text/event-stream")
            return response.status, response.headers, b"" if streams else response.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.stop()


@tried(EXAMPLES * 17)
@given(data=st.data())
def test_whatever_is_asked_is_answered_as_the_schema_says_and_tells_no_secret(served: Served,
                                                                             data: st.DataObject) -> None:
    requests = Requests(served.schema, KNOWN)
    method, path = data.draw(st.sampled_from(requests.operations))
    drawn = data.draw(st.composite(lambda draw: requests.drawn(draw, method, path))())
    status, headers, content = served.ask(drawn)
    assert status < 500 or status in {503, 504}, (drawn, status, content)
    if method == "DELETE":
        served.come_back()
    for secret in served.secrets:
        assert secret not in content
        assert secret not in str(headers).encode()
    if path == "/metrics" or (status == 200 and path.endswith("/stream")):
        return
    answer = orjson.loads(content)
    assert not (problem := Shapes(served.schema).problem(requests.operation(method, path), status, answer)), (
        drawn, status, answer, problem)
    if status >= 400:
        assert set(answer) == ({"status", "started_at_ms"} if path == "/healthz" else {"error"})


def test_the_engine_still_runs_after_all_of_that(served: Served) -> None:
    status, _, content = served.ask(Drawn("GET", "/healthz"))
    assert (status, orjson.loads(content)["status"]) == (200, "ok")
    assert served.lab.api._host is not None
    met = served.lab.api._host.requests  # the drawn requests reached what they were drawn for
    assert all(met[expected] > 5 for expected in (200, 207, 400, 404, 422)), met
    status, _, content = served.ask(Drawn("GET", "/v1/accounts"))
    assert {row["account"] for row in orjson.loads(content)["accounts"]} == {"a0", "a1"}
