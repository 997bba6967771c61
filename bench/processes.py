"""What processes use, read from the system: processor time and memory, by process id."""

import asyncio
import os
import time
from dataclasses import dataclass

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far, all its threads together."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * _PAGE_KIB / 1024


def queued_s(pid: int) -> float:
    """Seconds that a process' main thread could have run so far and had no core."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as schedstat:
        return int(schedstat.read().split()[1]) / 1e9


@dataclass
class Watch:
    """Processor time of some processes from now on."""

    pids: dict[str, list[int]]

    def __post_init__(self) -> None:
        self._begun_s = time.perf_counter()
        self._before = {pid: cpu_s(pid) for pids in self.pids.values() for pid in pids}
        self._queued_before = {pid: queued_s(pid) for pid in self._before}

    def span_s(self) -> float:
        """Since when we watch."""
        return time.perf_counter() - self._begun_s

    def used_s(self) -> dict[str, float]:
        """Processor seconds by name."""
        return {name: sum(cpu_s(pid) - self._before[pid] for pid in pids) for name, pids in self.pids.items()}

    def queued(self) -> dict[str, float]:
        """By name, the share of the time in which there was work and no core: above that, latencies are not ours."""
        span_s = self.span_s()
        return {name: sum(queued_s(pid) - self._queued_before[pid] for pid in pids) / len(pids) / span_s
                for name, pids in self.pids.items()}

    def memory_mib(self) -> dict[str, float]:
        """Resident memory by name."""
        return {name: sum(memory_mib(pid) for pid in pids) for name, pids in self.pids.items()}


class Lag:
    """How late a timer of 10 ms comes in a busy loop. A bare timer: a task would be a tenth of the loop's own work."""

    def __init__(self) -> None:
        self._late_ms: list[float] = []
        self._loop = asyncio.get_running_loop()
        self._begin()

    def _begin(self) -> None:
        self._begun_s = time.perf_counter()
        self._timer = self._loop.call_later(0.01, self._came)

    def _came(self) -> None:
        self._late_ms.append((time.perf_counter() - self._begun_s) * 1e3 - 10)
        self._begin()

    def end(self) -> tuple[float, float]:
        """The median and the 99th percentile, in milliseconds."""
        self._timer.cancel()
        late_ms = sorted(self._late_ms) or [0.0]
        return late_ms[len(late_ms) // 2], late_ms[int(len(late_ms) * 0.99)]


def pin(cores: int) -> set[int]:
    """Keep this process, and those that it will start, to so many cores; returns those that are left for others."""
    every = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, every[:cores])
    return set(every[cores:])
