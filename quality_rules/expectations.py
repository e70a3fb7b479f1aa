"""The only door to Great Expectations: rules as a suite, validated over Polars, as its own result.

Importing this module takes seconds; import it where it is used.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

import polars as pl
from great_expectations import __version__ as gx_version
from great_expectations.core import ExpectationSuite, ExpectationSuiteValidationResult
from great_expectations.core.batch import Batch
from great_expectations.core.id_dict import IDDict
from great_expectations.exceptions.exceptions import MetricResolutionError
from great_expectations.expectations.expectation import BatchExpectation, Expectation
from great_expectations.expectations.metadata_types import FailureSeverity
from great_expectations.expectations.registry import (
    get_expectation_impl,
    get_metric_kwargs,
    register_core_expectations,
)
from great_expectations.validator.metric_configuration import MetricConfiguration
from great_expectations.validator.validation_statistics import calc_validation_statistics
from great_expectations.validator.validator import ValidationDependencies, Validator

from quality_rules.polars_engine import HELD, PolarsExecutionEngine, broken_by, plain
from quality_rules.results import SAMPLE_KEYS
from quality_rules.rule import Rule, RuleError, RuleKind, Severity

register_core_expectations()

_SEVERITIES: Mapping[Severity, FailureSeverity] = {
    Severity.ERROR: FailureSeverity.CRITICAL,
    Severity.WARNING: FailureSeverity.WARNING,
    Severity.INFO: FailureSeverity.INFO,
}


@dataclass(frozen=True, slots=True)
class GxResult:
    """One rule: whether it held, over how many rows, how many broke it, and the keys of some."""

    rule: str
    success: bool
    evaluated: int
    unexpected: int
    sample: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True)
class GxReport:
    """The rules over a table, in their order; `success` when no rule of severity error broke."""

    success: bool
    results: tuple[GxResult, ...]
    raw: ExpectationSuiteValidationResult


class ExpectRowsToKeepRule(BatchExpectation):
    """Expect every row to keep a rule that the engine holds: a condition, or values elsewhere."""

    rule: str

    domain_keys: ClassVar[tuple[str, ...]] = ("batch_id",)
    success_keys: ClassVar[tuple[str, ...]] = ("rule",)

    def get_validation_dependencies(
        self, execution_engine: Any = None, runtime_configuration: Any = None, **kwargs: Any
    ) -> ValidationDependencies:
        """The count of rows, of those that break the rule, and the keys of some."""
        wanted = super().get_validation_dependencies(execution_engine, runtime_configuration)
        for name in _HELD_METRICS:
            found = get_metric_kwargs(name, self.configuration, runtime_configuration)
            metric = MetricConfiguration(
                name, found["metric_domain_kwargs"], found["metric_value_kwargs"]
            )
            wanted.set_metric_configuration(name, metric)
        return wanted

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: Any = None,
        execution_engine: Any = None,
    ) -> dict[str, Any]:
        total, count, keys = (metrics[name] for name in _HELD_METRICS)
        return {
            "success": count == 0,
            "result": {
                "element_count": total,
                "unexpected_count": count,
                "unexpected_percent": 100 * count / total if total else None,
                "partial_unexpected_index_list": keys,
            },
        }


_HELD_METRICS = (
    "table.row_count",
    f"{HELD}.unexpected_count",
    f"{HELD}.unexpected_index_list",
)


class _QuietValidator(Validator):
    """A validator without a context and so without its files, services and progress bars."""

    def _determine_progress_bars(self) -> bool:
        return False


def compile_rule(rule: Rule) -> Expectation:
    """A rule as an expectation: the core one that says the same, else one that the engine holds."""
    common: dict[str, Any] = {
        "severity": _SEVERITIES[rule.severity],
        "meta": {"rule": rule.name, "rule_id": rule.rule_id},
        "description": rule.description or None,
    }
    return _core(rule, common) or ExpectRowsToKeepRule(rule=rule.name, **common)


def _core(rule: Rule, common: Mapping[str, Any]) -> Expectation | None:
    if rule.kind is RuleKind.RANGE:
        return _between(rule, common)
    column: dict[str, Any] = {"column": next(iter(rule.columns), ""), **common}
    match rule.kind:
        case RuleKind.NOT_NULL:
            return _expect("column_values_to_not_be_null", column)
        case RuleKind.PATTERN:
            return _expect("column_values_to_match_regex", column, regex=rule.params["regex"])
        case RuleKind.SET:
            values = list(rule.params["values"])
            return _expect("column_values_to_be_in_set", column, value_set=values)
        case RuleKind.UNIQUE if len(rule.columns) == 1:
            return _expect("column_values_to_be_unique", column)
        case RuleKind.UNIQUE:
            return _expect(
                "compound_columns_to_be_unique",
                common,
                column_list=list(rule.columns),
                ignore_row_if="any_value_is_missing",
            )
        case _:
            return None


def _expect(name: str, common: Mapping[str, Any], **kwargs: Any) -> Expectation:
    return get_expectation_impl(f"expect_{name}")(**common, **kwargs)


def _between(rule: Rule, common: Mapping[str, Any]) -> Expectation | None:
    """The core expectation, unless its bounds, which are floats or times, would be others."""
    low, high = rule.params.get("min"), rule.params.get("max")
    column = next(iter(rule.columns), "")
    try:
        made: Any = _expect(
            "column_values_to_be_between", common, column=column, min_value=low, max_value=high
        )
    except ValueError:
        return None
    return made if _same(low, made.min_value) and _same(high, made.max_value) else None


def _same(ours: object, theirs: object) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    try:
        return Decimal(str(ours)) == Decimal(plain(theirs))
    except InvalidOperation:
        return str(ours) == str(theirs)


def compile_suite(table: str, rules: Iterable[Rule]) -> ExpectationSuite:
    """The active rules of a table as a suite."""
    active = [compile_rule(rule) for rule in rules if rule.active]
    return ExpectationSuite(name=table, expectations=active)


def validate(
    rows: pl.LazyFrame,
    rules: Sequence[Rule],
    parents: Mapping[str, pl.Series],
    *,
    table: str,
    key: Sequence[str],
    hidden: frozenset[str] = frozenset(),
) -> GxReport:
    """The active rules over the rows: one pass for the counts, one more for the keys of failures.

    `parents` holds, by rule name, the values that a REFERENCE finds. Values of the columns in
    `hidden` are shown as `***`.

    Raises:
        RuleError: when a rule cannot be judged over these rows.
    """
    active = [rule for rule in rules if rule.active]
    engine = PolarsExecutionEngine(held=_checked(rows, active, parents), key=key, hidden=hidden)
    suite = compile_suite(table, active)
    # A new identity each time: the metrics of a batch are kept under its id.
    batch = Batch(
        data=rows,  # pyright: ignore[reportArgumentType]
        batch_definition=IDDict({"table": table, "call": str(uuid.uuid4())}),  # pyright: ignore[reportArgumentType]
    )
    validator = _QuietValidator(execution_engine=engine, batches=[batch])
    try:
        found = validator.graph_validate(
            configurations=suite.expectation_configurations,
            runtime_configuration={
                "catch_exceptions": False,
                "result_format": {
                    "result_format": "SUMMARY",
                    "partial_unexpected_count": SAMPLE_KEYS,
                    "unexpected_index_column_names": list(key),
                },
            },
        )
    except MetricResolutionError as error:
        raise RuleError(f"a rule of '{table}' cannot be judged: {error}") from error
    by_rule = {_rule_id(result): result for result in found}
    ordered = [by_rule[rule.rule_id] for rule in active]
    results = tuple(_result(rule, result) for rule, result in zip(active, ordered, strict=True))
    broken = {result.rule for result in results if not result.success}
    return GxReport(
        success=not any(r.name in broken for r in active if r.severity is Severity.ERROR),
        results=results,
        raw=_suite_result(suite.name, ordered, batch),
    )


def _checked(
    rows: pl.LazyFrame, rules: Sequence[Rule], parents: Mapping[str, pl.Series]
) -> dict[str, pl.Expr]:
    """By name, what the engine holds of each rule; it is planned, not run."""
    types = dict(rows.collect_schema())
    held = dict[str, pl.Expr]()
    for rule in rules:
        for name in rule.columns:
            if name not in types:
                raise RuleError(
                    f"rule '{rule.name}' names column '{name}'; the columns are {', '.join(types)}"
                )
        try:
            held[rule.name] = broken_by(rule, types, parents)
            rows.select(held[rule.name].alias("broken")).collect_schema()
        except pl.exceptions.PolarsError as error:
            raise RuleError(f"rule '{rule.name}' cannot be judged: {error}") from error
    return held


def _rule_id(result: Any) -> str:
    return str(result.expectation_config.meta["rule_id"])


def _result(rule: Rule, result: Any) -> GxResult:
    counts = result.result
    return GxResult(
        rule=rule.name,
        success=bool(result.success),
        evaluated=int(counts["element_count"]),
        unexpected=int(counts["unexpected_count"]),
        sample=tuple(counts.get("partial_unexpected_index_list") or ()),
    )


def _suite_result(name: str, results: list[Any], batch: Batch) -> ExpectationSuiteValidationResult:
    numbers = calc_validation_statistics(results)
    return ExpectationSuiteValidationResult(
        results=results,
        success=numbers.success,
        suite_name=name,
        statistics={
            "evaluated_expectations": numbers.evaluated_expectations,
            "successful_expectations": numbers.successful_expectations,
            "unsuccessful_expectations": numbers.unsuccessful_expectations,
            "success_percent": numbers.success_percent,
        },
        meta={"great_expectations_version": gx_version},
        batch_id=str(batch.id),
    )
