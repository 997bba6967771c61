"""The HTTP side: the fleet while it runs, and changes by page."""

import asyncio
from typing import Any

from tests.unit.http_lab import STILL, Lab, served, until

from fleetsync.model import Account, Phase, Secret

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"


# -- the fleet while it runs

def test_a_robot_that_is_added_is_scheduled_at_once_and_one_that_is_removed_is_gone() -> None:
    async def test(made: Lab) -> None:
        new = {"id": "new", "account": "a1", "symbol": ETH, "priority": 2, "flat_ms": 9_000, "order_prefix": "n-"}
        answered = await made.ask("POST", "/v1/robots", new)
        assert (answered.status, answered.json) == (200, {"added": 1, "ids": ["new"], "refused": []})
        await until(lambda: made.engine.state("new").phase is Phase.FLAT, "it was looked at")
        assert (await made.get("/v1/explain/new"))["interval_ms"] < 9_001
        assert (await made.ask("DELETE", "/v1/robots/new")).json == {"removed": "new"}
        assert (await made.ask("GET", "/v1/robots/new")).code == "unknown_robot"
        await until(lambda: "new" not in made.engine.store.load().robots, "its row is gone")

    served(test, settings=STILL.but(holding_ms=300, working_ms=300))


def test_of_a_batch_of_robots_each_wrong_one_is_refused_with_its_reason() -> None:
    async def test(made: Lab) -> None:
        good = {"id": "n1", "account": "a0", "symbol": ETH}
        batch: list[Any] = [
            good, good, {**good, "id": "n2", "account": "nobody"}, {**good, "id": ""}, {**good, "id": " x"},
            {**good, "id": "x\ny"}, {**good, "id": "n3", "priority": 0}, {**good, "id": "n4", "flat_ms": 0},
            {**good, "id": "n5", "flat_ms": 1.5}, {**good, "id": "n6", "enabled": "yes"}, {**good, "id": "x" * 129},
            {**good, "id": "n7", "order_prefix": "ü"}, {"id": "n8"}, 3, {**good, "id": "n9"},
        ]  # fmt: skip
        answered = await made.ask("POST", "/v1/robots", batch)
        assert (answered.status, answered.json["ids"]) == (207, ["n1", "n9"])
        refused = {row["index"]: row["why"] for row in answered.json["refused"]}
        assert set(refused) == set(range(15)) - {0, 14}
        assert "n1" in refused[1]
        assert "nobody" in refused[2]
        assert "priority" in refused[6]
        assert "account" in refused[12]
        assert (await made.ask("POST", "/v1/robots", good)).code == "robot_exists"
        assert (await made.ask("POST", "/v1/robots", {**good, "account": "?"})).code in {"robot_exists", "invalid"}
        assert (await made.ask("POST", "/v1/robots", {**good, "id": "m", "account": "?"})).code == "unknown_account"

    served(test)


def test_a_stopped_account_is_shown_and_resumed() -> None:
    async def test(made: Lab) -> None:
        book = made.venue.books.accounts[0]
        key = book.keys.api_key
        del made.venue.books.by_key[key]  # the exchange knows the key no more
        made.engine.resume_account("a0")  # a worker takes the account up anew
        assert (await made.ask("POST", "/v1/robots/r0/sync")).code == "robot_stopped"
        row = next(row for row in (await made.get("/v1/accounts"))["accounts"] if row["account"] == "a0")
        assert row["stopped"].startswith("auth")
        assert "a0" in (await made.get("/v1/status"))["stopped_accounts"]
        assert (await made.ask("POST", "/v1/robots/r0/sync")).code == "robot_stopped"
        made.venue.books.by_key[key] = book
        assert (await made.ask("POST", "/v1/accounts/a0/resume")).json == {"resumed": "a0"}
        assert (await made.ask("POST", "/v1/robots/r0/sync")).status == 200
        assert (await made.ask("POST", "/v1/accounts/nobody/resume")).code == "unknown_account"

    served(test)


def test_an_account_leaves_with_its_robots_and_goes_another_way_only_where_the_fleet_has_one() -> None:
    async def test(made: Lab) -> None:
        answered = await made.ask("PUT", "/v1/accounts/a0/egress", {"egress": "nowhere"})
        assert (answered.status, answered.code) == (422, "refused")
        assert "nowhere" in answered.json["error"]["message"]
        assert (await made.ask("PUT", "/v1/accounts/a0/egress", {"egress": ""})).json == {"account": "a0", "egress": ""}
        assert (await made.ask("POST", "/v1/robots/r0/sync")).status == 200
        assert (await made.ask("PUT", "/v1/accounts/nobody/egress", {"egress": ""})).code == "unknown_account"
        assert (await made.ask("DELETE", "/v1/accounts/a0")).json == {"removed": "a0"}
        assert (await made.ask("DELETE", "/v1/accounts/a0")).code == "unknown_account"
        assert (await made.ask("GET", "/v1/robots/r0")).code == "unknown_robot"
        assert "a0" not in [row["account"] for row in (await made.get("/v1/accounts"))["accounts"]]
        await until(lambda: "a0" not in made.engine.store.load().accounts, "its row is gone")
        made.engine.add_account(Account("a0", "binanceusdm", *_keys(made, 0)))
        again = {"id": "r0", "account": "a0", "symbol": BTC}
        assert (await made.ask("POST", "/v1/robots", again)).status == 200
        assert (await made.ask("POST", "/v1/robots/r0/sync")).status == 200

    served(test)


def _keys(made: Lab, number: int) -> tuple[Secret, Secret]:
    keys = made.venue.books.accounts[number].keys
    return Secret(keys.api_key), Secret(keys.secret)


def test_the_budget_changes_while_running() -> None:
    async def test(made: Lab) -> None:
        assert (await made.ask("PUT", "/v1/budget", {"calls_per_minute": 777})).json == {"calls_per_minute": 777}
        await asyncio.sleep(0.05)  # a status that took 1 ms may be shown again for 20 ms
        assert (await made.get("/v1/status"))["calls_per_minute"] == 777
        for wrong in ("0", "-1", "1.5", '"100"', "true", "1" + "0" * 40, "null", "[]", "NaN"):
            answered = await made.ask("PUT", "/v1/budget", data=f'{{"calls_per_minute": {wrong}}}',
                                      headers={"Content-Type": "application/json"})
            assert answered.code in {"invalid", "bad_json"}
        assert made.engine.core.settings.calls_per_minute == 777

    served(test)


# -- changes by page

def test_pages_of_changes_follow_each_other_without_gap_or_repeat() -> None:
    async def test(made: Lab) -> None:
        await made.flip("r0", 8)
        await made.flip("r1", 5)
        await until(lambda: made.engine.last_committed == made.engine.core.journal.last_change, "all committed")
        numbers, after = [], 0
        while page := (await made.get(f"/v1/changes?after={after}&limit=3")):
            numbers += [change["number"] for change in page["changes"]]
            assert page["last"] == (numbers[-1] if page["changes"] else after)
            if not page["changes"]:
                break
            after = page["last"]
        assert numbers == list(range(1, made.engine.last_committed + 1))
        of_one = (await made.get("/v1/changes?robot=r1&limit=1000"))["changes"]
        assert len(of_one) == 5
        assert {robot for change in of_one for robot in change["robots"]} == {"r1"}

    served(test)


def test_a_number_that_was_never_given_belongs_to_another_database() -> None:
    async def test(made: Lab) -> None:
        await made.flip("r0", 2)
        last = made.engine.last_committed
        assert (await made.get(f"/v1/changes?after={last}"))["changes"] == []
        for path in (f"/v1/changes?after={last + 1}", f"/v1/changes/stream?after={last + 1}"):
            assert (await made.ask("GET", path)).code == "ahead_of_feed"

    served(test)
