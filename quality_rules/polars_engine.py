"""Great Expectations over Polars: an execution engine whose metrics are expressions of one pass.

A round of metrics is one `select` over the frame: first every count, then, for the expectations
that failed, the keys of some failing rows. Nothing is turned into pandas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import polars as pl
from great_expectations.execution_engine.execution_engine import ExecutionEngine
from great_expectations.expectations.metrics.metric_provider import MetricProvider
from great_expectations.expectations.registry import (
    get_metric_kwargs,
    register_core_metrics,
    register_metric,
)
from great_expectations.validator.metric_configuration import MetricConfiguration

from quality_rules.results import SAMPLE_KEYS
from quality_rules.rule import Rule, RuleKind

#: The metric of a rule that no core expectation can state; its value is the rule's name.
HELD = "table_rows.keep_rule"

_HELD_DOMAIN = ("batch_id", "table", "row_condition", "condition_parser")
_PARTIAL = ".aggregate_fn"
_COUNT, _VALUES, _KEYS, _QUERY, _COMPLETE = (
    ".unexpected_count",
    ".unexpected_values",
    ".unexpected_index_list",
    ".unexpected_index_query",
    ".filtered_row_count",
)


class PolarsExecutionEngine(ExecutionEngine[pl.Expr]):
    """Resolves metrics over lazy frames.

    Args:
        held: by rule name, true where a row breaks a rule that no core expectation can state.
        key: the columns that name a failing row.
        hidden: the columns whose values are shown as `***`.
    """

    def __init__(
        self, *, held: Mapping[str, pl.Expr], key: Sequence[str], hidden: frozenset[str]
    ) -> None:
        super().__init__(name="polars")
        self.held = held
        self.key = tuple(key)
        self.hidden = hidden

    def frame(self, domain: Mapping[str, Any]) -> pl.LazyFrame:
        """The rows that a metric speaks of."""
        if domain.get("row_condition") is not None:
            self._no_condition()
        held: Any = self.batch_manager.batch_data_cache[domain["batch_id"]]
        return held

    def some(self, columns: Sequence[str], broken: pl.Expr) -> pl.Expr:
        """Some of the rows that break a rule, in these columns, the hidden ones masked."""
        rows = pl.struct(columns).filter(broken).head(SAMPLE_KEYS)
        masks = [pl.lit("***").alias(name) for name in columns if name in self.hidden]
        return rows.struct.with_fields(masks) if masks else rows

    def resolve_metric_bundle(self, metric_fn_bundle: Any) -> dict[Any, Any]:
        """The metrics of a round, in one pass over the rows."""
        resolved = dict[Any, Any]()
        wanted = dict[str, Any]()
        for index, item in enumerate(metric_fn_bundle):
            metric = item.metric_configuration
            if item.metric_provider_kwargs["metrics"].get("count") == 0:
                resolved[metric.id] = []
            else:
                wanted[str(index)] = item
        if not wanted:
            return resolved
        first = next(iter(wanted.values())).compute_domain_kwargs
        row = (
            self.frame(first)
            .select(item.metric_fn.alias(name) for name, item in wanted.items())
            .collect(engine="streaming")
            .row(0, named=True)
        )
        for name, item in wanted.items():
            resolved[item.metric_configuration.id] = row[name]
        return resolved

    def get_batch_data_and_markers(self, batch_spec: Any) -> NoReturn:
        """Not how rows come here: a batch carries its frame."""
        raise NotImplementedError("load a frame with load_batch_data")

    def _no_condition(self) -> NoReturn:
        raise NotImplementedError("write a row condition as a rule: EXPRESSION takes any")

    def _comparison_condition_to_filter_clause(self, condition: Any) -> pl.Expr:
        self._no_condition()

    def _nullity_condition_to_filter_clause(self, condition: Any) -> pl.Expr:
        self._no_condition()

    def _and_condition_to_filter_clause(self, condition: Any) -> pl.Expr:
        self._no_condition()

    def _or_condition_to_filter_clause(self, condition: Any) -> pl.Expr:
        self._no_condition()


class _Metric(MetricProvider):
    """A metric as Polars counts it: without default values."""


class _Sample(_Metric):
    """A metric that is looked for only where its count says that there is something to find."""

    @classmethod
    def _get_evaluation_dependencies(cls, metric: Any, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_evaluation_dependencies(metric, *args, **kwargs)
        name = metric.metric_name.rsplit(".", 1)[0] + _COUNT
        keys = get_metric_kwargs(name)["metric_value_keys"]
        values = {key: metric.metric_value_kwargs.get(key) for key in keys}
        return found | {"count": MetricConfiguration(name, metric.metric_domain_kwargs, values)}


def plain(bound: object) -> str:
    """A bound as text, as a number of any type reads it: 10.0 as 10, 1e-07 in full."""
    if isinstance(bound, float):
        return str(int(bound)) if bound.is_integer() else _in_full(bound)
    return str(bound)


def _in_full(number: float) -> str:
    text = repr(number)
    return format(pl.Series([text]).str.to_decimal(scale=38)[0], "f") if "e" in text else text


def is_twin(columns: Sequence[str]) -> pl.Expr:
    """True where another row has the same values; a null equals nothing."""
    if len(columns) == 1:
        return pl.col(columns[0]).is_duplicated() & pl.col(columns[0]).is_not_null()
    return pl.struct(columns).is_duplicated() & _complete(columns)


def _complete(columns: Sequence[str]) -> pl.Expr:
    return pl.all_horizontal(pl.col(name).is_not_null() for name in columns)


def broken_by(
    rule: Rule, types: Mapping[str, pl.DataType], parents: Mapping[str, pl.Series]
) -> pl.Expr:
    """True where a row breaks the rule, never null."""
    if rule.kind is RuleKind.UNIQUE:
        return is_twin(rule.columns)
    return (~rule.valid(types, parents)).fill_null(value=False)


def _params(kind: RuleKind, values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a rule, out of those of a core expectation."""
    if kind is RuleKind.RANGE:
        if values.get("strict_min") or values.get("strict_max"):
            raise NotImplementedError("a strict bound; write it as an EXPRESSION")
        bounds = {"min": values.get("min_value"), "max": values.get("max_value")}
        return {name: plain(bound) for name, bound in bounds.items() if bound is not None}
    if kind is RuleKind.PATTERN:
        return {"regex": values["regex"]}
    return {"values": values["value_set"]} if kind is RuleKind.SET else {}


