"""What a run is made of: a fleet file and the options that override it, or the demo."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fleetsync.config import Settings
from fleetsync.errors import ConfigError
from fleetsync.model import Account, Robot
from fleetsync.ports import ExchangeSpec
from fleetsync_adapters.cli.commands import DEFAULT_DB
from fleetsync_adapters.fleet_exchanges import ExchangeConfig
from fleetsync_adapters.fleet_file import load_fleet
from fleetsync_adapters.tariffs import load_tariff


@dataclass(frozen=True, slots=True)
class Assembly:
    """All that an engine is made from."""

    settings: Settings
    accounts: tuple[Account, ...]
    robots: tuple[Robot, ...]
    exchanges: Mapping[str, ExchangeSpec]
    db_path: str
    proxies: Mapping[tuple[str, str], str] = field(default_factory=dict, repr=False)  # (exchange, egress) -> proxy


def from_fleet_file(path: str, *, db: str | None, overrides: Mapping[str, int]) -> Assembly:
    """Read a fleet file; options win over what it says.

    Raises:
        ConfigError: the file, a variable it names or an option is wrong.
    """
    ids = exchange_ids()
    fleet = load_fleet(path, known_exchange=ids.__contains__, exchange_ids=sorted(ids))
    proxies = {(config.exchange, egress): proxy
               for config in fleet.exchanges.values() for egress, proxy in config.proxies.items()}
    return Assembly(
        settings=fleet.settings.but(**overrides),
        accounts=fleet.accounts,
        robots=fleet.robots,
        exchanges={exchange: _spec(config) for exchange, config in fleet.exchanges.items()},
        db_path=db or str(fleet.store_path or DEFAULT_DB),
        proxies=proxies,
    )


def _spec(config: ExchangeConfig) -> ExchangeSpec:
    return ExchangeSpec(
        config.exchange,
        base_url=config.base_url,
        tariff=load_tariff(config.exchange, config.overrides),
        options=dict(config.options),
        call_timeout_ms=config.call_timeout_ms,
    )


@cache
def exchange_ids() -> frozenset[str]:
    """The ids of all exchanges that ccxt knows, without importing its hundred modules.

    Raises:
        ConfigError: ccxt is not installed.
    """
    found = importlib.util.find_spec("ccxt")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("ccxt is not installed", hint="install fleetsync with its dependencies")
    folder = Path(found.submodule_search_locations[0]) / "async_support"
    return frozenset(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_"))
