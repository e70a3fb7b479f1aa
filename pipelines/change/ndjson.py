"""JSON texts to columns, many at once; a bad one is told apart and does not spoil its neighbours."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

#: Below this a chunk that fails is read one text at a time; above, it is halved. Halving finds k
#: bad texts among n in about k * log2(n / 128) further parses.
_ONE_BY_ONE = 128

#: An escape that is half of a pair is legal JSON but no text; simd-json turns it into a NUL in
#: silence. What is left after the whole pairs are taken out goes to the careful parser.
_PAIR = r"(?i)\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}"
_HALF = r"(?i)\\ud[89a-f]"

#: Numbers of more digits than a double tells apart, which simd-json would round.
_ROUNDED = "|".join(
    (*(rf"[1-9][0-9]{{{n}}}\.[0-9]{{{17 - n}}}" for n in range(17)), r"0\.[0-9]{18}")
)
#: So many digits stand on one side of the point at least, in each of them.
_MANY_DIGITS = 9
#: Bytes looked at together: what a processor's cache holds.
_AT_ONCE = 1 << 20

_LONG = 2**63 - 1

NOT_JSON = "not_json"
NOT_AN_OBJECT = "not_an_object"
WRONG_SHAPE = "wrong_shape"
BAD_UNICODE = "bad_unicode"


def parse(
    texts: pl.Series, schema: Mapping[str, pl.DataType], *, objects: str | None = None
) -> tuple[pl.DataFrame, pl.Series]:
    """The fields of `schema` of each JSON object, and why a text could not be read (null: it could).

    Rows come in the order of `texts`; the fields of a text that could not be read, and of a null
    text, are null. Numbers, true and false read into a String field keep their value as text, so
    that no type is assumed before a contract names it; an object read into a String is JSON text.
    `objects` is a pattern of texts in which an object or a list is read into a String: those among
    them with an escape go to the careful parser, for Polars writes such an object without it.
    Cost: about 1.8 microseconds a 700-byte text on two cores.
    """
    present = texts.is_not_null()
    given = texts.filter(present)
    frame, reasons = _parse_present(given.rename(""), schema, objects)
    if len(given) == len(texts):
        return frame, reasons
    at = pl.Series(present).cast(pl.UInt32).cum_sum() - 1
    index = pl.select(pl.when(present).then(at)).to_series()
    return frame.select(pl.all().gather(index)), reasons.gather(index)


class _Lines(NamedTuple):
    """Texts as one buffer, each behind the other with a line's end, and where each of them begins."""

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, texts: pl.Series) -> _Lines:
        """The texts of a series without nulls."""
        lines = pl.select(pl.concat_str(pl.lit(texts), pl.lit("\n"))).to_series()
        arrow = lines.to_arrow(compat_level=pl.CompatLevel.oldest())
        starts = np.frombuffer(arrow.buffers()[1], dtype=np.int64, offset=8 * arrow.offset)
        starts = starts[: len(arrow) + 1]
        data = np.frombuffer(arrow.buffers()[2] or b"", dtype=np.uint8)
        return cls(data[starts[0] : starts[-1]], starts - starts[0])

    def with_many_digits(self) -> npt.NDArray[np.int64]:
        """Which texts have a point with many digits before or behind it."""
        found = list[npt.NDArray[np.int64]]()
        for start in range(0, len(self.data), _AT_ONCE):
            points = start + np.flatnonzero(self.data[start : start + _AT_ONCE] == ord("."))
            before = points[points >= _MANY_DIGITS]
            behind = points[points < len(self.data) - _MANY_DIGITS]
            for near, way in ((before, -1), (behind, 1)):
                for step in range(_MANY_DIGITS, 0, -1):
                    beside = self.data[near + way * step]
                    near = near[beside - np.uint8(ord("0")) < 10]
                found.append(near)
        points = np.concatenate(found) if found else np.empty(0, np.int64)
        return np.unique(np.searchsorted(self.starts, points, side="right") - 1)


def _parse_present(
    texts: pl.Series, schema: Mapping[str, pl.DataType], objects: str | None
) -> tuple[pl.DataFrame, pl.Series]:
    lines = _Lines.of(texts)
    odd = _needs_care(texts, lines)
    if objects is not None:
        escaped = texts.str.contains("\\", literal=True)
        at = escaped.arg_true()
        odd |= escaped.scatter(at, texts.gather(at).str.contains(objects)) if len(at) else escaped
    if not odd.any():
        return _parse_fast(texts, schema, lines)
    index = pl.Series(range(len(texts)), dtype=pl.UInt32)
    fast, fast_reasons = _parse_fast(texts.filter(~odd), schema)
    slow, slow_reasons = _parse_slowly(texts.filter(odd), schema)
    order = pl.concat([index.filter(~odd), index.filter(odd)]).arg_sort()
    return pl.concat([fast, slow]).select(pl.all().gather(order)), pl.concat(
        [fast_reasons, slow_reasons]
    ).gather(order)


