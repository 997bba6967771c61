"""What a store's rows look like, and the rules of a batch that hold for every store. Pure.

A robot, account or sync record is a plain dict with the columns named here; a column that is left out takes its
default, any other key is a programming error. Both stores read and write through this file, so they cannot differ.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

import orjson

from fleetsync.model import Change, Order, Position
from fleetsync.ports import Instants

REQUIRED: Final = object()

# name -> (accepted types, default). The order is the column order of `schema.sql`.
Columns = Mapping[str, tuple[tuple[type, ...], Any]]

_TEXT = (str,)
_INT = (int,)
_INT_OR_NONE = (int, type(None))

ROBOT: Final[Columns] = {
    "id": (_TEXT, REQUIRED),
    "account": (_TEXT, REQUIRED),
    "symbol": (_TEXT, REQUIRED),
    "phase": (_INT, 0),
    "priority": ((float, int), 1.0),
    "enabled": ((bool,), True),
    "order_prefix": (_TEXT, ""),
    "holding_ms": (_INT_OR_NONE, None),
    "working_ms": (_INT_OR_NONE, None),
    "flat_ms": (_INT_OR_NONE, None),
    "positions_as_of_ms": (_INT, 0),
    "orders_as_of_ms": (_INT, 0),
    "conditional_as_of_ms": (_INT, 0),
    "last_sync_at_ms": (_INT, 0),
    "last_event_at_ms": (_INT, 0),
    "stopped": (_TEXT, ""),
    "certainty": (_TEXT, "unknown"),
}

ACCOUNT: Final[Columns] = {
    "id": (_TEXT, REQUIRED),
    "exchange": (_TEXT, REQUIRED),
    "egress": (_TEXT, ""),
    "stopped": (_TEXT, ""),
    "last_fault": (_TEXT, ""),
}

SYNC: Final[Columns] = {
    "at_ms": (_INT, REQUIRED),
    "account": (_TEXT, REQUIRED),
    "exchange": (_TEXT, ""),
    "calls": (_INT, 0),
    "weight": (_INT, 0),
    "due_at_ms": (_INT, 0),
    "started_at_ms": (_INT, 0),
    "done_at_ms": (_INT, 0),
    "robots": (_INT, 0),
    "changed": ((bool,), False),
    "fault": (_TEXT, ""),
}

AGES: Final = ("positions_as_of_ms", "orders_as_of_ms", "conditional_as_of_ms", "last_sync_at_ms", "last_event_at_ms")
POSITION: Final = ("account", *Position._fields)
ORDER: Final = ("account", *Order._fields)
_TEXTS_OF: Final[dict[tuple[int, tuple[type, ...]], tuple[int, ...]]] = {}  # by table and types: where texts stand
_position_values = attrgetter(*POSITION[1:])
_order_values = attrgetter(*ORDER[1:])
_AGE_PLACES: Final = tuple([[*ROBOT].index(name) for name in AGES])
CHANGE: Final = (*(field.name for field in fields(Change)), "committed_at_ms")


def clean(text: str) -> str:
    """Text that any store can keep: lone surrogates, which broken JSON from outside can bring, are spelled out.

    Each in its own way: two keys that became one would be refused with their batch, each time it is tried again.
    """
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def row_of(columns: Columns, row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The row as a tuple in column order, with defaults filled in."""
    if [*row] == [*columns]:  # as it is with nearly all rows: each column is given, in their order
        whole = tuple(row.values())
        if _fits(columns, whole):
            return whole
    unknown = row.keys() - columns.keys()
    assert not unknown, f"unknown columns: {', '.join(sorted(unknown))}"
    values = []
    for name, (types, default) in columns.items():
        value = row.get(name, default)
        assert value is not REQUIRED, f"column {name!r} is missing"
        assert isinstance(value, types), f"column {name!r} cannot hold {type(value).__name__}"
        values.append(clean(value) if isinstance(value, str) else value)
    return tuple(values)


def _fits(columns: Columns, values: tuple[Any, ...]) -> bool:
    """Whether whole rows of such types are known to fit, and their texts need no cleaning."""
    kinds = tuple(map(type, values))
    places = _TEXTS_OF.get((id(columns), kinds))
    if places is None:
        if not all(isinstance(value, types) for value, (types, _) in zip(values, columns.values(), strict=True)):
            return False
        places = _TEXTS_OF[id(columns), kinds] = tuple(
            [place for place, kind in enumerate(kinds) if issubclass(kind, str)])
    return "".join([values[place] for place in places]).isascii()


