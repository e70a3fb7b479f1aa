"""SQL Server's and Oracle's positions order events as their logs do, whatever order they arrive in."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.change.envelope import describe
from pipelines.storage import Lake
from tests.spec.test_connectors import TABLE, catalog_of, held, land

ITEMS = {"id": {"type": "int32"}, "note": {"type": "string"}}
Message = tuple[Any, Any]


def event(op: str, key: int, note: str | None, source: dict[str, Any]) -> Message:
    after = None if op == "d" else {"id": key, "note": note}
    before = {"id": key, "note": "before"} if op in "du" else None
    return {"id": key}, {"before": before, "after": after, "source": source, "op": op, "ts_ms": 1}


def mssql(op: str, key: int, note: str | None, commit: str, change: str | None, serial: int | None = 1, *, seconds: int = 1) -> Message:  # fmt: skip
    source = {
        "version": "3.7.0.Final", "connector": "sqlserver", "name": "s", "ts_ms": seconds * 1000, "db": "d", "schema": "dbo", "table": "t",
        "snapshot": "true" if op == "r" else "false", "change_lsn": change, "commit_lsn": commit, "event_serial_no": serial,
    }  # fmt: skip
    return event(op, key, note, source)


def scn(op: str, key: int, note: str | None, commit: str | None, change: str, *, seconds: int = 1) -> Message:  # fmt: skip
    source = {
        "version": "3.7.0.Final", "connector": "oracle", "name": "o", "ts_ms": seconds * 1000, "db": "ORCL", "schema": "D", "table": "T",
        "snapshot": "true" if op == "r" else "false", "txId": "6.28.807", "scn": change, "commit_scn": commit,
        "rs_id": " 0x0004d2.00003039.007c", "ssn": 0, "redo_thread": 1,
    }  # fmt: skip
    return event(op, key, note, source)


def flat(message: Message) -> Message:
    """The same as ExtractNewRecordState leaves it, with add.fields=op,source.commit_lsn,…"""
    key, value = message
    told = {f"__source_{name}": value["source"].get(name) for name in ("commit_lsn", "change_lsn", "event_serial_no", "scn", "commit_scn")}  # fmt: skip
    return key, {**(value["after"] or value["before"]), "__op": value["op"], "__deleted": str(value["op"] == "d").lower(), **told}  # fmt: skip


def cloud(message: Message) -> Message:
    """The same as CloudEventsConverter writes it."""
    key, value = message
    told = {f"iodebezium{name.replace('_', '')}": each for name, each in value["source"].items()}
    images = {name: value[name] for name in ("before", "after")}
    return key, {"id": "1", "specversion": "1.0", "datacontenttype": "application/json", "iodebeziumop": value["op"], **told, "data": images}  # fmt: skip


L = "00000027:00000ac0:0002"
CASES: dict[str, tuple[str, list[Message], str | None]] = {
    "a snapshot, then the log": ("sqlserver", [mssql("r", 1, "a", L, None, None), mssql("u", 1, "b", L, L, 2)], "b"),
    "commits decide, not changes": ("sqlserver", [mssql("c", 1, "late", "00000027:00000ad0:0001", "00000027:00000a00:0001"), mssql("u", 1, "early", L, "00000027:00000ab0:0001", 2)], "late"),
    "the block is a number": ("sqlserver", [mssql("c", 1, "a", "00000027:00000ac0:0002", L), mssql("u", 1, "b", "00000027:00001000:0001", "00000027:00000fff:0001", 2)], "b"),
    "slots of one block": ("sqlserver", [mssql("u", 1, "b", "00000027:00000ac0:0005", L, 2), mssql("c", 1, "a", "00000027:00000ac0:0002", L)], "b"),
    "the log file before": ("sqlserver", [mssql("u", 1, "b", "00000028:00000010:0002", "00000028:00000008:0001", 2), mssql("c", 1, "a", "00000028:00000010:0002", "00000027:00000ac0:0001")], "b"),
    "a key that came back": ("sqlserver", [mssql("c", 1, "a", "00000026:00000001:0001", "00000026:00000001:0001"), mssql("d", 1, None, L, L, 1), mssql("c", 1, "b", L, L, 2)], "b"),
    "sent again": ("sqlserver", [mssql("c", 1, "a", "00000026:00000001:0001", L), mssql("u", 1, "b", L, L, 2), mssql("c", 1, "a", "00000026:00000001:0001", L)], "b"),
    "restored": ("sqlserver", [mssql("u", 1, "b", L, L, 2, seconds=5), mssql("u", 1, "c", "00000021:00000001:0001", L, 2, seconds=6)], "c"),
    "gone": ("sqlserver", [mssql("c", 1, "a", "00000026:00000001:0001", L), mssql("d", 1, None, L, L), ({"id": 1}, None)], None),
    "SCNs are numbers": ("oracle", [scn("c", 1, "a", "999", "998"), scn("u", 1, "b", "1000", "997")], "b"),
    "beyond 32 bits": ("oracle", [scn("u", 1, "b", "281474976710656", "281474976710655"), scn("c", 1, "a", "281474976710655", "281474976710654")], "b"),
    "a snapshot's rows are older": ("oracle", [scn("u", 1, "b", "500", "499"), scn("r", 2, "x", None, "900")], "b"),
    "sent again to Oracle's reader": ("oracle", [scn("c", 1, "a", "5", "4"), scn("u", 1, "b", "7", "6"), scn("c", 1, "a", "5", "4")], "b"),
}  # fmt: skip


OTHER_FORMS = ("commits decide, not changes", "a key that came back", "SCNs are numbers")


@pytest.mark.parametrize(
    ("case", "form"),
    [*((case, None) for case in CASES), *itertools.product(OTHER_FORMS, (flat, cloud))],
)
def test_the_logs_order_decides(
    tmp_path: Path, case: str, form: Callable[[Message], Message] | None
):
    connector, events, note = CASES[case]
    shaped = events if form is None else [form(each) for each in events]
    lake, catalog = Lake(str(tmp_path)), catalog_of(connector, "s.d.dbo.t", "id", ITEMS)
    land(lake, catalog, *shaped)
    rows = {row["id"]: row["note"] for row in held(lake, catalog)}
    assert rows.get(1) == note
    assert lake.version("system.main.dead_letters") is None


PARTS = st.tuples(st.integers(1, 2**32 - 1), st.integers(0, 2**28 - 1), st.integers(0, 2**16 - 1))


@given(
    commits=st.lists(PARTS, min_size=2, max_size=8, unique=True),
    back=st.integers(0, 1),
    serials=st.integers(0, 2),
)
def test_two_numbers_rise_as_the_log_does(
    commits: list[tuple[int, int, int]], back: int, serials: int
):
    """Any transactions, each with changes before its commit, in the order of their LSNs."""
    log = [
        (commit, (commit[0] - distance, block, slot), serial)
        for commit in sorted(commits)
        for distance in range(back, -1, -1)
        for block, slot in ((0, 7), (9, 0), (9, 1))
        for serial in range(serials + 1)
    ]
    payloads = [
        json.dumps(mssql("u", 1, "n", _hex(commit), _hex(change), serial)[1])
        for commit, change, serial in log
    ]
    told = describe(pl.Series(payloads), pl.Series([None] * len(payloads), dtype=pl.String))
    places = told.select("commit_position", "event_position").rows()
    assert all(left < right for left, right in itertools.pairwise(places))


def test_what_lies_further_back_in_a_transaction_is_not_newer():
    commit = (0x30, 5, 1)
    changes = [(0x20, 9, 9), (0x2E, 1, 1), (0x2F, 0, 0), (0x30, 0, 0)]
    payloads = [
        json.dumps(mssql("u", 1, "n", _hex(commit), _hex(change), 2)[1]) for change in changes
    ]
    told = describe(pl.Series(payloads), pl.Series([None] * len(payloads), dtype=pl.String))
    places = told.select("commit_position", "event_position").rows()
    assert places[0] == places[1] <= places[2] < places[3]


def _hex(lsn: tuple[int, int, int]) -> str:
    return f"{lsn[0]:08x}:{lsn[1]:08x}:{lsn[2]:04x}"


def test_sql_servers_types_are_held_exactly(tmp_path: Path):
    columns = {
        "id": {"type": "int32"},
        "dt2": {"type": "timestamp_ntz"},
        "t": {"type": "time"},
        "dto": {"type": "timestamp"},
        "m": {"type": "decimal(19,4)"},
        "g": {"type": "uuid"},
        "b": {"type": "bool"},
        "note": {"type": "string"},
    }
    kinds = [
        ("id", "int32", None, {}), ("dt2", "int64", "io.debezium.time.NanoTimestamp", {}), ("t", "int64", "io.debezium.time.NanoTime", {}),
        ("dto", "string", "io.debezium.time.ZonedTimestamp", {}), ("m", "bytes", "org.apache.kafka.connect.data.Decimal", {"scale": "4", "connect.decimal.precision": "19"}),
        ("g", "string", None, {}), ("b", "boolean", None, {}), ("note", "string", None, {}),
    ]  # fmt: skip
    fields = [{"field": name, "type": kind, "optional": name != "id", **({"name": told, "version": 1} if told else {}), **({"parameters": more} if more else {})} for name, kind, told, more in kinds]  # fmt: skip
    key, value = mssql("c", 1, None, L, L)
    value["after"] = {
        "id": 1, "dt2": 1770000000123456700 // 1000 * 1000, "t": 3661000001000, "dto": "2026-02-28T23:59:59.1234560+05:30",
        "m": "AeJA", "g": "6F9619FF-8B86-D011-B42D-00C04FC964FF", "b": True, "note": "long text",
    }  # fmt: skip
    schema = {"type": "struct", "fields": [{"field": name, "type": "struct", "optional": True, "name": "s.d.dbo.t.Value", "fields": fields} for name in ("before", "after")]}  # fmt: skip
    _, again = mssql("u", 1, None, "00000027:00000ad0:0002", "00000027:00000ac8:0002", 2)
    again["after"] = {**value["after"], "m": "AeJB", "note": "__debezium_unavailable_value"}
    lake, catalog = Lake(str(tmp_path)), catalog_of("sqlserver", "s.d.dbo.t", "id", columns)
    land(lake, catalog, *[(key, {"schema": schema, "payload": each}) for each in (value, again)])
    (row,) = held(lake, catalog)
    assert row["dt2"] == datetime(2026, 2, 2, 2, 40, 0, 123456)
    assert row["t"] == "01:01:01.000001"
    assert row["dto"] == datetime(2026, 2, 28, 18, 29, 59, 123456, tzinfo=UTC)
    assert row["m"] == Decimal("12.3457")
    assert (row["g"].lower(), row["b"]) == ("6f9619ff-8b86-d011-b42d-00c04fc964ff", True)
    assert row["note"] == "long text"  # an unchanged varchar(max) is not sent
    assert lake.version("quarantine.x.t") is None or lake.scan(TABLE.replace("silver", "quarantine")).collect().is_empty()  # fmt: skip
