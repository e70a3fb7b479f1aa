"""Follows columns through the scopes of one qualified query; sqlglot knows the names, we the flows."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager

from sqlglot import exp
from sqlglot.optimizer import Scope
from sqlglot.optimizer.scope import walk_in_scope

from lineage.errors import LineageError, did_you_mean, place
from lineage.expression import Expressions, is_aggregate, makes_rows
from lineage.flow import Flow, Influence, Relation, Source, merge
from lineage.scopes import Reference, is_recursive, joins_of, table_name

#: The clauses of a query we know how to follow; any other is refused, since it could move values.
_FOLLOWED = frozenset(
    {
        "with_",
        "locks",
        "this",
        "expression",
        "expressions",
        "alias",
        "hint",
        "distinct",
        "by_name",
        "side",
    }
    | {"kind", "on", "from_", "joins", "laterals", "where", "group", "having", "qualify"}
    | {"windows", "order", "sort", "cluster", "distribute", "limit", "offset", "offset_alias"}
)


#: An output of a query: the id of its scope, and the column's name.
_Output = tuple[int, str]


class Tracer(Expressions):
    """Traces the queries of one statement; each scope once."""

    def __init__(self, sql: str, schema: Mapping[str, Collection[str]], root: Scope) -> None:
        self._sql = sql
        self._schema = schema
        self._scopes = {id(scope.expression): scope for scope in root.traverse()}
        self._by_id = {id(scope): scope for scope in root.traverse()}
        self._relations: dict[int, Relation] = {}
        self._ordered: dict[int, Relation] = {}  # outputs that ORDER BY of the scope may name
        self._references: dict[_Output, list[Reference]] = {}
        self._output: _Output | None = None  # the one that is being traced
        self._used: set[_Output] = set()
        self._so_far: dict[int, Relation] = {}  # of a recursive WITH, while it is worked out

    def relation(self, scope: Scope) -> Relation:
        """The columns and rows of the query of `scope`."""
        known = self._relations.get(id(scope)) or self._so_far.get(id(scope))
        if known is None:
            known = self._relations[id(scope)] = self._trace(scope)
        return known

    def query(self, node: exp.Expr) -> Relation:
        """The columns and rows of a query nested in an expression."""
        scope = self._scopes.get(id(node.unnest()))
        if scope is None:
            raise self.refuse(node, "this subquery cannot be followed")
        relation = self.relation(scope)
        for name in relation.names:
            self._refer(Reference(scope, name))
        return relation

    def references(self, scope: Scope, name: str) -> tuple[Reference, ...]:
        """What the expression of an output reads, once its scope is traced; values and conditions."""
        return tuple(self._references.get((id(scope), name), ()))

    def unused(self) -> list[tuple[Scope, str]]:
        """The outputs of a WITH or a derived table that no query reads, in the order of the text."""
        return [
            (scope, name)
            for key, relation in self._relations.items()
            if (scope := self._by_id[key]).is_cte or scope.is_derived_table
            for name in relation.names
            if (key, name) not in self._used
        ]

    def unread(self) -> list[Scope]:
        """The queries of a WITH that no query reads; what they say was not followed."""
        return [s for s in self._by_id.values() if s.is_cte and id(s) not in self._relations]

    def _refer(self, reference: Reference) -> None:
        if self._output is not None:
            self._references.setdefault(self._output, []).append(reference)

    @contextmanager
    def _tracing(self, output: _Output | None) -> Generator[None]:
        before, self._output = self._output, output
        try:
            yield
        finally:
            self._output = before

    def column(self, column: exp.Column, scope: Scope) -> Flow:
        """What reaches `column`, looked up in `scope` and then in the queries around it."""
        at: Scope | None = scope
        while at is not None:
            flows = self._lookup(column, at)
            if len(flows) > 1:
                raise self.refuse(
                    column,
                    f"column '{column.name}' is ambiguous",
                    hint="write the table's alias before it",
                )
            if flows:
                return flows[0]
            at = at.parent if at.can_be_correlated else None
        raise self._unknown(column, scope)

    def row(self, table: exp.TableColumn, scope: Scope) -> Flow:
        """What reaches a whole row of a table, of `scope` or of a query around it: all its columns."""
        at: Scope | None = scope
        while at is not None:
            source = self._sources(at).get(table.name)
            if source is not None:
                columns = (_column_at(table, name) for name in self._names(source))
                return merge(flow for column in columns for flow in self._read(source, column))
            at = at.parent if at.can_be_correlated else None
        raise self.refuse(table, f"no column or table '{table.name}'")

    def refuse(self, node: exp.Expr, message: str, hint: str | None = None) -> LineageError:
        """The error to raise about `node`, with its place in the SQL."""
        line, column = place(self._sql, node)
        return LineageError(message, line=line, column=column, hint=hint)

    def _lookup(self, column: exp.Column, scope: Scope) -> list[Flow]:
        if column.table:
            source = self._sources(scope).get(column.table)
            return [] if source is None else self._read(source, column)
        sources = self._sources(scope).values()
        inputs = [flow for source in sources for flow in self._read(source, column)]
        outputs = self._ordered.get(id(scope))
        named = outputs.find(column.name) if outputs else []
        # In ORDER BY a bare name may mean the output or the input of that name: count both.
        return [merge((*inputs, *named))] if named else inputs

    def _read(self, source: exp.Table | Scope, column: exp.Column) -> list[Flow]:
        flows = self._of(source, column.name)
        if flows and isinstance(source, Scope):
            self._used.add((id(source), column.name))
        if flows:
            self._refer(Reference(source, column.name, column))
        return flows

    def _of(self, source: exp.Table | Scope, name: str) -> list[Flow]:
        if isinstance(source, Scope):
            return self.relation(source).find(name)
        table = table_name(source)
        return [Flow(frozenset({Source(table, name)}))] if name in self._schema[table] else []

    def _unknown(self, column: exp.Column, scope: Scope) -> LineageError:
        names = {name for source in self._sources(scope).values() for name in self._names(source)}
        owner = self._sources(scope).get(column.table)
        if isinstance(owner, exp.Table):
            return self.refuse(
                column,
                f"no column '{column.name}' in {table_name(owner)}",
                did_you_mean(column.name, self._names(owner)),
            )
        written = f"{column.table}.{column.name}" if column.table else column.name
        return self.refuse(column, f"no column '{written}'", did_you_mean(column.name, names))

    def _names(self, source: exp.Table | Scope) -> Collection[str]:
        if isinstance(source, Scope):
            return self.relation(source).names
        return self._schema[table_name(source)]

    def _trace(self, scope: Scope) -> Relation:
        with self._tracing(None):
            return self._relation(scope)

    def _relation(self, scope: Scope) -> Relation:
        query = scope.expression
        self._refuse_unknown_clauses(query)
        if isinstance(query, exp.SetOperation):
            recursive = is_recursive(scope)
            relation = (
                self._recursion(query, scope) if recursive else self._set_operation(query, scope)
            )
        elif isinstance(query, exp.Select):
            relation = self._select(query, scope)
        elif isinstance(query, exp.Subquery):
            relation = self._passed_on(self.query(query.this), query.this, scope)
        elif isinstance(query, exp.UDTF):
            relation = self._table_function(query, scope)
        else:
            raise self.refuse(query, f"{query.key.upper()} cannot be followed")
        relation = self._renamed(scope, relation)
        return Relation(relation.columns, relation.rows | self._ordering(query, scope, relation))

    def _refuse_unknown_clauses(self, query: exp.Expr) -> None:
        if not isinstance(query, exp.Query):
            return
        for clause, value in query.args.items():
            if value and clause not in _FOLLOWED:
                raise self.refuse(query, f"the clause {clause.strip('_').upper()} is not followed")

    def _renamed(self, scope: Scope, relation: Relation) -> Relation:
        """The relation under the names of AS t(a, b), which may be fewer than its columns."""
        if not scope.outer_columns:
            return relation
        names = (*scope.outer_columns, *relation.names[len(scope.outer_columns) :])
        if len(names) > len(relation.columns):
            message = f"{len(names)} names for {len(relation.columns)} columns"
            raise self.refuse(scope.expression, message)
        for name, old in zip(names, relation.names, strict=True):
            if name != old:
                here = self._references.setdefault((id(scope), name), [])
                here += self.references(scope, old)
        renamed = zip(names, (flow for _, flow in relation.columns), strict=True)
        return Relation(tuple(renamed), relation.rows)

    # ---- SELECT ----

    def _select(self, select: exp.Select, scope: Scope) -> Relation:
        columns: list[tuple[str, Flow]] = []
        for projection in select.expressions:
            if projection.is_star:
                raise self.refuse(
                    select,
                    "a star cannot be expanded here",
                    "a column name repeats among its sources; name the columns",
                )
            with self._tracing((id(scope), projection.alias_or_name)):
                columns.append((projection.alias_or_name, self.flow(projection, scope)))
        outputs = Relation(tuple(columns))
        return Relation(outputs.columns, self._rows(select, scope, outputs))

    def _rows(self, select: exp.Select, scope: Scope, outputs: Relation) -> frozenset[Influence]:
        rows: set[Influence] = set()
        for source in self._sources(scope).values():
            if isinstance(source, Scope):
                rows |= self.relation(source).rows
        for join in joins_of(select):
            if join.args.get("using") or join.args.get("match_condition"):
                raise self.refuse(join, "this join cannot be followed", "join ON a condition")
            rows |= self.decides(join.args.get("on"), scope, "join")
        for clause in ("where", "having", "qualify", "limit", "offset"):
            rows |= self.decides(select.args.get(clause), scope, "filter")
        rows |= self._groups(select, scope, outputs)
        for projection in select.expressions:
            for node in walk_in_scope(projection):
                if makes_rows(node):
                    rows |= self.flow(node, scope).deciding("join")
        return frozenset(rows)

    def _groups(self, select: exp.Select, scope: Scope, outputs: Relation) -> frozenset[Influence]:
        group, distinct = select.args.get("group"), select.args.get("distinct")
        rows = self.decides(group, scope, "group")
        if group and group.args.get("all"):
            for projection in select.expressions:
                if not any(is_aggregate(node) for node in walk_in_scope(projection)):
                    rows |= self.decides(projection, scope, "group")
        if distinct:
            on = distinct.args.get("on")
            every = merge(flow for _, flow in outputs.columns)
            rows |= self.decides(on, scope, "group") if on else every.deciding("group")
        return rows

    def _ordering(self, query: exp.Expr, scope: Scope, outputs: Relation) -> frozenset[Influence]:
        self._ordered[id(scope)] = outputs
        rows: frozenset[Influence] = frozenset()
        for clause in ("order", "sort", "cluster", "distribute"):
            rows |= self.decides(query.args.get(clause), scope, "sort")
        return rows

    # ---- set operations ----

    def _set_operation(self, query: exp.SetOperation, scope: Scope) -> Relation:
        left, right = (self.relation(side) for side in scope.set_operation_scopes)
        pairs = self._paired(query, left, right)
        self._refer_to_sides(query, scope, left, right)
        rows = left.rows | right.rows
        if isinstance(query, exp.Union):
            columns = tuple((name, merge((one, other))) for name, one, other in pairs)
            if query.args.get("distinct"):
                rows |= merge(flow for _, flow in columns).deciding("group")
            return Relation(columns, rows)
        # INTERSECT and EXCEPT give rows of the left side; the right one only decides which.
        for _, one, other in pairs:
            rows |= one.deciding("filter") | other.deciding("filter")
        return Relation(tuple((name, one) for name, one, _ in pairs), rows)

    def _recursion(self, query: exp.SetOperation, scope: Scope) -> Relation:
        """A WITH that reads itself: traced again with what is known of it until nothing is added.

        What it reads of itself begins as columns of nothing; flows only grow and are finitely many.
        """
        names = scope.outer_columns or [each.alias_or_name for each in query.selects]
        so_far = Relation(tuple((name, Flow()) for name in names))
        while True:
            self._so_far[id(scope)] = so_far
            before = set(self._relations)
            found = self._set_operation(query, scope)
            if self._renamed(scope, found) == so_far:
                del self._so_far[id(scope)]
                return found
            so_far = self._renamed(scope, found)
            for scope_id in set(self._relations) - before:
                del self._relations[scope_id]

    def _sources(self, scope: Scope) -> dict[str, exp.Table | Scope]:
        """What the query of `scope` reads in FROM and JOIN, by alias, semi-joined tables included."""
        if isinstance(scope.expression, exp.UDTF):
            return scope.sources
        names = (name for name, _ in scope.references if name in scope.sources)
        return {name: self._whole(scope.sources[name]) for name in names}

    def _whole(self, source: exp.Table | Scope) -> exp.Table | Scope:
        """The scope of a recursive WITH where sqlglot gives that of its first part alone."""
        if not isinstance(source, Scope) or id(source) in self._by_id:
            return source
        node: exp.Expr = source.expression
        while not isinstance(node, exp.CTE):
            if node.parent is None:
                raise self.refuse(source.expression, "this name cannot be followed")
            node = node.parent
        return self._scopes[id(node.this.unnest())]

    def _refer_to_sides(
        self, query: exp.SetOperation, scope: Scope, left: Relation, right: Relation
    ) -> None:
        by_name = bool(query.args.get("by_name"))
        names = tuple(dict.fromkeys((*left.names, *right.names))) if by_name else left.names
        for relation, side in zip((left, right), scope.set_operation_scopes, strict=True):
            for name, own in zip(names, names if by_name else relation.names, strict=True):
                if own in relation.names:
                    self._references.setdefault((id(scope), name), []).append(Reference(side, own))

    def _paired(
        self, query: exp.SetOperation, left: Relation, right: Relation
    ) -> list[tuple[str, Flow, Flow]]:
        if query.args.get("by_name"):
            names = dict.fromkeys((*left.names, *right.names))
            return [(name, merge(left.find(name)), merge(right.find(name))) for name in names]
        if len(left.columns) != len(right.columns):
            sizes = f"{len(left.columns)} and {len(right.columns)}"
            raise self.refuse(query, f"the two sides of {query.key.upper()} have {sizes} columns")
        return [
            (name, one, other)
            for (name, one), (_, other) in zip(left.columns, right.columns, strict=True)
        ]

    def _passed_on(self, relation: Relation, query: exp.Expr, scope: Scope) -> Relation:
        """The relation of a query in parentheses, which is that of the query."""
        inner = self._scopes[id(query.unnest())]
        for name in relation.names:
            self._references[id(scope), name] = [Reference(inner, name)]
        return relation

    # ---- UNNEST, LATERAL, VALUES ----

    def _table_function(self, node: exp.UDTF, scope: Scope) -> Relation:
        if isinstance(node, exp.Lateral) and isinstance(node.this, exp.Subquery):
            return self._passed_on(self.query(node.this.this), node.this.this, scope)
        if isinstance(node, exp.Values):
            cells = [row.expressions or [row] for row in node.expressions]
            flows = [
                merge(self.flow(c, scope) for c in column) for column in zip(*cells, strict=True)
            ]
            names = node.alias_column_names or [f"column{n}" for n in range(1, len(flows) + 1)]
            return Relation(tuple(zip(names, flows, strict=False)))
        if not isinstance(node, (exp.Unnest, exp.Lateral)):
            raise self.refuse(node, f"{node.key.upper()} cannot be followed")
        parts = node.expressions if isinstance(node, exp.Unnest) else [node.this]
        # Without a list of names the one column is called as the table is.
        names = node.alias_column_names or [node.alias]
        flows: list[Flow] = []
        for part in parts:
            with self._tracing((id(scope), names[0])):
                flows.append(self.flow(part, scope).through("expression"))
        for name in names[1:]:
            self._references[id(scope), name] = list(self.references(scope, names[0]))
        if len(names) != len(flows):
            flows = [merge(flows)] * len(names)
        rows = merge(flows).deciding("join")
        ordinal = node.args.get("offset")
        if isinstance(ordinal, exp.Identifier):
            names, flows = [*names, ordinal.name], [*flows, Flow()]
        return Relation(tuple(zip(names, flows, strict=True)), rows)


def _column_at(table: exp.TableColumn, name: str) -> exp.Column:
    """A column, at the place of the word that stands for the whole row."""
    identifier = exp.to_identifier(name)
    identifier.meta.update(table.this.meta)
    return exp.Column(this=identifier)
