"""Whether an output is a statistic over groups whose size another output tells.

It finds mistakes, not malice: it does not know whose rows are counted, nor what a join adds to them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.optimizer import Scope
from sqlglot.optimizer.scope import walk_in_scope

from lineage.columns import Traced, traced
from lineage.expression import is_aggregate

#: Aggregates that no single row can be read from, if there are others. A minimum, a median, a first
#: or a list of values is some row's own.
_STATISTICS = (
    exp.Sum, exp.Avg, exp.Count, exp.Stddev, exp.StddevPop, exp.StddevSamp, exp.Variance, exp.VariancePop,
)  # fmt: skip

_PLAIN = (exp.Cast, exp.Paren, exp.Distinct, exp.Alias)


@dataclass(frozen=True, slots=True)
class _Made:
    """Where an output is aggregated: the query, the names that lead to it, and the aggregates."""

    scope: int
    by: tuple[str, ...]
    aggregates: tuple[exp.Expr, ...]


def not_a_statistic(
    sql: str,
    schema: Mapping[str, Collection[str]],
    output: str,
    counted: str,
    dialect: str | None = None,
) -> str | None:
    """Why `output` is no statistic over the groups that `counted` counts; None: it is one.

    It is one if both are aggregated in the same query, `counted` as a COUNT handed on untouched, and
    `output` by sums, averages, counts, deviations or variances of plain columns, all of the group.

    Raises:
        LineageError: As for `trace`.
    """
    found = traced(sql, schema, dialect)
    count = _counted(found, found.root, counted, ())
    if count is None:
        return f"'{counted}' is not a COUNT"
    made = _made(found, found.root, output, ())
    if not made:
        return f"'{output}' is not aggregated"
    for each in made:
        if (each.scope, each.by) != (count.scope, count.by):
            return f"'{output}' is not made of the groups that '{counted}' counts"
        for aggregate in each.aggregates:
            if fault := _tells_of_one(aggregate):
                return f"'{output}': {fault}"
    return None


def _counted(found: Traced, scope: Scope, name: str, by: tuple[str, ...]) -> _Made | None:
    """The query whose COUNT comes untouched to `name`, and the way to it."""
    projection = _projection(scope, name)
    inside = None if projection is None else _inside(projection)
    if isinstance(inside, exp.Count):
        return _Made(id(scope), by, (inside,))
    read = found.tracer.references(scope, name)
    if isinstance(inside, exp.Column) and len(read) == 1 and isinstance(read[0].source, Scope):
        return _counted(found, read[0].source, read[0].name, (*by, inside.table))
    return None


def _made(found: Traced, scope: Scope, name: str, by: tuple[str, ...]) -> list[_Made]:
    """The queries that aggregate what `name` is made of last, and the way to each."""
    projection = _projection(scope, name)
    if projection is None:
        return [_Made(id(scope), by, ())]
    aggregates = tuple(node for node in walk_in_scope(projection) if is_aggregate(node))
    if aggregates:
        return [_Made(id(scope), by, aggregates)]
    return [
        made
        for read in found.tracer.references(scope, name)
        if isinstance(read.source, Scope)
        for made in _made(
            found, read.source, read.name, (*by, read.node.table if read.node else "")
        )
    ]


def _projection(scope: Scope, name: str) -> exp.Expr | None:
    """The expression of an output; None for a query that is no plain SELECT, such as a UNION."""
    if not isinstance(scope.expression, exp.Select):
        return None
    return next((p for p in scope.expression.expressions if p.alias_or_name == name), None)


def _tells_of_one(aggregate: exp.Expr) -> str | None:
    shown = aggregate.sql()
    if not isinstance(aggregate, _STATISTICS):
        return f"{shown} may be the value of one row"
    if isinstance(aggregate.parent, (exp.Window, exp.Filter)):
        return f"{shown} is not of the whole group"
    inside = aggregate.this
    if isinstance(inside, exp.Distinct) and len(inside.expressions) == 1:
        inside = inside.expressions[0]
    plain = inside is None or isinstance(_inside(inside), (exp.Column, exp.Star))
    return None if plain else f"{shown} may choose among the rows: aggregate a plain column"


def _inside(node: exp.Expr) -> exp.Expr:
    while isinstance(node, _PLAIN):
        node = node.this
    return node
