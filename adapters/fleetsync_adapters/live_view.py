"""The live view of a run in a terminal: what is spent, what waits, how old knowledge is, what changed last.

`render` is pure: a picture of a status and a feed for a terminal of a given size. `LiveFace` draws it a few times a
second, less often where a picture of a large fleet costs more.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fleetsync.engine import Engine
from fleetsync.journal import Notice
from fleetsync.model import Change
from fleetsync.report import Status
from fleetsync.units import MINUTE_MS, SECOND_MS, s_from_ms
from fleetsync_adapters.cli.feed import Feed
from fleetsync_adapters.cli.reading import change_detail

FRAME_S = 0.25
_LEFT = "\x1b[?1049l\x1b[?25h"  # back to the ordinary screen, and the cursor shown
_SHARE = 20  # a picture may take one part in so many of the loop's time
_WIDE = 110  # columns from which on there is room for details
_NOTICES = 3
_FIXED_LINES = 5  # title, budget, work and two empty ones
_LEVELS = {"info": "green", "warning": "yellow", "error": "bold red"}
_CIRCUITS = {"closed": "green", "half-open": "yellow", "open": "bold red"}
_PHASES = {"holding": "bold green", "working": "cyan", "flat": "white", "unknown": "yellow"}


@dataclass(frozen=True, slots=True)
class Picture:
    """What `render` shows besides the engine's status."""

    changes: Sequence[Change] = ()  # the last ones, oldest first
    notices: Sequence[Notice] = ()
    running_ms: int = 0
    span_ms: int | None = None  # how long it is meant to run
    doing: str = ""  # "a last sync of all robots"


