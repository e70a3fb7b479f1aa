"""The shape of a value: enough to see why a rule refused it, too little to tell it by.

A shape names the type, the length and the kinds of characters, never the characters themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast

#: Beyond this, a value that may be shown is cut.
_LONGEST = 120
#: Fields of one object of a message that are listed.
_MOST_FIELDS = 60
#: An envelope's images hold the columns; what lies deeper is a column's own value.
_DEPTH = 2


def shape_of(value: object) -> str:
    """What a value looks like."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float | Decimal):
        return _number(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, datetime):
        return "a time" if value.tzinfo is None else "a time with zone"
    if isinstance(value, date):
        return "a date"
    if isinstance(value, Mapping):
        return f"object of {len(cast('Mapping[str, Any]', value)):,} fields"
    if isinstance(value, list):
        return f"list of {len(cast('list[Any]', value)):,}"
    return type(value).__name__


def _number(value: float | Decimal) -> str:
    number = Decimal(str(value))
    if not number.is_finite():
        return "not a finite number"
    sign = "negative" if number < 0 else "zero" if number == 0 else "positive"
    _, digits, exponent = number.as_tuple()
    after = max(-exponent, 0) if isinstance(exponent, int) else 0
    before = max(len(digits) - after, 1)
    kind = "whole number" if isinstance(value, int) else "number"
    return f"{kind}, {sign}, {before} digits" + (f" and {after} after the point" if after else "")


def _text(value: str) -> str:
    if not value:
        return "empty text"
    kinds = ", ".join(_kinds(value))
    edges = ", blanks at its ends" if value.strip() != value else ""
    return f"text of {len(value):,} characters: {kinds}{edges}"


def _is_mark(char: str) -> bool:
    return char.isprintable() and not char.isalnum() and not char.isspace()


_KINDS: Mapping[str, Callable[[str], bool]] = {
    "lower case": str.islower,
    "upper case": str.isupper,
    "other letters": lambda char: char.isalpha() and not char.islower() and not char.isupper(),
    "digits": str.isdigit,
    "blanks": lambda char: char.isspace() and char not in "\r\n",
    "line breaks": lambda char: char in "\r\n",
    "control characters": lambda char: not char.isprintable() and not char.isspace(),
    "other marks": lambda char: not char.isascii() and _is_mark(char),
    "beyond ASCII": lambda char: not char.isascii(),
}


def _kinds(value: str) -> Iterator[str]:
    """The kinds of characters in a text; plain marks are named, since patterns turn on them."""
    chars = set(value)
    yield from (kind for kind, is_kind in _KINDS.items() if any(map(is_kind, chars)))
    if marks := sorted(char for char in chars if char.isascii() and _is_mark(char)):
        yield "marks " + " ".join(marks)


def shown(value: object, *, hidden: bool) -> str:
    """A value as it is shown to people: a hidden one as its shape."""
    if hidden or value is None or isinstance(value, bytes):
        return shape_of(value)
    text = json.dumps(value, default=str, ensure_ascii=False) if _is_nested(value) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def _is_nested(value: object) -> bool:
    return isinstance(value, list | dict)


def payload_shape(payload: str | None) -> dict[str, str]:
    """The fields of a message, by path, each as its shape; one that is no JSON object as a whole."""
    if payload is None:
        return {"(message)": "null"}
    try:
        message = json.loads(payload, parse_float=Decimal)
    except (ValueError, RecursionError):
        return {"(message)": f"not JSON: {shape_of(payload)}"}
    if not isinstance(message, dict):
        return {"(message)": shape_of(message)}
    return dict(_fields(cast("dict[str, Any]", message), "", _DEPTH))


def _fields(fields: Mapping[str, Any], path: str, depth: int) -> Iterator[tuple[str, str]]:
    for name, value in list(fields.items())[:_MOST_FIELDS]:
        if isinstance(value, dict) and value and depth > 1:
            yield from _fields(cast("dict[str, Any]", value), f"{path}{name}.", depth - 1)
        else:
            yield f"{path}{name}", shape_of(value)
    if len(fields) > _MOST_FIELDS:
        yield f"{path}…", f"and {len(fields) - _MOST_FIELDS:,} fields more"
