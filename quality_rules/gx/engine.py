"""The execution engine: every metric that a suite asks for is an aggregate, all collected together."""

# Great Expectations exports its batches and engines in ways its type stubs do not tell.
# pyright: reportPrivateImportUsage=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl
from great_expectations.core.batch import BatchData, BatchMarkers
from great_expectations.core.batch_spec import BatchSpec
from great_expectations.exceptions import GreatExpectationsError, InvalidBatchSpecError
from great_expectations.execution_engine.execution_engine import ExecutionEngine
from great_expectations.expectations.row_conditions import (
    AndCondition,
    ComparisonCondition,
    Condition,
    NullityCondition,
    Operator,
    OrCondition,
    PassThroughCondition,
    deserialize_row_condition,
)

from quality_rules.aggregates import Facts


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of a batch, with what is known of them that no row says.

    `parents` holds, by rule name, the values that a reference finds in its table; `facts` what rules
    of the whole table are judged by. Values of the columns in `hidden` leave the engine as `***`.
    """

    frame: pl.LazyFrame
    parents: Mapping[str, pl.Series] = field(default_factory=dict[str, pl.Series])
    hidden: frozenset[str] = frozenset()
    facts: Facts = field(default_factory=Facts)


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """A metric: an expression of one value, and what makes of it the value that is expected."""

    expression: pl.Expr
    finish: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True, slots=True, eq=False)
class OfRows:
    """A metric of the rows where a condition holds: an aggregate made of the condition's column.

    Metrics of equal conditions share that column: the streaming engine would evaluate it for each.
    """

    where: pl.Expr
    make: Callable[[pl.Expr], pl.Expr]
    finish: Callable[[Any], Any] = lambda value: value


class PolarsBatchData(BatchData):
    """A batch as the engine holds it: lazy rows and their types."""

    def __init__(self, execution_engine: PolarsExecutionEngine, rows: Rows) -> None:
        super().__init__(execution_engine)
        self.rows = rows
        self.types: Mapping[str, pl.DataType] = dict(rows.frame.collect_schema())


class RowsBatchSpec(BatchSpec):
    """Rows that were given: outside the mapping, since a stored result shows that."""

    def __init__(self, rows: Rows) -> None:
        super().__init__(columns=list(rows.frame.collect_schema()))
        self.rows = rows


class DeltaBatchSpec(BatchSpec):
    """A Delta table, as it is now or at a version."""


class PolarsExecutionEngine(ExecutionEngine[pl.Expr]):
    """Answers metrics by lazy Polars aggregates.

    A metric's provider returns an `Aggregate`; the engine collects all of them that wait with one
    `collect_all`, so that a suite costs one pass for each row condition that it names. Should that
    raise, Great Expectations asks for each alone, and only those that raise again are lost.

    Two things differ from the engine for pandas. A NaN is a value (larger than every number, never
    missing), while pandas cannot tell it from null. Decimals are compared and added as decimals.
    """

    def __init__(self, *, name: str | None = None) -> None:
        # Batch ids repeat: a cache keyed by them would answer from the metrics of another frame.
        super().__init__(name=name, caching=False)

    def get_batch_data_and_markers(self, batch_spec: Any) -> tuple[BatchData, BatchMarkers]:
        """The rows of a batch, not read yet.

        Raises:
            InvalidBatchSpecError: when the spec holds neither rows nor a Delta table.
        """
        markers = BatchMarkers({"ge_load_time": datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")})
        return PolarsBatchData(self, _rows_of(batch_spec)), markers

    def batch(self, domain: Mapping[str, Any]) -> PolarsBatchData:
        """The batch that a metric's domain names, or the active one."""
        manager = self.batch_manager
        batch_id: Any = domain.get("batch_id") or manager.active_batch_data_id
        data: Any = manager.batch_data_cache.get(batch_id)
        if not isinstance(data, PolarsBatchData):
            raise GreatExpectationsError(f"no batch '{batch_id}' is loaded")
        return data

    def get_domain_records(self, domain_kwargs: dict[str, Any]) -> pl.LazyFrame:
        """The rows that a domain speaks of: those of the batch that keep its row condition."""
        frame = self.batch(domain_kwargs).rows.frame
        condition = domain_kwargs.get("row_condition")
        return frame if not condition else frame.filter(self._condition(condition))

    def get_compute_domain(
        self,
        domain_kwargs: dict[str, Any],
        domain_type: Any,
        accessor_keys: Iterable[str] | None = None,
    ) -> tuple[pl.LazyFrame, dict[str, Any], dict[str, Any]]:
        """The domain's rows, and its keywords split into those that choose rows and the rest."""
        parts = self._partition_domain_kwargs(domain_kwargs, domain_type, accessor_keys)
        return self.get_domain_records(domain_kwargs), parts.compute, parts.accessor

    def resolve_metric_bundle(self, metric_fn_bundle: Sequence[Any]) -> dict[Any, Any]:
        """The values of aggregates: one lazy frame for each set of rows, all collected at once."""
        bundles = dict[str, list[Any]]()
        for each in metric_fn_bundle:
            bundles.setdefault(_rows_key(each.compute_domain_kwargs), []).append(each)
        frames = [
            _planned(
                self.get_domain_records(bundle[0].compute_domain_kwargs),
                [each.metric_fn for each in bundle],
            )
            for bundle in bundles.values()
        ]
        found = pl.collect_all(frames, engine="streaming")
        return {
            each.metric_configuration.id: each.metric_fn.finish(value)
            for bundle, frame in zip(bundles.values(), found, strict=True)
            for each, value in zip(bundle, frame.row(0), strict=True)
        }

    # ---- ROW CONDITIONS ---- #

    def _condition(self, given: Any) -> pl.Expr:
        condition: Any = deserialize_row_condition(given) if isinstance(given, dict) else given
        if isinstance(condition, PassThroughCondition):
            return pl.sql_expr(condition.pass_through_filter)
        if isinstance(condition, Condition):
            return self.condition_to_filter_clause(condition)
        return pl.sql_expr(str(condition))

    def _comparison_condition_to_filter_clause(self, condition: ComparisonCondition) -> pl.Expr:
        column, value = pl.col(condition.column.name), condition.parameter
        return _COMPARISONS[Operator(condition.operator)](column, value)

    def _nullity_condition_to_filter_clause(self, condition: NullityCondition) -> pl.Expr:
        column = pl.col(condition.column.name)
        return column.is_null() if condition.is_null else column.is_not_null()

    def _and_condition_to_filter_clause(self, condition: AndCondition) -> pl.Expr:
        return pl.all_horizontal(
            self.condition_to_filter_clause(each) for each in condition.conditions
        )

    def _or_condition_to_filter_clause(self, condition: OrCondition) -> pl.Expr:
        return pl.any_horizontal(
            self.condition_to_filter_clause(each) for each in condition.conditions
        )