def render(status: Status, picture: Picture, *, width: int, height: int, zone: tzinfo | None = None) -> RenderableType:
    """The picture for a terminal of `width` columns and `height` lines; it fits."""
    said = [_notice(notice, width) for notice in list(picture.notices)[-min(_NOTICES, height // 8):]]
    troubles = _first(list(_troubles(status)), height // 6)
    lines = _FIXED_LINES + len(said) + len(troubles)
    tables = _tables(status, width, height, room=height - lines)
    rows: list[RenderableType] = [_title(status, picture, width), _budget(status, width), _work(status), Text(),
                                  tables.shown, *troubles, Text()]
    room = height - lines - tables.lines - 1
    if room > 0:
        rows += [_heading(f"last changes ({status.changes} in this run)"),
                 *_changes(list(picture.changes)[-room:], width, zone)]
    return Group(*rows, *said)


# -- the lines


def _title(status: Status, picture: Picture, width: int) -> Text:
    left = Text.assemble(("fleetsync", "bold"), f"  {status.robots} robots")
    meant = f" of {_span(picture.span_ms)}" if picture.span_ms else ""
    right = Text(f"{picture.doing or 'running'}  {_span(picture.running_ms)}{meant}", style="dim")
    return Text.assemble(left, " " * max(width - left.cell_len - right.cell_len, 1), right, no_wrap=True)


def _budget(status: Status, width: int) -> Text:
    """Calls in the last minute, as a bar against what is allowed."""
    used, allowed = status.calls_last_minute, max(status.calls_per_minute, 1)
    text = f" {used}/{allowed} calls in the last minute, worst {status.worst_minute_calls}"
    room = max(width - len(text) - 8, 5)
    filled = min(used * room // allowed, room)
    style = "red" if used > allowed else "yellow" if used * 10 > allowed * 9 else "green"
    return Text.assemble("budget  ", ("━" * filled, style), ("━" * (room - filled), "grey37"), text, no_wrap=True)


def _work(status: Status) -> Text:
    urgent = (f"{status.urgent}", "bold magenta" if status.urgent else "")
    return Text.assemble(
        f"work    due {status.due}, in flight {status.in_flight}, urgent ", urgent,
        f"; {status.syncs} syncs, {status.events} events",
        f" ({status.events_pending} waiting)" if status.events_pending else "", no_wrap=True, overflow="ellipsis")


@dataclass(frozen=True, slots=True)
class _Block:
    shown: RenderableType
    lines: int


def _tables(status: Status, width: int, height: int, room: int) -> _Block:
    """Phases, workers and routes: side by side where the terminal is wide, as long as it allows."""
    phases, routes = _phases(status), _routes(status, limit=max(height // 12, 1))
    below = 0 if width >= _WIDE else routes.row_count + 1
    crew = _crew(status, limit=max(min(room - below - 1, height // 3), 2))
    if width >= _WIDE:
        return _Block(_beside(phases, crew, routes), max(phases.row_count, crew.row_count, routes.row_count) + 1)
    return _Block(Group(_beside(phases, crew), routes), max(phases.row_count, crew.row_count) + 1 + below)


def _beside(*tables: Table) -> Table:
    grid = Table.grid(padding=(0, 4, 0, 0))
    for _ in tables:
        grid.add_column()
    grid.add_row(*tables)
    return grid


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def _phases(status: Status) -> Table:
    table = _table("phase", "robots", "oldest")
    for phase, style in _PHASES.items():
        age_ms = status.worst_age_ms.get(phase)
        table.add_row(Text(phase, style=style), str(status.phases.get(phase, 0)),
                      "" if age_ms is None else f"{s_from_ms(age_ms):.1f} s")
    return table


def _crew(status: Status, limit: int) -> Table:
    table = _table("worker", "pid", "accounts", "in flight")
    whole = len(status.crew) <= limit
    for row in status.crew[:limit if whole else limit - 1]:
        pid = Text(str(row["pid"])) if row["pid"] else Text("down", style="bold red")
        table.add_row(str(row["worker"]), pid, str(row["accounts"]), str(row["in_flight"]))
    if not whole:
        table.add_row(f"+{len(status.crew) - limit + 1}", "", "", "")
    return table


def _routes(status: Status, limit: int) -> Table:
    table = _table("route", "circuit", "due", "stretch", "frozen")
    for row in status.routes[:limit]:
        frozen_ms = max(row["frozen_until_ms"] - status.at_ms, 0) if row["frozen_until_ms"] else 0
        table.add_row(row["name"], Text(row["circuit"], style=_CIRCUITS.get(row["circuit"], "")), str(row["due"]),
                      f"{row['stretch']:.2f}", Text(_span(frozen_ms), style="bold red") if frozen_ms else "no")
    return table


def _troubles(status: Status) -> Iterator[Text]:
    """Faults, and what stands still because of them; nothing where all is well."""
    if status.faults:
        counts = ", ".join(f"{count} {fault}" for fault, count in sorted(status.faults.items()))
        yield Text(f"faults  {counts}", style="yellow", no_wrap=True, overflow="ellipsis")
    for kind, rows, style in (("account", status.stopped_accounts, "bold red"),
                              ("robot", status.stopped_robots, "bold red"),
                              ("account", status.failing_accounts, "yellow")):
        for name, why in rows.items():
            yield Text(f"{kind} {name}: {why}", style=style, no_wrap=True, overflow="ellipsis")


def _first(lines: list[Text], limit: int) -> list[Text]:
    if len(lines) <= limit:
        return lines
    left = len(lines) - limit + 1
    return [*lines[:limit - 1], Text(f"and {left} more troubles: fleetsync status names them", style="yellow")]


def _changes(changes: Sequence[Change], width: int, zone: tzinfo | None) -> list[Text]:
    return [_change(change, width, zone) for change in changes]


def _change(change: Change, width: int, zone: tzinfo | None) -> Text:
    at = datetime.fromtimestamp(change.seen_at_ms / SECOND_MS, tz=UTC).astimezone(zone)
    robots = ", ".join(change.robots[:1]) + (f"+{len(change.robots) - 1}" if len(change.robots) > 1 else "")
    line = Text.assemble((f"{at:%H:%M:%S} ", "dim"), f"{change.number:>6} ",
                         (f"{change.kind:<16} ", _kind(change.kind)),
                         f"{robots:<12} {change.symbol:<16} ", (f"{change.cause:<11} ", "dim"),
                         no_wrap=True, overflow="ellipsis")
    if width >= _WIDE:
        line.append(change_detail(change.after or change.before or {}), style="dim")
    line.truncate(width, overflow="ellipsis")
    return line


def _kind(kind: str) -> str:
    return "green" if kind.endswith("_opened") else "red" if kind.endswith(("_closed", "_ended")) else "cyan"


def _notice(notice: Notice, width: int) -> Text:
    line = Text(f"{notice.level}: {notice.text}", style=_LEVELS.get(notice.level, ""), no_wrap=True)
    line.truncate(width, overflow="ellipsis")
    return line


def _heading(text: str) -> Text:
    return Text(text, style="dim")


def _span(span_ms: int) -> str:
    """`1:05`, `2:00:00`."""
    minutes, rest_ms = divmod(span_ms, MINUTE_MS)
    hours, minutes = divmod(minutes, 60)
    seconds = rest_ms // SECOND_MS
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class LiveFace:
    """Shows a run on a terminal: lines until it begins, then the view on a screen of its own."""

    def __init__(self, console: Console, span_ms: int | None) -> None:
        """Draw on `console`; `span_ms` is how long the run is meant to last."""
        self._console = console
        self._span_ms = span_ms
        self._live: Live | None = None
        self._drawing: asyncio.Task[None] | None = None
        self._feed = Feed()
        self._engine: Engine | None = None
        self._began_at_ms = 0
        self._doing = ""
        self._unsaid: list[Notice] = []  # what the screen showed and will take with it

    def say(self, text: str) -> None:
        """One line of progress; while the view is there, in its title."""
        if self._live is None:
            self._console.out(text, highlight=False)
        self._doing = text

    def notice(self, notice: Notice) -> None:
        """Shown in the view, and once more below it when it is gone."""
        if self._live is None:
            self._console.print(_notice(notice, self._console.width))
        else:
            self._unsaid.append(notice)

    def begin(self, engine: Engine, feed: Feed) -> None:
        """Draw the engine's state from now on."""
        self._engine, self._feed, self._doing = engine, feed, ""
        self._began_at_ms = engine.clock.now_ms()
        self._live = Live(console=self._console, screen=True, auto_refresh=False, transient=True)
        self._live.start()
        self._drawing = asyncio.create_task(self._draw_on(), name="cli-live-view")

    def end(self) -> None:
        """Leave the screen as it was, and say what was noticed meanwhile."""
        if self._drawing is not None:
            self._drawing.cancel()
        if self._live is not None:
            self._live.stop()
        self._live = self._engine = None
        for notice in self._unsaid:
            self._console.print(_notice(notice, self._console.width))
        self._unsaid = []

    def let_go(self) -> None:
        """Give the terminal back as it was, at once and whatever else is going on."""
        if self._live is not None:
            self._console.file.write(_LEFT)
            self._console.file.flush()

    async def _draw_on(self) -> None:
        while True:
            began_s = time.perf_counter()
            with suppress(OSError):  # a terminal that is gone is no reason to end
                self._draw()
            await asyncio.sleep(max(FRAME_S, (time.perf_counter() - began_s) * _SHARE))

    def _draw(self) -> None:
        assert self._engine is not None, "begun"
        assert self._live is not None, "begun"
        status = self._engine.status()
        width, height = self._console.size
        picture = Picture(tuple(self._feed.last)[-height:], tuple(self._feed.notices)[-_NOTICES:],
                          status.at_ms - self._began_at_ms, self._span_ms, self._doing)
        self._live.update(render(status, picture, width=width, height=height), refresh=True)
