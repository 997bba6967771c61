"""A small plot as SVG: lines over a logarithmic axis, nothing else."""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, log10

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 360, 70, 36, 40, 50
_COLOURS = 3
_STYLE = """<style>
text { fill: #1f2328 } .ground { fill: #fff } .grid { stroke: #d0d7de } .quiet { fill: #57606a }
polyline { fill: none; stroke-width: 2 }
.line0 { stroke: #0969da } .line1 { stroke: #bc4c00 } .line2 { stroke: #1a7f37 }
.line0.dot, .line0.name { fill: #0969da } .line1.dot, .line1.name { fill: #bc4c00 }
.line2.dot, .line2.name { fill: #1a7f37 } .name { stroke: none }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .ground { fill: #0d1117 } .grid { stroke: #30363d } .quiet { fill: #9198a1 }
.line0 { stroke: #58a6ff } .line1 { stroke: #f0883e } .line2 { stroke: #3fb950 }
.line0.dot, .line0.name { fill: #58a6ff } .line1.dot, .line1.name { fill: #f0883e }
.line2.dot, .line2.name { fill: #3fb950 } .name { stroke: none } }
</style>"""  # it follows the reader's light or dark scheme


def plot(title: str, unit: str, counts: Sequence[int], lines: Mapping[str, Sequence[float]], note: str = "") -> str:
    """An SVG document.

    Args:
        title: above the plot.
        unit: of the values; their axis begins at zero.
        counts: the places on the logarithmic axis.
        lines: by name, a value for each place.
        note: what one has to know to read it, below the plot.
    """
    highest = _round_up(max(max(values) for values in lines.values()))
    first, last = log10(counts[0]), log10(counts[-1])

    def x_of(count: int) -> float:
        return _LEFT + (log10(count) - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y_of(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / highest * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
             _STYLE, '<g font-family="sans-serif" font-size="12"><rect width="100%" height="100%" class="ground"/>',
             f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>']
    for step in range(5):
        value = highest * step / 4
        height = y_of(value)
        parts.append(f'<path d="M{_LEFT},{height:.1f} H{_WIDTH - _RIGHT}" class="grid"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{value:,g}</text>')
    parts += [f'<text x="{x_of(count):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{count:,}</text>'
              for count in counts]
    below = f"robots; {unit}. {note}." if note else f"robots; {unit}"
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 10}" class="quiet">{escape(below)}</text>')
    for place, (name, values) in enumerate(lines.items()):
        colour = f"line{place % _COLOURS}"
        points = " ".join(f"{x_of(count):.1f},{y_of(value):.1f}" for count, value in zip(counts, values, strict=True))
        parts.append(f'<polyline points="{points}" class="{colour}"/>')
        parts += [f'<circle cx="{x_of(count):.1f}" cy="{y_of(value):.1f}" r="3" class="{colour} dot"/>'
                  for count, value in zip(counts, values, strict=True)]
        parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{22 + 16 * place}" text-anchor="end" class="{colour} name">'
                     f'{escape(name)}</text>')
    return "\n".join((*parts, "</g></svg>", ""))


def _round_up(value: float) -> float:
    """The next number of the kind 1, 2, 4, 10, times a power of ten."""
    scale = float(10 ** (ceil(log10(max(value, 1e-9))) - 1))
    return next(scale * step for step in (1, 2, 4, 8, 10) if scale * step >= value)
