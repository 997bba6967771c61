"""A small client for the engine that has a database open: for the command line and scripts. It blocks, and is light."""

import http.client
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from fleetsync.errors import (
    ConfigError,
    FleetsyncError,
    Permanent,
    Retryable,
    RobotStopped,
    StoreFailed,
    StoreRefused,
    SyncTimeout,
    UnknownRobot,
)
from fleetsync.units import SECOND_MS, s_from_ms

Json = dict[str, Any]

_ANSWER_MS = 30 * SECOND_MS
_HEALTH_MS = 5 * SECOND_MS
_SYNC_EXTRA_MS = 5 * SECOND_MS
_SNAPSHOT_MS = 300 * SECOND_MS  # a large database takes a while to copy
_STREAM_SILENCE_MS = 60 * SECOND_MS  # the engine sends a comment several times within this
_COME_BACK_MS = 1 * SECOND_MS
_LONGEST_LINE = 64 << 20
_KINDS: dict[str, type[FleetsyncError]] = {
    "unknown_robot": UnknownRobot, "robot_stopped": RobotStopped, "sync_timeout": SyncTimeout,
    "store_failed": StoreFailed, "store_refused": StoreRefused, "refused": ConfigError, "invalid": ConfigError,
}  # fmt: skip


def run_file_of(db_path: str) -> str:
    """Where an engine that has this database open says so."""
    return f"{os.path.realpath(db_path)}.run.json"


def find_running(db_path: str) -> "Running | None":
    """The engine that has this database open; None if there is none (a stale run file is no engine).

    Raises:
        Retryable: it is there, and does not answer.
    """
    try:
        with open(run_file_of(db_path), "rb") as file:
            told = orjson.loads(file.read())
        pid, url, started_at_ms = int(told["pid"]), str(told["url"]), int(told["started_at_ms"])
        running = Running(pid, url, started_at_ms, token=told["token"])
        os.kill(pid, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:
        # Asked without the token: another program may have the port by now.
        healthy = running.ask("GET", "/healthz", secret=False, within_ms=_HEALTH_MS)
    except Retryable as error:
        if isinstance(error.__cause__, TimeoutError):
            raise Retryable(f"the engine with PID {pid}, which has {db_path} open, does not answer",
                            hint="it stands still or is very busy; try again, or end that process") from error
        return None
    except FleetsyncError:
        return None
    return running if healthy.get("started_at_ms") == started_at_ms else None


@dataclass(frozen=True, slots=True)
class Running:
    """A running engine with an HTTP side."""

    pid: int
    url: str
    started_at_ms: int = 0
    token: str | None = field(default=None, repr=False)

    def ask(self, method: str, path: str, body: Any = None, *, within_ms: int = _ANSWER_MS,
            secret: bool = True) -> Json:
        """One request; returns its JSON.

        Raises:
            FleetsyncError: it was refused (of the kind that the engine raised), or nobody answers (`Retryable`).
        """
        connection = self._connect(within_ms)
        try:
            with _told_as_ours(self.url):
                content = None if body is None else orjson.dumps(body)
                headers = self._headers(secret=secret) | ({} if body is None else {"Content-Type": "application/json"})
                connection.request(method, path, content, headers)
                response = connection.getresponse()
                answer = orjson.loads(response.read())
        finally:
            connection.close()
        if response.status >= 300:
            raise _refusal(response.status, answer)
        if not isinstance(answer, dict):
            raise Retryable(f"what answers at {self.url} is no fleetsync engine")
        return answer

    def status(self) -> Json:
        """The engine's own state."""
        return self.ask("GET", "/v1/status")

    def changes(self, after: int = 0, limit: int = 500, robot: str | None = None) -> list[Json]:
        """Committed changes with numbers above `after`, of one robot or all."""
        query = {"after": str(after), "limit": str(limit)} | ({} if robot is None else {"robot": robot})
        page: list[Json] = self.ask("GET", f"/v1/changes?{urlencode(query)}")["changes"]
        return page

    def robot(self, robot: str) -> Json:
        """What is proven about a robot, from memory."""
        return self.ask("GET", f"/v1/robots/{quote(robot, safe='')}")

    def explain(self, robot: str) -> Json:
        """Why a robot is looked at when it is."""
        return self.ask("GET", f"/v1/explain/{quote(robot, safe='')}")

    def sync(self, robot: str, *, max_age_ms: int = 0, timeout_ms: int = 10 * SECOND_MS) -> Json:
        """A robot's proven state, asked for if it is not known."""
        order = {"max_age_ms": max_age_ms, "timeout_ms": timeout_ms}
        return self.ask("POST", f"/v1/robots/{quote(robot, safe='')}/sync", order,
                        within_ms=timeout_ms + _SYNC_EXTRA_MS)

    def notify(self, events: list[Json]) -> Json:
        """Send a batch of events; see `POST /v1/events`."""
        return self.ask("POST", "/v1/events", events, within_ms=2 * _ANSWER_MS)

    def snapshot(self) -> str:
        """The path of a fresh copy of the database. It goes when the engine stops; remove it earlier if you like."""
        return str(self.ask("POST", "/v1/snapshot", within_ms=_SNAPSHOT_MS)["path"])

    def follow(self, after: int = 0, *, reconnect: bool = True) -> Iterator[Json]:
        """Changes with numbers above `after`, as they are committed, for ever.

        A connection that breaks is made again, and goes on behind the last change that was yielded: no gap, no repeat.

        Raises:
            FleetsyncError: the engine refuses; or, without `reconnect`, the connection broke.
        """
        while True:
            try:
                for change in self._stream(after):
                    yield change
                    after = change["number"]
            except Retryable:
                if not reconnect:
                    raise
            time.sleep(s_from_ms(_COME_BACK_MS))

    def _stream(self, after: int) -> Iterator[Json]:
        connection = self._connect(_STREAM_SILENCE_MS)
        try:
            with _told_as_ours(self.url):
                connection.request("GET", f"/v1/changes/stream?after={after}", headers=self._headers(secret=True))
                response = connection.getresponse()
                if response.status != 200:
                    raise _refusal(response.status, orjson.loads(response.read()))
                while line := response.readline(_LONGEST_LINE):
                    if not line.endswith(b"\n"):
                        return  # cut off in the middle: it comes again
                    if line.startswith(b"data: "):
                        yield orjson.loads(line[6:])
        finally:
            connection.close()

    def _connect(self, within_ms: int) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=s_from_ms(within_ms))

    def _headers(self, *, secret: bool) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if secret and self.token is not None else {}


class _told_as_ours:  # noqa: N801 - a context manager that reads as a phrase
    """What goes wrong on the way becomes `Retryable`; nothing of the request is in its text."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            raise Retryable(f"the engine at {self._url} does not answer in time") from error
        if isinstance(error, OSError | http.client.HTTPException | orjson.JSONDecodeError):
            raise Retryable(f"no engine answers at {self._url}: {type(error).__name__}",
                            hint="is it still running?") from error


def _refusal(status: int, answer: Any) -> FleetsyncError:
    """The error that the engine told, of its own kind again."""
    told = answer.get("error") if isinstance(answer, dict) else None
    told = told if isinstance(told, dict) else {}
    code, message = str(told.get("code", "")), str(told.get("message", f"the engine answered {status}"))
    kind = _KINDS.get(code) or (Retryable if status >= 500 else Permanent)
    return kind(message, hint=str(told.get("hint", "")))
