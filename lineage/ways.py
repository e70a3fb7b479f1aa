"""The way of a value inside one statement: through which WITH, derived table or UNION, and where."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.optimizer import Scope

from lineage.columns import Traced, traced
from lineage.errors import LineageError, place
from lineage.scopes import Reference, table_name


@dataclass(frozen=True, slots=True)
class Step:
    """A column that a value stands in, and where the SQL reads it from there.

    `relation` is a table, a name of a WITH or a derived table; `line` and `at` are None where a star
    or a nested query reads it.
    """

    relation: str
    column: str
    line: int | None = None
    at: int | None = None

    def __str__(self) -> str:
        where = "" if self.line is None else f" (read at line {self.line}, column {self.at})"
        return f"{self.relation}.{self.column}{where}"


def way(
    sql: str,
    schema: Mapping[str, Collection[str]],
    output: str,
    source: tuple[str, str],
    dialect: str | None = None,
) -> tuple[Step, ...]:
    """The steps by which the value of a column of an input comes to `output`, the input's first.

    One way of several: the first in the order of the text.

    Args:
        sql: One SELECT statement.
        schema: The columns of each table.
        output: An output column of `sql`.
        source: A table and a column of it that reach `output` directly.
        dialect: As for `trace`.

    Raises:
        LineageError: As for `trace`, or no value of that column comes to `output`.
    """
    found = traced(sql, schema, dialect)
    steps = _search(sql, found, found.root, output, source, frozenset())
    if steps is None:
        raise LineageError(f"{'.'.join(source)} is no value of '{output}'")
    return tuple(reversed(steps))


def _search(
    sql: str,
    found: Traced,
    scope: Scope,
    name: str,
    source: tuple[str, str],
    seen: frozenset[tuple[int, str]],
) -> list[Step] | None:
    """The steps from an output down to the source, nearest first; None: no way leads there."""
    here = (id(scope), name)
    if here in seen:
        return None
    for reference in found.tracer.references(scope, name):
        if isinstance(reference.source, exp.Table):
            if (table_name(reference.source), reference.name) == source:
                return [_step(sql, table_name(reference.source), reference)]
            continue
        if not _carries(found, reference, source):
            continue
        inner = _search(sql, found, reference.source, reference.name, source, seen | {here})
        if inner is not None:
            label = label_of(reference.source)
            return [*([_step(sql, label, reference)] if label else []), *inner]
    return None


def _carries(found: Traced, reference: Reference, source: tuple[str, str]) -> bool:
    assert isinstance(reference.source, Scope)  # noqa: S101 - asked of those alone
    flows = found.tracer.relation(reference.source).find(reference.name)
    return any((s.table, s.column) == source for flow in flows for s in flow.direct)


def _step(sql: str, relation: str, reference: Reference) -> Step:
    line, at = (None, None) if reference.node is None else place(sql, reference.node)
    return Step(relation, reference.name, line, at)


def label_of(scope: Scope) -> str | None:
    """The name that a statement gives to the query of `scope`; None for one it does not name."""
    node: exp.Expr = scope.expression
    while not (isinstance(node, (exp.CTE, exp.Subquery, exp.UDTF)) and node.alias):
        if not isinstance(node.parent, (exp.CTE, exp.Subquery, exp.Lateral)):
            return None
        node = node.parent
    return node.alias


def projection_of(scope: Scope, name: str) -> exp.Expr | None:
    """The expression that gives an output of a query; of a UNION, that of its first side."""
    query = scope.expression
    if not isinstance(query, exp.Query):
        return None
    return next((each for each in query.selects if each.alias_or_name == name), None)
