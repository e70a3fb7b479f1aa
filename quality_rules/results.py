"""What rules found, counted over a table, as rows of `data_quality_rules` and `data_quality_results`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Decimal

import polars as pl

from quality_rules.rule import Rule

#: How many keys of failing rows a result shows.
SAMPLE_KEYS = 20

_UTC = pl.Datetime("us", "UTC")

RULES_TABLE: Mapping[str, pl.DataType] = {
    "rule_id": pl.String(),
    "table_name": pl.String(),
    "column_name": pl.String(),
    "rule_name": pl.String(),
    "rule_type": pl.String(),
    "rule_config": pl.String(),
    "severity": pl.String(),
    "is_active": pl.Boolean(),
    "description": pl.String(),
    "recorded_at": _UTC,
}

RESULTS_TABLE: Mapping[str, pl.DataType] = {
    "check_id": pl.String(),
    "rule_id": pl.String(),
    "table_name": pl.String(),
    "rule_name": pl.String(),
    "severity": pl.String(),
    "checked_at": _UTC,
    "record_count": pl.Int64(),
    "failed_count": pl.Int64(),
    "success_rate": pl.Decimal(5, 2),
    "sample_failures": pl.String(),
    "run_id": pl.String(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """One rule over the rows of one table: how many, how many broke it, and the keys of some."""

    rule: Rule
    record_count: int
    failed_count: int
    sample: tuple[Mapping[str, object], ...] = ()

    @property
    def success_rate(self) -> Decimal:
        """Percent of rows that kept the rule; rounded down, so that 100.00 means all of them."""
        if not self.record_count:
            return Decimal("100.00")
        share = Decimal(100) * (self.record_count - self.failed_count) / self.record_count
        return share.quantize(Decimal("0.01"), rounding=ROUND_DOWN)


def judge(
    rows: pl.LazyFrame,
    rules: Sequence[Rule],
    key: Sequence[str],
    parents: Mapping[str, pl.Series],
    *,
    hidden: frozenset[str] = frozenset(),
) -> list[RuleResult]:
    """Each active rule counted over all rows, with the keys of up to `SAMPLE_KEYS` failing ones.

    Values of the key columns in `hidden` are shown as `***`. Counts are taken in one pass.
    """
    active = [rule for rule in rules if rule.active]
    types = dict(rows.collect_schema())
    broken = {rule.name: _broken(rule, types, parents) for rule in active}
    counts = rows.select(
        pl.len().alias("*rows"), *(expr.sum().alias(name) for name, expr in broken.items())
    ).collect(engine="streaming")
    total = int(counts["*rows"][0])
    failing = [rule for rule in active if counts[rule.name][0]]
    samples = {rule.name: _sample(rows, broken[rule.name], key, hidden) for rule in failing}
    return [
        RuleResult(
            rule=rule,
            record_count=total,
            failed_count=int(counts[rule.name][0] or 0),
            sample=samples.get(rule.name, ()),
        )
        for rule in active
    ]


def _broken(
    rule: Rule, types: Mapping[str, pl.DataType], parents: Mapping[str, pl.Series]
) -> pl.Expr:
    if rule.on_rows:
        return (~rule.valid(types, parents)).fill_null(value=False)
    complete = pl.all_horizontal(pl.col(name).is_not_null() for name in rule.columns)
    return pl.struct(rule.columns).is_duplicated() & complete


def _sample(
    rows: pl.LazyFrame, broken: pl.Expr, key: Sequence[str], hidden: frozenset[str]
) -> tuple[Mapping[str, object], ...]:
    shown = [pl.lit("***").alias(name) if name in hidden else pl.col(name) for name in key]
    return tuple(rows.filter(broken).select(shown).head(SAMPLE_KEYS).collect().to_dicts())


def rule_rows(rules: Sequence[Rule], now: datetime) -> pl.DataFrame:
    """The rules as rows of `data_quality_rules`."""
    rows = [
        (
            rule.rule_id,
            rule.table,
            ", ".join(rule.columns) or None,
            rule.name,
            rule.kind.value,
            json.dumps(dict(rule.params), default=str, sort_keys=True),
            rule.severity.value,
            rule.active,
            rule.description,
            now,
        )
        for rule in rules
    ]
    return pl.DataFrame(rows, schema=dict(RULES_TABLE), orient="row")


def result_rows(results: Sequence[RuleResult], now: datetime, run_id: str) -> pl.DataFrame:
    """The results as rows of `data_quality_results`."""
    rows = [
        (
            str(uuid.uuid5(uuid.UUID(result.rule.rule_id), f"{run_id}/{now.isoformat()}")),
            result.rule.rule_id,
            result.rule.table,
            result.rule.name,
            result.rule.severity.value,
            now,
            result.record_count,
            result.failed_count,
            result.success_rate,
            json.dumps(list(result.sample), default=str),
            run_id,
        )
        for result in results
    ]
    return pl.DataFrame(rows, schema=dict(RESULTS_TABLE), orient="row")
