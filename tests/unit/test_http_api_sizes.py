"""The HTTP side: what one body within the limit may cost. The engine's loop goes on, and no answer outgrows a body."""

import asyncio
import gc
import io
from typing import Any

import orjson
import pytest
from tests.unit.http_lab import Lab, served

from fleetsync_adapters.http_api import shapes
from fleetsync_adapters.http_api.shapes import BATCH_LIMIT, BODY_LIMIT

JSON = {"Content-Type": "application/json"}


def test_no_shape_comes_near_the_most_keys() -> None:
    for adapter in (shapes.EVENT, shapes.ROBOT, shapes.SYNC, shapes.BUDGET, shapes.EGRESS):
        assert 2 * len(adapter.json_schema()["properties"]) < shapes._KEYS_MOST


@pytest.mark.parametrize("item", [
    {"robot": "\x7f" * 790, "kind": "closed"}, {"robot": "r0", "kind": "\x7f" * 64},
    {"robot": "\x7f" * 60} | {"\x7f" * 20 + f"{number}": 0 for number in range(24)}, 17,
])  # fmt: skip
def test_ten_thousand_refusals_are_no_larger_than_the_largest_body(item: Any) -> None:
    async def test(made: Lab) -> None:
        batch = [item] * BATCH_LIMIT
        assert len(orjson.dumps(batch)) <= BODY_LIMIT
        answered = await made.ask("POST", "/v1/events", batch)
        assert (answered.status, len(answered.json["refused"])) == (207, BATCH_LIMIT)
        assert len(answered.content) <= BODY_LIMIT

    served(test)


def test_a_large_batch_of_robots_lets_the_engines_loop_go_on() -> None:
    async def test(made: Lab) -> None:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        turning = asyncio.create_task(turn())
        batch = [{"id": f"x{number}", "account": "nobody", "symbol": "X"} for number in range(BATCH_LIMIT)]
        answered = await made.ask("POST", "/v1/robots", batch)
        turning.cancel()
        assert (answered.status, len(answered.json["refused"])) == (207, BATCH_LIMIT)
        assert turns > 40  # it was taken in portions of 250

    served(test)


@pytest.mark.parametrize("collects", [True, False])
def test_pythons_collector_rests_while_a_body_of_brackets_is_read(collects: bool) -> None:
    async def test(made: Lab) -> None:
        begun: list[int] = []

        def collecting(phase: str, told: dict[str, int]) -> None:
            if phase == "start":
                begun.append(told["generation"])

        body = io.BytesIO(b"[" + b"[[[[]]]]," * (BODY_LIMIT // 9 - 1) + b"0]")
        gc.callbacks.append(collecting)
        if not collects:
            gc.disable()
        try:
            refused = await made.ask("POST", "/v1/events", data=body, headers=JSON)
            assert gc.isenabled() is collects  # as the program has it
        finally:
            gc.enable()
            gc.callbacks.remove(collecting)
        assert (refused.status, refused.code) == (422, "batch_too_large")
        assert len(begun) < 500  # and not one for every 700 brackets

    served(test)
