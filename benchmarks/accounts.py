"""The workload: a table of ten columns, its change events, and its contract."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from pipelines.bronze import Bronze
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.records import Columns, Origin, Partition, RecordBatch, to_frame
from pipelines.contract import Catalog
from pipelines.contract.model import Contract
from pipelines.state import open_state, silver_schema
from pipelines.storage import Lake

TOPIC, TABLE = "bench.public.accounts", "silver.bench.accounts"
_DAY = datetime(2026, 1, 1, tzinfo=UTC)

CONTRACT = Contract.model_validate(
    {
        "table": TABLE,
        "description": "Ten columns of the usual types.",
        "owner": "bench",
        "source": {"connector": "postgres", "topic": TOPIC},
        "key": ["id"],
        "columns": {
            "id": {"type": "int64"},
            "customer": {"type": "uuid"},
            "status": {"type": "string"},
            "total": {"type": "decimal(10,2)"},
            "currency": {"type": "string"},
            "created_at": {"type": "timestamp"},
            "created_by": {"type": "string"},
            "updated_at": {"type": "timestamp"},
            "version": {"type": "int32"},
            "ordered_on": {"type": "date"},
        },
    }
)
CATALOG = Catalog(Path(), {TABLE: CONTRACT})

_FIELDS = [
    ("int64", "id", None), ("string", "customer", "io.debezium.data.Uuid"), ("string", "status", None), ("bytes", "total", "org.apache.kafka.connect.data.Decimal"),
    ("string", "currency", None), ("string", "created_at", "io.debezium.time.ZonedTimestamp"), ("string", "created_by", None),
    ("string", "updated_at", "io.debezium.time.ZonedTimestamp"), ("int32", "version", None), ("int32", "ordered_on", "io.debezium.time.Date"),
]  # fmt: skip


def event(number: int, key: int) -> str:
    """An update of one row as the connector writes it, some 700 bytes; every row has its own values."""
    after = {
        "id": key, "customer": f"{key:08x}-4e5f-6071-8293-a4b5c6d7e8f9", "status": "SHIPPED", "total": base64.b64encode((key % 8_000_000).to_bytes(3, "big")).decode(), "currency": "USD",
        "created_at": f"2026-01-{key % 28 + 1:02}T10:{number % 60:02}:19.{key % 1_000_000:06}Z", "created_by": "checkout",
        "updated_at": f"2026-02-{key % 28 + 1:02}T10:{number % 60:02}:19.{number % 1_000_000:06}Z", "version": number % 9 + 1, "ordered_on": 20512,
    }  # fmt: skip
    lsn = 20_000_000_000 + number * 120
    source = {
        "version": "3.7.0.Final", "connector": "postgresql", "name": "bench", "ts_ms": 1795225400057, "snapshot": "false", "db": "bench",
        "sequence": f'["{lsn - 40}","{lsn}"]', "ts_us": 1795225400057434, "ts_ns": 1795225400057434000, "schema": "public", "table": "accounts",
        "txId": number, "lsn": lsn, "xmin": None, "origin": None, "origin_lsn": None,
    }  # fmt: skip
    envelope = {
        "before": None,
        "after": after,
        "source": source,
        "transaction": None,
        "op": "u",
        "ts_ms": 1795225400299,
        "ts_us": 1795225400299985,
        "ts_ns": 1795225400299985949,
    }
    return json.dumps(envelope, separators=(",", ":"))


def schema_block() -> str:
    """The schema block that stands before each payload when the converter writes schemas; some 2 kB."""
    row = [
        {
            "type": kind,
            "optional": True,
            "field": name,
            **({"name": meaning, "version": 1, "parameters": {"scale": "2"}} if meaning else {}),
        }
        for kind, name, meaning in _FIELDS
    ]
    images = [
        {
            "type": "struct",
            "fields": row,
            "optional": True,
            "name": f"{TOPIC}.Value",
            "field": image,
        }
        for image in ("before", "after")
    ]
    rest = [
        {"type": "string", "optional": False, "field": "op"},
        {"type": "int64", "optional": True, "field": "ts_ms"},
    ]
    return json.dumps(
        {
            "type": "struct",
            "fields": [*images, *rest],
            "optional": False,
            "name": f"{TOPIC}.Envelope",
            "version": 2,
        },
        separators=(",", ":"),
    )


def with_block(payload: str) -> str:
    """A value as the converter writes it with schemas on."""
    return f'{{"schema":{schema_block()},"payload":{payload}}}'


def land(lake: Lake, keys: Iterable[int], first: int = 0, *, blocks: bool = False) -> int:
    """Lands one update of each key, from a topic's offset on, with schema blocks or without; how many."""
    chosen = list(keys)
    count = len(chosen)
    columns = Columns(
        topics=[TOPIC] * count,
        partitions=[0] * count,
        offsets=list(range(first, first + count)),
        timestamps=[(1, 1795225400299)] * count,
        keys=[b'{"id":%d}' % key for key in chosen],
        values=[
            (with_block(text) if blocks else text).encode()
            for text in (event(number, key) for number, key in enumerate(chosen, first))
        ],
    )
    frame, schemas = to_frame(columns, BlockCutter())
    place = Partition(TOPIC, 0)
    Bronze(lake, CATALOG).land(
        RecordBatch(
            frame=frame,
            start_offsets={place: first},
            next_offsets={place: first + count},
            origin=Origin(cluster="bench"),
            schemas=schemas,
        )
    )
    return count


