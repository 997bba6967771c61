"""The page of a bench: one HTML file with everything in it, that works without a network.

In all its plots a colour is a phase (or whether a change was announced), and a dashed line is the adaptive policy.
"""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from fleetsync_adapters.budget_bench.fleets import BenchFleet
from fleetsync_adapters.budget_bench.plots import Axis, Line, heat_scale, line_plot, round_up, strip
from fleetsync_adapters.budget_bench.table import seconds, shared_facts
from fleetsync_adapters.budget_bench.trial import Outcome

_AGED = {"holding": 0, "working": 1, "flat": 2}  # phase -> colour
_ANNOUNCED, _UNANNOUNCED, _OPTIMUM = 2, 0, 3
_DASHED = {"adaptive": "8 4"}
_SHOWN_SHARE = 99.6  # of the time; beyond it a single late robot would squeeze the rest together


def write_page(path: Path, fleet: BenchFleet, outcomes: Sequence[Outcome]) -> None:
    """Write the page of these outcomes; there is at least one."""
    style = files(__package__).joinpath("page.css").read_text("utf-8")
    intro = "".join(f"<p>{escape(line)}</p>" for line in fleet.lines())
    row = outcomes[0].row
    dashed = "; dashed lines are the adaptive policy" if len(_policies(outcomes)) > 1 else ""
    path.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>fleetsync: budget and freshness</title><style>{style}</style></head><body>"
        f"<h1>What budget, and how fresh</h1>{intro}"
        f'<p class="quiet">Simulated with the real scheduler in virtual time: {row["minutes"]} minutes measured after '
        f'a warm-up, seed {row["seed"]}. Ages count from the sending of the request whose answer is known{dashed}.</p>'
        f"<h2>In figures</h2>{_table(outcomes)}"
        f'<h2>What a budget buys</h2><div class="plots">{_ages(outcomes)}{_unseen(outcomes)}</div>'
        f'<h2>How old, how often</h2><div class="plots">{_curves(outcomes)}</div>'
        f'<h2>Calls by minute</h2><div class="plots">{_calls(outcomes)}</div>'
        f"<h2>Robots over time</h2>{_strips(outcomes)}</body></html>\n", encoding="utf-8")


# -- the table


