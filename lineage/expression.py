"""Follows columns through one expression of a query."""

from __future__ import annotations

from abc import ABC, abstractmethod

from sqlglot import exp
from sqlglot.optimizer import Scope

from lineage.errors import LineageError
from lineage.flow import Flow, IndirectKind, Influence, Relation, Transformation, merge

#: Aggregates by their grammar that hand on a single row's value untouched.
_PICKS_A_ROW = (exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue)

#: Aggregates of Polars that sqlglot parses as functions it does not know.
_UNKNOWN_AGGREGATES = frozenset({"QUANTILE_CONT", "QUANTILE_DISC", "STDEV", "STRING_AGG"})

#: What chooses among values by a condition.
_CHOICES = (exp.Case, exp.If, exp.Nvl2, exp.Nullif, exp.DecodeCase)

#: Functions that make rows where they stand among the columns; sqlglot does not know all of Postgres'.
_ROW_MAKERS = (exp.Unnest, exp.Explode, exp.ExplodingGenerateSeries)
_UNKNOWN_ROW_MAKERS = frozenset(
    {f"{kind}_{what}" for kind in ("JSON", "JSONB") for what in ("ARRAY_ELEMENTS", "ARRAY_ELEMENTS_TEXT", "EACH", "EACH_TEXT", "OBJECT_KEYS", "PATH_QUERY")}
    | {"REGEXP_MATCHES", "REGEXP_SPLIT_TO_TABLE", "STRING_TO_TABLE", "GENERATE_SUBSCRIPTS"}
)  # fmt: skip

_TRANSPARENT = (exp.Alias, exp.Paren)
_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery)


class Expressions(ABC):
    """Turns an expression into its flow; where columns come from is the subclass's knowledge."""

    @abstractmethod
    def column(self, column: exp.Column, scope: Scope) -> Flow:
        """What reaches `column`."""

    @abstractmethod
    def row(self, table: exp.TableColumn, scope: Scope) -> Flow:
        """What reaches a whole row of a table, taken as one value."""

    @abstractmethod
    def query(self, node: exp.Expr) -> Relation:
        """The columns and rows of a nested query."""

    @abstractmethod
    def refuse(self, node: exp.Expr, message: str, hint: str | None = None) -> LineageError:
        """The error to raise about `node`."""

    def flow(self, node: exp.Expr, scope: Scope) -> Flow:
        """What reaches the value of `node`.

        Raises:
            LineageError: A column in it cannot be resolved, or a construct is not known.
        """
        if isinstance(node, exp.Column):
            if isinstance(node.this, exp.Star):
                raise self.refuse(node, "a star inside an expression is not followed")
            return self.column(node, scope)
        if isinstance(node, exp.Star):
            raise self.refuse(node, "a star inside an expression is not followed")
        if isinstance(node, exp.TableColumn):
            return self.row(node, scope).through("expression")
        if isinstance(node, _QUERIES):
            return self._scalar(self.query(node))
        if isinstance(node, exp.Exists) and isinstance(node.this, _QUERIES):
            return Flow(indirect=self.query(node.this).rows)
        steered = self._steered(node, scope)
        return self._composed(node, scope) if steered is None else steered

    def _steered(self, node: exp.Expr, scope: Scope) -> Flow | None:
        """What reaches a value of which some parts only decide; None: each part is in it."""
        if isinstance(node, exp.Window):
            return self._window(node, scope)
        if isinstance(node, exp.Filter):
            condition = self.decides(node.expression, scope, "filter")
            return merge((self.flow(node.this, scope), Flow(indirect=condition)))
        if isinstance(node, exp.Order):
            return self._ordered_value(node, scope)
        if isinstance(node, (exp.ArgMax, exp.ArgMin, exp.HavingMax)):
            by = self.decides(node.expression, scope, "sort")
            return merge((self.flow(node.this, scope).through("aggregation"), Flow(indirect=by)))
        if isinstance(node, exp.WithinGroup):
            return self._within_group(node, scope)
        return self._choice(node, scope) if isinstance(node, _CHOICES) else None

    def decides(
        self, node: exp.Expr | None, scope: Scope, kind: IndirectKind
    ) -> frozenset[Influence]:
        """The columns by which a clause decides about rows; none if there is no such clause."""
        if node is None:
            return frozenset()
        if not isinstance(node, exp.Condition):
            return self.decides_all(node, scope, kind)
        return self.flow(node, scope).deciding(kind)

    def decides_all(self, node: exp.Expr, scope: Scope, kind: IndirectKind) -> frozenset[Influence]:
        """As `decides`, for a clause that is a list of expressions."""
        parts = (self.flow(part, scope) for part in node.iter_expressions())
        return merge(parts).deciding(kind)

    def _choice(self, node: exp.Expr, scope: Scope) -> Flow:
        """CASE, IF and NULLIF: the branches are values, the conditions only choose among them."""
        conditions, values = _branches(node)
        chosen = merge(self.flow(value, scope) for value in values).through("expression")
        deciding = merge(self.flow(part, scope) for part in conditions).deciding("conditional")
        return merge((chosen, Flow(indirect=deciding)))

    def _scalar(self, relation: Relation) -> Flow:
        value = merge(flow for _, flow in relation.columns)
        return merge((value, Flow(indirect=relation.rows)))

    def _ordered_value(self, order: exp.Order, scope: Scope) -> Flow:
        """The argument of an aggregate with its ORDER BY: array_agg(x ORDER BY y)."""
        sorting = merge(self.flow(part, scope) for part in order.expressions).deciding("sort")
        value = self.flow(order.this, scope) if order.this else Flow()
        return merge((value, Flow(indirect=sorting)))

    def _composed(self, node: exp.Expr, scope: Scope) -> Flow:
        if isinstance(node, exp.Count):
            # COUNT(*) counts rows, whatever is in them.
            parts = [part for part in node.iter_expressions() if not isinstance(part, exp.Star)]
            step: Transformation = "aggregation"
        else:
            # Chains such as a AND b AND c ... nest as deep as they are long; take them flat.
            flat = isinstance(node, exp.Binary)
            parts = list(node.flatten() if flat else node.iter_expressions())
            step = _step(node)
        return merge(self.flow(part, scope) for part in parts).through(step)

    def _within_group(self, node: exp.WithinGroup, scope: Scope) -> Flow:
        ordered = [part.this for part in node.expression.expressions]
        value = self.flow(node.this, scope)
        by = merge(self.flow(part, scope) for part in ordered)
        if value.direct:  # ARRAY_AGG(x) WITHIN GROUP (ORDER BY y)
            return merge((value.through("aggregation"), Flow(indirect=by.deciding("sort"))))
        # The ordered column is the one aggregated: percentile_cont(0.5) WITHIN GROUP (ORDER BY x).
        return merge((value, by)).through("aggregation")

    def _window(self, window: exp.Window, scope: Scope) -> Flow:
        indirect: frozenset[Influence] = frozenset()
        for part in (*window.args.get("partition_by", ()), *self._frame(window, scope)):
            indirect |= self.decides(part, scope, "window")
        return merge((self.flow(window.this, scope), Flow(indirect=indirect)))

    def _frame(self, window: exp.Window, scope: Scope) -> list[exp.Expr]:
        """The ordering of `window`, and what the named window it builds on says."""
        parts = [part for part in (window.args.get("order"),) if part]
        name = window.text("alias")
        if name:
            for named in scope.expression.args.get("windows") or ():
                if named.name == name:
                    parts += [*(named.args.get("partition_by") or ()), *self._frame(named, scope)]
                    break
            else:
                raise self.refuse(window, f"no window '{name}' in this query")
        return parts


