"""The HTTP side: hints that a robot changed, and forced syncs."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.unit.http_lab import Lab, served, until
from yarl import URL

from fleetsync import Robot
from fleetsync.events import KINDS

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
STRANGE = ["grüße", "日本/円", "a/b/c", "/", "x/sync", "100%", "a?b#c", "..", "a b", "🤖", "%2F", "+", "&after=3"]


# -- events

def test_an_event_moves_its_robot_to_the_front_and_is_answered_when_it_is_durable(tmp_path: Path) -> None:
    async def test(made: Lab) -> None:
        await made.trade("r0")
        answered = await made.ask("POST", "/v1/events", {"robot": "r0", "kind": "opened", "side": "long"})
        assert (answered.status, answered.json["accepted"], answered.json["refused"]) == (200, 1, [])
        await until(lambda: made.engine.last_committed, "the position is proven and committed")
        (change,) = (await made.get("/v1/changes?robot=r0"))["changes"]
        assert (change["kind"], change["cause"]) == ("position_opened", "event")

    served(test, store=str(tmp_path / "x.duckdb"))


def test_an_accepted_event_is_in_the_store_when_it_is_answered() -> None:
    async def test(made: Lab) -> None:
        made.venue.faults.rates = made.venue.faults.rates.__class__(latency_ms=(300, 300))  # it is not served meanwhile
        answered = await made.ask("POST", "/v1/events", [{"robot": "r0", "kind": "suspect", "text": "looks odd"}])
        (held,) = made.engine.store.load().events.values()
        assert (held["robot"], held["text"], [held["id"]]) == ("r0", "looks odd", answered.json["ids"])

    served(test)


@pytest.mark.parametrize("kind", [*KINDS, "other"])
def test_every_kind_of_event_is_taken(kind: str) -> None:
    async def test(made: Lab) -> None:
        event = {"robot": "r1", "kind": kind, "text": "a word"}
        assert (await made.ask("POST", "/v1/events", event)).status == 200
        await until(lambda: not made.engine.core.inbox.pending, "it is served")

    served(test)


def test_of_a_batch_the_unknown_are_refused_by_name_and_the_rest_is_taken() -> None:
    async def test(made: Lab) -> None:
        batch: list[Any] = [
            {"robot": "r0", "kind": "closed"}, {"robot": "r99", "kind": "closed"}, {"robot": "r1", "kind": "exploded"},
            {"robot": "off", "kind": "closed"}, {"robot": "r1", "kind": "manual", "side": "up"}, 17, None, [],
            {"robot": "r1"}, {"robot": "r1", "kind": "manual", "colour": "red"}, {"robot": 5, "kind": "manual"},
            {"robot": "r1", "kind": "manual", "text": "x" * 2_001}, {"robot": "r1", "kind": "manual"},
        ]  # fmt: skip
        answered = await made.ask("POST", "/v1/events", batch)
        assert answered.status == 207
        assert answered.json["accepted"] == len(answered.json["ids"]) == 2
        refused = {row["index"]: (row["robot"], row["why"]) for row in answered.json["refused"]}
        assert set(refused) == set(range(13)) - {0, 12}
        assert "r99" in refused[1][1]
        assert "exploded" in refused[2][1]
        assert "disabled" in refused[3][1]
        assert "up" in refused[4][1]
        assert [robot for robot, _ in refused.values()] == [
            "r99", "r1", "off", "r1", "", "", "", "r1", "r1", "", "r1"]  # fmt: skip
        assert "colour" in refused[9][1]

    served(test, Robot("r0", "a0", BTC), Robot("r1", "a1", BTC), Robot("off", "a0", ETH, enabled=False))


def test_a_single_event_that_cannot_be_taken_is_an_error_of_its_kind() -> None:
    async def test(made: Lab) -> None:
        for event, status, code in (({"robot": "r9", "kind": "closed"}, 404, "unknown_robot"),
                                    ({"robot": "off", "kind": "closed"}, 409, "robot_stopped"),
                                    ({"robot": "r0", "kind": "exploded"}, 422, "refused"),
                                    ({"robot": "r0"}, 422, "invalid")):
            answered = await made.ask("POST", "/v1/events", event)
            assert (answered.status, answered.code) == (status, code)

    served(test, Robot("r0", "a0", BTC), Robot("off", "a0", ETH, enabled=False))


def test_ten_thousand_events_for_one_robot_cost_one_run_at_a_time() -> None:
    async def test(made: Lab) -> None:
        before = made.engine.core.journal.meter.calls
        batch = [{"robot": "r0", "kind": "suspect"}] * 10_000
        assert (await made.ask("POST", "/v1/events", batch)).json["accepted"] == 10_000
        await until(lambda: not made.engine.store.load().events, "all are served, and their rows gone")
        runs = made.engine.core.journal.meter.calls - before
        # One run at a time, a few calls each; the batch arrives in portions over a few tenths of a second.
        assert runs <= 400, f"{runs} calls for 10,000 hints"

    served(test)


def test_a_large_batch_lets_the_engines_loop_go_on() -> None:
    async def test(made: Lab) -> None:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        turning = asyncio.create_task(turn())
        batch = [{"robot": f"r{number % 4}", "kind": "suspect"} for number in range(10_000)]
        await made.ask("POST", "/v1/events", batch)
        turning.cancel()
        assert turns > 40  # it was taken in portions of 250

    served(test)


# -- forced syncs and what is known

def test_a_forced_sync_answers_the_proven_state() -> None:
    async def test(made: Lab) -> None:
        await made.trade("r0")
        answered = await made.ask("POST", "/v1/robots/r0/sync", {"max_age_ms": 0, "timeout_ms": 5_000})
        assert answered.status == 200
        state = answered.json
        assert (state["phase"], state["certainty"]) == ("holding", "agreed")
        (position,) = state["surfaces"]["positions"]["value"]
        assert position["side"] == "long"
        assert Decimal(position["size"]) > 0
        assert 0 <= state["surfaces"]["positions"]["age_ms"] < 5_000
        assert state["surfaces"]["positions"]["as_of_ms"] + state["surfaces"]["positions"]["age_ms"] == state["at_ms"]

    served(test)


def test_young_knowledge_is_answered_without_a_call_and_an_empty_body_asks_for_none_older() -> None:
    async def test(made: Lab) -> None:
        await made.engine.sync("r0")
        before = made.engine.core.journal.meter.calls
        assert (await made.ask("POST", "/v1/robots/r0/sync", {"max_age_ms": 60_000})).status == 200
        assert made.engine.core.journal.meter.calls == before
        assert (await made.ask("POST", "/v1/robots/r0/sync")).status == 200
        assert made.engine.core.journal.meter.calls > before

    served(test)


def test_a_sync_that_is_not_proven_in_time_says_what_was_missing() -> None:
    async def test(made: Lab) -> None:
        made.venue.faults.rates = made.venue.faults.rates.__class__(latency_ms=(5_000, 5_000))
        answered = await made.ask("POST", "/v1/robots/r0/sync", {"timeout_ms": 60})
        assert (answered.status, answered.code) == (504, "sync_timeout")
        assert "not proven within 60 ms" in answered.json["error"]["message"]

    served(test)


def test_stopped_and_unknown_robots_are_told_apart() -> None:
    async def test(made: Lab) -> None:
        stopped = await made.ask("POST", "/v1/robots/off/sync")
        assert (stopped.status, stopped.code) == (409, "robot_stopped")
        unknown = await made.ask("POST", "/v1/robots/nobody/sync")
        assert (unknown.status, unknown.code) == (404, "unknown_robot")
        assert (await made.ask("GET", "/v1/robots/nobody")).code == "unknown_robot"
        assert (await made.ask("GET", "/v1/explain/nobody")).code == "unknown_robot"
        assert (await made.ask("DELETE", "/v1/robots/nobody")).code == "unknown_robot"

    served(test, Robot("r0", "a0", BTC), Robot("off", "a0", ETH, enabled=False))


@pytest.mark.parametrize("robot", STRANGE)
def test_any_robot_id_can_be_named_in_a_path(robot: str) -> None:
    async def test(made: Lab) -> None:
        named = quote(robot, safe="")
        # aiohttp would tidy the address up; what is quoted stays quoted.
        for method, path in (("GET", f"/v1/robots/{named}"), ("POST", f"/v1/robots/{named}/sync"),
                             ("GET", f"/v1/explain/{named}"), ("DELETE", f"/v1/robots/{named}")):
            async with made.session.request(method, URL(made.api.url + path, encoded=True)) as response:
                told = await response.json()
                assert response.status == 200, (path, told)
                assert told.get("robot", told.get("removed")) == robot
        assert robot not in made.engine.core.fleet.slot_of

    served(test, Robot(robot, "a0", BTC), Robot("other", "a0", ETH))


def test_robots_are_listed_page_by_page_each_once() -> None:
    async def test(made: Lab) -> None:
        seen: list[str] = []
        after: int | None = 0
        while after is not None:
            page = await made.get(f"/v1/robots?after={after}&limit=7")
            assert len(page["robots"]) <= 7
            seen += [row["robot"] for row in page["robots"]]
            after = page["next"]
            made.engine.remove_robot(seen[-1])  # a fleet changes while it is listed
        assert seen == [f"r{number}" for number in range(30)]

    served(test, count=30)


def test_robots_are_filtered_by_phase() -> None:
    async def test(made: Lab) -> None:
        await made.trade("r2")
        await made.engine.sync("r2")
        assert [row["robot"] for row in (await made.get("/v1/robots?phase=holding"))["robots"]] == ["r2"]
        assert len((await made.get("/v1/robots?phase=flat"))["robots"]) == 3
        assert (await made.get("/v1/robots?phase=unknown"))["robots"] == []

    served(test)
