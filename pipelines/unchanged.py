"""Values that an event only says were not touched: from the batch, from what is stored, or from bronze."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pipelines.bronze import schema_blocks
from pipelines.change.decode import BRONZE_COLUMNS, decode_events
from pipelines.change.images import DELETE, UPSERT, old_keys
from pipelines.change.position import ORDER
from pipelines.change.reduce import UNAVAILABLE, fill_across_moves, fill_unchanged
from pipelines.contract import Contract
from pipelines.feed import no_rows
from pipelines.state import FOUND, OWN_ISSUES, State
from pipelines.storage import Lake


def fill_from_lake(
    lake: Lake,
    contract: Contract,
    state: State,
    rows: pl.DataFrame,
    waiting: pl.DataFrame,
    unchanged: Sequence[str],
    truncates: pl.DataFrame,
) -> pl.DataFrame:
    """The rows with unchanged values filled in, from each other and from what is stored."""
    if not unchanged:
        return rows
    key = list(contract.key)
    cuts = pl.concat([truncates.select(ORDER), state.truncates().select(ORDER)]).unique().rows()
    keys = (
        rows.filter(pl.any_horizontal(f"_same:{name}" for name in unchanged)).select(key).unique()
    )
    stored = state.silver.find(keys, key, [*unchanged, *ORDER, "quality_issues"]).drop(FOUND)
    own = pl.col("quality_issues").list.filter(pl.element().str.contains(OWN_ISSUES))
    gone = state.tombstones.find(keys, key, list(ORDER)).drop(FOUND)
    nothing = pl.lit([], pl.List(pl.String())).alias("_issues")
    known = [
        stored.with_columns(pl.lit(UPSERT).alias("_verb"), own.alias("_issues")),
        gone.with_columns(pl.lit(DELETE).alias("_verb"), nothing),
        waiting.join(keys, on=key, how="semi").drop(FOUND),
    ]
    flags = [pl.lit(value=False).alias(f"_same:{name}") for name in unchanged]
    marked = [
        rows.with_columns(pl.lit(value=True).alias("_new")),
        *(part.with_columns(*flags) for part in known),
    ]
    merged = pl.concat(marked, how="diagonal_relaxed")
    filled = fill_unchanged(merged, key, unchanged, cuts)
    moved = filled.filter(pl.col("_new") & pl.col("_moved_from").is_not_null() & _lacks(unchanged))
    if len(moved):
        merged = pl.concat(
            [merged, _ancestors(lake, contract, moved["_moved_from"], unchanged)],
            how="diagonal_relaxed",
        )
        filled = fill_across_moves(merged, key, unchanged, cuts)
    own = filled.filter(pl.col("_new")).select(*_columns(rows))
    source = contract.source
    if source is not None and source.connector == "cassandra":
        # A cell that nothing ever set is null there, and needs no row before it.
        known = ~pl.element().str.starts_with(f"{UNAVAILABLE}:")
        own = own.with_columns(pl.col("_issues").list.filter(known))
    return own


def _ancestors(
    lake: Lake, contract: Contract, texts: pl.Series, unchanged: Sequence[str]
) -> pl.DataFrame:
    """All events under these keys, and under those that their rows had before: from bronze, which forgets none."""
    bronze = lake.scan(contract.bronze).select(BRONZE_COLUMNS)
    wanted, rows = set(texts), no_rows()
    while missing := wanted - set(rows["key"]):
        rows = pl.concat([rows, bronze.filter(pl.col("key").is_in(sorted(missing))).collect()])
        known = wanted | set(old_keys(rows["headers"]).drop_nulls())
        if known == wanted:
            break
        wanted = known
    blocks = schema_blocks(lake, set(rows["schema_fingerprint"].drop_nulls()))
    frame = decode_events(rows, contract, blocks).frame
    lacking = [
        pl.lit(value=False).alias(f"_same:{name}")
        for name in unchanged
        if f"_same:{name}" not in frame.columns
    ]
    return frame.with_columns(pl.lit(value=False).alias("_new"), *lacking)


def _lacks(unchanged: Sequence[str]) -> pl.Expr:
    return pl.any_horizontal(
        pl.col("_issues").list.contains(f"{UNAVAILABLE}:{name}") for name in unchanged
    )


def _columns(rows: pl.DataFrame) -> list[str]:
    return [name for name in rows.columns if not name.startswith("_same:")]
