"""Too little of something, for real: a disk that is full, a directory that cannot be written, too few descriptors."""

import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE = 24, 1
_WITHOUT_PRIVILEGE = (
    "import ctypes, os, sys; "
    f"assert ctypes.CDLL(None).prctl({_PR_CAPBSET_DROP}, {_CAP_DAC_OVERRIDE}, 0, 0, 0) == 0; "
    "os.execv(sys.argv[1], sys.argv[1:])")


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of its own, so small that it can be filled."""
    made = folder / "disk"
    made.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "small", str(made)],
                             capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this user cannot mount a small disk")
    try:
        yield made
    finally:
        subprocess.run(["umount", "--lazy", str(made)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room that is left; deleting the file gives it back."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    assert os.statvfs(disk).f_bavail == 0
    return ballast


@contextmanager
def no_longer_files(pid: int, size: int) -> Iterator[None]:
    """A process that can make no file longer than this: a quota, for any user."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def unprivileged(command: Sequence[str]) -> list[str]:
    """The command, to which a directory's mode means something even where this user is root."""
    if os.geteuid() != 0:
        return list(command)
    if ctypes.CDLL(None, use_errno=True).prctl(23, _CAP_DAC_OVERRIDE, 0, 0, 0) != 1:
        return list(command)  # a container took it away already
    return [sys.executable, "-c", _WITHOUT_PRIVILEGE, *command]


@contextmanager
def no_files(pids: Iterable[int]) -> Iterator[None]:
    """Processes that can open nothing any more; what they have open stays."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
