"""What is measured; each step runs in a process of its own."""

from __future__ import annotations

import json
import random
import re
import statistics
import sys
import tempfile
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
    as_avro,
    avro_schema,
    event,
    land,
    make_silver,
    scattered,
    with_block,
)
from lineage.cache import Traces
from pipelines.avro import Wire, open_registry
from pipelines.bronze import schema_blocks
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.records import Columns, to_frame
from pipelines.change.decode import BRONZE_COLUMNS, decode_events
from pipelines.change.envelope import describe
from pipelines.change.position import ORDER, assign, is_newer
from pipelines.change.reduce import newest
from pipelines.contract import Catalog
from pipelines.ingest import capture_kafka
from pipelines.landing import bronze_rows, describe_records
from pipelines.settings import Settings
from pipelines.silver import apply as apply_silver
from pipelines.state import silver_schema
from pipelines.storage import Lake, refuse_other_types
from pipelines.topics import TopicKind


def decode(events: int, blocks: int) -> dict[str, Any]:
    """Bronze rows to the newest event a key; the second pass is measured, the first warms up."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        lake = Lake(folder)
        land(lake, [number % (events // 3) for number in range(events)], blocks=bool(blocks))
        rows = lake.scan(CONTRACT.bronze).select(BRONZE_COLUMNS).collect()
        for _ in range(2):
            began, cpu = time.perf_counter(), time.process_time()
            known = schema_blocks(lake, rows)
            found = newest(decode_events(rows, CONTRACT, known).frame, CONTRACT.key)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert len(found) == events // 3
    return {"rate": events / seconds, "cpu": cpu / events}


def forms(events: int) -> dict[str, Any]:
    """From the bytes of messages to typed events: schemaless JSON, and Avro with its schema known."""
    import fastavro

    payloads = [event(number, number) for number in range(events)]
    parsed = fastavro.parse_schema(avro_schema())
    avro = [as_avro(payload, parsed) for payload in payloads]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"schemas": {"1": avro_schema()}}, file)
        file.flush()
        wire = Wire(open_registry(file.name, {}))
        rates = [
            statistics.median(_read(values, BlockCutter(wire)) for _ in range(3))
            for values in ([payload.encode() for payload in payloads], avro)
        ]
    return {"json": events / rates[0], "avro": events / rates[1]}


def _read(values: list[bytes], cutter: BlockCutter) -> float:
    """Seconds from messages to typed events, without the lake between."""
    count = len(values)
    began = time.perf_counter()
    columns = Columns(
        topics=[TOPIC] * count,
        partitions=[0] * count,
        offsets=list(range(count)),
        timestamps=[(1, 1795225400299)] * count,
        keys=[b'{"id":%d}' % number for number in range(count)],
        values=values,
    )
    frame, blocks = to_frame(columns, cutter)
    described = describe_records(frame, TopicKind.TABLE).with_columns(event_id=pl.lit("e"))
    placed, _ = assign(described, {})
    rows = bronze_rows(placed).select(BRONZE_COLUMNS)
    events = decode_events(rows, CONTRACT, {mark: block.decode() for mark, block in blocks.items()})
    assert len(events.frame) == count
    assert not events.frame["_issues"].list.len().sum()
    return time.perf_counter() - began


def ordering(changes: int) -> dict[str, Any]:
    """What the total order and the guard of types cost: positions, comparisons, and the types' comparison."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        lake = Lake(folder)
        land(lake, list(range(changes)))
        rows = lake.scan(CONTRACT.bronze).collect()
        described = describe(
            rows["raw_payload"], pl.repeat(None, len(rows), dtype=pl.String, eager=True)
        )
        records = pl.concat(
            [
                rows.select(
                    "kafka_partition", "kafka_offset", pl.lit(0).alias("kafka_timestamp"), "key"
                ),
                described,
            ],
            how="horizontal",
        )
        frame = decode_events(rows.select(BRONZE_COLUMNS), CONTRACT, {}).frame
        handle = lake.handle(CONTRACT.bronze)
        pairs = frame.join(frame.select("id", *(pl.col(n).alias(f"b:{n}") for n in ORDER)), on="id")
        best = float("inf")
        for _ in range(3):
            began = time.perf_counter()
            assign(records, {})
            newest(frame, CONTRACT.key)
            pairs.select(is_newer("", "b:"))
            refuse_other_types(handle, rows)
            best = min(best, time.perf_counter() - began)
    return {"seconds": best}


def sizes(messages: int) -> dict[str, Any]:
    """Bytes a message: as the connector writes it, without its schema block, and in bronze."""
    keys = scattered(10 * messages, messages)
    with tempfile.TemporaryDirectory() as folder:
        land(Lake(folder), keys)
        files = sum(path.stat().st_size for path in Path(folder, "bronze").rglob("*.parquet"))
    texts = [event(number, key) for number, key in enumerate(keys)]
    bare = sum(map(len, texts)) / messages
    return {"bronze": files / messages, "bare": bare, "whole": bare + len(with_block("")) + 0.0}