_COMPARISONS: Mapping[Operator, Callable[[pl.Expr, Any], pl.Expr]] = {
    Operator.EQUAL: lambda column, value: column == value,
    # A null is unequal to every value, as pandas has it.
    Operator.NOT_EQUAL: lambda column, value: column.ne_missing(value),
    Operator.LESS_THAN: lambda column, value: column < value,
    Operator.LESS_THAN_OR_EQUAL: lambda column, value: column <= value,
    Operator.GREATER_THAN: lambda column, value: column > value,
    Operator.GREATER_THAN_OR_EQUAL: lambda column, value: column >= value,
    Operator.IN: lambda column, value: column.is_in(list(value)),
    Operator.NOT_IN: lambda column, value: ~column.is_in(list(value)).fill_null(value=False),
}


def _rows_of(spec: Any) -> Rows:
    if isinstance(spec, RowsBatchSpec):
        return spec.rows
    if isinstance(spec, DeltaBatchSpec):
        return Rows(pl.scan_delta(spec["uri"], version=spec.get("version")))
    raise InvalidBatchSpecError(f"a batch of Polars rows cannot be made of {type(spec).__name__}")


def _planned(rows: pl.LazyFrame, metrics: Sequence[Aggregate | OfRows]) -> pl.LazyFrame:
    """One row with a column for each metric."""
    masks = dict[bytes, str]()
    shared, made = list[pl.Expr](), list[pl.Expr]()
    for metric in metrics:
        if isinstance(metric, Aggregate):
            made.append(metric.expression)
            continue
        key = metric.where.meta.serialize()
        if key not in masks:
            masks[key] = f"*{len(masks)}"  # no column has such a name
            shared.append(metric.where.alias(masks[key]))
        made.append(metric.make(pl.col(masks[key])))
    return rows.with_columns(shared).select(each.alias(str(at)) for at, each in enumerate(made))


def _rows_key(domain: Mapping[str, Any]) -> str:
    """The same for domains of the same rows."""
    return json.dumps(
        [domain.get("batch_id"), domain.get("row_condition")],
        default=repr,
    )
