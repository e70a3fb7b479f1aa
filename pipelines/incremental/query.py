"""A SELECT as relations: what each reads, by what it joins, groups and partitions.

Columns of a relation are written without a table, columns inside a SELECT with the name of their
source. Only what the rules of `reach` need is kept; conditions are not, since they only make rows
fewer and never decide which rows belong together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.optimizer import Scope

from lineage.scopes import is_recursive, table_name
from pipelines.incremental.errors import NotProvable
from pipelines.incremental.terms import bare, conjuncts, is_plain_aggregate, sources_of

#: Clauses whose meaning is kept, or which do not matter to it (ORDER BY without LIMIT).
_KNOWN = frozenset(
    {"with_", "expressions", "from_", "joins", "where", "group", "having", "qualify", "order"}
    | {"distinct", "this", "expression", "hint", "kind", "alias", "operation_modifiers"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A table of the lake."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class SetOperation:
    """UNION, INTERSECT or EXCEPT; each part with its columns in the order of `names`.

    `is_bag` tells of UNION ALL, which keeps every row of each part.
    """

    names: tuple[str, ...]
    parts: tuple[tuple[Relation, tuple[str, ...]], ...]
    is_bag: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """What FROM or JOIN names; `optional` where a row is kept that it has no row for."""

    relation: Relation
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Equality:
    """Two expressions, each of one source, that are equal in every joined row.

    `own` is the optional source whose ON says so; it holds where that source has a row.
    """

    left: tuple[str, exp.Expr]
    right: tuple[str, exp.Expr]
    own: str | None = None

    def sides(self) -> Iterator[tuple[tuple[str, exp.Expr], tuple[str, exp.Expr]]]:
        """Both directions."""
        yield self.left, self.right
        yield self.right, self.left


@dataclass(frozen=True, slots=True, eq=False)
class Select:
    """One SELECT. `groups` is None where rows are not grouped, empty where all are one group.

    `is_plain` where it has neither DISTINCT nor HAVING nor QUALIFY.
    """

    sources: Mapping[str, Source]
    equalities: tuple[Equality, ...]
    outputs: Mapping[str, exp.Expr]
    groups: tuple[exp.Expr, ...] | None = None
    windows: tuple[tuple[exp.Expr, ...], ...] = field(default=())
    where: exp.Expr | None = None
    is_plain: bool = True


Relation = Table | SetOperation | Select


def tables_below(relation: Relation) -> frozenset[str]:
    """The tables that a relation reads."""
    if isinstance(relation, Table):
        return frozenset({relation.name})
    below = (
        [part for part, _ in relation.parts]
        if isinstance(relation, SetOperation)
        else [source.relation for source in relation.sources.values()]
    )
    return frozenset().union(*(tables_below(each) for each in below))


def relations(relation: Relation) -> Iterator[Relation]:
    """A relation and those it reads; one that is read twice is given twice."""
    yield relation
    if isinstance(relation, SetOperation):
        for part, _ in relation.parts:
            yield from relations(part)
    elif isinstance(relation, Select):
        for source in relation.sources.values():
            yield from relations(source.relation)


class Reader:
    """Makes relations of the scopes of one qualified statement; each scope once."""

    def __init__(self) -> None:
        self._known: dict[int, Relation] = {}

    def relation(self, scope: Scope | exp.Table) -> Relation:
        """The relation of a scope.

        Raises:
            NotProvable: when the scope has a clause whose rows no rule here tells apart.
        """
        if isinstance(scope, exp.Table):
            if scope.args.get("joins"):
                raise NotProvable(f"a join in parentheses with {table_name(scope)}")
            return Table(table_name(scope))
        known = self._known.get(id(scope.expression))
        if known is None:
            known = self._known[id(scope.expression)] = self._read(scope)
        return known

    def _read(self, scope: Scope) -> Relation:
        query = scope.expression
        _refuse_clauses(query, scope)
        if isinstance(query, exp.SetOperation):
            return self._set_operation(query, scope)
        if isinstance(query, exp.Select):
            return self._select(query, scope)
        raise NotProvable(f"{query.key.upper()} in FROM")

    def _set_operation(self, query: exp.SetOperation, scope: Scope) -> SetOperation:
        if query.args.get("by_name"):
            raise NotProvable(f"{query.key.upper()} BY NAME")
        parts = tuple(
            (self.relation(each), tuple(name.alias_or_name for name in each.expression.selects))
            for each in scope.set_operation_scopes
            if isinstance(each.expression, exp.Query)
        )
        is_bag = isinstance(query, exp.Union) and not query.args.get("distinct")
        return SetOperation(parts[0][1], parts, is_bag)

    def _select(self, select: exp.Select, scope: Scope) -> Select:
        sources, equalities = self._joined(select, scope)
        outputs = {each.alias_or_name: each.unalias() for each in select.expressions}
        where = select.args.get("where")
        if where:
            equalities += list(_equalities(where.this, None))
        optional = {name for name, source in sources.items() if source.optional}
        usable = [each for each in equalities if _holds(each, optional)]
        return Select(
            sources=sources,
            equalities=tuple(usable),
            outputs=outputs,
            groups=_groups(select),
            windows=_windows(scope),
            where=where.this if where else None,
            is_plain=not any(select.args.get(each) for each in ("distinct", "having", "qualify")),
        )

    def _joined(self, select: exp.Select, scope: Scope) -> tuple[dict[str, Source], list[Equality]]:
        sources, equalities = dict[str, Source](), list[Equality]()
        from_ = select.args.get("from_")
        if from_:
            sources[from_.this.alias_or_name] = Source(self._source(from_.this, scope))
        for join in select.args.get("joins") or ():
            name, optional = join.this.alias_or_name, _is_optional(join)
            turned = join.side == "RIGHT"
            if turned and len(sources) > 1:
                raise NotProvable("a RIGHT JOIN after another join; write it as a LEFT JOIN")
            if turned:
                sources = {each: Source(it.relation, optional=True) for each, it in sources.items()}
            own = next(iter(sources)) if turned else name if optional else None
            sources[name] = Source(self._source(join.this, scope), optional=optional)
            if join.args.get("on"):
                equalities += list(_equalities(join.args["on"], own))
        return sources, equalities

    def _source(self, node: exp.Expr, scope: Scope) -> Relation:
        source = scope.sources.get(node.alias_or_name)
        if source is None:
            raise NotProvable(f"{node.key.upper()} in FROM")
        return self.relation(source)


def _refuse_clauses(query: exp.Expr, scope: Scope) -> None:
    for clause, value in query.args.items():
        if value and clause not in _KNOWN:
            name = clause.strip("_").upper()
            raise NotProvable(
                f"{name} picks rows by their order among all"
                if clause in ("limit", "offset", "fetch")
                else f"the clause {name}"
            )
    if is_recursive(scope):
        raise NotProvable("a recursive WITH")
    if scope.outer_columns:
        raise NotProvable("columns renamed after a table's alias")
    distinct = query.args.get("distinct")
    if isinstance(distinct, exp.Distinct) and distinct.args.get("on"):
        raise NotProvable("DISTINCT ON picks a row by order")
    if scope.subquery_scopes:
        raise NotProvable("a subquery in an expression or a condition; join it instead")


def _is_optional(join: exp.Join) -> bool:
    """Whether rows are kept that the joined source has none for."""
    if join.method or join.args.get("using") or join.args.get("match_condition"):
        raise NotProvable(f"a {join.method or 'USING'} JOIN; join ON a condition")
    if join.side == "FULL":
        raise NotProvable("a FULL JOIN")
    if join.kind in ("SEMI", "ANTI"):
        if join.side == "RIGHT":
            raise NotProvable(f"a RIGHT {join.kind} JOIN")
        return True
    return join.side == "LEFT"


def _equalities(condition: exp.Expr, own: str | None) -> Iterator[Equality]:
    for part in conjuncts(condition):
        if isinstance(part, exp.EQ | exp.NullSafeEQ):
            left, right = sources_of(part.this), sources_of(part.expression)
            if len(left) == len(right) == 1 and left != right:
                one, other = next(iter(left)), next(iter(right))
                yield Equality((one, bare(part.this)), (other, bare(part.expression)), own)


def _holds(equality: Equality, optional: set[str]) -> bool:
    """Whether the equality may be used: an optional source is bound by its own ON alone."""
    bound = {equality.left[0], equality.right[0]} & optional
    return bound == ({equality.own} if equality.own else set())


def _groups(select: exp.Select) -> tuple[exp.Expr, ...] | None:
    group = select.args.get("group")
    if group:
        if any(group.args.get(each) for each in ("grouping_sets", "cube", "rollup", "all")):
            raise NotProvable("GROUP BY of several groupings")
        return tuple(bare(each) for each in group.expressions)
    clauses = [*select.expressions, select.args.get("having"), select.args.get("qualify")]
    aggregates = any(is_plain_aggregate(node) for each in clauses if each for node in each.walk())
    return () if aggregates else None


def _windows(scope: Scope) -> tuple[tuple[exp.Expr, ...], ...]:
    return tuple(
        dict.fromkeys(
            tuple(bare(each) for each in window.args.get("partition_by") or ())
            for window in scope.find_all(exp.Window)
        )
    )
