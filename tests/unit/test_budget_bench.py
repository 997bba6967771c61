"""What the budget bench measures, and the closed form beside it."""

import multiprocessing
import threading
from io import StringIO
from pathlib import Path
from random import Random

import orjson
import pytest
from click.testing import CliRunner
from rich.console import Console

from fleetsync.config import Settings
from fleetsync.errors import ConfigError
from fleetsync.model import Account, Robot
from fleetsync_adapters.budget_bench.fleets import BenchFleet, fleet_made
from fleetsync_adapters.budget_bench.optimum import optimum_unseen_ms, silent_share
from fleetsync_adapters.budget_bench.recording import read_recording, with_recording
from fleetsync_adapters.budget_bench.spans import Ages, percentile_ms
from fleetsync_adapters.budget_bench.table import show_rows
from fleetsync_adapters.budget_bench.trial import Trial, attempt, attempt_all, keep_nothing
from fleetsync_adapters.cli.commands import fleetsync
from fleetsync_adapters.cli.entry import run_command
from fleetsync_adapters.simulation.workload import Workload
from fleetsync_adapters.simulation.world import World
from fleetsync_adapters.tariffs import load_tariff

SILENT = Workload(announced=0.0, by_hand=0.0, holding_share=0.5)


def small(*, announced: float = 0.8, changes_per_hour: float = 30.0) -> BenchFleet:
    return fleet_made(20, 0.2, 4, "binanceusdm", Workload(changes_per_hour=changes_per_hour, announced=announced), 1)


def test_ages_added_as_pieces_are_those_of_every_single_millisecond() -> None:
    rng, ages, every = Random(1), Ages(), list[int]()
    for _ in range(200):
        low = rng.randrange(3_000)
        high, robots = low + rng.randrange(1, 2_000), rng.randrange(1, 4)
        ages.grew(low, high, robots)
        every += [age for age in range(low, high) for _ in range(robots)]
    every.sort()
    for share in (0.01, 0.5, 0.95, 0.99):
        (found,) = ages.percentiles_ms(share)
        assert found is not None
        assert abs(found - every[int(share * len(every)) - 1]) <= 1
    assert ages.robot_time == len(every)
    assert ages.beyond(2_500) == sum(age >= 2_500 for age in every)


def test_an_age_beyond_the_longest_counts_and_keeps_its_maximum() -> None:
    ages = Ages()
    ages.grew(0, 1_000)
    ages.grew(0, 40 * 60_000)
    assert ages.max_ms == 40 * 60_000
    assert ages.robot_time == 1_000 + 40 * 60_000
    assert ages.percentiles_ms(0.99) == [40 * 60_000]


def test_a_percentile_is_the_nearest_rank() -> None:
    assert percentile_ms([], 0.5) is None
    assert percentile_ms([7], 0.95) == 7
    assert percentile_ms(list(range(1, 101)), 0.95) == 95


def test_the_optimum_of_equal_accounts_is_half_the_interval_that_the_budget_allows() -> None:
    accounts = [Account(f"a{n}", "binanceusdm") for n in range(10)]
    robots = [Robot(f"r{n}", f"a{n}", "BTC/USDT:USDT") for n in range(10)]
    found = optimum_unseen_ms(accounts, robots, {"binanceusdm": load_tariff("binanceusdm")}, SILENT, 60)
    assert found == 5_000  # ten accounts, one call a second: each every 10 s


def test_no_budget_buys_more_rounds_than_the_exchange_admits() -> None:
    accounts = [Account("a", "binanceusdm")]
    robots = [Robot("r", "a", "BTC/USDT:USDT")]
    tariffs = {"binanceusdm": load_tariff("binanceusdm")}
    at = [optimum_unseen_ms(accounts, robots, tariffs, SILENT, budget) for budget in (480, 100_000)]
    assert at[0] == at[1] == 62  # 2400 of weight a minute, 5 a call


def test_nothing_unannounced_has_no_optimum() -> None:
    told = Workload(announced=1.0, by_hand=0.0)
    assert silent_share(told) == 0
    assert optimum_unseen_ms([Account("a", "binanceusdm")], [Robot("r", "a", "BTC/USDT:USDT")],
                             {"binanceusdm": load_tariff("binanceusdm")}, told, 100) is None


def test_a_trial_measures_the_intervals_that_were_set() -> None:
    row = attempt(Trial(small(), 1_200, "fixed", 5)).row
    settings = Settings()
    holding = row["age_ms"]["holding"]
    assert 0.9 * settings.holding_ms / 2 < holding["p50"] < 1.1 * settings.holding_ms / 2
    assert settings.holding_ms * 0.95 < holding["p99"] < settings.holding_ms + 400
    assert row["worst_minute_calls"] <= 1_200
    assert row["refusals"] == 0
    assert row["unseen_ms"]["announced"]["mean"] < row["unseen_ms"]["unannounced"]["mean"]


def test_a_scarce_budget_is_kept_used_and_makes_ages_grow() -> None:
    plenty, scarce = (attempt(Trial(small(), budget, "fixed", 5)).row for budget in (1_200, 30))
    assert scarce["worst_minute_calls"] <= 30
    assert scarce["calls_per_minute"] > 0.9 * 30
    assert scarce["age_ms"]["holding"]["p95"] > plenty["age_ms"]["holding"]["p95"]
    assert scarce["unseen_ms"]["unannounced"]["mean"] > plenty["unseen_ms"]["unannounced"]["mean"]


