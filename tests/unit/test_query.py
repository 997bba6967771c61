"""The door for users' SQL: what works through it, and everything that must not."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from fleetsync.errors import ConfigError
from fleetsync.model import Position
from fleetsync.ports import Batch
from fleetsync_adapters.duckdb_store import DuckDBStore
from fleetsync_adapters.query import MEBIBYTE, QueryResult, run_query

SYMBOL = "BTC/USDT:USDT"
AT_MS = 1_790_000_000_000

HOSTILE = [
    # files and other databases
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM '/etc/passwd.csv'",
    "SELECT * FROM read_parquet('http://127.0.0.1:1/x')",
    "SELECT * FROM parquet_scan('x.parquet')",
    "SELECT * FROM duckdb_secrets()",
    "COPY robots TO 'out.csv'",
    "COPY (SELECT 1) TO '/dev/stdout'",
    "COPY robots FROM '/etc/passwd'",
    "EXPORT DATABASE 'out'",
    "IMPORT DATABASE 'out'",
    "ATTACH 'other.duckdb' AS other",
    "ATTACH ':memory:' AS other",
    "DETACH fleet",
    "INSTALL httpfs",
    "LOAD httpfs",
    # settings
    "SET memory_limit = '64GB'",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "USE memory",
    # writing
    "INSERT INTO robots (id) VALUES ('x')",
    "UPDATE robots SET stopped = 'x'",
    "DELETE FROM robots",
    "TRUNCATE robots",
    "DROP TABLE robots",
    "ALTER TABLE robots ADD COLUMN x INTEGER",
    "CREATE TABLE x (i INTEGER)",
    "CREATE TEMP TABLE x (i INTEGER)",
    "CREATE VIEW x AS SELECT 1",
    "CREATE SECRET x (TYPE s3)",
    "MERGE INTO robots USING robots AS r ON robots.id = r.id WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM robots RETURNING *) SELECT * FROM gone",
    "WITH new AS (INSERT INTO freezes VALUES ('x', 1) RETURNING *) SELECT * FROM new",
    "EXPLAIN ANALYZE DELETE FROM robots",
    "SELECT * FROM query('DELETE FROM robots')",
    # the session
    "BEGIN",
    "COMMIT",
    "ROLLBACK; DELETE FROM robots",
    "PREPARE p AS DELETE FROM robots",
    "EXECUTE p",
    "CHECKPOINT",
    "VACUUM",
    "CALL pragma_version()",
    "SELECT 1; SELECT 2",
    "",
    ";",
    "-- nothing",
    # Python's own names
    'SELECT * FROM "order"',
    "SELECT * FROM _CONFIG",
    "SELECT getenv('HOME')",
    # not SQL
    "SELEKT 1",
    "SELECT \ud800",
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("query") / "fleet.duckdb"
    store = DuckDBStore(str(path))
    store.commit(Batch(
        robots={f"r{n}": {"account": "main", "symbol": SYMBOL, "phase": n % 4} for n in range(10)},
        positions={("main", SYMBOL, "long"): Position(SYMBOL, "long", "0.001000000000001", "64000.5", AT_MS)},
    ), AT_MS)  # fmt: skip
    store.close()
    return path


def refused(path: Path, sql: str) -> str:
    try:
        run_query(str(path), sql)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def refusals(database: Path) -> Iterator[dict[str, str]]:
    before = hashlib.sha256(database.read_bytes()).digest()
    with ThreadPoolExecutor(os.cpu_count() or 2) as threads:
        texts = threads.map(lambda sql: refused(database, sql), HOSTILE)
        yield dict(zip(HOSTILE, texts, strict=True))
    assert hashlib.sha256(database.read_bytes()).digest() == before
    assert sorted(os.listdir(database.parent)) == [database.name]


@pytest.mark.parametrize("sql", HOSTILE)
def test_a_hostile_statement_is_refused_in_one_line(refusals: dict[str, str], sql: str) -> None:
    assert refusals[sql]
    assert "\n" not in refusals[sql]
    assert "root:" not in refusals[sql]


@pytest.mark.parametrize(("sql", "rows"), [
    ("SELECT count(*) FROM robots", [[10]]),
    ("SELECT id, phase FROM v_robots ORDER BY id LIMIT 2;", [["r0", "unknown"], ["r1", "holding"]]),
    ("SELECT size, entry_price, updated_at FROM v_positions",
     [["0.001000000000", "64000.500000000000", "2026-09-21T14:13:20"]]),
    ("SELECT size FROM positions", [["0.001000000000001"]]),
    ("FROM range(2)", [[0], [1]]),
    ("VALUES (1, 'a'), (2, NULL)", [[1, "a"], [2, None]]),
    ("WITH x AS (SELECT 1 AS i) SELECT * FROM x", [[1]]),
    ("SELECT 9007199254740993, 'nan'::DOUBLE, true, '\\x61'::BLOB, [1, 2], {'a': 1.50}",
     [["9007199254740993", "nan", True, "61", [1, 2], {"a": "1.50"}]]),
    ("SELECT TIMESTAMPTZ '2026-11-01 12:00:00+02', DATE '2026-11-01', INTERVAL 1 DAY",
     [["2026-11-01T10:00:00+00:00", "2026-11-01", "1 day, 0:00:00"]]),
])  # fmt: skip
def test_a_select_answers_values_that_json_can_carry(database: Path, sql: str, rows: list[list[object]]) -> None:
    result = run_query(str(database), sql)
    assert result.rows == rows
    assert not result.truncated


def test_explain_and_show_tables_work(database: Path) -> None:
    assert "robots" in orjson.dumps(run_query(str(database), "EXPLAIN SELECT * FROM robots").rows).decode()
    tables = {row[0] for row in run_query(str(database), "SHOW TABLES").rows}
    assert {"robots", "accounts", "positions", "orders", "changes", "v_robots", "v_positions", "v_orders",
            "v_changes"} <= tables


def test_a_long_query_draws_no_progress_bar_into_its_answer(database: Path) -> None:
    assert run_query(str(database), "SELECT current_setting('enable_progress_bar')").rows == [[False]]


def test_no_view_fails_on_an_empty_or_filled_table(database: Path) -> None:
    for view in ("v_robots", "v_positions", "v_orders", "v_changes"):
        assert run_query(str(database), f"SELECT * FROM {view}").columns


def test_rows_beyond_the_limit_are_cut_and_said_to_be(database: Path) -> None:
    result = run_query(str(database), "FROM range(1000)", max_rows=250)
    assert (len(result.rows), result.truncated) == (250, True)
    result = run_query(str(database), "FROM range(250)", max_rows=250)
    assert (len(result.rows), result.truncated) == (250, False)


def test_an_answer_too_large_to_carry_is_cut_and_said_to_be(database: Path) -> None:
    result = run_query(str(database), "SELECT repeat('x', 1000000) FROM range(100)")
    assert 0 < len(result.rows) < 100
    assert result.truncated


@pytest.mark.parametrize("sql", [
    "SELECT count(*) FROM range(1000000000000)",
    "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range = -1",
    # one function call that the library cannot interrupt: only the end of the process stops it
    "SELECT sum(length(repeat(i::VARCHAR, 60000000))) FROM range(10000) t(i)",
])  # fmt: skip
def test_endless_work_is_stopped_at_its_time(database: Path, sql: str) -> None:
    with pytest.raises(ConfigError, match="stopped after 300 ms"):
        run_query(str(database), sql, timeout_ms=300)


@pytest.mark.parametrize("sql", [
    "SELECT repeat('x', 2000000000)",
    "SELECT count(DISTINCT a.range * b.range) FROM range(100000) a, range(100000) b",
    "SELECT list(range) FROM range(30000000)",
])  # fmt: skip
def test_memory_beyond_the_limit_is_refused(database: Path, sql: str) -> None:
    with pytest.raises(ConfigError, match="memory"):
        run_query(str(database), sql, timeout_ms=30_000, memory_limit=64 * MEBIBYTE)


def test_a_database_in_use_is_refused_with_the_pid_that_holds_it(tmp_path: Path) -> None:
    store = DuckDBStore(str(tmp_path / "busy.duckdb"))
    with pytest.raises(ConfigError, match=f"PID {os.getpid()}.*snapshot"):
        run_query(store.path, "SELECT 1")
    store.snapshot(str(tmp_path / "copy.duckdb"))
    assert run_query(str(tmp_path / "copy.duckdb"), "SELECT count(*) FROM changes").rows == [[0]]
    store.close()


@pytest.mark.parametrize("content", [None, b"", b"hello", b"SQLite format 3\0" + bytes(4096)])
def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.duckdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        run_query(str(path), "SELECT 1")
    assert "\n" not in str(caught.value)
    assert (path.read_bytes() if path.exists() else None) == content


@pytest.mark.parametrize("limit", [{"timeout_ms": 0}, {"max_rows": 0}, {"memory_limit": -1}])
def test_a_limit_that_is_none_is_refused(database: Path, limit: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(limit))):
        run_query(str(database), "SELECT 1", timeout_ms=limit.get("timeout_ms", 1), max_rows=limit.get("max_rows", 1),
                  memory_limit=limit.get("memory_limit", 1))


def test_the_child_gets_the_statement_by_stdin_and_nothing_of_our_environment(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[str], dict[str, str], bytes]] = []
    real = subprocess.run

    def spy(args: list[str], **options: object) -> object:
        env, order = options["env"], options["input"]
        assert isinstance(env, dict)
        assert isinstance(order, bytes)
        seen.append((args, env, order))
        return real(args, **options)  # type: ignore[call-overload] # handed on as it came

    monkeypatch.setattr(subprocess, "run", spy)
    monkeypatch.setenv("MAIN_SECRET", "hush-hush")
    run_query(str(database), "SELECT 'marker'")
    ((args, env, order),) = seen
    assert args[0] == sys.executable
    assert "marker" not in " ".join(args)
    assert b"marker" in order
    assert "hush-hush" not in str(env)


def test_a_result_prints_as_json_and_as_csv() -> None:
    result = QueryResult(("a", "b,c"), [[None, 'x"y'], [True, [1, "z"]]], truncated=False)
    assert orjson.loads(result.as_json()) == {"columns": ["a", "b,c"], "rows": [[None, 'x"y'], [True, [1, "z"]]],
                                              "truncated": False}
    assert result.as_csv() == 'a,"b,c"\n,"x""y"\ntrue,"[1,""z""]"\n'
