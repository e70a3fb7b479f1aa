"""Reading from librdkafka's mock cluster; what only a real broker shows is in tests/stack."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time

import pytest

from pipelines.capture.batch import BatchLimits
from pipelines.capture.embedded import EmbeddedBroker, Outgoing
from pipelines.capture.kafka import KafkaSource
from pipelines.capture.records import NoticeKind, Partition, RecordBatch
from pipelines.errors import BrokerError, OffsetsLostError, SettingsError
from pipelines.settings import Options, Settings


def source(
    broker: EmbeddedBroker, *topics: str, start: dict | None = None, **options
) -> KafkaSource:
    settings = Settings(bootstrap=broker.bootstrap)
    return KafkaSource(settings, topics, lambda *_: start or {}, **options)


def fill(broker: EmbeddedBroker, topic: str, count: int, first: int = 0) -> None:
    broker.produce(
        Outgoing(topic, b"k", b"%d" % n, partition=n % 4) for n in range(first, first + count)
    )


def numbers(batches: list[RecordBatch]) -> list[int]:
    return sorted(int(value) for batch in batches for value in batch.frame["value"])


def test_a_record_arrives_with_everything_it_has(broker):
    broker.produce(
        [
            Outgoing("t", b"\xff", b'{"schema":{"type":"string"},"payload":"x"}', [("h", b"\xff"), ("h", None)], 2, 1_700_000_000_123),
            Outgoing("t", None, None, (), 2, 1_700_000_000_124),
        ]
    )  # fmt: skip
    with source(broker, "t") as opened:
        (batch,) = opened
    first, second = batch.frame.to_dicts()
    assert first["key"] == b"\xff"
    assert first["value"] == b'"x"'
    assert batch.schemas[first["value_schema"]] == b'{"type":"string"}'
    assert json.loads(first["headers"]) == [["h", {"b64": "/w=="}], ["h", None]]
    assert (first["kafka_partition"], first["kafka_offset"]) == (2, 0)
    assert (first["timestamp_type"], first["kafka_timestamp"]) == (1, 1_700_000_000_123)
    assert (second["key"], second["value"], second["headers"]) == (None, None, "[]")
    assert batch.originals()["value"][0] == b'{"schema":{"type":"string"},"payload":"x"}'
    assert batch.origin.cluster.startswith("mockCluster")
    assert batch.origin.topic_ids == {"t": ""}


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batches_of_any_size_hold_every_record_once(broker, size):
    fill(broker, "a", 20)
    fill(broker, "b", 5, 20)
    with source(broker, "a", "b", limits=BatchLimits(max_records=size)) as opened:
        batches = list(opened)
    assert numbers(batches) == list(range(25))
    assert all(len(batch) <= size for batch in batches)
    position: dict[Partition, int] = {}
    for batch in batches:
        for partition, start in batch.start_offsets.items():
            assert position.get(partition, 0) == start
        position |= batch.next_offsets
    assert position[Partition("a", 0)] == 5


def test_a_bounded_run_does_not_read_what_came_after_it_began(broker):
    fill(broker, "t", 8)
    with source(broker, "t") as opened:
        fill(broker, "t", 400, 8)
        batches = list(opened)
    assert numbers(batches) == list(range(8))
    after = batches[-1].next_offsets
    with source(broker, "t", start=after) as opened:
        assert numbers(list(opened)) == list(range(8, 408))


def test_nothing_new_gives_no_batch(broker):
    fill(broker, "t", 4)
    with source(broker, "t", start={Partition("t", n): 1 for n in range(4)}) as opened:
        assert list(opened) == []


def test_a_topic_that_is_not_there_is_named_and_the_others_are_read(broker):
    fill(broker, "t", 4)
    with source(broker, "t", "later") as opened:
        batches = list(opened)
    assert numbers(batches) == [0, 1, 2, 3]
    (notice,) = opened.notices
    assert (notice.kind, notice.topic) == (NoticeKind.MISSING_TOPIC, "later")
    assert batches[0].notices == (notice,)
    with source(broker, "later") as opened:
        assert list(opened) == []


def test_lost_offsets_stop_the_run_unless_accepted(broker):
    payload = b"x" * 100_000  # the mock cluster keeps 5 MB a partition
    broker.produce(Outgoing("t", None, payload, partition=0) for _ in range(100))
    start = {Partition("t", 0): 1}
    with pytest.raises(OffsetsLostError, match=r"t\[0\]: offsets 1 to \d+ were removed"):
        source(broker, "t", start=start).__enter__()
    with source(broker, "t", start=start, accept_loss=True) as opened:
        batches = list(opened)
    lost = [notice for notice in opened.notices if notice.kind is NoticeKind.LOST]
    assert lost[0].count + sum(map(len, batches)) == 99
    assert batches[0].start_offsets == start


def test_a_position_beyond_the_end_is_no_silent_wait(broker):
    fill(broker, "t", 4)
    with pytest.raises(OffsetsLostError, match="was cut, or made again"):
        source(broker, "t", start={Partition("t", 0): 9}).__enter__()


def test_large_records_do_not_fill_the_memory_a_poll_at_a_time(broker):
    broker.produce(Outgoing("t", None, b"x" * 100_000, partition=n % 4) for n in range(160))
    with source(broker, "t", limits=BatchLimits(max_bytes=1_000_000)) as opened:
        sizes = [batch.frame.estimated_size() for batch in opened]
    assert sum(sizes) > 16_000_000
    assert max(sizes[1:]) < 2_000_000


def test_following_goes_on_until_it_is_told_to_stop(broker):
    fill(broker, "t", 40)
    limits = BatchLimits(max_records=30, max_seconds=0.2)
    seen: list[RecordBatch] = []
    with source(broker, "t", mode="follow", group="g", limits=limits) as opened:
        for batch in opened:
            seen.append(batch)
            opened.report(batch.next_offsets)
            if len(numbers(seen)) == 40:
                fill(broker, "t", 5, 40)
            if len(numbers(seen)) == 45:
                opened.stop()
    assert numbers(seen) == list(range(45))


def test_stop_hands_out_what_was_read(broker):
    fill(broker, "t", 10)
    with source(broker, "t", mode="follow", limits=BatchLimits(max_seconds=3600)) as opened:
        threading.Timer(5.0, opened.stop).start()
        batches = list(opened)
    assert numbers(batches) == list(range(10))


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_broker_that_is_not_there_is_an_error_after_the_stated_time():
    settings = Settings(bootstrap=f"127.0.0.1:{closed_port()}")
    begun = time.monotonic()
    with pytest.raises(BrokerError, match=r"did not answer within 1 s: .*refused(.|\n)*Hint"):
        KafkaSource(settings, ["t"], lambda *_: {}, timeout_seconds=1.0).__enter__()
    assert time.monotonic() - begun < 3


def test_a_broker_that_goes_away_ends_a_bounded_run(caplog):
    caplog.set_level(logging.CRITICAL)
    with EmbeddedBroker() as broker:
        fill(broker, "t", 400)
        settings = Settings(
            bootstrap=broker.bootstrap,
            kafka=Options({"fetch.message.max.bytes": "500", "queued.min.messages": "1"}),
        )
        opened = KafkaSource(
            settings, ["t"], lambda *_: {}, limits=BatchLimits(max_records=1), timeout_seconds=1.0
        ).__enter__()
    with pytest.raises(BrokerError, match="did not answer within 1 s"):
        list(opened)
    opened.__exit__(None, None, None)


@pytest.mark.parametrize(
    "options",
    [{"no.such.option": "1"}, {"security.protocol": "nonsense"}, {"fetch.min.bytes": "x"}],
)
def test_an_option_librdkafka_refuses_is_a_setting_error(broker, options):
    settings = Settings(bootstrap=broker.bootstrap, kafka=Options(options))
    with pytest.raises(SettingsError, match=f"Kafka options: .*{next(iter(options))}"):
        KafkaSource(settings, ["t"], lambda *_: {}).__enter__()


def test_no_broker_named_is_a_setting_error():
    with pytest.raises(SettingsError, match="--bootstrap"):
        KafkaSource(Settings(), ["t"], lambda *_: {}).__enter__()


@pytest.mark.parametrize("limits", [{"max_records": 0}, {"max_bytes": 0}, {"max_seconds": 0}])
def test_a_batch_that_could_hold_nothing_is_refused(limits):
    with pytest.raises(SettingsError):
        BatchLimits(**limits)
