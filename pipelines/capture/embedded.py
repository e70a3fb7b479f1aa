"""A Kafka broker inside this process, for the demo and for tests: librdkafka's mock cluster.

It speaks the real protocol over loopback, so the code that reads from it is the code that reads from
Kafka. It is no Kafka in these ways (librdkafka 2.16):

* each topic is made by its first record and has 4 partitions;
* a partition keeps about 5 MB and then drops its oldest records without a word;
* aborted records are delivered, as if each transaction had committed;
* there are no topic ids, no administration (creating, deleting), no `offsets_for_times`;
* all is gone when it is closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import KafkaError, Message, Producer

from pipelines.capture.broker import LIBRARY_LOG
from pipelines.errors import BrokerError

_SECONDS = 10.0


class Outgoing(NamedTuple):
    """A record to be produced; -1 leaves the partition to the key's hash, timestamps are milliseconds."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    partition: int = -1
    timestamp: int | None = None


class EmbeddedBroker:
    """A mock cluster of one broker, alive inside a `with` block."""

    bootstrap: str

    def __enter__(self) -> Self:
        """Starts it; `bootstrap` then says where it listens."""
        self._producer = Producer(
            {"test.mock.num.brokers": 1, "bootstrap.servers": ""}, logger=LIBRARY_LOG
        )
        brokers = self._producer.list_topics(timeout=_SECONDS).brokers.values()
        self.bootstrap = ",".join(f"{each.host}:{each.port}" for each in brokers)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops it; its records are gone."""
        self._producer.purge()
        del self._producer

    def produce(self, records: Iterable[Outgoing]) -> int:
        """Writes records and waits until all are in; how many there were.

        Raises:
            BrokerError: when one was refused.
        """
        refused: list[str] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                refused.append(error.str())

        count = 0
        for record in records:
            self._put(record, delivered)
            count += 1
        left = self._producer.flush(_SECONDS)
        if left or refused:
            raise BrokerError(
                f"{left + len(refused)} of {count} records were refused: {(refused or ['too slow'])[0]}"
            )
        return count

    def _put(self, record: Outgoing, delivered: Any) -> None:
        more: dict[str, Any] = {} if record.timestamp is None else {"timestamp": record.timestamp}
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                    on_delivery=delivered,
                    **more,
                )
            except BufferError:  # the queue is full: wait until some of it is delivered
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return
