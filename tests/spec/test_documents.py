"""Of documents and events: fields by their paths, the rest of a document, and what a schema does not know."""

from __future__ import annotations

import base64
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.change.nested import read_paths
from pipelines.change.schema import Writing
from pipelines.change.values import decode
from pipelines.contract import Catalog, parse_type
from pipelines.provenance import lineage_of
from pipelines.storage import Lake
from tests.spec.landing import TABLE, catalog_of, cells, change, held, land

WHO = uuid.UUID("550e8400-e29b-41d4-a716-446655440000")

POST = {
    "id": {"type": "json", "source": "_id"},
    "who": {"type": "uuid", "source": "user_id"},
    "text": {"type": "string", "source": "content.text"},
    "media": {"type": "list<struct<type: string, url: string>>", "source": "content.media"},
    "tags": {"type": "list<string>", "source": "content.tags"},
    "rest": {"type": "json", "source": "$rest"},
}


def post(tmp_path: Path, *documents: dict[str, Any], **more: Any) -> tuple[Lake, Catalog]:
    """Posts, one after the other, as inserts."""
    lake, catalog = Lake(str(tmp_path)), catalog_of("mongodb", "m.d.t", "id", POST, **more)
    told = [change("c", str(d["_id"]), json.dumps(d), n) for n, d in enumerate(documents)]
    land(lake, catalog, *told)
    return lake, catalog


def rest_of(tmp_path: Path, **parts: Any) -> Any:
    lake, catalog = post(tmp_path, {"_id": 1, **parts})
    (row,) = held(lake, catalog)
    return row["rest"] and json.loads(row["rest"])


# ---- THE REST OF A DOCUMENT ---- #

MEDIUM = {"type": "image", "url": "u"}


@pytest.mark.parametrize(
    ("parts", "rest"),
    [
        ({"content": {"text": "a", "tags": ["x"], "media": [MEDIUM]}}, None),
        ({"content": None, "mood": None}, {"mood": None}),
        ({"content": {"text": "a", "poll": {"of": [1, 2.50]}}}, {"content": {"poll": {"of": [1, 2.5]}}}),
        ({"content": {"media": [MEDIUM, {**MEDIUM, "alt": "a cat"}]}}, {"content": {"media": [{}, {"alt": "a cat"}]}}),
        ({"pinned": True, "at": {"$date": 1}}, {"pinned": True, "at": {"$date": 1}}),
        ({"n": 9007199254740993, "é\\n": "\u2028😀"}, {"n": 9007199254740993, "é\\n": "\u2028😀"}),
    ],
    ids=["nothing", "a null", "inside a structure", "inside a list", "at the top", "in full"],
)  # fmt: skip
def test_what_no_column_takes_is_kept_at_its_place(tmp_path: Path, parts: Any, rest: Any):
    assert rest_of(tmp_path, **parts) == rest


def test_a_withheld_field_is_not_in_the_rest(tmp_path: Path):
    document = {"_id": 1, "content": {"draft": "secret", "mood": "x"}, "token": {"a": "secret"}}
    lake, catalog = post(tmp_path, document, withheld=["content.draft", "token"])
    assert [json.loads(row["rest"]) for row in held(lake, catalog)] == [{"content": {"mood": "x"}}]


