"""Expressions over one row, as SQL and as Polars runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import polars as pl
from sqlglot import exp

from lineage.expression import is_aggregate
from pipelines.incremental.errors import NotProvable

_LEAVES = (exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.Alias)
_TYPES = (exp.Cast, exp.DataType, exp.DataTypeParam, exp.Var)
_NUMBERS = (exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod)
_ROUNDED = (exp.Abs, exp.Floor, exp.Ceil, exp.Round)
_CHOICES = (exp.Case, exp.If, exp.Nullif, exp.Coalesce)
_CONDITIONS = (exp.And, exp.Or, exp.Not, exp.Is, exp.In, exp.Between)
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
_TEXTS = (exp.DPipe, exp.Lower, exp.Upper, exp.Substring, exp.Trim, exp.Left, exp.Right)
_TIMES = (exp.Extract, exp.DateTrunc, exp.TimestampTrunc)

#: What a group or a key may be made by: the same value of the same row, wherever it is worked out.
_ROW_BY_ROW = (
    *(*_LEAVES, *_TYPES, *_NUMBERS, *_ROUNDED, *_CHOICES),
    *(*_CONDITIONS, *_COMPARISONS, *_TEXTS, *_TIMES),
)

#: Types whose names mean the same to sqlglot and to Polars. Floating-point ones are none: REAL and
#: FLOAT are one to sqlglot, and 0.0 and -0.0 are equal and not the same.
_PLAIN_TYPES = frozenset(
    {exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT, exp.DType.DECIMAL}
    | {exp.DType.TEXT, exp.DType.VARCHAR, exp.DType.BOOLEAN, exp.DType.DATE, exp.DType.TIMESTAMP}
)

Terms = tuple[exp.Expr, ...]


def column(name: str) -> exp.Column:
    """A column of a relation."""
    return exp.Column(this=exp.to_identifier(name))


def bare(node: exp.Expr) -> exp.Expr:
    """An expression without the parentheses and the name around it."""
    while isinstance(node, exp.Paren | exp.Alias):
        node = node.this
    return node


def conjuncts(condition: exp.Expr) -> Iterator[exp.Expr]:
    """The conditions that must all hold."""
    condition = bare(condition)
    if isinstance(condition, exp.And):
        for part in condition.flatten():
            yield from conjuncts(part)
    else:
        yield condition


def sources_of(node: exp.Expr) -> set[str]:
    """The sources whose columns an expression reads."""
    return {each.table for each in node.find_all(exp.Column)}


def is_plain_aggregate(node: exp.Expr) -> bool:
    """Whether a node is an aggregate of a group, not one over a window."""
    if not is_aggregate(node):
        return False
    around = node.parent
    while isinstance(around, exp.Filter | exp.IgnoreNulls | exp.RespectNulls | exp.WithinGroup):
        node, around = around, around.parent
    return not (isinstance(around, exp.Window) and around.this is node)


def substituted(
    term: exp.Expr, value_of: Callable[[exp.Column], exp.Expr | None]
) -> exp.Expr | None:
    """The term with each column replaced; None when one of them has no replacement."""
    missing = False

    def replaced(node: exp.Expr) -> exp.Expr:
        nonlocal missing
        if not isinstance(node, exp.Column):
            return node
        value = value_of(node)
        if value is None:
            missing = True
            return node
        value = value.copy()
        return value if isinstance(value, exp.Column | exp.Literal) else exp.Paren(this=value)

    # transform() would visit what was just put in; a column has no columns below it.
    result = term.copy()
    if isinstance(result, exp.Column):
        result = replaced(result)
    else:
        for node in list(result.find_all(exp.Column)):
            node.replace(replaced(node))
    return None if missing else bare(result)


def covered(term: exp.Expr, groups: Sequence[exp.Expr]) -> bool:
    """Whether a term is made of the group's own expressions, so that it is one value for a group."""
    term = bare(term)
    if term in groups:
        return True
    if isinstance(term, exp.Column) or is_aggregate(term) or isinstance(term, exp.Window):
        return False
    return all(covered(part, groups) for part in term.iter_expressions())


