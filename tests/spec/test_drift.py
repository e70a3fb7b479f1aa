"""A source whose columns change: what each policy makes of it, by messages with schema blocks."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.bronze import Bronze
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.records import Columns, Origin, Partition, RecordBatch, to_frame
from pipelines.contract import Catalog
from pipelines.contract.model import Contract
from pipelines.errors import DriftError
from pipelines.silver import Applied, apply
from pipelines.storage import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLE, TOPIC = "silver.x.t", "p.public.t"
TYPES: dict[str, dict[str, Any]] = {
    "int": {"type": "int32"},
    "long": {"type": "int64"},
    "text": {"type": "string"},
    "money": {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "2", "connect.decimal.precision": "6"}},
    "fine": {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "4", "connect.decimal.precision": "10"}},
}  # fmt: skip


def catalog_of(
    columns: dict[str, Any], drift: dict[str, str] | None = None, key: str = "id"
) -> Catalog:
    told = {
        "table": TABLE, "description": "d", "owner": "o", "key": [key], "history": True, "drift": drift or {},
        "source": {"connector": "postgres", "topic": TOPIC}, "columns": {"id": {"type": "int32"}, **columns},
    }  # fmt: skip
    return Catalog(Path(), {TABLE: Contract.model_validate(told)})


class Stream:
    """A topic and a lake; `send` lands one row with the types that its table has by then."""

    def __init__(self, folder: Path) -> None:
        self.lake, self.offset = Lake(str(folder)), 0

    def send(
        self, types: dict[str, str], *, key: str = "id", blocks: bool = True, **row: Any
    ) -> None:
        fields = [{**TYPES[kind], "optional": True, "field": name} for name, kind in types.items()]
        image = {"type": "struct", "fields": fields, "optional": True}
        block = {
            "type": "struct",
            "fields": [
                {**image, "field": "before"},
                {**image, "field": "after"},
                {"type": "string", "field": "op"},
            ],
        }
        lsn = 100 + self.offset
        source = {
            "name": "p",
            "schema": "public",
            "table": "t",
            "snapshot": "false",
            "lsn": lsn,
            "sequence": f'["{lsn}","{lsn}"]',
            "ts_ms": lsn,
        }
        payload = {"before": None, "after": row, "source": source, "op": "c", "ts_ms": 1}
        value = {"schema": block, "payload": payload} if blocks else payload
        columns = Columns(
            topics=[TOPIC], partitions=[0], offsets=[self.offset], timestamps=[(1, 5)], keys=[json.dumps({key: row[key]}).encode()],
            values=[json.dumps(value, separators=(",", ":")).encode()],
        )  # fmt: skip
        frame, schemas = to_frame(columns, BlockCutter())
        self.offset += 1
        nexts = {Partition(TOPIC, 0): self.offset}
        batch = RecordBatch(
            frame=frame,
            start_offsets={},
            next_offsets=nexts,
            origin=Origin(cluster="c"),
            schemas=schemas,
        )
        Bronze(self.lake, catalog_of({})).land(batch)

    def apply(self, catalog: Catalog, **more: Any) -> Applied:
        return apply(self.lake, catalog, TABLE, now=NOW, **more)

    def rows(self, *columns: str, layer: str = "silver") -> list[tuple[Any, ...]]:
        return self.lake.scan(f"{layer}.x.t").select(*columns).collect().sort(columns[0]).rows()


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(tmp_path)


INT = {"a": {"type": "int32"}}


# ---- ADD AND DROP ---- #


def test_a_new_field_is_told_and_left_out(stream: Stream):
    stream.send({"id": "int", "a": "int", "b": "text"}, id=1, a=1, b="x")
    assert stream.apply(catalog_of(INT)).notices == ("field 'b' (string) is not in the contract",)
    assert stream.rows("id", "a") == [(1, 1)]
    stream.send({"id": "int", "a": "int", "b": "text"}, id=2, a=2, b="y")
    assert stream.apply(catalog_of(INT, {"add": "ignore"})).notices == ()


def test_a_new_field_becomes_a_column(stream: Stream):
    stream.send({"id": "int", "a": "int"}, id=1, a=1)
    catalog = catalog_of(INT, {"add": "evolve"})
    stream.apply(catalog)
    stream.send({"id": "int", "a": "int", "Odd name": "text"}, id=2, a=2, **{"Odd name": "x"})
    stream.apply(catalog)
    stream.send({"id": "int", "a": "int", "Odd name": "text"}, id=3, a=3, **{"Odd name": "y"})
    stream.apply(catalog)
    assert stream.rows("id", "a", "Odd_name") == [(1, 1, None), (2, 2, "x"), (3, 3, "y")]
    assert stream.rows("id", "Odd_name", layer="history") == [(1, None), (2, "x"), (3, "y")]


def test_a_dropped_field_is_null_from_then_on(stream: Stream):
    stream.send({"id": "int", "a": "int"}, id=1, a=1)
    stream.send({"id": "int"}, id=2)
    assert stream.apply(catalog_of(INT)).notices == ("column 'a' is no longer in the messages",)
    assert stream.rows("id", "a") == [(1, 1), (2, None)]


def test_older_messages_that_lack_a_column_are_no_drop(stream: Stream):
    stream.send({"id": "int"}, id=1)
    stream.send({"id": "int", "a": "int"}, id=2, a=2)
    done = stream.apply(catalog_of(INT, {"drop": "refuse"}), chunk_events=1)
    assert (done.notices, stream.rows("id", "a")) == ((), [(1, None), (2, 2)])


def test_names_are_seen_without_a_schema_too(stream: Stream):
    stream.send({}, blocks=False, id=1, b="x")
    told = stream.apply(catalog_of(INT)).notices
    assert told == (
        "field 'b' (of unknown type) is not in the contract",
        "column 'a' is no longer in the messages",
    )


def test_a_renamed_field_goes_on_where_the_contract_says(stream: Stream):
    stream.send({"id": "int", "old": "text"}, id=1, old="x")
    stream.send({"id": "int", "new": "text"}, id=2, new="y")
    catalog = catalog_of(
        {"note": {"type": "string", "source": "new", "was": ["old"]}},
        {"add": "refuse", "drop": "refuse"},
    )
    stream.apply(catalog)
    assert stream.rows("id", "note") == [(1, "x"), (2, "y")]


# ---- TYPES ---- #


def test_a_wider_field_is_tried_and_what_does_not_fit_is_kept_apart(stream: Stream):
    stream.send({"id": "int", "a": "int"}, id=1, a=1)
    stream.send({"id": "int", "a": "long"}, id=2, a=2)
    stream.send({"id": "int", "a": "long"}, id=3, a=5_000_000_000)
    done = stream.apply(catalog_of(INT))
    assert done.notices == ("column 'a' is int32 in the contract and int64 in the messages",)
    assert stream.rows("id", "a") == [(1, 1), (2, 2)]
    assert stream.rows("id", "quality_issues", layer="quarantine") == [(3, ["undecodable:a"])]


def test_a_wider_field_widens_the_table(stream: Stream):
    stream.send({"id": "int", "a": "int"}, id=1, a=1)
    catalog = catalog_of(INT, {"widen": "evolve"})
    stream.apply(catalog)
    stream.send({"id": "int", "a": "long"}, id=2, a=5_000_000_000)
    stream.apply(catalog)
    assert stream.rows("id", "a") == [(1, 1), (2, 5_000_000_000)]
    assert stream.lake.scan(TABLE).collect_schema()["a"] == pl.Int64
    stream.send({"id": "int", "a": "long"}, id=1, a=7)
    assert stream.apply(catalog).notices == ()
    assert stream.rows("id", "a") == [(1, 7), (2, 5_000_000_000)]


def test_a_decimal_of_another_scale_is_never_rounded(stream: Stream):
    column = {"d": {"type": "decimal(6,2)"}}
    stream.send({"id": "int", "d": "money"}, id=1, d="ZA==")
    stream.send({"id": "int", "d": "fine"}, id=2, d="ZA==")
    stream.apply(catalog_of(column))
    assert stream.rows("id", "d") == [(1, Decimal("1.00")), (2, Decimal("0.01"))]
    stream.send({"id": "int", "d": "fine"}, id=3, d="AQ==")
    stream.apply(catalog_of(column))
    assert stream.rows("id", layer="quarantine") == [(3,)]
    stream.apply(catalog_of(column, {"widen": "evolve"}))
    stream.send({"id": "int", "d": "fine"}, id=4, d="AQ==")
    stream.apply(catalog_of(column, {"widen": "evolve"}))
    assert stream.rows("id", "d")[2:] == [(3, Decimal("0.0001")), (4, Decimal("0.0001"))]


def test_a_retyped_field_becomes_text(stream: Stream):
    stream.send({"id": "int", "a": "int"}, id=1, a=1)
    stream.send({"id": "int", "a": "text"}, id=2, a="two")
    stream.apply(catalog_of(INT, {"retype": "evolve"}))
    assert stream.rows("id", "a") == [(1, "1"), (2, "two")]


def test_a_narrower_field_is_no_news(stream: Stream):
    stream.send({"id": "int", "a": "int"}, id=1, a=1)
    assert stream.apply(catalog_of({"a": {"type": "int64"}})).notices == ()
    assert stream.rows("id", "a") == [(1, 1)]


# ---- REFUSED ---- #


def test_a_refused_change_stops_the_table_until_the_contract_is_mended(stream: Stream):
    stream.send({"id": "int", "a": "int"}, id=1, a=1)
    catalog = catalog_of(INT, {"widen": "refuse"})
    stream.apply(catalog)
    stream.send({"id": "int", "a": "long"}, id=2, a=5_000_000_000)
    for _ in range(2):
        with pytest.raises(
            DriftError,
            match=r"silver.x.t: the source changed: column 'a' is int32 in the contract and int64",
        ):
            stream.apply(catalog)
    assert stream.rows("id", "a") == [(1, 1)]
    assert stream.lake.scan("bronze.x.t").select(pl.len()).collect().item() == 2
    stream.apply(catalog_of({"a": {"type": "int64"}}, {"widen": "refuse"}))
    assert stream.rows("id", "a") == [(1, 1), (2, 5_000_000_000)]
    assert stream.rows("id", "a", layer="history") == [(1, 1), (2, 5_000_000_000)]


def test_another_key_is_refused(stream: Stream):
    stream.send({"id": "int", "a": "int"}, id=1, a=1, key="a")
    with pytest.raises(DriftError, match=r"the messages' key is \(a\), the contract's is \(id\)"):
        stream.apply(catalog_of(INT))


# ---- THE CONTRACT CHANGES ---- #


def test_a_contract_that_changes_its_columns_has_the_table_made_again(stream: Stream):
    types = {"id": "int", "a": "int", "b": "text"}
    stream.send(types, id=1, a=1, b="x")
    stream.send(types, id=2, a=2, b="y")
    stream.apply(catalog_of(INT))
    stream.apply(catalog_of({"b": {"type": "string"}, "a": {"type": "float64"}}))
    assert stream.rows("id", "a", "b") == [(1, 1.0, "x"), (2, 2.0, "y")]
    stream.send(types, id=1, a=3, b="z")
    stream.apply(catalog_of({"b": {"type": "string"}}))
    assert stream.rows("id", "b") == [(1, "z"), (2, "y")]
    assert "a" not in stream.lake.scan(TABLE).collect_schema()
    before = {table: stream.lake.version(table) for table in stream.lake.tables()}
    stream.apply(catalog_of({"b": {"type": "string"}}))
    assert {table: stream.lake.version(table) for table in stream.lake.tables()} == before


def test_a_contract_that_changes_its_key_has_the_table_made_again(stream: Stream):
    types = {"id": "int", "a": "int"}
    stream.send(types, id=1, a=1)
    stream.send(types, id=2, a=1)
    stream.apply(catalog_of(INT))
    stream.send(types, id=3, a=7)
    stream.apply(catalog_of(INT, {"key": "try"}, key="a"))
    assert stream.rows("a", "id") == [(1, 2), (7, 3)]
