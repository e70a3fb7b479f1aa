"""What makes a result depend on more than the rows that belong together.

The clock, chance, the order in which rows lie, and sums of floating-point numbers (whose last digits
depend on that order) would make a part that is computed anew differ from the same part computed with
all the rest.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from sqlglot import exp

from lineage.expression import is_aggregate
from pipelines.incremental.errors import NotProvable
from pipelines.incremental.query import Relation, Select, SetOperation, Table, relations
from pipelines.incremental.terms import is_plain_aggregate

_CLOCK = (exp.CurrentDate, exp.CurrentDatetime, exp.CurrentTime, exp.CurrentTimestamp)
_VOLATILE = (*_CLOCK, exp.CurrentUser, exp.Rand, exp.Randn, exp.Uuid)
_VOLATILE_NAMES = frozenset(
    {"NOW", "TODAY", "GETDATE", "LOCALTIME", "LOCALTIMESTAMP", "RANDOM", "GEN_RANDOM_UUID"}
)

_COUNTS = (exp.Count, exp.CountIf, exp.Sum, exp.Min, exp.Max, exp.Avg)
_PLACES = (exp.Median, exp.Quantile, exp.PercentileCont, exp.PercentileDisc)

#: The same for the same rows, in whatever order they come.
_ORDERLESS = (*_COUNTS, *_PLACES, exp.LogicalAnd, exp.LogicalOr)
_ORDERLESS_NAMES = frozenset({"QUANTILE_CONT", "QUANTILE_DISC"})

#: What gives a floating-point number, whatever goes in.
_FLOATING = (exp.Div, exp.Avg, exp.Sqrt, exp.Pow, exp.Exp, exp.Ln, exp.Log, exp.Cbrt)
_FLOAT_TYPES = (exp.DType.FLOAT, exp.DType.DOUBLE)

Types = Mapping[str, Mapping[str, pl.DataType]]


def refuse_unrepeatable(statement: exp.Expr, root: Relation, types: Types) -> None:
    """Nothing, when equal rows give an equal result.

    Args:
        statement: The whole statement.
        root: The same as a relation.
        types: The columns of each table.

    Raises:
        NotProvable: naming the first construct that does not promise it.
    """
    for node in statement.walk():
        name = node.name.upper() if isinstance(node, exp.Anonymous) else ""
        if isinstance(node, _VOLATILE) or name in _VOLATILE_NAMES:
            raise NotProvable(f"{node.sql()} is another value each time")
        if is_plain_aggregate(node) and not (
            isinstance(node, _ORDERLESS) or name in _ORDERLESS_NAMES
        ):
            raise NotProvable(f"{node.sql()} depends on the order of rows")
        if isinstance(node, exp.Window) and not node.args.get("order"):
            _refuse_unordered(node)
    for relation in relations(root):
        if isinstance(relation, Select):
            _refuse_inexact(relation, types)


def _refuse_unordered(window: exp.Window) -> None:
    function = window.this
    while isinstance(function, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
        function = function.this
    if not isinstance(function, _ORDERLESS):
        raise NotProvable(f"{window.sql()} depends on the order of rows")


def _refuse_inexact(select: Select, types: Types) -> None:
    clauses = [*select.outputs.values()]
    for node in (each for clause in clauses for each in clause.walk()):
        if not isinstance(node, exp.Sum | exp.Avg):
            continue
        kinds = _kinds(node.this, select, types)
        if "float" in kinds or (isinstance(node, exp.Avg) and kinds):
            hint = "cast to DECIMAL before it is summed"
            raise NotProvable(f"{node.sql()} adds floating-point numbers in any order; {hint}")


def _kinds(node: exp.Expr, select: Select, types: Types) -> frozenset[str]:
    """Of what kinds the numbers in an expression are, besides integers: float, decimal."""
    if isinstance(node, exp.Cast):
        to = node.to.this
        if to in _FLOAT_TYPES:
            return frozenset({"float"})
        return frozenset({"decimal"} if to == exp.DType.DECIMAL else ())
    if isinstance(node, exp.Column):
        source = select.sources.get(node.table)
        return frozenset() if source is None else _column(source.relation, node.name, types)
    own = {"float"} if isinstance(node, _FLOATING) or _is_float(node) else set[str]()
    if is_aggregate(node) and not isinstance(node, exp.Sum | exp.Min | exp.Max | exp.Avg):
        return frozenset({"float"} if not isinstance(node, exp.Count | exp.CountIf) else ())
    return frozenset(own).union(*(_kinds(part, select, types) for part in node.iter_expressions()))


def _is_float(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and not node.is_string and not node.is_int


def _column(relation: Relation, name: str, types: Types) -> frozenset[str]:
    if isinstance(relation, Table):
        dtype = types[relation.name][name]
        floats, decimals = dtype.is_float(), dtype.is_decimal()
        return frozenset({"float"} if floats else {"decimal"} if decimals else ())
    if isinstance(relation, SetOperation):
        place = relation.names.index(name)
        return frozenset().union(
            *(_column(part, names[place], types) for part, names in relation.parts)
        )
    return _kinds(relation.outputs[name], relation, types)
