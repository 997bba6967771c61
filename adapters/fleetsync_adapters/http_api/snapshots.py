"""Copies of the database for programs on this machine: beside it, in a directory that only its owner can enter."""

import asyncio
import contextlib
import itertools
import os
import shutil
import stat
import tempfile
from typing import ClassVar, Final
from weakref import WeakKeyDictionary

from fleetsync.engine import Engine
from fleetsync.errors import StoreRefused

_KEPT: Final = 3  # the newest ones; a reader that opened an older one keeps it, although it has no name any more


class Snapshots:
    """The snapshots of one engine; all are gone when it stops, and at the latest when the next one starts."""

    _all: ClassVar[WeakKeyDictionary[Engine, "Snapshots"]] = WeakKeyDictionary()

    @classmethod
    def of(cls, engine: Engine, side: object) -> "Snapshots":
        """Those of an engine, whatever side of it asks; they are kept until each side that asked has let go."""
        found = cls._all.get(engine)
        if found is None:
            found = cls._all[engine] = cls(engine)
            found._remove_all()
        found._sides.add(side)
        return found

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sides: set[object] = set()
        database = str(getattr(engine.store, "path", ""))
        self._directory = f"{database}.snapshots" if database else ""
        self._kept: list[str] = []
        self._numbers = itertools.count(1)
        self._one_at_a_time = asyncio.Lock()

    async def take(self) -> str:
        """Write one; returns its path.

        Raises:
            StoreRefused, StoreFailed: it could not be written.
        """
        async with self._one_at_a_time:
            if not self._kept:
                await asyncio.to_thread(self._make_directory)
            path = os.path.join(self._directory, f"snapshot-{next(self._numbers)}.duckdb")
            await self._engine.snapshot(path)
            self._kept.append(path)
            while len(self._kept) > _KEPT:
                with contextlib.suppress(FileNotFoundError):  # whoever read it may have removed it
                    os.unlink(self._kept.pop(0))
            return path

    def let_go(self, side: object) -> None:
        """A side of the engine is closed, which may be said again; with the last one all of them go."""
        if side not in self._sides:
            return
        self._sides.remove(side)
        if not self._sides:
            self._remove_all()
            self._all.pop(self._engine, None)

    def _remove_all(self) -> None:
        """Remove what we, or a run that was killed, have left."""
        if self._directory and _is_own_directory(self._directory):
            shutil.rmtree(self._directory, ignore_errors=True)
        self._kept.clear()

    def _make_directory(self) -> None:
        if not self._directory:
            self._directory = tempfile.mkdtemp(prefix="fleetsync-snapshots-")
            return
        self._remove_all()
        try:
            os.mkdir(self._directory, 0o700)
        except FileExistsError:
            if not _is_own_directory(self._directory):
                raise StoreRefused(f"{self._directory} is in the way", hint="remove it") from None
        except OSError as error:
            raise StoreRefused(f"cannot make {self._directory}: {error.strerror}") from error


def _is_own_directory(path: str) -> bool:
    """A real directory (no link) of this user that nobody else can enter."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
