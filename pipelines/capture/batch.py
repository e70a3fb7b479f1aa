"""Fills a batch with records as they come: held once, in columns and without schema blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from pipelines.avro import Wire
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.records import RECORD_SCHEMA, Columns, Partition, to_frame
from pipelines.errors import SettingsError

# One `consume` call: as many as librdkafka hands over cheaply, fewer when records are large.
MOST_PER_POLL = 5_000
POLL_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """A batch ends at the first of these: records, bytes held (without schema blocks), seconds since its first record."""

    max_records: int = 200_000
    max_bytes: int = 64 * 1024 * 1024
    max_seconds: float = 5.0

    def __post_init__(self) -> None:
        if self.max_records < 1 or self.max_bytes < 1 or self.max_seconds <= 0:
            raise SettingsError("a batch takes at least one record, one byte and some time")


class BatchBuilder:
    """Records of the batch being filled."""

    def __init__(self, limits: BatchLimits, wire: Wire | None = None) -> None:
        self._limits = limits
        self._cutter = BlockCutter(wire)
        self._frames: list[pl.DataFrame] = []
        self._schemas: dict[str, bytes] = {}
        # Until the first records tell: a guess on the safe side.
        self._bytes_per_record = 256.0 * 1024
        self.rows = 0
        self.held_bytes = 0

    @property
    def full(self) -> bool:
        """Whether records or bytes reached their limit."""
        return self.rows >= self._limits.max_records or self.held_bytes >= self._limits.max_bytes

    @property
    def room(self) -> int:
        """How many records to ask for next; at least one."""
        left = min(self._limits.max_bytes - self.held_bytes, POLL_BYTES)
        fitting = int(left / self._bytes_per_record)
        return max(1, min(MOST_PER_POLL, self._limits.max_records - self.rows, fitting))

    def add(self, columns: Columns, raw_bytes: int) -> None:
        """Adds at least one record; `raw_bytes` is what its values took before the schema blocks were cut off."""
        frame, schemas = to_frame(columns, self._cutter)
        self._bytes_per_record = 1.0 + raw_bytes / len(frame)
        self._frames.append(frame)
        self._schemas.update(schemas)
        self.rows += len(frame)
        self.held_bytes += int(frame.estimated_size())

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forgets the records of these partitions; somebody else will read them again."""
        if not self._frames:
            return
        gone = pl.any_horizontal(
            (pl.col("topic") == each.topic) & (pl.col("kafka_partition") == each.partition)
            for each in partitions
        )
        self._frames = [frame.filter(~gone) for frame in self._frames]
        self.rows = sum(map(len, self._frames))
        self.held_bytes = sum(int(frame.estimated_size()) for frame in self._frames)

    def take(self) -> tuple[pl.DataFrame, dict[str, bytes], dict[Partition, int]]:
        """The records, the schema blocks they name, and how many of each partition; then it is empty."""
        frame = pl.concat(self._frames) if self._frames else pl.DataFrame(schema=RECORD_SCHEMA)
        schemas = self._schemas
        self._frames, self._schemas, self.rows, self.held_bytes = [], {}, 0, 0
        counted = frame.group_by("topic", "kafka_partition").len()
        counts = {
            Partition(topic, partition): count
            for topic, partition, count in zip(*counted.get_columns(), strict=True)
        }
        return frame, schemas, counts
