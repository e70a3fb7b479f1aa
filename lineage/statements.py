"""Column lineage of statements that write: INSERT, CREATE TABLE AS, CREATE VIEW, MERGE, UPDATE, DELETE.

Each is turned into the SELECTs whose rows it writes, and those are followed as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from sqlglot import exp

from lineage.columns import SelectLineage, as_lineage, follow, parse
from lineage.errors import LineageError, did_you_mean, place
from lineage.flow import Influence, Relation, merge
from lineage.names import CASE_SENSITIVE, as_dialect_reads, normalised
from lineage.scopes import table_name

Kind = Literal["SELECT", "INSERT", "CREATE TABLE", "CREATE VIEW", "MERGE", "UPDATE", "DELETE"]
Schema = Mapping[str, Collection[str]]

#: The column of a SELECT of which only the rows are of interest.
_ROWS_ONLY = "_rows"


@dataclass(frozen=True, slots=True)
class StatementLineage:
    """What a statement does: the outputs of `lineage` are the columns of `target` that it writes.

    `target` is None for a SELECT. A DELETE writes no column: it has indirect lineage alone.
    """

    kind: Kind
    target: str | None
    lineage: SelectLineage


@dataclass(frozen=True, slots=True)
class _Part:
    """Columns that a statement writes together, and what decides about the rows they are in."""

    columns: Relation
    tables: tuple[str, ...]


def trace_statement(sql: str, schema: Schema, dialect: str | None = None) -> StatementLineage:
    """The lineage of one statement of any kind that is followed.

    Args:
        sql: The statement.
        schema: The columns of each table it reads; of its target too, where it names no columns.
        dialect: As for `trace`.

    Raises:
        LineageError: As for `trace`, or the statement is of a kind that is not followed.
    """
    statements = trace_script(sql, schema, dialect)
    if len(statements) != 1:
        raise LineageError(f"expected one statement, found {len(statements)}")
    return statements[0]


def trace_script(
    sql: str, schema: Schema, dialect: str | None = None
) -> tuple[StatementLineage, ...]:
    """The lineage of each statement in turn; tables that one creates are known to those after it.

    Raises:
        LineageError: As for `trace_statement`.
    """
    known, found = dict(schema), list[StatementLineage]()
    for tree in parse(sql, dialect):
        one = _Statement(sql, tree, known, dialect).lineage()
        found.append(one)
        if one.target is not None and one.kind in ("CREATE TABLE", "CREATE VIEW"):
            known[one.target] = tuple(output.name for output in one.lineage.outputs)
    return tuple(found)


class _Statement:
    """One statement on its way to its lineage."""

    def __init__(self, sql: str, tree: exp.Expr, schema: Schema, dialect: str | None) -> None:
        self._sql, self._schema, self._dialect = sql, schema, dialect
        self._tree = normalised(tree, dialect or CASE_SENSITIVE)
        if not isinstance(tree, exp.Query):
            _without_defaults(self._tree)

    def lineage(self) -> StatementLineage:
        """What the statement does."""
        tree = self._tree
        if isinstance(tree, exp.Query):
            return self._query(tree)
        followed: dict[type[exp.Expr], Callable[[exp.Expr], StatementLineage]] = {
            exp.Insert: self._insert,
            exp.Create: self._create,
            exp.Merge: self._merge,
            exp.Update: self._update,
            exp.Delete: self._delete,
        }
        for kind, follow_it in followed.items():
            if isinstance(tree, kind):
                return follow_it(tree)
        raise self._refuse(tree, f"{tree.key.upper()} is not followed")

    # ---- KINDS ---- #

    def _query(self, tree: exp.Query) -> StatementLineage:
        into = tree.args.get("into")
        if into is None:
            found = follow(self._sql, tree, self._schema, self._dialect, repeated=False)
            return StatementLineage("SELECT", None, as_lineage(found.relation, found.tables))
        tree.set("into", None)
        part = self._selected(tree)
        return self._written("CREATE TABLE", into.this, [part])

    def _insert(self, tree: exp.Expr) -> StatementLineage:
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        query = tree.expression
        if not isinstance(query, (exp.Query, exp.Values)):
            raise self._refuse(tree, "an INSERT without rows is not followed")
        rows = self._selected(query)
        if tree.args.get("by_name"):
            return self._written("INSERT", target, [rows])
        fixed, columns = self._insert_columns(tree, target)
        parts = [self._renamed(rows, columns, tree)]
        if fixed:
            parts.append(_Part(Relation(tuple((name, merge(())) for name in fixed)), ()))
        conflict = tree.args.get("conflict")
        if conflict is not None and conflict.expressions:
            parts.append(self._on_conflict(conflict, target, query, columns))
        return self._written("INSERT", target, parts)

    def _create(self, tree: exp.Expr) -> StatementLineage:
        kind: dict[str, Kind] = {"TABLE": "CREATE TABLE", "VIEW": "CREATE VIEW"}
        word = str(tree.args.get("kind")).upper()
        query = tree.expression
        if word not in kind or not isinstance(query, exp.Query):
            raise self._refuse(tree, f"CREATE {word} without a SELECT is not followed")
        listed = isinstance(tree.this, exp.Schema)
        part = self._selected(query)
        if listed:
            part = self._renamed(part, [each.name for each in tree.this.expressions], tree)
        return self._written(kind[word], tree.this.this if listed else tree.this, [part])

    def _merge(self, tree: exp.Expr) -> StatementLineage:
        target, using = tree.this, tree.args["using"]
        on = exp.Join(this=using.copy(), on=tree.args["on"].copy(), kind="FULL")
        parts = [self._rows_of([target], [on], None)]
        for when in tree.args["whens"].expressions:
            then, condition = when.args["then"], when.args.get("condition")
            if isinstance(then, exp.Update):
                values = self._set_values(then.expressions, target, using)
                parts.append(self._values(values, [target], [on], condition))
            elif isinstance(then, exp.Insert):
                values = self._insert_values(then, target, using)
                parts.append(self._values(values, [using], [], condition))
            else:
                parts.append(self._rows_of([target], [on], condition))
        return self._written("MERGE", target, parts)

    def _update(self, tree: exp.Expr) -> StatementLineage:
        from_ = tree.args.get("from_")
        named = _named_in(from_, tree.this) if from_ else None
        tables = [*([] if named else [tree.this]), *([from_.this] if from_ else [])]
        target = (named or tree.this).copy()
        target.set("joins", None)
        values = self._set_values(tree.expressions, target, None)
        part = self._values(values, tables, [], tree.args.get("where"))
        return self._written("UPDATE", target, [part])

    def _delete(self, tree: exp.Expr) -> StatementLineage:
        tables = [tree.this, *(tree.args.get("using") or ())]
        return self._written(
            "DELETE", tree.this, [self._rows_of(tables, [], tree.args.get("where"))]
        )

    # ---- COLUMNS WRITTEN ---- #

    def _insert_columns(self, tree: exp.Expr, target: exp.Expr) -> tuple[list[str], list[str]]:
        """The columns that a partition fixes, and those that the rows fill in their order."""
        if isinstance(tree.this, exp.Schema):
            return [], [each.name for each in tree.this.expressions]
        partition = target.args.get("partition") or tree.args.get("partition")
        fixed = [each.this.name for each in partition.find_all(exp.EQ)] if partition else []
        return fixed, [name for name in self._columns_of(target) if name not in fixed]

    def _set_values(
        self, assignments: Iterable[exp.Expr], target: exp.Expr, using: exp.Expr | None
    ) -> dict[str, exp.Expr]:
        values: dict[str, exp.Expr] = {}
        for each in assignments:
            if isinstance(each, exp.Star) and using is not None:
                values |= self._by_name(target, using)
            elif (
                isinstance(each, exp.EQ)
                and isinstance(each.this, exp.Column)
                and each.this.table in ("", target.alias_or_name)
            ):
                values[each.this.name] = each.expression
            else:
                raise self._refuse(each, f"SET {each.sql()} is not followed")
        return values

    def _insert_values(
        self, then: exp.Expr, target: exp.Expr, using: exp.Expr
    ) -> dict[str, exp.Expr]:
        if isinstance(then.this, exp.Star):
            return self._by_name(target, using)
        given = then.expression
        if given:
            values: list[exp.Expr] = given.expressions or [given]
        else:  # INSERT ROW
            values = [exp.column(name, using.alias_or_name) for name in self._source_columns(using)]
        listed = isinstance(then.this, exp.Tuple)
        names = (
            [each.name for each in then.this.expressions] if listed else self._columns_of(target)
        )
        if len(names) != len(values):
            raise self._refuse(then, f"{len(values)} values for {len(names)} columns")
        return dict(zip(names, values, strict=True))

    def _by_name(self, target: exp.Expr, using: exp.Expr) -> dict[str, exp.Expr]:
        """UPDATE SET * and INSERT *: each column of the target from that of its name in the source."""
        there = self._source_columns(using)
        return {
            name: exp.column(name, using.alias_or_name)
            for name in self._columns_of(target)
            if name in there
        }

    def _on_conflict(
        self, conflict: exp.Expr, target: exp.Expr, query: exp.Expr, columns: list[str]
    ) -> _Part:
        """The columns that ON CONFLICT DO UPDATE sets, of the row there is and of the one refused."""
        values = self._set_values(conflict.expressions, target, None)
        if any(value.find(exp.Values, exp.Anonymous) for value in values.values()):
            raise self._refuse(conflict, "this ON DUPLICATE KEY UPDATE is not followed")
        excluded = _as_table(query, "excluded", columns)
        keys = [key.find(exp.Identifier) for key in conflict.args.get("conflict_keys") or ()]
        same = [
            exp.column(key.name, target.alias_or_name).eq(exp.column(key.name, "excluded"))
            for key in keys
            if key is not None
        ]
        join = exp.Join(this=excluded, on=exp.and_(*same) if same else None)
        return self._values(values, [target], [join], conflict.args.get("where"))

    # ---- PARTS ---- #

    def _selected(self, query: exp.Expr) -> _Part:
        """What a query gives, its unnamed columns named by their number."""
        if isinstance(query, exp.Values):
            width = len(query.expressions[0].expressions or [0])
            names = [f"_{number}" for number in range(1, width + 1)]
            query = exp.Select(expressions=[exp.Star()]).from_(_as_table(query, "_values", names))
        assert isinstance(query, exp.Query)  # noqa: S101 - what is asked for
        query = query.copy()
        for number, projection in enumerate(query.selects, start=1):
            if not projection.is_star and not projection.output_name:
                projection.replace(exp.alias_(projection.copy(), f"_{number}"))
        return self._traced(query)

    def _values(
        self,
        values: Mapping[str, exp.Expr],
        tables: Iterable[exp.Expr],
        joins: Iterable[exp.Expr],
        condition: exp.Expr | None,
    ) -> _Part:
        """What expressions are over the rows of tables and joins where a condition holds."""
        first, *more = (table.copy() for table in tables)
        select = exp.Select(
            expressions=[
                exp.alias_(value.copy(), name, quoted=True) for name, value in values.items()
            ]
        ).from_(first)
        for join in (*(exp.Join(this=table) for table in more), *(join.copy() for join in joins)):
            select.append("joins", join)
        if condition is not None:
            where = condition.this if isinstance(condition, exp.Where) else condition
            select.set("where", exp.Where(this=where.copy()))
        return self._traced(select)

    def _rows_of(
        self, tables: Iterable[exp.Expr], joins: Iterable[exp.Expr], condition: exp.Expr | None
    ) -> _Part:
        """What decides about rows, without a column."""
        part = self._values({_ROWS_ONLY: exp.Null()}, tables, joins, condition)
        return _Part(Relation((), part.columns.rows), part.tables)

    def _traced(self, query: exp.Query) -> _Part:
        with_ = self._tree.args.get("with_")
        if with_ is not None:
            own = query.args.get("with_")
            names = [*with_.expressions, *(own.expressions if own else ())]
            both = exp.With(expressions=[each.copy() for each in names], recursive=with_.recursive)
            query.set("with_", both)
        found = follow(self._sql, query, self._schema, self._dialect, repeated=True)
        return _Part(found.relation, found.tables)

    def _renamed(self, part: _Part, names: list[str], node: exp.Expr) -> _Part:
        """The part under the target's names, by place."""
        flows = [flow for _, flow in part.columns.columns]
        if len(flows) != len(names):
            raise self._refuse(node, f"{len(flows)} columns for the {len(names)} of the target")
        columns = tuple(zip(names, flows, strict=True))
        return _Part(Relation(columns, part.columns.rows), part.tables)

    def _written(self, kind: Kind, target: exp.Expr, parts: Iterable[_Part]) -> StatementLineage:
        if not isinstance(target, exp.Table):
            raise self._refuse(target, f"{target.sql()} cannot be written: only tables are")
        parts, name = list(parts), table_name(target)
        known = as_dialect_reads(self._schema, (name,), self._dialect or CASE_SENSITIVE)
        written = dict.fromkeys(column for part in parts for column in part.columns.names)
        if not kind.startswith("CREATE"):
            self._refuse_unknown(name, written, known.schema.get(name, tuple(written)))
        rows = frozenset[Influence]().union(*(part.columns.rows for part in parts))
        columns = tuple(
            (known.column(name, column)[1], merge(f for p in parts for f in p.columns.find(column)))
            for column in written
        )
        tables = tuple(sorted({table for part in parts for table in part.tables}))
        lineage = as_lineage(Relation(columns, rows), tables)
        return StatementLineage(kind, known.table(name), lineage)

    # ---- NAMES ---- #

    def _refuse_unknown(self, table: str, written: Iterable[str], known: Collection[str]) -> None:
        for column in written:
            if column not in known:
                named = (i for i in self._tree.find_all(exp.Identifier) if i.name == column)
                message = f"no column '{column}' in {table}"
                raise self._refuse(next(named, self._tree), message, did_you_mean(column, known))

    def _columns_of(self, table: exp.Expr) -> tuple[str, ...]:
        assert isinstance(table, exp.Table)  # noqa: S101 - a target is one
        name = table_name(table)
        known = as_dialect_reads(self._schema, (name,), self._dialect or CASE_SENSITIVE).schema
        if name not in known:
            hint = "list the columns, or give the table's in the schema"
            raise self._refuse(table, f"the columns of '{name}' are not known", hint)
        return known[name]

    def _source_columns(self, using: exp.Expr) -> tuple[str, ...]:
        star = exp.Select(expressions=[exp.Star()]).from_(using.copy())
        return self._traced(star).columns.names

    def _refuse(self, node: exp.Expr, message: str, hint: str | None = None) -> LineageError:
        line, column = place(self._sql, node)
        return LineageError(message, line=line, column=column, hint=hint)


def _as_table(query: exp.Expr, name: str, columns: Iterable[str]) -> exp.Expr:
    """A query or VALUES as a derived table with these columns."""
    names = [exp.to_identifier(column, quoted=True) for column in columns]
    alias = exp.TableAlias(this=exp.to_identifier(name), columns=names)
    if isinstance(query, exp.Values):
        values = query.copy()
        values.set("alias", alias)
        return values
    return exp.Subquery(this=query.copy(), alias=alias)


def _without_defaults(tree: exp.Expr) -> None:
    """Each DEFAULT that stands for a value as a constant: sqlglot reads a column of that name."""
    for column in list(tree.find_all(exp.Column)):
        if column.sql().upper() == "DEFAULT":
            column.replace(exp.Null())


def _named_in(from_: exp.Expr, target: exp.Expr) -> exp.Expr | None:
    """The table of FROM that the target names by its alias, as T-SQL writes UPDATE t ... FROM db.s.t AS t."""
    joins = [*(from_.this.args.get("joins") or ())]
    tables = [from_.this, *(join.this for join in joins)]
    same = (t for t in tables if isinstance(t, exp.Table) and t.alias == target.name)
    return None if target.args.get("db") else next(same, None)