def robot_row(key: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    """A robot under its id."""
    return _row_under(key, row_of(ROBOT, row if "id" in row else {"id": key, **row}))


def age_columns(ages: Mapping[str, Instants]) -> dict[str, list[Any]]:
    """Robots and their instants, column by column; empty where there are none."""
    if not ages:
        return {}
    columns = zip(*ages.values(), strict=True)
    return {"id": [clean(robot) for robot in ages], **dict(zip(AGES, map(list, columns), strict=True))}


def ages_by_id(ages: Mapping[str, Instants]) -> list[tuple[str, Instants]]:
    """Robots, under the ids that a store keeps, and their instants."""
    return [(clean(robot), instants) for robot, instants in ages.items()]


def aged_row(row: Sequence[Any], instants: Instants) -> tuple[Any, ...]:
    """A stored robot with new instants."""
    aged = list(row)
    for place, at_ms in zip(_AGE_PLACES, instants, strict=True):
        aged[place] = at_ms
    return tuple(aged)


def account_row(key: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    """An account under its id."""
    return _row_under(key, row_of(ACCOUNT, {"id": key, **row}))


def event_row(key: int, event: Mapping[str, Any]) -> tuple[Any, ...]:
    """An event under its number."""
    return (key, json_text(event))


def freeze_row(key: str, until_ms: int) -> tuple[Any, ...]:
    """A frozen ledger and until when."""
    return (clean(key), until_ms)


def asked_row(key: tuple[int, str, str], detail: Mapping[str, Any]) -> tuple[Any, ...]:
    """Something asked of the engine: when, for which robot, what, and the rest of it."""
    return (*key_row(key), json_text(detail))


def key_row(key: Any) -> tuple[Any, ...]:
    """Any key of a batch as the columns of its table's primary key."""
    return _cleaned(key if isinstance(key, tuple) else (key,))


def robot_dict(values: Sequence[Any]) -> dict[str, Any]:
    """A loaded robot; account and symbol are shared strings, because fleets repeat them a thousandfold."""
    row = dict(zip(ROBOT, values, strict=True))
    row["account"] = sys.intern(row["account"])
    row["symbol"] = sys.intern(row["symbol"])
    return row


def position_row(key: tuple[str, str, str], position: Position) -> tuple[Any, ...]:
    """A position under its key (account, symbol, side)."""
    assert key[1:] == (position.symbol, position.side), f"position {position} stands under key {key}"
    return (clean(key[0]), *_cleaned(_position_values(position)))


def order_row(key: tuple[str, str, str], order: Order) -> tuple[Any, ...]:
    """An order under its key (account, symbol, order id)."""
    assert key[1:] == (order.symbol, order.id), f"order {order.id!r} stands under key {key}"
    return (clean(key[0]), *_cleaned(_order_values(order)))


def change_row(change: Change, at_ms: int) -> tuple[Any, ...]:
    """A change as stored: its dicts as JSON text."""
    return (
        change.number, clean(change.account), clean(change.symbol), [clean(robot) for robot in change.robots],
        clean(change.kind), clean(change.key), clean(change.cause), json_text(change.before), json_text(change.after),
        json_text(change.evidence), change.exchange_at_ms, change.seen_at_ms, at_ms,
    )  # fmt: skip


def change_from(row: Sequence[Any]) -> Change:
    """The change of a stored row."""
    number, account, symbol, robots, kind, key, cause, before, after, evidence, exchange_at_ms, seen_at_ms, _ = row
    return Change(
        number=number, account=account, symbol=symbol, robots=tuple(robots), kind=kind, key=key, cause=cause,
        before=None if before is None else orjson.loads(before), after=None if after is None else orjson.loads(after),
        evidence=orjson.loads(evidence), exchange_at_ms=exchange_at_ms, seen_at_ms=seen_at_ms,
    )  # fmt: skip


def split_replayed(changes: Sequence[Change], last: int) -> tuple[Sequence[Change], Sequence[Change]]:
    """(committed already, new ones) of a batch's changes, when `last` is the last committed number.

    A batch may be committed again after a failure that was none, or with later changes added to it. A gap can only be
    a programming error: the numbers are given by the one owner of the state.
    """
    if not changes:
        return (), ()
    first = changes[0].number
    assert first >= 1, f"change numbers begin at 1, not {first}"
    assert [change.number for change in changes] == list(range(first, first + len(changes))), "changes out of order"
    assert first <= last + 1, f"gap before change {first}: the last committed one is {last}"
    replayed = min(last + 1 - first, len(changes))
    return changes[:replayed], changes[replayed:]


def json_text(value: Mapping[str, Any] | None) -> str | None:
    """Compact JSON; None stays None."""
    if value is None:
        return None
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return orjson.dumps(_clean_deep(value)).decode()  # a lone surrogate, or a programming error that raises again


def _row_under(key: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    assert values[0] == clean(key), f"row {values[0]!r} stands under key {key!r}"
    return values


def _cleaned(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(clean(value) if isinstance(value, str) else value for value in values)


def _clean_deep(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {_clean_deep(key): _clean_deep(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean_deep(item) for item in value]
    return value
