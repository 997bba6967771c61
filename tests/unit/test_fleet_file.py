"""The fleet file: what it fills in, and how each mistake is told."""

from dataclasses import fields
from pathlib import Path

import pytest
from tests.unit.fleet_texts import ACCOUNT, ROBOT, complaint, complaints, load

from fleetsync.config import Settings
from fleetsync.errors import ConfigError
from fleetsync.model import Robot, Surface
from fleetsync_adapters import fleet_file
from fleetsync_adapters.fleet_file import load_fleet

FULL = """
[budget]
calls_per_minute = 900
urgent_share = 0
[cadence]
holding_s = 2.007
flat_s = 60
mode = "adaptive"
spend = "all"
[engine]
workers = 0
call_timeout_s = 4
[store]
path = "state/fleet.duckdb"
[exchanges.binanceusdm]
base_url = "http://127.0.0.1:18080/"
surfaces = ["positions", "conditional"]
page_rows = { fills = 500 }
order_retention_s = 3600
options = { defaultType = "swap", nested = { list = [1, 2] } }
[exchanges.binanceusdm.quotas.weight]
limit = 1200
[exchanges.binanceusdm.costs."orders:symbol"]
weights = { weight = 2 }
[exchanges.binanceusdm.egress.east]
proxy = "http://10.0.0.1:3128"
[exchanges.binanceusdm.egress.direct]
[accounts.main]
exchange = "binanceusdm"
api_key_env = "MAIN_KEY"
api_secret_env = "MAIN_SECRET"
password_env = "MAIN_PASSPHRASE"
egress = "east"
[[robots]]
id = "r1"
account = "main"
symbol = "BTC/USDT:USDT"
priority = 2
enabled = false
holding_s = 1.5
working_s = 3
flat_s = 10
order_prefix = "r1-"
"""


def test_the_smallest_fleet_takes_every_default(tmp_path: Path) -> None:
    fleet = load(tmp_path, ACCOUNT + ROBOT)
    assert fleet.settings == Settings()
    assert fleet.robots == (Robot("r1", "main", "BTC/USDT:USDT"),)
    assert [(account.id, account.exchange) for account in fleet.accounts] == [("main", "binanceusdm")]
    assert fleet.exchanges["binanceusdm"].base_url == ""
    assert fleet.store_path is None


def test_every_table_reaches_its_field(tmp_path: Path) -> None:
    fleet = load(tmp_path, FULL)
    assert fleet.settings == Settings(
        calls_per_minute=900, urgent_share=0.0, holding_ms=2007, flat_ms=60_000, mode="adaptive", spend="all",
        workers=0, call_timeout_ms=4000,
    )  # fmt: skip
    assert fleet.robots == (
        Robot("r1", "main", "BTC/USDT:USDT", 2.0, enabled=False, holding_ms=1500, working_ms=3000, flat_ms=10_000,
              order_prefix="r1-"),
    )  # fmt: skip
    account, exchange = fleet.accounts[0], fleet.exchanges["binanceusdm"]
    secrets = (account.api_key.reveal, account.api_secret.reveal, account.password.reveal)
    assert secrets == ("the-api-key", "the-api-secret", "the-passphrase")
    assert account.egress == "east"
    assert exchange.base_url == "http://127.0.0.1:18080"
    assert exchange.call_timeout_ms == 4000
    assert exchange.surfaces == (Surface.POSITIONS, Surface.CONDITIONAL)
    assert exchange.proxies == {"east": "http://10.0.0.1:3128", "direct": ""}
    assert exchange.options == {"defaultType": "swap", "nested": {"list": [1, 2]}}
    assert exchange.overrides == {
        "quotas": {"weight": {"limit": 1200}},
        "costs": {"orders:symbol": {"weights": {"weight": 2}}},
        "page_rows": {"fills": 500},
        "surfaces": ["positions", "conditional"],
        "order_retention_ms": 3_600_000,
    }
    assert fleet.store_path == tmp_path / "state/fleet.duckdb"


def test_every_setting_has_a_key_of_its_own() -> None:
    keys = [key for section in fleet_file.SECTIONS for key in fleet_file.setting_keys(section).values()]
    named = sorted(key.field for key in keys if key.field != "path")
    assert named == sorted(setting.name for setting in fields(Settings))


