"""Messages <-> bytes, between the engine and its worker processes, and the link that carries them.

A frame is one byte of version, four of length (big-endian), then a JSON array of messages; each message is an array of
its kind's number and its fields in order. How a field is written and read follows from its declared type, so a new
field or message needs nothing here but a higher `VERSION`. Reading is total: any bytes give messages or a `WireError`.

Strings travel as UTF-8, integers must fit 64 bits, and `ExchangeSpec.options` holds what JSON can hold.
"""

import struct
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import orjson

from fleetsync.config import Settings
from fleetsync.errors import FleetsyncError, Permanent
from fleetsync.messages import (
    AddAccount,
    Call,
    Dispatch,
    OpenExchange,
    RemoveAccount,
    Rows,
    SymbolsUnknown,
    SyncDone,
    WorkerLost,
    WorkerUp,
)
from fleetsync.model import Fill, Order, Position
from fleetsync.ports import ExchangeSpec

VERSION = 2
FRAME_MAX = 16 * 2**20
"""Bytes in a frame: some 80,000 orders. One answer beyond that is a fault, not a reason to fill the memory."""

_HEAD = struct.Struct(">BI")


class WireError(Permanent):
    """Bytes that are no frame of ours, or a message that fits into none. Never shows a value: it may be a secret."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame to a worker: who it is, what time it is, and all it needs to open exchanges."""

    worker: int
    base_at_ms: int  # of the engine's clock
    settings: Settings
    specs: tuple[ExchangeSpec, ...]


@dataclass(frozen=True, slots=True)
class Drain:
    """To a worker: take no more work, finish within the grace, and end."""

    grace_ms: int


@dataclass(frozen=True, slots=True)
class Beat:
    """From a worker: its loop turns."""

    worker: int


Message = (Hello | Drain | Beat | OpenExchange | Dispatch | AddAccount | RemoveAccount | SyncDone | SymbolsUnknown
           | WorkerUp | WorkerLost)
_KINDS: tuple[type, ...] = get_args(Message)


def encode(messages: Sequence[Message], frame_max: int = FRAME_MAX) -> bytes:
    """Frames that hold these messages, in order: one, or as many as their size needs.

    Raises:
        WireError: a message cannot be written, or is alone larger than a frame may be.
    """
    try:
        body = orjson.dumps([[_NUMBERS[type(message)], *_WRITERS[type(message)](message)] for message in messages])
    except (TypeError, AttributeError, KeyError, IndexError, ValueError) as error:
        raise WireError(f"a message cannot be written to a frame: {type(error).__name__}") from error
    if len(body) <= frame_max:
        return _HEAD.pack(VERSION, len(body)) + body
    if len(messages) == 1:
        kind = type(messages[0]).__name__
        raise WireError(f"a {kind} of {len(body)} bytes is larger than a frame may be ({frame_max} bytes)")
    half = len(messages) // 2
    return encode(messages[:half], frame_max) + encode(messages[half:], frame_max)


