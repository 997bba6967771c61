"""Requests drawn from an OpenAPI schema: mostly right, sometimes wrong in one place, sometimes nonsense."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from hypothesis import strategies as st

WORDS = st.one_of(st.text(max_size=20), st.sampled_from(["", "\x00", "'; DROP TABLE robots; --", "../../etc", "🤖"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2**63, 2**63) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=12)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One request."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Requests:
    """Draws requests for the operations of a schema.

    `known` are values that exist, by the name of a parameter or key: without them every request would end at a 404.
    """

    def __init__(self, schema: dict[str, Any], known: dict[str, list[Any]]) -> None:
        self._schema = schema
        self._known = known

    @property
    def operations(self) -> list[tuple[str, str]]:
        """(method, path) of every route."""
        return [(method.upper(), path) for path, methods in self._schema["paths"].items() for method in methods]

    def operation(self, method: str, path: str) -> dict[str, Any]:
        """What the schema says about one route."""
        found: dict[str, Any] = self._schema["paths"][path][method.lower()]
        return found

    def drawn(self, draw: st.DrawFn, method: str, path: str) -> Drawn:
        """One request for a route."""
        operation = self.operation(method, path)
        query, headers = {}, {}
        for given in operation.get("parameters", ()):
            name, value = given["name"], self.values(given["name"], given.get("schema", {}))
            if given["in"] == "path":
                path = path.replace("{" + name + "}", quote(str(draw(value | WORDS)), safe=""))
            elif draw(st.booleans()):
                told = draw(value | WORDS)
                if given["in"] == "query":
                    query[name] = str(told)
                elif str(told).isascii() and str(told).isprintable():
                    headers[name] = str(told)
        if query:
            path += "?" + urlencode(query)
        if "requestBody" not in operation:
            return Drawn(method, path, headers=headers)
        headers["Content-Type"] = "application/json"
        shape = operation["requestBody"]["content"]["application/json"]["schema"]
        return Drawn(method, path, draw(self.bodies(shape)), headers)

    def bodies(self, shape: dict[str, Any]) -> st.SearchStrategy[bytes]:
        """A body of this shape; or with one part replaced; or any JSON; or any bytes."""
        right = self.values("", shape)
        wrong = st.builds(_replaced, right, st.integers(0, 7), JSON)
        return st.one_of(right.map(orjson.dumps), wrong.map(_dumps), JSON.map(_dumps), st.binary(max_size=60))

    def values(self, name: str, shape: dict[str, Any]) -> st.SearchStrategy[Any]:
        """Values of this shape."""
        known = self._known.get(name)
        made = self._made(shape)
        return st.sampled_from(known) | made if known else made

    def _made(self, shape: dict[str, Any]) -> st.SearchStrategy[Any]:
        for choice in ("anyOf", "oneOf"):
            if choice in shape:
                return st.one_of([self._made(one) for one in shape[choice]])
        if "enum" in shape:
            return st.sampled_from(shape["enum"])
        if shape.get("type") == "object":
            needed = set(shape.get("required", ()))
            keys = {key: self.values(key, one) for key, one in shape.get("properties", {}).items()}
            return st.fixed_dictionaries({key: value for key, value in keys.items() if key in needed},
                                         optional={key: value for key, value in keys.items() if key not in needed})
        if shape.get("type") == "array":
            return st.lists(self._made(shape.get("items", {})), max_size=5)
        return _plain(shape)


def _plain(shape: dict[str, Any]) -> st.SearchStrategy[Any]:
    match shape.get("type"):
        case "string":
            return st.text(min_size=shape.get("minLength", 0), max_size=min(shape.get("maxLength", 30), 30))
        case "integer":
            return st.integers(shape.get("minimum", -2**53), shape.get("maximum", 2**53))
        case "number":
            return st.floats(shape.get("exclusiveMinimum", 0), shape.get("maximum", 1e9), exclude_min=True)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return JSON


def _replaced(value: Any, place: int, by: Any) -> Any:
    """The value with one of its parts replaced, or with a part too many."""
    if isinstance(value, dict):
        keys = [*value, "surplus"]
        return {**value, keys[place % len(keys)]: by}
    if isinstance(value, list) and value:
        place %= len(value)
        return [*value[:place], _replaced(value[place], place + 1, by), *value[place + 1:]]
    return by


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except (orjson.JSONEncodeError, TypeError):
        return b"18446744073709551616"  # more than JSON writers of 64 bits can say; readers meet it all the same


class Shapes:
    """Checks answers against the schema, as far as it says something about them."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema

    def problem(self, operation: dict[str, Any], status: int, value: Any) -> str:
        """What is wrong with an answer; "" if nothing is."""
        answers = operation["responses"]
        told = answers.get(str(status)) or (answers.get("4XX") if 400 <= status < 500 else None)
        if told is None:
            return f"{status} is not documented"
        shape = told.get("content", {}).get("application/json", {}).get("schema", {})
        return self._mismatch(value, shape, "answer")

    def _mismatch(self, value: Any, shape: dict[str, Any], where: str) -> str:
        if "$ref" in shape:
            shape = self._schema["components"]["schemas"][shape["$ref"].rpartition("/")[2]]
        kinds: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int}
        kind = kinds.get(shape.get("type", ""))
        if kind is not None and not isinstance(value, kind):
            return f"{where} is no {shape['type']}"
        if kind is dict:
            missing = set(shape.get("required", ())) - set(value)
            found = [f"{where} has no {key}" for key in missing]
            found += [self._mismatch(value[key], one, f"{where}.{key}")
                      for key, one in shape.get("properties", {}).items() if key in value]
            return next(filter(None, found), "")
        if kind is list and "items" in shape:
            return next(filter(None, (self._mismatch(one, shape["items"], f"{where}[]") for one in value)), "")
        return ""
