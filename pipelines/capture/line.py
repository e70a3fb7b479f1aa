"""One line of a recorded file: taken apart and checked."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson

from pipelines.capture.records import Headers

_REQUIRED = {"topic", "partition", "offset", "value"}
_KNOWN = _REQUIRED | {"timestamp", "ts_type", "headers", "key"}
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")  # what Kafka allows
_INT32, _INT64 = 2**31 - 1, 2**63 - 1
_NO_TIME = (0, 0)


class LineError(Exception):
    """Why a line is no record; never repeats a value of it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A record as its line tells it; the timestamp is (type, milliseconds)."""

    topic: str
    partition: int
    offset: int
    timestamp: tuple[int, int] = _NO_TIME
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers | None = None
    reason: str | None = None


def parse_line(text: bytes) -> Line:
    """The record of a line.

    Raises:
        LineError: when it is not JSON, lacks a field, has one too many, or one of a wrong kind.
    """
    try:
        parsed: Any = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise LineError(f"not JSON: {error.msg} at column {error.colno}") from error
    if not isinstance(parsed, dict):
        raise LineError("not a JSON object")
    fields = cast("dict[str, Any]", parsed)
    if lacking := _REQUIRED - fields.keys():
        raise LineError(f"field '{min(lacking)}' is missing")
    if unknown := fields.keys() - _KNOWN:
        raise LineError(f"{len(unknown)} fields are not known")
    return Line(
        topic=_topic(fields["topic"]),
        partition=_integer(fields, "partition", 0, _INT32),
        offset=_integer(fields, "offset", 0, _INT64 - 1),
        timestamp=_timestamp(fields),
        key=_bytes(fields.get("key"), "key"),
        value=_bytes(fields["value"], "value"),
        headers=_headers(fields.get("headers")),
    )


def _topic(value: object) -> str:
    if isinstance(value, str) and _TOPIC.fullmatch(value):
        return value
    raise LineError("field 'topic' is no topic name")


def _integer(fields: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = fields[name]
    if type(value) is int and low <= value <= high:
        return value
    raise LineError(f"field '{name}' is no integer from {low} to {high}")


def _timestamp(fields: Mapping[str, Any]) -> tuple[int, int]:
    if fields.get("timestamp") is None:
        return _NO_TIME
    kind = _integer(fields, "ts_type", 0, 2) if "ts_type" in fields else 1
    return kind, _integer(fields, "timestamp", -_INT64 - 1, _INT64)


def _bytes(value: object, name: str) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {"b64"}:
        try:
            return base64.b64decode(cast("dict[str, str]", value)["b64"], validate=True)
        except (ValueError, TypeError) as error:
            raise LineError(f"field '{name}' is not base64") from error
    raise LineError(f"field '{name}' is neither text, nor {{\"b64\": ...}}, nor null")


def _headers(value: object) -> Headers | None:
    if not value:
        return None
    if not isinstance(value, list):
        raise LineError("field 'headers' is no list")
    headers: list[tuple[str, bytes | None]] = []
    for pair in cast("list[Any]", value):
        match pair:
            case [str(name), content]:
                headers.append((name, _bytes(content, "headers")))
            case _:
                raise LineError("field 'headers' holds something that is no [name, value]")
    return headers
