"""Takes what a poll returns into the batch being filled, and keeps count of how far that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from confluent_kafka import KafkaError, Message

from pipelines.avro import Wire
from pipelines.capture.batch import BatchBuilder, BatchLimits
from pipelines.capture.positions import Progress
from pipelines.capture.records import Columns, HeaderTexts, Notice, Origin, Partition, RecordBatch

_END = KafkaError._PARTITION_EOF


class Intake:
    """The batch being filled."""

    def __init__(self, limits: BatchLimits, wire: Wire | None = None) -> None:
        self.progress = Progress()
        self._builder = BatchBuilder(limits, wire)
        self._headers = HeaderTexts()
        # Assigned during the poll under way: what that poll returns of them is from an earlier
        # assignment, and taking it would skip what lies between.
        self._fresh: set[Partition] = set()

    @property
    def full(self) -> bool:
        """Whether the batch has as many records or bytes as it may."""
        return self._builder.full

    @property
    def room(self) -> int:
        """How many messages to ask for next."""
        return self._builder.room

    @property
    def begun(self) -> bool:
        """Whether there is anything to hand out: records, or only positions that moved."""
        return self._builder.rows > 0 or self.progress.moved

    def expect(self, partitions: Iterable[Partition]) -> None:
        """These were assigned just now; they must be paused until `settle`."""
        self._fresh.update(partitions)

    def settle(self) -> list[Partition]:
        """Ends the poll in which partitions were assigned; they may be resumed."""
        fresh = sorted(self._fresh)
        self._fresh.clear()
        return fresh

    def drop(self, partitions: Sequence[Partition]) -> None:
        """These are no longer ours: what was read of them is read again by whoever has them now."""
        self._builder.drop(partitions)
        self.progress.forget(partitions)
        self._fresh.difference_update(partitions)

    def take(self, messages: Sequence[Message]) -> list[tuple[Partition, KafkaError]]:
        """Adds the records that are wanted; gives back what the broker complained of."""
        records = [message for message in messages if message.error() is None]
        if records:
            self._add(records)
        if len(records) == len(messages):
            return []
        complaints: list[tuple[Partition, KafkaError]] = []
        for message in messages:
            error = message.error()
            if error is None:
                continue
            partition = Partition(message.topic() or "", message.partition() or 0)
            if error.code() != _END:
                complaints.append((partition, error))
            elif partition not in self._fresh:
                self.progress.ended(partition, message.offset() or 0)
        return complaints

    def hand_out(self, origin: Origin, notices: Sequence[Notice]) -> RecordBatch:
        """The batch as far as it is filled; the next one begins."""
        frame, schemas, counts = self._builder.take()
        began, nexts, gaps = self.progress.turn(counts)
        return RecordBatch(
            frame=frame,
            start_offsets=began,
            next_offsets=nexts,
            origin=origin,
            schemas=schemas,
            notices=(*notices, *gaps),
        )

    def _add(self, records: list[Message]) -> None:
        topics, partitions, offsets = _places(records)
        # Offsets rise within a partition, so the last of each tells whether all of it is wanted.
        newest = dict(zip(zip(topics, partitions, strict=True), offsets, strict=True))
        if self._fresh or not all(
            self.progress.wants(Partition(*place), at) for place, at in newest.items()
        ):
            records = [record for record in records if self._wanted(record)]
            topics, partitions, offsets = _places(records)
        if records:
            columns = Columns(
                topics=topics,
                partitions=partitions,
                offsets=offsets,
                timestamps=[record.timestamp() for record in records],
                keys=[record.key() for record in records],
                values=[record.value() for record in records],
                headers=self._headers.of(record.headers() for record in records),  # pyright: ignore[reportArgumentType] - a list when read
            )
            self._builder.add(columns, sum(map(len, records)))
        for place, at in newest.items():
            if place not in self._fresh:
                self.progress.passed(Partition(*place), at + 1)

    def _wanted(self, record: Message) -> bool:
        place = Partition(record.topic() or "", record.partition() or 0)
        return place not in self._fresh and self.progress.wants(place, record.offset() or 0)


def _places(records: Sequence[Message]) -> tuple[list[str], list[int], list[int]]:
    """Topics, partitions and offsets. Message types them as optional: a record always has them."""
    return (
        [record.topic() for record in records],  # pyright: ignore[reportReturnType]
        [record.partition() for record in records],  # pyright: ignore[reportReturnType]
        [record.offset() for record in records],  # pyright: ignore[reportReturnType]
    )
