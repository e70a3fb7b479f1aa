"""What is counted of a column or a table: one aggregate for each metric of the core vocabulary.

Nulls are left out, as everywhere in Great Expectations. Decimals are added up as decimals and become
floats only as a result; the engine for pandas makes them floats first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import polars as pl
from great_expectations.constants import MAX_DISTINCT_VALUES

from quality_rules.gx.engine import Aggregate
from quality_rules.gx.predicates import Arguments, NotJudgeableError, Types, exactly

_Make = Callable[[Arguments, Types], Aggregate]


def _same(make: Callable[[pl.Expr], pl.Expr], finish: Callable[[Any], Any] | None = None) -> _Make:
    """An aggregate of the column alone."""

    def metric(arguments: Arguments, _types: Types) -> Aggregate:
        expression = make(pl.col(arguments["column"]))
        return Aggregate(expression) if finish is None else Aggregate(expression, finish)

    return metric


def _measured(
    make: Callable[[pl.Expr], pl.Expr], finish: Callable[[Any], Any] | None = None
) -> _Make:
    """An aggregate that only numbers and moments have."""

    def metric(arguments: Arguments, types: Types) -> Aggregate:
        name = arguments["column"]
        if not (types[name].is_numeric() or types[name].is_temporal()):
            raise NotJudgeableError(
                f"column '{name}' is {types[name]}, of which there is no such figure"
            )
        return _same(make, finish)(arguments, types)

    return metric


def _float(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """A proportion; nothing of nothing is 0."""
    return pl.when(whole > 0).then(part / whole).otherwise(0.0)


def _present(column: pl.Expr) -> pl.Expr:
    return column.is_not_null().sum().cast(pl.Int64)


def _distinct(column: pl.Expr) -> pl.Expr:
    return column.drop_nulls().unique()


def _quantiles(arguments: Arguments, types: Types) -> Aggregate:
    how = arguments.get("allow_relative_error") or "nearest"
    ways = ("linear", "lower", "higher", "midpoint", "nearest")
    if how not in ways:
        raise NotJudgeableError(f"'{how}' is no interpolation; there are {', '.join(ways)}")
    column = pl.col(arguments["column"])
    if types[arguments["column"]].is_decimal():
        column = column.cast(pl.Float64)
    values = [column.quantile(share, interpolation=how) for share in arguments["quantiles"]]
    return Aggregate(pl.concat_list(values), list)


def _outside(arguments: Arguments, types: Types) -> pl.Expr:
    name = arguments["column"]
    column, wanted = pl.col(name), exactly(arguments["value_set"], types[name])
    return column.filter(~column.is_in(wanted.implode())).unique()


def _not_in_set(arguments: Arguments, types: Types) -> Aggregate:
    limit = arguments.get("limit") or MAX_DISTINCT_VALUES
    return Aggregate(_outside(arguments, types).sort().head(limit).implode(), list)


def _not_in_set_count(arguments: Arguments, types: Types) -> Aggregate:
    return Aggregate(_outside(arguments, types).len().cast(pl.Int64))


def _missing(arguments: Arguments, types: Types) -> Aggregate:
    """The values of the set that the column has not, those first that it could not hold."""
    name, wanted = arguments["column"], list(dict.fromkeys(arguments["value_set"]))
    limit = arguments.get("limit") or MAX_DISTINCT_VALUES
    present = exactly(wanted, types[name])
    column = pl.col(name)
    found = column.filter(column.is_in(present.implode())).unique().implode()
    return Aggregate(found, lambda held: _without(wanted, held, types[name])[:limit])


def _missing_count(arguments: Arguments, types: Types) -> Aggregate:
    every = _missing({**arguments, "limit": len(arguments["value_set"]) + 1}, types)
    return Aggregate(every.expression, lambda held: len(every.finish(held)))


def _without(wanted: Sequence[Any], held: Sequence[Any], dtype: pl.DataType) -> list[Any]:
    return [
        value
        for value in wanted
        if not (as_held := exactly([value], dtype).to_list()) or as_held[0] not in held
    ]


#: Figures of a column, by the name that Great Expectations gives them.
COLUMN_METRICS: Mapping[str, _Make] = {
    "column.min": _same(lambda column: column.min()),
    "column.max": _same(lambda column: column.max()),
    "column.mean": _measured(lambda column: column.mean(), _float),
    "column.median": _measured(lambda column: column.median(), _float),
    "column.sum": _measured(lambda column: column.sum(), _float),
    "column.standard_deviation": _measured(lambda column: column.std(), _float),
    "column.non_null_count": _same(lambda column: _present(column)),
    "column.non_null_proportion": _same(lambda column: _share(_present(column), column.len())),
    "column.unique_proportion": _same(
        lambda column: _share(column.drop_nulls().n_unique(), _present(column))
    ),
    "column.distinct_values": _same(lambda column: _distinct(column).implode(), set),
    "column.distinct_values.count": _same(lambda column: column.drop_nulls().n_unique()),
    "column.distinct_values.not_in_set": _not_in_set,
    "column.distinct_values.not_in_set.count": _not_in_set_count,
    "column.distinct_values.missing_from_column": _missing,
    "column.distinct_values.missing_from_column.count": _missing_count,
    "column.quantile_values": _quantiles,
    "column.most_common_value": _same(
        lambda column: column.drop_nulls().mode().sort().implode(), list
    ),
    "column_values.length.min": _same(lambda column: column.cast(pl.String).str.len_chars().min()),
    "column_values.length.max": _same(lambda column: column.cast(pl.String).str.len_chars().max()),
}
