"""The `[exchanges.<ccxt id>]` tables of a fleet file: where an exchange is, its ways out, its limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetsync.config import Settings
from fleetsync.model import Surface
from fleetsync.units import DAY_MS
from fleetsync_adapters.fleet_checks import (
    FLAG,
    NAME,
    URL,
    Key,
    Kind,
    Place,
    count_kind,
    did_you_mean,
    is_secret_name,
    name_of,
    read_keys,
    seconds_kind,
    shown,
    shown_key,
)
from fleetsync_adapters.fleet_rows import VARIABLE, Accounts

_SYNCED = (Surface.POSITIONS, Surface.ORDERS, Surface.CONDITIONAL)
_DEEPEST_OPTION = 4


@dataclass(frozen=True, slots=True)
class ExchangeConfig:
    """What the fleet file says about one exchange."""

    exchange: str  # ccxt id
    base_url: str = ""  # "": the exchange's own hosts
    call_timeout_ms: int = 10_000
    surfaces: tuple[Surface, ...] = ()  # (): those of the tariff
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # by egress; "": that egress has no proxy
    options: Mapping[str, Any] = field(default_factory=dict)  # for the exchange's client
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """For `tariffs.load_tariff`, in its shape; only what the file has."""


def _surfaces(value: Any) -> tuple[Surface, ...]:
    if not isinstance(value, list) or not value or len(set(map(str, value))) != len(value):
        raise ValueError("no list of surfaces")
    found = tuple(Surface(word) for word in value)
    if not set(found) <= set(_SYNCED):
        raise ValueError("not a surface that a sync brings")
    return found


def _options(value: Any, depth: int = 0) -> Any:
    """Plain values under names that hold no credential."""
    if isinstance(value, dict) and depth < _DEEPEST_OPTION and not any(map(is_secret_name, value)):
        return {name: _options(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list) and depth < _DEEPEST_OPTION:
        return [_options(inner, depth + 1) for inner in value]
    if isinstance(value, str | int | float | bool) and depth:
        return value
    raise ValueError("not plain, or a secret")


def _tables(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("no table")  # noqa: TRY004 - every kind refuses with ValueError
    return value


_TABLES = Kind("a table of tables", _tables)
_KEYS = {
    "base_url": Key("base_url", URL),
    "call_timeout_s": Key("call_timeout_ms", seconds_kind()),
    "surfaces": Key("surfaces", Kind(f"a list of {', '.join(_SYNCED)}, each at most once", _surfaces)),
    "options": Key("options", Kind("a table of plain values, no credential among them", _options, private=True)),
    "positions_show_orders": Key("positions_show_orders", FLAG),
    "order_retention_s": Key("order_retention_ms", seconds_kind()),
    "quotas": Key("quotas", _TABLES),
    "costs": Key("costs", _TABLES),
    "page_rows": Key("page_rows", _TABLES),
    "egress": Key("egress", _TABLES),
}
_QUOTA_KEYS = {
    "limit": Key("limit", count_kind(1, 1_000_000_000)),
    "window_ms": Key("window_ms", count_kind(1, DAY_MS)),
    "aligned": Key("aligned", FLAG),
}
_COST_KEYS = {"weights": Key("weights", _TABLES, required=True)}
_PAGE_KEYS = {surface.value: Key(surface.value, count_kind(1, 1_000_000)) for surface in Surface}
_FACTS = ("positions_show_orders", "order_retention_ms")
_EGRESS_KEYS = {
    "proxy": Key("proxy", URL),
    "proxy_env": Key("proxy_env", VARIABLE),
}
_WEIGHT = count_kind(1, 1_000_000)


def read_exchanges(tables: object, file: str, settings: Settings, accounts: Accounts) -> dict[str, ExchangeConfig]:
    """Every exchange that a table or an account names; what is wrong goes to the accounts' problems."""
    problems = accounts.problems
    found: dict[str, ExchangeConfig] = {}
    if not isinstance(tables, dict):
        problems.add(Place(file, "exchanges").at(), "must hold one table an exchange, like [exchanges.binanceusdm]")
        tables = {}
    for exchange, table in tables.items():
        place = Place(file, f"exchanges.{shown_key(exchange)}")
        if accounts.check_exchange(exchange, place.at()):
            fields = {"call_timeout_ms": settings.call_timeout_ms, **read_keys(table, _KEYS, place, problems)}
            found[exchange] = _exchange(exchange, fields, place, accounts)
    for account in accounts.found.values():
        config = found.setdefault(
            account.exchange, ExchangeConfig(account.exchange, call_timeout_ms=settings.call_timeout_ms)
        )
        if account.egress and account.egress not in config.proxies:
            near = did_you_mean(account.egress, config.proxies)
            problems.add(
                accounts.places[account.id],
                f"egress {shown(account.egress)} is not declared{near or ''}; "
                f"declare it as [exchanges.{account.exchange}.egress.{shown_key(account.egress)}]",
            )
    return found


def _exchange(exchange: str, fields: dict[str, Any], place: Place, accounts: Accounts) -> ExchangeConfig:
    overrides: dict[str, Any] = {name: fields.pop(name) for name in _FACTS if name in fields}
    if quotas := fields.pop("quotas", None):
        overrides["quotas"] = {
            name: read_keys(table, _QUOTA_KEYS, _inner(place, "quotas", name), accounts.problems)
            for name, table in quotas.items()
        }
    if costs := fields.pop("costs", None):
        overrides["costs"] = {
            name: _cost(table, _inner(place, "costs", name), accounts) for name, table in costs.items()
        }
    if page_rows := fields.pop("page_rows", None):
        overrides["page_rows"] = read_keys(page_rows, _PAGE_KEYS, _inner(place, "page_rows"), accounts.problems)
    if surfaces := fields.get("surfaces"):
        overrides["surfaces"] = [surface.value for surface in surfaces]
    proxies = {
        name: _proxy(name, table, _inner(place, "egress", name), accounts)
        for name, table in fields.pop("egress", {}).items()
    }
    return ExchangeConfig(exchange, proxies=proxies, overrides=overrides, **fields)


def _inner(place: Place, *path: str) -> Place:
    return Place(place.file, ".".join((place.table, *map(shown_key, path))))


def _cost(table: object, place: Place, accounts: Accounts) -> dict[str, Any]:
    """Weights by quota; whether those quotas exist is the tariff's to say."""
    fields = read_keys(table, _COST_KEYS, place, accounts.problems)
    weights = fields.get("weights", {})
    keys = {name: Key(name, _WEIGHT) for name in weights}
    return {"weights": read_keys(weights, keys, _inner(place, "weights"), accounts.problems)}


def _proxy(egress: str, table: object, place: Place, accounts: Accounts) -> str:
    problems = accounts.problems
    try:
        name_of(egress)
    except ValueError:
        problems.add(place.at(), f"an egress' name must be {NAME.allowed}")
    fields = read_keys(table, _EGRESS_KEYS, place, problems)
    if "proxy" in fields and "proxy_env" in fields:
        problems.add(place.at("proxy"), "is there beside proxy_env: name one of them")
    if "proxy_env" not in fields:
        return str(fields.get("proxy", ""))
    value = accounts.environ.get(fields["proxy_env"], "").strip()
    if not value.startswith(("http://", "https://")) or not value.isprintable():
        problems.add(
            place.at("proxy_env"), "its environment variable must be set, and hold an address like http://host:3128"
        )
    return value
