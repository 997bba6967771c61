"""The live view fits its terminal and shows what matters, whatever the size of the fleet and of the trouble."""

from datetime import UTC
from io import StringIO

import pytest
from rich.console import Console

from fleetsync.journal import Notice
from fleetsync.model import Change
from fleetsync.report import Status
from fleetsync_adapters.live_view import Picture, render

SIZES = [(80, 24), (140, 40), (60, 16), (200, 60)]


def _status(**fields: object) -> Status:
    shown = Status(
        at_ms=1_800_000_000_000, robots=100, due=3, in_flight=12, urgent=2, workers=2, workers_up=2,
        phases={"unknown": 1, "holding": 20, "working": 4, "flat": 75},
        worst_age_ms={"holding": 4_210, "working": 3_900, "flat": 29_800}, calls=700, calls_last_minute=812,
        worst_minute_calls=901, calls_per_minute=1_200, syncs=400, changes=321, events=64, events_pending=2,
        routes=[{"name": "binanceusdm", "exact": True, "circuit": "closed", "stretch": 1.0, "due": 3,
                 "frozen_until_ms": 0, "granted": {}}],
        crew=[{"worker": 0, "pid": 4_001, "accounts": 5, "in_flight": 7, "stalled": 0},
              {"worker": 1, "pid": 0, "accounts": 5, "in_flight": 0, "stalled": 0}])
    for name, value in fields.items():
        setattr(shown, name, value)
    return shown


def _change(number: int) -> Change:
    held = {"symbol": "BTC/USDT:USDT", "side": "long", "size": "1.5", "entry_price": "64000.5"}
    return Change(number, "main", "BTC/USDT:USDT", ("robot-001",), "position_opened", "position:long", "event", None,
                  held, {}, 0, 1_800_000_000_000 + number * 1_000)


def _drawn(status: Status, picture: Picture, width: int, height: int) -> list[str]:
    out = StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    console.print(render(status, picture, width=width, height=height, zone=UTC))
    return out.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_picture_fits_the_terminal(width: int, height: int) -> None:
    notices = tuple(Notice("warning", str(number), "something happened " * 20) for number in range(9))
    picture = Picture(tuple(_change(number) for number in range(1, 300)), notices, 65_000, 90_000)
    crew = [{"worker": n, "pid": 4_000 + n, "accounts": 50, "in_flight": 3, "stalled": 0} for n in range(40)]
    faults = {f"fault_{number}": number for number in range(30)}
    stopped = {f"robot-{number}": "bad_symbol: the exchange does not list it " * 5 for number in range(50)}
    lines = _drawn(_status(crew=crew, faults=faults, stopped_robots=stopped), picture, width, height)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)


def test_the_picture_shows_budget_work_phases_crew_routes_and_the_last_changes() -> None:
    lines = _drawn(_status(), Picture(tuple(_change(number) for number in range(1, 100)), (), 65_000, 90_000), 80, 24)
    text = "\n".join(lines)
    for shown in ("100 robots", "1:05 of 1:30", "812/1200 calls in the last minute, worst 901", "due 3", "in flight 12",
                  "urgent 2", "64 events (2 waiting)", "4.2 s", "29.8 s", "4001", "down", "binanceusdm", "closed",
                  "321 in this run"):
        assert shown in text
    assert lines[-1].split()[:5] == ["08:01:39", "99", "position_opened", "robot-001", "BTC/USDT:USDT"]


def test_trouble_and_notices_are_said_in_words() -> None:
    status = _status(faults={"network": 4}, stopped_accounts={"main": "auth: wrong key"},
                     failing_accounts={"other": "down: 503"}, routes=[{
                         "name": "binanceusdm", "exact": True, "circuit": "open", "stretch": 2.5, "due": 3,
                         "frozen_until_ms": 1_800_000_030_000, "granted": {}}])
    text = "\n".join(_drawn(status, Picture(notices=(Notice("error", "k", "it does not answer"),)), 80, 24))
    for shown in ("4 network", "account main: auth: wrong key", "account other: down: 503", "open", "2.50", "0:30",
                  "error: it does not answer"):
        assert shown in text


def test_a_wide_terminal_shows_what_changed() -> None:
    text = "\n".join(_drawn(_status(), Picture((_change(7),)), 140, 40))
    assert "long 1.5 at 64000.5" in text


def test_names_with_markup_in_them_are_shown_as_they_are() -> None:
    text = "\n".join(_drawn(_status(stopped_robots={"[red]r1[/red]": "[bold]"}), Picture(), 80, 24))
    assert "robot [red]r1[/red]: [bold]" in text
