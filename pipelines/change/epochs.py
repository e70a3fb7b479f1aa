"""Epochs across the partitions of a topic: a partition may land before the one that shows a snapshot.

Each partition's own records say which epochs it enters. The rest is told where bronze is read, so that
the order in which partitions land does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import polars as pl

#: The end of the calendar; a time beyond it is none.
_LAST_MS = 253_402_300_799_999


class Start(NamedTuple):
    """That a partition entered an epoch, and when the producer had written the first record of it there."""

    epoch: int
    partition: int
    written_ms: int


def epochs_in(placed: pl.DataFrame) -> list[Start]:
    """Where partitions enter epochs among landed records."""
    entered = (
        placed.filter(pl.col("source_epoch") > 0, pl.col("kafka_timestamp").is_between(0, _LAST_MS))
        .group_by("source_epoch", "kafka_partition")
        .agg(pl.col("kafka_timestamp").min())
        .sort("source_epoch", "kafka_partition")
    )
    return [Start(*row) for row in entered.rows()]


def share_epochs(starts: Iterable[Start]) -> pl.Expr:
    """`source_epoch` of rows of bronze, across partitions, given where partitions entered epochs.

    A partition that a snapshot sent no row to, or no row that tells of its beginning, still enters
    its epoch. The producer's clock tells: what it wrote after a row of a snapshot, in any partition,
    belongs to that snapshot or to what follows it; and so does a row whose own time says it. Where
    a partition itself shows the beginning, its order alone tells.
    """
    written = pl.col("kafka_timestamp").dt.epoch("ms")
    read = (pl.col("operation_type") == "SNAPSHOT") & (pl.col("source_commit") == 0)
    own = pl.col("event_timestamp").dt.epoch("ms")
    by_epoch = dict[int, list[Start]]()
    for start in starts:
        by_epoch.setdefault(start.epoch, []).append(start)
    entered = [
        pl.when(
            (written > min(start.written_ms for start in those)) | (read & (own >= epoch)),
            ~pl.col("kafka_partition").is_in([start.partition for start in those]),
        ).then(pl.lit(epoch, pl.Int64))
        for epoch, those in by_epoch.items()
    ]
    return pl.max_horizontal("source_epoch", *entered).alias("source_epoch")
