"""The part of a query's result that changes of its inputs can reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
from sqlglot import exp
from sqlglot.optimizer import Scope

from lineage.columns import traced
from lineage.errors import LineageError
from lineage.scopes import table_name
from pipelines.incremental.changes import Changes, Rows
from pipelines.incremental.checks import Types, refuse_unrepeatable
from pipelines.incremental.errors import NotProvable
from pipelines.incremental.inputs import Input, Need
from pipelines.incremental.query import Reader, Relation, tables_below
from pipelines.incremental.reach import Needs, Reach, merged, rows_changed
from pipelines.incremental.terms import among, column


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A statement that is fit to be computed in parts, and the columns it reads of each table."""

    root: Relation
    columns: Mapping[str, tuple[str, ...]]
    types: Types = field(repr=False)


def read_query(sql: str, types: Types) -> Query:
    """The statement as relations over tables with these columns.

    Raises:
        NotProvable: when it holds something whose result does not depend on its rows alone, or that
            is not followed.
    """
    try:
        scope = traced(sql, types).root
    except LineageError as error:
        raise NotProvable(str(error)) from error
    root = Reader().relation(scope)
    refuse_unrepeatable(scope.expression, root, types)
    return Query(root=root, columns=_columns(scope, root, types), types=types)


def _columns(scope: Scope, root: Relation, types: Types) -> dict[str, tuple[str, ...]]:
    read = {name: set[str]() for name in tables_below(root)}
    for each in scope.traverse():
        for node in each.find_all(exp.Column):
            if (
                not node.table
                and node.find_ancestor(exp.Window) is None
                and node.find_ancestor(exp.Order)
            ):
                continue  # a name of the result, by which it is sorted
            source = each.sources.get(node.table)
            if source is None:
                raise NotProvable(f"column '{node.name}' is not of one source for certain")
            if isinstance(source, exp.Table):
                read[table_name(source)].add(node.name)
    return {
        name: tuple(each for each in types[name] if each in used) or tuple(types[name])[:1]
        for name, used in read.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows of the result that may differ: those whose `columns` are one of `values`.

    `frames` are the inputs with at least the rows that these are made of, and all columns that the
    statement reads; over them the statement gives these rows rightly, and others perhaps not.
    `changed_rows` says how many rows of the inputs it was found by.
    """

    columns: tuple[str, ...]
    values: pl.DataFrame = field(repr=False)
    frames: Mapping[str, pl.LazyFrame] = field(repr=False)
    changed_rows: int = 0

    def of(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Those of the rows that belong to this part."""
        terms = tuple(column(name) for name in self.columns)
        return among(rows, terms, self.values)

    def values_as(self, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
        """The values in the types that a table stores them in; none of its rows has one that does not fit."""
        casts = [
            pl.col(name).cast(types[name], strict=False).alias(f"_as:{name}")
            for name in self.columns
        ]
        fits = [
            pl.col(f"_as:{name}").is_not_null() | pl.col(name).is_null() for name in self.columns
        ]
        names = {f"_as:{name}": name for name in self.columns}
        cast = self.values.with_columns(casts).filter(pl.all_horizontal(fits))
        return cast.select(names.keys()).rename(names).unique()


def part_of(
    query: Query,
    tables: Mapping[str, Input],
    changes: Mapping[str, Changes],
    key: Sequence[str],
    given: Sequence[str],
) -> Part:
    """The part of the result that the changes can reach, by the finest columns that it can be told by.

    The key is tried first, then each column of it, then each of the others; what cannot be shown
    is found out over no rows, before any is read.

    Args:
        query: The statement.
        tables: The inputs as they are now.
        changes: What became of those that changed since the rest was computed.
        key: The columns that tell the result's rows apart.
        given: Its columns that are stored as the statement gives them.

    Raises:
        NotProvable: when none of the columns will do; the reason is that of the first.
    """
    candidates = list(_candidates(key, given))
    if not candidates:
        raise NotProvable("no column is stored as the SQL gives it")
    if not changes:
        return _no_part(query, candidates[0])
    columns = _provable(query, tuple(changes), candidates)
    try:
        return _found(query, Reach(tables, changes), columns)
    except pl.exceptions.PolarsError as error:
        # An expression that a WHERE keeps from rows it cannot be worked out for.
        raise NotProvable(
            f"{', '.join(columns)} cannot be worked out for each changed row"
        ) from error


def part_of_keys(
    query: Query,
    tables: Mapping[str, Input],
    changes: Mapping[str, Changes],
    key: Sequence[str],
    keys: pl.DataFrame,
) -> Part:
    """The part with these keys, whatever changed.

    Raises:
        NotProvable: when the keys cannot be compared with the columns they are made of.
    """
    named = keys.select(pl.col(name).alias(str(at)) for at, name in enumerate(key))
    return _part(query, Reach(tables, changes), tuple(key), named)


def _no_part(query: Query, columns: tuple[str, ...]) -> Part:
    return Part(
        columns=columns,
        values=pl.DataFrame(schema=dict.fromkeys(columns, pl.Null())),
        frames={
            name: pl.LazyFrame(schema={each: query.types[name][each] for each in used})
            for name, used in query.columns.items()
        },
    )


def _found(query: Query, reach: Reach, columns: tuple[str, ...]) -> Part:
    values = reach.touched(query.root, tuple(column(name) for name in columns))
    return _part(query, reach, columns, values)


def _part(query: Query, reach: Reach, columns: tuple[str, ...], values: pl.DataFrame) -> Part:
    """The rows with these values, and those of the inputs that they are made of."""
    needs = Needs()
    reach.needed(query.root, tuple(column(name) for name in columns), values, needs)
    frames = {name: table.rows for name, table in reach.tables.items()}
    for name, wanted in needs.items():
        if wanted is not None:
            frames[name] = _rows(query, reach, name, merged(wanted))
    named = values.rename(dict(zip(values.columns, columns, strict=True)))
    changed = sum(each.rows for each in reach.changes.values())
    return Part(columns=columns, values=named, frames=frames, changed_rows=changed)


def _rows(query: Query, reach: Reach, name: str, needs: Sequence[Need]) -> pl.LazyFrame:
    table = reach.tables[name]
    if name in reach.changes:
        near = rows_changed(reach.changes[name], table.key, query.columns[name], needs)
        if near is not None:
            return near
    return table.any_of(needs)


def _provable(
    query: Query, changed: Iterable[str], candidates: Sequence[tuple[str, ...]]
) -> tuple[str, ...]:
    reason: NotProvable | None = None
    empty = {
        name: pl.DataFrame(schema={each: query.types[name][each] for each in used})
        for name, used in query.columns.items()
    }
    for columns in candidates:
        tables = {name: Input(frame.lazy()) for name, frame in empty.items()}
        changes = {name: Rows(gone=empty[name], come=empty[name]) for name in changed}
        try:
            _found(query, Reach(tables, changes), columns)
        except (NotProvable, pl.exceptions.PolarsError) as error:
            told = error if isinstance(error, NotProvable) else NotProvable(str(error))
            reason = reason or told
        else:
            return columns
    raise reason or NotProvable("the table has no columns")


def _candidates(key: Sequence[str], given: Sequence[str]) -> Iterator[tuple[str, ...]]:
    if set(key) <= set(given):
        yield tuple(key)
    singles = [name for name in key if name in given and len(key) > 1]
    yield from ((name,) for name in (*singles, *(each for each in given if each not in key)))