class FrameDecoder:
    """Takes bytes as they come and gives whole messages. After an error it gives nothing but that error."""

    __slots__ = ("_broken", "_buffer", "_frame_max")

    def __init__(self, frame_max: int = FRAME_MAX) -> None:
        self._buffer = bytearray()
        self._frame_max = frame_max
        self._broken: WireError | None = None

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete with these bytes.

        Raises:
            WireError: a foreign version, a frame that is too large, or a body that is not one of ours.
        """
        if self._broken is not None:
            raise self._broken
        self._buffer += data
        try:
            return self._messages()
        except WireError as error:
            self._broken = error
            self._buffer.clear()
            raise

    def _messages(self) -> list[Message]:
        buffer, messages, at = self._buffer, list[Message](), 0
        while len(buffer) > at:
            if buffer[at] != VERSION:
                raise WireError(f"a frame of version {buffer[at]}, this is version {VERSION}",
                                hint="both ends must run the same fleetsync")
            if len(buffer) < at + _HEAD.size:
                break
            _, size = _HEAD.unpack_from(buffer, at)
            if size > self._frame_max:
                raise WireError(f"a frame of {size} bytes is larger than a frame may be ({self._frame_max} bytes)")
            end = at + _HEAD.size + size
            if len(buffer) < end:
                break
            messages += _read_body(bytes(buffer[at + _HEAD.size:end]))
            at = end
        del buffer[:at]
        return messages


def _read_body(body: bytes) -> list[Message]:
    try:
        return [_read_message(row) for row in _a(list, orjson.loads(body))]
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, FleetsyncError) as error:
        raise WireError(f"a frame's body is not one of ours: {type(error).__name__}") from None


def _read_message(row: Any) -> Message:
    kind = row.pop(0) if type(row) is list else None
    if type(kind) is not int or not 0 <= kind < len(_KINDS):
        raise WireError("a message of an unknown kind")
    return cast("Message", _READERS[kind](row))


# -- how a declared type is written and read; a writer of None means that orjson writes the value as it stands

Step = Callable[[Any], Any]


def _a(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise WireError(f"{type(value).__name__} where {kind.__name__} belongs")
    return value


def _codec(hint: Any) -> tuple[Step | None, Step]:
    origin, args = get_origin(hint), get_args(hint)
    if hint == Rows | None:
        return _write_rows, _read_rows
    if origin in {types.UnionType, Union}:
        return _optional(next(arg for arg in args if arg is not type(None)))
    if origin is tuple:
        return _sequence(args[0]) if args[-1] is Ellipsis else _fixed(args)
    if origin is dict:
        return _mapping(*args)
    if hint is Any:
        return None, lambda value: value
    if is_dataclass(hint) or hasattr(hint, "_fields"):
        return _record(cast("type", hint))
    if issubclass(hint, StrEnum):
        return None, {member.value: member for member in hint}.__getitem__
    if hint is float:
        return None, lambda value: value if type(value) is float else _a(int, value)
    return None, lambda value: _a(hint, value)


_PLAIN = {str, int, bool}


def _record(cls: type) -> tuple[Step, Step]:
    hints = get_type_hints(cls)
    names, kinds = [*hints], [*hints.values()]
    codecs = [_codec(kind) for kind in kinds]
    return (_record_writer(cls, names, [write for write, _ in codecs]),
            _record_reader(cls, names, kinds, [read for _, read in codecs]))


def _record_reader(cls: type, names: list[str], kinds: list[Any], readers: list[Step]) -> Step:
    """A function that checks and reads one record, written out field by field as `dataclasses` does it.

    Going over the fields in a loop takes twice as long, and reading is most of what a frame costs.
    """
    values = [f"v{place}" for place in range(len(kinds))]
    plain = [place for place, kind in enumerate(kinds) if kind in _PLAIN]
    given = [f"if v{place} is not None: " if type(None) in get_args(kind) else "" for place, kind in enumerate(kinds)]
    known: dict[str, Any] = {"cls": cls, "wrong": lambda: WireError(f"not the fields of a {cls.__name__}")}
    known.update({f"k{place}": kind for place, kind in enumerate(kinds)})
    known.update({f"r{place}": read for place, read in enumerate(readers)})
    lines = [
        "def read(row):",
        f"    if type(row) is not list or len(row) != {len(kinds)}: raise wrong()",
        f"    {', '.join(values)}, = row",
        *[f"    if type(v{place}) is not k{place}: raise wrong()" for place in plain],
        *[f"    {given[place]}v{place} = r{place}(v{place})" for place in range(len(kinds)) if place not in plain],
    ]
    given_by = "{1}" if hasattr(cls, "_fields") else "{0}={1}"
    lines.append(f"    return cls({', '.join(map(given_by.format, names, values))})")
    exec("\n".join(lines), known)  # noqa: S102 - of our own words only: fields and their places
    read: Step = known["read"]
    return _remembered(read) if cls is Call else read


def _remembered(read: Step) -> Step:
    """A fleet's questions are few, and repeat: one that was read before needs no check. `typed` tells True from 1."""
    seen = lru_cache(4096, typed=True)(lambda *row: read([*row]))
    return lambda row: seen(*row) if type(row) is list else read(row)


def _record_writer(cls: type, names: list[str], writers: list[Step | None]) -> Step:
    if len(names) == 1:
        only, write_only = attrgetter(names[0]), writers[0]
        return lambda value: (write_only(only(value)) if write_only else only(value),)
    every: Step = tuple if hasattr(cls, "_fields") else attrgetter(*names)
    nested = [(place, write) for place, write in enumerate(writers) if write]
    if not nested:
        return every

    def write(value: Any) -> Any:
        row = list(every(value))
        for place, write_one in nested:
            row[place] = write_one(row[place])
        return row

    return write


def _sequence(hint: Any) -> tuple[Step | None, Step]:
    write, read = _codec(hint)
    writer = None if write is None else lambda values: [write(value) for value in values]

    def read_all(values: Any) -> tuple[Any, ...]:
        if type(values) is list and len(values) == 1:  # nearly always, and a comprehension is a call
            return (read(values[0]),)
        return tuple([read(value) for value in _a(list, values)])

    return writer, read_all


def _fixed(hints: tuple[Any, ...]) -> tuple[Step | None, Step]:
    readers = [_codec(hint)[1] for hint in hints]  # plain fields only: nothing of ours nests deeper
    return None, lambda values: tuple(read(value) for read, value in zip(readers, _a(list, values), strict=True))


def _mapping(key_hint: Any, hint: Any) -> tuple[Step, Step]:
    (_, read_key), (write, read) = _codec(key_hint), _codec(hint)
    return (lambda table: {str(key): write(value) if write else value for key, value in table.items()},
            lambda table: {read_key(key): read(value) for key, value in _a(dict, table).items()})


def _optional(hint: Any) -> tuple[Step | None, Step]:
    write, read = _codec(hint)
    writer = None if write is None else lambda value: None if value is None else write(value)
    return writer, lambda value: None if value is None else read(value)


_ROW_KINDS: tuple[type, ...] = (Position, Order, Fill)
_ROW_CODECS = [_record(kind) for kind in _ROW_KINDS]


def _write_rows(rows: Rows | None) -> Any:
    if not rows:
        return rows
    kind = _ROW_KINDS.index(type(rows[0]))
    return [kind, *map(_ROW_CODECS[kind][0], rows)]


def _read_rows(rows: Any) -> Rows | None:
    if rows is None or not _a(list, rows):
        return None if rows is None else ()
    if _a(int, rows[0]) not in range(len(_ROW_KINDS)) or len(rows) == 1:
        raise WireError("rows of an unknown kind")
    return cast("Rows", tuple(map(_ROW_CODECS[rows[0]][1], rows[1:])))


_CODECS = [_record(kind) for kind in _KINDS]
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_WRITERS = {kind: write for kind, (write, _) in zip(_KINDS, _CODECS, strict=True)}
_READERS = [read for _, read in _CODECS]
