"""Outages: a run goes on as if nobody listened, and its events arrive when somebody does again."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from openlineage.client.serde import Serde

from lineage.openlineage.events import revive
from lineage.openlineage.outbox import Outbox
from pipelines.capture.embedded import EmbeddedBroker
from tests.unit.openlineage.parts import Listening, Shop

#: Of a run over one silver and one gold table: six jobs, each START and COMPLETE.
EVENTS = 12


def test_events_of_a_refused_connection_arrive_in_the_next_run(
    shop: Shop, listening: Listening
) -> None:
    listening.stop()
    shop.run_all(listened=False)
    assert len(shop.waiting()) == EVENTS
    again = Listening(listening.port)
    try:
        shop.run_all()
        assert again.faults == []
        assert len(again.events) == 2 * EVENTS - 2  # gold did not change, so it is not judged again
        times = [event["eventTime"] for event in again.events]
        assert times == sorted(times)
    finally:
        again.stop()
    assert shop.waiting() == []


def test_an_error_of_the_listener_loses_no_event(shop: Shop, listening: Listening) -> None:
    listening.answers = [500, 503]
    shop.run_all(listened=False)
    shop.run_all()
    assert listening.faults == []
    assert shop.waiting() == []
    first = [e for e in listening.events if e["job"]["name"] == "medallion.run"]
    assert [e["eventType"] for e in first] == ["START", "COMPLETE"] * 2


def test_a_slow_listener_does_not_hold_the_run(shop: Shop, listening: Listening) -> None:
    shop.run_all()
    listening.seconds = 30.0
    began = time.monotonic()
    shop.run_all(listened=False)
    assert time.monotonic() - began < 15
    assert len(shop.waiting()) > 0


def test_an_event_that_is_refused_is_set_aside_and_holds_up_no_other(
    shop: Shop, listening: Listening
) -> None:
    listening.answers = [422]
    shop.run_all()
    assert len(listening.events) == EVENTS - 1
    assert shop.waiting() == []
    (aside,) = (shop.outbox / "refused").glob("*.json")
    assert json.loads(aside.read_text())["job"]["name"] == "medallion.run"
    assert aside.with_suffix(".txt").read_text().startswith("422")


def test_settings_that_cannot_be_read_stop_nothing(shop: Shop, listening: Listening) -> None:
    shop.configure("transport: {type: no_such_transport}")
    shop.run_all()
    assert listening.events == []


def test_an_outbox_that_cannot_be_written_stops_nothing(shop: Shop, listening: Listening) -> None:
    shop.outbox.write_text("a file where the folder should be")
    shop.run_all()
    assert listening.events == []


def test_events_go_to_a_file_as_well(shop: Shop) -> None:
    log = shop.root / "events.jsonl"
    shop.configure(f"transport: {{type: file, log_file_path: '{log}', append: true}}")
    shop.run_all()
    assert len([json.loads(line) for line in log.read_text().splitlines()]) == EVENTS


def test_events_go_to_kafka_a_run_in_one_partition(shop: Shop) -> None:
    with EmbeddedBroker() as broker:
        shop.configure(
            "transport: {type: kafka, topic: lineage, config: "
            f"{{bootstrap.servers: '{broker.bootstrap}'}}}}"
        )
        shop.run_all()
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "t"} | EARLIEST)
        consumer.subscribe(["lineage"])
        got = [m for m in consumer.consume(EVENTS, timeout=20) if m.error() is None]
        consumer.close()
    assert shop.waiting() == []
    assert len(got) == EVENTS
    assert {m.key() for m in got} == {b"run:tests/medallion.run"}
    assert len({m.partition() for m in got}) == 1


EARLIEST = {"auto.offset.reset": "earliest"}


def test_events_wait_while_kafka_is_away(shop: Shop) -> None:
    shop.configure(
        "transport: {type: kafka, topic: lineage, config: "
        "{bootstrap.servers: '127.0.0.1:1', message.timeout.ms: 500, log_level: 0}}"
    )
    shop.run_all(listened=False)
    assert len(shop.waiting()) == EVENTS


def test_a_stored_event_revives_as_it_was(shop: Shop, listening: Listening) -> None:
    shop.run_all()
    for event in listening.events:
        assert json.loads(Serde.to_json(revive(event))) == event


def test_one_process_sends_at_a_time(tmp_path: Path) -> None:
    one, other = Outbox(tmp_path), Outbox(tmp_path)
    with one.sole() as mine, other.sole() as theirs:
        assert (mine, theirs) == (True, False)
    with other.sole() as mine:
        assert mine


def test_the_oldest_events_go_when_too_many_wait(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = Outbox(tmp_path, limit=2)
    paths = [box.put(f"{number}") for number in range(3)]
    assert box.waiting() == paths[1:]
    assert not paths[0].exists()
    assert "1 undelivered events were let go" in caplog.text
