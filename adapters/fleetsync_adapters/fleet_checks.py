"""How the fleet's files are checked: kinds of values, tables of keys, and the list of what is wrong.

A value is never shown where it could be a credential: a key pasted into the wrong place must not reach a terminal or a
log.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fleetsync.errors import ConfigError
from fleetsync.units import LONGEST_SPAN_MS, SECOND_MS

SHOWN_PROBLEMS = 20
LONGEST_NAME = 128
_SHOWN_CHARS = 60
_TOP_ONLY = ("robots_file", "accounts_file")
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_URL = re.compile(r"https?://[A-Za-z0-9._\-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~\-/]*)?|https?://\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?/?")
_SECRET_NAMES = {
    "apikey", "apisecret", "apisecretkey", "key", "secret", "secretkey", "privatekey", "password", "passphrase",
    "token", "accesstoken",
}  # fmt: skip


class Problems:
    """Everything that is wrong with a fleet, in the order it was met; only the first ones are kept."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, place: str, text: str) -> None:
        """Note one problem at a place that a person can find."""
        self.count += 1
        if len(self._first) < SHOWN_PROBLEMS:
            self._first.append(f"{place}: {text}")

    def raise_if_any(self) -> None:
        """End the reading when something was wrong.

        Raises:
            ConfigError: its first line is the first problem, its others are the rest.
        """
        if not self.count:
            return
        lines = list(self._first)
        if self.count > len(lines):
            lines.append(f"... and {self.count - len(lines):,} more problems")
        raise ConfigError("\n".join(lines))


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be. `parse` takes a TOML value, `of_text` turns a cell of a table into one first."""

    allowed: str
    parse: Callable[[Any], Any]  # raises ValueError for what is not allowed
    of_text: Callable[[str], Any] = str
    private: bool = False  # what was there is not told: it could be a credential

    def complaint(self, value: object) -> str:
        """What to tell about a value that is not allowed."""
        return f"must be {self.allowed}" + ("" if self.private else f", was {shown(value)}")


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table: which field it fills, and with what."""

    field: str
    kind: Kind
    required: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table stands: `fleet.toml: [cadence] flat_s`, `fleet.toml: robots[3].symbol`."""

    file: str
    table: str = ""
    row: str = ""

    def at(self, key: str = "") -> str:
        """The place of a key in the table, or of the table itself."""
        if self.row:
            path = f"{self.row}.{key}" if key else self.row
        elif self.table:
            path = f"[{self.table}] {key}".rstrip()
        else:
            path = key
        return f"{self.file}: {path}" if path else self.file


def shown(value: object) -> str:
    """A value for an error text: one line, and short."""
    text = repr(value) if isinstance(value, str | int | float | bool) else f"a {_toml_name(value)}"
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest known words, as the end of an error text; empty when there are none near."""
    near = difflib.get_close_matches(word[:LONGEST_NAME], list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def is_secret_name(key: str) -> bool:
    """Whether a key of this name would hold a credential."""
    return re.sub(r"[^a-z]", "", key.lower()) in _SECRET_NAMES


def read_keys(table: object, keys: Mapping[str, Key], place: Place, problems: Problems) -> dict[str, Any]:
    """The fields that a TOML table fills; what is wrong with it is noted."""
    if not isinstance(table, dict):
        problems.add(place.at(), f"must be a table, was {shown(table)}")
        return {}
    found: dict[str, Any] = {}
    for name, value in table.items():
        key = keys.get(name)
        if key is None:
            problems.add(place.at(shown_key(name)), unknown_key(name, keys))
            continue
        try:
            found[key.field] = key.kind.parse(value)
        except (ValueError, OverflowError):
            problems.add(place.at(name), key.kind.complaint(value))
    for name, key in keys.items():
        if key.required and name not in table:
            problems.add(place.at(), f"{name} is missing: it must be {key.kind.allowed}")
    return found


def unknown_key(name: str, keys: Iterable[str]) -> str:
    """What to tell about a key that does not belong."""
    if is_secret_name(name):
        return "a secret never stands in a file: name the environment variable that holds it (api_key_env, ...)"
    if name in _TOP_ONLY:
        return "must stand at the top of the file, before the first [table]"
    allowed = list(keys)
    return "unknown key" + (did_you_mean(name, allowed) or f"; allowed: {', '.join(allowed)}")


def shown_key(name: str) -> str:
    """A key as an error text may show it."""
    return name if len(name) <= _SHOWN_CHARS and name.isprintable() else shown(name)


def name_of(value: Any) -> str:
    """A word that people give to something: printable, no blanks around it, not too long."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME or not value.isprintable():
        raise ValueError("not a name")
    if value[0] == " " or value[-1] == " ":
        raise ValueError("blanks around it")
    return value


def number_kind(least: float, most: float, *, above: bool = False) -> Kind:
    """A number between two bounds; `above` leaves the lower bound itself out."""

    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise ValueError("out of bounds")
        if above and value == least:
            raise ValueError("at the bound")
        return float(value)

    low = f"above {least:g} and at most" if above else f"from {least:g} to"
    return Kind(f"a number {low} {most:,}", parse, float)


def count_kind(least: int, most: int) -> Kind:
    """A whole number between two bounds."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError("out of bounds")
        return value

    return Kind(f"a whole number from {least:,} to {most:,}", parse, int)


def seconds_kind(*, zero: bool = False) -> Kind:
    """A span in seconds, fractions allowed; becomes milliseconds, rounded up."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_SPAN_MS:
            raise ValueError("no span")
        span_ms = math.ceil(Decimal(str(value)) * SECOND_MS)  # exact: as a float 2.007 s would become 2008 ms
        if not (0 if zero else 1) <= span_ms <= LONGEST_SPAN_MS:
            raise ValueError("out of bounds")
        return span_ms

    return Kind("a number of seconds, 0 or more" if zero else "a number of seconds above 0", parse, float)


def choice_kind(words: Iterable[str]) -> Kind:
    """One of a few words."""
    known = tuple(words)

    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError("none of them")
        return value

    return Kind(f"one of {', '.join(known)}", parse)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("no flag")  # noqa: TRY004 - every kind refuses with ValueError
    return value


def _flag_of_text(text: str) -> Any:
    return _FLAGS.get(text.lower(), text)


def _http_url(value: Any) -> str:
    if not isinstance(value, str) or not _URL.fullmatch(value):
        raise ValueError("no address")
    port = value.rstrip("/").rpartition(":")[2]
    if port.isdigit() and not 0 < int(port) < 65_536:
        raise ValueError("no port")
    return value.rstrip("/")


def _toml_name(value: object) -> str:
    if isinstance(value, dict):
        return "table"
    return "list" if isinstance(value, list) else "date or time"


NAME = Kind(f"a text of 1 to {LONGEST_NAME} printable characters without blanks around it", name_of)
FLAG = Kind("true or false", _flag, _flag_of_text)
URL = Kind("an address like http://127.0.0.1:8080, without user name, password or query", _http_url, private=True)
