"""Texts of fleet files for tests, and what loading them tells."""

from pathlib import Path

import pytest

from fleetsync.errors import ConfigError
from fleetsync_adapters.fleet_file import Fleet, load_fleet

ENVIRON = {"MAIN_KEY": "the-api-key", "MAIN_SECRET": "the-api-secret", "MAIN_PASSPHRASE": "the-passphrase"}
ACCOUNT = """
[accounts.main]
exchange = "binanceusdm"
api_key_env = "MAIN_KEY"
api_secret_env = "MAIN_SECRET"
"""
ROBOT = """
[[robots]]
id = "r1"
account = "main"
symbol = "BTC/USDT:USDT"
"""
EXCHANGES = ("binance", "binanceusdm", "bybit", "okx")


def load(folder: Path, text: str, environ: dict[str, str] | None = None) -> Fleet:
    path = folder / "fleet.toml"
    path.write_text(text, encoding="utf-8")
    return load_fleet(
        path,
        environ=ENVIRON if environ is None else environ,
        known_exchange=EXCHANGES.__contains__,
        exchange_ids=EXCHANGES,
    )


def complaints(folder: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    """What is told about a wrong file, a line each, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, environ)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def complaint(folder: Path, text: str, environ: dict[str, str] | None = None) -> str:
    lines = complaints(folder, text, environ)
    assert len(lines) == 1, lines
    return lines[0]
