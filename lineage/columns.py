"""Column lineage of one SELECT statement, from its SQL alone.

Names are read as the engine reads them: a table by its full dotted name, letters of another case
as another name (unless a dialect says otherwise).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError, TokenError
from sqlglot.optimizer import Scope, build_scope, qualify
from sqlglot.schema import nested_set

from lineage.errors import LineageError, did_you_mean, place, position
from lineage.flow import IndirectKind, Influence, Relation, Source
from lineage.names import CASE_SENSITIVE, as_dialect_reads, as_written, normalised
from lineage.scopes import table_name
from lineage.tracer import Tracer

#: Constructs that move values in ways we do not follow, wherever they stand.
_REFUSED = (exp.Pivot, exp.MatchRecognize, exp.Columns, exp.Placeholder, exp.Parameter)

#: How sqlglot's messages name a part of the grammar: <class 'sqlglot.expressions.query.Where'>.
_NODE_CLASS = re.compile(r"<class '[\w.]*\.(\w+)'>")

_MISSING = re.compile(r"Missing (.+) from \d+:(\d+)")


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """A column of the result and where its values come from; a constant has no sources."""

    name: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True, order=True)
class Indirect:
    """A column that decides which rows or values there are, without being one of them.

    `outputs` names the outputs it reaches where it reaches only some (a window, a FILTER, a scalar
    subquery); None stands for all, since it decides which rows there are.
    """

    table: str
    column: str
    kind: IndirectKind
    outputs: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class SelectLineage:
    """What one statement reads and what becomes of it; `tables` are sorted."""

    outputs: tuple[OutputColumn, ...]
    indirect: tuple[Indirect, ...] = field(default=())
    tables: tuple[str, ...] = field(default=())

    def reached(self, table: str, column: str) -> frozenset[str]:
        """The outputs that may change when this input column does."""
        names: set[str] = set()
        for output in self.outputs:
            if any((s.table, s.column) == (table, column) for s in output.sources):
                names.add(output.name)
        for influence in self.indirect:
            if (influence.table, influence.column) == (table, column):
                all_of_them = (output.name for output in self.outputs)
                names.update(all_of_them if influence.outputs is None else influence.outputs)
        return frozenset(names)


def trace(
    sql: str, schema: Mapping[str, Collection[str]], dialect: str | None = None
) -> SelectLineage:
    """Says for each output column of `sql` which input columns reach it, and how.

    Args:
        sql: One SELECT statement.
        schema: The columns of each table, in order; a mapping from column to type will do.
        dialect: The sqlglot dialect `sql` is written in; None reads it as Polars does.

    Raises:
        LineageError: Something in `sql` cannot be resolved; says what and where.
    """
    return lineage_of(traced(sql, schema, dialect))


@dataclass(frozen=True, slots=True)
class Traced:
    """A statement after tracing: what it gives, and the tracer that knows how."""

    relation: Relation
    tables: tuple[str, ...]
    root: Scope
    tracer: Tracer


def traced(sql: str, schema: Mapping[str, Collection[str]], dialect: str | None = None) -> Traced:
    """As `trace`, with what it was found by: for questions on the way inside the statement.

    Raises:
        LineageError: As for `trace`.
    """
    return follow(sql, _parse(sql, dialect), schema, dialect)


def follow(
    sql: str,
    tree: exp.Query,
    schema: Mapping[str, Collection[str]],
    dialect: str | None,
    *,
    repeated: bool = False,
) -> Traced:
    """As `traced`, of a query of `sql` that is parsed already; `repeated` names are no fault then."""
    read_as = dialect or CASE_SENSITIVE
    with _not_too_deep():
        written = [each.output_name for each in tree.selects]
        tree = normalised(tree, read_as)
        read = _plain_tables(sql, tree)
        names = as_dialect_reads(schema, read, read_as)
        _refuse_unknown(sql, read, names.schema, schema)
        _refuse_constructs(sql, tree)
        _refuse_unnamed(sql, tree)
        root = _qualified(sql, tree, names.schema, read_as)
        tracer = Tracer(sql, names.schema, root)
        relation = names.of_caller(tracer.relation(root))
    if not repeated:
        _refuse_repeated(sql, tree, relation)
    relation = as_written(relation, written, read_as)
    return Traced(relation, tuple(sorted(map(names.table, read))), root, tracer)


def lineage_of(found: Traced) -> SelectLineage:
    """What `found` says as plain values."""
    return as_lineage(found.relation, found.tables)


def as_lineage(relation: Relation, tables: tuple[str, ...]) -> SelectLineage:
    """The columns and rows of `relation` as plain values, in a stated order."""
    outputs = tuple(OutputColumn(name, tuple(sorted(f.direct))) for name, f in relation.columns)
    return SelectLineage(outputs, _indirect(relation), tables)


def tables_of(sql: str, dialect: str | None = None) -> tuple[str, ...]:
    """The tables `sql` reads, sorted; names of its WITH are none.

    Raises:
        LineageError: `sql` is not one SELECT statement.
    """
    return tuple(sorted(table_places(sql, dialect)))


def table_places(sql: str, dialect: str | None = None) -> dict[str, tuple[int | None, int | None]]:
    """The tables `sql` reads, each with the line and column where it is first named.

    Raises:
        LineageError: `sql` is not one SELECT statement.
    """
    with _not_too_deep():
        tables = _tables(sql, _query(sql, _parsed(sql, dialect)))
    return {table_name(table): place(sql, table) for table in reversed(tables)}


@contextmanager
def _not_too_deep() -> Generator[None]:
    try:
        yield
    except RecursionError as error:
        message = "the SQL is nested too deeply to be followed"
        raise LineageError(message, hint="take parts of it into a WITH") from error


def parse(sql: str, dialect: str | None) -> list[exp.Expr]:
    """The statements of `sql`, for the caller to change.

    Raises:
        LineageError: `sql` does not parse; says where.
    """
    return [statement.copy() for statement in _parsed(sql, dialect)]


@lru_cache(
    maxsize=64
)  # what a statement reads is asked before what it gives: parsing is most of either
def _parsed(sql: str, dialect: str | None) -> tuple[exp.Expr, ...]:
    """The statements of `sql`, which nobody may change."""
    try:
        with _not_too_deep():
            return tuple(s for s in sqlglot.parse(sql, dialect=dialect or CASE_SENSITIVE) if s)
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        text = _NODE_CLASS.sub(_keyword, str(first.get("description") or error).rstrip("."))
        # sqlglot counts columns to the end of the offending word; we name where it begins.
        column = first.get("col")
        begins = None if column is None else max(1, column - len(first.get("highlight") or " ") + 1)
        message = f"not valid SQL: {text}"
        raise LineageError(message, line=first.get("line"), column=begins) from error
    except TokenError as error:
        raise _unclosed(sql, error) from error


def _parse(sql: str, dialect: str | None) -> exp.Query:
    return _query(sql, parse(sql, dialect))


def _query(sql: str, statements: Sequence[exp.Expr]) -> exp.Query:
    """The one SELECT among the statements.

    Raises:
        LineageError: There are others, or it is no SELECT.
    """
    if len(statements) != 1:
        line, column = place(sql, statements[1]) if statements else (None, None)
        message = f"expected one statement, found {len(statements)}"
        raise LineageError(message, line=line, column=column)
    (statement,) = statements
    if not isinstance(statement, (exp.Select, exp.SetOperation, exp.Subquery)):
        line, column = place(sql, statement)
        message = f"expected a SELECT, found {statement.key.upper()}"
        raise LineageError(message, line=line, column=column)
    return statement


def _unclosed(sql: str, error: TokenError) -> LineageError:
    message = "not valid SQL: a quote or comment is not closed"
    missing = _MISSING.fullmatch(str(error.__cause__))
    # sqlglot gives the offset of the opening quote only in passing: believe it if a quote is there.
    if missing and sql[int(missing[2]) :].startswith(missing[1]):
        line, column = position(sql, int(missing[2]))
        return LineageError(message, line=line, column=column)
    return LineageError(message)


def _keyword(node_class: re.Match[str]) -> str:
    return node_class[1].upper()


def _scope(sql: str, tree: exp.Query) -> Scope:
    try:
        scope = build_scope(tree)
    except SqlglotError as error:
        raise _from_sqlglot(sql, tree, error) from error
    if scope is None:
        raise LineageError(f"{tree.key.upper()} cannot be followed")
    return scope


def _tables(sql: str, tree: exp.Query) -> list[exp.Table]:
    """The tables of `tree` that are no name of a WITH, in order of appearance."""
    found: dict[int, exp.Table] = {}
    for scope in _scope(sql, tree).traverse():
        for table in scope.tables:
            if table.db or not isinstance(scope.sources.get(table.alias_or_name), Scope):
                found[id(table)] = table
    return list(found.values())


def _plain_tables(sql: str, tree: exp.Query) -> dict[str, exp.Table]:
    """The tables that `tree` reads, each where it is named first."""
    found: dict[str, exp.Table] = {}
    for table in _tables(sql, tree):
        alias = table.args.get("alias")
        if not isinstance(table.this, exp.Identifier) or (alias and alias.columns):
            line, column = place(sql, table)
            message = f"{table.sql()} cannot be followed: only plain tables are"
            raise LineageError(message, line=line, column=column)
        found.setdefault(table_name(table), table)
    return found


def _refuse_unknown(
    sql: str, read: Mapping[str, exp.Table], known: Collection[str], schema: Collection[str]
) -> None:
    for name, table in read.items():
        if name not in known:
            line, column = place(sql, table)
            hint = did_you_mean(name, schema)
            raise LineageError(f"no table '{name}'", line=line, column=column, hint=hint)


def _refuse_constructs(sql: str, tree: exp.Query) -> None:
    refused = tree.find(*_REFUSED)
    if refused is not None:
        line, column = place(sql, refused)
        message = f"{refused.key.upper()} is not followed"
        raise LineageError(message, line=line, column=column)


def _refuse_unnamed(sql: str, tree: exp.Query) -> None:
    for number, projection in enumerate(tree.selects, start=1):
        if not projection.is_star and not projection.output_name:
            line, column = place(sql, projection)
            message = f"output column {number} has no name: {projection.sql()}"
            raise LineageError(message, line=line, column=column, hint="name it: ... AS name")


def _refuse_repeated(sql: str, tree: exp.Query, relation: Relation) -> None:
    for name in relation.names:
        if relation.names.count(name) > 1:
            again = [each for each in tree.selects if each.output_name == name]
            line, column = place(sql, again[-1] if again else tree)
            message = f"output column '{name}' appears {relation.names.count(name)} times"
            hint = "select the columns by name, with AS where they repeat"
            raise LineageError(message, line=line, column=column, hint=hint)


def _qualified(
    sql: str, tree: exp.Query, schema: Mapping[str, Collection[str]], dialect: str
) -> Scope:
    """`tree` with stars expanded and columns qualified where that is certain."""
    nested: dict[str, object] = {}
    for table, columns in schema.items():
        # The types are not needed, and not all that a contract names are known to sqlglot.
        nested_set(nested, table.split("."), dict.fromkeys(columns, "unknown"))
    try:
        qualified = qualify.qualify(
            tree,
            schema=nested,
            dialect=dialect,
            # What is left unresolved we look up ourselves, to say where it stands.
            validate_qualify_columns=False,
            allow_partial_qualification=True,
            quote_identifiers=False,
        )
    except SqlglotError as error:
        raise _from_sqlglot(sql, tree, error) from error
    return _scope(sql, qualified)


def _from_sqlglot(sql: str, tree: exp.Query, error: SqlglotError) -> LineageError:
    """The same error with a position: that of the name sqlglot's message ends with."""
    message = str(error)
    name = message.rsplit(maxsplit=1)[-1].strip("'\".")
    starts = (i.meta.get("start") for i in tree.find_all(exp.Identifier) if i.name == name)
    known = [start for start in starts if start is not None]
    # The name is at fault where it is said again, so point at its last place.
    line, column = position(sql, max(known)) if known else (None, None)
    return LineageError(message, line=line, column=column)


def _indirect(relation: Relation) -> tuple[Indirect, ...]:
    found = [Indirect(i.table, i.column, i.kind) for i in relation.rows]
    partial: dict[Influence, list[str]] = {}
    for name, flow in relation.columns:
        for influence in flow.indirect - relation.rows:
            partial.setdefault(influence, []).append(name)
    found += [Indirect(i.table, i.column, i.kind, tuple(names)) for i, names in partial.items()]
    return tuple(sorted(found, key=lambda i: (i.table, i.column, i.kind)))
