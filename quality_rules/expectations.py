"""The only door to Great Expectations: rules become a suite, judged by an engine that runs on Polars.

Great Expectations brings engines for pandas, Spark and SQL. Ours answers the same metrics from one
lazy Polars pass: each metric that a suite asks for is an aggregate, and all of them are collected
together. Nothing is converted to pandas. Import this module only where a table is validated: Great
Expectations takes five seconds and 270 MB to import.
"""

# Great Expectations exports its expectations and batches in ways its type stubs do not tell.
# pyright: reportPrivateImportUsage=false, reportArgumentType=false

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar

import great_expectations as gx
import great_expectations.expectations.core as gx_core
import polars as pl
from great_expectations.core.batch import Batch, BatchData, BatchMarkers
from great_expectations.core.batch_spec import BatchSpec
from great_expectations.core.expectation_suite import ExpectationSuite
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.execution_engine.execution_engine import ExecutionEngine
from great_expectations.expectations import registry
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import MetricProvider
from great_expectations.validator.validator import Validator

from quality_rules.results import SAMPLE_KEYS, judge
from quality_rules.rule import Rule, RuleKind, Severity

#: Metrics of rules that the core vocabulary has no expectation for: a reference to another table,
#: and a condition over several columns.
_RULE_METRIC = "table.rule.unexpected_count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One expectation's result: rows that it spoke of, those that broke it, and keys of some."""

    rule: str
    success: bool
    evaluated: int
    unexpected: int
    sample: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GxReport:
    """What Great Expectations says of a table; `raw` is its own result."""

    success: bool
    results: tuple[Judgement, ...]
    raw: ExpectationSuiteValidationResult


def validate(
    rows: pl.LazyFrame,
    rules: Sequence[Rule],
    parents: Mapping[str, pl.Series],
    *,
    table: str,
    key: Sequence[str],
    hidden: frozenset[str] = frozenset(),
) -> GxReport:
    """The active rules as an expectation suite over all rows.

    Results hold counts and no values; the keys of failing rows are in `Judgement.sample`, with the
    columns in `hidden` shown as `***`.
    """
    active = [rule for rule in rules if rule.active]
    engine = PolarsExecutionEngine(rows, active, parents)
    suite = ExpectationSuite(name=table, expectations=[_expectation(rule) for rule in active])
    # A batch id that was used before would answer from the metrics of another frame.
    batch = Batch(
        data=_Rows(engine), batch_spec=BatchSpec(rows=uuid.uuid4().hex), batch_markers=_markers()
    )
    validator = Validator(execution_engine=engine, batches=[batch], data_context=_context())
    # Given to the constructor, the suite would lose all but one expectation that names no column.
    raw: Any = validator.validate(
        expectation_suite=suite,
        result_format=_COUNTS_ONLY,
        catch_exceptions=True,
    )
    return _report(raw, rows, active, parents, key, hidden)