def _needs_care(texts: pl.Series, lines: _Lines) -> pl.Series:
    """Texts that would break line by line reading, or hold what simd-json mangles: an escape, a number."""
    odd = (texts.str.len_bytes() < 2) | texts.str.starts_with(" ") | texts.str.starts_with("\t")
    likely = lines.with_many_digits()
    if len(likely):
        odd = odd.scatter(likely, odd.gather(likely) | texts.gather(likely).str.contains(_ROUNDED))
    marked = texts.str.contains_any(["\n", "\r", "\\ud", "\\uD"])
    if not marked.any():
        return odd
    broken = texts.str.contains_any(["\n", "\r"])
    return odd | broken | (marked & texts.str.replace_all(_PAIR, "").str.contains(_HALF))


def _parse_fast(
    texts: pl.Series, schema: Mapping[str, pl.DataType], lines: _Lines | None = None
) -> tuple[pl.DataFrame, pl.Series]:
    if len(texts) == 0:
        return pl.DataFrame(schema=schema), pl.Series(dtype=pl.String)
    data = (lines or _Lines.of(texts)).data
    try:
        frame = pl.read_ndjson(io.BytesIO(data.tobytes()), schema=schema)
    except pl.exceptions.PolarsError:
        frame = None
    if frame is not None and len(frame) == len(texts):
        return frame, pl.Series([None], dtype=pl.String).new_from_index(0, len(texts))
    if len(texts) <= _ONE_BY_ONE:
        return _parse_slowly(texts, schema)
    half = len(texts) // 2
    parts = [_parse_fast(part, schema) for part in (texts[:half], texts[half:])]
    return pl.concat([part for part, _ in parts]), pl.concat([reasons for _, reasons in parts])


def _parse_slowly(
    texts: pl.Series, schema: Mapping[str, pl.DataType]
) -> tuple[pl.DataFrame, pl.Series]:
    """One text at a time by Python's parser, to the very values that simd-json gives, where it gives any.

    What a text says must not hang on whether its neighbours are whole.
    """
    rows, reasons = list[dict[str, Any]](), list[str | None]()
    for text in texts.to_list():
        row, reason = _read_one(text, schema)
        rows.append(row)
        reasons.append(reason)
    return pl.DataFrame(rows, schema=schema, orient="row"), pl.Series(reasons, dtype=pl.String)


class _Number(str):
    """The text of a JSON number."""

    __slots__ = ()


class _Whole(_Number):
    """The text of a JSON number without fraction and exponent."""

    __slots__ = ()


class _Object(dict[str, Any]):
    """The members of a JSON object; of those with one name the first counts, and all are written."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(reversed(pairs))
        self.pairs = pairs


def _whole(text: str) -> _Number:
    return _Whole("0" if text == "-0" else text)


def _fraction(text: str) -> _Number:
    """A number as simd-json writes it, without exponent and needless zeros; one that it would round as it is."""
    number = float(text)
    if math.isinf(number) or re.search(_ROUNDED, text):
        return _Number(text)
    return _Number(format(Decimal(repr(number)), "f").removesuffix(".0"))


def _read_one(text: str, schema: Mapping[str, pl.DataType]) -> tuple[dict[str, Any], str | None]:
    nothing: dict[str, Any] = dict.fromkeys(schema)
    try:
        value = json.loads(
            text,
            parse_int=_whole,
            parse_float=_fraction,
            parse_constant=_refuse_constant,
            object_pairs_hook=_Object,
        )
    except (ValueError, RecursionError):
        return nothing, NOT_JSON
    if not isinstance(value, dict):
        return nothing, NOT_AN_OBJECT
    try:
        row = {name: _as(value.get(name), dtype) for name, dtype in schema.items()}
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return nothing, BAD_UNICODE
    except (TypeError, ValueError, OverflowError, RecursionError):
        return nothing, WRONG_SHAPE
    return row, None


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _as(value: Any, dtype: pl.DataType) -> Any:
    """`value` as a Python value that Polars takes for `dtype`.

    Raises:
        ValueError: when it is of another shape.
    """
    if value is None:
        return None
    if isinstance(dtype, pl.Struct) and isinstance(value, dict):
        return {
            member.name: _as(value.get(member.name), _instance(member.dtype))
            for member in dtype.fields
        }
    if isinstance(dtype, pl.List) and isinstance(value, list):
        return [_as(item, _instance(dtype.inner)) for item in value]
    if isinstance(dtype, pl.String):
        return _as_text(value)
    if dtype.is_integer() and isinstance(value, _Whole) and -_LONG - 1 <= int(value) <= _LONG:
        return int(value)
    if isinstance(dtype, pl.Boolean) and isinstance(value, bool):
        return value
    raise ValueError(f"not {dtype}")


def _as_text(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return _dump(value)


def _dump(value: Any) -> str:
    """JSON text with numbers as they were written."""
    if isinstance(value, _Object):
        return (
            "{"
            + ", ".join(f"{json.dumps(k, ensure_ascii=False)}: {_dump(v)}" for k, v in value.pairs)
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(_dump(item) for item in value) + "]"
    return str(value) if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)


def _instance(dtype: Any) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype
