"""Counts, sums and extremes by group, from what went and what came alone: the other rows are not read.

COUNT and SUM are linear: over rows that come they grow by what they are of these rows, over rows that
go they shrink by it. So the statement is run over the rows that came and over those that went, and the
stored groups are moved by the difference. What that leaves open (whether a group has rows left, whether
a sum is zero or null, what follows a largest value that went) is worked out anew from the group's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl
from sqlglot import exp

from pipelines.incremental.changes import Changes
from pipelines.incremental.checks import Types
from pipelines.incremental.errors import NotProvable
from pipelines.incremental.inputs import Input
from pipelines.incremental.part import Part, Query
from pipelines.incremental.query import Relation, Select, SetOperation, Table, tables_below
from pipelines.incremental.terms import bare, conjuncts, covered, substituted

Frames = Mapping[str, pl.LazyFrame]

#: Types whose values a cast of a sum may give, by how many digits they keep behind the point.
_WHOLE = (exp.DType.INT, exp.DType.BIGINT)


@dataclass(frozen=True, slots=True)
class Measure:
    """A column that follows from its old value and the changes.

    `rows` counts the group's rows, `count` and `sum` those of them, or of their values, that an
    expression gives; `never_null` tells of a sum that is null for no row.
    """

    name: str
    kind: Literal["rows", "count", "sum", "min", "max"]
    never_null: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Summed:
    """Groups that the changes of one table reach, and how their measures follow from them.

    `added` and `removed` are the inputs with what came to that table, or what went, in its place;
    `again` gives the part of groups that must be worked out from their rows, `otherwise` that of all
    that the changes reach.
    """

    key: tuple[str, ...]
    measures: tuple[Measure, ...]
    added: Frames = field(repr=False)
    removed: Frames = field(repr=False)
    changed_rows: int
    again: Callable[[pl.DataFrame], Part] = field(repr=False)
    otherwise: Callable[[], Part] = field(repr=False)

    def result(
        self,
        run: Callable[[Frames], pl.DataFrame],
        stored: Callable[[pl.DataFrame], pl.DataFrame],
    ) -> tuple[pl.DataFrame, Part]:
        """The rows of all groups that the changes reach, and these as a part.

        Args:
            run: What the statement gives of the inputs, in the stored types.
            stored: The rows that the table holds of some keys.

        Raises:
            NotProvable: when a key is null, or a group is not as the changes say.
        """
        came, went = run(self.added), run(self.removed)
        keys = pl.concat([came.select(self.key), went.select(self.key)]).unique()
        if any(keys.null_count().row(0)) or any(each.is_float() for each in came.dtypes):
            raise NotProvable("a key is null, or a number not exact")
        rows = keys.join(_named(stored(keys), self.key, "was"), on=self.key, how="left")
        for name, frame in (("came", came), ("went", went)):
            rows = rows.join(_named(frame, self.key, name), on=self.key, how="left")
        if len(rows.filter(pl.col("_went").is_not_null() & pl.col("_was").is_null())):
            raise NotProvable("rows went from a group that the table does not hold")
        told = rows.with_columns(_value(each, came.schema[each.name]) for each in self.measures)
        told = told.with_columns(_doubt(self.measures).alias("_doubt"))
        certain = told.filter(~pl.col("_doubt") & ~_is_empty(self.measures))
        found = certain.select(came.columns)
        doubtful = told.filter("_doubt").select(self.key)
        if len(doubtful):
            part = self.again(doubtful)
            anew = run(part.frames).join(doubtful, on=self.key, how="semi")
            found = pl.concat([found, anew])
        return found, Part(columns=self.key, values=keys, frames={}, changed_rows=self.changed_rows)


# ---- VALUES ---- #


def _named(rows: pl.DataFrame, key: Sequence[str], name: str) -> pl.DataFrame:
    """The measures as `name:measure`, and `_name`, which tells that the group is there."""
    renamed = [pl.col(each).alias(f"{name}:{each}") for each in rows.columns if each not in key]
    return rows.select(*key, *renamed, pl.lit(value=True).alias(f"_{name}"))


def _value(measure: Measure, dtype: pl.DataType) -> pl.Expr:
    """The new value where it is certain; what it is elsewhere does not matter."""
    was, came, went = (pl.col(f"{side}:{measure.name}") for side in ("was", "came", "went"))
    if measure.kind in ("min", "max"):
        both = pl.min_horizontal if measure.kind == "min" else pl.max_horizontal
        return both(was, came).cast(dtype).alias(measure.name)
    moved = was.fill_null(0) + came.fill_null(0) - went.fill_null(0)
    if not measure.never_null:
        moved = pl.when(was.is_not_null() | came.is_not_null()).then(moved)
    return moved.cast(dtype).alias(measure.name)


def _doubt(measures: Sequence[Measure]) -> pl.Expr:
    """Whether a group from which rows went must be worked out anew."""
    doubts = [_is_open(each) for each in measures]
    if not any(each.kind == "rows" for each in measures):
        counted = [each.name for each in measures if each.kind in ("count", "sum")]
        # What is not zero has rows; of no rows each sum is zero.
        has_rows = [pl.col("_came").is_not_null()]
        has_rows += [pl.col(name).fill_null(0) != 0 for name in counted]
        kept = [~_is_open(each) for each in measures if each.kind in ("min", "max")]
        doubts.append(~pl.any_horizontal(*has_rows, *kept))
    went = pl.col("_went").is_not_null()
    return went & ~_is_empty(measures) & pl.any_horizontal(pl.lit(value=False), *doubts)


def _is_empty(measures: Sequence[Measure]) -> pl.Expr:
    """Whether the group is known to have no rows left."""
    return pl.any_horizontal(
        pl.lit(value=False), *(pl.col(each.name) == 0 for each in measures if each.kind == "rows")
    )


def _is_open(measure: Measure) -> pl.Expr:
    """Whether the new value does not follow, of a group from which rows went."""
    was, came, went = (pl.col(f"{side}:{measure.name}") for side in ("was", "came", "went"))
    if measure.kind == "sum" and not measure.never_null:
        return pl.col(measure.name).fill_null(0) == 0  # of no values it is null, of some zero
    if measure.kind in ("min", "max"):
        # The extreme itself went, and nothing came that reaches as far.
        reaches = came <= was if measure.kind == "min" else came >= was
        beyond = went > was if measure.kind == "min" else went < was
        return ~(beyond | reaches).fill_null(value=False)
    return pl.lit(value=False)


# ---- PROOF ---- #


def summed(
    query: Query,
    tables: Mapping[str, Input],
    changes: Mapping[str, Changes],
    key: Sequence[str],
    columns: Sequence[str],
    again: Callable[[pl.DataFrame], Part],
    otherwise: Callable[[], Part],
) -> Summed | None:
    """How the groups follow from the changes; None where they do not.

    Args:
        query: The statement.
        tables: The inputs as they are now.
        changes: What became of those that changed.
        key: The columns that tell the result's rows apart.
        columns: All columns that are stored as the statement gives them.
        again: The part of groups with some keys.
        otherwise: The part of all that the changes reach.
    """
    if len(changes) != 1:
        return None
    ((changed, change),) = changes.items()
    try:
        measures = measures_of(query.root, changed, key, columns, query.types)
    except NotProvable:
        return None
    rest = {name: table.rows for name, table in tables.items()}
    read = query.columns[changed]
    return Summed(
        key=tuple(key),
        measures=measures,
        added={**rest, changed: change.added(read).lazy()},
        removed={**rest, changed: change.removed(read).lazy()},
        changed_rows=change.rows,
        again=again,
        otherwise=otherwise,
    )


def measures_of(
    root: Relation, changed: str, key: Sequence[str], columns: Sequence[str], types: Types
) -> tuple[Measure, ...]:
    """The columns besides the key, each following from its old value and the rows that went and came.

    Raises:
        NotProvable: naming what does not.
    """
    select, outputs = _grouped(root)
    if not _is_linear_in(select, changed):
        raise NotProvable(f"its rows are no sum over the rows of {changed}")
    if set(outputs) != set(columns):
        raise NotProvable("not every column is stored as the SQL gives it")
    groups = select.groups or ()
    told = {name for name, term in outputs.items() if covered(term, groups)}
    shown = [bare(outputs[name]) for name in told]
    if told != set(key) or any(group not in shown for group in groups):
        raise NotProvable("the key is not what rows are grouped by")
    return tuple(
        _measure(name, term, select, types) for name, term in outputs.items() if name not in told
    )


def _grouped(root: Relation) -> tuple[Select, Mapping[str, exp.Expr]]:
    """The grouped SELECT, and the statement's columns over its sources; around it only columns are chosen."""
    if not isinstance(root, Select):
        raise NotProvable("a set operation over groups")
    outputs, conditions = dict(root.outputs), list[exp.Expr]()
    while root.groups is None:
        sources = [source.relation for source in root.sources.values()]
        if root.windows or not root.is_plain or len(sources) != 1:
            raise NotProvable("groups are joined, filtered or numbered")
        inner = sources[0]
        if not isinstance(inner, Select):
            raise NotProvable("rows are not grouped")
        conditions += conjuncts(root.where) if root.where else ()
        outputs = {name: _inside(term, inner) for name, term in outputs.items()}
        conditions = [_inside(term, inner) for term in conditions]
        root = inner
    if root.windows or not root.is_plain or not root.groups:
        raise NotProvable("groups are filtered or numbered, or all rows are one")
    if not all(covered(term, root.groups) for term in conditions):
        raise NotProvable("groups are filtered by what they hold")
    return root, outputs


def _inside(term: exp.Expr, inner: Select) -> exp.Expr:
    found = substituted(term, lambda node: inner.outputs.get(node.name))
    if found is None:
        raise NotProvable(f"{term.sql()} is not one of the columns")
    return found


def _is_linear_in(select: Select, table: str) -> bool:
    """Whether the joined rows are a sum over the rows of a table that is read once, and never optional."""
    holding = [
        source for source in select.sources.values() if table in tables_below(source.relation)
    ]
    return len(holding) == 1 and not holding[0].optional and _is_sum(holding[0].relation, table)


def _is_sum(relation: Relation, table: str) -> bool:
    if isinstance(relation, Table):
        return relation.name == table
    if isinstance(relation, SetOperation):
        return relation.is_bag and all(_is_sum(part, table) for part, _ in relation.parts)
    plain = relation.groups is None and not relation.windows and relation.is_plain
    return plain and _is_linear_in(relation, table)


def _measure(name: str, term: exp.Expr, select: Select, types: Types) -> Measure:
    term, scales = bare(term), list[int]()
    while type(term) is exp.Cast:
        scales.append(_scale_of_cast(term))
        term = bare(term.this)
    of = term.this
    plain = not term.expressions and not isinstance(of, exp.Distinct)
    if plain and isinstance(term, exp.Count):
        return Measure(name, "rows" if isinstance(of, exp.Star | exp.Literal) else "count")
    if plain and isinstance(term, exp.Min | exp.Max) and not scales:
        return Measure(name, "min" if isinstance(term, exp.Min) else "max", never_null=False)
    if plain and isinstance(term, exp.Sum):
        scale = _scale(of, select, types)
        if scale > min(scales, default=scale):
            raise NotProvable(f"{name} is rounded after it is summed")
        return Measure(name, "sum", never_null=_is_never_null(of))
    raise NotProvable(f"{term.sql()} does not follow from its old value")


