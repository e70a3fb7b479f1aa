"""One text for each value, the same for source and lake, so that equal texts are equal values.

The source's side starts from what Postgres itself writes, never from a driver's Python value: a
timestamp of infinity or a date before Christ has a text, and a text is never rounded. What the
contract's type cannot hold keeps the source's text, which no stored value equals.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from pipelines.contract import DataType
from pipelines.contract.types import FLOATS, INTEGERS, TIMESTAMPS

_WHOLE = ("int2", "int4", "int8", "oid")
_BINARY_FLOATS = ("float4", "float8")
_NUMBERS = (*_WHOLE, *_BINARY_FLOATS, "numeric", "money")
_TEXTS = ("text", "varchar", "bpchar", "citext", "name")

#: The Postgres types whose values a contract's type holds; texts hold what `_NO_TEXT` does not name.
_SOURCES = {
    "bool": ("bool",),
    "date": ("date",),
    "time": ("time", "timetz"),
    "uuid": ("uuid", *_TEXTS),
    "json": ("json", "jsonb", "hstore", *_TEXTS),
    "binary": ("bytea",),
    "decimal": _NUMBERS,
    **dict.fromkeys(INTEGERS, _NUMBERS),
    **dict.fromkeys(FLOATS, _NUMBERS),
    **dict.fromkeys(TIMESTAMPS, ("timestamp", "timestamptz")),
}
#: Types that messages write otherwise than Postgres (days, microseconds, base64, structs).
_NO_TEXT = (
    "date", "time", "timetz", "timestamp", "timestamptz", "interval", "bytea", "bit", "varbit",
    "hstore", "money", "point", "geometry", "geography", "vector", "halfvec", "sparsevec",
)  # fmt: skip

#: Digits that a double tells apart for certain, and those that float32 does.
_FLOAT64_DIGITS, _FLOAT32_DIGITS = 15, 9
_SPECIAL_FLOATS = {"Infinity": "inf", "-Infinity": "-inf"}

_CLOCK, _MOMENT = len("23:59:59"), len("2026-02-28 23:59:59")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A column that is compared: its name in the contract, its type there and in Postgres.

    `origin` is the type's own name (`int4`), an array's element's; `field` the source's column.
    """

    name: str
    field: str
    kind: DataType
    origin: str
    is_array: bool = False


def why_not(field: Field) -> str | None:
    """Why values of the column cannot be compared; None where they can."""
    kind = field.kind
    while field.is_array and kind.item is not None:
        kind = kind.item
    said = f"{field.origin}[]" if field.is_array else field.origin
    is_list = field.kind.item is not None
    if kind.kind in ("string", "enum"):
        fits = field.origin not in _NO_TEXT
    else:
        fits = field.origin in _SOURCES.get(kind.kind, ())
    return None if fits and is_list == field.is_array else f"{said} there, {field.kind} here"


def of_source(text: pl.Expr, field: Field) -> pl.Expr:
    """The canonical form of Postgres' texts; of an array's JSON text, a list of such forms."""
    if field.kind.item is None:
        return _scalar(text, field.kind, field.origin)
    depth, leaf = _depth(field.kind)
    dtype = _nested(depth)
    lists = text.map_batches(
        lambda s: pl.Series(
            [None if t is None else _leaves(t, depth, leaf) for t in s], dtype=dtype
        ),
        return_dtype=dtype,
    )
    return _each(lists, depth, lambda element: _scalar(element, leaf, field.origin))


def of_lake(value: pl.Expr, field: Field) -> pl.Expr:
    """The canonical form of stored values."""
    depth, leaf = _depth(field.kind)

    def form(element: pl.Expr) -> pl.Expr:
        text = _stored(element, leaf, field.origin)
        return _json_forms(text) if depth and leaf.kind == "json" else text

    return _each(value, depth, form)


def typed(forms: pl.Series, kind: DataType) -> pl.Series:
    """The stored values that canonical forms stand for; null where the type holds none."""
    if kind.kind in TIMESTAMPS:
        naive = forms.str.to_datetime("%Y-%m-%d %H:%M:%S%.6f", time_unit="us", strict=False)
        return naive.dt.replace_time_zone("UTC") if kind.kind == "timestamp" else naive
    if kind.kind == "date":
        return forms.str.to_date("%Y-%m-%d", strict=False)
    if kind.kind == "binary":
        return forms.str.decode("hex", strict=False)
    if kind.kind == "bool":
        return forms.replace_strict(
            {"true": True, "false": False}, default=None, return_dtype=pl.Boolean
        )
    return forms.cast(kind.stored, strict=False)


# ---- ONE VALUE ---- #


def _scalar(text: pl.Expr, kind: DataType, origin: str) -> pl.Expr:
    if kind.kind in FLOATS:
        return _float(text, kind, origin)
    if kind.kind == "decimal" or kind.kind in INTEGERS or _is_number_as_text(kind, origin):
        return _number(text)
    if kind.kind in TIMESTAMPS:
        # An array's elements come as JSON writes them, with a T and the zone in full.
        local = text.str.strip_suffix("+00:00").str.strip_suffix("+00")
        return _to_micros(local.str.replace("T", " ", literal=True), _MOMENT)
    if kind.kind == "time":
        return _to_micros(text, _CLOCK)
    if kind.kind == "uuid":
        return text.str.to_lowercase()
    return text.str.strip_prefix("\\x") if kind.kind == "binary" else text


def _stored(value: pl.Expr, kind: DataType, origin: str) -> pl.Expr:
    if kind.kind in TIMESTAMPS:
        return value.dt.to_string("%Y-%m-%d %H:%M:%S%.6f")
    if kind.kind == "date":
        return value.dt.to_string("%Y-%m-%d")
    if kind.kind == "binary":
        return value.bin.encode("hex")
    text = value.cast(pl.String)
    return _number(text) if kind.kind == "decimal" or _is_number_as_text(kind, origin) else text


