"""Full snapshots in mid-stream: what is right stays, and what was deleted unseen is closed.

Each case is told as the records of a topic and run in several ways: all at once, a run a record, and
one run for every cut of the stream in two.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.bronze import Bronze
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.records import Columns, Origin, Partition, RecordBatch, to_frame
from pipelines.contract import Catalog
from pipelines.contract.model import Contract
from pipelines.silver import apply
from pipelines.storage import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLE, TOPIC = "silver.x.t", "p.public.t"

Record = tuple[int, int, Any, Any]


def catalog_of(rules: Any = (), **source: Any) -> Catalog:
    told = {
        "table": TABLE, "description": "d", "owner": "o", "key": ["id"], "history": True, "rules": rules,
        "source": {"connector": "postgres", "topic": TOPIC, **source},
        "columns": {"id": {"type": "int32"}, "note": {"type": "string"}},
    }  # fmt: skip
    return Catalog(Path(), {TABLE: Contract.model_validate(told)})


def event(
    op: str,
    key: int,
    note: str | None,
    *,
    at: int,
    mark: str = "false",
    partition: int = 0,
    written: int | None = None,
) -> Record:
    """`at` is the log position, or for a snapshot's row the time at which the snapshot began."""
    snapshot = mark != "false"
    source = {
        "name": "p", "schema": "public", "table": "t", "snapshot": mark, "lsn": at, "sequence": None if snapshot else f'["{at}","{at}"]',
        "ts_ms": at if snapshot else 10 + at,
    }  # fmt: skip
    after = None if op == "d" else {"id": key, "note": note}
    value = {
        "before": {"id": key, "note": None} if op == "d" else None,
        "after": after,
        "source": source,
        "op": op,
        "ts_ms": 1,
    }
    return partition, written or at, {"id": key}, value


def snapshot(*keys: int, began: int, note: str = "s", partition: int = 0) -> list[Record]:
    marks = ["first_in_data_collection", *["true"] * len(keys)]
    marks[len(keys) - 1] = "last_in_data_collection" if len(keys) > 1 else "last"
    return [
        event("r", key, note, at=began, mark=mark, partition=partition)
        for key, mark in zip(keys, marks, strict=False)
    ]


def land(lake: Lake, catalog: Catalog, records: list[Record], offsets: dict[int, int]) -> None:
    """A run: what there is of each partition, then silver."""
    if not records:
        return
    numbers = list[int]()
    for partition, *_ in records:
        numbers.append(offsets.get(partition, 0))
        offsets[partition] = numbers[-1] + 1
    columns = Columns(
        topics=[TOPIC] * len(records),
        partitions=[partition for partition, *_ in records],
        offsets=numbers,
        timestamps=[(1, written) for _, written, *_ in records],
        keys=[json.dumps(key).encode() for *_, key, _ in records],
        values=[json.dumps(value).encode() for *_, value in records],
    )
    frame, schemas = to_frame(columns, BlockCutter())
    nexts = {Partition(TOPIC, partition): offset for partition, offset in offsets.items()}
    bronze = Bronze(lake, catalog)
    bronze.land(
        RecordBatch(
            frame=frame,
            start_offsets={},
            next_offsets=nexts,
            origin=Origin(cluster="c"),
            schemas=schemas,
        )
    )
    bronze.finish([TOPIC], NOW)
    apply(lake, catalog, TABLE, now=NOW)


def held(lake: Lake) -> dict[int, str]:
    return dict(lake.scan(TABLE).select("id", "note").collect().rows())


def past(lake: Lake) -> list[tuple[Any, ...]]:
    columns = [
        "id",
        "note",
        "is_deleted",
        "is_current",
        "source_epoch",
        "source_commit",
        "ended_epoch",
        "ended_commit",
    ]
    return sorted(lake.scan("history.x.t").select(columns).collect().rows(), key=str)


