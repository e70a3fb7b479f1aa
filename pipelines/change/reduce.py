"""From many events to what matters: unchanged values filled, one newest event a key, truncates obeyed."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pipelines.change.images import DELETE, TRUNCATE, UPSERT
from pipelines.change.position import ORDER, exceeds, in_order, is_after
from quality_rules.split import SPECIAL

UNAVAILABLE = "unavailable"
UNDECODABLE = "undecodable"


def fill_unchanged(
    events: pl.DataFrame,
    key: Sequence[str],
    unchanged: Sequence[str],
    truncates: Sequence[Sequence[int]] = (),
) -> pl.DataFrame:
    """Each unchanged value taken from the event of the same key before it.

    `events` may hold stored rows as events, so that a value is found beyond the batch. What is not
    found stays null with the issue `unavailable:<column>`: unknown, which is not the same as null.
    A delete ends the search, and so does a truncate at one of these positions: the row after it is
    another row.
    """
    if not unchanged:
        return events
    events = events.with_columns(_era(truncates))
    # A stored row comes before the event that it is of, which may be applied once more.
    twin = ["_new"] if "_new" in events.columns else []
    ordered = events.sort(*key, *ORDER, *twin).with_columns(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("_at")
    )
    life = (pl.col("_verb").shift(1) != UPSERT).fill_null(value=True).cum_sum().over(key)
    ordered = ordered.with_columns(life.alias("_life"))
    for name in unchanged:
        same = pl.col(f"_same:{name}")
        origin = pl.when(~same).then(pl.col("_at")).forward_fill().over([*key, "_life", "_era"])
        lost = _has(UNDECODABLE, name) | _has(UNAVAILABLE, name)
        unknown = same & (origin.is_null() | lost.gather(origin))
        special = same & _has(SPECIAL, name).gather(origin)
        issue = (
            pl.when(unknown)
            .then(pl.lit(f"{UNAVAILABLE}:{name}"))
            .when(special)
            .then(pl.lit(f"{SPECIAL}:{name}"))
        )
        ordered = ordered.with_columns(
            pl.col(name).gather(origin).alias(name),
            pl.concat_list("_issues", issue)
            .list.drop_nulls()
            .list.unique(maintain_order=True)
            .alias("_issues"),
        )
    return ordered.drop("_at", "_life")


def _era(truncates: Sequence[Sequence[int]]) -> pl.Expr:
    """How many truncates came before an event."""
    passed = [is_after(position).cast(pl.Int32) for position in truncates]
    return (pl.sum_horizontal(passed) if passed else pl.lit(0, pl.Int32)).alias("_era")


def fill_across_moves(
    events: pl.DataFrame,
    key: Sequence[str],
    unchanged: Sequence[str],
    truncates: Sequence[Sequence[int]] = (),
) -> pl.DataFrame:
    """Like `fill_unchanged`, and a row that a key change made goes on from the row under its old key.

    The create of a key change carries a placeholder for a value that was not touched, while what it
    stands for was sent under the old key. `events` hold the old keys' events too.
    """
    while True:
        filled = fill_unchanged(events, key, unchanged, truncates)
        taken = _taken_over(filled, unchanged)
        if not len(taken):
            return filled
        events = _with_values(events, taken, unchanged)


def _taken_over(filled: pl.DataFrame, unchanged: Sequence[str]) -> pl.DataFrame:
    """For each moved row that lacks a value: the values of its predecessor, as far as those are known."""
    lacking = pl.any_horizontal(_has(UNAVAILABLE, name) for name in unchanged)
    moved = filled.filter(pl.col("_moved_from").is_not_null() & lacking).select(
        "source_bronze_id", "_moved_from", "_issues", "_era", *ORDER
    )
    known = filled.filter(pl.col("_verb") == UPSERT).select(
        pl.col("_key").alias("_moved_from"),
        "_era",
        *(pl.col(name).alias(f"_old:{name}") for name in ORDER),
        *(
            pl.when(~(_has(UNAVAILABLE, name) | _has(UNDECODABLE, name)))
            .then(pl.struct(name))
            .alias(f"_from:{name}")
            for name in unchanged
        ),
    )
    older = exceeds([(pl.col(name), pl.col(f"_old:{name}")) for name in ORDER])
    pairs = moved.join(known, on=["_moved_from", "_era"], how="inner").filter(older)
    before = pairs.sort(*(f"_old:{name}" for name in ORDER)).unique("source_bronze_id", keep="last")
    useful = pl.any_horizontal(
        _has(UNAVAILABLE, name) & pl.col(f"_from:{name}").is_not_null() for name in unchanged
    )
    return before.filter(useful).select(
        "source_bronze_id", *(f"_from:{name}" for name in unchanged)
    )


def _has(issue: str, name: str) -> pl.Expr:
    return pl.col("_issues").list.contains(f"{issue}:{name}")


def _with_values(
    events: pl.DataFrame, taken: pl.DataFrame, unchanged: Sequence[str]
) -> pl.DataFrame:
    joined = events.join(taken, on="source_bronze_id", how="left", maintain_order="left")
    for name in unchanged:
        use = pl.col(f"_same:{name}") & pl.col(f"_from:{name}").is_not_null()
        joined = joined.with_columns(
            pl.when(use)
            .then(pl.col(f"_from:{name}").struct.field(name))
            .otherwise(pl.col(name))
            .alias(name),
            (pl.col(f"_same:{name}") & ~use).alias(f"_same:{name}"),
        )
    return joined.select(events.columns)


def newest(events: pl.DataFrame, key: Sequence[str], *, then: Sequence[str] = ()) -> pl.DataFrame:
    """One event a key: the newest in the total order, and among its likes the last by `then`."""
    order = [*ORDER, *then]
    at = pl.int_range(pl.len(), dtype=pl.UInt32).alias("_at")
    places = in_order(events.select(*key, *order, at), order)
    last = places.unique(subset=list(key), keep="last", maintain_order=False)["_at"]
    return events.select(pl.all().gather(last))


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
