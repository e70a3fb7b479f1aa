"""Records as rows of bronze or of the dead letters. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

import polars as pl

from pipelines.capture.records import Origin, RecordBatch
from pipelines.change.calendar import millis_as_micros
from pipelines.change.envelope import DESCRIPTION, describe
from pipelines.change.texts import fill
from pipelines.topics import TopicKind

_UTC = pl.Datetime("us", "UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

BRONZE: Mapping[str, pl.DataType] = {
    "event_id": pl.String(),
    "event_timestamp": _UTC,
    "source_system": pl.String(),
    "operation_type": pl.String(),
    "table_name": pl.String(),
    "raw_payload": pl.String(),
    "ingestion_date": pl.Date(),
    "key": pl.String(),
    "topic": pl.String(),
    "kafka_partition": pl.Int32(),
    "kafka_offset": pl.Int64(),
    "kafka_timestamp": _UTC,
    "headers": pl.String(),
    "payload_form": pl.String(),
    "schema_fingerprint": pl.String(),
    "transaction_id": pl.String(),
    "source_epoch": pl.Int64(),
    "source_commit": pl.Int64(),
    "source_event": pl.Int64(),
}

LETTERS: Mapping[str, pl.DataType] = {
    "letter_id": pl.String(),
    "topic": pl.String(),
    "kafka_partition": pl.Int32(),
    "kafka_offset": pl.Int64(),
    "kafka_timestamp": _UTC,
    "key": pl.Binary(),
    "value": pl.Binary(),
    "headers": pl.String(),
    "stage": pl.String(),
    "reason": pl.String(),
    "recorded_at": _UTC,
}


def describe_records(records: pl.DataFrame, kind: TopicKind) -> pl.DataFrame:
    """The records with their description and text columns; `reason` where one cannot be an event."""
    records = records.rename({"value_schema": "schema_fingerprint"})
    value = _texts(records["value"])
    key = _texts(records["key"])
    garbled = (records["value"].is_not_null() & value.is_null()) | (
        records["key"].is_not_null() & key.is_null()
    )
    header_op = records["headers"].str.extract(r'\["__op", ?"([a-z])"\]')
    described = describe(value, header_op) if kind is not TopicKind.FILE else _nothing(len(records))
    reason = pl.coalesce(
        pl.lit(records["reason"]),
        pl.lit(records["unread"]),
        pl.when(pl.lit(garbled)).then(pl.lit("not_utf8")),
        pl.col("reason"),
    )
    if kind is TopicKind.EVENTS:
        described = described.with_columns(*_when_it_came(records["kafka_timestamp"]))
    if kind in (TopicKind.TABLE, TopicKind.EVENTS):
        operation = pl.col("operation_type")
    else:
        operation = pl.lit(kind.name)
        reason = pl.when(reason == "unknown_operation").then(None).otherwise(reason)
    described = described.with_columns(reason.alias("reason"), operation.alias("operation_type"))
    own = records.drop("reason").rename({"value": "value_bytes", "key": "key_bytes"})
    return pl.concat(
        [own, described, pl.DataFrame({"raw_payload": value, "key": key})], how="horizontal"
    )


def _when_it_came(written_ms: pl.Series) -> tuple[pl.Expr, pl.Expr]:
    """The position of an event without a log behind it: when its record was written, in milliseconds.

    So a row that came by a file, by an API and on a topic is what it was said to be last, by whom ever.
    """
    at = pl.lit(written_ms)
    known = at >= 0
    return (
        pl.when(known).then(at).alias("commit_position"),
        pl.when(known).then(pl.lit(0, pl.Int64)).alias("event_position"),
    )


def _texts(column: pl.Series) -> pl.Series:
    """Bytes as text; null where they are no UTF-8, which Polars can only refuse as a whole."""
    try:
        return column.cast(pl.String)
    except pl.exceptions.ComputeError:
        return pl.Series(column.name, [_text(data) for data in column.to_list()], dtype=pl.String)


def _text(data: bytes | None) -> str | None:
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return None


def _nothing(count: int) -> pl.DataFrame:
    return pl.DataFrame(
        [
            pl.Series(name, [None], dtype=dtype).new_from_index(0, count)
            for name, dtype in DESCRIPTION.items()
        ]
    )


def bronze_rows(placed: pl.DataFrame) -> pl.DataFrame:
    """Described records with their positions, as rows of `BRONZE`."""
    written = _written()
    changed = pl.from_epoch("source_time_us", "us").cast(_UTC)
    return placed.with_columns(
        kafka_timestamp=written,
        event_timestamp=pl.coalesce(changed, written),
        # A producer may leave the time out; the partition column must not be null.
        ingestion_date=pl.coalesce(written, changed, pl.lit(_EPOCH)).dt.date(),
        source_system=pl.coalesce("source_system", pl.col("topic").str.split(".").list.first()),
    ).select(pl.col(name).cast(dtype) for name, dtype in BRONZE.items())


def _written() -> pl.Expr:
    """When Kafka says a record was written; null for a time that no calendar holds."""
    return pl.from_epoch(millis_as_micros(pl.col("kafka_timestamp")), "us").cast(_UTC)


def whole_records(fresh: pl.DataFrame, batch: RecordBatch) -> pl.DataFrame:
    """The records with key and value byte for byte as they came, schema blocks put back."""
    own = fresh.drop("key").rename(
        {"key_bytes": "key", "value_bytes": "value", "schema_fingerprint": "value_schema"}
    )
    return batch.originals(own).rename({"key": "key_bytes", "value": "value_bytes"})


def letter_rows(bad: pl.DataFrame) -> pl.DataFrame:
    """Whole records with their reasons, as rows of `LETTERS`."""
    return bad.with_columns(
        kafka_timestamp=_written(),
        key=pl.col("key_bytes"),
        value=pl.col("value_bytes"),
        stage=pl.lit("capture"),
        recorded_at=pl.lit(datetime.now(UTC)),
    ).select(pl.col(name).cast(dtype) for name, dtype in LETTERS.items())


def event_ids(origin: Origin, topic: str, partitions: pl.Series) -> pl.Expr:
    """A UUID (version 8, RFC 9562) of each record, from where it stands: the same whenever it is read."""
    stems = {each: _stem(origin, topic, each) for each in partitions.unique()}
    stem = pl.col("kafka_partition").replace_strict(stems, default=None, return_dtype=pl.String)
    digits = pl.col("kafka_offset").cast(pl.String).str.zfill(15)
    return fill("{}{}-{}", stem, digits.str.slice(0, 3), digits.str.slice(3))


def _stem(origin: Origin, topic: str, partition: int) -> str:
    digest = hashlib.sha256(
        f"{origin.cluster}\0{origin.topic_id(topic)}\0{topic}\0{partition}".encode()
    ).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-8{digest[12:15]}-8"
