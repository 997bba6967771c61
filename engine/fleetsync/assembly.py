"""Putting an engine together: the specs, tariffs and stores it names. Adapters are imported by name only."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module

from fleetsync.config import Settings
from fleetsync.model import Account
from fleetsync.ports import ExchangeSpec, Store
from fleetsync.tariff import Tariff


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
