"""How the lake's quality stands: what fails now, how it went in the last days, the worst tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from pipelines.quality import RESULTS, RULES
from pipelines.storage import Lake
from quality_rules.results import RESULTS_TABLE

_BARS = "▁▂▃▄▅▆▇█"
_RANK = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """`failures`: a row for each rule that its newest check found broken or could not judge.

    `tables`: a row for each table with a failure, the worst first: by failing error rules, then by
    rows that break them. `rules` and `checks` count what was looked at.
    """

    failures: list[dict[str, Any]]
    tables: list[dict[str, Any]]
    rules: int
    checks: int


def standing(
    lake: Lake, now: datetime, *, days: int = 14, tables: Sequence[str] | None = None
) -> Standing:
    """The rules that stand, by their newest check in the last `days`; the trend is a bar a day (UTC)."""
    if lake.version(RESULTS) is None:
        return Standing(failures=[], tables=[], rules=0, checks=0)
    since = now - timedelta(days=days)
    results = _whole(lake.scan(RESULTS)).filter(pl.col("checked_at") > since)
    if tables:
        results = results.filter(pl.col("table_name").is_in(list(tables)))
    found = results.join(_removed(lake), on="rule_id", how="anti").sort("checked_at").collect()
    newest = found.unique(["table_name", "rule_id"], keep="last", maintain_order=True)
    # Results of an older make have no verdict of their own.
    broken = ~pl.col("passed").fill_null(pl.col("failed_count") == 0) | (
        pl.col("failed_count") + pl.col("unjudged_count").fill_null(0) > 0
    )
    failing = newest.filter(broken)
    trends = _trends(found, now, days)
    return Standing(
        failures=_failures(failing, trends),
        tables=_worst(failing),
        rules=len(newest),
        checks=len(found),
    )


def _whole(results: pl.LazyFrame) -> pl.LazyFrame:
    """The results with the columns that a table of an older make lacks, as nulls."""
    known = results.collect_schema()
    return results.with_columns(
        pl.lit(None, dtype).alias(name)
        for name, dtype in RESULTS_TABLE.items()
        if name not in known
    )


def _removed(lake: Lake) -> pl.LazyFrame:
    """The rules whose newest version says that they are gone."""
    rules = lake.scan(RULES)
    if "is_removed" not in rules.collect_schema():
        return pl.LazyFrame(schema={"rule_id": pl.String()})
    newest = rules.sort("version").unique("rule_id", keep="last")
    return newest.filter("is_removed").select("rule_id")


def _failures(failing: pl.DataFrame, trends: pl.DataFrame) -> list[dict[str, Any]]:
    rank = pl.col("severity").replace_strict(_RANK, default=len(_RANK), return_dtype=pl.Int8)
    shown = failing.join(trends, on=["table_name", "rule_id"], how="left").sort(
        rank, "success_rate", "table_name", "rule_name"
    )
    columns = {
        "table": "table_name",
        "rule": "rule_name",
        "severity": "severity",
        "records": "record_count",
        "failed": "failed_count",
        "unjudged": "unjudged_count",
        "rate": "success_rate",
        "trend": "trend",
        "checked_at": "checked_at",
    }
    rows = shown.select(pl.col(name).alias(title) for title, name in columns.items()).rows()
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _worst(failing: pl.DataFrame) -> list[dict[str, Any]]:
    is_error = pl.col("severity") == "error"
    worst = (
        failing.group_by("table_name")
        .agg(
            is_error.sum().alias("error_rules"),
            (~is_error).sum().alias("other_rules"),
            pl.col("failed_count").filter(is_error).max().fill_null(0).alias("rows_of_the_worst"),
            pl.col("success_rate").min().alias("lowest_rate"),
        )
        .sort(
            ["error_rules", "rows_of_the_worst", "other_rules", "table_name"],
            descending=[True, True, True, False],
        )
        .rename({"table_name": "table"})
    )
    return [dict(zip(worst.columns, row, strict=True)) for row in worst.rows()]


# ---- TREND ---- #


def _trends(found: pl.DataFrame, now: datetime, days: int) -> pl.DataFrame:
    """For each rule the last rate of each day, as bars."""
    ago = (pl.lit(now.date()) - pl.col("checked_at").dt.date()).dt.total_days().alias("ago")
    daily = (
        found.with_columns(ago)
        .group_by("table_name", "rule_id", "ago")
        .agg(pl.col("success_rate").cast(pl.Float64).last())
        .group_by("table_name", "rule_id")
        .agg("ago", "success_rate")
    )
    bars = [
        sparkline([dict(zip(when, rates, strict=True)).get(day) for day in range(days - 1, -1, -1)])
        for when, rates in daily.select("ago", "success_rate").rows()
    ]
    return daily.select("table_name", "rule_id", pl.Series("trend", bars, dtype=pl.String))


def sparkline(rates: Sequence[float | None]) -> str:
    """Percents as bars, from the lowest of them to 100; a blank where there is none."""
    told = [rate for rate in rates if rate is not None]
    span = 100 - min(told, default=100)
    return "".join(
        " " if rate is None else _BARS[-1 if not span else round((rate - 100 + span) / span * 7)]
        for rate in rates
    )
