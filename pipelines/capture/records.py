"""Raw Kafka records in columns, and what landing must know about where they came from."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import orjson
import polars as pl

from pipelines.capture.blocks import BlockCutter, whole


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which cluster and which incarnation of each topic records are from.

    A topic that was deleted and made again has another id. An id the broker does not tell is "".
    """

    cluster: str
    topic_ids: Mapping[str, str] = field(default_factory=dict[str, str])

    def topic_id(self, topic: str) -> str:
        """The id of a topic; "" when it is not known."""
        return self.topic_ids.get(topic, "")


class NoticeKind(StrEnum):
    """What a source has to say that is neither a record nor an error."""

    MISSING_TOPIC = "missing topic"
    RECREATED_TOPIC = "recreated topic"
    LOST = "lost"
    GAP = "gap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that happened to a topic or partition, for people and for the run's metadata."""

    kind: NoticeKind
    topic: str
    partition: int | None = None
    count: int = 0
    detail: str

    def __str__(self) -> str:
        where = self.topic if self.partition is None else f"{self.topic}[{self.partition}]"
        return f"{where}: {self.detail}"


#: Columns of `RecordBatch.frame`.
#:
#: kafka_timestamp is in milliseconds since 1970, null where the producer gave none; timestamp_type
#: is 0 none, 1 set by the producer, 2 set on append. headers is a JSON list of [name, text |
#: {"b64": ...} | null]. key and value have no schema block any more: key_schema and value_schema
#: name it. key_original and value_original are null unless the parts do not give the original bytes
#: back; `originals` does that. reason says why a line of a recorded file is not a record, unread why
#: an Avro key or value could not be read.
RECORD_SCHEMA: Mapping[str, pl.DataType] = {
    "topic": pl.String(),
    "kafka_partition": pl.Int32(),
    "kafka_offset": pl.Int64(),
    "kafka_timestamp": pl.Int64(),
    "timestamp_type": pl.Int8(),
    "key": pl.Binary(),
    "value": pl.Binary(),
    "headers": pl.String(),
    "key_schema": pl.String(),
    "value_schema": pl.String(),
    "key_original": pl.Binary(),
    "value_original": pl.Binary(),
    "reason": pl.String(),
    "unread": pl.String(),
}

NO_HEADERS = "[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordBatch:
    """Some records of one or more topics; those of a partition stand in the order of their offsets.

    `next_offsets` is where to go on after this batch, `start_offsets` where it began, for every
    partition that moved: also over offsets that hold no record (transaction markers, compaction),
    so a batch may have positions and no rows. `schemas` are the schema blocks named in the frame.
    """

    frame: pl.DataFrame
    start_offsets: Mapping[Partition, int]
    next_offsets: Mapping[Partition, int]
    origin: Origin
    schemas: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    notices: tuple[Notice, ...] = ()

    def __len__(self) -> int:
        return len(self.frame)

    def by_topic(self) -> dict[str, pl.DataFrame]:
        """The records of each topic, in the order they were read."""
        groups = self.frame.partition_by("topic", maintain_order=True, as_dict=True)
        return {str(name): frame for (name,), frame in groups.items()}

    def originals(self, rows: pl.DataFrame | None = None) -> pl.DataFrame:
        """Rows of this batch (all, unless some are given) with key and value as they were on the topic, byte for byte."""
        chosen = self.frame if rows is None else rows
        return chosen.with_columns(
            self._original(chosen, "key"), self._original(chosen, "value")
        ).drop("key_original", "value_original", "key_schema", "value_schema", "unread")

    def _original(self, rows: pl.DataFrame, column: str) -> pl.Series:
        blocks, kept = rows[f"{column}_schema"], rows[f"{column}_original"]
        parts = rows[column]
        if blocks.null_count() == len(rows):
            return parts
        restored = [
            original
            if original is not None
            else payload
            if mark is None or payload is None
            else whole(payload, self.schemas[mark])
            for payload, mark, original in zip(parts, blocks, kept, strict=True)
        ]
        return pl.Series(column, restored, dtype=pl.Binary)


class Columns(NamedTuple):
    """Records as plain lists of equal length, as a source reads them; timestamps are (type, milliseconds)."""

    topics: Sequence[str]
    partitions: Sequence[int]
    offsets: Sequence[int]
    timestamps: Sequence[tuple[int, int]]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[str] | None = None
    reasons: Sequence[str | None] | None = None


def to_frame(columns: Columns, cutter: BlockCutter) -> tuple[pl.DataFrame, dict[str, bytes]]:
    """The records in columns, schema blocks cut off, and the blocks by fingerprint."""
    rows = len(columns.offsets)
    keys, values = cutter.cut(columns.keys), cutter.cut(columns.values)
    frame = pl.DataFrame(
        {
            "topic": pl.Series(columns.topics, dtype=pl.String),
            "kafka_partition": pl.Series(columns.partitions, dtype=pl.Int32),
            "kafka_offset": pl.Series(columns.offsets, dtype=pl.Int64),
            "kafka_timestamp": pl.Series(
                [time if kind else None for kind, time in columns.timestamps], dtype=pl.Int64
            ),
            "timestamp_type": pl.Series([kind for kind, _ in columns.timestamps], dtype=pl.Int8),
            "key": pl.Series(keys.payloads, dtype=pl.Binary),
            "value": pl.Series(values.payloads, dtype=pl.Binary),
            "headers": pl.Series(columns.headers or [NO_HEADERS] * rows, dtype=pl.String),
            "key_schema": pl.Series(keys.fingerprints, dtype=pl.String),
            "value_schema": pl.Series(values.fingerprints, dtype=pl.String),
            "key_original": _sparse(keys.originals, rows, pl.Binary()),
            "value_original": _sparse(values.originals, rows, pl.Binary()),
            "reason": pl.Series(columns.reasons or [None] * rows, dtype=pl.String),
            "unread": _sparse({**keys.reasons, **values.reasons}, rows, pl.String()),
        }
    )
    return frame, {**keys.blocks, **values.blocks}


def _sparse(
    values: Mapping[int, bytes] | Mapping[int, str], rows: int, dtype: pl.DataType
) -> pl.Series:
    if not values:
        return pl.repeat(None, rows, dtype=dtype, eager=True)
    return pl.Series([values.get(row) for row in range(rows)], dtype=dtype)


Headers = Sequence[tuple[str, bytes | str | None]]


def headers_text(headers: Headers | None) -> str:
    """Headers as a JSON list of [name, text | {"b64": ...} | null]; repeated names stay, in order."""
    if not headers:
        return NO_HEADERS
    return orjson.dumps([[name, json_bytes(value)] for name, value in headers]).decode()


def json_bytes(value: bytes | str | None) -> str | dict[str, str] | None:
    """Bytes as JSON can hold them without loss: text where they are UTF-8, else base64."""
    if value is None or isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


class HeaderTexts:
    """Headers as text; most messages of a connector carry the very same ones, which are written once."""

    def __init__(self) -> None:
        self._last: object = None
        self._text = NO_HEADERS

    def of(self, all_headers: Iterable[Headers | None]) -> list[str]:
        """The text of each."""
        last, text, texts = self._last, self._text, list[str]()
        for headers in all_headers:
            if headers != last:
                last, text = headers, headers_text(headers)
            texts.append(text)
        self._last, self._text = last, text
        return texts