@cache
def _context() -> Any:
    """The context that every validation of this process needs: in memory, silent, telling nobody."""
    stores = InMemoryStoreBackendDefaults()
    config = DataContextConfig(
        store_backend_defaults=stores,
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _markers() -> BatchMarkers:
    return BatchMarkers({"ge_load_time": uuid.uuid4().hex})


#: No values: a result that is stored and shown must not hold what a person wrote.
_COUNTS_ONLY: Any = {"result_format": "BASIC", "partial_unexpected_count": 0}

# ---- RULES TO EXPECTATIONS ---- #


def _expectation(rule: Rule) -> Any:
    common: dict[str, Any] = {
        "meta": {"rule": rule.name, "rule_id": rule.rule_id},
        "severity": _SEVERITY[rule.severity],
    }
    if rule.kind in (RuleKind.REFERENCE, RuleKind.EXPRESSION) or _would_round(rule):
        return ExpectRowsToKeepRule(rule=rule.name, **common)
    return _CORE[rule.kind](rule, common)


def _would_round(rule: Rule) -> bool:
    """Whether a bound is not a float, which Great Expectations makes of every number."""
    bounds = [
        rule.params[name]
        for name in ("min", "max")
        if isinstance(rule.params.get(name), int | float)
    ]
    return any(Decimal(float(bound)) != Decimal(bound) for bound in bounds)


_SEVERITY = {Severity.ERROR: "critical", Severity.WARNING: "warning", Severity.INFO: "info"}


def _unique(rule: Rule, common: Mapping[str, Any]) -> Any:
    if len(rule.columns) == 1:
        return gx_core.ExpectColumnValuesToBeUnique(column=rule.columns[0], **common)
    return gx_core.ExpectCompoundColumnsToBeUnique(
        column_list=list(rule.columns), ignore_row_if="any_value_is_missing", **common
    )


_CORE: Mapping[RuleKind, Callable[[Rule, Mapping[str, Any]], Any]] = {
    RuleKind.NOT_NULL: lambda rule, common: gx_core.ExpectColumnValuesToNotBeNull(
        column=rule.columns[0], **common
    ),
    RuleKind.RANGE: lambda rule, common: gx_core.ExpectColumnValuesToBeBetween(
        column=rule.columns[0],
        min_value=rule.params.get("min"),
        max_value=rule.params.get("max"),
        **common,
    ),
    RuleKind.PATTERN: lambda rule, common: gx_core.ExpectColumnValuesToMatchRegex(
        column=rule.columns[0], regex=rule.params["regex"], **common
    ),
    RuleKind.SET: lambda rule, common: gx_core.ExpectColumnValuesToBeInSet(
        column=rule.columns[0], value_set=list(rule.params["values"]), **common
    ),
    RuleKind.UNIQUE: _unique,
}


class ExpectRowsToKeepRule(BatchExpectation):
    """Expects no row to break a rule of ours that the core vocabulary has no word for."""

    rule: str
    metric_dependencies: ClassVar[tuple[str, ...]] = (_RULE_METRIC, "table.row_count")  # pyright: ignore[reportIncompatibleVariableOverride] - as the base class declares it
    success_keys: ClassVar[tuple[str, ...]] = ("rule",)  # pyright: ignore[reportIncompatibleVariableOverride]

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: ExecutionEngine[Any] | None = None,
    ) -> dict[str, Any]:
        unexpected, rows = metrics[_RULE_METRIC], metrics["table.row_count"]
        percent = 100 * unexpected / rows if rows else 0.0
        return {
            "success": unexpected == 0,
            "result": {
                "element_count": rows,
                "unexpected_count": unexpected,
                "unexpected_percent": percent,
            },
        }


# ---- THE ENGINE ---- #


class _Rows(BatchData):
    """The batch: the rows themselves stay with the engine."""


class PolarsExecutionEngine(ExecutionEngine[pl.Expr]):
    """Answers metrics by aggregates over one LazyFrame, all that are asked for in one pass."""

    def __init__(
        self, rows: pl.LazyFrame, rules: Sequence[Rule], parents: Mapping[str, pl.Series]
    ) -> None:
        super().__init__()
        self._rows = rows
        self._types = dict(rows.collect_schema())
        self._rules = {rule.name: rule for rule in rules}
        self._parents = parents

    def get_batch_data_and_markers(self, batch_spec: Any) -> tuple[BatchData, BatchMarkers]:
        """The rows this engine was made for."""
        return _Rows(self), _markers()

    def resolve_metrics(
        self,
        metrics_to_resolve: Iterable[Any],
        metrics: dict[Any, Any] | None = None,
        runtime_configuration: dict[str, Any] | None = None,
    ) -> dict[Any, Any]:
        """Every metric asked for, from one collect."""
        wanted = list(metrics_to_resolve)
        aggregates = [self._aggregate(metric).alias(str(at)) for at, metric in enumerate(wanted)]
        values = (
            self._rows.select(aggregates).collect(engine="streaming").row(0) if aggregates else ()
        )
        return {metric.id: value for metric, value in zip(wanted, values, strict=True)}

    def _aggregate(self, metric: Any) -> pl.Expr:
        name: str = metric.metric_name
        if name == "table.row_count":
            return pl.len()
        if name.endswith(".filtered_row_count"):
            columns = metric.metric_domain_kwargs["column_list"]
            return (
                pl.all_horizontal(pl.col(each).is_not_null() for each in columns)
                .sum()
                .cast(pl.Int64)
            )
        if name.endswith(".unexpected_values"):
            return pl.lit([], pl.List(pl.String))  # values are nobody's business outside the lake
        arguments = {**metric.metric_domain_kwargs, **metric.metric_value_kwargs}
        broken = self._broken(name.removesuffix(".unexpected_count"), arguments)
        return broken.fill_null(value=False).sum().cast(pl.Int64)

    def _broken(self, metric: str, arguments: Mapping[str, Any]) -> pl.Expr:
        if metric == "table.rule":
            return ~self._rules[arguments["rule"]].valid(self._types, self._parents)
        if metric == "compound_columns.unique":
            columns = arguments["column_list"]
            return pl.struct(columns).is_duplicated() & pl.all_horizontal(
                pl.col(name).is_not_null() for name in columns
            )
        column = pl.col(arguments["column"])
        if metric == "column_values.nonnull":
            return column.is_null()
        if metric == "column_values.unique":
            return column.is_duplicated() & column.is_not_null()
        rule = self._as_rule(metric, arguments)
        return ~rule.valid(self._types)

    def _as_rule(self, metric: str, arguments: Mapping[str, Any]) -> Rule:
        """An expectation's own arguments as one of our rules, so that both mean the same."""
        kind, params = _OF_METRIC[metric](arguments)
        return Rule(table="", name=metric, kind=kind, columns=(arguments["column"],), params=params)

    def _comparison_condition_to_filter_clause(self, condition: Any) -> pl.Expr:
        raise NotImplementedError(_NO_CONDITIONS)

    _nullity_condition_to_filter_clause = _comparison_condition_to_filter_clause
    _and_condition_to_filter_clause = _comparison_condition_to_filter_clause
    _or_condition_to_filter_clause = _comparison_condition_to_filter_clause


