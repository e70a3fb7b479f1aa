"""Inside one SELECT: terms over its outputs as terms over its sources, and ways from source to source."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlglot import exp

from pipelines.incremental.errors import NotProvable
from pipelines.incremental.query import Select
from pipelines.incremental.terms import (
    Terms,
    column,
    covered,
    refuse_not_row_by_row,
    sources_of,
    substituted,
)


@dataclass(frozen=True, slots=True)
class Hop:
    """From one source to another, over the equalities of a join: what leaves equals what arrives."""

    start: str
    to: str
    leaving: Terms
    arriving: Terms


def ways_from(select: Select, start: str) -> list[tuple[Hop, ...]]:
    """From a source to each that it is joined to, nearest first; by all equalities, then by each one."""
    found, seen = list[tuple[Hop, ...]](), {start}
    ahead = deque[tuple[str, tuple[Hop, ...]]]([(start, ())])
    while ahead:
        at, way = ahead.popleft()
        for name, source in select.sources.items():
            hops = [] if name in seen or source.optional else _hops(select, at, name)
            if hops:
                seen.add(name)
                found += [(*way, hop) for hop in hops]
                ahead.append((name, (*way, hops[0])))
    return found


def _hops(select: Select, start: str, to: str) -> list[Hop]:
    pairs = [
        (substituted(mine[1], _unsourced), substituted(other[1], _unsourced))
        for mine, other in _sides(select)
        if (mine[0], other[0]) == (start, to)
    ]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    whole = [Hop(start, to, tuple(a for a, _ in known), tuple(b for _, b in known))]
    single = [Hop(start, to, (a,), (b,)) for a, b in known] if len(known) > 1 else []
    return [*whole, *single] if known else []


def _unsourced(node: exp.Column) -> exp.Expr:
    return column(node.name)


def carried_to(select: Select, rows: Terms, name: str) -> Terms | None:
    """The terms over the columns of one source alone, by way of the equalities; None if they are not."""
    found = [substituted(term, lambda node: _in_source(select, node, name)) for term in rows]
    known = [term for term in found if term is not None]
    return tuple(known) if len(known) == len(found) else None


def _in_source(select: Select, node: exp.Column, name: str) -> exp.Expr | None:
    """What equals a column in another source, over sources that every joined row has."""
    first = (node.table, node.name)
    ahead, seen = deque([first]), {first}
    while ahead:
        at = ahead.popleft()
        if at[0] == name:
            return column(at[1])
        for mine, other in _sides(select):
            if not _is_column(mine[1], at):
                continue
            if other[0] == name:
                return substituted(other[1], _unsourced)
            following = (other[0], other[1].name)
            passable = isinstance(other[1], exp.Column) and not select.sources[other[0]].optional
            if passable and following not in seen:
                seen.add(following)
                ahead.append(following)
    return None


def _sides(select: Select) -> Iterator[tuple[tuple[str, exp.Expr], tuple[str, exp.Expr]]]:
    for equality in select.equalities:
        yield from equality.sides()


def _is_column(node: exp.Expr, at: tuple[str, str]) -> bool:
    return isinstance(node, exp.Column) and (node.table, node.name) == at


def over_sources(select: Select, terms: Terms) -> Terms:
    """Terms over a SELECT's outputs as terms over the columns of its sources, of one row each."""
    found = list[exp.Expr]()
    for term in terms:
        rows = substituted(term, lambda node: select.outputs.get(node.name))
        if rows is None:
            raise NotProvable(f"{term.sql()} is not one of the columns")
        refuse_not_row_by_row(rows)
        if select.groups is not None and not covered(rows, select.groups):
            raise NotProvable(f"{rows.sql()} is not what rows are grouped by")
        found.append(rows)
    return tuple(found)


def is_of_one_row(select: Select, term: exp.Expr) -> bool:
    """Whether a term over the sources is one value for each of the SELECT's rows."""
    try:
        refuse_not_row_by_row(term)
    except NotProvable:
        return False
    return select.groups is None or covered(term, select.groups)


def is_optional(select: Select, term: exp.Expr) -> bool:
    """Whether a term is of a source that a row may lack."""
    return any(select.sources[name].optional for name in sources_of(term))


def refuse_optional(select: Select, rows: Terms) -> None:
    """Nothing, when every joined row has the sources of these terms.

    Raises:
        NotProvable: naming the term that would be null where a row is missing, which no changed row shows.
    """
    for term in rows:
        if is_optional(select, term):
            raise NotProvable(f"{term.sql()} is null where the LEFT JOIN finds no row")


def has_column(terms: Iterable[exp.Expr]) -> bool:
    """Whether any of the terms is of a column, not a constant."""
    return any(term.find(exp.Column) for term in terms)
