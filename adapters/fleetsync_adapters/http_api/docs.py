"""The page for people: the schema as plain HTML. It needs nothing from anywhere, not even a script."""

from html import escape
from typing import Any

import orjson

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b2733;background:#fff}
h2{margin-top:2.5rem;border-bottom:1px solid #d5dde5}summary{cursor:pointer;padding:.4rem 0}
code,pre{font:13px/1.4 ui-monospace,monospace}pre{background:#f4f6f8;padding:.8rem;overflow:auto}
b.m{display:inline-block;width:4.5rem;color:#0b5}td,th{text-align:left;padding:.1rem 1rem .1rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{color:#dbe3ea;background:#14191e}pre{background:#1e252c}h2{border-color:#35404a}}
"""
CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(schema: dict[str, Any]) -> str:
    """The whole page."""
    info = schema["info"]
    groups: dict[str, list[str]] = {}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            groups.setdefault((operation.get("tags") or ["other"])[0], []).append(_operation(path, method, operation))
    sections = "".join(f"<h2>{escape(name)}</h2>{''.join(parts)}" for name, parts in groups.items())
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
            f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
            f"<p>{escape(info['description'])}</p>"
            f'<p>For programs: <a href="openapi.json">openapi.json</a></p>{sections}</html>')


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(given['name'])}</code><td>{escape(given['in'])}"
        f"<td>{escape(_kind(given.get('schema', {})))}<td>{escape(given.get('description', ''))}"
        for given in operation.get("parameters", ()))
    parameters = f"<table><tr><th>parameter<th>in<th>kind<th>{rows}</table>" if rows else ""
    body = ""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        body = f"<p>Body:</p><pre>{escape(_pretty(content['schema']))}</pre>"
    answers = "".join(f"<tr><td><code>{escape(status)}</code><td>{escape(answer.get('description', ''))}"
                      for status, answer in sorted(operation["responses"].items()))
    return (f'<details><summary><b class="m">{escape(method.upper())}</b> <code>{escape(path)}</code> '
            f"{escape(operation.get('summary', ''))}</summary>{parameters}{body}<table>{answers}</table></details>")


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    bounds = [f"{name[:3]} {schema[name]}" for name in ("minimum", "maximum") if name in schema]
    return " ".join([str(schema.get("type", "")), *bounds])


def _pretty(schema: dict[str, Any]) -> str:
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
