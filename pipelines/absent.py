"""Rows that a full snapshot no longer brought: deleted in the source while its connector was away.

No event tells of such a delete (debezium PR 7811). A snapshot reads every row, so a row that is older
than the snapshot, and not in it, was gone when it began. It gets the delete it never had, at the
position just before the snapshot's rows: whatever comes later, in any order, finds it in its place.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
from deltalake import DeltaTable

from pipelines.bronze import marker
from pipelines.change.images import DELETE
from pipelines.change.position import ORDER
from pipelines.contract import Contract
from pipelines.delta import live_rows, read_snapshot
from pipelines.feed import events
from pipelines.state import State
from pipelines.storage import Lake

_LAST = r'snapshot"\s*:\s*"last'


def to_close(lake: Lake, contract: Contract, bronze: DeltaTable, closed: int) -> list[int]:
    """The epochs of complete snapshots after epoch `closed`, oldest first."""
    source = contract.source
    if source is None or source.snapshot == "partial":
        return []
    upto = bronze.transaction_version(marker(source.topic)) or 0
    if upto <= closed:
        return []
    is_row = (pl.col("operation_type") == "SNAPSHOT") & (pl.col("source_commit") == 0)
    ends = (is_row & pl.col("raw_payload").str.contains(_LAST)) | (pl.col("source_commit") > 0)
    epochs = (
        events(lake, bronze)
        .filter(pl.col("source_epoch").is_between(closed + 1, upto))
        .group_by("source_epoch")
        .agg(
            is_row.any().alias("_rows"),
            ends.any().alias("_ended"),
        )
        .filter(pl.col("_rows") & pl.col("_ended"))
        .sort("source_epoch")
        .collect(engine="streaming")
    )
    return epochs["source_epoch"].to_list()


def deletes(lake: Lake, contract: Contract, state: State, epoch: int) -> pl.DataFrame:
    """A delete for each row that the snapshot of an epoch did not bring, as events.

    Those are the rows that stand in silver or quarantine from before it, and the past versions that
    the history lets run across it.
    """
    key = list(contract.key)
    older = pl.col(ORDER[0]) < epoch
    parts = [
        live_rows(place.snapshot, [*key, ORDER[0]], predicate=older).select(key).collect()
        for place in (state.silver, state.quarantine)
    ]
    if contract.history:
        parts.append(_running_across(lake, contract, epoch))
    began = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=epoch)
    return (
        pl.concat(parts)
        .unique(key)
        .with_columns(
            pl.lit(DELETE).alias("_verb"),
            pl.lit([], pl.List(pl.String())).alias("_issues"),
            pl.lit(f"snapshot/{epoch}").alias("source_bronze_id"),
            pl.lit(began).cast(pl.Datetime("us", "UTC")).alias("source_timestamp"),
            *(
                pl.lit(number, pl.Int64).alias(name)
                for name, number in zip(ORDER, (epoch, 0, 0, -1), strict=True)
            ),
        )
    )


def _running_across(lake: Lake, contract: Contract, epoch: int) -> pl.DataFrame:
    """Versions that began before a snapshot and ended after it, by something else than its row."""
    table = contract.sibling("history")
    if lake.version(table) is None:
        return pl.DataFrame(
            schema={name: contract.columns[name].type.stored for name in contract.key}
        )
    columns = [*contract.key, ORDER[0], "ended_epoch", "ended_commit", "is_deleted"]
    across = (
        (pl.col(ORDER[0]) < epoch)
        & (pl.col("ended_epoch") == epoch)
        & (pl.col("ended_commit") > 0)
        & ~pl.col("is_deleted")
    )
    snapshot = read_snapshot(lake.path(table), lake.options)
    return live_rows(snapshot, columns, predicate=across).select(contract.key).collect()
