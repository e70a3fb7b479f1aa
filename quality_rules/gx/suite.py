"""Rules compiled to an expectation suite: core expectations where there is one, else one of ours."""

# Great Expectations exports its expectations in ways its type stubs do not tell.
# pyright: reportPrivateImportUsage=false, reportArgumentType=false, reportIncompatibleVariableOverride=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar

import great_expectations.expectations.core as gx_core
from great_expectations.compatibility import pydantic
from great_expectations.core.expectation_suite import ExpectationSuite
from great_expectations.execution_engine.execution_engine import ExecutionEngine
from great_expectations.expectations import registry
from great_expectations.expectations.expectation import BatchExpectation, parse_result_format

from quality_rules.aggregates import Verdict
from quality_rules.gx.metrics import RULE_METRIC, TABLE_RULE_METRIC
from quality_rules.rule import Rule, RuleKind, Severity

SEVERITIES: Mapping[Severity, str] = {
    Severity.ERROR: "critical",
    Severity.WARNING: "warning",
    Severity.INFO: "info",
}


def suite_of(table: str, rules: Sequence[Rule]) -> ExpectationSuite:
    """The active rules as a suite of the table's name; each expectation's `meta` names its rule."""
    suite = ExpectationSuite(name=table)
    # Given to the constructor, the suite would lose all but one expectation that names no column.
    suite.expectations = [expectation_of(rule) for rule in rules if rule.active]
    return suite


def expectation_of(rule: Rule) -> Any:
    """A rule as an expectation that counts the same rows."""
    common: dict[str, Any] = {
        "meta": {"rule": rule.name, "rule_id": rule.rule_id},
        "severity": SEVERITIES[rule.severity],
        "description": f"{rule.name}: {rule.description or in_words(rule)}",
    }
    if (make := _CORE.get(rule.kind)) and not _would_change(rule):
        return make(rule, common)
    ours = ExpectTableToKeepRule if rule.on_table else ExpectRowsToKeepRule
    return ours(
        rule=rule.name,
        kind=rule.kind.value,
        columns=list(rule.columns),
        params=dict(rule.params),
        **({} if rule.on_table else {"mostly": rule.mostly}),
        **common,
    )


def _would_change(rule: Rule) -> bool:
    """Whether the core expectation would say something else.

    It counts `mostly` among values that are there, and a rule among all rows; it reads numbers as
    floats, and dates without their time; it knows no volume by day.
    """
    if rule.kind is RuleKind.VOLUME:
        return bool(rule.columns)
    if rule.mostly < 1 and rule.kind is not RuleKind.NOT_NULL:
        return True
    bounds = [rule.params[name] for name in ("min", "max") if rule.params.get(name) is not None]
    return rule.kind is RuleKind.RANGE and not all(_survives(bound) for bound in bounds)


def _survives(bound: Any) -> bool:
    if isinstance(bound, str):
        return _as_date(bound) is not None
    return isinstance(bound, int | float) and Decimal(float(bound)) == Decimal(bound)


def _as_date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _bound(rule: Rule, name: str) -> Any:
    value = rule.params.get(name)
    return _as_date(value) if isinstance(value, str) else value


def _unique(rule: Rule, common: Mapping[str, Any]) -> Any:
    if len(rule.columns) == 1:
        return gx_core.ExpectColumnValuesToBeUnique(column=rule.columns[0], **common)
    return gx_core.ExpectCompoundColumnsToBeUnique(
        column_list=list(rule.columns), ignore_row_if="any_value_is_missing", **common
    )


_CORE: Mapping[RuleKind, Callable[[Rule, Mapping[str, Any]], Any]] = {
    RuleKind.NOT_NULL: lambda rule, common: gx_core.ExpectColumnValuesToNotBeNull(
        column=rule.columns[0], mostly=rule.mostly, **common
    ),
    RuleKind.RANGE: lambda rule, common: gx_core.ExpectColumnValuesToBeBetween(
        column=rule.columns[0],
        min_value=_bound(rule, "min"),
        max_value=_bound(rule, "max"),
        **common,
    ),
    RuleKind.PATTERN: lambda rule, common: gx_core.ExpectColumnValuesToMatchRegex(
        column=rule.columns[0], regex=rule.params["regex"], **common
    ),
    RuleKind.SET: lambda rule, common: gx_core.ExpectColumnValuesToBeInSet(
        column=rule.columns[0], value_set=list(rule.params["values"]), **common
    ),
    RuleKind.LENGTH: lambda rule, common: gx_core.ExpectColumnValueLengthsToBeBetween(
        column=rule.columns[0],
        min_value=rule.params.get("min"),
        max_value=rule.params.get("max"),
        **common,
    ),
    RuleKind.UNIQUE: _unique,
    RuleKind.VOLUME: lambda rule, common: gx_core.ExpectTableRowCountToBeBetween(
        min_value=rule.params.get("min"), max_value=rule.params.get("max"), **common
    ),
}


