"""Rows of our own reading as records of a topic: flat JSON, from a place that is no partition of a broker.

A broker numbers partitions from 0; what comes by another way stands in partitions below that, so that
the rows of a topic share one bronze table and no two records one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from pipelines.capture.records import (
    RECORD_SCHEMA,
    Headers,
    Origin,
    Partition,
    RecordBatch,
    headers_text,
)

#: The partition of rows from files, and that of rows pulled from an API.
UPLOADED, PULLED = -1, -2


def flat_batch(
    rows: pl.DataFrame,
    offsets: pl.Series,
    *,
    key: Sequence[str],
    place: Partition,
    origin: Origin,
    next_offset: int,
    at_ms: int,
    headers: Headers = (),
) -> RecordBatch:
    """Rows as records that came at `at_ms` (milliseconds since 1970), one an offset, as a batch that ends before `next_offset`."""
    texts = rows.select(
        pl.struct(key).struct.json_encode().alias("key"),
        pl.struct(pl.all()).struct.json_encode().alias("value"),
    )
    return text_batch(
        texts,
        offsets,
        place=place,
        origin=origin,
        next_offset=next_offset,
        at_ms=at_ms,
        headers=headers,
    )


def text_batch(
    texts: pl.DataFrame,
    offsets: pl.Series,
    *,
    place: Partition,
    origin: Origin,
    next_offset: int,
    at_ms: int,
    headers: Headers = (),
) -> RecordBatch:
    """Like `flat_batch`, of the columns `key` and `value` as JSON texts."""
    cast = texts.select(pl.col("key", "value").cast(pl.Binary))
    return _batch(cast, offsets, place, origin, next_offset, at_ms, headers)


def raw_batch(
    value: bytes,
    reason: str,
    *,
    place: Partition,
    origin: Origin,
    at_ms: int,
    headers: Headers = (),
) -> RecordBatch:
    """One record that is no row: its bytes, and why not."""
    texts = pl.DataFrame(
        {"key": [None], "value": [value]}, schema={"key": pl.Binary, "value": pl.Binary}
    )
    offsets = pl.Series([0], dtype=pl.Int64)
    batch = _batch(texts, offsets, place, origin, 1, at_ms, headers)
    frame = batch.frame.with_columns(pl.lit(reason).alias("reason"))
    return RecordBatch(
        frame=frame,
        start_offsets=batch.start_offsets,
        next_offsets=batch.next_offsets,
        origin=origin,
    )


def _batch(
    texts: pl.DataFrame,
    offsets: pl.Series,
    place: Partition,
    origin: Origin,
    next_offset: int,
    at_ms: int,
    headers: Headers,
) -> RecordBatch:
    known: Mapping[str, object] = {
        "topic": place.topic, "kafka_partition": place.partition, "kafka_timestamp": at_ms,
        "timestamp_type": 1, "headers": headers_text(headers),
    }  # fmt: skip
    frame = texts.with_columns(offsets.alias("kafka_offset")).with_columns(
        pl.lit(known.get(name)).alias(name)
        for name in RECORD_SCHEMA
        if name not in ("key", "value", "kafka_offset")
    )
    return RecordBatch(
        frame=frame.select(pl.col(name).cast(dtype) for name, dtype in RECORD_SCHEMA.items()),
        start_offsets={place: 0},
        next_offsets={place: next_offset},
        origin=origin,
    )
