"""What the scopes of sqlglot say of names: small questions that following columns asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.optimizer import Scope


@dataclass(frozen=True, slots=True)
class Reference:
    """That an output is made of a column of `source`; `node` is where, None for a side of a UNION."""

    source: exp.Table | Scope
    name: str
    node: exp.Column | None = None


def table_name(table: exp.Table) -> str:
    """The dotted name of a table as written, without its alias."""
    return ".".join(part.name for part in table.parts)


def is_recursive(scope: Scope) -> bool:
    """Whether `scope` is a WITH RECURSIVE that may read itself."""
    node = scope.expression.parent
    while isinstance(node, exp.Subquery):
        node = node.parent
    return (
        isinstance(node, exp.CTE)
        and isinstance(node.parent, exp.With)
        and bool(node.parent.recursive)
    )


def joins_of(select: exp.Select) -> Iterable[exp.Join]:
    """The joins of a SELECT, those within parentheses included."""
    yield from _joins(select)
    from_ = select.args.get("from_")
    if from_:
        yield from _joins(from_.this)


def _joins(node: exp.Expr) -> Iterator[exp.Join]:
    for join in node.args.get("joins") or ():
        yield join
        yield from _joins(join.this)
    if isinstance(node, exp.Subquery) and isinstance(node.this, (exp.Table, exp.Subquery)):
        yield from _joins(node.this)