_NO_CONDITIONS = "row conditions are not compiled from rules: a rule's EXPRESSION says the same"

_OF_METRIC: Mapping[str, Callable[[Mapping[str, Any]], tuple[RuleKind, dict[str, Any]]]] = {
    "column_values.between": lambda a: (
        RuleKind.RANGE,
        {k: a[v] for k, v in (("min", "min_value"), ("max", "max_value")) if a.get(v) is not None},
    ),
    "column_values.match_regex": lambda a: (RuleKind.PATTERN, {"regex": a["regex"]}),
    "column_values.in_set": lambda a: (RuleKind.SET, {"values": list(a["value_set"])}),
}


class _Provider(MetricProvider):
    """Tells Great Expectations that our engine knows a metric; the engine itself answers."""


def _unreached(**_: Any) -> None:
    raise NotImplementedError("the engine answers metrics itself")


#: The core metrics that the suite's expectations ask for.
_CORE_METRICS = (
    "table.row_count",
    *(
        f"{condition}.{suffix}"
        for condition in (
            "column_values.nonnull",
            "column_values.unique",
            "column_values.between",
            "column_values.match_regex",
            "column_values.in_set",
            "compound_columns.unique",
        )
        for suffix in ("unexpected_count", "unexpected_values")
    ),
    "compound_columns.unique.filtered_row_count",
)
_TABLE_DOMAIN = ("batch_id", "table", "row_condition", "condition_parser")


def _register() -> None:
    """Makes our engine one that answers the core metrics, with the keys they are registered with."""
    known: Mapping[str, Any] = registry._registered_metrics  # pyright: ignore[reportPrivateUsage] - the only place that tells a metric's keys
    keys = {
        name: (known[name]["metric_domain_keys"], known[name]["metric_value_keys"])
        for name in _CORE_METRICS
    }
    for name, (domain, value) in {**keys, _RULE_METRIC: (_TABLE_DOMAIN, ("rule",))}.items():
        registry.register_metric(
            metric_name=name,
            metric_domain_keys=domain,
            metric_value_keys=value,
            execution_engine=PolarsExecutionEngine,
            metric_class=_Provider,
            metric_provider=_unreached,
        )
    registry.register_expectation(ExpectRowsToKeepRule)


_register()


# ---- RESULTS ---- #


def _report(
    raw: ExpectationSuiteValidationResult,
    rows: pl.LazyFrame,
    rules: Sequence[Rule],
    parents: Mapping[str, pl.Series],
    key: Sequence[str],
    hidden: frozenset[str],
) -> GxReport:
    by_name = {rule.name: rule for rule in rules}
    failing = [by_name[_rule_of(result)] for result in raw.results if not result.success]
    samples = (
        {
            found.rule.name: found.sample[:SAMPLE_KEYS]
            for found in judge(rows, failing, key, parents, hidden=hidden)
        }
        if failing
        else {}
    )
    results = tuple(_judgement(result, samples) for result in raw.results)
    errors = {rule.name for rule in rules if rule.severity is Severity.ERROR}
    return GxReport(
        success=all(result.success for result in results if result.rule in errors),
        results=results,
        raw=raw,
    )


def _rule_of(result: Any) -> str:
    return result.expectation_config.meta["rule"]


def _judgement(result: Any, samples: Mapping[str, tuple[Mapping[str, object], ...]]) -> Judgement:
    """A result that raised is no pass: its exception is told."""
    info = result.exception_info
    if info and any(
        each.get("raised_exception")
        for each in (info.values() if "raised_exception" not in info else [info])
    ):
        raise RuntimeError(f"Great Expectations could not judge rule '{_rule_of(result)}': {info}")
    told: Mapping[str, Any] = result.result
    name = _rule_of(result)
    return Judgement(
        rule=name,
        success=bool(result.success),
        evaluated=int(told.get("element_count") or 0),
        unexpected=int(told.get("unexpected_count") or 0),
        sample=samples.get(name, ()),
    )
