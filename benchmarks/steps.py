"""What is measured; each step runs in a process of its own."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from confluent_kafka import Consumer, Producer

from benchmarks.accounts import (
    CATALOG,
    CONTRACT,
    TABLE,
    TOPIC,
    event,
    land,
    make_silver,
    scattered,
    with_block,
)
from pipelines.bronze import schema_blocks
from pipelines.change.decode import BRONZE_COLUMNS, decode_events
from pipelines.change.reduce import newest
from pipelines.contract import Catalog
from pipelines.ingest import capture_kafka
from pipelines.settings import Settings
from pipelines.silver import apply as apply_silver
from pipelines.storage import Lake


def decode(events: int) -> dict[str, Any]:
    """Bronze rows to the newest event a key; the second pass is measured, the first warms up."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        lake = Lake(folder)
        land(lake, [number % (events // 3) for number in range(events)])
        rows = lake.scan(CONTRACT.bronze).select(BRONZE_COLUMNS).collect()
        for _ in range(2):
            began = time.perf_counter()
            found = newest(
                decode_events(rows, CONTRACT, schema_blocks(lake, set())).frame, CONTRACT.key
            )
            seconds = time.perf_counter() - began
    assert len(found) == events // 3
    return {"rate": events / seconds}


def prepare(rows: int, changes: int, folder: str) -> dict[str, Any]:
    """A lake with the silver table and the changes landed."""
    lake = Lake(folder)
    make_silver(lake, rows)
    return {"landed": land(lake, scattered(rows, changes))}


def apply(folder: str, changes: int) -> dict[str, Any]:
    """Our apply of the landed changes."""
    lake = Lake(folder)
    began = time.perf_counter()
    done = apply_silver(lake, CATALOG, TABLE, now=datetime.now(UTC))
    seconds = time.perf_counter() - began
    assert done.kept == changes
    return {"seconds": seconds}


def merge(folder: str, changes: int) -> dict[str, Any]:
    """Delta's own merge of rows with the same keys, decoded beforehand."""
    lake = Lake(folder)
    handle = lake.handle(TABLE)
    keys = (
        lake.scan(CONTRACT.bronze)
        .select(pl.col("key").str.extract(r"(\d+)").cast(pl.Int64).alias("id"))
        .collect()
    )
    rows = (
        lake.scan(TABLE)
        .join(keys.lazy(), on="id", how="semi")
        .with_columns(status=pl.lit("SHIPPED"))
        .collect()
        .to_arrow()
    )
    assert len(rows) == changes
    began = time.perf_counter()
    handle.merge(
        rows, "t.id = s.id", source_alias="s", target_alias="t"
    ).when_matched_update_all().when_not_matched_insert_all().execute()
    return {"seconds": time.perf_counter() - began}


def produce(bootstrap: str, topic: str, messages: int, blocks: int) -> dict[str, Any]:
    """Fills a topic; every message differs."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "lz4",
            "queue.buffering.max.messages": messages + 1,
            "linger.ms": 50,
        }
    )
    headers = [
        ("__debezium.context.connectorLogicalName", b"bench"),
        ("__debezium.context.taskId", b"0"),
        ("__debezium.context.connectorName", b"postgresql"),
    ]
    for number in range(messages):
        payload = event(number, number * 7 % 1_000_003)
        producer.produce(
            topic,
            with_block(payload) if blocks else payload,
            b'{"id":%d}' % (number * 7 % 1_000_003),
            headers=headers,
        )
    producer.flush()
    return {"messages": messages}


def consume(bootstrap: str, topic: str, options: dict[str, Any]) -> dict[str, Any]:
    """The empty loop: everything consumed, nothing done with it."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench-empty",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            **options,
        }
    )
    consumer.subscribe([topic])
    while not (messages := consumer.consume(1, 10)):
        pass
    count, began, ended = 0, time.perf_counter(), False
    while not ended:
        count += len(messages)
        messages = consumer.consume(5000, 1.0)
        ended = any(message.error() for message in messages)
    seconds = time.perf_counter() - began
    consumer.close()
    return {"rate": (count + len(messages)) / seconds}


def capture(bootstrap: str, topic: str, folder: str) -> dict[str, Any]:
    """Our capture of the same topic into a new lake."""
    contract = (
        CONTRACT.model_copy(update={"source": CONTRACT.source.model_copy(update={"topic": topic})})
        if CONTRACT.source
        else CONTRACT
    )
    began = time.perf_counter()
    done = capture_kafka(
        Settings(lake=folder, bootstrap=bootstrap), Catalog(Path(), {TABLE: contract})
    )
    return {"rate": done.landed.rows / (time.perf_counter() - began)}


def load_definitions() -> dict[str, Any]:
    """Whether loading what Dagster loads brings Great Expectations along."""
    from assets.definitions import definitions

    definitions()
    return {"great_expectations": "great_expectations" in sys.modules, "topic": TOPIC}
