"""The total order across partitions and snapshots."""

from __future__ import annotations

import polars as pl

from pipelines.change.epochs import Start, epochs_in, share_epochs
from pipelines.change.position import PartitionState, assign


def records(*rows: tuple[int, int, int, str, int | None, int]) -> pl.DataFrame:
    """partition, offset, written_ms, snapshot, lsn, source_ms"""
    return pl.DataFrame(
        [
            {
                "kafka_partition": p, "kafka_offset": o, "kafka_timestamp": w, "key": "k", "snapshot": s, "event_position": lsn, "commit_position": lsn,
                "log_name": None, "source_time_us": ms * 1000, "commit_time_us": ms * 1000, "operation_type": "UPDATE",
            }
            for p, o, w, s, lsn, ms in rows
        ],
        schema_overrides={"kafka_partition": pl.Int32, "log_name": pl.String},
    )  # fmt: skip


def places(frame: pl.DataFrame) -> list[tuple[int, ...]]:
    return frame.select("source_epoch", "source_commit", "source_event").rows()


def test_a_new_snapshot_begins_an_epoch_that_is_newer_although_its_log_starts_lower():
    frame, _ = assign(
        records(
            (0, 0, 1, "first", 900, 50),
            (0, 1, 2, "false", 910, 60),
            (0, 2, 3, "first", 100, 70),
            (0, 3, 4, "false", 110, 80),
        ),
        {},
    )
    assert places(frame) == [(50, 0, 0), (50, 910, 910), (70, 0, 0), (70, 110, 110)]


def test_a_partition_without_snapshot_rows_enters_the_epoch_of_the_others():
    """Which is told where bronze is read, so that the order of landing does not matter."""
    frame, _ = assign(
        records(
            (0, 0, 10, "first", 900, 50), (1, 0, 9, "false", 890, 40), (1, 1, 20, "false", 910, 60)
        ),
        {},
    )
    assert places(frame) == [(50, 0, 0), (0, 890, 890), (0, 910, 910)]
    assert epochs_in(frame) == [Start(50, 0, 10)]
    bronze = frame.with_columns(
        pl.from_epoch("kafka_timestamp", "ms"),
        pl.from_epoch("source_time_us", "us").alias("event_timestamp"),
    )
    shared = bronze.with_columns(share_epochs(epochs_in(frame)))
    assert places(shared) == [(50, 0, 0), (0, 890, 890), (50, 910, 910)]


def test_an_event_without_a_position_is_as_new_as_the_newest_before_it():
    frame, states = assign(
        records(
            (0, 0, 1, "false", 30, 1), (0, 1, 2, "false", 20, 1), (0, 2, 3, "incremental", None, 1)
        ),
        {},
    )
    assert places(frame)[-1] == (0, 30, 30)
    later, _ = assign(records((0, 3, 4, "incremental", None, 1)), states)
    assert places(later) == [(0, 30, 30)]


def test_a_snapshot_that_goes_on_in_the_next_batch_is_the_same_epoch():
    _, states = assign(records((0, 0, 1, "first", 900, 50)), {})
    frame, _ = assign(records((0, 1, 2, "true", 900, 50), (0, 2, 3, "last", 900, 50)), states)
    assert {row[0] for row in places(frame)} == {50}


def test_a_snapshot_of_one_row_that_follows_another_is_told_by_where_it_was_taken():
    """Its row is marked as the last; the partition before held only the first row of two."""
    first = (0, 0, 1, "first_in_data_collection", 900, 50)
    again = (0, 1, 2, "last_in_data_collection", 910, 70)
    frame, states = assign(records(first, again), {})
    assert places(frame) == [(50, 0, 0), (70, 0, 0)]
    frame, _ = assign(records((0, 2, 3, "last_in_data_collection", 920, 90)), states)
    assert places(frame) == [(90, 0, 0)]
    frame, _ = assign(records(first, (0, 1, 2, "true", 900, 51)), {})
    assert places(frame) == [(50, 0, 0), (50, 0, 0)]


def test_a_clock_that_went_back_still_gives_a_newer_epoch():
    frame, _ = assign(
        records((0, 0, 5, "first", 900, 40)),
        {0: PartitionState(epoch=50, snapshot_ms=50, written_ms=1)},
    )
    assert places(frame) == [(51, 0, 0)]