def _branches(node: exp.Expr) -> tuple[list[exp.Expr], list[exp.Expr]]:
    """The conditions of a choice, and the values among which it chooses."""
    if isinstance(node, exp.Nullif):
        return [node.expression], [node.this]
    if isinstance(node, exp.DecodeCase):
        operand, *rest = node.expressions
        default = rest[-1:] if len(rest) % 2 else []
        return [operand, *rest[: len(rest) - len(default) : 2]], [*rest[1::2], *default]
    if isinstance(node, exp.Case):
        cases: list[exp.Expr] = node.args["ifs"]
        conditions = [part for part in (node.this, *(case.this for case in cases)) if part]
        values = [case.args["true"] for case in cases]
    else:
        conditions, values = [node.this], [node.args["true"]]
    otherwise = node.args.get("default") or node.args.get("false")
    return conditions, [*values, *([otherwise] if otherwise else [])]


def _step(node: exp.Expr) -> Transformation:
    if isinstance(node, _TRANSPARENT) or _from_using(node):
        return "identity"
    if isinstance(node, (exp.Cast, exp.Convert)):
        return "cast"
    if is_aggregate(node) and not isinstance(node, _PICKS_A_ROW):
        return "aggregation"
    return "expression"


def is_aggregate(node: exp.Expr) -> bool:
    """Whether `node` is a function of many rows."""
    unknown = isinstance(node, exp.Anonymous) and node.name.upper() in _UNKNOWN_AGGREGATES
    return unknown or isinstance(node, exp.AggFunc)


def makes_rows(node: exp.Expr) -> bool:
    """Whether `node` is a function that makes rows of its argument."""
    unknown = isinstance(node, exp.Anonymous) and node.name.upper() in _UNKNOWN_ROW_MAKERS
    return unknown or isinstance(node, _ROW_MAKERS)


def _from_using(node: exp.Expr) -> bool:
    """Whether sqlglot made this COALESCE for a column of JOIN USING: its parts have no position."""
    return isinstance(node, exp.Coalesce) and all(
        isinstance(part, exp.Column) and "start" not in part.this.meta
        for part in node.iter_expressions()
    )