def in_words(rule: Rule) -> str:
    """What a rule without a description says."""
    names = ", ".join(rule.columns)
    told = _WORDS.get(rule.kind)
    return told(names, rule.params) if told else f"{rule.kind} on {names or 'the table'}"


def _bounds(params: Mapping[str, Any]) -> str:
    low, high = params.get("min"), params.get("max")
    if low is None or high is None:
        return f"at most {high}" if low is None else f"at least {low}"
    return f"between {low} and {high}"


_WORDS: Mapping[RuleKind, Callable[[str, Mapping[str, Any]], str]] = {
    RuleKind.NOT_NULL: lambda names, _: f"{names} is never missing",
    RuleKind.RANGE: lambda names, params: f"{names} is {_bounds(params)}",
    RuleKind.LENGTH: lambda names, params: f"the length of {names} is {_bounds(params)}",
    RuleKind.PATTERN: lambda names, params: f"{names} matches {params['regex']}",
    RuleKind.SET: lambda names, p: f"{names} is one of {', '.join(map(str, p['values']))}",
    RuleKind.TYPE: lambda names, params: f"{names} can be read as {params['type']}",
    RuleKind.FORMAT: lambda names, params: f"{names} is written as {params['format']}",
    RuleKind.UNIQUE: lambda names, _: f"no two rows share {names}",
    RuleKind.REFERENCE: lambda names, p: f"{names} stands in {p['table']}.{p['column']}",
    RuleKind.EXPRESSION: lambda _, params: str(params["sql"]),
    RuleKind.FRESHNESS: lambda names, p: f"{names} is at most {p['within_seconds']} s old",
    RuleKind.VOLUME: lambda names, params: (
        f"rows by the day of {names} are as many as before"
        if names
        else f"rows are {_bounds(params)}"
    ),
    RuleKind.DRIFT: lambda names, _: f"the distribution of {names.split(', ')[0]} stays",
    RuleKind.SCHEMA: lambda _, params: f"the columns are {', '.join(params['columns'])}",
    RuleKind.RECONCILIATION: lambda _, p: (
        f"rows as many as the source's, within {p.get('within', 0):.0%}"
    ),
}


_COUNT, _KEYS = f"{RULE_METRIC}.unexpected_count", f"{RULE_METRIC}.unexpected_index_list"


class ExpectRowsToKeepRule(BatchExpectation):
    """Expects rows to keep a rule of ours that the core vocabulary has no word for."""

    rule: str
    kind: str
    columns: list[str] = pydantic.Field(default_factory=list)
    params: dict[str, Any] = pydantic.Field(default_factory=dict)
    mostly: float = 1.0

    metric_dependencies: ClassVar[tuple[str, ...]] = (_COUNT, _KEYS, "table.row_count")
    success_keys: ClassVar[tuple[str, ...]] = ("rule", "kind", "columns", "params", "mostly")
    args_keys: ClassVar[tuple[str, ...]] = ("rule", "kind", "columns", "params", "mostly")

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: ExecutionEngine[Any] | None = None,
    ) -> dict[str, Any]:
        unexpected, rows = metrics[_COUNT], metrics["table.row_count"]
        percent = 100 * unexpected / rows if rows else 0.0
        asked: Any = self._get_result_format(runtime_configuration=runtime_configuration)
        result_format = parse_result_format(asked)
        result: dict[str, Any] = {
            "element_count": rows,
            "unexpected_count": unexpected,
            "unexpected_percent": percent,
            "missing_count": 0,
            "missing_percent": 0.0,
            "unexpected_percent_total": percent,
            "unexpected_percent_nonmissing": percent,
        }
        if keys := result_format.get("unexpected_index_column_names"):
            shown = metrics[_KEYS][: result_format["partial_unexpected_count"]]
            result |= {
                "unexpected_index_column_names": keys,
                "partial_unexpected_index_list": shown,
            }
        return {"success": rows - unexpected >= self.mostly * rows, "result": result}


class ExpectTableToKeepRule(BatchExpectation):
    """Expects a table as a whole to keep a rule of ours: to be fresh, as spread as it was, and so on."""

    rule: str
    kind: str
    columns: list[str] = pydantic.Field(default_factory=list)
    params: dict[str, Any] = pydantic.Field(default_factory=dict)

    metric_dependencies: ClassVar[tuple[str, ...]] = (TABLE_RULE_METRIC,)
    success_keys: ClassVar[tuple[str, ...]] = ("rule", "kind", "columns", "params")
    args_keys: ClassVar[tuple[str, ...]] = ("rule", "kind", "columns", "params")

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: ExecutionEngine[Any] | None = None,
    ) -> dict[str, Any]:
        verdict: Verdict = metrics[TABLE_RULE_METRIC]
        return {
            "success": verdict.kept is True,
            "result": {"observed_value": dict(verdict.observed)},
        }


for each in (ExpectRowsToKeepRule, ExpectTableToKeepRule):
    registry.register_expectation(each)
