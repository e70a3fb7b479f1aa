"""From many events to what matters: unchanged values filled, one newest event a key, truncates obeyed."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pipelines.change.decode import DELETE, TRUNCATE, UPSERT
from pipelines.change.position import ORDER

UNAVAILABLE = "unavailable"
UNDECODABLE = "undecodable"


def fill_unchanged(
    events: pl.DataFrame, key: Sequence[str], unchanged: Sequence[str]
) -> pl.DataFrame:
    """Each unchanged value taken from the event of the same key before it.

    `events` may hold stored rows as events, so that a value is found beyond the batch. What is not
    found stays null with the issue `unavailable:<column>`: unknown, which is not the same as null.
    A delete ends the search: the row after it is another row.
    """
    if not unchanged:
        return events
    ordered = events.sort(*key, *ORDER).with_columns(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("_at")
    )
    life = (pl.col("_verb").shift(1) != UPSERT).fill_null(value=True).cum_sum().over(key)
    ordered = ordered.with_columns(life.alias("_life"))
    for name in unchanged:
        same = pl.col(f"_same:{name}")
        origin = pl.when(~same).then(pl.col("_at")).forward_fill().over([*key, "_life"])
        lost = pl.any_horizontal(
            pl.col("_issues").list.contains(f"{why}:{name}") for why in (UNDECODABLE, UNAVAILABLE)
        )
        unknown = same & (origin.is_null() | lost.gather(origin))
        issue = pl.when(unknown).then(pl.lit(f"{UNAVAILABLE}:{name}"))
        ordered = ordered.with_columns(
            pl.col(name).gather(origin).alias(name),
            pl.concat_list("_issues", issue)
            .list.drop_nulls()
            .list.unique(maintain_order=True)
            .alias("_issues"),
        )
    return ordered.drop("_at", "_life")


def newest(events: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """One event a key: the newest in the total order."""
    return events.sort(ORDER).unique(subset=list(key), keep="last", maintain_order=False)


def split_truncates(events: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Row events, and truncates."""
    is_truncate = pl.col("_verb") == TRUNCATE
    return events.filter(~is_truncate), events.filter(is_truncate)


def is_upsert() -> pl.Expr:
    """Whether an event leaves a row."""
    return pl.col("_verb") == UPSERT


def is_delete() -> pl.Expr:
    """Whether an event takes the row away."""
    return pl.col("_verb") == DELETE