def _table(outcomes: Sequence[Outcome]) -> str:
    head = "".join(f"<th>{outcome.row['budget_per_minute']}<br>{escape(outcome.row['policy'])}</th>"
                   for outcome in outcomes)
    body = "".join(
        f"<tr><th>{escape(name)}</th>" + "".join(f"<td>{escape(figure)}</td>" for figure in figures) + "</tr>"
        for name, figures in shared_facts([outcome.row for outcome in outcomes]))
    return (f'<div class="scroll"><table><thead><tr><th>calls a minute<br>policy</th>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")


# -- plots


def _figure(title: str, plot: str, caption: str) -> str:
    return f"<figure><h3>{escape(title)}</h3>{plot}<figcaption>{escape(caption)}</figcaption></figure>"


def _policies(outcomes: Sequence[Outcome]) -> list[str]:
    return list(dict.fromkeys(outcome.row["policy"] for outcome in outcomes))


def _budgets(outcomes: Sequence[Outcome]) -> Iterator[tuple[int, list[Outcome]]]:
    """The outcomes of each budget."""
    for budget in dict.fromkeys(outcome.row["budget_per_minute"] for outcome in outcomes):
        yield budget, [outcome for outcome in outcomes if outcome.row["budget_per_minute"] == budget]


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
    return Line("least mean that polling can reach", points, _OPTIMUM, "2 4")


def _ages(outcomes: Sequence[Outcome]) -> str:
    """A plot for each phase that somebody was in, all with the same axes."""
    optimum = _optimum(outcomes)
    of_phase = {
        phase: [Line(f"{policy}, {figure}", _over_budget(outcomes, policy, "age_ms", phase, figure), colour,
                     _DASHED.get(policy, ""), thin=figure == "p50")
                for policy in _policies(outcomes) for figure in ("p95", "p50")]
        for phase, colour in _AGED.items()}
    shown = {phase: lines for phase, lines in of_phase.items() if any(line.points for line in lines)}
    axis = _seconds_axis("age, seconds", [optimum, *(line for lines in shown.values() for line in lines)])
    return "".join(
        _figure(f"Age of what is known, {phase} robots",
                line_plot(f"age of {phase} robots against budget", _budget_axis(outcomes), axis, [*lines, optimum]),
                "Where a line stops falling, more budget buys nothing: every wish is met. Thick: 95 % of the time no "
                "older than this; thin: half of the time. The dotted line is the mean that the best possible order of "
                "polls gives at that budget.")
        for phase, lines in shown.items())


def _unseen(outcomes: Sequence[Outcome]) -> str:
    lines = [line for policy in _policies(outcomes) for line in (
        Line(f"{policy}, unannounced", _over_budget(outcomes, policy, "unseen_ms", "unannounced", "mean"),
             _UNANNOUNCED, _DASHED.get(policy, "")),
        Line(f"{policy}, announced", _over_budget(outcomes, policy, "unseen_ms", "announced", "mean"),
             _ANNOUNCED, _DASHED.get(policy, "")))]
    lines.append(_optimum(outcomes))
    axis = _seconds_axis("mean time unseen, seconds", lines)
    plot = line_plot("time unseen against budget", _budget_axis(outcomes), axis, lines)
    return _figure("How long a change goes unseen", plot,
                   "The nearer an unannounced line lies to the dotted one, the better the calls were spent; the gap "
                   "down to the announced line is what telling the engine of changes is worth.")


def _curves(outcomes: Sequence[Outcome]) -> str:
    figures = []
    for budget, chosen in _budgets(outcomes):
        lines = [Line(f"{outcome.row['policy']}, {phase}",
                      [(age_ms / 1000, share * 100) for age_ms, share in outcome.curves.get(phase, ())], colour,
                      _DASHED.get(outcome.row["policy"], ""), dots=False)
                 for outcome in chosen for phase, colour in _AGED.items()]
        oldest = max((age for line in lines for age, share in line.points if share <= _SHOWN_SHARE), default=1.0)
        plot = line_plot(f"ages with a budget of {budget}", Axis("age, seconds", 0, round_up(oldest * 1.1)),
                         Axis("share of the time, %", 0, 100), lines)
        found = "; ".join(f"{outcome.row['policy']}: " + ", ".join(
            f"{phase} {seconds(outcome.row['age_ms'][phase]['p95'])}".replace(" ", "\N{NO-BREAK SPACE}")
            for phase in _AGED if outcome.row["age_ms"][phase]["p95"] is not None) for outcome in chosen)
        figures.append(_figure(f"{budget} calls a minute", plot,
                               f"Read across from 95 % for the age that is rarely exceeded ({found}). A straight rise "
                               "is even polling; a long flat end means that some robots wait."))
    return "".join(figures)


def _calls(outcomes: Sequence[Outcome]) -> str:
    figures = []
    for budget, chosen in _budgets(outcomes):
        lines = [Line(outcome.row["policy"], [(minute + 0.5, float(calls)) for minute, calls in
                                              enumerate(outcome.by_minute)], int(outcome.row["policy"] == "adaptive"),
                      _DASHED.get(outcome.row["policy"], ""), dots=len(outcome.by_minute) <= 15) for outcome in chosen]
        minutes = max(len(outcome.by_minute) for outcome in chosen)
        plot = line_plot(f"calls by minute with a budget of {budget}", Axis("virtual time, minutes", 0, minutes),
                         Axis("calls in the minute", 0, round_up(budget * 1.05)), lines, [("budget", budget)])
        used = ", ".join(f"{outcome.row['policy']} used {outcome.row['calls_per_minute'] / budget:.0%} of it"
                         for outcome in chosen)
        figures.append(_figure(f"{budget} calls a minute", plot,
                               f"No point may lie above the line of the budget: {used}. What is left was not needed, "
                               "or the exchange's own limits do not let it be used."))
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
