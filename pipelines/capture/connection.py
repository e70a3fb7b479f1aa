"""Our Kafka consumer: how it is set, polled, told to report, and closed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from threading import Thread
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipelines.capture.broker import LIBRARY_LOG, Troubles, built, plain, unreachable
from pipelines.capture.records import Partition
from pipelines.errors import BrokerError
from pipelines.settings import Settings

_log = logging.getLogger(__name__)

# Short enough that SIGTERM and the age of a batch are noticed, long enough to cost nothing when idle.
POLL_SECONDS = 0.1

# A reader to the end expects records or the end of a partition. Longer than a broker election
# (6 to 10 s) and than reading over a large aborted transaction.
_SILENCE_SECONDS = 60.0

# Positions are reported for lag tools only: no more often than this, so that small batches do not heap
# up requests, and leaving waits no longer than this for their arrival.
_REPORT_EVERY_SECONDS = 1.0
_REPORT_SECONDS = 2.0

# librdkafka has been seen to wait for ever for its last answers; nothing of ours rests on them.
_CLOSE_SECONDS = 15.0

_DEFAULTS: Mapping[str, Any] = {
    "client.id": "medallion",
    "isolation.level": "read_committed",
    "check.crcs": True,
    "queued.max.messages.kbytes": 32 * 1024,
    # The default lets a reader that emptied its queue wait a whole second for the next fetch.
    "fetch.queue.backoff.ms": 20,
    # A topic made while we follow is read from after this long, not after five minutes.
    "topic.metadata.refresh.interval.ms": 10_000,
    "partition.assignment.strategy": "cooperative-sticky",
}

# A fetch is unpacked at once, and lz4 makes ten bytes of one: the default of 50 MB of packed records
# would be half a gigabyte of a topic with many partitions.
_FETCH_BYTES = 8_000_000

# `Settings` refuses these from a user: exactly-once rests on them.
_FIXED: Mapping[str, Any] = {
    "auto.offset.reset": "error",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
}


def consumer_options(settings: Settings, group: str) -> dict[str, Any]:
    """The properties librdkafka gets.

    Raises:
        SettingsError: when no broker is named.
    """
    largest = settings.kafka.get("message.max.bytes", "")
    return {
        **_DEFAULTS,
        # librdkafka wants room for the largest record in a fetch.
        "fetch.max.bytes": max(_FETCH_BYTES, int(largest) if largest.isdecimal() else 0),
        **settings.kafka,
        **_FIXED,
        "bootstrap.servers": settings.brokers,
        "group.id": group,
    }


class Connection:
    """A consumer of one group; `answer_seconds` is how long no broker at all may answer."""

    def __init__(self, settings: Settings, group: str, *, answer_seconds: float) -> None:
        self._servers = settings.brokers
        self._group = group
        self._answer_seconds = answer_seconds
        self._troubles = Troubles()
        self._reports = 0
        self._unreported: dict[Partition, int] = {}
        self._reported_at = 0.0
        self._heard_at = time.monotonic()
        options = consumer_options(settings, group)
        options |= {"error_cb": self._complained, "on_commit": self._reported}
        self.consumer = built(lambda: Consumer(options, logger=LIBRARY_LOG))

    def poll(self, count: int) -> list[Message]:
        """At most `count` messages, records and errors alike; none when there is no news.

        Raises:
            BrokerError: when librdkafka gives up.
        """
        try:
            messages = self.consumer.consume(count, POLL_SECONDS)
        except KafkaException as error:
            raise BrokerError(f"Kafka at {self._servers}: {error.args[0].str()}") from error
        if messages:
            self.expect_news()
        return messages

    def expect_news(self) -> None:
        """Silence counts from now."""
        self._heard_at = time.monotonic()
        self._troubles.forget()

    def refuse_silence(self) -> None:
        """Nothing, unless it has been silent for longer than a live cluster is.

        Raises:
            BrokerError: saying what librdkafka complained of last.
        """
        limit = self._answer_seconds if self._troubles.all_down else _SILENCE_SECONDS
        if time.monotonic() - self._heard_at >= limit:
            why = self._troubles.newest or "neither records nor the end of a partition"
            raise unreachable(self._servers, limit, why)

    def refused(self, partition: Partition, error: KafkaError) -> BrokerError:
        """The error for a complaint after which reading cannot go on."""
        return BrokerError(
            f"Kafka at {self._servers}: {partition}: {error.str()}",
            hint="nothing of it was skipped; run again when that is mended",
        )

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Lets paused partitions deliver."""
        self.consumer.resume([TopicPartition(*each) for each in partitions])

    def report(self, next_offsets: Mapping[Partition, int]) -> None:
        """Commits group offsets now and then, without waiting and without anything resting on them."""
        self._unreported |= next_offsets
        if time.monotonic() - self._reported_at >= _REPORT_EVERY_SECONDS:
            self._report()

    def _report(self) -> None:
        if not self._unreported:
            return
        offsets, self._unreported = plain(self._unreported), {}
        self._reported_at = time.monotonic()
        try:
            self.consumer.commit(offsets=offsets, asynchronous=True)
            self._reports += 1
        except KafkaException as error:
            _log.warning("positions were not reported to group %s: %s", self._group, error)

    def close(self) -> None:
        """Leaves the group; reports get a moment to arrive, and librdkafka some time to end."""
        self.consumer.pause(self.consumer.assignment())
        self._report()
        deadline = time.monotonic() + _REPORT_SECONDS
        while self._reports > 0 and time.monotonic() < deadline:
            self.consumer.poll(POLL_SECONDS)
        closing = Thread(target=self.consumer.close, name="close", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)
        if closing.is_alive():
            _log.warning("the consumer of group %s did not close and is left alone", self._group)

    def _complained(self, error: KafkaError) -> None:
        was_down = self._troubles.all_down
        self._troubles.hear(error)
        if self._troubles.all_down and not was_down:
            _log.warning("no broker answers, trying on: %s", self._troubles.newest)

    def _reported(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        self._reports -= 1
        if error is not None:
            _log.warning("positions were not reported to group %s: %s", self._group, error.str())
