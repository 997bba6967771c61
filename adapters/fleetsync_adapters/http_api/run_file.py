"""The run file beside a database: how programs of the same user find the engine that has it open."""

import contextlib
import os
import tempfile

import orjson

from fleetsync.errors import StoreRefused


class RunFile:
    """`{"pid", "url", "token", "started_at_ms"}`, readable by its owner only, there while the engine is served."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self._written = b""

    def write(self, url: str, token: str | None, started_at_ms: int) -> None:
        """Put it there, whole or not at all; what a killed run left is replaced.

        Raises:
            StoreRefused: nothing can be written there.
        """
        content = orjson.dumps({"pid": os.getpid(), "url": url, "token": token, "started_at_ms": started_at_ms})
        made = ""
        try:
            handle, made = tempfile.mkstemp(prefix=".fleetsync-run-", dir=os.path.dirname(self.path))  # mode 0600
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(made, self.path)
        except OSError as error:
            if made:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(made)
            raise StoreRefused(f"cannot write {self.path}: {error.strerror}",
                               hint="name a place in a directory that this user can write") from error
        self._written = content

    def remove(self) -> None:
        """Take it away, unless another run has put its own there."""
        with contextlib.suppress(OSError):
            with open(self.path, "rb") as file:
                ours = file.read() == self._written
            if ours and self._written:
                os.unlink(self.path)
