"""Robots and accounts of a fleet, one by one: from tables of the fleet file, or from rows of a CSV or Parquet file."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fleetsync.model import PRIORITY_LEAST, PRIORITY_MOST, Account, Robot, Secret
from fleetsync_adapters.fleet_checks import (
    FLAG,
    LONGEST_NAME,
    NAME,
    Key,
    Kind,
    Place,
    Problems,
    did_you_mean,
    name_of,
    number_kind,
    read_keys,
    seconds_kind,
    shown,
    shown_key,
)
from fleetsync_adapters.fleet_tables import Table

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_VARIABLE_WORD = 16
_MEMO_ROWS = 100_000
_LONGEST_KEY = 8_192  # a PEM private key, as some exchanges want it, has some 2,000 characters


def _variable_name(value: Any) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value) or len(value) > LONGEST_NAME:
        raise ValueError("no variable name")
    return value


def _order_prefix(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 32 or not value.isascii() or not value.isprintable():
        raise ValueError("no prefix")
    return value


VARIABLE = Kind("the name of an environment variable, like MAIN_KEY (what was there is not shown: it could be the key "
                "itself)", _variable_name, private=True)
_SPAN = seconds_kind()

ACCOUNT_KEYS = {
    "exchange": Key("exchange", NAME, required=True),
    "api_key_env": Key("api_key_env", VARIABLE, required=True),
    "api_secret_env": Key("api_secret_env", VARIABLE, required=True),
    "password_env": Key("password_env", VARIABLE),
    "egress": Key("egress", NAME),
}
ROBOT_KEYS = {
    "id": Key("id", NAME, required=True),
    "account": Key("account", NAME, required=True),
    "symbol": Key("symbol", NAME, required=True),
    "priority": Key("priority", number_kind(PRIORITY_LEAST, PRIORITY_MOST)),
    "enabled": Key("enabled", FLAG),
    "holding_s": Key("holding_ms", _SPAN),
    "working_s": Key("working_ms", _SPAN),
    "flat_s": Key("flat_ms", _SPAN),
    "order_prefix": Key("order_prefix", Kind("up to 32 plain characters", _order_prefix)),
}
_SPANS = {"holding_ms": "holding_s", "working_ms": "working_s", "flat_ms": "flat_s"}


@dataclass(slots=True)
class Accounts:
    """The accounts read so far; their keys come from the environment."""

    problems: Problems
    environ: Mapping[str, str]
    known_exchange: Callable[[str], bool] | None = None
    exchange_ids: Sequence[str] = ()
    found: dict[str, Account] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)  # also of accounts that are declared wrongly
    _checked: set[str] = field(default_factory=set)

    def add_tables(self, tables: object, file: str) -> None:
        """Take the `[accounts.<id>]` tables of a fleet file."""
        if not isinstance(tables, dict):
            self.problems.add(Place(file, "accounts").at(), "must hold one table an account, like [accounts.main]")
            return
        for account_id, table in tables.items():
            place = Place(file, f"accounts.{shown_key(account_id)}")
            before = self.problems.count
            fields = read_keys(table, ACCOUNT_KEYS, place, self.problems)
            if self.problems.count == before:
                self._add(account_id, fields, place.at)
            else:
                self.places.setdefault(account_id, place.at())

    def add_rows(self, table: Table) -> None:
        """Take the rows of an accounts file."""
        keys = {"id": Key("id", NAME, required=True), **ACCOUNT_KEYS}
        for number, fields in read_rows(table, keys, self.problems):
            account_id = fields.pop("id")
            self._add(account_id, fields, partial(table.place, number))

    def check_exchange(self, exchange: str, place: str) -> bool:
        """Whether the exchange exists; says so, once, when it does not."""
        if self.known_exchange is None or self.known_exchange(exchange):
            return True
        if exchange in self._checked:
            return False
        self._checked.add(exchange)
        near = did_you_mean(exchange, self.exchange_ids) or "; it must be an exchange id of ccxt, like binanceusdm"
        self.problems.add(place, f"unknown exchange {shown(exchange)}{near}")
        return False

    def _add(self, account_id: str, fields: dict[str, Any], at: Callable[[str], str]) -> None:
        try:
            name_of(account_id)
        except ValueError:
            self.problems.add(at(""), f"an account's id must be {NAME.allowed}")
            return
        if account_id in self.places:
            self.problems.add(at(""), f"account {shown(account_id)} is there twice, first at {self.places[account_id]}")
            return
        self.places[account_id] = at("")
        self.check_exchange(fields["exchange"], at("exchange"))
        self.found[account_id] = Account(
            account_id,
            fields["exchange"],
            api_key=self._secret(account_id, fields["api_key_env"], at("api_key_env")),
            api_secret=self._secret(account_id, fields["api_secret_env"], at("api_secret_env")),
            password=self._secret(account_id, fields.get("password_env", ""), at("password_env")),
            egress=fields.get("egress", ""),
        )

    def _secret(self, account_id: str, variable: str, place: str) -> Secret:
        if not variable:
            return Secret("")
        value = self.environ.get(variable, "").strip()
        told = variable if _looks_like_a_name(variable) else "named there (not shown: it looks like a key itself)"
        if not value:
            self.problems.add(
                place,
                f"account {shown(account_id)} needs the environment variable {told}, which is not set; "
                "set it before the start",
            )
        elif len(value) > _LONGEST_KEY or not all(char.isprintable() or char == "\n" for char in value):
            self.problems.add(place, f"the environment variable {told} holds characters that no key has")
        return Secret(value)


@dataclass(slots=True)
class Robots:
    """The robots read so far, in the order of the files."""

    problems: Problems
    accounts: Accounts
    floor_ms: int
    found: list[Robot] = field(default_factory=list)
    _seen: dict[str, int] = field(default_factory=dict)  # id -> row of a table; -1 - index in the fleet file
    _file: str = ""
    _table: Table | None = None

    def add_tables(self, tables: object, file: str) -> None:
        """Take the `[[robots]]` tables of a fleet file."""
        self._file = file
        if not isinstance(tables, list):
            self.problems.add(Place(file).at("robots"), "must be tables headed [[robots]], one a robot")
            return
        for index, table in enumerate(tables):
            place = Place(file, row=f"robots[{index}]")
            before = self.problems.count
            fields = read_keys(table, ROBOT_KEYS, place, self.problems)
            if self.problems.count == before:
                self._add(fields, -1 - index)

    def add_rows(self, table: Table) -> None:
        """Take the rows of a robots file."""
        self._table = table
        for number, fields in read_rows(table, ROBOT_KEYS, self.problems):
            self._add(fields, number)

    def _add(self, fields: dict[str, Any], number: int) -> None:
        robot_id = fields["id"]
        first = self._seen.setdefault(robot_id, number)
        if first != number:
            told = f"robot {shown(robot_id)} is there twice, first at {self._place(first, 'id')}"
            self.problems.add(self._place(number, "id"), told)
            return
        if fields["account"] not in self.accounts.places:
            self.problems.add(self._place(number, "account"), self._no_account(fields["account"]))
        for field_name in sorted(_SPANS.keys() & fields.keys()):
            if fields[field_name] < self.floor_ms:
                told = f"must not be below [cadence] floor_s, which is {self.floor_ms} ms"
                self.problems.add(self._place(number, _SPANS[field_name]), told)
        self.found.append(Robot(**fields))

    def _no_account(self, account_id: str) -> str:
        near = did_you_mean(account_id, self.accounts.places)
        return f"no account {shown(account_id)} is in the fleet{near or '; declare it as [accounts.<id>]'}"

    def _place(self, number: int, key: str) -> str:
        if number < 0:
            return Place(self._file, row=f"robots[{-1 - number}]").at(key)
        assert self._table is not None
        return self._table.place(number, key)


class _Memo(dict[str, Any]):
    """What a column's cells mean; most columns repeat a few texts a million times."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self._kind = kind

    def __missing__(self, cell: str) -> Any:
        value = self._kind.parse(self._kind.of_text(cell))
        if len(self) < _MEMO_ROWS:
            self[cell] = value
        return value


