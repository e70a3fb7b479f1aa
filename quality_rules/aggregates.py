"""Rules of a table as a whole, judged by aggregates: is it fresh, as large, as spread as it should be.

Each has three answers: kept, broken, or null where there is nothing to judge it by. A rule that
could not be judged is no pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from quality_rules.kinds import RuleKind
from quality_rules.rule import Rule

#: Rows on either side of a drift; with fewer, chance alone moves the index past 0.2.
FEWEST_ROWS = 50
#: Population stability index: below 0.1 nothing moved, 0.1 to 0.2 some, above 0.2 it is another distribution.
MOST_DRIFT = 0.2
_BINS = 10
#: Categories told apart; the rarer ones are one.
_CATEGORIES = 50
_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a table beside its rows."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: Rows of the source when it was last counted, and when that was.
    source_rows: int | None = None
    source_counted_at: datetime | None = None
    #: The columns that the stored table has; the rows' own where nothing else is known.
    columns: Mapping[str, pl.DataType] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`kept` is None where the rule could not be judged; `observed` holds numbers and times, no values."""

    kept: bool | None
    observed: Mapping[str, Any]


def judge_aggregate(
    rule: Rule, rows: pl.LazyFrame, types: Mapping[str, pl.DataType], facts: Facts
) -> Verdict:
    """A rule of `TABLE_KINDS` over all rows; reads the rule's columns only.

    Raises:
        RuleError: when the rule names a column that `types` lacks.
    """
    rule.refuse_unknown(types)
    return _OF_KIND[rule.kind](rule, rows, types, facts)


def _freshness(
    rule: Rule, rows: pl.LazyFrame, _types: Mapping[str, pl.DataType], facts: Facts
) -> Verdict:
    newest = rows.select(pl.col(rule.columns[0]).max()).collect(engine="streaming").item()
    if newest is None:
        return Verdict(kept=False, observed={"newest": None, "reason": "the table has no time"})
    age = (facts.now - _moment(newest)).total_seconds()
    within: int = rule.params["within_seconds"]
    told = {"newest": newest, "age_seconds": int(age), "within_seconds": within}
    return Verdict(kept=age <= within, observed=told)


def _moment(value: datetime | date) -> datetime:
    """A time in UTC; a day counts until it ends."""
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC) + timedelta(days=1)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _volume(
    rule: Rule, rows: pl.LazyFrame, _types: Mapping[str, pl.DataType], facts: Facts
) -> Verdict:
    params, total = rule.params, pl.len().alias("rows")
    low, high = params.get("min", 0), params.get("max", math.inf)
    if not rule.columns:
        count = rows.select(total).collect(engine="streaming").item()
        return Verdict(kept=low <= count <= high, observed={"rows": count})
    days: int = params.get("days", _DAYS)
    today = facts.now.astimezone(UTC).date()
    day = pl.col(rule.columns[0]).cast(pl.Date)
    yesterday, first = today - timedelta(days=1), today - timedelta(days=days + 1)
    count, last, before = (
        rows.select(
            total,
            (day == yesterday).sum().alias("last"),
            ((day >= first) & (day < yesterday)).sum().alias("before"),
        )
        .collect(engine="streaming")
        .row(0)
    )
    told = {
        "rows": count,
        "day": yesterday,
        "rows_of_day": last,
        "mean_of_days_before": before / days,
    }
    if not low <= count <= high:
        return Verdict(kept=False, observed=told)
    if not before:
        return Verdict(kept=None, observed={**told, "reason": f"no rows in the {days} days before"})
    ratio = last * days / before
    kept = params.get("at_least", 0) <= ratio <= params.get("at_most", math.inf)
    return Verdict(kept=kept, observed={**told, "ratio": round(ratio, 4)})


def _drift(
    rule: Rule, rows: pl.LazyFrame, types: Mapping[str, pl.DataType], facts: Facts
) -> Verdict:
    """The population stability index of the last days against all before: sum of (p - q) ln(p / q)."""
    column, time = rule.columns
    days: int = rule.params.get("days", _DAYS)
    since = facts.now - timedelta(days=days)
    recent = _at(pl.col(time), types[time]) > pl.lit(since)
    values = (
        rows.select(pl.col(column).alias("value"), recent.alias("recent"))
        .filter(pl.col("value").is_not_null() & pl.col("recent").is_not_null())
        .collect(engine="streaming")
    )
    sides = {"recent": int(values["recent"].sum()), "before": int((~values["recent"]).sum())}
    if min(sides.values()) < FEWEST_ROWS:
        reason = f"fewer than {FEWEST_ROWS} rows on a side"
        return Verdict(kept=None, observed={**sides, "reason": reason})
    index = _stability_index(values, numeric=types[column].is_numeric())
    most: float = rule.params.get("most", MOST_DRIFT)
    return Verdict(kept=index <= most, observed={**sides, "index": round(index, 4), "most": most})


def _at(time: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    utc = pl.Datetime("us", "UTC")
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return time.cast(utc)
    return time.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _stability_index(values: pl.DataFrame, *, numeric: bool) -> float:
    before = values.filter(~pl.col("recent"))["value"]
    if numeric:
        number = pl.col("value").cast(pl.Float64)
        quantiles = {before.cast(pl.Float64).quantile(at / _BINS) for at in range(1, _BINS)}
        edges = [number > edge for edge in quantiles if edge is not None]
        group = pl.sum_horizontal(edges).cast(pl.String)
    else:
        most = before.value_counts(sort=True).head(_CATEGORIES)["value"]
        group = pl.when(pl.col("value").is_in(most.implode())).then(pl.col("value").cast(pl.String))
    counts = (
        values.group_by(group.alias("group"))
        .agg(pl.col("recent").sum().alias("p"), (~pl.col("recent")).sum().alias("q"))
        .with_columns(pl.col("p", "q") + 0.5)  # a group that one side lacks is rare, not impossible
    )
    p, q = (pl.col(name) / pl.col(name).sum() for name in ("p", "q"))
    return float(counts.select(((p - q) * (p / q).log()).sum()).item())


def _schema(
    rule: Rule, _rows: pl.LazyFrame, types: Mapping[str, pl.DataType], facts: Facts
) -> Verdict:
    wanted: Mapping[str, str] = rule.params["columns"]
    types = facts.columns or types
    told = {
        "missing": sorted(set(wanted) - set(types)),
        "of_other_type": sorted(n for n in wanted if str(types.get(n, wanted[n])) != wanted[n]),
        "unknown": sorted(set(types) - set(wanted)) if rule.params.get("exact") else [],
    }
    return Verdict(kept=not any(told.values()), observed=told)


def _reconciliation(
    rule: Rule, rows: pl.LazyFrame, _types: Mapping[str, pl.DataType], facts: Facts
) -> Verdict:
    count: int = rows.select(pl.len()).collect(engine="streaming").item()
    there = facts.source_rows
    if there is None:
        return Verdict(kept=None, observed={"rows": count, "reason": "the source was not counted"})
    within: float = rule.params.get("within", 0)
    told = {"rows": count, "source_rows": there, "source_counted_at": facts.source_counted_at}
    return Verdict(kept=abs(count - there) <= within * there, observed=told)


_OF_KIND: Mapping[
    RuleKind, Callable[[Rule, pl.LazyFrame, Mapping[str, pl.DataType], Facts], Verdict]
] = {
    RuleKind.FRESHNESS: _freshness,
    RuleKind.VOLUME: _volume,
    RuleKind.DRIFT: _drift,
    RuleKind.SCHEMA: _schema,
    RuleKind.RECONCILIATION: _reconciliation,
}
