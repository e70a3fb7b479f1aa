"""What the rules of a table found before: the last checks of each, from `data_quality_results`."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from pipelines.quality import RESULTS
from pipelines.storage import Lake

#: How many checks a trend shows.
CHECKS = 30

_BARS = "▁▂▃▄▅▆▇█"


def trends(lake: Lake, table: str) -> Mapping[str, pl.DataFrame]:
    """For each rule of a table its last checks, the newest last: `checked_at`, `record_count`, `failed_count`, `success_rate`."""
    if lake.version(RESULTS) is None:
        return {}
    last = (
        lake.scan(RESULTS)
        .filter(pl.col("table_name") == table)
        .select("rule_name", "checked_at", "record_count", "failed_count", "success_rate")
        .sort("checked_at")
        .group_by("rule_name", maintain_order=True)
        .tail(CHECKS)
        .collect()
    )
    return {
        str(name): rows.drop("rule_name")
        for (name,), rows in last.partition_by("rule_name", as_dict=True).items()
    }


def bars(counts: pl.Series) -> str:
    """The counts as a line of bars, the highest of them full; a flat line where nothing failed."""
    most = counts.max()
    if not isinstance(most, int) or most == 0:
        return _BARS[0] * len(counts)
    heights = ((counts * (len(_BARS) - 1) + most - 1) // most).to_list()  # 1 of many shows too
    return "".join(_BARS[height] for height in heights)


def markdown(trend: pl.DataFrame) -> str:
    """A trend as Markdown: the bars of failed rows, and a row for each check, the newest first."""
    head = ["| checked | rows | failed | kept |", "|---|--:|--:|--:|"]
    rows = [
        f"| {at:%Y-%m-%d %H:%M} | {records:,} | {failed:,} | {rate} % |"
        for at, records, failed, rate in trend.reverse().rows()
    ]
    return "\n".join([f"`{bars(trend['failed_count'])}` failed rows", "", *head, *rows])