def prepare(rows: int, changes: int, folder: str) -> dict[str, Any]:
    """A lake with the silver table, its index of keys, and the changes landed."""
    lake = Lake(folder)
    make_silver(lake, rows)
    land(lake, [0])
    began = time.perf_counter()
    apply_silver(lake, CATALOG, TABLE, now=datetime.now(UTC))
    seconds = time.perf_counter() - began
    return {"index_seconds": seconds, "landed": land(lake, scattered(rows, changes), first=1)}


def apply_few(folder: str, rows: int, changes: int) -> dict[str, Any]:
    """Our apply of small batches, one after the other; the median of some."""
    lake, taken = Lake(folder), list[tuple[float, float]]()
    apply_silver(lake, CATALOG, TABLE, now=datetime.now(UTC))
    first = lake.scan(CONTRACT.bronze).select(pl.len()).collect().item()
    for batch in range(7):
        land(lake, random.Random(batch).sample(range(rows), changes), first + batch * changes)
        began, cpu = time.perf_counter(), time.process_time()
        done = apply_silver(lake, CATALOG, TABLE, now=datetime.now(UTC))
        taken.append((time.perf_counter() - began, time.process_time() - cpu))
        assert done.kept == changes
    seconds, cpus = (statistics.median(each) for each in zip(*taken, strict=True))
    return {"seconds": seconds, "cpu": cpus}


def apply(folder: str, changes: int) -> dict[str, Any]:
    """Our apply of the landed changes."""
    lake = Lake(folder)
    began, cpu = time.perf_counter(), time.process_time()
    done = apply_silver(lake, CATALOG, TABLE, now=datetime.now(UTC))
    seconds = time.perf_counter() - began
    assert done.kept == changes
    return {"seconds": seconds, "cpu": time.process_time() - cpu}


def read(folder: str) -> dict[str, Any]:
    """Every value of the silver table read by Polars, as any reader reads it."""
    rows = Lake(folder).scan(TABLE)
    plain = [name for name, kind in silver_schema(CONTRACT).items() if not kind.is_nested()]
    taken = list[tuple[float, float]]()
    for _ in range(3):
        began, cpu = time.perf_counter(), time.process_time()
        rows.select(pl.col(name).max() for name in plain).collect(engine="streaming")
        taken.append((time.perf_counter() - began, time.process_time() - cpu))
    seconds, cpus = (statistics.median(each) for each in zip(*taken, strict=True))
    return {"seconds": seconds, "cpu": cpus}


def decoded(folder: str, status: str = "SHIPPED") -> pl.DataFrame:
    """The rows that the landed changes make, for those who get them decoded."""
    lake = Lake(folder)
    keys = (
        lake.scan(CONTRACT.bronze)
        .filter(pl.col("kafka_offset") > 0)
        .select(pl.col("key").str.extract(r"(\d+)").cast(pl.Int64).alias("id"))
        .collect()
    )
    changed = lake.scan(TABLE).join(keys.lazy(), on="id", how="semi")
    return changed.with_columns(status=pl.lit(status)).collect()


def write_decoded(folder: str, status: str, into: str) -> dict[str, Any]:
    """The same as a Parquet file."""
    rows = decoded(folder, status)
    rows.write_parquet(into)
    return {"rows": len(rows)}


def merge(folder: str, changes: int) -> dict[str, Any]:
    """Delta's own merge of rows with the same keys, decoded beforehand."""
    handle, rows = Lake(folder).handle(TABLE), decoded(folder).to_arrow()
    assert len(rows) == changes
    began, cpu = time.perf_counter(), time.process_time()
    handle.merge(
        rows, "t.id = s.id", source_alias="s", target_alias="t"
    ).when_matched_update_all().when_not_matched_insert_all().execute()
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}


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


def lineage(models: int, folder: str, changed: int) -> dict[str, Any]:
    """Traces so many models, each one of TPC-H's queries, with what a folder keeps; `changed` are new to it."""
    text = (Path(__file__).parents[1] / "tests" / "data" / "tpch.sql").read_text("utf-8")
    queries = [
        each.partition("\n")[2].strip()
        for each in re.split(r"^-- (?=\d+:)", text, flags=re.MULTILINE)[1:]
    ]
    tables = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")
    prefixes = {"ps" if table == "partsupp" else table[0]: table for table in tables}
    schema = {
        f"tpch.{table}": sorted(set(re.findall(rf"\b{prefix}_[a-z]+\b", text)))
        for prefix, table in prefixes.items()
    }
    sqls = [f"-- model {n}\n{queries[n % len(queries)].rstrip(';')}" for n in range(models)]
    sqls[:changed] = [f"-- changed\n{sql}" for sql in sqls[:changed]]
    began = time.perf_counter()
    traces = Traces(Path(folder))
    columns = sum(len(traces.trace(sql, schema).outputs) for sql in sqls)
    return {"seconds": time.perf_counter() - began, "columns": columns}
