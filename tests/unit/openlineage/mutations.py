"""Every way to spoil an event: each part that must be there lost, each of another kind or form."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

_Path = tuple[str | int, ...]

#: No value of the specification is of this kind anywhere: what stands there is spoilt by it.
_OTHER_KIND: Any = [[None]]

_BAD_FORM = {"uuid": "run-1", "date-time": "2026-01-01T00:00:00", "uri": "no scheme"}


def mutations(schema: dict[str, Any], event: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What was spoilt, and the whole event with it; one of each place, list items being one."""
    seen = set[str]()
    for path, fault, value in _faults(schema, schema, event, ()):
        place = ".".join("*" if isinstance(step, int) else step for step in path)
        if (name := f"{place}: {fault}") not in seen:
            seen.add(name)
            yield name, _with(event, path, value)


def _faults(
    root: dict[str, Any], schema: dict[str, Any], at: Any, path: _Path
) -> Iterator[tuple[_Path, str, Any]]:
    schema = _plain(root, schema)
    if not schema or schema == {"type": "object"}:
        return
    if path:
        yield path, "of another kind", _OTHER_KIND
    if isinstance(at, str) and "format" in schema:
        yield path, f"no {schema['format']}", _BAD_FORM[schema["format"]]
    if isinstance(at, str) and ("enum" in schema or "const" in schema):
        yield path, "unknown", f"{at}x"
    if isinstance(at, list):
        for number, item in enumerate(at):
            yield from _faults(root, schema["items"], item, (*path, number))
    if isinstance(at, dict):
        rest = schema.get("additionalProperties", {})
        for key, item in at.items():
            if key in schema.get("required", ()):
                yield (*path, key), "lost", ...
            inner = schema.get("properties", {}).get(key, rest)
            yield from _faults(root, inner, item, (*path, key))


def _plain(root: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references; of a choice that is the one there is."""
    while "$ref" in schema or len(schema.get("anyOf", ())) == 1:
        inner = schema.get("anyOf", [{}])[0]
        if "$ref" in schema:
            inner = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        schema = {k: v for k, v in schema.items() if k not in ("$ref", "anyOf", "$defs")} | inner
    return schema


def _with(event: dict[str, Any], path: _Path, value: Any) -> dict[str, Any]:
    spoilt = copy.deepcopy(event)
    at: Any = spoilt
    for step in path[:-1]:
        at = at[step]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return spoilt