FIRST = snapshot(1, 2, 3, began=100)
CASES = {
    "a row deleted while the connector was away": (
        [*FIRST, event("u", 2, "b", at=200), *snapshot(1, 2, began=1000), event("u", 1, "c", at=300)],
        {1: "c", 2: "s"},
    ),
    "nothing was deleted": ([*FIRST, event("u", 2, "b", at=200), *snapshot(1, 2, 3, began=1000, note="t")], {1: "t", 2: "t", 3: "t"}),
    "deleted, and made again after the snapshot": (
        [*FIRST, *snapshot(1, 2, began=1000), event("c", 3, "new", at=50)],
        {1: "s", 2: "s", 3: "new"},
    ),
    "the log starts lower after a restore": (
        [*FIRST, event("c", 4, "x", at=900), *snapshot(1, 3, began=2000), event("u", 1, "low", at=5)],
        {1: "low", 3: "s"},
    ),
    "two snapshots": (
        [*FIRST, event("c", 4, "x", at=200), *snapshot(1, 2, 4, began=1000), event("c", 5, "y", at=300), *snapshot(1, 5, began=2000), event("u", 5, "z", at=400)],
        {1: "s", 5: "z"},
    ),
    "a late event from before the snapshot": (
        [*FIRST, *snapshot(1, 2, began=1000), event("u", 1, "c", at=300), event("u", 1, "c", at=300)],
        {1: "c", 2: "s"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("records", "expected"), CASES.values(), ids=CASES)
def test_silver_is_what_the_snapshot_left(
    tmp_path: Path, records: list[Record], expected: dict[int, str]
):
    pasts = []
    ways = [
        [records],
        [[record] for record in records],
        *([records[:cut], records[cut:]] for cut in range(1, len(records))),
    ]
    for number, pieces in enumerate(ways):
        lake, offsets = Lake(str(tmp_path / str(number))), dict[int, int]()
        for piece in pieces:
            land(lake, catalog_of(), piece, offsets)
        assert held(lake) == expected, pieces
        pasts.append(past(lake))
    assert all(each == pasts[0] for each in pasts), "history depends on where the stream was cut"


def test_a_snapshot_that_is_not_over_closes_nothing(tmp_path: Path):
    lake, offsets = Lake(str(tmp_path)), dict[int, int]()
    land(lake, catalog_of(), FIRST, offsets)
    land(lake, catalog_of(), snapshot(1, 2, 9, began=1000)[:2], offsets)
    assert held(lake).keys() == {1, 2, 3}


def test_a_partial_snapshot_closes_nothing(tmp_path: Path):
    lake, offsets = Lake(str(tmp_path)), dict[int, int]()
    land(
        lake,
        catalog_of(snapshot="partial"),
        [*FIRST, *snapshot(1, began=1000), event("u", 1, "c", at=300)],
        offsets,
    )
    assert held(lake).keys() == {1, 2, 3}


def test_a_row_of_a_partition_that_the_snapshot_missed_stays(tmp_path: Path):
    """Its event was written after the snapshot began, and read before that was known."""
    lake, offsets = Lake(str(tmp_path)), dict[int, int]()
    land(lake, catalog_of(), [*FIRST, event("c", 7, "old", at=200, partition=1)], offsets)
    land(lake, catalog_of(), [event("c", 8, "after", at=300, partition=1, written=1500)], offsets)
    land(
        lake,
        catalog_of(),
        [*snapshot(1, 2, began=1000), event("u", 1, "c", at=400, written=1600)],
        offsets,
    )
    assert held(lake) == {1: "c", 2: "s", 8: "after"}


def test_a_quarantined_row_that_is_gone_is_gone(tmp_path: Path):
    catalog = catalog_of(rules=[{"name": "short", "expression": {"sql": "length(note) < 3"}}])
    lake, offsets = Lake(str(tmp_path)), dict[int, int]()
    land(lake, catalog, [*FIRST, event("u", 3, "much too long", at=200)], offsets)
    assert lake.scan("quarantine.x.t").collect()["id"].to_list() == [3]
    land(lake, catalog, [*snapshot(1, 2, began=1000), event("u", 1, "c", at=300)], offsets)
    assert lake.scan("quarantine.x.t").collect().is_empty()
    assert held(lake) == {1: "c", 2: "s"}


def test_the_second_run_writes_nothing(tmp_path: Path):
    lake, offsets = Lake(str(tmp_path)), dict[int, int]()
    land(
        lake,
        catalog_of(),
        [*FIRST, *snapshot(1, 2, began=1000), event("u", 1, "c", at=300)],
        offsets,
    )
    before = {table: lake.version(table) for table in lake.tables()}
    apply(lake, catalog_of(), TABLE, now=NOW)
    assert {table: lake.version(table) for table in lake.tables()} == before
    assert lake.scan("bronze.x.t").select(pl.len()).collect().item() == 6
