"""Secrets and the fleet's files: refused where they stand in one, and never told."""

from pathlib import Path

import pytest
from tests.unit.fleet_texts import ACCOUNT, ENVIRON, ROBOT, complaint, complaints, load


@pytest.mark.parametrize("name", ["api_key", "apiKey", "API-SECRET", "secret", "password", "private_key"])
def test_a_secret_in_the_file_is_refused_and_never_shown(tmp_path: Path, name: str) -> None:
    assert complaint(tmp_path, f'{ACCOUNT}{name} = "hunter2-hunter2"\n{ROBOT}') == (
        f"fleet.toml: [accounts.main] {name}: a secret never stands in a file: name the environment variable "
        "that holds it (api_key_env, ...)"
    )


@pytest.mark.parametrize(
    "pasted",
    [
        "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
        "0d1f2e3c-4b5a-6978-8796-a5b4c3d2e1f0",
        "aB3dEf4GhIjK7LmNoP",
        "5f2c9a7be01d4c3fa6b8c9d0e1f2a3b4",
        "hunter2/with+signs==",
    ],
)
@pytest.mark.parametrize("key", ["api_key_env", "api_secret_env", "password_env"])
def test_a_key_pasted_in_place_of_its_variable_is_never_shown(tmp_path: Path, key: str, pasted: str) -> None:
    line = f'{key} = "{pasted}"\n'
    lines = [text for text in ACCOUNT.splitlines(keepends=True) if not text.startswith(key)]
    told = "\n".join(complaints(tmp_path, "".join(lines) + line + ROBOT))
    assert pasted not in told
    assert key in told


@pytest.mark.parametrize(
    "line",
    [
        'base_url = "http://user:hunter2@10.0.0.1"',
        'base_url = "hunter2"',
        'base_url = "http://10.0.0.1:99999"',
        'options = { apiKey = "hunter2" }',
        'options = { headers = { token = "hunter2" } }',
        'egress.east.proxy = "http://user:hunter2@10.0.0.1:3128"',
    ],
)
def test_credentials_in_an_exchanges_table_are_refused_and_never_shown(tmp_path: Path, line: str) -> None:
    told = complaint(tmp_path, f"[exchanges.binanceusdm]\n{line}\n{ACCOUNT}{ROBOT}")
    assert "[exchanges.binanceusdm" in told
    assert "hunter2" not in told


def test_a_proxy_with_a_password_comes_from_the_environment(tmp_path: Path) -> None:
    text = f'[exchanges.binanceusdm.egress.east]\nproxy_env = "EAST_PROXY"\n{ACCOUNT}egress = "east"\n{ROBOT}'
    fleet = load(tmp_path, text, ENVIRON | {"EAST_PROXY": "http://user:hunter2@10.0.0.1:3128"})
    assert fleet.exchanges["binanceusdm"].proxies["east"] == "http://user:hunter2@10.0.0.1:3128"
    assert "hunter2" not in repr(fleet)
    assert "EAST_PROXY" not in complaint(tmp_path, text.replace("EAST_PROXY", "hunter2 "))
    assert complaint(tmp_path, text).startswith("fleet.toml: [exchanges.binanceusdm.egress.east] proxy_env: its ")


def test_a_proxy_stands_in_the_file_or_in_the_environment_not_in_both(tmp_path: Path) -> None:
    table = '[exchanges.binanceusdm.egress.east]\nproxy = "http://10.0.0.1"\nproxy_env = "EAST_PROXY"\n'
    told = complaint(tmp_path, table + ACCOUNT + ROBOT, ENVIRON | {"EAST_PROXY": "http://10.0.0.2"})
    assert told == (
        "fleet.toml: [exchanges.binanceusdm.egress.east] proxy: is there beside proxy_env: name one of them"
    )


@pytest.mark.parametrize("value", ["two\twords", "bell\a", "k" * 8_193])
def test_a_variable_that_holds_no_key_is_refused_and_never_shown(tmp_path: Path, value: str) -> None:
    told = complaint(tmp_path, ACCOUNT + ROBOT, ENVIRON | {"MAIN_KEY": value})
    assert told == (
        "fleet.toml: [accounts.main] api_key_env: the environment variable MAIN_KEY holds characters that no key has"
    )


def test_a_private_key_of_several_lines_is_a_key(tmp_path: Path) -> None:
    pem = "-----BEGIN KEY-----\nabc\n-----END KEY-----"
    fleet = load(tmp_path, ACCOUNT + ROBOT, ENVIRON | {"MAIN_SECRET": pem + "\n"})
    assert fleet.accounts[0].api_secret.reveal == pem


def test_a_fleet_prints_without_its_secrets(tmp_path: Path) -> None:
    text = repr(load(tmp_path, ACCOUNT + 'password_env = "MAIN_PASSPHRASE"' + ROBOT))
    assert not [secret for secret in ENVIRON.values() if secret in text]
