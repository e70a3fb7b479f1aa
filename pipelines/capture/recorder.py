"""Writes batches as a recorded file, which `RecordedSource` reads back record for record."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson
import polars as pl

from pipelines.capture.recorded import RecordingError
from pipelines.capture.records import RecordBatch, json_bytes


def write_recorded(path: str | Path, batches: Iterable[RecordBatch]) -> int:
    """Writes batches as a recorded file, gzip where the name ends so; how many records there are.

    The file appears under its name only when it is whole.

    Raises:
        RecordingError: when it cannot be written.
    """
    target = Path(path)
    partial = target.with_name(f"{target.name}.partial")
    count = 0
    try:
        with gzip.open(partial, "wb") if target.suffix == ".gz" else partial.open("wb") as out:
            for batch in batches:
                out.writelines(_lines(batch.originals()))
                count += len(batch)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RecordingError(f"{target}: cannot be written: {error.strerror or error}") from error
    return count


def _lines(records: pl.DataFrame) -> Iterator[bytes]:
    names = [
        "topic",
        "kafka_partition",
        "kafka_offset",
        "kafka_timestamp",
        "timestamp_type",
        "headers",
        "key",
        "value",
        "reason",
    ]
    for topic, partition, offset, time, kind, headers, key, value, reason in zip(
        *records.select(names), strict=True
    ):
        if reason is not None:  # a line that was no record stays the line it was
            yield value + b"\n"
            continue
        yield orjson.dumps(
            {
                "topic": topic,
                "partition": partition,
                "offset": offset,
                "timestamp": time,
                "ts_type": kind,
                "headers": orjson.Fragment(headers),
                "key": json_bytes(key),
                "value": json_bytes(value),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
