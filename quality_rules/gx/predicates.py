"""When a row is unexpected: one expression for each map metric of the core vocabulary.

An expression is true where a row breaks the expectation, and false or null elsewhere: missing values
are the business of `nonnull` alone, unless a metric over several columns is told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import reduce
from typing import Any

import polars as pl

Types = Mapping[str, pl.DataType]
Arguments = Mapping[str, Any]


class NotJudgeableError(ValueError):
    """An expectation that cannot be asked of a column: says which, and why."""


@dataclass(frozen=True, slots=True)
class MapMetric:
    """A map metric: the columns that it speaks of, and when a row is unexpected."""

    columns: Callable[[Arguments], list[str]]
    unexpected: Callable[[Arguments, Types], pl.Expr]


def applies(arguments: Arguments, columns: Sequence[str]) -> pl.Expr | None:
    """The rows that a metric over several columns speaks of; None for all."""
    ignore = arguments.get("ignore_row_if")
    present = [pl.col(name).is_not_null() for name in columns]
    if ignore in ("any_value_is_missing", "either_value_is_missing"):
        return pl.all_horizontal(present)
    if ignore in ("all_values_are_missing", "both_values_are_missing"):
        return pl.any_horizontal(present)
    return None


# ---- ONE COLUMN ---- #


def _column(arguments: Arguments) -> list[str]:
    return [arguments["column"]]


def _between(arguments: Arguments, types: Types) -> pl.Expr:
    name = arguments["column"]
    return ~_inside(pl.col(name), arguments, types[name], name)


def _length_between(arguments: Arguments, types: Types) -> pl.Expr:
    name = arguments["column"]
    return ~_inside(_length(name, types[name]), arguments, pl.Int64(), name)


def _inside(column: pl.Expr, arguments: Arguments, dtype: pl.DataType, name: str) -> pl.Expr:
    low, high = arguments.get("min_value"), arguments.get("max_value")
    if low is None and high is None:
        raise NotJudgeableError(f"column '{name}': min_value and max_value cannot both be missing")
    sides = list[pl.Expr]()
    if low is not None:
        bound = bound_of(low, dtype, name)
        sides.append(column > bound if arguments.get("strict_min") else column >= bound)
    if high is not None:
        bound = bound_of(high, dtype, name)
        sides.append(column < bound if arguments.get("strict_max") else column <= bound)
    return reduce(lambda left, right: left & right, sides)


def bound_of(value: object, dtype: pl.DataType, name: str) -> pl.Expr:
    """A bound to compare a column with exactly.

    A number is read from its shortest text, so that 0.1 bounds decimals at a tenth, and not at the
    double next to it.

    Raises:
        NotJudgeableError: when the bound is of another kind than the column.
    """
    try:
        if dtype.is_temporal():
            return pl.lit(moment_of(value, dtype))
        if dtype.is_float():
            return pl.lit(float(str(value)))
        if dtype.is_integer() and Decimal(str(value)) == int(Decimal(str(value))):
            return pl.lit(int(Decimal(str(value))))
        if dtype.is_decimal() or dtype.is_integer():
            return pl.lit(Decimal(str(value)), pl.Decimal(38, _scale(value, dtype)))
    except (ValueError, ArithmeticError, pl.exceptions.PolarsError) as error:
        raise NotJudgeableError(
            f"column '{name}' is {dtype}, and '{value}' is none to compare it with"
        ) from error
    raise NotJudgeableError(f"column '{name}' is {dtype}, which has no range")


def _scale(value: object, dtype: pl.DataType) -> int:
    exponent = Decimal(str(value)).normalize().as_tuple().exponent
    own = dtype.scale if isinstance(dtype, pl.Decimal) else 0
    return max(own, -exponent if isinstance(exponent, int) else 0, 0)


def moment_of(value: object, dtype: pl.DataType) -> object:
    """A point in time as the column holds it; without a zone it is UTC."""
    if not isinstance(dtype, pl.Datetime):
        return value if type(value) is date else date.fromisoformat(str(value)[:10])
    moment = datetime.fromisoformat(str(value))
    if dtype.time_zone is None:
        return moment.replace(tzinfo=None)
    return moment.replace(tzinfo=moment.tzinfo or UTC)


def _length(name: str, dtype: pl.DataType) -> pl.Expr:
    """Characters of a text, bytes of a binary, items of a list."""
    column = pl.col(name)
    if isinstance(dtype, pl.List):
        length = column.list.len()
    elif isinstance(dtype, pl.Binary):
        length = column.bin.size()
    else:
        length = column.cast(pl.String).str.len_chars()
    return length.cast(pl.Int64)


def _length_equals(arguments: Arguments, types: Types) -> pl.Expr:
    name = arguments["column"]
    return _length(name, types[name]) != int(arguments["value"])


def _unique(arguments: Arguments, _types: Types) -> pl.Expr:
    column = pl.col(arguments["column"])
    return column.is_duplicated() & column.is_not_null()


def _in_set(arguments: Arguments, types: Types) -> pl.Expr:
    name, values = arguments["column"], arguments["value_set"]
    column = pl.col(name)
    if values is None:
        return pl.lit(value=False)
    return ~column.is_in(exactly(values, types[name]).implode())


def _not_in_set(arguments: Arguments, types: Types) -> pl.Expr:
    name, values = arguments["column"], arguments["value_set"]
    if values is None:
        return pl.lit(value=False)
    return pl.col(name).is_in(exactly(values, types[name]).implode())


def exactly(values: Sequence[Any], dtype: pl.DataType) -> pl.Series:
    """Those of the values that a column can hold as they are: 1.5 is no integer, and 'a' no date."""
    held = [found for value in values if (found := _held(value, dtype)) is not None]
    return pl.Series("values", held, dtype, strict=False)


def _held(value: Any, dtype: pl.DataType) -> object:
    try:
        if dtype.is_temporal() and not isinstance(dtype, pl.Duration | pl.Time):
            return moment_of(value, dtype)
        if dtype == pl.Boolean():
            return value if isinstance(value, bool) else None
        if dtype.is_numeric():
            return _number(value, dtype)
    except (ValueError, InvalidOperation):
        return None
    return value if isinstance(value, str) or not isinstance(dtype, pl.String) else None


def _number(value: Any, dtype: pl.DataType) -> object:
    if isinstance(value, bool | str):
        return None
    if dtype.is_float():
        return float(value)
    number = Decimal(str(value))
    if isinstance(dtype, pl.Decimal):
        quantum = Decimal(1).scaleb(-dtype.scale)
        return number if number == number.quantize(quantum) else None
    return int(number) if number == number.to_integral_value() else None


def _text(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String)


def _compiled(regex: str) -> str:
    try:
        pl.select(pl.lit("").str.contains(regex))
    except pl.exceptions.PolarsError as error:
        raise NotJudgeableError(f"the regular expression '{regex}' does not compile") from error
    return regex


def _matches(arguments: Arguments, _types: Types) -> pl.Expr:
    return ~_text(arguments["column"]).str.contains(_compiled(arguments["regex"]))


def _not_matches(arguments: Arguments, _types: Types) -> pl.Expr:
    return _text(arguments["column"]).str.contains(_compiled(arguments["regex"]))


def _matches_list(arguments: Arguments, _types: Types) -> pl.Expr:
    text = _text(arguments["column"])
    each = [text.str.contains(_compiled(regex)) for regex in arguments["regex_list"]]
    found = pl.all_horizontal if arguments.get("match_on") == "all" else pl.any_horizontal
    return ~found(each)


def _not_matches_list(arguments: Arguments, _types: Types) -> pl.Expr:
    text = _text(arguments["column"])
    return pl.any_horizontal(
        text.str.contains(_compiled(regex)) for regex in arguments["regex_list"]
    )


def _ordered(*, rising: bool) -> Callable[[Arguments, Types], pl.Expr]:
    """Each value against the one before it that is not missing, in the order of the rows."""

    def unexpected(arguments: Arguments, _types: Types) -> pl.Expr:
        column = pl.col(arguments["column"])
        before = column.forward_fill().shift(1)
        if arguments.get("strictly"):
            return column <= before if rising else column >= before
        return column < before if rising else column > before

    return unexpected


# ---- SEVERAL COLUMNS ---- #


def _pair(arguments: Arguments) -> list[str]:
    return [arguments["column_A"], arguments["column_B"]]


def _list(arguments: Arguments) -> list[str]:
    return list(arguments["column_list"])


def _over(
    columns: Callable[[Arguments], list[str]], expected: Callable[[Arguments, Types], pl.Expr]
) -> MapMetric:
    """A metric over several columns, where what cannot be compared is unexpected."""

    def unexpected(arguments: Arguments, types: Types) -> pl.Expr:
        broken = ~expected(arguments, types).fill_null(value=False)
        spoken_of = applies(arguments, columns(arguments))
        return broken if spoken_of is None else broken & spoken_of

    return MapMetric(columns, unexpected)


def _a_greater(arguments: Arguments, _types: Types) -> pl.Expr:
    a, b = (pl.col(name) for name in _pair(arguments))
    return a >= b if arguments.get("or_equal") else a > b


def _a_equals(arguments: Arguments, _types: Types) -> pl.Expr:
    a, b = (pl.col(name) for name in _pair(arguments))
    return a == b


def _pairs_in_set(arguments: Arguments, types: Types) -> pl.Expr:
    names, pairs = _pair(arguments), arguments.get("value_pairs_set")
    if pairs is None:
        return pl.lit(value=True)
    return pl.any_horizontal(
        pl.lit(value=False),
        *(
            pl.all_horizontal(
                _equals(name, value, types) for name, value in zip(names, pair, strict=True)
            )
            for pair in pairs
        ),
    )


def _equals(name: str, value: Any, types: Types) -> pl.Expr:
    if value is None:
        return pl.col(name).is_null()
    return pl.col(name).is_in(exactly([value], types[name]).implode())


def _compound_unique(arguments: Arguments, _types: Types) -> pl.Expr:
    # Rows alike miss the same columns, so those that are spoken of are twins among themselves.
    return ~pl.struct(_list(arguments)).is_duplicated()


def _sum_equals(arguments: Arguments, _types: Types) -> pl.Expr:
    total = reduce(lambda left, right: left + right, (pl.col(name) for name in _list(arguments)))
    return total == arguments["sum_total"]


def _all_equal(arguments: Arguments, _types: Types) -> pl.Expr:
    first, *others = _list(arguments)
    return pl.all_horizontal(pl.col(first).eq_missing(pl.col(name)) for name in others)


def _unique_within(arguments: Arguments, _types: Types) -> pl.Expr:
    names = _list(arguments)
    return pl.all_horizontal(
        pl.col(one).ne_missing(pl.col(other))
        for at, one in enumerate(names)
        for other in names[at + 1 :]
    )


#: The map metrics of the core vocabulary that the engine answers.
MAP_METRICS: Mapping[str, MapMetric] = {
    "column_values.nonnull": MapMetric(_column, lambda a, _: pl.col(a["column"]).is_null()),
    "column_values.null": MapMetric(_column, lambda a, _: pl.col(a["column"]).is_not_null()),
    "column_values.unique": MapMetric(_column, _unique),
    "column_values.between": MapMetric(_column, _between),
    "column_values.in_set": MapMetric(_column, _in_set),
    "column_values.not_in_set": MapMetric(_column, _not_in_set),
    "column_values.match_regex": MapMetric(_column, _matches),
    "column_values.not_match_regex": MapMetric(_column, _not_matches),
    "column_values.match_regex_list": MapMetric(_column, _matches_list),
    "column_values.not_match_regex_list": MapMetric(_column, _not_matches_list),
    "column_values.value_length.between": MapMetric(_column, _length_between),
    "column_values.value_length.equals": MapMetric(_column, _length_equals),
    "column_values.increasing": MapMetric(_column, _ordered(rising=True)),
    "column_values.decreasing": MapMetric(_column, _ordered(rising=False)),
    "column_pair_values.a_greater_than_b": _over(_pair, _a_greater),
    "column_pair_values.equal": _over(_pair, _a_equals),
    "column_pair_values.in_set": _over(_pair, _pairs_in_set),
    "compound_columns.unique": _over(_list, _compound_unique),
    "multicolumn_sum.equal": _over(_list, _sum_equals),
    "multicolumn_values.equal": _over(_list, _all_equal),
    "select_column_values.unique.within_record": _over(_list, _unique_within),
}