def refuse_not_row_by_row(term: exp.Expr) -> None:
    """Nothing, when the term is a plain function of one row.

    Raises:
        NotProvable: naming what it is instead.
    """
    for node in term.walk():
        if is_aggregate(node) or isinstance(node, exp.Window):
            raise NotProvable(f"{node.sql()} is a value of many rows")
        strange = isinstance(node, exp.Cast) and node.to.this not in _PLAIN_TYPES
        if strange or not isinstance(node, _ROW_BY_ROW):
            raise NotProvable(f"{node.sql()} is not known to be a plain function of one row")


# ---- VALUES ---- #


def evaluated(frame: pl.LazyFrame, terms: Terms, prefix: str) -> pl.LazyFrame:
    """The frame with the terms' values as columns `prefix0`, `prefix1`, ..."""
    names = [f"{prefix}{number}" for number in range(len(terms))]
    plain = all(isinstance(term, exp.Column) for term in terms)
    if plain:
        return frame.with_columns(
            pl.col(term.name).alias(name) for term, name in zip(terms, names, strict=True)
        )
    made = ", ".join(f'{_text(term)} AS "{name}"' for term, name in zip(terms, names, strict=True))
    return frame.sql(f"SELECT *, {made} FROM self")  # noqa: S608 - the contract's own SQL


def _text(term: exp.Expr) -> str:
    """The term for Polars. What a cast refuses is null: the query's WHERE keeps such a row away."""
    lenient = exp.Paren(this=term.copy())  # so that the term itself can be replaced
    for node in list(lenient.find_all(exp.Cast)):
        if type(node) is exp.Cast:
            node.replace(exp.TryCast(this=node.this, to=node.to))
    return lenient.sql(identify=True)


def values_of(frame: pl.LazyFrame, terms: Terms) -> pl.LazyFrame:
    """The terms' values alone, as columns 0, 1, ...; not made distinct."""
    names = [str(number) for number in range(len(terms))]
    return evaluated(frame, terms, "").select(names)


def among(frame: pl.LazyFrame, terms: Terms, values: pl.DataFrame) -> pl.LazyFrame:
    """The rows whose terms are one of the values; null is a value like another.

    One plain column is asked for by a set, which the reader of the files can use to skip the other
    columns of rows it does not want; several by a join, after such a set for the first.
    """
    names = [f"_v{number}" for number in range(len(terms))]
    kept = frame.collect_schema().names()
    wanted = values.rename(dict(zip(values.columns, names, strict=True)))
    rows = evaluated(frame, terms, "_v")
    wanted = same_types(wanted, rows.collect_schema(), terms)
    for name, term in zip(names, terms, strict=True):
        asked = pl.col(term.name) if isinstance(term, exp.Column) else pl.col(name)
        rows = rows.filter(asked.is_in(wanted[name].unique().implode(), nulls_equal=True))
        if len(names) > 1:
            break
    if len(names) > 1:
        rows = rows.join(wanted.lazy(), on=names, how="semi", nulls_equal=True)
    return rows.select(kept)


def same_types(
    values: pl.DataFrame, schema: Mapping[str, pl.DataType], terms: Sequence[exp.Expr]
) -> pl.DataFrame:
    """The values in the types of the columns they are compared with.

    Raises:
        NotProvable: when that could change one, or when equal values need not be the same.
    """
    casts = list[pl.Expr]()
    for name, term in zip(values.columns, terms, strict=True):
        ours, theirs = values.schema[name], schema[name]
        if theirs.is_float():
            raise NotProvable(f"{_text(term)} is a floating-point number")
        if ours == theirs or ours == pl.Null:
            casts.append(pl.col(name).cast(theirs))
        elif ours.is_integer() and theirs.is_integer():
            # What does not fit the narrower type equals none of its values.
            fits = pl.col(name).is_null() | pl.col(name).cast(theirs, strict=False).is_not_null()
            values = values.filter(fits)
            casts.append(pl.col(name).cast(theirs))
        else:
            raise NotProvable(f"{_text(term)} is {theirs} and is compared with {ours}")
    return values.with_columns(casts)
