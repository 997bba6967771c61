"""What a long run uses, read from the system again and again; and whether it levels off."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

MIB = 2**20
BYTES_A_CHANGE = 700
"""What a kept change may cost in the file and its log: changes are what a store is there to keep."""
LOG_MIB = 80
"""The log is folded into the file at 64 MiB; a batch more may stand in it."""
OF_LOG = 0.65
"""What a MiB of the log stands for in the memory of the process that writes it, until it is folded: 32 MiB for 49,
measured of the store alone under an hour of such rows, five times over."""
FILES_MAX = 640
"""A worker may have 256 syncs in flight, each over a connection of its own, and as many idle that were in use just now;
the rest is for what it has open anyway."""
_SLACK = {"MiB": 6.0, "files": 4.0}
_SHARE = {"MiB": 0.06, "files": 0.0}


@dataclass(slots=True)
class Series:
    """One thing that is measured: a value an instant."""

    unit: str
    values: list[float] = field(default_factory=list)

    def growth(self) -> float:
        """By how much the last third stands above the one before it; the first one warms up."""
        third = len(self.values) // 3
        return self._level(self.values[-third:]) - self._level(self.values[third:len(self.values) - third])

    def allowed(self) -> float:
        """How much of that is no growth."""
        third = len(self.values) // 3
        return _SLACK[self.unit] + _SHARE[self.unit] * self._level(self.values[third:len(self.values) - third])

    def _level(self, values: Sequence[float]) -> float:
        """Where a third stands: memory at its median, descriptors at their fewest.

        Connections come and go by the hundred with the load, and by the median that swings between thirds for nothing
        (11 to 294 of them, measured). Whenever the exchange stands still all of them are closed, which is every fourth
        minute: what is open even then, and more of it than before, is what leaks.
        """
        return min(values) if self.unit == "files" else median(values)


@dataclass(slots=True)
class Watch:
    """All that is measured of one run."""

    series: dict[str, Series] = field(default_factory=dict)
    began_s: float = field(default_factory=time.monotonic)

    def look(self, pids: Mapping[str, int], db: str, changes: int) -> None:
        """Measure once: memory and open files of each process, the database beyond the changes it keeps, its log."""
        for name, pid in pids.items():
            self._add(f"{name} memory", "MiB", memory_mib(pid))
            self._add(f"{name} files", "files", open_files(pid))
        # The database engine holds the rows of its log in memory until that is folded, and blocks of the file.
        size, log = (os.stat(name).st_size if os.path.exists(name) else 0 for name in (db, f"{db}.wal"))
        self._add("database", "MiB", size / MIB)
        self._add("database without changes", "MiB", max(size - BYTES_A_CHANGE * changes, 0) / MIB)
        self._add("log", "MiB", log / MIB)
        held = self.series["engine memory"].values[-1] - (size + OF_LOG * log) / MIB
        self._add("engine without database", "MiB", held)

    def line(self) -> str:
        """The newest figures."""
        told = [f"{name} {one.values[-1]:,.0f}{' MiB' if one.unit == 'MiB' else ''}"
                for name, one in self.series.items()]
        return f"{(time.monotonic() - self.began_s) / 60:5.1f} min  " + ", ".join(told)

    def grown(self, judged: Sequence[str]) -> list[str]:
        """Those of the series that do not level off, in words."""
        told = [f"{name} grew by {one.growth():.1f} {one.unit} (allowed {one.allowed():.1f})"
                for name, one in self.series.items()
                if name.startswith(tuple(judged)) and one.growth() > one.allowed()]
        for most, name, what in ((LOG_MIB, "log", "MiB"), (FILES_MAX, "worker files", "descriptors")):
            highest = max(self.series[name].values) if name in self.series else 0
            if highest > most:
                told.append(f"{name}: {highest:.0f} {what} (allowed {most})")
        return told

    def _add(self, name: str, unit: str, value: float) -> None:
        self.series.setdefault(name, Series(unit)).values.append(value)


def memory_mib(pid: int) -> float:
    """Resident memory of a process, without what it shares with a file that others map too."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024


def open_files(pid: int) -> int:
    """How many descriptors a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))
