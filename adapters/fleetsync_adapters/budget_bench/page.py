"""The page of a bench: one HTML file with everything in it, that works without a network."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from fleetsync_adapters.budget_bench.fleets import BenchFleet
from fleetsync_adapters.budget_bench.plots import Axis, Line, heat_scale, line_plot, round_up, strip
from fleetsync_adapters.budget_bench.table import cells
from fleetsync_adapters.budget_bench.trial import Outcome

_POLICY_COLOURS = {"fixed": (0, 2), "adaptive": (1, 3)}  # what holds, and the rest
_DASHES = {"working": "10 3 2 3", "flat": "7 4"}
_SHOWN_SHARE = 99.6  # of the time; beyond it a single late robot would squeeze the rest together
_AGED = ("holding", "working", "flat")


def write_page(path: Path, fleet: BenchFleet, outcomes: Sequence[Outcome]) -> None:
    """Write the page of these outcomes; there is at least one."""
    style = files(__package__).joinpath("page.css").read_text("utf-8")
    intro = "".join(f"<p>{escape(line)}</p>" for line in fleet.lines())
    row = outcomes[0].row
    path.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>fleetsync: budget and freshness</title><style>{style}</style></head><body>"
        f"<h1>What budget, and how fresh</h1>{intro}"
        f'<p class="quiet">Simulated with the real scheduler in virtual time: {row["minutes"]} minutes measured after '
        f'a warm-up, seed {row["seed"]}. Ages count from the sending of the request whose answer is known.</p>'
        f"<h2>In figures</h2>{_table(outcomes)}"
        f'<h2>What a budget buys</h2><div class="plots">{_ages(outcomes)}{_unseen(outcomes)}</div>'
        f'<h2>How old, how often</h2><div class="plots">{_curves(outcomes)}</div>'
        f'<h2>Calls by minute</h2><div class="plots">{_calls(outcomes)}</div>'
        f"<h2>Robots over time</h2>{_strips(outcomes)}</body></html>\n", encoding="utf-8")


def _table(outcomes: Sequence[Outcome]) -> str:
    rows = [cells(outcome.row) for outcome in outcomes]
    shown = [index for index in range(len(rows[0])) if any(row[index][1] != "-" for row in rows)]
    head = "".join(f"<th>{escape(rows[0][index][0]).replace(chr(10), '<br>')}</th>" for index in shown)
    body = "".join("<tr>" + "".join(f"<td>{escape(row[index][1])}</td>" for index in shown) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _figure(title: str, plot: str, caption: str) -> str:
    return f"<figure><h3>{escape(title)}</h3>{plot}<figcaption>{escape(caption)}</figcaption></figure>"


def _policies(outcomes: Sequence[Outcome]) -> list[str]:
    return list(dict.fromkeys(outcome.row["policy"] for outcome in outcomes))


def _colour(policy: str, phase: str = "holding") -> int:
    return 4 if phase == "working" and policy == "fixed" else _POLICY_COLOURS[policy][phase != "holding"]


def _budget_axis(outcomes: Sequence[Outcome]) -> Axis:
    return Axis("budget, calls a minute", 0, round_up(max(outcome.row["budget_per_minute"] for outcome in outcomes)))


def _seconds_axis(label: str, lines: Sequence[Line]) -> Axis:
    values = [value for line in lines for _, value in line.points if value > 0]
    low, high = min(values, default=1.0), max(values, default=1.0)
    if high > 30 * low:
        return Axis(label, 10.0 ** (len(str(int(1 / low))) * -1 if low < 1 else 0), high * 1.2, log=True)
    return Axis(label, 0, round_up(high))


def _over_budget(outcomes: Sequence[Outcome], policy: str, *keys: str) -> list[tuple[float, float]]:
    points = []
    for outcome in outcomes:
        if outcome.row["policy"] == policy:
            value = outcome.row
            for key in keys:
                value = value[key]
            if value is not None:
                points.append((float(outcome.row["budget_per_minute"]), float(value) / 1000))  # type: ignore[arg-type]  # a leaf
    return sorted(points)


def _optimum(outcomes: Sequence[Outcome]) -> Line:
    points = sorted({(float(outcome.row["budget_per_minute"]), outcome.row["optimum_unseen_ms"] / 1000)
                     for outcome in outcomes if outcome.row["optimum_unseen_ms"] is not None})
    return Line("least mean that polling can reach", points, 5, "2 4")


def _ages(outcomes: Sequence[Outcome]) -> str:
    lines = [Line(f"{policy}, {phase} p95", _over_budget(outcomes, policy, "age_ms", phase, "p95"),
                  _colour(policy, phase), _DASHES.get(phase, "")) for policy in _policies(outcomes) for phase in _AGED]
    lines.append(_optimum(outcomes))
    plot = line_plot("age against budget", _budget_axis(outcomes), _seconds_axis("age, seconds", lines), lines)
    return _figure("Age against budget", plot,
                   "Where a line stops falling, more budget buys nothing: every wish is met. The dotted line is the "
                   "mean age that the best possible order of polls would give at that budget.")


def _unseen(outcomes: Sequence[Outcome]) -> str:
    lines = [line for policy in _policies(outcomes) for line in (
        Line(f"{policy}, unannounced", _over_budget(outcomes, policy, "unseen_ms", "unannounced", "mean"),
             _colour(policy)),
        Line(f"{policy}, announced", _over_budget(outcomes, policy, "unseen_ms", "announced", "mean"),
             _colour(policy, "flat"), "7 4"))]
    lines.append(_optimum(outcomes))
    axis = _seconds_axis("mean time unseen, seconds", lines)
    plot = line_plot("time unseen against budget", _budget_axis(outcomes), axis, lines)
    return _figure("How long a change goes unseen", plot,
                   "The nearer an unannounced line lies to the dotted one, the better the calls were spent; the gap "
                   "down to the announced line is what telling the engine of changes is worth.")


def _curves(outcomes: Sequence[Outcome]) -> str:
    figures = []
    for budget in dict.fromkeys(outcome.row["budget_per_minute"] for outcome in outcomes):
        lines = [Line(f"{outcome.row['policy']}, {phase}",
                      [(age_ms / 1000, share * 100) for age_ms, share in outcome.curves.get(phase, ())],
                      _colour(outcome.row["policy"], phase), _DASHES.get(phase, ""), dots=False)
                 for outcome in outcomes if outcome.row["budget_per_minute"] == budget for phase in _AGED]
        oldest = max((age for line in lines for age, share in line.points if share <= _SHOWN_SHARE), default=1.0)
        plot = line_plot(f"ages with a budget of {budget}", Axis("age, seconds", 0, round_up(oldest * 1.1)),
                         Axis("share of the time, %", 0, 100), lines)
        figures.append(_figure(f"{budget} calls a minute", plot,
                               "Read across from 95 %: robots of that phase were no older than this for 95 % of the "
                               "time. A straight rise is even polling; a long flat end means some robots wait."))
    return "".join(figures)


def _calls(outcomes: Sequence[Outcome]) -> str:
    figures = []
    for budget in dict.fromkeys(outcome.row["budget_per_minute"] for outcome in outcomes):
        chosen = [outcome for outcome in outcomes if outcome.row["budget_per_minute"] == budget]
        lines = [Line(outcome.row["policy"], [(minute + 0.5, float(calls)) for minute, calls in
                                              enumerate(outcome.by_minute)], _colour(outcome.row["policy"]),
                      "" if place == 0 else "7 4", dots=len(outcome.by_minute) <= 15)
                 for place, outcome in enumerate(chosen)]
        minutes = max(len(outcome.by_minute) for outcome in chosen)
        plot = line_plot(f"calls by minute with a budget of {budget}", Axis("virtual time, minutes", 0, minutes),
                         Axis("calls in the minute", 0, round_up(budget * 1.05)), lines, [budget])
        figures.append(_figure(f"{budget} calls a minute", plot,
                               "No point may lie above the fine dotted line, which is the budget; a line far below it "
                               "is budget that was not needed, or that the exchange's own limits do not let be used."))
    return "".join(figures)


def _strips(outcomes: Sequence[Outcome]) -> str:
    ages = sorted(age_ms for outcome in outcomes for column in outcome.strip for age_ms in column)
    hottest_ms = int(round_up(max(ages[int(len(ages) * 0.98)], 1_000) / 1000) * 1000) if ages else 1_000
    figures = "".join(
        _figure(f"{outcome.row['budget_per_minute']} calls a minute, {outcome.row['policy']}",
                strip("ages of robots over time", outcome.strip, hottest_ms, outcome.row["minutes"]),
                "Each line is a robot, the freshest on top; a bright band along the bottom is a part of the fleet that "
                "the budget reaches late, a bright column a moment in which everybody waited.") for outcome in outcomes)
    return f"{heat_scale(hottest_ms)}<div class='plots'>{figures}</div>"
