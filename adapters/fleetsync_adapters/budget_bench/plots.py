"""Plots as inline SVG: lines over labelled axes, and a strip of cells. Colours come from the page."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from struct import pack
from zlib import compress, crc32

WIDTH, HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 26, 12, 50
_TICKS = 5
# Dark blue to yellow, evenly growing in lightness: told apart by all kinds of colour vision, and in grey.
_COLD_TO_HOT = ((0, 32, 77), (64, 77, 107), (124, 123, 120), (188, 174, 108), (255, 234, 70))
_NOTHING = (255, 255, 255)  # no colour of the scale: grey would be one


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot; `colour` is one of the page's, `dash` makes it differ without colour too."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int
    dash: str = ""
    dots: bool = True
    thin: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: what it shows, in which unit, and over which values."""

    label: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, 0 to 1."""
        if self.log:
            value = max(value, self.low)
            return (log10(value) - log10(self.low)) / ((log10(self.high) - log10(self.low)) or 1)
        return (value - self.low) / ((self.high - self.low) or 1)

    def ticks(self) -> list[float]:
        """Round values along it."""
        if self.log:
            decades = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            steps = (1, 2, 5) if len(decades) <= 4 else (1,)
            return [step * 10.0**power for power in decades for step in steps
                    if self.low * 0.999 <= step * 10.0**power <= self.high * 1.001]
        step = nice((self.high - self.low) / _TICKS)
        first = ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, floor(self.high / step + 1e-9) + 1)]


def nice(value: float) -> float:
    """The next round number that is not below: 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(value)) if value > 0 else 1.0
    return next((step * power for step in (1, 2, 2.5, 5) if step * power >= value * 0.999), 10 * power)


def round_up(value: float) -> float:
    """Where an axis that must hold a value ends."""
    step = nice(max(value, 1e-9) / _TICKS)
    return ceil(value / step - 1e-9) * step


def line_plot(title: str, x: Axis, y: Axis, lines: Sequence[Line],
              marks: Sequence[tuple[str, float]] = ()) -> str:
    """An SVG with these lines; `marks` are values of y with a thin line and a name of their own."""
    across, down = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in y.ticks():
        at = _TOP + down * (1 - y.place(tick))
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
                     f'<text class="tick" x="{_LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for tick in x.ticks():
        at = _LEFT + across * x.place(tick)
        parts.append(f'<line class="grid" y1="{_TOP}" y2="{_TOP + down}" x1="{at:.1f}" x2="{at:.1f}"/>'
                     f'<text class="tick" x="{at:.1f}" y="{_TOP + down + 17}" text-anchor="middle">'
                     f"{number(tick)}</text>")
    parts.append(f'<text class="label" x="{_LEFT + across / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
                 f"{escape(x.label)}</text>"
                 f'<text class="label" transform="rotate(-90)" x="{-(_TOP + down / 2)}" y="14" text-anchor="middle">'
                 f"{escape(y.label)}</text>")
    for name, mark in marks:
        at = _TOP + down * (1 - y.place(mark))
        parts.append(f'<line class="mark" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
                     f'<text class="tick" x="{_LEFT + 6}" y="{at - 5:.1f}">{escape(name)} {number(mark)}</text>')
    parts += [_line(one, x, y, across, down) for one in lines if one.points]
    return "".join((*parts, "</svg>", _legend(lines)))


def _line(line: Line, x: Axis, y: Axis, across: float, down: float) -> str:
    places = [(_LEFT + across * _within(x.place(a)), _TOP + down * (1 - _within(y.place(b)))) for a, b in line.points]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
    drawn = f'<polyline class="{_look(line)}" points="{path}"{dash}/>'
    if not line.dots:
        return f"{drawn[:-2]}><title>{escape(line.name)}</title></polyline>"
    return drawn + "".join(
        f'<circle class="f{line.colour}" cx="{a:.1f}" cy="{b:.1f}" r="{2.5 if line.thin else 4}">'
        f"<title>{escape(line.name)}: {number(value)} at {number(where)}</title></circle>"
        for (a, b), (where, value) in zip(places, line.points, strict=True))


def _look(line: Line) -> str:
    return f"line{' thin' if line.thin else ''} s{line.colour}"


