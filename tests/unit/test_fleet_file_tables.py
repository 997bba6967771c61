"""Robots and accounts from CSV and Parquet files: the same checks, told with line and column."""

import gc
from pathlib import Path

import duckdb
import pytest

from fleetsync.errors import ConfigError
from fleetsync.model import Robot
from fleetsync_adapters import fleet_tables
from fleetsync_adapters.fleet_file import Fleet, load_fleet

NAME_RULE = "must be a text of 1 to 128 printable characters without blanks around it"
ENVIRON = {"KEY": "the-api-key", "SECRET": "the-api-secret"}
ACCOUNT = '[accounts.main]\nexchange = "okx"\napi_key_env = "KEY"\napi_secret_env = "SECRET"\n'
ROBOT = '[[robots]]\nid = "r1"\naccount = "main"\nsymbol = "A"\n'


def load(folder: Path, robots: str | bytes, *, text: str = ACCOUNT) -> Fleet:
    data = robots if isinstance(robots, bytes) else robots.encode()
    (folder / "robots.csv").write_bytes(data)
    return load_text(folder, f'robots_file = "robots.csv"\n{text}')


def load_text(folder: Path, text: str) -> Fleet:
    path = folder / "fleet.toml"
    path.write_text(text, encoding="utf-8")
    return load_fleet(path, environ=ENVIRON)


def complaints(folder: Path, robots: str | bytes, *, text: str = ACCOUNT) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, robots, text=text)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def write_parquet(path: Path, rows: str) -> None:
    """Write the rows of a query as a Parquet file; DuckDB itself takes the path literally here."""
    with duckdb.connect() as database:
        database.execute(f"COPY ({rows}) TO '{path}' (FORMAT parquet)")


def test_a_csv_row_fills_the_same_robot_as_a_table(tmp_path: Path) -> None:
    heading = "symbol,id,account,priority,enabled,holding_s,working_s,flat_s,order_prefix\n"
    fleet = load(tmp_path, f"{heading}BTC/USDT:USDT,r1,main,2,false,1.5,2,10,r1-\nX,r2,main,,,,,,\n")
    assert fleet.robots == (
        Robot("r1", "main", "BTC/USDT:USDT", 2.0, enabled=False, holding_ms=1500, working_ms=2000, flat_ms=10_000,
              order_prefix="r1-"),
        Robot("r2", "main", "X"),
    )  # fmt: skip


def test_a_byte_order_mark_windows_line_ends_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    fleet = load(tmp_path, b"\xef\xbb\xbfid,account,symbol\r\n\r\nr1,main,A\r\n\r\nr2,main,\"B\"\r\n")
    assert [(robot.id, robot.symbol) for robot in fleet.robots] == [("r1", "A"), ("r2", "B")]


def test_a_parquet_row_fills_the_same_robot_as_a_csv_row(tmp_path: Path) -> None:
    write_parquet(
        tmp_path / "r.parquet",
        """SELECT 'r1' AS id, 'main' AS account, 'A' AS symbol, 2.0::DOUBLE AS priority, false AS enabled, 3 AS flat_s
        UNION ALL SELECT 'r2', 'main', 'B', NULL, NULL, NULL""",
    )
    fleet = load_text(tmp_path, f'robots_file = "r.parquet"\n{ACCOUNT}')
    assert fleet.robots == (
        Robot("r1", "main", "A", 2.0, enabled=False, flat_ms=3_000),
        Robot("r2", "main", "B"),
    )


def test_a_parquet_file_is_not_taken_for_a_pattern(tmp_path: Path) -> None:
    for name, robot in (("[ab]*.parquet", "right"), ("a.parquet", "wrong")):
        write_parquet(tmp_path / name, f"SELECT '{robot}' AS id, 'main' AS account, 'A' AS symbol")
    fleet = load_text(tmp_path, f'robots_file = "[ab]*.parquet"\n{ACCOUNT}')
    assert [robot.id for robot in fleet.robots] == ["right"]


def test_a_wrong_cell_is_told_with_its_line_and_column(tmp_path: Path) -> None:
    lines = complaints(
        tmp_path,
        'id,account,symbol,flat_s\nr1,main,A,\n"r\n2",main,A,\nr3,main,A,soon\nr4,main,,5\nr5,main\nr6,mian,A,0.2\n',
    )
    assert lines == [
        f"robots.csv line 3 column id: {NAME_RULE}, was 'r\\n2'",
        "robots.csv line 5 column flat_s: must be a number of seconds above 0, was 'soon'",
        f"robots.csv line 6 column symbol: is empty: it {NAME_RULE}",
        "robots.csv line 7: has 2 columns where the first line has 4",
        "robots.csv line 8 column account: no account 'mian' is in the fleet; did you mean main?",
        "robots.csv line 8 column flat_s: must not be below [cadence] floor_s, which is 1000 ms",
    ]


def test_a_wrong_cell_of_a_parquet_file_is_told_with_its_row_and_column(tmp_path: Path) -> None:
    write_parquet(tmp_path / "r.parquet", "SELECT 'r' || i AS id, 'main' AS account, nullif('A' || i, 'A2') AS symbol "
                  "FROM range(3) t(i)")  # fmt: skip
    with pytest.raises(ConfigError, match=r"^r.parquet row 3 column symbol: is empty: "):
        load_text(tmp_path, f'robots_file = "r.parquet"\n{ACCOUNT}')


