"""Kafka topics read whole, listed and deleted: for tests, so without any care for memory."""

from __future__ import annotations

import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.stack.parts import StackError
from tests.stack.services import Stack


def read(stack: Stack, topic: str, *, seconds: float = 60.0) -> list[Message]:
    """Every record of a topic up to its present end, by partition, then offset.

    Raises:
        StackError: There is no such topic, or its end is not reached in time.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": stack.bootstrap,
            "group.id": "tests",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # The broker holds an empty fetch this long, and so the news of the end.
            "fetch.wait.max.ms": 10,
            "isolation.level": "read_committed",
        }
    )
    try:
        found = consumer.list_topics(timeout=10).topics.get(topic)
        if found is None:
            raise StackError(f"There is no topic {topic}")
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in found.partitions])
        records = _until_ends(consumer, set(found.partitions), topic, seconds)
    finally:
        consumer.close()
    return sorted(records, key=lambda m: (m.partition(), m.offset()))


def _until_ends(
    consumer: Consumer, unfinished: set[int], topic: str, seconds: float
) -> list[Message]:
    records: list[Message] = []
    deadline = time.monotonic() + seconds
    while unfinished:
        if time.monotonic() > deadline:
            raise StackError(f"The end of {topic} was not reached within {seconds:.0f} s")
        for message in consumer.consume(5000, 0.05):
            error = message.error()
            if error is None:
                records.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                unfinished.discard(message.partition())
            else:
                raise StackError(f"{topic}: {error}")
    return records


def named(stack: Stack, prefix: str) -> list[str]:
    """The topics of a connector: rows, transactions, messages, heartbeats."""
    every = AdminClient({"bootstrap.servers": stack.bootstrap}).list_topics(timeout=10).topics
    heartbeat = f"__debezium-heartbeat.{prefix}"
    return sorted(t for t in every if t.startswith(f"{prefix}.") or t in (prefix, heartbeat))


def delete(stack: Stack, topics: list[str], *, seconds: float = 30.0) -> None:
    """Deletes topics and waits until the broker no longer lists them."""
    admin = AdminClient({"bootstrap.servers": stack.bootstrap})
    for done in admin.delete_topics(topics).values() if topics else ():
        done.result(timeout=seconds)
    deadline = time.monotonic() + seconds
    while set(topics) & set(admin.list_topics(timeout=10).topics):
        if time.monotonic() > deadline:
            raise StackError(f"Topics still listed {seconds:.0f} s after their deletion: {topics}")
        time.sleep(0.1)
