"""The door to Great Expectations: a table's rules become a suite, judged by an engine that runs on Polars.

Import this module only where a table is validated: Great Expectations takes five seconds and 270 MB
to import.
"""

# Great Expectations exports its expectations and batches in ways its type stubs do not tell.
# pyright: reportPrivateImportUsage=false, reportArgumentType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import great_expectations as gx
import polars as pl
from great_expectations.core.expectation_suite import ExpectationSuite
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from quality_rules.aggregates import Facts
from quality_rules.gx.engine import Rows
from quality_rules.gx.redact import exception_of, redact
from quality_rules.gx.source import LazyFrameAsset, PolarsDatasource
from quality_rules.gx.suite import suite_of
from quality_rules.results import SAMPLE_KEYS
from quality_rules.rule import Rule, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One expectation's result: rows that it spoke of, those that broke it, and keys of some.

    A rule of the table as a whole speaks of one record. `error` says why it could not be judged; then
    it is no success.
    """

    rule: str
    success: bool
    evaluated: int
    unexpected: int
    sample: tuple[Mapping[str, object], ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GxReport:
    """What Great Expectations says of a table; `raw` is its own result, of its own `suite`.

    `success`: every error rule was judged and kept.
    """

    success: bool
    results: tuple[Judgement, ...]
    raw: ExpectationSuiteValidationResult
    suite: ExpectationSuite


def validate(
    rows: pl.LazyFrame,
    rules: Sequence[Rule],
    parents: Mapping[str, pl.Series],
    *,
    table: str,
    key: Sequence[str],
    hidden: frozenset[str] = frozenset(),
    facts: Facts | None = None,
) -> GxReport:
    """The active rules as an expectation suite over all rows.

    `parents` holds, by rule name, the values that a reference finds; `facts` what rules of the whole
    table are judged by. Results hold counts and the keys of up to `SAMPLE_KEYS` rows that break each rule, with the columns
    in `hidden` shown as `***`; they hold no value of any other column.
    """
    suite, given = suite_of(table, rules), Rows(rows, parents, hidden, facts or Facts())
    batch = _asset(table).get_batch(_asset(table).build_batch_request({"dataframe": given}))
    raw = redact(batch.validate(suite, result_format=_keys_only(key)), hidden)
    results = tuple(_judgement(result) for result in raw.results)
    errors = {rule.name for rule in rules if rule.severity is Severity.ERROR}
    return GxReport(
        success=all(result.success for result in results if result.rule in errors),
        results=results,
        raw=raw,
        suite=suite,
    )


def _keys_only(key: Sequence[str]) -> dict[str, Any]:
    """No values: a result that is stored and shown must not hold what a person wrote."""
    return {
        "result_format": "SUMMARY",
        "partial_unexpected_count": SAMPLE_KEYS,
        "exclude_unexpected_values": True,
        "unexpected_index_column_names": list(key),
    }


@cache
def context() -> Any:
    """The context that every validation of this process needs: in memory, silent, telling nobody."""
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


@cache
def _source() -> PolarsDatasource:
    return context().data_sources.add_polars(name="lake")


@cache
def _asset(table: str) -> LazyFrameAsset:
    asset: Any = _source()
    return asset.add_lazyframe_asset(name=table)


def _judgement(result: Any) -> Judgement:
    told: Mapping[str, Any] = result.result
    error = exception_of(result)
    of_rows, broken = "element_count" in told, not result.success and error is None
    return Judgement(
        rule=result.expectation_config.meta["rule"],
        success=bool(result.success),
        evaluated=int(told["element_count"]) if of_rows else 1,
        unexpected=int(told["unexpected_count"]) if of_rows else int(broken),
        sample=tuple(told.get("partial_unexpected_index_list") or ()),
        error=error,
    )
