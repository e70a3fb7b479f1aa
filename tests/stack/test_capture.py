"""Reading from a real Kafka: what librdkafka's mock cluster cannot show."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from pipelines.capture.batch import BatchLimits
from pipelines.capture.kafka import KafkaSource
from pipelines.capture.records import NoticeKind, Origin, Partition, RecordBatch
from pipelines.errors import OffsetsLostError
from pipelines.settings import Options, Settings
from tests.stack import topics
from tests.stack.services import Stack

pytestmark = pytest.mark.stack


def from_the_start(origin: Origin, partitions: Sequence[Partition]) -> dict[Partition, int | None]:
    return {}


@pytest.fixture
def topic(stack: Stack) -> Iterator[Callable[[int], str]]:
    made: list[str] = []

    def make(partitions: int = 1, name: str | None = None) -> str:
        admin = AdminClient({"bootstrap.servers": stack.bootstrap})
        made.append(name or f"capture.{uuid.uuid4().hex}")
        admin.create_topics([NewTopic(made[-1], partitions, 1)])[made[-1]].result(30)
        return made[-1]

    yield make
    topics.delete(stack, sorted(set(made)))


def settings(stack: Stack) -> Settings:
    return Settings(bootstrap=stack.bootstrap)


def produce(stack: Stack, topic: str, values: range, partition: int = 0, digits: int = 1) -> None:
    producer = Producer({"bootstrap.servers": stack.bootstrap})
    for number in values:
        producer.produce(topic, f"{number:0{digits}}", partition=partition)
    assert producer.flush(30) == 0


def read(
    stack: Stack, topic: str, start: int | None = None, **options: bool
) -> tuple[list[RecordBatch], Origin]:
    source = KafkaSource(
        settings(stack), [topic], lambda origin, all_of: dict.fromkeys(all_of, start), **options
    )
    with source:
        return list(source), source.origin


def numbers(batches: list[RecordBatch]) -> list[int]:
    return [int(value) for batch in batches for value in batch.frame["value"]]


def in_a_transaction(stack: Stack, topic: str, values: range, *, commit: bool) -> None:
    producer = Producer(
        {"bootstrap.servers": stack.bootstrap, "transactional.id": uuid.uuid4().hex}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for number in values:
        producer.produce(topic, str(number), partition=0)
    producer.flush(30)
    producer.commit_transaction(30) if commit else producer.abort_transaction(30)


def test_a_bounded_run_ends_behind_the_markers_of_transactions(stack, topic):
    name = topic()
    produce(stack, name, range(3))
    in_a_transaction(stack, name, range(3, 5), commit=True)
    in_a_transaction(stack, name, range(90, 99), commit=False)

    batches, _ = read(stack, name)

    assert numbers(batches) == [0, 1, 2, 3, 4]
    partition = Partition(name, 0)
    assert batches[-1].next_offsets[partition] == 3 + 2 + 1 + 9 + 1
    gaps = [notice.count for batch in batches for notice in batch.notices]
    assert sum(gaps) == 1 + 9 + 1


def test_only_a_marker_is_left_and_the_position_still_moves(stack, topic):
    name = topic()
    in_a_transaction(stack, name, range(2), commit=True)
    batches, _ = read(stack, name, start=2)
    assert numbers(batches) == []
    assert batches[-1].next_offsets == {Partition(name, 0): 3}
    assert read(stack, name, start=3)[0] == []


def test_an_open_transaction_does_not_hang_a_bounded_run(stack, topic):
    name = topic()
    produce(stack, name, range(2))
    producer = Producer({"bootstrap.servers": stack.bootstrap, "transactional.id": name})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(name, "9", partition=0)
    producer.flush(30)
    produce(stack, name, range(2, 4))

    assert numbers(read(stack, name)[0]) == [0, 1]
    producer.commit_transaction(30)
    assert numbers(read(stack, name, start=2)[0]) == [9, 2, 3]


def remove_before(stack: Stack, topic: str, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap})
    for done in admin.delete_records([TopicPartition(topic, 0, offset)]).values():
        done.result(30)


def test_offsets_lost_to_retention_are_named(stack, topic):
    name = topic()
    produce(stack, name, range(10))
    remove_before(stack, name, 6)
    with pytest.raises(OffsetsLostError, match=rf"{name}\[0\]: offsets 2 to 5 were removed"):
        read(stack, name, start=2)

    batches, _ = read(stack, name, start=2, accept_loss=True)
    assert numbers(batches) == [6, 7, 8, 9]
    assert batches[0].start_offsets == {Partition(name, 0): 2}
    assert [(n.kind, n.count) for n in batches[0].notices] == [(NoticeKind.LOST, 4)]
    # Nothing known before: the first offset there is, which is no loss.
    assert numbers(read(stack, name)[0]) == [6, 7, 8, 9]


@pytest.mark.parametrize("accept_loss", [True, False])
def test_retention_that_overtakes_reading_is_noticed(stack, topic, accept_loss):
    name = topic()
    produce(stack, name, range(5_000), digits=1_000)
    fetching_little = {
        "message.max.bytes": "10000",
        "fetch.max.bytes": "10000",
        "fetch.message.max.bytes": "10000",
        "queued.min.messages": "1",
    }
    slow = Settings(bootstrap=stack.bootstrap, kafka=Options(fetching_little))
    source = KafkaSource(
        slow, [name], from_the_start, limits=BatchLimits(max_records=1), accept_loss=accept_loss
    )
    with source:
        batches = iter(source)
        taken = [next(batches)]
        remove_before(stack, name, 4_990)
        if accept_loss:
            taken += list(batches)
        else:
            with pytest.raises(OffsetsLostError, match="were removed"):
                taken += list(batches)
    seen = numbers(taken)
    assert seen == sorted(set(seen))
    lost = [notice.count for notice in source.notices if notice.kind == NoticeKind.LOST]
    assert (len(seen) + sum(lost) == 5_000) is accept_loss


def test_a_topic_made_again_is_another_one(stack, topic):
    name = topic()
    produce(stack, name, range(5))
    _, before = read(stack, name)
    topics.delete(stack, [name])
    topic(1, name)
    produce(stack, name, range(2))

    batches, after = read(stack, name)
    assert before.topic_id(name) != after.topic_id(name)
    assert before.cluster == after.cluster != ""
    assert numbers(batches) == [0, 1]
    with pytest.raises(OffsetsLostError, match="was cut, or made again"):
        read(stack, name, start=5)


def test_a_topic_made_again_while_it_is_read_stops_the_run(stack, topic):
    name = topic()
    produce(stack, name, range(10))
    source = KafkaSource(settings(stack), [name], from_the_start, limits=BatchLimits(max_records=4))
    with source:
        batches = iter(source)
        assert numbers([next(batches)]) == [0, 1, 2, 3]
        topics.delete(stack, [name])
        topic(1, name)
        with pytest.raises(OffsetsLostError, match="made again while it was read"):
            list(batches)


class Ledger:
    """Stands for the lake: takes a partition's records only where it left off, as app transactions do."""

    def __init__(self) -> None:
        self.positions: dict[Partition, int] = {}
        self.landed: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def seek(self, origin: Origin, partitions: Sequence[Partition]) -> dict[Partition, int | None]:
        with self._lock:
            return {each: self.positions.get(each) for each in partitions}

    def land(self, batch: RecordBatch) -> None:
        with self._lock:
            for partition, start in batch.start_offsets.items():
                if self.positions.get(partition, 0) != start:
                    continue  # another follower was faster
                rows = batch.frame.filter(kafka_partition=partition.partition)
                self.landed += [(partition.partition, at) for at in rows["kafka_offset"]]
                self.positions[partition] = batch.next_offsets[partition]

    def follow(self, source: KafkaSource) -> threading.Thread:
        def run() -> None:
            with source:
                for batch in source:
                    self.land(batch)
                    source.report(batch.next_offsets)

        thread = threading.Thread(target=run)
        thread.start()
        return thread


