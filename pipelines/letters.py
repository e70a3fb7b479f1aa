"""Dead letters given another chance: landed again as they came, and taken from the list when they land."""

from __future__ import annotations

import polars as pl

from pipelines.avro import Wire
from pipelines.bronze import DEAD_LETTERS, Bronze
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.records import Columns, Origin, RecordBatch, to_frame
from pipelines.contract import Catalog
from pipelines.storage import Lake


def redrive(
    lake: Lake, catalog: Catalog, topic: str | None = None, *, wire: Wire | None = None
) -> tuple[int, int]:
    """Lands dead letters again; how many did, and how many are left.

    A letter keeps its identity, so one that is in bronze by now is not doubled. A crash between
    the two writes leaves letters that have landed on the list; the next redrive takes them off.

    Raises:
        ConflictError: when letters were added meanwhile; running again is right.
    """
    handle = lake.open(DEAD_LETTERS)
    if handle is None:
        return 0, 0
    letters = lake.scan_handle(handle).collect()
    chosen = letters.filter(pl.col("topic") == topic) if topic else letters
    chosen = chosen.filter(~pl.col("topic").str.starts_with("file:"))
    bronze = Bronze(lake, catalog, ordered=False)
    landed = bronze.land_again(_as_batch(chosen, wire), chosen["letter_id"])
    left = letters.join(landed, on="letter_id", how="anti", maintain_order="left")
    if len(left) < len(letters):
        lake.write(handle, left, mode="overwrite")
    return len(landed), len(left)


def _as_batch(letters: pl.DataFrame, wire: Wire | None) -> RecordBatch:
    times = letters["kafka_timestamp"].dt.epoch("ms")
    columns = Columns(
        topics=letters["topic"].to_list(),
        partitions=letters["kafka_partition"].to_list(),
        offsets=letters["kafka_offset"].to_list(),
        timestamps=[(0, -1) if time is None else (1, time) for time in times],
        keys=letters["key"].to_list(),
        values=letters["value"].to_list(),
        headers=letters["headers"].to_list(),
    )
    frame, schemas = to_frame(columns, BlockCutter(wire))
    return RecordBatch(
        frame=frame, start_offsets={}, next_offsets={}, origin=Origin(cluster=""), schemas=schemas
    )