def scattered(rows: int, changes: int) -> list[int]:
    """Keys all over a table of `rows` rows; the same each time."""
    return random.Random(1).sample(range(rows), changes)


def make_silver(lake: Lake, rows: int, files: int = 16) -> None:
    """The silver table with that many rows in key order."""
    open_state(lake, CONTRACT)
    for part in range(files):
        lake.write(
            lake.handle(TABLE),
            _rows(part * rows // files, (part + 1) * rows // files),
            mode="append",
        )


def _rows(first: int, last: int) -> pl.DataFrame:
    key, day = pl.col("id"), pl.lit(_DAY).dt.cast_time_unit("us")
    made = pl.select(id=pl.int_range(first, last, dtype=pl.Int64)).with_columns(
        customer=pl.format("{}-4e5f-6071-8293-a4b5c6d7e8f9", key.cast(pl.String).str.zfill(8)),
        status=pl.lit("PENDING"),
        total=(key % 100_000).cast(pl.Decimal(10, 2)),
        currency=pl.lit("USD"),
        created_at=day + pl.duration(seconds=key % 1_000_000),
        created_by=pl.lit("checkout"),
        updated_at=day + pl.duration(seconds=key % 2_000_000),
        version=pl.lit(1, pl.Int32),
        ordered_on=pl.lit(_DAY.date()),
        data_quality_score=pl.lit("1.00").cast(pl.Decimal(3, 2)),
        quality_checks_passed=pl.lit(["id_required"]),
        quality_issues=pl.lit([], pl.List(pl.String)),
        source_bronze_id=pl.format("4bcf29de-94f5-8485-8000-{}", key.cast(pl.String).str.zfill(12)),
        source_timestamp=day,
        source_epoch=pl.lit(0, pl.Int64),
        source_commit=key + 1000,
        source_event=key + 1000,
        source_offset=key,
        processed_at=day,
        processing_version=pl.lit("1.0.0+bench"),
    )
    return made.select(pl.col(name).cast(dtype) for name, dtype in silver_schema(CONTRACT).items())


def avro_schema() -> dict[str, object]:
    """The Avro schema of the envelope, as the Confluent converter derives it."""
    kinds = {"int64": "long", "int32": "int", "string": "string", "bytes": "bytes"}
    row = {
        "type": "record",
        "name": "Value",
        "fields": [
            {"name": name, "type": ["null", {"type": kinds[kind], **({"connect.name": meaning, "connect.parameters": {"scale": "2"}} if meaning else {})}]}
            for kind, name, meaning in _FIELDS
        ],
    }  # fmt: skip
    longs = ("ts_ms", "ts_us", "ts_ns", "txId", "lsn", "xmin", "origin_lsn")
    texts = (
        "version",
        "connector",
        "name",
        "snapshot",
        "db",
        "sequence",
        "schema",
        "table",
        "origin",
    )
    order = ("version", "connector", "name", "ts_ms", "snapshot", "db", "sequence", "ts_us", "ts_ns", "schema", "table", "txId", "lsn", "xmin", "origin", "origin_lsn")  # fmt: skip
    source = [
        {"name": name, "type": ["null", "long" if name in longs else "string"]} for name in order
    ]
    assert {*longs, *texts} == set(order)
    fields = [
        {"name": "before", "type": ["null", row]},
        {"name": "after", "type": ["null", "Value"]},
        {"name": "source", "type": {"type": "record", "name": "Source", "fields": source}},
        {"name": "transaction", "type": ["null", "string"]},
        {"name": "op", "type": "string"},
        *({"name": name, "type": ["null", "long"]} for name in ("ts_ms", "ts_us", "ts_ns")),
    ]
    return {"type": "record", "name": "Envelope", "namespace": TOPIC, "fields": fields}


def as_avro(payload: str, parsed: object) -> bytes:
    """A payload in the Confluent wire format with schema id 1."""
    import fastavro

    value = json.loads(payload)
    value["after"]["total"] = base64.b64decode(value["after"]["total"])
    out = io.BytesIO(b"\x00\x00\x00\x00\x01")
    out.seek(0, io.SEEK_END)
    fastavro.schemaless_writer(out, parsed, value)
    return out.getvalue()
