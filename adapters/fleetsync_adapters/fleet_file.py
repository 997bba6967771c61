"""The fleet file: what to keep in sync, on which exchanges, within which budget. TOML.

Everything wrong with it is found in one reading and told with file, key and what is allowed. Secrets never stand in it:
accounts name environment variables.
"""

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fleetsync.config import CADENCE_MODES, SPEND_MODES, Settings
from fleetsync.errors import ConfigError
from fleetsync.model import Account, Robot
from fleetsync_adapters.fleet_checks import (
    NAME,
    Key,
    Kind,
    Place,
    Problems,
    choice_kind,
    count_kind,
    number_kind,
    read_keys,
    seconds_kind,
    shown,
    shown_key,
    unknown_key,
)
from fleetsync_adapters.fleet_exchanges import ExchangeConfig, read_exchanges
from fleetsync_adapters.fleet_rows import Accounts, Robots
from fleetsync_adapters.fleet_tables import Table, open_table

MOST_BYTES = 8 * 1024**2  # some 50,000 robots; larger fleets are rows of a file of their own
_TOP_KEYS = ("budget", "cadence", "proof", "engine", "store", "exchanges", "accounts", "accounts_file", "robots",
             "robots_file")
SECTIONS = {
    "budget": ("calls_per_minute", "urgent_share", "grant_valid_ms", "network_jitter_ms"),
    "cadence": ("holding_ms", "working_ms", "flat_ms", "jitter", "mode", "spend", "floor_ms", "holding_ceiling_ms",
                "flat_ceiling_ms"),
    "proof": ("confirm_gap_ms", "settle_ms", "visibility_grace_ms", "doubt_retry_ms"),
    "engine": ("workers", "call_timeout_ms", "in_flight_per_worker", "worker_silence_ms", "backoff_ms",
               "backoff_max_ms", "account_calls_per_second"),
    "store": ("heartbeat_ms", "sync_records_per_second"),
}
_KINDS = {
    "calls_per_minute": count_kind(1, 100_000_000),
    "urgent_share": number_kind(0, 0.9),
    "jitter": number_kind(0, 0.5),
    "mode": choice_kind(CADENCE_MODES),
    "spend": choice_kind(SPEND_MODES),
    "workers": count_kind(0, 1_024),
    "sync_records_per_second": count_kind(0, 1_000_000),
    "network_jitter_ms": seconds_kind(zero=True),
    "confirm_gap_ms": seconds_kind(zero=True),
}


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet as declared: every account has its keys, every robot its account, every account its exchange."""

    settings: Settings
    accounts: tuple[Account, ...]
    robots: tuple[Robot, ...]
    exchanges: dict[str, ExchangeConfig]  # every exchange that an account or a table names
    store_path: Path | None = None


def load_fleet(
    path: str | os.PathLike[str],
    *,
    environ: Mapping[str, str] = os.environ,
    known_exchange: Callable[[str], bool] | None = None,
    exchange_ids: Sequence[str] = (),
) -> Fleet:
    """Read and check a fleet file and the table files it names.

    Args:
        path: the TOML file; the files it names are relative to it.
        environ: where the accounts' keys are.
        known_exchange: whether an exchange id exists; None leaves that check to who opens the exchange.
        exchange_ids: the ids to suggest from when one is unknown.

    Raises:
        ConfigError: something is wrong; its first line is the first problem, the others follow.
    """
    name = os.fspath(path)
    document = _read_toml(name)
    problems = Problems()
    for key in document:
        if key not in _TOP_KEYS:
            problems.add(Place(name).at(shown_key(key)), unknown_key(key, _TOP_KEYS))
    settings, store_path = _settings(document, name, problems)
    accounts = Accounts(problems, environ, known_exchange, exchange_ids)
    accounts.add_tables(document.get("accounts", {}), name)
    if table := _table(document, "accounts_file", name, problems):
        accounts.add_rows(table)
    exchanges = read_exchanges(document.get("exchanges", {}), name, settings, accounts)
    robots = Robots(problems, accounts, settings.floor_ms)
    robots.add_tables(document.get("robots", []), name)
    if table := _table(document, "robots_file", name, problems):
        robots.add_rows(table)
    if not robots.found and not problems.count:
        problems.add(name, "no robots in the fleet: declare them as [[robots]], or name a robots_file")
    problems.raise_if_any()
    return Fleet(settings, tuple(accounts.found.values()), tuple(robots.found), exchanges, store_path)


def _read_toml(name: str) -> dict[str, Any]:
    if os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name):
        raise ConfigError(f"{name}: is no file; name a fleet file in TOML")  # a pipe would be waited for
    try:
        with open(name, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{name}: cannot be read: {why}; name a fleet file in TOML") from error
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{name}: is larger than {MOST_BYTES // 1024**2} MiB; keep the robots of a large fleet in a "
                          "CSV or Parquet file and name it as robots_file")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}: line {line} is not UTF-8 text; save the file as UTF-8") from error
    except ValueError as error:
        twice = "overwrite" in str(error) or "twice" in str(error)
        told = "a key or table is there twice" if twice else "not TOML"
        raise ConfigError(f"{name}: {told}: {str(error).partition(';')[0]}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: not TOML: nested too deeply") from error


def _table(document: Mapping[str, Any], key: str, name: str, problems: Problems) -> Table | None:
    """The table file that a top-level key names, if it is there and can be used."""
    if key not in document:
        return None
    place = Place(name).at(key)
    value = document[key]
    if not isinstance(value, str) or not value:
        problems.add(place, f"must be the path of a CSV or Parquet file, was {shown(value)}")
        return None
    return open_table(value, Path(name).parent, place, problems)


def _settings(document: Mapping[str, Any], name: str, problems: Problems) -> tuple[Settings, Path | None]:
    """The settings, and the store's file if one is named; the defaults where something is wrong."""
    found: dict[str, Any] = {}
    for section in SECTIONS:
        if section in document:
            place = Place(name, section)
            found |= read_keys(document[section], setting_keys(section), place, problems)
    store = found.pop("path", None)
    store_path = None if store is None else Path(name).parent / store
    settings = Settings()
    intervals = {key: found.get(key, getattr(settings, key)) for key in ("holding_ms", "working_ms", "flat_ms")}
    floor_ms = found.get("floor_ms", settings.floor_ms)
    shortest = min(intervals, key=lambda key: intervals[key])
    if floor_ms > intervals[shortest]:
        problems.add(
            Place(name, "cadence").at("floor_s"),
            f"must not be above an interval: it is {floor_ms} ms, {_toml_key(shortest)} is {intervals[shortest]} ms",
        )
        return settings, store_path
    try:
        return Settings(**found), store_path
    except ConfigError as error:
        problems.add(name, error.message)
        return settings, store_path


def setting_keys(section: str) -> dict[str, Key]:
    """The keys of one table of settings; a field `flat_ms` of `Settings` is the key `flat_s`, in seconds."""
    defaults = {entry.name: entry.default for entry in fields(Settings)}
    names = SECTIONS[section]
    keys = {_toml_key(name): Key(name, _KINDS.get(name) or _kind_of(name, defaults[name])) for name in names}
    if section == "store":
        keys["path"] = Key("path", NAME)
    return keys


def _toml_key(name: str) -> str:
    return f"{name.removesuffix('_ms')}_s" if name.endswith("_ms") else name


def _kind_of(name: str, default: object) -> Kind:
    assert isinstance(default, int), f"give the setting {name} a kind"
    return seconds_kind() if name.endswith("_ms") else count_kind(1, 1_000_000)
