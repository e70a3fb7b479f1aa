"""Reads topics from Kafka into batches: up to the ends they have now, or on and on.

The lake says where each partition starts, Kafka's group offsets never do. The broker is only asked
for more while a batch is being filled, so a slow writer slows reading down: librdkafka fetches ahead
up to `queued.max.messages.kbytes` and then waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from pipelines.avro import open_wire
from pipelines.capture.batch import BatchLimits
from pipelines.capture.broker import Broker, changed_topics, plain
from pipelines.capture.connection import Connection
from pipelines.capture.intake import Intake
from pipelines.capture.positions import starts
from pipelines.capture.records import Notice, NoticeKind, Origin, Partition, RecordBatch
from pipelines.capture.source import Seek
from pipelines.errors import BrokerError, MedallionError, OffsetsLostError
from pipelines.settings import Settings

DEFAULT_GROUP = "medallion"

_log = logging.getLogger(__name__)

_ABSENT = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
)
_OUT_OF_RANGE = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


class KafkaSource:
    """Batches of records of some topics; a context manager to be iterated once.

    In mode "bounded" every partition is read up to the end it has on entry. In mode "follow"
    partitions are shared with other followers of `group` and reading goes on until `stop`. `seek`
    is asked when partitions are assigned, on the thread that iterates and never while a batch is
    being worked on. `timeout_seconds` is how long a broker may take to answer a question.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Iterable[str],
        seek: Seek,
        *,
        mode: Literal["bounded", "follow"] = "bounded",
        group: str | None = None,
        limits: BatchLimits | None = None,
        accept_loss: bool = False,
        timeout_seconds: float = 10.0,
    ) -> None:
        self.topics = tuple(sorted(set(topics)))
        self.origin = Origin(cluster="")
        #: All notices so far; a batch carries those that are new with it.
        self.notices: list[Notice] = []
        self._told = 0
        self._settings = settings
        self._seek = seek
        self._follow = mode == "follow"
        self._group = group or settings.kafka.get("group.id", DEFAULT_GROUP)
        self._limits = limits or BatchLimits()
        self._accept_loss = accept_loss
        self._timeout = timeout_seconds
        self._intake = Intake(self._limits, open_wire(settings))
        self._progress = self._intake.progress
        self._failure: MedallionError | None = None
        self._stopping = False

    def __enter__(self) -> Self:
        """Connects and starts reading.

        Raises:
            SettingsError: when no broker is named or librdkafka refuses an option.
            BrokerError: when no broker answers in time.
            OffsetsLostError: when offsets that were not read yet are gone.
        """
        self._broker = Broker(self._settings, timeout_seconds=self._timeout)
        topics = self._broker.topics(self.topics)
        self.origin = self._broker.origin(self.topics)
        self.notices += [_missing(topic) for topic in topics.missing]
        self._connection = Connection(self._settings, self._group, answer_seconds=self._timeout)
        try:
            self._start(self._connection.consumer, topics.partitions)
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the group; reported positions are given a moment to arrive."""
        self._stopping = True
        self._connection.close()

    def __iter__(self) -> Iterator[RecordBatch]:
        """Batches until the ends are reached, or until `stop`; what was read by then still comes out.

        Raises:
            BrokerError: when a bounded run hears nothing from the broker, or is refused.
            OffsetsLostError: when retention overtook reading, or a topic was made again meanwhile.
        """
        while not self._stopping:
            self._fill()
            if self._intake.begun and self._is_one_incarnation():
                fresh, self._told = self.notices[self._told :], len(self.notices)
                batch = self._intake.hand_out(self.origin, fresh)
                self.notices += batch.notices[len(fresh) :]
                self._told = len(self.notices)
                yield batch
            if not self._follow and self._progress.finished:
                return

    def stop(self) -> None:
        """Ends iteration after the records in hand; may be called from a signal handler."""
        self._stopping = True

    def report(self, next_offsets: Mapping[Partition, int]) -> None:
        """Tells Kafka what is safely in the lake, for lag tools only; does not wait."""
        self._connection.report(next_offsets)

    # ---- where to start -------------------------------------------------------------------------

    def _start(self, consumer: Consumer, partitions: Sequence[Partition]) -> None:
        if not self._follow:
            begin = self._place(partitions)
            consumer.incremental_assign(
                plain({each: at for each, at in begin.items() if not self._progress.done(each)})
            )
        elif self.topics:
            consumer.subscribe(
                list(self.topics),
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._revoked,
            )

    def _place(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Asks the lake where to start, and the broker whether that is still there."""
        spans = self._broker.spans(partitions)
        wanted = self._seek(self.origin, partitions)
        begin, losses = starts(wanted, spans, accept_loss=self._accept_loss)
        self.notices += losses
        for each, at in begin.items():
            position = wanted.get(each)
            self._progress.begin(
                each,
                at if position is None else position,
                None if self._follow else spans[each].end,
            )
            if position is not None and position != at:
                self._progress.jumped(each, at)
        return begin

    # ---- a follower's partitions come and go; librdkafka calls these inside a poll -----------------

    def _assigned(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        partitions = [Partition(each.topic, each.partition) for each in given]
        try:
            now = self._broker.origin(self.topics)
            _refuse_made_again(self._progress.topics.intersection(changed_topics(self.origin, now)))
            self.origin = now
            begin = self._place(partitions)
        except MedallionError as error:  # it cannot pass through C, so it is raised after the poll
            self._failure = error
            return
        consumer.incremental_assign(plain(begin))
        consumer.pause(plain(begin))  # until what this poll still returns was taken
        self._intake.expect(partitions)

    def _revoked(self, consumer: Consumer, taken: list[TopicPartition]) -> None:
        self._intake.drop([Partition(each.topic, each.partition) for each in taken])

    # ---- reading ----------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Polls until the batch is full or old enough, the ends are reached, or `stop`."""
        deadline = None
        self._connection.expect_news()
        while not (self._stopping or self._intake.full):
            if not self._follow and self._progress.finished:
                return
            if deadline is not None and time.monotonic() >= deadline:
                return
            messages = self._poll()
            for partition, error in self._intake.take(messages):
                self._answer(partition, error)
            if fresh := self._intake.settle():
                self._connection.resume(fresh)
            if deadline is None and self._intake.begun:
                deadline = time.monotonic() + self._limits.max_seconds

    def _poll(self) -> list[Message]:
        messages = self._connection.poll(self._intake.room)
        if self._failure is not None:
            raise self._failure
        if not (messages or self._follow):
            self._connection.refuse_silence()
        return messages

    def _answer(self, partition: Partition, error: KafkaError) -> None:
        """Acts on what the broker complains of: goes on where that is safe, else raises."""
        if error.code() in _OUT_OF_RANGE:
            self._overtaken(partition)
        elif self._follow and error.code() in (*_ABSENT, KafkaError._MAX_POLL_EXCEEDED):
            # An absent topic is read when it is made; a slow writer gets its partitions back.
            _log.warning("%s: %s", partition, error.str())
        else:
            raise self._connection.refused(partition, error)

    def _overtaken(self, partition: Partition) -> None:
        """Retention removed offsets while they waited to be read."""
        position = self._progress.position(partition)
        if position is None:
            return
        begin, losses = starts(
            {partition: position}, self._broker.spans([partition]), accept_loss=self._accept_loss
        )
        self.notices += losses
        self._progress.jumped(partition, begin[partition])
        # A partition in this state cannot seek; assigned anew it starts where we say.
        self._connection.consumer.incremental_unassign([TopicPartition(*partition)])
        self._connection.consumer.incremental_assign(plain(begin))

    def _is_one_incarnation(self) -> bool:
        """Whether all that was read is of the topics we know; asked after reading, so the answer holds.

        A follower asks until a broker answers; told to stop before that, it leaves the records for
        the next run.
        """
        while True:
            try:
                now = (
                    self._broker.origin(self.origin.topic_ids)
                    if any(self.origin.topic_ids.values())
                    else self.origin
                )
            except BrokerError:
                if not self._follow:
                    raise
                if self._stopping:
                    return False
            else:
                _refuse_made_again(changed_topics(self.origin, now))
                return True


def _missing(topic: str) -> Notice:
    return Notice(
        kind=NoticeKind.MISSING_TOPIC,
        topic=topic,
        detail="no such topic on the broker, or this user may not see it; the other topics are read",
    )


def _refuse_made_again(topics: Iterable[str]) -> None:
    if names := ", ".join(sorted(topics)):
        raise OffsetsLostError(
            f"{names}: deleted and made again while it was read; the records in hand were not written",
            hint="run again: the new topic is read from its first offset, under its own identity",
        )
