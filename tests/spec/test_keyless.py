"""Tables without a key: rows told apart by the event that inserted them, or by all their columns."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from pipelines.asof import query_as_of
from pipelines.avro import Wire, open_registry
from pipelines.bronze import Bronze
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.records import Columns, Origin, Partition, RecordBatch, to_frame
from pipelines.contract import Catalog
from pipelines.contract.model import Contract
from pipelines.ingest import capture_file
from pipelines.moment import parse_moment
from pipelines.replay import check
from pipelines.silver import apply
from pipelines.storage import Lake

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLE = "silver.x.t"


def catalog_of(identity: str, topic: str = "p.public.t") -> Catalog:
    told = {
        "table": TABLE, "description": "d", "owner": "o", "identity": identity,
        "source": {"connector": "postgres", "topic": topic},
        "columns": {"a": {"type": "int32"}, "b": {"type": "string"}},
    }  # fmt: skip
    return Catalog(Path(), {TABLE: Contract.model_validate(told)})


def event(op: str, before: Any, after: Any, at: int, mark: str = "false") -> Any:
    def row(pair: Any) -> Any:
        return pair and {"a": pair[0], "b": pair[1]}

    sequence = None if mark != "false" else f'["{at}","{at}"]'
    source = {
        "name": "p",
        "schema": "public",
        "table": "t",
        "snapshot": mark,
        "lsn": at,
        "sequence": sequence,
        "ts_ms": at,
    }
    return {"before": row(before), "after": row(after), "source": source, "op": op, "ts_ms": 1}


def land(
    lake: Lake, catalog: Catalog, events: list[Any], start: int, *, finish: bool = False
) -> None:
    topic, count = "p.public.t", len(events)
    columns = Columns(
        topics=[topic] * count, partitions=[0] * count, offsets=list(range(start, start + count)), timestamps=[(1, 1000 + start)] * count,
        keys=[None] * count, values=[None if each is None else json.dumps(each).encode() for each in events],
    )  # fmt: skip
    frame, schemas = to_frame(columns, BlockCutter())
    nexts = {Partition(topic, 0): start + count}
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
    if finish:
        bronze.finish([topic], NOW)
    apply(lake, catalog, TABLE, now=NOW)


def held(lake: Lake) -> Counter[tuple[Any, ...]]:
    return Counter(lake.scan(TABLE).select("a", "b").collect().rows())


BAG = [
    event("r", None, (1, "x"), 5, "first"), event("r", None, (1, "x"), 5, "last"), event("c", None, (2, None), 10), event("c", None, (1, "x"), 20),
    event("d", (1, "x"), None, 30), None, event("u", (2, None), (3, "y"), 40), event("c", None, (3, "y"), 50), event("u", (1, "x"), (1, "z"), 60),
]  # fmt: skip
LEFT = Counter({(1, "x"): 1, (1, "z"): 1, (3, "y"): 2})


@pytest.mark.parametrize("cuts", [(), (4,), (2, 6), tuple(range(1, len(BAG)))], ids=str)
def test_a_bag_is_what_was_added_less_what_was_taken(tmp_path: Path, cuts: tuple[int, ...]):
    lake, catalog = Lake(str(tmp_path)), catalog_of("row")
    for begin, end in itertools.pairwise((0, *cuts, len(BAG))):
        land(lake, catalog, BAG[begin:end], begin)
    assert held(lake) == LEFT
    before = {table: lake.version(table) for table in lake.tables()}
    apply(lake, catalog, TABLE, now=NOW)
    assert {table: lake.version(table) for table in lake.tables()} == before
    land(lake, catalog, BAG[3:], len(BAG))  # the connector sends them again
    assert held(lake) == LEFT
    replayed = check(lake, catalog, TABLE, now=NOW)
    assert (replayed.differing, replayed.differences) == (0, ())


def test_a_bag_as_of_a_position(tmp_path: Path):
    lake, catalog = Lake(str(tmp_path)), catalog_of("row")
    land(lake, catalog, BAG, 0)
    for position, rows in {
        "0/10/10": {(1, "x"): 2, (2, None): 1}, "0/30/30": {(1, "x"): 2, (2, None): 1}, "0/50/50": {(1, "x"): 2, (3, "y"): 2},
    }.items():  # fmt: skip
        past = query_as_of(lake, catalog, f"SELECT a, b FROM {TABLE}", parse_moment(position))
        assert Counter(past.rows.rows()) == Counter(rows), position


def test_a_truncate_and_a_new_snapshot_empty_the_bag(tmp_path: Path):
    lake, catalog = Lake(str(tmp_path)), catalog_of("row")
    land(lake, catalog, BAG, 0)
    land(lake, catalog, [event("t", None, None, 70), event("c", None, (9, "n"), 80)], len(BAG))
    assert held(lake) == Counter({(9, "n"): 1})
    again = [event("r", None, (7, "s"), 9000, "first"), event("r", None, (7, "s"), 9000, "last")]
    land(lake, catalog, again, len(BAG) + 2, finish=True)
    assert held(lake) == Counter({(7, "s"): 2})


def test_events_are_rows_of_their_own(tmp_path: Path):
    lake, catalog = Lake(str(tmp_path)), catalog_of("event")
    events = [
        event("r", None, (1, "x"), 5, "last"),
        event("c", None, (1, "x"), 10),
        event("c", None, (1, "x"), 20),
        event("c", None, (2, "y"), 20),
    ]
    land(lake, catalog, events, 0)
    land(lake, catalog, events[1:], len(events))  # sent again
    assert held(lake) == Counter({(1, "x"): 3, (2, "y"): 1})
    land(lake, catalog, [event("d", (1, "x"), None, 30)], 10)
    assert held(lake) == Counter({(1, "x"): 3, (2, "y"): 1})
    assert lake.scan("system.main.unkeyed_events").collect()["reason"].to_list() == [
        "change_without_key"
    ]


@pytest.mark.parametrize("form", ["env", "envs", "alt", "altc", "avro"])
def test_a_real_table_without_a_key(tmp_path: Path, form: str):
    lake, catalog = Lake(str(tmp_path)), catalog_of("row", f"{form}.inv.nopk")
    wire = Wire(open_registry(str(CAPTURES / "avro-schemas.json"), {}))
    capture_file(lake, catalog, CAPTURES / f"{form}.jsonl.gz", wire=wire)
    apply(lake, catalog, TABLE, now=NOW)
    assert held(lake) == Counter()  # the workload truncated it in the end
    bronze = lake.scan("bronze.x.t").filter(pl.col("operation_type") != "TRUNCATE").collect()
    rest = Lake(str(tmp_path / "without_truncate"))
    rest.write(
        rest.create(
            "bronze.x.t", bronze.schema, configuration={"delta.enableChangeDataFeed": "true"}
        ),
        bronze,
        mode="append",
    )
    if lake.version("system.main.schemas") is not None:
        schemas = lake.scan("system.main.schemas").collect()
        rest.write(rest.create("system.main.schemas", schemas.schema), schemas, mode="append")
    apply(rest, catalog, TABLE, now=NOW)
    assert held(rest) == Counter({(1, "z"): 2, (3, "y"): 1})


def test_a_table_has_a_key_or_says_that_it_has_none():
    told = {
        "table": TABLE,
        "description": "d",
        "owner": "o",
        "source": {"connector": "postgres", "topic": "t"},
        "columns": {"a": {"type": "int32"}},
    }
    with pytest.raises(ValidationError, match="identity: event"):
        Contract.model_validate(told)
    with pytest.raises(ValidationError, match="leave 'key' out"):
        Contract.model_validate({**told, "identity": "row", "key": ["a"]})
