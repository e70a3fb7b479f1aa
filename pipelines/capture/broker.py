"""What the cluster says of itself: topics, their ids, and the offsets each partition still holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # pyright: ignore[reportPrivateImportUsage] - as documented

from pipelines.capture.positions import Span
from pipelines.capture.records import Origin, Partition
from pipelines.errors import BrokerError, SettingsError
from pipelines.settings import Settings

# librdkafka writes to stderr by itself unless it has a logger. What matters of it is in our errors.
LIBRARY_LOG = logging.getLogger("pipelines.capture.librdkafka")
LIBRARY_LOG.addHandler(logging.NullHandler())

_GONE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID)
_TOO_OLD = (KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE)
_NO_TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAA"  # the zero id, from brokers before 2.8
_NOISE = (KafkaError._ALL_BROKERS_DOWN,)

_Client = TypeVar("_Client")


class Troubles:
    """The newest complaint of librdkafka, for the text of an error."""

    def __init__(self) -> None:
        self.newest = ""
        self.all_down = False

    def hear(self, error: KafkaError) -> None:
        """Remembers a complaint; given to librdkafka as `error_cb`."""
        if error.code() in _NOISE:
            self.all_down = True
        else:
            self.newest = error.str()

    def forget(self) -> None:
        """Forgets that no broker answered, since one did."""
        self.all_down = False


@dataclass(frozen=True, slots=True)
class Topics:
    """Which of the wanted topics are there, with their partitions, and which are not."""

    partitions: tuple[Partition, ...]
    missing: tuple[str, ...]


class Broker:
    """A connection for questions; it reads no records.

    `timeout_seconds` bounds each question.
    """

    def __init__(self, settings: Settings, *, timeout_seconds: float = 10.0) -> None:
        self.servers = settings.brokers
        self.timeout_seconds = timeout_seconds
        self.committed_only = settings.kafka.get("isolation.level") != "read_uncommitted"
        self._troubles = Troubles()
        config: dict[str, Any] = {
            **settings.kafka,
            "bootstrap.servers": self.servers,
            "error_cb": self._troubles.hear,
        }
        self._admin = built(lambda: AdminClient(config, logger=LIBRARY_LOG))

    def topics(self, wanted: Iterable[str]) -> Topics:
        """The partitions of those wanted topics that exist.

        Raises:
            BrokerError: when no broker answers in time.
        """
        # All topics are listed: asking for one by name would create it on some brokers.
        listed = self._metadata().topics
        names = sorted(set(wanted))
        found = [
            Partition(name, number)
            for name in names
            if name in listed
            for number in sorted(listed[name].partitions)
        ]
        return Topics(tuple(found), tuple(name for name in names if name not in listed))

    def origin(self, topics: Iterable[str]) -> Origin:
        """The cluster's id and the id of each topic; a topic that is not there has none.

        Brokers that know no topic ids (before 2.8, and librdkafka's mock cluster) give "".

        Raises:
            BrokerError: when no broker answers in time. An id is never left out for lack of an
                answer: it is part of every event's identity.
        """
        metadata = self._metadata()
        names = [name for name in sorted(set(topics)) if name in metadata.topics]
        cluster = metadata.cluster_id or ""
        # The mock cluster names a controller that is none of its brokers and never answers as one.
        if not names or metadata.controller_id not in metadata.brokers:
            return Origin(cluster=cluster, topic_ids=dict.fromkeys(names, ""))
        asked = self._admin.describe_topics(
            TopicCollection(names), request_timeout=self.timeout_seconds
        )
        ids = {name: self._topic_id(name, answer) for name, answer in asked.items()}
        return Origin(
            cluster=cluster,
            topic_ids={name: found for name, found in ids.items() if found is not None},
        )

    def spans(self, partitions: Iterable[Partition]) -> dict[Partition, Span]:
        """What each partition holds now.

        Raises:
            BrokerError: when a partition has no leader that answers in time.
        """
        wanted = list(partitions)
        if not wanted:
            return {}
        low = self._list_offsets(wanted, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)
        high = self._list_offsets(wanted, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
        end = (
            self._list_offsets(wanted, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)
            if self.committed_only
            else high
        )
        return {
            each: Span(low=low[each], high=high[each], end=min(end[each], high[each]))
            for each in wanted
        }

    def _metadata(self) -> Any:
        try:
            return self._admin.list_topics(timeout=self.timeout_seconds)
        except KafkaException as error:
            self._admin.poll(0)
            raise unreachable(
                self.servers, self.timeout_seconds, self._troubles.newest or str(error)
            ) from error

    def _topic_id(self, topic: str, answer: Future[Any]) -> str | None:
        try:
            found = str(answer.result().topic_id)
        except KafkaException as error:
            code = error.args[0].code()
            if code in _GONE:
                return None
            if code in _TOO_OLD:
                return ""
            raise BrokerError(
                f"{self.servers}: topic {topic} cannot be described: {error.args[0].str()}"
            ) from error
        return "" if found == _NO_TOPIC_ID else found

    def _list_offsets(
        self, partitions: list[Partition], which: Any, isolation: IsolationLevel
    ) -> dict[Partition, int]:
        asked = self._admin.list_offsets(
            {TopicPartition(*each): which for each in partitions},
            isolation_level=isolation,
            request_timeout=self.timeout_seconds,
        )
        offsets: dict[Partition, int] = {}
        for asked_for, answer in asked.items():
            each = Partition(asked_for.topic, asked_for.partition)
            try:
                offsets[each] = answer.result().offset
            except KafkaException as error:
                raise BrokerError(
                    f"{self.servers}: {each}: its offsets cannot be had: {error.args[0].str()}",
                    hint="does the partition have a leader, and may this user read the topic?",
                ) from error
        return offsets


def changed_topics(before: Origin, now: Origin) -> list[str]:
    """Topics that were deleted and made again in between."""
    return [
        topic
        for topic, topic_id in before.topic_ids.items()
        if topic_id and now.topic_ids.get(topic, topic_id) != topic_id
    ]


def built(make: Callable[[], _Client]) -> _Client:
    """What `make` returns, a Kafka client.

    Raises:
        SettingsError: when librdkafka does not know an option or refuses its value.
    """
    try:
        return make()
    except KafkaException as error:
        raise SettingsError(
            f"Kafka options: {error.args[0].str()}",
            hint="names are those of librdkafka's CONFIGURATION.md",
        ) from error


def unreachable(servers: str, seconds: float, why: str) -> BrokerError:
    """The error for a cluster that does not answer."""
    return BrokerError(
        f"Kafka at {servers} did not answer within {seconds:g} s: {why}",
        hint="is the broker up, is --bootstrap right, and do security.protocol and sasl.* fit its listener?",
    )


def plain(positions: Mapping[Partition, int]) -> list[TopicPartition]:
    """Positions as confluent_kafka takes them."""
    return [
        TopicPartition(each.topic, each.partition, offset) for each, offset in positions.items()
    ]
