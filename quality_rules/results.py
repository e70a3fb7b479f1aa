"""What rules found, counted over a table, as rows of `data_quality_rules` and `data_quality_results`.

A rule of the table as a whole counts as one record, which it keeps or breaks.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_DOWN, Decimal

import polars as pl

from quality_rules.aggregates import Facts, judge_aggregate
from quality_rules.conditions import RAISED
from quality_rules.rule import Rule
from quality_rules.unjudged import is_broken, judge_each

_CHECKS = uuid.UUID("0d6a9a44-6f0e-5b2f-9c37-2f6f3b1a7d10")

#: How many keys of failing rows a result shows.
SAMPLE_KEYS = 20

_UTC = pl.Datetime("us", "UTC")

#: A row for each version of a rule; the newest is the one that holds.
RULES_TABLE: Mapping[str, pl.DataType] = {
    "rule_id": pl.String(),
    "version": pl.Int64(),
    "table_name": pl.String(),
    "column_name": pl.String(),
    "rule_name": pl.String(),
    "rule_type": pl.String(),
    "rule_config": pl.String(),
    "severity": pl.String(),
    "is_active": pl.Boolean(),
    "mostly": pl.Float64(),
    "description": pl.String(),
    "owner": pl.String(),
    "is_removed": pl.Boolean(),
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
    "unjudged_count": pl.Int64(),
    "success_rate": pl.Decimal(5, 2),
    "passed": pl.Boolean(),
    "observed": pl.String(),
    "sample_failures": pl.String(),
    "run_id": pl.String(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """One rule over the rows of one table: how many, how many broke it, and the keys of some.

    `unjudged_count` rows neither kept nor broke it: it raised on them, or lacked what to judge by.
    `observed` is what a rule of the whole table saw.
    """

    rule: Rule
    record_count: int
    failed_count: int
    unjudged_count: int = 0
    sample: tuple[Mapping[str, object], ...] = ()
    observed: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def success_rate(self) -> Decimal:
        """Percent of rows that kept the rule; rounded down, so that 100.00 means all of them."""
        if not self.record_count:
            return Decimal("100.00")
        share = Decimal(100) * self._kept / self.record_count
        return share.quantize(Decimal("0.01"), rounding=ROUND_DOWN)

    @property
    def passed(self) -> bool:
        """Whether as many rows keep the rule as it asks for (`mostly`)."""
        return self._kept >= Decimal(str(self.rule.mostly)) * self.record_count

    @property
    def _kept(self) -> int:
        return self.record_count - self.failed_count - self.unjudged_count


def judge(
    rows: pl.LazyFrame,
    rules: Sequence[Rule],
    key: Sequence[str],
    parents: Mapping[str, pl.Series],
    *,
    hidden: frozenset[str] = frozenset(),
    facts: Facts | None = None,
) -> list[RuleResult]:
    """Each active rule counted over all rows, with the keys of up to `SAMPLE_KEYS` failing ones.

    Values of the key columns in `hidden` are shown as `***`. The rules of rows are counted in one
    pass, those of the table in one each, over the columns that they read.
    """
    active = [rule for rule in rules if rule.active]
    types = dict(rows.collect_schema())
    known = facts or Facts()
    per_row = [rule for rule in active if not rule.on_table]
    broken = {rule.name: _broken(rule, types, parents) for rule in per_row}
    found = _counted(rows, per_row, broken, key, hidden)
    for rule in active:
        if rule.on_table:
            found[rule.name] = _of_table(rule, rows, types, known)
    return [found[rule.name] for rule in active]


def _of_table(
    rule: Rule, rows: pl.LazyFrame, types: Mapping[str, pl.DataType], facts: Facts
) -> RuleResult:
    verdict = judge_aggregate(rule, rows, types, facts)
    return RuleResult(
        rule=rule,
        record_count=1,
        failed_count=int(verdict.kept is False),
        unjudged_count=int(verdict.kept is None),
        observed=verdict.observed,
    )


def _broken(
    rule: Rule, types: Mapping[str, pl.DataType], parents: Mapping[str, pl.Series]
) -> pl.Expr:
    if rule.on_rows:
        return is_broken(rule.valid(types, parents))
    rule.refuse_unknown(types)
    complete = pl.all_horizontal(pl.col(name).is_not_null() for name in rule.columns)
    return pl.struct(rule.columns).is_duplicated() & complete


def _counted(
    rows: pl.LazyFrame,
    rules: Sequence[Rule],
    broken: Mapping[str, pl.Expr],
    key: Sequence[str],
    hidden: frozenset[str],
) -> dict[str, RuleResult]:
    try:
        counts = rows.select(
            pl.len().alias("*rows"), *(expr.sum().alias(name) for name, expr in broken.items())
        ).collect(engine="streaming")
    except RAISED:
        return {
            rule.name: _with_raised(rows, rule, broken[rule.name], key, hidden) for rule in rules
        }
    total = int(counts["*rows"][0])
    return {
        rule.name: RuleResult(
            rule=rule,
            record_count=total,
            failed_count=int(counts[rule.name][0] or 0),
            sample=_sample(rows.filter(broken[rule.name]), key, hidden)
            if counts[rule.name][0]
            else (),
        )
        for rule in rules
    }


def _with_raised(
    rows: pl.LazyFrame, rule: Rule, broken: pl.Expr, key: Sequence[str], hidden: frozenset[str]
) -> RuleResult:
    """A rule that may raise on some rows: they are told apart from those that break it."""
    held = rows.select([*dict.fromkeys([*key, *rule.reads])]).collect(engine="streaming")
    if held.is_empty():
        return RuleResult(rule=rule, record_count=0, failed_count=0)
    failed, raised = judge_each(held, ~broken)
    return RuleResult(
        rule=rule,
        record_count=len(held),
        failed_count=int(failed.sum()),
        unjudged_count=int(raised.sum()),
        sample=_sample(held.filter(failed | raised).lazy(), key, hidden),
    )


def _sample(
    rows: pl.LazyFrame, key: Sequence[str], hidden: frozenset[str]
) -> tuple[Mapping[str, object], ...]:
    shown = [pl.lit("***").alias(name) if name in hidden else pl.col(name) for name in key]
    return tuple(rows.select(shown).head(SAMPLE_KEYS).collect().to_dicts())


def rule_rows(rules: Sequence[Rule], now: datetime) -> pl.DataFrame:
    """The rules as rows of `data_quality_rules`, each the first of its versions."""
    rows = [
        (
            rule.rule_id,
            1,
            rule.table,
            ", ".join(rule.reads) or None,
            rule.name,
            rule.kind.value,
            json.dumps(dict(rule.params), default=str, sort_keys=True),
            rule.severity.value,
            rule.active,
            rule.mostly,
            rule.description,
            rule.owner,
            False,
            now,
        )
        for rule in rules
    ]
    return pl.DataFrame(rows, schema=dict(RULES_TABLE), orient="row")


def new_versions(rules: pl.DataFrame, known: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """The rows to add to `data_quality_rules`: rules of a table that are new, changed or removed.

    `rules` are the table's rules as `rule_rows` tells them, `known` what is stored of that table.
    A removed rule gets a last version that says so.
    """
    last = known.sort("version").unique("rule_id", keep="last")
    version = last.select("rule_id", pl.col("version").alias("_last"))
    told = [name for name in RULES_TABLE if name not in ("version", "recorded_at")]
    changed = rules.join(last.select(told), on=told, how="anti", nulls_equal=True)
    removed = last.filter(~pl.col("is_removed")).join(rules, on="rule_id", how="anti")
    news = pl.concat(
        [
            changed,
            removed.with_columns(
                pl.lit(value=True).alias("is_removed"), pl.lit(value=False).alias("is_active")
            ),
        ]
    ).join(version, on="rule_id", how="left")
    return news.with_columns(
        (pl.col("_last").fill_null(0) + 1).alias("version"),
        pl.lit(now).cast(_UTC).alias("recorded_at"),
    ).select(RULES_TABLE.keys())


def result_rows(results: Sequence[RuleResult], now: datetime, run_id: str) -> pl.DataFrame:
    """The results as rows of `data_quality_results`."""
    rows = [
        (
            str(uuid.uuid5(_CHECKS, f"{result.rule.rule_id}/{run_id}/{now.isoformat()}")),
            result.rule.rule_id,
            result.rule.table,
            result.rule.name,
            result.rule.severity.value,
            now,
            result.record_count,
            result.failed_count,
            result.unjudged_count,
            result.success_rate,
            result.passed,
            json.dumps(dict(result.observed), default=str) if result.observed else None,
            json.dumps(list(result.sample), default=str),
            run_id,
        )
        for result in results
    ]
    return pl.DataFrame(rows, schema=dict(RESULTS_TABLE), orient="row")
