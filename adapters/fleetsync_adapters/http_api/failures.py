"""Every error of the HTTP side as one JSON shape: `{"error": {"code", "message", "hint"}}`.

What a client may read is written for it: no traceback, no input, no path of the machine.
"""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

from fleetsync.errors import (
    ConfigError,
    EngineEnded,
    Fatal,
    FleetsyncError,
    Permanent,
    Retryable,
    RobotStopped,
    StoreFailed,
    StoreRefused,
    SyncTimeout,
    UnknownRobot,
)

_LOG = logging.getLogger("fleetsync.http")
_SHOWN_FAULTS = 5
_SHOWN_CHARS = 64
_WHY_CHARS = 256
_RETRY_AFTER = {"Retry-After": "1"}

# The most specific first. The store's own words name files: those stay in our log.
_KINDS: tuple[tuple[type[FleetsyncError], int, str, str], ...] = (
    (UnknownRobot, 404, "unknown_robot", ""),
    (RobotStopped, 409, "robot_stopped", ""),
    (SyncTimeout, 504, "sync_timeout", ""),
    (EngineEnded, 503, "engine_ended", ""),
    (StoreFailed, 503, "store_failed", "the store could not do that now"),
    (StoreRefused, 503, "store_refused", "the store refused that"),
    (ConfigError, 422, "refused", ""),
    (Retryable, 503, "try_again", ""),
    (Permanent, 422, "refused", ""),
    (Fatal, 503, "engine_failed", "the engine cannot go on"),
)


class ApiError(Exception):
    """A refusal with everything the client is told."""

    def __init__(self, status: int, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(orjson.dumps(value), status, headers, "application/json")


def error_response(error: ApiError) -> Response:
    """A refusal as JSON."""
    body = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    return json_response(body, error.status, _RETRY_AFTER if error.status == 503 else None)


def api_error(error: FleetsyncError) -> ApiError:
    """What a client is told about one of our errors."""
    for kind, status, code, told in _KINDS:
        if isinstance(error, kind):
            if told:
                _LOG.warning("%s", error)
            hint = "try again later" if told else error.hint
            return ApiError(status, code, told or error.message, hint=hint)
    return internal(error)


def http_error(status: int, detail: str) -> ApiError:
    """What a client is told about a request that no route takes."""
    phrase = HTTPStatus(status).phrase
    hint = "GET /openapi.json names every path and method" if status in {404, 405} else ""
    return ApiError(status, phrase.lower().replace(" ", "_"), detail or phrase, hint=hint)


def internal(error: BaseException) -> ApiError:
    """A programming error of ours: told to the log, not to the client."""
    _LOG.error("a request failed", exc_info=error)
    return ApiError(500, "internal", "this is a fault of fleetsync, not of the request", hint="the log says more")


def complaint(faults: Sequence[Any]) -> str:
    """What validation found, in one line, without what was sent."""
    told = []
    for fault in faults[:_SHOWN_FAULTS]:
        where = ".".join(str(part) for part in fault["loc"] if part not in {"body", "query"})
        said = str(fault["msg"]).removeprefix("Value error, ")
        told.append(f"{shortened(where)}: {said}" if where else said)
    if len(faults) > _SHOWN_FAULTS:
        told.append(f"and {len(faults) - _SHOWN_FAULTS} more")
    return "; ".join(told)


def refused_item(index: int, named: Any, why: str) -> dict[str, Any]:
    """One item of a batch that was not taken, so short that the answer is no larger than the largest body."""
    return {"index": index, "robot": shortened(named) if isinstance(named, str) else "",
            "why": shortened(why, _WHY_CHARS)}


def shortened(text: str, most: int = _SHOWN_CHARS) -> str:
    """A client's own word, on one line, of a length that can be read."""
    text = text[: most + 1]  # it may be as long as a body
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= most else text[: most - 3] + "..."