_CORE = {
    "column_values.nonnull": RuleKind.NOT_NULL,
    "column_values.between": RuleKind.RANGE,
    "column_values.match_regex": RuleKind.PATTERN,
    "column_values.in_set": RuleKind.SET,
    "column_values.unique": RuleKind.UNIQUE,
    "compound_columns.unique": RuleKind.UNIQUE,
}


def _broken(
    base: str, engine: PolarsExecutionEngine, domain: Mapping[str, Any], values: Mapping[str, Any]
) -> pl.Expr:
    if base == HELD:
        return engine.held[values["rule"]]
    columns = tuple(domain.get("column_list") or (domain["column"],))
    kind = _CORE[base]
    rule = Rule(table="", name=base, kind=kind, columns=columns, params=_params(kind, values))
    return broken_by(rule, dict(engine.frame(domain).collect_schema()), {})


def _partial(
    of: Callable[[PolarsExecutionEngine, Mapping[str, Any], Mapping[str, Any]], pl.Expr],
) -> Callable[..., tuple[pl.Expr, Any, dict[str, Any]]]:
    """A metric as the expression of it, to be bundled with the others of its round."""

    def provide(
        *,
        execution_engine: PolarsExecutionEngine,
        metric_domain_kwargs: Any,
        metric_value_kwargs: Any,
        **_: Any,
    ) -> tuple[pl.Expr, Any, dict[str, Any]]:
        expression = of(execution_engine, metric_domain_kwargs, metric_value_kwargs)
        return expression, metric_domain_kwargs, {}

    return provide


def _register(
    name: str,
    provider: Callable[..., Any] | None,
    keys: Mapping[str, Any],
    metric_class: type[_Metric] = _Metric,
) -> None:
    register_metric(
        metric_name=name,
        metric_domain_keys=keys["metric_domain_keys"],
        metric_value_keys=keys["metric_value_keys"],
        execution_engine=PolarsExecutionEngine,
        metric_class=metric_class,
        metric_provider=provider,
    )


def _register_base(base: str, counted: Mapping[str, Any]) -> None:
    """The metrics of a condition on rows: how many break it, and the keys and values of some."""
    sampled = {
        **counted,
        "metric_value_keys": (*counted["metric_value_keys"], "result_format"),
    }

    def count(engine: PolarsExecutionEngine, domain: Any, values: Any) -> pl.Expr:
        return _broken(base, engine, domain, values).sum()

    def keys(engine: PolarsExecutionEngine, domain: Any, values: Any) -> pl.Expr:
        return engine.some(engine.key, _broken(base, engine, domain, values)).implode()

    def found(engine: PolarsExecutionEngine, domain: Any, values: Any) -> pl.Expr:
        columns = domain.get("column_list") or (domain["column"],)
        rows = engine.some(columns, _broken(base, engine, domain, values))
        return (rows if len(columns) > 1 else rows.struct.field(columns[0])).implode()

    _register(base + _COUNT + _PARTIAL, _partial(count), counted)
    _register(base + _COUNT, None, counted)
    _register(base + _KEYS + _PARTIAL, _partial(keys), sampled)
    _register(base + _KEYS, None, sampled, _Sample)
    _register(base + _QUERY, _none, sampled)
    if base != HELD:
        _register(base + _VALUES + _PARTIAL, _partial(found), sampled)
        _register(base + _VALUES, None, sampled, _Sample)


def _rows(_engine: PolarsExecutionEngine, _domain: Any, _values: Any) -> pl.Expr:
    return pl.len()


def _complete_rows(_engine: PolarsExecutionEngine, domain: Any, _values: Any) -> pl.Expr:
    return _complete(domain["column_list"]).sum()


def _none(**_: object) -> None:
    """No engine-independent query finds the rows."""


def _register_all() -> None:
    register_core_metrics()
    for base in _CORE:
        _register_base(base, get_metric_kwargs(base + _COUNT))
    _register_base(HELD, {"metric_domain_keys": _HELD_DOMAIN, "metric_value_keys": ("rule",)})
    for name, of in (
        ("table.row_count", _rows),
        ("compound_columns.unique" + _COMPLETE, _complete_rows),
    ):
        keys = get_metric_kwargs(name)
        _register(name + _PARTIAL, _partial(of), keys)
        _register(name, None, keys)


_register_all()