def read_rows(table: Table, keys: Mapping[str, Key], problems: Problems) -> Iterable[tuple[int, dict[str, Any]]]:
    """Row number and fields of each good row; what is wrong with the others is noted. Empty cells take the default."""
    if not table.check_columns(keys, problems):
        return
    names = table.columns
    columns = [(keys[name].field, name_of if name == "id" else _Memo(keys[name].kind).__getitem__) for name in names]
    required = {keys[name].field for name in names if keys[name].required}
    for number, cells in table.rows(problems):
        try:
            fields = {name: value_of(cell) for (name, value_of), cell in zip(columns, cells, strict=True) if cell}
        except (ValueError, OverflowError):
            _note_cells(table, number, cells, keys, problems)
            continue
        if required <= fields.keys():
            yield number, fields
        else:
            _note_cells(table, number, cells, keys, problems)


def _note_cells(table: Table, number: int, cells: Sequence[str], keys: Mapping[str, Key], problems: Problems) -> None:
    if len(cells) != len(table.columns):
        problems.add(table.place(number), f"has {len(cells)} columns where the first line has {len(table.columns)}")
        return
    for name, cell in zip(table.columns, cells, strict=True):
        kind = keys[name].kind
        if not cell:
            if keys[name].required:
                problems.add(table.place(number, name), f"is empty: it must be {kind.allowed}")
            continue
        try:
            kind.parse(kind.of_text(cell))
        except (ValueError, OverflowError):
            problems.add(table.place(number, name), kind.complaint(cell))


def _looks_like_a_name(variable: str) -> bool:
    """Whether a variable's name can be told: a key pasted in its place is long, or mixes cases and digits."""
    words = [word for word in variable.split("_") if word]
    return len(variable) <= 3 * _LONGEST_VARIABLE_WORD and all(
        len(word) <= _LONGEST_VARIABLE_WORD and (word.rstrip("0123456789").isalpha() or word.isdigit())
        and (word.isupper() or word.islower() or word.isdigit() or word.istitle())
        for word in words
    )
