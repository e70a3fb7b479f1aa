"""Rows that a full snapshot no longer brought: deleted in the source while its connector was away.

No event tells of such a delete (debezium PR 7811). A snapshot reads every row, so a row that is older
than the snapshot, and not in it, was gone when it began. It gets the delete it never had, at the
position just before the snapshot's rows: whatever comes later, in any order, finds it in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
from deltalake import DeltaTable

from pipelines.change.decode import EVENT_COLUMNS
from pipelines.change.images import DELETE
from pipelines.change.position import ORDER
from pipelines.contract import Contract
from pipelines.delta import live_rows, read_snapshot
from pipelines.state import State, shaped
from pipelines.storage import Lake

_LAST = r'snapshot"\s*:\s*"last'


@dataclass(frozen=True, slots=True, kw_only=True)
class FullSnapshot:
    """A full snapshot of a table that has been read to its end."""

    epoch: int
    #: When Kafka got its first row: what was written later is no part of the time before it.
    written: datetime | None


def marker(topic: str) -> str:
    """The app transaction whose version is the epoch of a topic's last complete snapshot."""
    return f"snapshot/{topic}"


def to_close(lake: Lake, contract: Contract, bronze: DeltaTable, closed: int) -> list[FullSnapshot]:
    """The complete snapshots after epoch `closed`, oldest first."""
    source = contract.source
    if source is None or source.snapshot == "partial":
        return []
    upto = bronze.transaction_version(marker(source.topic)) or 0
    if upto <= closed:
        return []
    is_row = (pl.col("operation_type") == "SNAPSHOT") & (pl.col("source_commit") == 0)
    ends = (is_row & pl.col("raw_payload").str.contains(_LAST)) | (pl.col("source_commit") > 0)
    epochs = (
        lake.scan_handle(bronze)
        .filter(pl.col("source_epoch").is_between(closed + 1, upto))
        .group_by("source_epoch")
        .agg(
            is_row.any().alias("_rows"),
            ends.any().alias("_ended"),
            pl.col("kafka_timestamp").filter(is_row).min().alias("_written"),
        )
        .filter(pl.col("_rows") & pl.col("_ended"))
        .sort("source_epoch")
        .select("source_epoch", "_written")
        .collect(engine="streaming")
    )
    return [FullSnapshot(epoch=epoch, written=written) for epoch, written in epochs.iter_rows()]


def deletes(lake: Lake, contract: Contract, state: State, snapshot: FullSnapshot) -> pl.DataFrame:
    """A delete for each row that the snapshot did not bring, as events.

    Those are the rows that stand in silver or quarantine from before it, and the past versions that
    the history lets run across it.
    """
    key = list(contract.key)
    older = pl.col(ORDER[0]) < snapshot.epoch
    wanted = [*key, "source_bronze_id"]
    parts = [
        live_rows(place.snapshot, [*wanted, ORDER[0]], predicate=older).select(wanted).collect()
        for place in (state.silver, state.quarantine)
    ]
    if contract.history:
        parts.append(_running_across(lake, contract, snapshot.epoch).select(wanted))
    rows = pl.concat(parts).unique(key)
    rows = rows.join(
        _written_later(lake, contract, rows, snapshot), on="source_bronze_id", how="anti"
    )
    began = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=snapshot.epoch)
    typed = {name: contract.columns[name].type.stored for name in contract.columns}
    events = rows.select(key).with_columns(
        pl.lit(DELETE).alias("_verb"),
        pl.lit([], pl.List(pl.String())).alias("_issues"),
        pl.lit(f"snapshot/{snapshot.epoch}").alias("source_bronze_id"),
        pl.lit(began).cast(pl.Datetime("us", "UTC")).alias("source_timestamp"),
        *(
            pl.lit(number, pl.Int64).alias(name)
            for name, number in zip(ORDER, (snapshot.epoch, 0, 0, -1), strict=True)
        ),
    )
    return shaped(events, {**typed, **EVENT_COLUMNS})


def _running_across(lake: Lake, contract: Contract, epoch: int) -> pl.DataFrame:
    """Versions that began before a snapshot and ended after it, by something else than its row."""
    table = contract.sibling("history")
    if lake.version(table) is None:
        return pl.DataFrame(
            schema={n: contract.columns[n].type.stored for n in contract.key}
            | {"source_bronze_id": pl.String()}
        )
    columns = [
        *contract.key,
        "source_bronze_id",
        ORDER[0],
        "ended_epoch",
        "ended_commit",
        "is_deleted",
    ]
    across = (
        (pl.col(ORDER[0]) < epoch)
        & (pl.col("ended_epoch") == epoch)
        & (pl.col("ended_commit") > 0)
        & ~pl.col("is_deleted")
    )
    return live_rows(
        read_snapshot(lake.path(table), lake.options), columns, predicate=across
    ).collect()


def _written_later(
    lake: Lake, contract: Contract, rows: pl.DataFrame, snapshot: FullSnapshot
) -> pl.DataFrame:
    """The ids of those events that Kafka got after the snapshot had begun.

    A partition to which the snapshot sent no row can be read before it is known that there was one;
    its events then carry the epoch before.
    """
    if not len(rows) or snapshot.written is None:
        return pl.DataFrame(schema={"source_bronze_id": pl.String()})
    later = pl.col("kafka_timestamp") > pl.lit(snapshot.written)
    return (
        lake.scan(contract.bronze)
        .filter(later)
        .select(pl.col("event_id").alias("source_bronze_id"))
        .join(rows.lazy().select("source_bronze_id"), on="source_bronze_id", how="semi")
        .collect(engine="streaming")
    )