def _is_never_null(term: exp.Expr) -> bool:
    term = bare(term)
    if isinstance(term, exp.Case):
        values = [*(each.args["true"] for each in term.args["ifs"]), term.args.get("default")]
        return all(value is not None and _is_never_null(value) for value in values)
    if isinstance(term, exp.Coalesce):
        return any(_is_never_null(each) for each in (term.this, *term.expressions))
    return isinstance(term, exp.Literal)


def _scale_of_cast(cast: exp.Expr) -> int:
    """How many digits behind the point a cast keeps."""
    to = cast.args["to"]
    if to.this in _WHOLE:
        return 0
    if to.this == exp.DType.DECIMAL:
        return int(to.expressions[1].name) if len(to.expressions) > 1 else 0
    raise NotProvable(f"{cast.sql()} is no exact number")


def _scale(term: exp.Expr, select: Select, types: Types) -> int:
    """How many digits behind the point an expression's numbers have at most, all of them exact.

    Raises:
        NotProvable: when that is not known, or their sum may be of a narrow type, which begins anew
            where it overflows.
    """
    term = bare(term)
    if isinstance(term, exp.Column) and term.table in select.sources:
        return _scale_in(select.sources[term.table].relation, term.name, types)
    if isinstance(term, exp.Null) or (isinstance(term, exp.Literal) and term.is_int):
        return 0
    if type(term) is exp.Cast:
        return _scale_of_cast(term)
    if isinstance(term, exp.Case):
        values = [*(each.args["true"] for each in term.args["ifs"]), term.args.get("default")]
        return max(_scale(value, select, types) for value in values if value is not None)
    if isinstance(term, exp.Coalesce | exp.Neg | exp.Add | exp.Sub | exp.Mul):
        scales = [_scale(part, select, types) for part in term.iter_expressions()]
        if not isinstance(term, exp.Mul) or 0 in scales:
            return max(scales)
    raise NotProvable(f"it is not known how exact {term.sql()} is")


def _scale_in(relation: Relation, name: str, types: Types) -> int:
    if isinstance(relation, Select):
        return _scale(relation.outputs[name], relation, types)
    if isinstance(relation, SetOperation):
        place = relation.names.index(name)
        return max(_scale_in(part, names[place], types) for part, names in relation.parts)
    dtype = types[relation.name][name]
    if isinstance(dtype, pl.Decimal):
        return dtype.scale
    if dtype == pl.Int64:
        return 0
    raise NotProvable(f"'{name}' is {dtype}")
