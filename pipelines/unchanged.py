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
from pipelines.decisions import DROP, DROPPED, decisions_of
from pipelines.feed import events, no_rows
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
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows with unchanged values filled in, from each other and from what is stored.

    And the waiting rows, of which some waited for a value that one of the rows brings late.
    """
    key = list(contract.key)
    lacking, sought = _lacking(waiting, rows, key)
    names = sorted({*unchanged, *sought})
    if not names:
        return rows, waiting
    cuts = pl.concat([truncates.select(ORDER), state.truncates().select(ORDER)]).unique().rows()
    flagged = rows.with_columns(
        pl.lit(value=False).alias(f"_same:{name}") for name in sought if name not in unchanged
    )
    asks = pl.any_horizontal(f"_same:{name}" for name in names)
    keys = pl.concat([flagged.filter(asks).select(key), lacking.select(key)]).unique()
    others = waiting.join(lacking, on=FOUND, how="anti").join(keys, on=key, how="semi")
    known = [
        *_stored(state, keys, key, names),
        *_dropped(lake, contract, state, keys, names),
        others.drop(FOUND),
    ]
    flags = [pl.lit(value=False).alias(f"_same:{name}") for name in names]
    marked = [
        flagged.with_columns(pl.lit(value=True).alias("_new")),
        *(
            part.with_columns(flag for flag in flags if flag.meta.output_name() not in part.columns)
            for part in known
        ),
        lacking,
    ]
    merged = pl.concat(marked, how="diagonal_relaxed")
    filled = fill_unchanged(merged, key, names, cuts)
    moved = filled.filter(pl.col("_new") & pl.col("_moved_from").is_not_null() & _lacks(names))
    if len(moved):
        merged = pl.concat(
            [merged, _ancestors(lake, contract, moved["_moved_from"], names)],
            how="diagonal_relaxed",
        )
        filled = fill_across_moves(merged, key, names, cuts)
    own = filled.filter(pl.col("_new")).select(*_columns(rows))
    healed = filled.filter(pl.col("_file").is_not_null()) if len(lacking) else waiting.clear()
    still = waiting.join(lacking, on=FOUND, how="anti")
    return _without_unset(own, contract), pl.concat([still, healed.select(waiting.columns)])


def _lacking(
    waiting: pl.DataFrame, rows: pl.DataFrame, key: list[str]
) -> tuple[pl.DataFrame, list[str]]:
    """Waiting rows of these keys that lack a value, asking for it again, and the columns in question."""
    missing = pl.col("_issues").list.filter(pl.element().str.starts_with(f"{UNAVAILABLE}:"))
    found = waiting.join(rows.select(key).unique(), on=key, how="semi").filter(
        missing.list.len() > 0
    )
    issues = found.select(missing.explode().unique()).to_series()
    names = sorted(issues.str.strip_prefix(f"{UNAVAILABLE}:"))
    flags = [
        pl.col("_issues").list.contains(f"{UNAVAILABLE}:{name}").alias(f"_same:{name}")
        for name in names
    ]
    others = pl.col("_issues").list.filter(~pl.element().str.starts_with(f"{UNAVAILABLE}:"))
    return found.with_columns(
        *flags, others.alias("_issues"), pl.lit(value=False).alias("_new")
    ), names


def _stored(
    state: State, keys: pl.DataFrame, key: list[str], names: Sequence[str]
) -> list[pl.DataFrame]:
    """What silver holds of these keys, and that they were deleted, as events."""
    stored = state.silver.find(keys, key, [*names, *ORDER, "quality_issues"]).drop(FOUND)
    own = pl.col("quality_issues").list.filter(pl.element().str.contains(OWN_ISSUES))
    gone = state.tombstones.find(keys, key, [*ORDER, "operation"]).drop(FOUND)
    gone = gone.filter(pl.col("operation") != DROPPED).drop("operation")
    nothing = pl.lit([], pl.List(pl.String())).alias("_issues")
    return [
        stored.with_columns(pl.lit(UPSERT).alias("_verb"), own.alias("_issues")),
        gone.with_columns(pl.lit(DELETE).alias("_verb"), nothing),
    ]


def _dropped(
    lake: Lake, contract: Contract, state: State, keys: pl.DataFrame, names: Sequence[str]
) -> list[pl.DataFrame]:
    """All events of those of the keys that somebody dropped a row of: no table holds its values."""
    key = list(contract.key)
    buried = state.tombstones.find(keys, key, ["operation"])
    buried = buried.filter(pl.col("operation") == DROPPED).select(key).unique()
    if not len(buried):
        return []
    acts = decisions_of(lake, contract).rows.filter(pl.col("_act") == DROP)
    bronze = lake.scan(contract.bronze).select("event_id", "key")
    texts = bronze.join(acts.lazy(), left_on="event_id", right_on="_decided", how="semi").collect()
    found = _ancestors(lake, contract, texts["key"].unique(), names).drop("_new")
    return [found.join(buried, on=key, how="semi")]


def _without_unset(rows: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """In Cassandra a cell that nothing ever set is null, and needs no row before it."""
    source = contract.source
    if source is None or source.connector != "cassandra":
        return rows
    known = ~pl.element().str.starts_with(f"{UNAVAILABLE}:")
    return rows.with_columns(pl.col("_issues").list.filter(known))


def _ancestors(
    lake: Lake, contract: Contract, texts: pl.Series, unchanged: Sequence[str]
) -> pl.DataFrame:
    """All events under these keys, and under those that their rows had before: from bronze, which forgets none."""
    bronze = events(lake, lake.handle(contract.bronze)).select(BRONZE_COLUMNS)
    wanted, rows = set(texts), no_rows()
    while missing := wanted - set(rows["key"]):
        rows = pl.concat([rows, bronze.filter(pl.col("key").is_in(sorted(missing))).collect()])
        known = wanted | set(old_keys(rows["headers"]).drop_nulls())
        if known == wanted:
            break
        wanted = known
    frame = decode_events(rows, contract, schema_blocks(lake, rows)).frame
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
