"""Putting an engine together: the specs, tariffs and stores it names. Adapters are imported by name only."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module

from fleetsync.book import MEMORY_MS
from fleetsync.config import Settings
from fleetsync.model import Account, Change
from fleetsync.ports import ExchangeSpec, Loaded, Store
from fleetsync.tariff import Tariff

_LOOKED_BACK_PAGE, _LOOKED_BACK_MOST = 2_000, 100_000  # changes; a page is looked at however old it is


def exchange_specs(accounts: Iterable[Account], exchanges: Mapping[str, ExchangeSpec],
           proxies: Mapping[tuple[str, str], str], settings: Settings) -> list[ExchangeSpec]:
    """One spec for each exchange and egress that is used, with its tariff."""
    used = dict.fromkeys((account.exchange, account.egress) for account in accounts)
    used.update(dict.fromkeys((exchange, spec.egress) for exchange, spec in exchanges.items()))
    specs = []
    for exchange, egress in used:
        spec = exchanges.get(exchange, ExchangeSpec(exchange, call_timeout_ms=settings.call_timeout_ms))
        tariff = spec.tariff or import_module("fleetsync_adapters.tariffs").load_tariff(exchange)
        specs.append(ExchangeSpec(exchange, egress, spec.base_url, proxies.get((exchange, egress), spec.proxy),
                                  spec.factory, tariff, spec.options, spec.call_timeout_ms))
    return specs


def tariffs_of(specs: Sequence[ExchangeSpec]) -> dict[str, Tariff]:
    """The tariff of each exchange; `exchange_specs` has found one for all of them."""
    return {spec.exchange: spec.tariff for spec in specs if spec.tariff is not None}


def open_store(store: Store | str | None) -> Store:
    """The engine knows its stores by name only: it never imports an adapter."""
    if isinstance(store, str):
        opened: Store = import_module("fleetsync_adapters.duckdb_store").DuckDBStore(store)
        return opened
    if store is None:
        kept: Store = import_module("fleetsync_adapters.memory_store").MemoryStore(durable=False)
        return kept
    return store


def recent_changes(store: Store, loaded: Loaded, now_ms: int) -> list[Change]:
    """What an earlier run told lately: as far back as what has ended is remembered, before the oldest waiting event.

    An event names an order that may have ended, and been told, while the event still waited: its end is no news.
    """
    oldest_ms = min([now_ms, *(int(event["at_ms"]) for event in loaded.events.values())]) - MEMORY_MS
    found: list[Change] = []
    number = loaded.last_change
    while number > 0 and len(found) < _LOOKED_BACK_MOST:
        after = max(number - _LOOKED_BACK_PAGE, 0)
        found = store.changes(after, number - after) + found
        if not found or found[0].seen_at_ms < oldest_ms:
            break
        number = after
    return found