def test_no_measured_mean_beats_the_closed_form_by_more_than_chance() -> None:
    fleet = small(announced=0.0, changes_per_hour=60.0)
    row = attempt(Trial(fleet, 30, "fixed", 10)).row
    assert row["seen"]["unannounced"] > 100
    assert row["unseen_ms"]["unannounced"]["mean"] > 0.9 * row["optimum_unseen_ms"]


def test_the_same_seed_gives_the_same_row_in_this_process_and_in_others() -> None:
    trials = [Trial(small(), budget, "adaptive", 2) for budget in (60, 120)]
    here = dict(attempt_all(trials, 1, lambda place, share: None))
    there = dict(attempt_all(trials, 2, lambda place, share: None))
    assert {place: outcome.row for place, outcome in here.items()} == {
        place: outcome.row for place, outcome in there.items()}


def test_the_exchange_of_a_long_trial_does_not_grow() -> None:
    fleet = fleet_made(1, 0.5, 1, "binanceusdm", Workload(changes_per_hour=900.0, announced=0.0), 1)
    world = World(fleet.setup(budget=60, policy="fixed", minutes=180, seed=1))
    keep_nothing(world)
    world.run()
    assert world.trader.deeds > 2_400
    (book,) = world.venue.books.accounts
    assert len(book.orders) < 2 * 450 * 1.2  # half an hour of them, and as many again until they are looked through


def test_whoever_gives_up_half_way_leaves_no_process_behind() -> None:
    trials = [Trial(small(), 60, "fixed", minutes) for minutes in (1, 10_000_000, 10_000_000)]
    coming = attempt_all(trials, 2, lambda place, share: None)
    assert next(coming)[0] == 0
    assert multiprocessing.active_children()
    coming.close()
    while multiprocessing.active_children():
        threading.Event().wait(0.05)


def test_a_recording_is_done_again_and_who_closes_first_held_before(tmp_path: Path) -> None:
    file = tmp_path / "deeds.csv"
    file.write_text("at_ms,robot,action\n1000,robot-02,hand_close\n31000,robot-01,open\n2000,robot-03,hand_place\n")
    fleet = small()
    deeds = read_recording(str(file), fleet)
    assert deeds == ((0, "robot-02", "hand_close"), (1_000, "robot-03", "hand_place"), (30_000, "robot-01", "open"))
    row = attempt(Trial(with_recording(fleet, deeds, 1), 1_200, "fixed", 1)).row
    assert (row["seen"]["announced"] + row["seen"]["unannounced"], row["optimum_unseen_ms"]) == (3, None)


@pytest.mark.parametrize(("text", "told"), [
    ("at_ms,robot\n1,robot-01\n", "action"),
    ("at_ms,robot,action\nsoon,robot-01,open\n", "whole milliseconds"),
    ("at_ms,robot,action\n1,nobody,open\n", "no robot of this fleet"),
    ("at_ms,robot,action\n1,robot-01,dance\n", "must be one of open, close"),
    ("at_ms,robot,action\n", "holds no deeds"),
])
def test_a_recording_that_cannot_be_used_says_where_and_why(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "deeds.csv"
    file.write_text(text)
    with pytest.raises(ConfigError, match=told):
        read_recording(str(file), small())


def test_the_command_prints_the_rows_and_writes_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    ended = CliRunner().invoke(fleetsync, [
        "bench", "budget", "--robots", "12", "--accounts", "3", "--budget", "30,90", "--policy", "fixed", "--hours",
        "0.05", "--jobs", "1", "--json", "--report", str(tmp_path)])
    assert ended.exit_code == 0, ended.output
    rows = orjson.loads(ended.stdout.splitlines()[-1])["rows"]
    assert [(row["budget_per_minute"], row["policy"]) for row in rows] == [(30, "fixed"), (90, "fixed")]
    assert set(rows[0]) >= {"calls_per_minute", "worst_minute_calls", "age_ms", "unseen_ms", "optimum_unseen_ms"}
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert page.count("<figcaption>") == page.count("<figure>") == 9


def test_a_table_has_as_many_columns_as_the_screen_holds_and_no_line_for_what_nobody_was() -> None:
    row = attempt(Trial(small(), 1_200, "fixed", 1)).row
    shown = Console(file=StringIO(), width=60)
    show_rows([row, row | {"budget_per_minute": 600}, row | {"budget_per_minute": 300}], shown)
    assert isinstance(shown.file, StringIO)
    lines = shown.file.getvalue().splitlines()
    assert [line.split()[3:] for line in lines if line.startswith("calls a minute")] == [["1200", "600"], ["300"]]
    assert not any("working" in line for line in lines)
    assert max(map(len, lines)) <= 60


def test_a_fleet_file_is_simulated_without_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET_KEY", raising=False)
    file = tmp_path / "fleet.toml"
    file.write_text('[accounts.main]\nexchange = "binanceusdm"\napi_key_env = "NOT_SET_KEY"\n'
                    'api_secret_env = "NOT_SET_SECRET"\n[[robots]]\nid = "one"\naccount = "main"\n'
                    'symbol = "NOBODY/USDT:USDT"\n')
    assert run_command(["bench", "budget", str(file), "--budget", "60", "--policy", "fixed", "--hours", "0.02",
                        "--jobs", "1"]) == 0
