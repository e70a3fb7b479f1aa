"""Recorded streams: files of JSON lines, one record a line, read as if they came from Kafka.

A line is `{"topic", "partition", "offset", "timestamp", "ts_type", "headers", "key", "value"}`; keys,
values and header values are text, `{"b64": ...}` for bytes that are no UTF-8, or null.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ClassVar, Self, cast

import orjson
import polars as pl

from pipelines.capture.batch import POLL_BYTES, BatchBuilder, BatchLimits
from pipelines.capture.line import Line, LineError, parse_line
from pipelines.capture.positions import Progress
from pipelines.capture.records import (
    Columns,
    HeaderTexts,
    Notice,
    NoticeKind,
    Origin,
    Partition,
    RecordBatch,
    json_bytes,
)
from pipelines.capture.source import Seek
from pipelines.errors import MedallionError

#: Stands for the cluster of everything read from files, so that their positions are a world of their own.
RECORDED = "recorded"

#: The topic of lines that are no records, followed by the file's name.
FILE_TOPIC = "file:"

_GZIP = b"\x1f\x8b"
# A Kafka record is rarely above 1 MB; a "line" beyond this is a file of something else.
_LONGEST_LINE = 256 * 1024 * 1024


class RecordingError(MedallionError):
    """A recorded file cannot be read, or only its beginning can."""

    exit_code: ClassVar[int] = 19


class RecordedSource:
    """Batches from a `.jsonl` or `.jsonl.gz` file; a context manager to be iterated once.

    A line that is no record comes out too: as a record of topic "file:NAME", partition 0, with its
    line number (from 1) as offset, its bytes as value and a `reason`. So does a record whose offset
    is not above the one before it in its partition, since positions could not tell it from one that
    was read already.
    """

    def __init__(self, path: str | Path, seek: Seek, *, limits: BatchLimits | None = None) -> None:
        self.path = Path(path)
        self.origin = Origin(cluster=RECORDED)
        self.notices: list[Notice] = []
        self._seek = seek
        self._builder = BatchBuilder(limits or BatchLimits())
        self._progress = Progress()
        self._headers = HeaderTexts()
        self._starts: dict[Partition, int] = {}
        self._skipped: dict[Partition, int] = {}
        self._line = 0
        self._good = 0
        self._broken: Exception | None = None
        self._stopping = False

    def __enter__(self) -> Self:
        """Opens the file.

        Raises:
            RecordingError: when it is missing, unreadable, or says it is gzip and is not.
        """
        try:
            with self.path.open("rb") as raw:
                packed = raw.read(2) == _GZIP
            if self.path.suffix == ".gz" and not packed:
                raise RecordingError(f"{self.path}: is not gzip, though its name says so")
            self._file = cast("BinaryIO", gzip.open(self.path) if packed else self.path.open("rb"))
        except OSError as error:
            raise RecordingError(
                f"{self.path}: cannot be read: {error.strerror or error}"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the file."""
        self._file.close()

    def __iter__(self) -> Iterator[RecordBatch]:
        """All batches of the file, or those until `stop`.

        Raises:
            RecordingError: after everything readable was handed out, when the file breaks off or is
                damaged; before anything is, when it holds no record at all.
        """
        more = True
        while more and not self._stopping:
            more = self._read_some()
            if self._progress.moved and (self._builder.full or not more or self._stopping):
                yield self._hand_out()
        self._tell_skipped()
        if self._broken is not None:
            raise RecordingError(
                f"{self.path}: breaks off or is damaged after line {self._line}: {self._broken}",
                hint="the lines before that were taken; give the whole file to take the rest",
            ) from self._broken

    def stop(self) -> None:
        """Ends iteration after the lines in hand."""
        self._stopping = True

    def report(self, next_offsets: Mapping[Partition, int]) -> None:
        """Nobody watches the lag of a file."""

    # ---- reading ----------------------------------------------------------------------------------

    def _read_some(self) -> bool:
        """Adds some lines to the batch; whether there may be more."""
        lines: list[Line] = []
        more, size = True, 0
        for _ in range(self._builder.room):
            text = self._read_line()
            if not text:
                more = False
                break
            self._line += 1
            lines += self._take(text.rstrip(b"\r\n"))
            size += len(text)
            if size >= POLL_BYTES:
                break
        if self._line and not self._good:
            raise RecordingError(
                f"{self.path}: none of its first {self._line} lines is a record",
                hint='a record is a line like {"topic": "shop.public.orders", "partition": 0, "offset": 7, "value": "{...}"}',
            )
        self._add(lines)
        return more

    def _read_line(self) -> bytes:
        """The next line; empty at the end of the file, and where it breaks off."""
        try:
            text = self._file.readline(_LONGEST_LINE)
        except (EOFError, OSError, zlib.error) as error:
            self._broken = error
            return b""
        if len(text) >= _LONGEST_LINE:
            self._broken = ValueError(f"the next line is longer than {_LONGEST_LINE >> 20} MiB")
            return b""
        return text

    def _take(self, text: bytes) -> list[Line]:
        if not text.strip():
            return []
        try:
            line = parse_line(text)
            self._good += 1
            partition = Partition(line.topic, line.partition)
            if not self._is_new(partition, line.offset):
                return []
        except LineError as error:
            partition = Partition(f"{FILE_TOPIC}{self.path.name}", 0)
            line = Line(*partition, self._line, value=text, reason=str(error))
            if not self._is_new(partition, self._line):
                return []
        self._progress.passed(partition, line.offset + 1)
        return [line]

    def _is_new(self, partition: Partition, offset: int) -> bool:
        """Whether the lake has not got it; LineError when the file itself goes back."""
        if partition not in self._starts:
            self._start(partition, offset)
        if offset < self._starts[partition]:
            self._skipped[partition] = self._skipped.get(partition, 0) + 1
            return False
        if not self._progress.wants(partition, offset):
            before = (self._progress.position(partition) or 0) - 1
            raise LineError(f"offset {offset} of {partition} comes after offset {before}")
        return True

    def _start(self, partition: Partition, offset: int) -> None:
        if partition.topic.startswith(FILE_TOPIC):
            # Another file of the same name is another topic: its bad lines are not these.
            with self.path.open("rb") as raw:
                digest = hashlib.file_digest(raw, "sha256").hexdigest()[:32]
            self.origin = Origin(cluster=RECORDED, topic_ids={partition.topic: digest})
        position = self._seek(self.origin, [partition]).get(partition)
        self._starts[partition] = offset if position is None else position
        self._progress.begin(partition, self._starts[partition])

    def _add(self, lines: Sequence[Line]) -> None:
        if not lines:
            return
        columns = Columns(
            topics=[line.topic for line in lines],
            partitions=[line.partition for line in lines],
            offsets=[line.offset for line in lines],
            timestamps=[line.timestamp for line in lines],
            keys=[line.key for line in lines],
            values=[line.value for line in lines],
            headers=self._headers.of(line.headers for line in lines),
            reasons=[line.reason for line in lines],
        )
        self._builder.add(columns, sum(len(line.value or b"") for line in lines))

    def _hand_out(self) -> RecordBatch:
        frame, schemas, counts = self._builder.take()
        began, nexts, gaps = self._progress.turn(counts)
        # Line numbers of good lines are no gaps.
        gaps = [gap for gap in gaps if not gap.topic.startswith(FILE_TOPIC)]
        self.notices += gaps
        return RecordBatch(
            frame=frame,
            start_offsets=began,
            next_offsets=nexts,
            origin=self.origin,
            schemas=schemas,
            notices=tuple(gaps),
        )

    def _tell_skipped(self) -> None:
        self.notices += [
            Notice(
                kind=NoticeKind.SKIPPED,
                topic=partition.topic,
                partition=partition.partition,
                count=count,
                detail=f"{count} records before offset {self._starts[partition]}, which the lake has reached, were left out",
            )
            for partition, count in self._skipped.items()
        ]


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
