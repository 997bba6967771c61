"""What the real command says about wrong input: one clear line, exit code 2, and nothing is lost."""

import os
from pathlib import Path

import duckdb
import pytest
from tests.process.cli_support import cli, fleet_file, refused

from fleetsync_adapters.duckdb_store import DuckDBStore

BTC = "BTC/USDT:USDT"
KEYS = {"MAIN_KEY": "k" * 16, "MAIN_SECRET": "very-secret-indeed"}
NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(("before", "after", "told"), [
    ("", "", ("MAIN_KEY", "not set")),
    ('exchange = "binanceusdm"', 'exchange = "binanceusd"', ("binanceusd'", "did you mean binanceusdm")),
    ('id = "r2"', 'id = "r1"', ("'r1'", "twice")),
    ('id = "r2"', 'id = "r2"\nspeed = 3', ("speed", "unknown")),
    ('id = "r2"', 'id = "r2"\npriority = "high"', ("priority", "'high'")),
    ("[accounts.main]", "[budget]\ncalls_per_minute = 0\n[accounts.main]", ("calls_per_minute", "0")),
], ids=["key variable", "exchange", "id twice", "key", "value", "budget"])
def test_a_wrong_fleet_file_is_refused_in_one_line(tmp_path: Path, before: str, after: str,
                                                   told: tuple[str, str]) -> None:
    path = fleet_file(tmp_path, NOWHERE, {"r1": BTC, "r2": "ETH/USDT:USDT"})
    path.write_text(path.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    keys = dict(KEYS)
    if not before:
        del keys["MAIN_KEY"]
    line = refused(cli("run", str(path), cwd=tmp_path, variables=keys))
    assert all(word in line for word in told)
    assert str(path) in line
    assert not any(secret in line for secret in KEYS.values())
    assert [file.name for file in tmp_path.iterdir()] == ["fleet.toml"]


def test_a_fleet_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "absent.toml" in refused(cli("run", "absent.toml", cwd=tmp_path))


def test_a_database_in_use_is_refused_and_stays_whole(tmp_path: Path) -> None:
    store = DuckDBStore(str(tmp_path / "state.duckdb"))
    try:
        fleet = fleet_file(tmp_path, NOWHERE, {"r1": BTC})
        for arguments in (("run", str(fleet)), ("run",), ("status",), ("changes",), ("query", "SELECT 1")):
            assert "in use by the process with PID" in refused(cli(*arguments, "--db", str(store.path), variables=KEYS))
        assert store.load().last_change == 0
    finally:
        store.close()


def test_another_programs_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    foreign, text = tmp_path / "foreign.duckdb", tmp_path / "text.duckdb"
    with duckdb.connect(str(foreign)) as connection:
        connection.execute("CREATE TABLE theirs AS SELECT 42 AS answer")
    text.write_text("no database", encoding="utf-8")
    before = foreign.read_bytes()
    for command in (("run",), ("status",), ("query", "SELECT * FROM theirs")):
        assert "of another program" in refused(cli(*command, "--db", str(foreign)))
        assert "is not a DuckDB database" in refused(cli(*command, "--db", str(text)))
    assert foreign.read_bytes() == before
    assert text.read_text(encoding="utf-8") == "no database"


def test_reading_a_database_that_is_not_there_is_refused_without_making_one(tmp_path: Path) -> None:
    for command in (("status",), ("changes",), ("query", "SELECT 1")):
        assert "no database at" in refused(cli(*command, "--db", "absent.duckdb", cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "told"), [
    (("run", "--workers", "many"), "--workers"),
    (("run", "--for", "0"), "--for"),
    (("run", "--budget", "0"), "--budget"),
    (("run", "fleet.toml", "--robots", "5"), "--robots"),
    (("run", "--robots", "5000", "--accounts", "1"), "--accounts"),
    (("run", "--http", "8080"), "HOST:PORT"),
    (("run", "--http", "0.0.0.0:0"), "token"),
    (("run", "--http", "127.0.0.1:0", "--http-token-env", "ABSENT"), "'ABSENT'"),
    (("run", "--no-such-option"), "--no-such-option"),
    (("frobnicate",), "frobnicate"),
    (("changes", "--follow", "--db", "absent.duckdb"), "nothing to follow"),
    (("query",), "SQL"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_a_wrong_option_is_refused_in_one_line(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    assert told in refused(cli(*arguments, cwd=tmp_path)).replace("'--", "--")


def test_a_wrong_statement_is_refused_in_one_line(tmp_path: Path) -> None:
    DuckDBStore(str(tmp_path / "state.duckdb")).close()
    for statement in ("SELECT nonsense FROM robots", "DROP TABLE robots", "SELECT 1; SELECT 2"):
        refused(cli("query", statement, "--db", "state.duckdb", cwd=tmp_path))


@pytest.mark.parametrize("command", [("run", "--for", "nan"), ("query", "SELECT 1", "--timeout", "nan"),
                                     ("bench", "budget", "--hours", "nan"), ("run", "--for", "inf")])
def test_what_is_no_number_to_count_with_is_refused(tmp_path: Path, command: tuple[str, ...]) -> None:
    ended = cli(*command, cwd=tmp_path)
    assert ended.returncode == 2
    assert "is not a number to count with" in ended.stderr


def test_a_pipe_in_place_of_a_fleet_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fleet.toml")
    assert "is no file" in refused(cli("run", "fleet.toml", cwd=tmp_path))
