"""`fleetsync explain`: why a robot is looked at when it is, asked of the running engine."""

from typing import Any

import click
import orjson

from fleetsync.errors import ConfigError
from fleetsync.units import s_from_ms
from fleetsync_adapters.control import find_running


def show_explanation(robot: str, db_path: str, *, as_json: bool) -> None:
    """Print what decides a robot's next run.

    Raises:
        ConfigError: no engine runs on that file.
        UnknownRobot: its fleet has no such robot.
    """
    running = find_running(db_path)
    if running is None:
        raise ConfigError(f"no engine is running on {db_path}", hint="name the file of one that does, with --db")
    told = running.explain(robot)
    if as_json:
        click.echo(orjson.dumps(told))
        return
    for name, text in _lines(told):
        click.echo(f"{name:<13} {text}")


def _lines(told: dict[str, Any]) -> list[tuple[str, str]]:
    cost = told["last_sync"]
    surfaces = ", ".join(f"{name} in {_s(span_ms)}" for name, span_ms in told["surfaces_due_in_ms"].items())
    lines = [
        ("robot", f"{told['robot']} on {told['account']} ({told['route']}), {told['symbol']}"),
        ("phase", f"{told['phase']}, {told['certainty']}; known as of {_s(told['age_ms'])} ago"),
        ("interval", f"{_s(told['interval_ms'])}: {told['why']}"),
        ("now", told["now"]),
        ("next run", f"in {_s(told['next_run_in_ms'])} (wanted: {surfaces})"),
        ("last sync", f"{cost['calls']} calls, weight {cost['weight']}"),
        ("shared with", f"{told['shares_its_calls_with']} robots of its account"),
        ("open", f"{told['open_questions']} questions, {told['pending_events']} events"),
    ]
    if told["stretch"] > 1:
        lines.insert(3, ("stretched", f"the budget is short: {_s(told['interval_now_ms'])} at the moment"))
    return lines


def _s(span_ms: int | None) -> str:
    return "never" if span_ms is None else f"{s_from_ms(span_ms):.1f} s"
