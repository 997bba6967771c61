"""Puts the figures of the last runs into `README.md`, between its markers: `python -m bench.table`."""

import json
from pathlib import Path
from typing import Any

from bench.figures import RESULTS

_README = Path(__file__).parent / "README.md"
_BEGIN, _END = "<!-- figures -->", "<!-- end of figures -->"
_TITLES = {
    "heap": "Heap (`pytest bench/bench_heap.py`)", "core": "Core (`pytest bench/bench_core.py`)",
    "budget": "Budget (`pytest bench/bench_budget.py`)", "wire": "Between processes (`pytest bench/bench_wire.py`)",
    "worker": "Worker (`pytest bench/bench_worker.py`)", "store": "Store (`pytest bench/bench_store.py`)",
    "event_latency": "Events (`pytest bench/bench_event_latency.py`)",
    "system": "The whole (`python -m bench.bench_system`)",
    "freshness": "What calls buy (`python -m bench.bench_freshness`)",
    "simulation": "The budget bench (`pytest bench/bench_simulation.py`)",
    "days": "Days with faults, every promise checked (`pytest bench/bench_simulation.py -k day`)",
}


def rows_of(name: str) -> list[str]:
    """The table of one bench."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    machine = found["machine"]
    place = f"{machine['cores']} cores, Python {machine['python']}, {machine['system']}."
    lines = [f"### {_TITLES[name]}", "", place, "",
             "| what | figure | target | |", "|---|---|---|---|"]
    return [*lines, *(_row(figure) for figure in found["figures"]), ""]


def _row(figure: dict[str, Any]) -> str:
    value, target = figure["value"], figure["target"]
    shown = f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    bound = "" if target is None else f"{'at least' if figure['at_least'] else 'at most'} {target:,g}"
    verdict = {None: "", True: "met", False: "**missed**"}[figure["met"]]
    return f"| {figure['name']} | {shown} {figure['unit']} | {bound} | {verdict} |"


def growth() -> list[str]:
    """The table beside the plots."""
    path = RESULTS / "growth.json"
    if not path.exists():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    lines = ["### Growth (`python -m bench.growth`)", "",
             "| robots | a sync of ten robots | memory a robot | event to dispatch, p50 / p99 | adding them all |",
             "|---|---|---|---|---|"]
    for row in rows:
        memory = row.get("held_bytes", row.get("robot_bytes"))
        lines.append(f"| {row['robots']:,} | {row['sync_us']:.0f} us | {memory:.0f} bytes | "
                     f"{row['urgent_p50_us']:.0f} / {row['urgent_p99_us']:.0f} us | {row['built_s']:.2f} s |")
    plots = [f"![{name}](results/growth_{name}.svg)" for name in ("cost", "robot", "memory", "urgent")
             if (RESULTS / f"growth_{name}.svg").exists()]
    return [*lines, "", *plots, ""]


def main() -> None:
    """Rewrite the figures."""
    text = _README.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    lines = [line for name in _TITLES for line in rows_of(name)] + growth()
    _README.write_text("\n".join((before + _BEGIN, "", *lines, _END + after)), encoding="utf-8")


if __name__ == "__main__":
    main()