def test_a_known_field_of_another_shape_is_quarantined_by_its_name(tmp_path: Path):
    """What is sound of the document stands beside it, and its neighbours are kept."""
    bad = {"_id": 1, "content": {"text": "a", "tags": "one"}, "mood": "x"}
    lake, catalog = post(tmp_path, bad, {"_id": 2}, {"_id": 3, "content": "a"})
    assert [row["id"] for row in held(lake, catalog)] == ["2"]
    first, third = held(lake, catalog, "quarantine")
    assert first["quality_issues"] == ["undecodable:tags"]
    assert (first["text"], first["tags"], first["rest"]) == ("a", None, '{"mood": "x"}')
    assert third["quality_issues"] == ["undecodable:text"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(
    known=st.fixed_dictionaries({"a": st.text(max_size=3), "b": st.fixed_dictionaries({"a": st.text(max_size=3)})}),
    more=st.dictionaries(st.sampled_from(["c", "d"]), json_values),
    deep=st.dictionaries(st.sampled_from(["c", "d"]), json_values),
)  # fmt: skip
def test_the_columns_and_the_rest_together_are_the_document(known: Any, more: Any, deep: Any):
    document = {**known, **more, "b": {**known["b"], **deep}}
    texts = pl.Series([json.dumps(document)])
    fields = {"a": pl.String(), "b.a": pl.String(), "$rest": pl.String()}
    frame, _, _ = read_paths(texts, fields)
    rest = json.loads(frame["$rest"][0] or "{}")
    assert frame.select("a", "b.a").row(0) == (known["a"], known["b"]["a"])
    inner = {"b": deep} if deep else {}
    assert rest == {**more, **inner}


def test_an_update_of_known_fields_leaves_the_rest_and_another_makes_nothing_up(tmp_path: Path):
    lake, catalog = post(tmp_path, {"_id": 1, "mood": "x"}, {"_id": 2, "mood": "y"})
    patches = [('{"content.text": "new"}', "1"), ('{"mood": "z"}', "2")]
    for number, (fields, key) in enumerate(patches, 2):
        patch = {"updatedFields": fields, "removedFields": None, "truncatedArrays": None}
        land(lake, catalog, change("u", key, None, number, patch), start=number)
    assert [(r["text"], r["rest"]) for r in held(lake, catalog)] == [("new", '{"mood": "x"}')]
    (waiting,) = held(lake, catalog, "quarantine")
    assert (waiting["id"], waiting["quality_issues"]) == ("2", ["unavailable:rest"])


# ---- UUIDS ---- #


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"$binary": {"base64": base64.b64encode(WHO.bytes).decode(), "subType": "04"}}, str(WHO)),
        ({"$binary": base64.b64encode(WHO.bytes).decode(), "$type": "04"}, str(WHO)),
        ({"$uuid": str(WHO)}, str(WHO)),
        (str(WHO).upper(), str(WHO)),
        ({"$binary": {"base64": base64.b64encode(WHO.bytes).decode(), "subType": "03"}}, None),
    ],
    ids=["relaxed", "legacy", "newest", "text", "of an unknown order of bytes"],
)
def test_a_uuid_of_mongodb_is_one(tmp_path: Path, written: Any, read: str | None):
    lake, catalog = post(tmp_path, {"_id": 1, "user_id": written})
    assert [row["who"] for row in held(lake, catalog)] == ([read] if read else [])
    if read is None:
        assert held(lake, catalog, "quarantine")[0]["quality_issues"] == ["undecodable:who"]


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)),
    st.integers(0, 9),
    st.integers(0, 2**62 - 1),
)
def test_a_timeuuid_says_when_it_was_made(when: datetime, tenth: int, rest: int):
    ticks = (when - datetime(1582, 10, 15)) // timedelta(microseconds=1) * 10 + tenth
    fields = (ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0xFFF)
    made = uuid.UUID(fields=(*fields, rest & 0xFF, rest >> 8 & 0xFF, rest >> 14), version=1)
    texts = pl.DataFrame(
        {"t": [str(made), str(made).upper(), str(uuid.UUID(made.hex, version=4)), "x"]}
    )
    read = texts.select(decode(pl.col("t"), parse_type("timestamp"), Writing(encoding="timeuuid")))
    instant = when.replace(tzinfo=UTC)
    assert read.to_series().to_list() == [instant, instant, None, None]


# ---- CASSANDRA ---- #

POINTS = {
    "id": {"type": "int32"},
    "at": {"type": "timestamp", "encoding": "millis", "source": "note"},
    "too": {"type": "int64", "source": "note"},
    "written": {"type": "timestamp", "source": "$time"},
}


def test_two_columns_take_one_field_and_one_takes_the_time_of_the_write(tmp_path: Path):
    lake, catalog = Lake(str(tmp_path)), catalog_of("cassandra", "c.k.t", "id", POINTS)
    land(
        lake,
        catalog,
        cells("i", 1, 2_500_000, note=1500),
        cells("d", 1, 3_000_000),
        cells("i", 2, 4_000_000),
    )
    land(lake, catalog, cells("u", 2, 5_000_000, note=2500), start=3)
    (row,) = held(lake, catalog)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert (row["at"] - epoch, row["too"]) == (timedelta(seconds=2.5), 2500)
    assert row["written"] - epoch == timedelta(seconds=5)
    (told,) = lineage_of(catalog)[TABLE].columns["written"]
    assert (told.table, told.column) == ("bronze.x.t", "event_timestamp")


def test_the_schema_of_a_cell_is_that_of_its_value(tmp_path: Path):
    """With schema blocks the contract says nothing of how values are written."""
    columns = {"id": {"type": "int32"}, "at": {"type": "timestamp", "source": "note"}}
    lake, catalog = Lake(str(tmp_path)), catalog_of("cassandra", "c.k.t", "id", columns)
    key, value = cells("i", 1, 10, note=1500)
    more = [
        {"field": "deletion_ts", "type": "int64", "optional": True},
        {"field": "set", "type": "boolean"},
    ]

    def cell(of: str, **kind: Any) -> dict[str, Any]:
        return {
            "field": of,
            "type": "struct",
            "optional": True,
            "fields": [{"field": "value", **kind}, *more],
        }

    row = [
        cell("id", type="int32"),
        cell("note", type="int64", name="io.debezium.time.Timestamp", optional=True),
    ]
    block = {"type": "struct", "fields": [{"field": "after", "type": "struct", "fields": row}]}
    land(lake, catalog, (key, {"schema": block, "payload": value}))
    assert [row["at"].timestamp() for row in held(lake, catalog)] == [1.5]