def test_one_robot_in_two_places_is_told_with_both(tmp_path: Path) -> None:
    lines = complaints(tmp_path, "id,account,symbol\nr1,main,A\nr2,main,A\nr2,main,B\n", text=ACCOUNT + ROBOT)
    assert lines == [
        "robots.csv line 2 column id: robot 'r1' is there twice, first at fleet.toml: robots[0].id",
        "robots.csv line 4 column id: robot 'r2' is there twice, first at robots.csv line 3 column id",
    ]


@pytest.mark.parametrize(
    ("robots", "told"),
    [
        ("", "robots.csv: is empty: the first line must name the columns"),
        ("id,account\nr1,main\n", "robots.csv line 1: lacks the column symbol"),
        ("id,account,symbl\n", "robots.csv line 1 column symbl: unknown key; did you mean symbol?"),
        ("id,account,symbol,id\n", "robots.csv line 1 column id: is there twice"),
        ("id,account,symbol\n",
         "fleet.toml: no robots in the fleet: declare them as [[robots]], or name a robots_file"),
        ('id,account,symbol\nr1,main,"A\n', "robots.csv line 2: is not CSV: unexpected end of data"),
        (b"id,account,symbol\nr1,main,\xff\n", "robots.csv: is not UTF-8 text (a byte 0xff after line 0)"),
        ("id,account,symbol\nr1,main," + "A" * 200_000,
         "robots.csv line 2: is not CSV: field larger than field limit (131072)"),
    ],
)  # fmt: skip
def test_a_csv_file_that_is_no_table_is_told_in_one_line(tmp_path: Path, robots: str | bytes, told: str) -> None:
    assert complaints(tmp_path, robots) == [told]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ('"none.csv"', "no such file: 'none.csv'"),
        ('"."', "no such file: '.'"),
        ('"fleet.toml"', "must name a .csv or .parquet file, was 'fleet.toml'"),
        ("7", "must be the path of a CSV or Parquet file, was 7"),
        ('"nul\\u0000.csv"', "no such file: 'nul\\x00.csv'"),
    ],
)
def test_a_table_file_that_cannot_be_used_is_told(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, f"robots_file = {name}\n{ACCOUNT}")
    assert str(caught.value) == f"{tmp_path}/fleet.toml: robots_file: {told}"


def test_a_file_that_only_says_it_is_parquet_is_told(tmp_path: Path) -> None:
    (tmp_path / "r.parquet").write_text("id,account,symbol\n")
    with pytest.raises(ConfigError, match=r"^r.parquet: cannot be read as Parquet: "):
        load_text(tmp_path, f'robots_file = "r.parquet"\n{ACCOUNT}')


def test_one_account_in_two_places_is_told_with_both(tmp_path: Path) -> None:
    (tmp_path / "accounts.csv").write_text("id,exchange,api_key_env,api_secret_env\nmain,okx,KEY,SECRET\n")
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, f'accounts_file = "accounts.csv"\n{ACCOUNT}{ROBOT}')
    told = f"accounts.csv line 2: account 'main' is there twice, first at {tmp_path}/fleet.toml: [accounts.main]"
    assert str(caught.value) == told


def test_a_larger_table_file_than_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_tables, "MOST_BYTES", 20)
    assert complaints(tmp_path, "id,account,symbol\nr1,main,A\n") == [
        "fleet.toml: robots_file: 'robots.csv' is larger than 0 MiB"
    ]


def test_more_rows_than_the_bound_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_tables, "MOST_ROWS", 2)
    rows = "".join(f"r{n},main,A\n" for n in range(3))
    assert complaints(tmp_path, "id,account,symbol\n" + rows) == ["robots.csv: has more than 2 rows"]


def test_accounts_come_from_a_table_file_with_their_keys_from_the_environment(tmp_path: Path) -> None:
    rows = "id,exchange,api_key_env,api_secret_env\na1,okx,KEY,SECRET\na2,okx,KEY,NONE\n"
    (tmp_path / "accounts.csv").write_text(rows)
    (tmp_path / "robots.csv").write_text("id,account,symbol\nr1,a1,A\nr2,a2,A\n")
    text = 'accounts_file = "accounts.csv"\nrobots_file = "robots.csv"\n'
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text)
    assert str(caught.value) == (
        "accounts.csv line 3 column api_secret_env: account 'a2' needs the environment variable NONE, "
        "which is not set; set it before the start"
    )
    path = tmp_path / "fleet.toml"
    fleet = load_fleet(path, environ=ENVIRON | {"NONE": "now-there"})
    assert [account.api_secret.reveal for account in fleet.accounts] == ["the-api-secret", "now-there"]


def test_a_secret_as_a_column_is_refused_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "accounts.csv").write_text("id,exchange,api_key\na1,okx,hunter2\n")
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, f'accounts_file = "accounts.csv"\n{ACCOUNT}')
    assert str(caught.value).startswith("accounts.csv line 1 column api_key: a secret never stands in a file: ")
    assert "hunter2" not in str(caught.value)


def test_a_hundred_thousand_rows_make_a_hundred_thousand_robots(tmp_path: Path) -> None:
    """Neither form loses a row or its order across the reader's portions."""
    count = 100_001
    expected = [f"r{number}" for number in range(count)]
    rows = "".join(f"{robot},main,S{number % 600}\n" for number, robot in enumerate(expected))
    assert [robot.id for robot in load(tmp_path, f"id,account,symbol\n{rows}").robots] == expected
    gc.collect()
    write_parquet(tmp_path / "r.parquet", f"SELECT * FROM read_csv('{tmp_path / 'robots.csv'}')")
    fleet = load_text(tmp_path, f'robots_file = "r.parquet"\n{ACCOUNT}')
    assert [robot.id for robot in fleet.robots] == expected
