"""Recorded streams: files of JSON lines, one record a line, read as if they came from Kafka.

A line is `{"topic", "partition", "offset", "timestamp", "ts_type", "headers", "key", "value"}`; keys,
values and header values are text, `{"b64": ...}` for bytes that are no UTF-8, or null.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ClassVar, Self, cast

from pipelines.avro import Wire
from pipelines.capture.batch import POLL_BYTES, BatchBuilder, BatchLimits
from pipelines.capture.line import Line, LineError, parse_line
from pipelines.capture.positions import Progress
from pipelines.capture.records import (
    Columns,
    HeaderTexts,
    Notice,
    Origin,
    Partition,
    RecordBatch,
)
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
    line number (from 1) as offset, its bytes as value and a `reason`. Records may stand in any order
    and be spread over files: every line comes out each time, and landing leaves out what is there.
    """

    def __init__(
        self, path: str | Path, *, limits: BatchLimits | None = None, wire: Wire | None = None
    ) -> None:
        self.path = Path(path)
        self.origin = Origin(cluster=RECORDED)
        self.notices: list[Notice] = []
        self._builder = BatchBuilder(limits or BatchLimits(), wire)
        self._progress = Progress()
        self._headers = HeaderTexts()
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
            if self._builder.rows and (self._builder.full or not more or self._stopping):
                yield self._hand_out()
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
        except LineError as error:
            topic = f"{FILE_TOPIC}{self.path.name}"
            line = Line(topic, 0, self._line, value=text, reason=str(error))
            self._name_file(topic)
        partition = Partition(line.topic, line.partition)
        if self._progress.position(partition) is None:
            self._progress.begin(partition, line.offset)
        self._progress.passed(partition, line.offset + 1)
        return [line]

    def _name_file(self, topic: str) -> None:
        """Another file of the same name is another topic: its bad lines are not these."""
        if topic not in self.origin.topic_ids:
            with self.path.open("rb") as raw:
                digest = hashlib.file_digest(raw, "sha256").hexdigest()[:32]
            self.origin = Origin(cluster=RECORDED, topic_ids={topic: digest})

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
        # Offsets that a file leaves out say nothing: it may hold any part of a topic, in any order.
        began, nexts, _ = self._progress.turn(counts)
        return RecordBatch(
            frame=frame,
            start_offsets=began,
            next_offsets=nexts,
            origin=self.origin,
            schemas=schemas,
        )
