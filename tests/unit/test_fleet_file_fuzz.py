"""Whatever stands in a fleet's files: a fleet or a ConfigError comes out, and no secret is told."""

import string
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fuzzing import tried

from fleetsync.errors import ConfigError
from fleetsync_adapters.fleet_file import SECTIONS, load_fleet, setting_keys

SECRET = "zq8Wv3Secret"
ENVIRON = {"KEY": SECRET, "SECRET": SECRET, "PROXY": f"http://{SECRET}@h"}
GOOD = """robots_file = "robots.csv"
[budget]
calls_per_minute = 1200
[cadence]
holding_s = 5
flat_s = 30
[exchanges.okx]
base_url = "http://127.0.0.1:18080"
surfaces = ["positions"]
[exchanges.okx.quotas.weight]
limit = 5
[exchanges.okx.egress.east]
proxy_env = "PROXY"
[accounts.main]
exchange = "okx"
api_key_env = "KEY"
api_secret_env = "SECRET"
egress = "east"
[[robots]]
id = "r1"
account = "main"
symbol = "BTC/USDT:USDT"
priority = 2
"""
CSV = "id,account,symbol,priority,enabled,flat_s\nr2,main,A,1,true,5\nr3,main,\"B\",,,\n"

scalars = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.dates(), st.text(max_size=20),
    st.sampled_from(["okx", "main", "KEY", "", SECRET]),
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
names = st.sampled_from(
    [key for section in SECTIONS for key in setting_keys(section)]
    + ["id", "account", "symbol", "priority", "enabled", "exchange", "api_key_env", "api_key", "egress", "quotas",
       "costs", "proxy", "limit", "weights", "options", "base_url", "surfaces", "page_rows", "east", "main", "okx"]
) | st.text(max_size=6)  # fmt: skip
tables = st.dictionaries(names, values | st.dictionaries(names, values, max_size=4), max_size=5)
documents = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(SECTIONS, tables | values),
        "exchanges": st.dictionaries(names, tables | values, max_size=3) | values,
        "accounts": st.dictionaries(names, tables | values, max_size=3) | values,
        "robots": st.lists(tables | values, max_size=3) | values,
        "robots_file": values,
        "accounts_file": st.just("robots.csv") | values,
    },
)


def toml(value: object) -> str:
    """A value as TOML writes it inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(c if c in string.ascii_letters + " /:" else f"\\U{ord(c):08x}" for c in value) + '"'
    return str(value)


def damaged(text: bytes, pieces: list[bytes], data: st.DataObject) -> bytes:
    """The text with a few short parts replaced."""
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 12))
        text = text[:start] + data.draw(st.binary(max_size=6) | st.sampled_from(pieces)) + text[end:]
    return text


def only_config_error(fleet: bytes, robots: bytes) -> bool:
    """Load a fleet of these bytes; whether it was one."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.toml"
        path.write_bytes(fleet)
        (Path(folder) / "robots.csv").write_bytes(robots)
        try:
            loaded = load_fleet(path, environ=ENVIRON, known_exchange={"okx"}.__contains__, exchange_ids=["okx"])
        except ConfigError as error:
            lines = str(error).splitlines()
            assert 1 <= len(lines) <= 21
            assert lines[0].isprintable()
            return False
        assert loaded.robots
        assert {robot.account for robot in loaded.robots} <= {account.id for account in loaded.accounts}
        assert SECRET not in repr(loaded.accounts)
        return True


def test_the_good_files_of_this_fuzz_are_good() -> None:
    assert only_config_error(GOOD.encode(), CSV.encode())


@given(documents)
@tried(300)
def test_any_toml_document_gives_a_fleet_or_a_config_error(document: dict[str, object]) -> None:
    text = "".join(f"{key} = {toml(value)}\n" for key, value in document.items())
    only_config_error(text.encode("utf-8", "surrogatepass"), CSV.encode())


@given(st.data())
@tried(300)
def test_a_damaged_fleet_file_gives_a_fleet_or_a_config_error(data: st.DataObject) -> None:
    only_config_error(damaged(GOOD.encode(), [b"[", b'"', b"\n", b"=", b"'''", b"{"], data), CSV.encode())


@given(st.data())
@tried(300)
def test_a_damaged_csv_gives_a_fleet_or_a_config_error(data: st.DataObject) -> None:
    rows = damaged(CSV.encode(), [b",", b'"', b"\r", b"\n", b"\0", b"nan", b"1e999", b"\xc5\xbf"], data)
    only_config_error(GOOD.encode(), rows)
