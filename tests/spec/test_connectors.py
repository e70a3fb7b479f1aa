"""What other connectors than Postgres's write becomes the rows that they were."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.ingest import capture_file
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.spec.landing import NOW, TABLE, catalog_of, cells, change, held, land

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
# ---- MYSQL AND MARIADB ---- #

MARIA = {
    "id": {"type": "decimal(20,0)", "encoding": "uint64"},
    "d": {"type": "decimal(38,10)"},
    "bu": {"type": "decimal(20,0)", "encoding": "uint64"},
    "ti": {"type": "int16"},
    "y": {"type": "int32"},
    "dt": {"type": "timestamp_ntz"},
    "ts": {"type": "timestamp"},
    "da": {"type": "date"},
    "t": {"type": "duration"},
    "e": {"type": "enum", "values": ["a", "b"]},
    "s": {"type": "string"},
    "j": {"type": "json"},
    "bl": {"type": "binary"},
    "bt": {"type": "string"},
    "f": {"type": "float32"},
    "vc": {"type": "string"},
    "gp": {"type": "struct<x: float64, y: float64>"},
}


def test_mariadbs_types_are_held_exactly(tmp_path: Path):
    lake, catalog = (
        Lake(str(tmp_path)),
        catalog_of("mariadb", "maria2.lab.types", "id", MARIA, history=True),
    )
    capture_file(lake, catalog, CAPTURES / "maria2.jsonl.gz")
    apply(lake, catalog, TABLE, now=NOW)
    assert held(lake, catalog) == []  # the truncate came last
    past = lake.scan("history.x.t").filter(~pl.col("is_deleted")).collect()
    first = past.filter(pl.col("id") == 1).sort("source_commit").to_dicts()[0]
    assert first["d"] == Decimal("1234567890123456789012345678.0123456789")
    assert first["bu"] == 2**64 - 1  # sent as -1
    assert first["dt"] == datetime(2026, 2, 28, 23, 59, 59, 123456)
    assert first["ts"] == datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC)
    assert first["t"] == -(838 * 3600 + 59 * 60 + 59) * 1_000_000
    assert (first["bt"], first["bl"], first["s"]) == ("101010101", b"\x00\xff", "x,y")
    assert (first["f"], first["gp"]) == (pytest.approx(1.1), {"x": 1.0, "y": 2.0})
    second = past.filter(pl.col("id") == 2).to_dicts()[0]
    assert (second["da"], second["bt"]) == (date(1000, 1, 1), "000000000")
    assert set(past["id"]) == {1, 2, 3}
    assert lake.version("system.main.dead_letters") is None


def binlog(
    op: str,
    key: int,
    note: str | None,
    file: str,
    pos: int,
    *,
    seconds: int = 1,
    server: int = 1,
    row: int = 0,
) -> tuple[Any, Any]:
    source = {
        "connector": "mysql", "name": "m", "db": "d", "table": "t", "snapshot": "false", "file": file, "pos": pos, "row": row,
        "server_id": server, "gtid": None, "ts_ms": seconds * 1000,
    }  # fmt: skip
    after = None if op == "d" else {"id": key, "note": note}
    before = {"id": key, "note": None} if op == "d" else None
    return {"id": key}, {"before": before, "after": after, "source": source, "op": op, "ts_ms": 1}


ITEMS = {"id": {"type": "int32"}, "note": {"type": "string"}}


@pytest.mark.parametrize(
    ("events", "note"),
    [
        ([binlog("c", 1, "old", "bin.000023", 9), binlog("u", 1, "new", "bin.000123", 4)], "new"),
        ([binlog("c", 1, "a", "bin.999999", 9), binlog("u", 1, "b", "bin.1000000", 4)], "b"),
        ([binlog("c", 1, "a", "bin.000001", 900), binlog("u", 1, "b", "bin.000001", 1000)], "b"),
        ([binlog("c", 1, "a", "bin.000001", 9, row=1), binlog("u", 1, "b", "bin.000001", 9, row=2)], "b"),
        ([binlog("u", 1, "b", "bin.000002", 9, seconds=5), binlog("c", 1, "a", "bin.000001", 9, seconds=4)], "b"),
        ([binlog("u", 1, "b", "bin.000009", 9, seconds=5), binlog("u", 1, "c", "bin.000001", 9, seconds=6)], "c"),
        ([binlog("u", 1, "b", "bin.000009", 9, seconds=5), binlog("u", 1, "c", "bin.000001", 9, seconds=5, server=2)], "c"),
    ],
    ids=["files are numbers", "of any length", "places are numbers", "rows of one event", "sent again", "restored", "failed over"],
)  # fmt: skip
def test_the_binlogs_order_decides(tmp_path: Path, events: list[tuple[Any, Any]], note: str):
    lake, catalog = Lake(str(tmp_path)), catalog_of("mysql", "m.d.t", "id", ITEMS)
    land(lake, catalog, *events)
    assert held(lake, catalog) == [{"id": 1, "note": note, "quality_issues": []}]


# ---- MONGODB ---- #

DOCUMENT = {
    "id": {"type": "json", "source": "_id"},
    "v": {"type": "float64"},
    "city": {"type": "string", "source": "address.city"},
    "at": {"type": "timestamp"},
    "doc": {"type": "json", "source": "$"},
}


def test_documents_of_a_real_capture(tmp_path: Path):
    columns = {
        "id": {"type": "int64", "source": "_id"},
        "v": {"type": "float64"},
        "list": {"type": "json", "source": "n.a"},
    }
    lake, catalog = Lake(str(tmp_path)), catalog_of("mongodb", "mongo.lab.c", "id", columns)
    capture_file(lake, catalog, CAPTURES / "mongo.jsonl.gz")
    apply(lake, catalog, TABLE, now=NOW)
    rows = {row["id"]: (row["v"], row["list"]) for row in held(lake, catalog)}
    kept = '[1, "x", null]'
    assert rows == {
        0: (0.0, kept),
        1: (9.0, kept),
        3: (4.5, kept),
        4: (6.0, kept),
        100: (None, None),
    }


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ('{"_id": 1, "v": 1.5, "address": {"city": "Ulm"}, "at": {"$date": 1700000000123}}', (1.5, "Ulm", 123000)),
        ('{"_id": 1, "v": {"$numberDouble": "1.5"}, "address": {"city": "Ulm"}, "at": {"$date": {"$numberLong": "1700000000123"}}}', (1.5, "Ulm", 123000)),
        ('{"_id": 1, "v": {"$numberInt": "7"}, "address": {}, "at": {"$date": "2023-11-14T22:13:20.123Z"}}', (7.0, None, 123000)),
        ('{"_id": 1, "v": {"$numberDouble": "NaN"}, "address": null}', (float("nan"), None, None)),
        ('{"_id": 1, "v": {"$undefined": true}, "more": {"$oid": "x"}}', (None, None, None)),
    ],
    ids=["legacy", "canonical", "relaxed", "no number", "undefined"],
)  # fmt: skip
def test_extended_json_in_every_mode(tmp_path: Path, document: str, expected: tuple[Any, ...]):
    lake, catalog = Lake(str(tmp_path)), catalog_of("mongodb", "m.d.t", "id", DOCUMENT)
    land(lake, catalog, change("c", "1", document, 1))
    (row,) = held(lake, catalog)
    at = row["at"] and row["at"].microsecond
    assert (str(row["v"]), row["city"], at) == (str(expected[0]), *expected[1:])
    assert (row["id"], row["doc"]) == ("1", document)


def test_a_number_and_a_text_are_two_keys(tmp_path: Path):
    lake, catalog = Lake(str(tmp_path)), catalog_of("mongodb", "m.d.t", "id", DOCUMENT)
    events = [
        change("c", text, f'{{"_id": {text}}}', n)
        for n, text in enumerate(["1234", '"1234"', '{"$oid": "65"}'])
    ]
    land(lake, catalog, *events, (events[0][0], None))
    assert [row["id"] for row in held(lake, catalog)] == ['"1234"', '{"$oid": "65"}']


def test_an_update_without_its_document_is_put_on_the_row(tmp_path: Path):
    columns = {name: column for name, column in DOCUMENT.items() if name != "doc"}
    lake, catalog = Lake(str(tmp_path)), catalog_of("mongodb", "m.d.t", "id", columns)
    land(
        lake,
        catalog,
        change("c", "1", '{"_id": 1, "v": 1, "address": {"city": "Ulm"}}', 1),
        change("c", "2", '{"_id": 2, "v": 2, "address": {"city": "Bonn"}}', 2),
        change(
            "u",
            "1",
            None,
            3,
            {"updatedFields": '{"v": 5}', "removedFields": None, "truncatedArrays": None},
        ),
        change(
            "u",
            "2",
            None,
            4,
            {
                "updatedFields": '{"address.city": "Kiel"}',
                "removedFields": ["v"],
                "truncatedArrays": None,
            },
        ),
    )
    assert [(r["v"], r["city"]) for r in held(lake, catalog)] == [(5.0, "Ulm"), (None, "Kiel")]


def test_a_value_changed_in_part_is_not_made_up(tmp_path: Path):
    lake, catalog = Lake(str(tmp_path)), catalog_of("mongodb", "m.d.t", "id", DOCUMENT)
    patch = {"updatedFields": '{"v": 5}', "removedFields": None, "truncatedArrays": None}
    land(lake, catalog, change("c", "1", '{"_id": 1, "v": 1}', 1), change("u", "1", None, 2, patch))
    assert held(lake, catalog) == []
    assert held(lake, catalog, "quarantine")[0]["quality_issues"] == ["unavailable:doc"]


# ---- CASSANDRA ---- #


CELLS = {"id": {"type": "int32"}, "note": {"type": "string"}, "size": {"type": "int64"}}


def test_cells_that_a_write_did_not_set_stay(tmp_path: Path):
    lake, catalog = Lake(str(tmp_path)), catalog_of("cassandra", "c.k.t", "id", CELLS)
    land(
        lake, catalog,
        cells("i", 1, 10, note="a"), cells("u", 1, 20, size=5), cells("i", 2, 10, size=1), cells("u", 2, 30, size=None),
        cells("i", 3, 10, note="x"), cells("d", 3, 20), cells("u", 1, 15, note="late"),
    )  # fmt: skip
    assert [(r["id"], r["note"], r["size"]) for r in held(lake, catalog)] == [
        (1, "a", 5),
        (2, None, None),
    ]


def test_a_range_tombstone_is_a_dead_letter(tmp_path: Path):
    lake, catalog = Lake(str(tmp_path)), catalog_of("cassandra", "c.k.t", "id", CELLS)
    land(lake, catalog, cells("i", 1, 10, note="a"), cells("r", 1, 20))
    assert lake.scan("system.main.dead_letters").collect()["reason"].to_list() == [
        "range_tombstone"
    ]


# ---- CLOUD EVENTS ---- #


def cloud(op: str, key: int, note: str | None, lsn: int, *, wrapped: bool) -> tuple[Any, Any]:
    after = None if op == "d" else {"id": key, "note": note}
    images = {"before": {"id": key, "note": None} if op == "d" else None, "after": after}
    data = {"schema": {"type": "struct"}, "payload": images} if wrapped else images
    value = {
        "id": f"name:p;lsn:{lsn};txId:5", "source": "/debezium/postgresql/p", "specversion": "1.0",
        "type": "io.debezium.connector.postgresql.DataChangeEvent", "time": "2026-01-01T00:00:00.000Z",
        "datacontenttype": "application/json", "iodebeziumop": op, "iodebeziumconnector": "postgresql", "iodebeziumname": "p",
        "iodebeziumtsms": "1767225600000", "iodebeziumsnapshot": "false", "iodebeziumdb": "d", "iodebeziumschema": "public",
        "iodebeziumtable": "t", "iodebeziumtxId": "5", "iodebeziumlsn": str(lsn), "iodebeziumsequence": f'["{lsn}","{lsn}"]',
        "data": data,
    }  # fmt: skip
    return {"id": key}, value


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "with its schema"])
def test_cloud_events_are_changes_too(tmp_path: Path, wrapped: bool):
    lake, catalog = Lake(str(tmp_path)), catalog_of("postgres", "p.public.t", "id", ITEMS)
    said = [
        ("c", 1, "a", 10),
        ("u", 1, "b", 30),
        ("u", 1, "late", 20),
        ("c", 2, "x", 40),
        ("d", 2, None, 50),
    ]
    land(lake, catalog, *(cloud(*each, wrapped=wrapped) for each in said))
    assert held(lake, catalog) == [{"id": 1, "note": "b", "quality_issues": []}]
    bronze = lake.scan("bronze.x.t").collect()
    assert set(bronze["table_name"]) == {"public.t"}
    assert bronze.sort("kafka_offset")["source_commit"].to_list() == [10, 30, 20, 40, 50]


def plain_row(key: int, lsn: int, **values: Any) -> tuple[Any, Any]:
    source = {
        "name": "p",
        "schema": "public",
        "table": "t",
        "snapshot": "false",
        "lsn": lsn,
        "sequence": f'["{lsn}","{lsn}"]',
        "ts_ms": 1,
    }
    return {"id": key}, {
        "before": None,
        "after": {"id": key, **values},
        "source": source,
        "op": "u",
        "ts_ms": 1,
    }


def test_an_unchanged_hstore_and_a_claim_check_are_no_values(tmp_path: Path):
    columns = {"id": {"type": "int32"}, "tags": {"type": "json"}, "text": {"type": "string"}}
    lake, catalog = Lake(str(tmp_path)), catalog_of("postgres", "p.public.t", "id", columns)
    same = "__debezium_unavailable_value"
    land(
        lake,
        catalog,
        plain_row(1, 10, tags='{"a": "b"}', text="x"),
        plain_row(1, 20, tags=f'{{"{same}":"{same}"}}', text="y"),
        plain_row(1, 30, tags={same: same}, text="z"),
        plain_row(2, 40, tags=None, text="__debezium:s3:ref:v1:bucket|key"),
    )
    assert held(lake, catalog) == [
        {"id": 1, "tags": '{"a": "b"}', "text": "z", "quality_issues": []}
    ]
    assert held(lake, catalog, "quarantine")[0]["quality_issues"] == ["undecodable:text"]


def test_a_flattened_document_has_a_plain_key(tmp_path: Path):
    columns = {"id": {"type": "string", "source": "_id"}, "v": {"type": "float64"}}
    lake, catalog = Lake(str(tmp_path)), catalog_of("mongodb", "m.d.t", "id", columns)
    land(lake, catalog, ({"id": "65f0"}, {"_id": "65f0", "v": 1.5}))
    assert held(lake, catalog) == [{"id": "65f0", "v": 1.5, "quality_issues": []}]
