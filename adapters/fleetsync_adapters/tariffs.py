"""Tariffs from their tables: what an exchange limits, and what each question costs there.

A table is a TOML file in `tariff_tables/`; each of its rows says where the number comes from and of which month it is,
because such numbers change by notice. The operator can override any of them. An exchange without a table gets a tariff
made from what ccxt knows about it (`exact=False`).
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import resources
from typing import Any

from fleetsync.errors import ConfigError
from fleetsync.model import Surface
from fleetsync.tariff import Cost, Quota, Scope, Tariff
from fleetsync.units import HOUR_MS

QUESTIONS = (
    "markets", "time", "positions", "positions:symbol", "orders", "orders:symbol", "conditional", "conditional:symbol",
    "order", "order:conditional", "fills",
)  # fmt: skip
CCXT_QUOTA = "ccxt"
SYNCED = (Surface.POSITIONS, Surface.ORDERS, Surface.CONDITIONAL)

_SAME = {"binance": "binanceusdm"}  # both are asked at the futures' endpoints
_FACTS = {"positions_show_orders": bool, "order_retention_ms": int}
_PROVENANCE = {"source", "as_of"}
_AS_OF = re.compile(r"20\d\d-(0[1-9]|1[0-2])")
_ROW_KEYS = {
    "quotas": {"scope", "limit", "window_ms", "aligned"},
    "costs": {"endpoint", "weights"},
    "page_rows": {"value"},
    "parts": {"value"},
    "facts": {"value"},
}
_OVERRIDES = {"quotas", "costs", "page_rows", "surfaces", "positions_show_orders", "order_retention_ms"}


def load_tariff(exchange_id: str, overrides: Mapping[str, Any] | None = None) -> Tariff:
    """The tariff of an exchange, with the operator's own numbers where given.

    `overrides` has the shape of the fleet file's `[exchanges.<id>]` for quotas and costs:
    `{"quotas": {"weight": {"limit": 1200}}, "costs": {"orders": {"weights": {"weight": 20}}}, "surfaces": [...]}`.

    Raises:
        ConfigError: no exchange has that id, or an override names nothing that the tariff has.
    """
    name = _SAME.get(exchange_id, exchange_id)
    table = resources.files(__package__) / "tariff_tables" / f"{name}.toml"
    known = exchange_id.isidentifier() and table.is_file()
    tariff = parse_table(table.read_text("utf-8"), f"{name}.toml") if known else fallback_tariff(exchange_id)
    tariff = replace(tariff, exchange=exchange_id)
    return override(tariff, overrides) if overrides else tariff


def parse_table(text: str, name: str) -> Tariff:
    """A tariff from the text of its table.

    Raises:
        ConfigError: a key, a value or a row's provenance is missing or wrong; names the place.
    """
    raw = tomllib.loads(text)
    _refuse_unknown(raw, {"exchange", "surfaces", *_ROW_KEYS}, name)
    for section, allowed in _ROW_KEYS.items():
        for key, row in raw.get(section, {}).items():
            _check_row(row, allowed, f"{name}: [{section}.{key}]")
    costs = {key: _cost(row, f"{name}: [costs.{key}]") for key, row in raw["costs"].items()}
    _refuse_unknown(costs, QUESTIONS, f"{name}: [costs]")
    facts = {key: row["value"] for key, row in raw.get("facts", {}).items()}
    _check_facts(facts, name)
    tariff = Tariff(
        exchange=raw["exchange"],
        quotas=tuple(_quota(key, row, f"{name}: [quotas.{key}]") for key, row in raw["quotas"].items()),
        costs=costs,
        surfaces=_surfaces(raw["surfaces"], costs, name),
        page_rows=_by_surface(raw, "page_rows", name),
        parts=_by_surface(raw, "parts", name),
        **facts,
    )
    return _checked(tariff, name)


def _by_surface(raw: Mapping[str, Any], section: str, name: str) -> dict[Surface, int]:
    return {_surface(key, f"{name}: [{section}]"): _count(row["value"], f"{name}: [{section}.{key}] value")
            for key, row in raw.get(section, {}).items()}


def override(tariff: Tariff, overrides: Mapping[str, Any]) -> Tariff:
    """The tariff with some of its numbers replaced by the operator's.

    Raises:
        ConfigError: an override names something that this tariff does not have, or has a wrong value.
    """
    place = f"exchanges.{tariff.exchange}"
    _refuse_unknown(overrides, _OVERRIDES, place)
    quotas = {quota.name: quota for quota in tariff.quotas}
    for name, row in _tables(overrides, "quotas", place):
        _known(name, quotas, f"{place}.quotas")
        quotas[name] = _quota(name, _row_of(quotas[name]) | dict(row), f"{place}.quotas.{name}")
    costs = dict(tariff.costs)
    for key, row in _tables(overrides, "costs", place):
        _known(key, costs, f"{place}.costs")
        before = {"endpoint": costs[key].endpoint, "weights": dict(costs[key].weights)}
        costs[key] = _cost(before | dict(row), f"{place}.costs.{key}")
    pages = dict(tariff.page_rows)
    for key, value in overrides.get("page_rows", {}).items():
        pages[_surface(key, f"{place}.page_rows")] = _count(value, f"{place}.page_rows.{key}")
    facts = {key: overrides[key] for key in _FACTS if key in overrides}
    _check_facts(facts, place)
    surfaces = _surfaces(overrides["surfaces"], costs, place) if "surfaces" in overrides else tariff.surfaces
    changed = replace(
        tariff, quotas=tuple(quotas.values()), costs=costs, page_rows=pages, surfaces=surfaces, **facts
    )
    return _checked(changed, place)


def fallback_tariff(exchange_id: str) -> Tariff:
    """A tariff made from what ccxt's own description says; known to be wrong in places, so `exact` is False.

    ccxt spaces requests by `rateLimit` milliseconds a unit of cost: as a quota, so many units a window, shared by all
    accounts behind one address.

    Raises:
        ConfigError: ccxt has no exchange of that id.
    """
    from fleetsync_adapters.ccxt_describe import describe  # noqa: PLC0415  ccxt takes 80 MiB; only this branch needs it

    found = describe(exchange_id)
    costs = {
        key: Cost(f"ccxt {exchange_id} {key}", ((CCXT_QUOTA, min(price, found.limit)),))
        for key, price in found.prices.items()
    }
    return Tariff(
        exchange=exchange_id,
        quotas=(Quota(CCXT_QUOTA, Scope.EGRESS, found.limit, found.window_ms),),
        costs=costs,
        surfaces=tuple(s for s in SYNCED[:2] if {s.value, f"{s.value}:symbol"} & costs.keys()),
        order_retention_ms=HOUR_MS,  # unknown: short, so that an order is called ended only on fresh evidence
        exact=False,
    )


def _quota(name: str, row: Mapping[str, Any], place: str) -> Quota:
    _refuse_unknown(row, _ROW_KEYS["quotas"] | _PROVENANCE, place)
    _require(row, {"scope", "limit", "window_ms"}, place)
    scopes = [scope.value for scope in Scope]
    if row["scope"] not in scopes:
        raise ConfigError(f"{place}: scope must be one of {', '.join(scopes)}, was {row['scope']!r}")
    aligned = row.get("aligned", False)
    if not isinstance(aligned, bool):
        raise ConfigError(f"{place}: aligned must be true or false, was {aligned!r}")
    limit, window_ms = _count(row["limit"], f"{place} limit"), _count(row["window_ms"], f"{place} window_ms")
    return Quota(name, Scope(row["scope"]), limit, window_ms, aligned)


def _cost(row: Mapping[str, Any], place: str) -> Cost:
    _refuse_unknown(row, _ROW_KEYS["costs"] | _PROVENANCE, place)
    _require(row, {"endpoint", "weights"}, place)
    endpoint, weights = row["endpoint"], row["weights"]
    if not isinstance(endpoint, str) or not endpoint:
        raise ConfigError(f"{place}: endpoint must be a method and a path, was {endpoint!r}")
    if not isinstance(weights, Mapping):
        raise ConfigError(f"{place}: weights must be a table of quota names and weights, was {weights!r}")
    return Cost(endpoint, tuple((name, _count(value, f"{place} weights.{name}")) for name, value in weights.items()))


def _checked(tariff: Tariff, place: str) -> Tariff:
    limits = {quota.name: quota.limit for quota in tariff.quotas}
    for key, cost in tariff.costs.items():
        for name, weight in cost.weights:
            _known(name, limits, f"{place}: costs.{key} weights")
            if weight > limits[name]:
                raise ConfigError(f"{place}: {key} weighs {weight}, and the whole quota {name} holds {limits[name]}")
    return tariff


def _surfaces(words: object, costs: Mapping[str, Cost], place: str) -> tuple[Surface, ...]:
    allowed = [s.value for s in SYNCED if {s.value, f"{s.value}:symbol"} & costs.keys()]
    if not isinstance(words, list | tuple) or not words:
        raise ConfigError(f"{place}: surfaces must be a list of {', '.join(allowed)}, was {words!r}")
    for word in words:
        if word not in allowed:
            raise ConfigError(f"{place}: surfaces can hold {', '.join(allowed)}; was {word!r}")
    return tuple(s for s in SYNCED if s.value in words)


def _surface(word: str, place: str) -> Surface:
    words = [surface.value for surface in Surface]
    _known(word, words, place)
    return Surface(word)


def _check_facts(facts: Mapping[str, Any], place: str) -> None:
    for key, value in facts.items():
        _known(key, _FACTS, place)
        if type(value) is not _FACTS[key] or (isinstance(value, int) and not isinstance(value, bool) and value < 1):
            raise ConfigError(f"{place}: {key} must be {_FACTS[key].__name__}, was {value!r}")


def _check_row(row: object, allowed: set[str], place: str) -> None:
    if not isinstance(row, Mapping):
        raise ConfigError(f"{place} must be a table, was {row!r}")
    _refuse_unknown(row, allowed | _PROVENANCE, place)
    _require(row, _PROVENANCE, place)
    if not isinstance(row["source"], str) or not row["source"] or not _AS_OF.fullmatch(str(row["as_of"])):
        raise ConfigError(f'{place}: source must say where it is from, and as_of the month, as in "2026-11"')


def _count(value: object, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{place} must be a whole number above 0, was {value!r}")
    return value


def _tables(overrides: Mapping[str, Any], section: str, place: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    tables = overrides.get(section, {})
    if not isinstance(tables, Mapping) or not all(isinstance(row, Mapping) for row in tables.values()):
        raise ConfigError(f"{place}.{section} must be tables by name")
    return tables.items()


def _row_of(quota: Quota) -> dict[str, Any]:
    return {"scope": quota.scope.value, "limit": quota.limit, "window_ms": quota.window_ms, "aligned": quota.aligned}


def _require(row: Mapping[str, Any], keys: set[str], place: str) -> None:
    if missing := sorted(keys - row.keys()):
        raise ConfigError(f"{place}: {', '.join(missing)} missing")


def _refuse_unknown(row: Mapping[str, Any], allowed: Iterable[str], place: str) -> None:
    for key in row:
        _known(key, allowed, place)


def _known(word: str, words: Iterable[str], place: str) -> None:
    known = sorted(words)
    if word not in known:
        near = difflib.get_close_matches(str(word), known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        raise ConfigError(f"{place}: {word!r} is unknown", hint=hint)