# ---- EVENTS ---- #

ORDER = {
    "order": {"type": "string", "source": "orderId"},
    "currency": {"type": "string", "default": "USD"},
    "at": {"type": "timestamp", "source": "audit.createdAt", "encoding": "millis"},
    "rest": {"type": "json", "source": "$rest"},
}


def event(order: str, currency: str | None = None, **more: Any) -> tuple[Any, Any]:
    """An event with the schema of its fields; without a currency the schema has none."""
    told = {
        "orderId": order,
        **({} if currency is None else {"currency": currency}),
        "audit": {"createdAt": 1500},
        **more,
    }
    texts = [{"field": name, "type": "string"} for name in told if name != "audit"]
    audit = {
        "field": "audit",
        "type": "struct",
        "fields": [{"field": "createdAt", "type": "int64"}],
    }
    return {"id": order}, {"schema": {"type": "struct", "fields": [*texts, audit]}, "payload": told}


def test_events_of_two_versions_are_read_alike(tmp_path: Path):
    lake, catalog = (
        Lake(str(tmp_path)),
        catalog_of("events", "orders", None, ORDER, identity="event"),
    )
    land(lake, catalog, event("a"), event("b", "EUR"), event("c", "EUR", channel="app"))
    rows = {
        r["order"]: (r["currency"], r["at"].timestamp(), r["rest"]) for r in held(lake, catalog)
    }
    assert rows == {
        "a": ("USD", 1.5, None),
        "b": ("EUR", 1.5, None),
        "c": ("EUR", 1.5, '{"channel": "app"}'),
    }


def test_an_event_of_another_shape_is_quarantined_by_the_columns_name(tmp_path: Path):
    lake, catalog = (
        Lake(str(tmp_path)),
        catalog_of("events", "orders", None, ORDER, identity="event"),
    )
    land(lake, catalog, ({"id": "a"}, {"orderId": "a", "audit": [1500]}))
    (bad,) = held(lake, catalog, "quarantine")
    assert (bad["quality_issues"], bad["order"]) == (["undecodable:at"], "a")


# ---- CONTRACTS ---- #


@pytest.mark.parametrize(
    ("connector", "column", "fault"),
    [
        ("mongodb", {"type": "json", "source": "$rst"}, r"'\$rst', which is none of .*'\$rest'\?"),
        ("mongodb", {"type": "string", "source": "$rest"}, "of type json"),
        ("cassandra", {"type": "json", "source": "$rest"}, "documents alone"),
        ("postgres", {"type": "string", "source": "$time"}, "of type timestamp"),
        ("mongodb", {"type": "json", "source": "content"}, "of which other columns take parts"),
    ],
)
def test_what_is_no_field_is_checked(connector: str, column: dict[str, Any], fault: str):
    columns = {
        "id": {"type": "int32"},
        "part": {"type": "string", "source": "content.text"},
        "more": column,
    }
    with pytest.raises(ValidationError) as told:
        catalog_of(connector, "a.b.c", "id", columns)
    said = str(told.value) + str([e.get("ctx") for e in told.value.errors()])
    assert re.search(fault, said, re.DOTALL)


@pytest.mark.parametrize(
    ("columns", "withheld", "refused"),
    [
        ({"doc": {"type": "json", "source": "$"}}, "token", True),
        ({"doc": {"type": "json", "source": "content"}}, "content.draft", True),
        ({"doc": {"type": "string", "source": "token.text"}}, "token", True),
        ({"doc": {"type": "list<struct<a: string, b: json>>", "source": "l"}}, "l.b.c", True),
        ({"doc": {"type": "list<struct<a: string, b: json>>", "source": "l"}}, "l.c", False),
        ({"doc": {"type": "json", "source": "$rest"}}, "token", False),
        ({"doc": {"type": "string", "source": "tokens"}}, "token", False),
    ],
)
def test_no_column_takes_what_is_withheld(columns: dict[str, Any], withheld: str, refused: bool):
    made = {"id": {"type": "json", "source": "_id"}, **columns}
    if not refused:
        assert catalog_of("mongodb", "m.d.t", "id", made, withheld=[withheld])
        return
    with pytest.raises(ValidationError, match=f"takes '{withheld}', which is withheld"):
        catalog_of("mongodb", "m.d.t", "id", made, withheld=[withheld])