def test_an_unknown_key_is_refused_with_the_near_ones(tmp_path: Path) -> None:
    text = "[cadence]\nflt_s = 30" + ACCOUNT + ROBOT
    assert complaint(tmp_path, text) == "fleet.toml: [cadence] flt_s: unknown key; did you mean flat_s or floor_s?"


def test_an_unknown_table_is_refused_with_those_there_are(tmp_path: Path) -> None:
    told = complaint(tmp_path, "[zzz]\na = 1" + ACCOUNT + ROBOT)
    assert told.startswith("fleet.toml: zzz: unknown key; allowed: budget, cadence, ")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[cadence]\nflat_s = -3", "[cadence] flat_s: must be a number of seconds above 0, was -3"),
        ("[cadence]\nflat_s = nan", "[cadence] flat_s: must be a number of seconds above 0, was nan"),
        ("[cadence]\nflat_s = 1e300", "[cadence] flat_s: must be a number of seconds above 0, was 1e+300"),
        ("[cadence]\nflat_s = true", "[cadence] flat_s: must be a number of seconds above 0, was True"),
        ("[cadence]\nflat_s = [30]", "[cadence] flat_s: must be a number of seconds above 0, was a list"),
        ("[cadence]\nflat_s = 2026-11-22", "[cadence] flat_s: must be a number of seconds above 0, was a date or time"),
        ("[cadence]\nmode = 'fast'", "[cadence] mode: must be one of fixed, adaptive, was 'fast'"),
        ("[budget]\nurgent_share = 1", "[budget] urgent_share: must be a number from 0 to 0.9, was 1"),
        ("[budget]\ncalls_per_minute = 0.5",
         "[budget] calls_per_minute: must be a whole number from 1 to 100,000,000, was 0.5"),
        ("[budget]\ncalls_per_minute = true",
         "[budget] calls_per_minute: must be a whole number from 1 to 100,000,000, was True"),
        ("[engine]\nworkers = -1", "[engine] workers: must be a whole number from 0 to 1,024, was -1"),
        ("[cadence]\nfloor_s = 6",
         "[cadence] floor_s: must not be above an interval: it is 6000 ms, holding_s is 5000 ms"),
        ("budget = 3", "[budget]: must be a table, was 3"),
        ("[exchanges.okx]\nsurfaces = ['fills']",
         "[exchanges.okx] surfaces: must be a list of positions, orders, conditional, each at most once, was a list"),
        ("[exchanges.okx.quotas.weight]\nlimit = 0",
         "[exchanges.okx.quotas.weight] limit: must be a whole number from 1 to 1,000,000,000, was 0"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_its_place_and_what_is_allowed(tmp_path: Path, line: str, told: str) -> None:
    assert complaint(tmp_path, f"{line}\n{ACCOUNT}{ROBOT}") == f"fleet.toml: {told}"


def test_a_robot_with_a_wrong_value_is_told_by_its_index(tmp_path: Path) -> None:
    text = ACCOUNT + ROBOT + ROBOT.replace("r1", "r2").replace('"BTC/USDT:USDT"', "7")
    assert complaint(tmp_path, text) == (
        "fleet.toml: robots[1].symbol: "
        "must be a text of 1 to 128 printable characters without blanks around it, was 7"
    )


@pytest.mark.parametrize("name", ["", " r1", "r1 ", "r\\n1", "r" * 129])
def test_a_name_that_would_be_mistaken_is_refused(tmp_path: Path, name: str) -> None:
    told = complaint(tmp_path, ACCOUNT + ROBOT.replace("r1", name))
    assert told.startswith("fleet.toml: robots[0].id: must be a text of 1 to 128 printable characters ")
    text = ACCOUNT.replace("[accounts.main]", f'[accounts."{name}"]')
    assert "an account's id must be a text of 1 to 128 printable" in complaints(tmp_path, text + ROBOT)[0]


def test_a_priority_of_zero_is_refused(tmp_path: Path) -> None:
    told = complaint(tmp_path, ACCOUNT + ROBOT + "priority = 0")
    assert told == "fleet.toml: robots[0].priority: must be a number from 0.001 to 1,000,000, was 0"


def test_a_robot_without_a_symbol_is_told_what_is_missing(tmp_path: Path) -> None:
    told = complaint(tmp_path, ACCOUNT + '[[robots]]\nid = "r1"\naccount = "main"')
    assert told.startswith("fleet.toml: robots[0]: symbol is missing: it must be a text ")


def test_a_robots_own_interval_is_not_below_the_floor(tmp_path: Path) -> None:
    told = complaint(tmp_path, ACCOUNT + ROBOT + "flat_s = 0.5")
    assert told == "fleet.toml: robots[0].flat_s: must not be below [cadence] floor_s, which is 1000 ms"


def test_two_robots_with_one_id_are_told_with_both_places(tmp_path: Path) -> None:
    told = complaint(tmp_path, ACCOUNT + ROBOT + ROBOT)
    assert told == "fleet.toml: robots[1].id: robot 'r1' is there twice, first at fleet.toml: robots[0].id"


def test_a_robot_on_an_account_that_is_not_there_is_told_the_near_one(tmp_path: Path) -> None:
    told = complaint(tmp_path, ACCOUNT + ROBOT.replace("main", "mian"))
    assert told == "fleet.toml: robots[0].account: no account 'mian' is in the fleet; did you mean main?"


def test_an_unknown_exchange_is_told_once_with_the_near_ones(tmp_path: Path) -> None:
    text = "[exchanges.binanceusm]\n" + ACCOUNT.replace("usdm", "usm") + ACCOUNT.replace("usdm", "usm").replace(
        "main", "other") + ROBOT  # fmt: skip
    told = complaint(tmp_path, text)
    assert told == (
        "fleet.toml: [accounts.main] exchange: unknown exchange 'binanceusm'; did you mean binanceusdm or binance?"
    )


def test_a_missing_key_variable_is_told_with_account_key_and_variable(tmp_path: Path) -> None:
    told = complaint(tmp_path, ACCOUNT + ROBOT, {"MAIN_KEY": "x", "MAIN_SECRET": " "})
    assert told == (
        "fleet.toml: [accounts.main] api_secret_env: account 'main' needs the environment variable MAIN_SECRET, "
        "which is not set; set it before the start"
    )


def test_an_egress_that_is_not_declared_is_refused(tmp_path: Path) -> None:
    text = "[exchanges.binanceusdm.egress.east]\n" + ACCOUNT + 'egress = "eats"\n' + ROBOT
    assert complaint(tmp_path, text) == (
        "fleet.toml: [accounts.main]: egress 'eats' is not declared; did you mean east?; "
        "declare it as [exchanges.binanceusdm.egress.eats]"
    )


def test_all_problems_are_told_in_the_order_of_reading(tmp_path: Path) -> None:
    text = "[budget]\ncalls_per_minute = 0\n[cadence]\nholding = 5" + ACCOUNT + ROBOT.replace("main", "x")
    places = [line.split(": ")[1] for line in complaints(tmp_path, text)]
    assert places == ["[budget] calls_per_minute", "[cadence] holding", "robots[0].account"]


def test_no_more_than_twenty_problems_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    robots = "".join(ROBOT.replace("main", "x").replace("r1", f"r{number}") for number in range(50))
    lines = complaints(tmp_path, ACCOUNT + robots)
    assert len(lines) == 21
    assert lines[-1] == "... and 30 more problems"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"[budget]\ncalls_per_minute = 1\ncalls_per_minute = 2\n", "a key or table is there twice: "),
        (b"[budget]\n[budget]\n", "a key or table is there twice: "),
        (b"[budget\n", "not TOML: "),
        (b"a = " + b"[" * 100_000, "not TOML: nested too deeply"),
        (b"a = " + b"9" * 5_000, "not TOML: Exceeds the limit"),
        (b"a = 1\n# \xff\n", "line 2 is not UTF-8 text"),
        (b"#" * (8 * 1024**2 + 1), "is larger than 8 MiB; "),
        (b"", "no robots in the fleet: "),
    ],
)
def test_a_file_that_is_no_fleet_is_told_in_one_line(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "fleet.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_fleet(path, environ={})
    assert str(caught.value).startswith(f"{path}: {told}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_a_folder_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path, "nul\0byte"):
        with pytest.raises(ConfigError, match="cannot be read: "):
            load_fleet(path)


def test_a_key_of_the_top_that_slid_into_a_table_is_told_where_it_belongs(tmp_path: Path) -> None:
    told = complaint(tmp_path, ACCOUNT + 'robots_file = "robots.csv"' + ROBOT)
    assert told == (
        "fleet.toml: [accounts.main] robots_file: must stand at the top of the file, before the first [table]"
    )
