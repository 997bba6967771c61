"""What `bench`, `plan` and `replay` say about wrong input: a clear line, exit code 2, nothing on standard output."""

from pathlib import Path

import pytest

from fleetsync_adapters.cli.entry import run_command
from fleetsync_adapters.duckdb_store import DuckDBStore

LEVEL = ("--slo", "holding p99 <= 5s")


@pytest.mark.parametrize(("arguments", "told"), [
    (("bench", "budget"), "there is no fleet to simulate"),
    (("bench", "budget", "--robots", "9", "--budget", "0"), "whole calls a minute, like 600,1200,2400"),
    (("bench", "budget", "--robots", "9", "--budget", ""), "whole calls a minute"),
    (("bench", "budget", "--robots", "9", "--budget", "600,-1"), "whole calls a minute"),
    (("bench", "budget", "--robots", "9", "--policy", "best"), "policies are fixed and adaptive"),
    (("bench", "budget", "--robots", "9", "--holding", "120%"), "a share is written as 20% or 0.2"),
    (("bench", "budget", "--robots", "9", "--hours", "0"), "--hours"),
    (("bench", "budget", "--robots", "9", "--exchange", "binanceusd"), "did you mean binanceusdm"),
    (("bench", "budget", "absent.toml"), "absent.toml: cannot be read"),
    (("bench", "budget", "wrong.toml"), "did you mean calls_per_minute"),
    (("bench", "budget", "wrong.toml", "--robots", "9"), "a fleet file says it itself"),
    (("bench", "budget", "--robots", "9", "--recording", "absent.csv"), "no such file: 'absent.csv'"),
    (("plan", *LEVEL), "there is no fleet to simulate"),
    (("plan", "--robots", "9"), "Missing option '--slo'"),
    (("plan", "--robots", "9", "--slo", "holding p99 < 5s"), "an upper limit, written <="),
    (("plan", "--robots", "9", "--slo", "sleeping p99 <= 5s"), "'sleeping' is not measured; use one of holding"),
    (("plan", "--robots", "9", *LEVEL, "--budget", "0"), "--budget"),
    (("plan", "wrong.toml", *LEVEL), "did you mean calls_per_minute"),
    (("replay",), "Missing argument 'DB'"),
    (("replay", "absent.duckdb"), "absent.duckdb (start fleetsync once with this path"),
    (("replay", "wrong.toml"), "not a DuckDB database"),
    (("replay", "empty.duckdb"), "too short a run to learn from"),
    (("replay", "empty.duckdb", "--budget", "0"), "whole calls a minute"),
    (("replay", "empty.duckdb", "--policy", "best"), "policies are fixed and adaptive"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_wrong_input_is_refused_in_one_line_that_says_what_is_wrong(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...],
        told: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.toml").write_text('[budget]\ncalls_per_minut = 5\n[accounts.main]\nexchange = "binanceusdm"\n'
                                  'api_key_env = "A"\napi_secret_env = "B"\n[[robots]]\nid = "one"\naccount = "main"\n'
                                  'symbol = "BTC/USDT:USDT"\n', encoding="utf-8")
    DuckDBStore("empty.duckdb").close()
    assert run_command(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert told in err
    assert len(err.strip().splitlines()) == 1