def _within(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def _legend(lines: Sequence[Line]) -> str:
    entries = "".join(
        f'<li><svg viewBox="0 0 28 10" class="key"><line class="{_look(line)}" x1="1" x2="27" y1="5" y2="5"'
        + (f' stroke-dasharray="{line.dash}"' if line.dash else "") + f"/></svg>{escape(line.name)}</li>"
        for line in lines if line.points)
    return f'<ul class="legend">{entries}</ul>'


def strip(title: str, columns: Sequence[Sequence[int]], hottest_ms: int, minutes: int) -> str:
    """Robots over time, a cell as bright as its robot's knowledge is old; robots sorted by their mean age."""
    if not columns:
        return ""
    robots = range(len(columns[0]))
    order = sorted(robots, key=lambda robot: sum(column[robot] for column in columns))
    rows = [[_heat(column[robot], hottest_ms) for column in columns] for robot in order]
    image = b64encode(_png(rows)).decode("ascii")
    across, down = WIDTH - _LEFT - _RIGHT, 150
    parts = [f'<svg viewBox="0 0 {WIDTH} {down + _TOP + _BOTTOM}" role="img" aria-label="{escape(title)}">',
             _picture(across, down, image)]
    axis = Axis("", 0, minutes)
    parts += [f'<text class="tick" x="{_LEFT + across * axis.place(tick):.1f}" y="{_TOP + down + 17}" '
              f'text-anchor="middle">{number(tick)}</text>' for tick in axis.ticks()]
    parts.append(f'<text class="label" x="{_LEFT + across / 2}" y="{_TOP + down + 38}" text-anchor="middle">'
                 "virtual time, minutes</text>"
                 f'<text class="label" transform="rotate(-90)" x="{-(_TOP + down / 2)}" y="34" text-anchor="middle">'
                 f"{len(order)} robots</text></svg>")
    return "".join(parts)


def _picture(across: int, down: int, image: str) -> str:
    return (f'<image x="{_LEFT}" y="{_TOP}" width="{across}" height="{down}" preserveAspectRatio="none" '
            f'style="image-rendering:pixelated" href="data:image/png;base64,{image}"/>')


def heat_scale(hottest_ms: int) -> str:
    """What the strip's colours mean."""
    stops = "".join(f'<stop offset="{index / 4:.2f}" stop-color="rgb{colour}"/>'
                    for index, colour in enumerate(_COLD_TO_HOT))
    texts = "".join(f'<text class="tick" x="{_LEFT + 300 * share:.0f}" y="36" text-anchor="middle">'
                    f"{number(round(hottest_ms * share / 1000, 1))}{' or more' if share == 1 else ''}</text>"
                    for share in (0.0, 0.25, 0.5, 0.75, 1.0))
    beside = _LEFT + 320
    return (f'<svg class="scale" viewBox="0 0 {WIDTH} 44" role="img" aria-label="scale of ages">'
            f'<defs><linearGradient id="heat">{stops}</linearGradient></defs>'
            f'<rect x="{_LEFT}" y="6" width="300" height="14" fill="url(#heat)"/>{texts}'
            f'<text class="label" x="{beside}" y="18">age, seconds</text>'
            f'<rect class="nothing" x="{beside}" y="26" width="13" height="13" fill="rgb{_NOTHING}"/>'
            f'<text class="tick" x="{beside + 18}" y="37">not known</text></svg>')


def number(value: float) -> str:
    """A number as a tick shows it."""
    if value >= 10_000 and value % 1_000 == 0:
        return f"{value / 1000:g}k"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _heat(age_ms: int, hottest_ms: int) -> tuple[int, int, int]:
    if age_ms < 0:
        return _NOTHING
    place = min(age_ms / max(hottest_ms, 1), 1.0) * (len(_COLD_TO_HOT) - 1)
    index = min(int(place), len(_COLD_TO_HOT) - 2)
    low, high = _COLD_TO_HOT[index], _COLD_TO_HOT[index + 1]
    red, green, blue = (round(a + (b - a) * (place - index)) for a, b in zip(low, high, strict=True))
    return red, green, blue


def _png(rows: Sequence[Sequence[tuple[int, int, int]]]) -> bytes:
    """The smallest picture format that every browser reads: rows of red, green and blue."""
    raw = b"".join(b"\0" + bytes(value for pixel in row for value in pixel) for row in rows)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", crc32(kind + data))

    header = pack(">IIBBBBB", len(rows[0]), len(rows), 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compress(raw, 9)) + chunk(b"IEND", b"")
