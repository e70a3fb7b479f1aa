"""Messages as connectors write them, landed one by one in a table of their own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.bronze import Bronze
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.records import Columns, Origin, Partition, RecordBatch, to_frame
from pipelines.contract import Catalog
from pipelines.contract.model import Contract
from pipelines.silver import apply
from pipelines.storage import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLE = "silver.x.t"


def catalog_of(
    connector: str, topic: str, key: str | None, columns: dict[str, Any], **more: Any
) -> Catalog:
    source = {"connector": connector, "topic": topic}
    told = {
        "table": TABLE,
        "description": "d",
        "owner": "o",
        "source": source,
        **({} if key is None else {"key": [key]}),
        "columns": columns,
    }
    return Catalog(Path(), {TABLE: Contract.model_validate({**told, **more})})


def held(lake: Lake, catalog: Catalog, layer: str = "silver") -> list[dict[str, Any]]:
    contract = catalog[TABLE]
    rows = lake.scan(contract.sibling(layer)).select(*contract.columns, "quality_issues").collect()
    return rows.sort(contract.key).to_dicts()


def land(lake: Lake, catalog: Catalog, *messages: tuple[Any, Any], start: int = 0) -> None:
    """Messages of one partition, key and value as JSON; applied one by one."""
    topic = catalog[TABLE].source.topic  # pyright: ignore[reportOptionalMemberAccess]
    for offset, (key, value) in enumerate(messages, start):
        columns = Columns(
            topics=[topic],
            partitions=[0],
            offsets=[offset],
            timestamps=[(1, 1000 + offset)],
            keys=[None if key is None else json.dumps(key).encode()],
            values=[None if value is None else json.dumps(value).encode()],
        )
        frame, schemas = to_frame(columns, BlockCutter())
        place = Partition(topic, 0)
        batch = RecordBatch(
            frame=frame,
            start_offsets={place: offset},
            next_offsets={place: offset + 1},
            origin=Origin(cluster="c"),
            schemas=schemas,
        )
        Bronze(lake, catalog).land(batch)
        apply(lake, catalog, TABLE, now=NOW)


def change(
    op: str, identity: str, document: str | None, number: int, patch: Any = None
) -> tuple[Any, Any]:
    source = {
        "connector": "mongodb",
        "name": "m",
        "db": "d",
        "collection": "t",
        "snapshot": "false",
        "ts_ms": 1000,
        "ord": number,
    }
    value = {
        "before": None,
        "after": document,
        "updateDescription": patch,
        "source": source,
        "op": op,
        "ts_ms": 1,
    }
    return {"id": identity}, value


def cells(op: str, key: int, micros: int, **set_cells: Any) -> tuple[Any, Any]:
    source = {
        "connector": "cassandra",
        "name": "c",
        "keyspace": "k",
        "table": "t",
        "snapshot": "false",
        "file": "CommitLog-7-1.log",
        "pos": 1,
        "ts_micro": micros,
    }
    after: dict[str, Any] = {
        "id": {"value": key, "deletion_ts": None, "set": True},
        "note": None,
        "size": None,
    }
    after |= {
        name: {"value": value, "deletion_ts": None, "set": True}
        for name, value in set_cells.items()
    }
    return {"id": key}, {"ts_ms": 1, "op": op, "source": source, "after": after}
