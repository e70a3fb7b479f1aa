"""The conditions that rules put on a row: Polars expressions, true = valid, null = does not apply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import polars as pl

from quality_rules.formats import can_be_read_as, has_format
from quality_rules.kinds import RuleError, RuleKind

#: What Polars raises of an expression: a panic is no `Exception`, since it stems from Rust.
RAISED = (pl.exceptions.PolarsError, pl.exceptions.PanicException)

Params = Mapping[str, Any]


def condition(
    kind: RuleKind, rule: str, column: str, params: Params, dtype: pl.DataType
) -> pl.Expr:
    """The condition of a rule of one column that needs nothing but its row.

    Raises:
        RuleError: when the column's type has no such condition.
    """
    return _OF_KIND[kind](rule, column, params, dtype)


def _not_null(_rule: str, column: str, _params: Params, _dtype: pl.DataType) -> pl.Expr:
    return pl.col(column).is_not_null()


def _pattern(rule: str, column: str, params: Params, dtype: pl.DataType) -> pl.Expr:
    return _text(rule, column, dtype).str.contains(params["regex"])


def _type(rule: str, column: str, params: Params, dtype: pl.DataType) -> pl.Expr:
    return can_be_read_as(_text(rule, column, dtype), params["type"])


def _format(rule: str, column: str, params: Params, dtype: pl.DataType) -> pl.Expr:
    return has_format(_text(rule, column, dtype), params["format"])


def _text(rule: str, column: str, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_nested() or dtype == pl.Binary:
        raise RuleError(f"rule '{rule}': column '{column}' is {dtype}, which is no text")
    return pl.col(column).cast(pl.String)


def _set(rule: str, column: str, params: Params, dtype: pl.DataType) -> pl.Expr:
    given: list[Any] = list(params["values"])
    try:
        values = pl.Series(given, strict=True).cast(dtype)
    except (*RAISED, TypeError) as error:
        raise RuleError(
            f"rule '{rule}': column '{column}' is {dtype}, which not all of its values can be: {given}"
        ) from error
    return pl.col(column).is_in(values.implode())


def _length(rule: str, column: str, params: Params, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.String:
        length = pl.col(column).str.len_chars()
    elif dtype == pl.Binary:
        length = pl.col(column).bin.size()
    elif isinstance(dtype, pl.List):
        length = pl.col(column).list.len()
    else:
        raise RuleError(f"rule '{rule}': column '{column}' is {dtype}, which has no length")
    return _between(length, params, lambda bound, _: pl.lit(int(str(bound))))


# ---- RANGES ---- #


def _range(rule: str, column: str, params: Params, dtype: pl.DataType) -> pl.Expr:
    return _between(
        pl.col(column), params, lambda bound, side: _bound(rule, column, bound, dtype, side)
    )


def _between(value: pl.Expr, params: Params, bound: Callable[[object, str], pl.Expr]) -> pl.Expr:
    verdict = pl.lit(value=True)
    if params.get("min") is not None:
        verdict = verdict & (value >= bound(params["min"], ROUND_CEILING))
    if params.get("max") is not None:
        verdict = verdict & (value <= bound(params["max"], ROUND_FLOOR))
    return verdict


def _bound(rule: str, column: str, value: object, dtype: pl.DataType, rounding: str) -> pl.Expr:
    """A bound to compare with exactly: read from its text, so that no float comes between."""
    try:
        if dtype.is_temporal():
            return pl.lit(_moment(str(value), dtype))
        if dtype.is_float():
            return pl.lit(float(str(value)))
        number = Decimal(str(value))
    except (ArithmeticError, ValueError, pl.exceptions.PolarsError) as error:
        raise RuleError(
            f"rule '{rule}': '{value}' is no {dtype} to compare '{column}' with"
        ) from error
    if dtype.is_integer():
        return pl.lit(int(number.to_integral_value(rounding)))
    if not isinstance(dtype, pl.Decimal):
        raise RuleError(f"rule '{rule}': column '{column}' is {dtype}, which has no range")
    # Between two neighbours of the column's scale no value lies, so the bound may move to the next.
    return pl.lit(
        number.quantize(Decimal(1).scaleb(-dtype.scale), rounding), pl.Decimal(38, dtype.scale)
    )


def _moment(text: str, dtype: pl.DataType) -> object:
    if isinstance(dtype, pl.Datetime):
        moment = datetime.fromisoformat(text)
        return (
            moment.replace(tzinfo=moment.tzinfo or UTC)
            if dtype.time_zone
            else moment.replace(tzinfo=None)
        )
    return date.fromisoformat(text[:10])


_OF_KIND: Mapping[RuleKind, Callable[[str, str, Params, pl.DataType], pl.Expr]] = {
    RuleKind.NOT_NULL: _not_null,
    RuleKind.RANGE: _range,
    RuleKind.LENGTH: _length,
    RuleKind.PATTERN: _pattern,
    RuleKind.SET: _set,
    RuleKind.TYPE: _type,
    RuleKind.FORMAT: _format,
}
