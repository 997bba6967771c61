"""Commands that read a file which no engine has open, and the helps."""

import json
import re
from pathlib import Path

import pytest
from tests.process.cli_support import cli

from fleetsync.model import Change, Phase, Position
from fleetsync.ports import Batch
from fleetsync_adapters.cli.assembly import exchange_ids
from fleetsync_adapters.cli.querying import aligned
from fleetsync_adapters.duckdb_store import DuckDBStore

ROBOT = {
    "account": "main", "symbol": "BTC/USDT:USDT", "priority": 1.0, "enabled": True, "order_prefix": "",
    "holding_ms": None, "working_ms": None, "flat_ms": None, "positions_as_of_ms": 1_000, "orders_as_of_ms": 1_000,
    "conditional_as_of_ms": 0, "last_sync_at_ms": 1_000, "last_event_at_ms": 0, "certainty": "agreed",
}


def _change(number: int, robot: str) -> Change:
    held = {"symbol": "BTC/USDT:USDT", "side": "long", "size": "1.5", "entry_price": "64000", "updated_at_ms": 1_000,
            "hedged": False}
    return Change(number, "main", "BTC/USDT:USDT", (robot,), "position_opened", "position:long", "event", None, held,
                  {"reads": 1}, 1_000, 1_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the database of a run that has ended."""
    store = DuckDBStore(str(tmp_path / "fleetsync.duckdb"))
    store.commit(Batch(
        robots={"r1": {"id": "r1", "phase": int(Phase.HOLDING), "stopped": "", **ROBOT},
                "r2": {"id": "r2", "phase": int(Phase.UNKNOWN), "stopped": "bad_symbol: not listed", **ROBOT}},
        accounts={"main": {"id": "main", "exchange": "binanceusdm", "egress": "", "stopped": "", "last_fault": "down"}},
        positions={("main", "BTC/USDT:USDT", "long"): Position("BTC/USDT:USDT", "long", "1.5", "64000", 1_000)},
        changes=[_change(number, f"r{number % 2 + 1}") for number in range(1, 8)],
    ), 1_000)
    store.close()
    return tmp_path


def test_status_shows_what_the_last_run_left(folder: Path) -> None:
    told = json.loads(cli("status", "--json", cwd=folder).stdout)
    assert told["running"] is False
    assert (told["robots"], told["phases"]["holding"], told["phases"]["unknown"]) == (2, 1, 1)
    assert (told["last_change"], told["positions"]) == (7, 1)
    assert told["failing_accounts"] == {"main": "down"}
    lines = cli("status", cwd=folder).stdout
    assert "not running" in lines
    assert "robot r2: bad_symbol: not listed" in lines


def test_changes_shows_the_last_ones_or_those_above_a_number(folder: Path) -> None:
    def numbers(*arguments: str) -> list[int]:
        return [json.loads(line)["number"] for line in cli("changes", "--json", *arguments, cwd=folder)
                .stdout.splitlines()]

    assert numbers() == [1, 2, 3, 4, 5, 6, 7]
    assert numbers("--limit", "2") == [6, 7]
    assert numbers("--after", "2", "--limit", "3") == [3, 4, 5]
    assert numbers("--after", "7") == []
    assert numbers("--robot", "r1") == [2, 4, 6]
    assert numbers("--robot", "r1", "--limit", "1") == [6]
    (line,) = cli("changes", "--limit", "1", cwd=folder).stdout.splitlines()
    assert line.endswith("r2 main BTC/USDT:USDT position_opened (event) long 1.5 at 64000")


def test_the_database_can_be_named_by_the_environment(folder: Path) -> None:
    named = cli("status", "--json", variables={"FLEETSYNC_DB": str(folder / "fleetsync.duckdb")})
    assert json.loads(named.stdout)["robots"] == 2


def test_query_answers_as_table_csv_and_json(folder: Path) -> None:
    statement = "SELECT id, phase FROM v_robots ORDER BY id"
    assert cli("query", statement, cwd=folder).stdout == "id  phase\nr1  holding\nr2  unknown\n"
    assert cli("query", statement, "--format", "csv", cwd=folder).stdout == "id,phase\nr1,holding\nr2,unknown\n"
    answer = json.loads(cli("query", statement, "--format", "json", "--max-rows", "1", cwd=folder).stdout)
    assert answer == {"columns": ["id", "phase"], "rows": [["r1", "holding"]], "truncated": True}


def test_fleetsync_alone_shows_the_help_and_every_command_has_examples() -> None:
    alone = cli()
    assert alone.returncode == 0
    commands = re.findall(r"^  ([a-z-]+) ", alone.stdout.partition("Commands:")[2], re.MULTILINE)
    assert {"run", "status", "simulate"} <= set(commands)
    for command in (("bench", "budget") if name == "bench" else (name,) for name in commands):
        helped = cli(*command, "--help")
        assert helped.returncode == 0
        assert " ".join(["fleetsync", *command]) in helped.stdout.partition("Examples:")[2]
    assert cli("--version").stdout.startswith("fleetsync ")


def test_exchange_ids_are_those_that_ccxt_knows() -> None:
    ccxt = pytest.importorskip("ccxt")
    assert exchange_ids() == set(ccxt.exchanges)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert list(aligned(("a", "bb"), [["1", ""], ["333", "4"]])) == ["a    bb", "1", "333  4"]
    assert list(aligned(("none",), [])) == ["none"]