def _is_number_as_text(kind: DataType, origin: str) -> bool:
    return kind.kind == "string" and origin == "numeric"


def _to_micros(text: pl.Expr, whole: int) -> pl.Expr:
    """Six digits of a second's fraction; `whole` is the length of a text without any."""
    dotted = pl.when(text.str.len_bytes() == whole).then(text + ".").otherwise(text)
    return dotted.str.pad_end(whole + len(".ffffff"), "0")


def _number(text: pl.Expr) -> pl.Expr:
    """The number without exponent and without zeros that say nothing: 1.50 and 1.5E0 are one."""
    plain = _in_bulk(text, r"[eE]", _without_exponent)
    shorter = (
        pl.when(plain.str.contains(r"^-?\d+\.\d+$"))
        .then(plain.str.strip_chars_end("0").str.strip_suffix("."))
        .otherwise(plain)
    )
    return shorter.replace("-0", "0")


def _without_exponent(text: str) -> str:
    try:
        return format(Decimal(text), "f")
    except ArithmeticError:
        return text


def _float(text: pl.Expr, kind: DataType, origin: str) -> pl.Expr:
    """The nearest binary float's shortest text, or `text` where that is another number."""
    number = text.replace(_SPECIAL_FLOATS).cast(kind.stored, strict=False)
    lost = number.is_null() | (number.is_infinite() & ~text.is_in(list(_SPECIAL_FLOATS)))
    digits = text.str.replace(r"[eE].*$", "").str.replace_all(r"[^0-9]", "").str.strip_chars("0")
    if kind.kind == "float32":
        lost |= digits.str.len_bytes() > _FLOAT32_DIGITS
    elif origin not in _BINARY_FLOATS:
        is_double = text.map_batches(_are_doubles, return_dtype=pl.Boolean, is_elementwise=True)
        lost |= (digits.str.len_bytes() > _FLOAT64_DIGITS) & ~is_double
    return pl.when(lost).then(text).otherwise(number.cast(pl.String))


def _are_doubles(texts: pl.Series) -> pl.Series:
    """Whether the nearest double's shortest text writes the same number."""
    return pl.Series([t is None or _is_double(t) for t in texts], dtype=pl.Boolean)


def _is_double(text: str) -> bool:
    try:
        return Decimal(repr(float(text))) == Decimal(text)
    except (ValueError, ArithmeticError):
        return False


def _in_bulk(text: pl.Expr, pattern: str, mend: Callable[[str], str]) -> pl.Expr:
    """`text` with `mend` done to those that match, one by one: for patterns that are rare."""

    def mended(texts: pl.Series) -> pl.Series:
        at = texts.str.contains(pattern).arg_true()
        return texts.scatter(at, [mend(t) for t in texts.gather(at)]) if len(at) else texts

    return text.map_batches(mended, return_dtype=pl.String, is_elementwise=True)


# ---- LISTS ---- #


def _depth(kind: DataType) -> tuple[int, DataType]:
    """How many lists stand around the innermost type, and that type."""
    depth = 0
    while kind.item is not None:
        kind, depth = kind.item, depth + 1
    return depth, kind


def _nested(depth: int) -> pl.DataType:
    return pl.List(_nested(depth - 1)) if depth else pl.String()


def _each(value: pl.Expr, depth: int, form: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    return value.list.eval(_each(pl.element(), depth - 1, form)) if depth else form(value)


def _leaves(text: str, depth: int, leaf: DataType) -> list[Any]:
    """The array that JSON writes, with texts at its leaves; one of another shape as a single text."""
    if leaf.kind == "json":
        array, leaf_text = _parse_json(text), _write_json
    else:
        array, leaf_text = json.loads(text, parse_int=str, parse_float=str), _plain_text

    def walk(value: Any, left: int) -> Any:
        if value is None:
            return None
        if left == 0:
            return leaf_text(value)
        if not isinstance(value, list):
            raise TypeError
        return [walk(each, left - 1) for each in value]

    try:
        return walk(array, depth)
    except TypeError:
        shapeless: Any = text
        for _ in range(depth):
            shapeless = [shapeless]
        return shapeless


def _plain_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise TypeError
    return value


# ---- JSON ---- #


def json_form(text: str) -> str:
    """A text that two JSON documents share when they say the same.

    Order of members and spaces say nothing; 1.0 and 1 are one number, however long. A member that
    stands twice stands twice. What is not JSON is its own form.
    """
    try:
        return _write_json(_parse_json(text))
    except (ValueError, ArithmeticError, RecursionError):
        return text


def _parse_json(text: str) -> Any:
    return json.loads(
        text, parse_int=_json_number, parse_float=_json_number, object_pairs_hook=_members
    )


def _write_json(value: Any) -> str:
    return json.dumps(value)


def _json_forms(text: pl.Expr) -> pl.Expr:
    return text.map_batches(
        lambda s: pl.Series([None if t is None else json_form(t) for t in s], dtype=pl.String),
        return_dtype=pl.String,
        is_elementwise=True,
    )


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Wrapped, so that no document looks like the form of another."""
    return {"members": sorted(pairs, key=lambda pair: pair[0])}


def _json_number(text: str) -> dict[str, str]:
    sign, digits, exponent = Decimal(text).as_tuple()
    figures = "".join(map(str, digits)).strip("0")
    trailing = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    if not figures:
        return {"number": "0"}
    return {"number": f"{'-' * sign}{figures}e{int(exponent) + trailing}"}