def test_followers_share_the_partitions_and_lose_nothing(stack, topic):
    name, ledger = topic(4), Ledger()
    limits = BatchLimits(max_records=50, max_seconds=0.2)
    first, second = (
        KafkaSource(settings(stack), [name], ledger.seek, mode="follow", group=name, limits=limits)
        for _ in range(2)
    )
    threads = [ledger.follow(first)]
    for step in range(10):
        if step == 3:
            threads.append(ledger.follow(second))
        if step == 7:
            first.stop()
        for partition in range(4):
            produce(stack, name, range(100), partition)
    deadline = time.monotonic() + 60
    while len(ledger.landed) < 4_000 and time.monotonic() < deadline:
        time.sleep(0.1)
    second.stop()
    for thread in threads:
        thread.join(30)

    assert len(ledger.landed) == len(set(ledger.landed)) == 4_000
    assert ledger.positions == {Partition(name, each): 1_000 for each in range(4)}


def test_a_follower_reads_a_topic_made_later(stack, topic):
    name = f"capture.{uuid.uuid4().hex}"
    quick = Settings(
        bootstrap=stack.bootstrap, kafka=Options({"topic.metadata.refresh.interval.ms": "500"})
    )
    source = KafkaSource(
        quick,
        [name],
        from_the_start,
        mode="follow",
        group=name,
        limits=BatchLimits(max_seconds=0.2),
    )
    with source:
        assert [notice.kind for notice in source.notices] == [NoticeKind.MISSING_TOPIC]
        topic(1, name)
        produce(stack, name, range(3))
        batch = next(iter(source))
    assert numbers([batch]) == [0, 1, 2]
    assert batch.origin.topic_id(name) != ""
