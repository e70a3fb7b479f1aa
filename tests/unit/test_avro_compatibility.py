"""Which version of an Avro schema may follow which, and who could not read what."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from assets.demo_order_events import REGISTRY, SCHEMAS
from pipelines.avro.compatibility import Compatibility, breaks, faults
from pipelines.avro.registry import open_registry
from pipelines.avro.schema import parse_schema
from pipelines.cli import app
from pipelines.errors import DriftError, IncompatibleError, RegistryError, SettingsError

Level = Compatibility


def record(*fields: dict[str, Any], name: str = "R", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def one(kind: Any, **more: Any) -> dict[str, Any]:
    """A record of one field `a`."""
    return record({"name": "a", "type": kind, **more})


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


TREE = record(
    {"name": "value", "type": "int"},
    {"name": "next", "type": ["null", "R"], "default": None},
)
DEEP_TREE = json.loads(json.dumps(TREE).replace('"int"', '"string"'))

#: Writer, reader, and the fields that the reader cannot read; none: it can (Avro, "Schema Resolution").
CASES = {
    "the same": (one("int"), one("int"), []),
    "one field more, with a default": (record(), one("int", default=1), []),
    "one field more": (record(), one("int"), ["a"]),
    "one field less": (one("int"), record(), []),
    "renamed, with an alias": (record({"name": "old", "type": "int"}), one("int", aliases=["old"]), []),
    "renamed": (record({"name": "old", "type": "int"}), one("int"), ["a"]),
    "a wider number": (one("int"), one("double"), []),
    "a narrower number": (one("long"), one("int"), ["a"]),
    "text of bytes": (one("bytes"), one("string"), []),
    "a text for a number": (one("double"), one("string"), ["a"]),
    "nullable now": (one("int"), one(["null", "int"]), []),
    "nullable no more": (one(["null", "int"]), one("int"), ["a"]),
    "a wider number in a union": (one("int"), one(["null", "long"]), []),
    "a branch less": (one(["int", "string"]), one(["null", "int"]), ["a"]),
    "a symbol more": (one(enum("A")), one(enum("A", "B")), []),
    "a symbol less": (one(enum("A", "B")), one(enum("A")), ["a"]),
    "a symbol less, with a default": (one(enum("A", "B")), one(enum("A", default="A")), []),
    "other items": (one({"type": "array", "items": "int"}), one({"type": "array", "items": "string"}), ["a[]"]),
    "other values": (one({"type": "map", "values": "string"}), one({"type": "map", "values": "int"}), ["a[]"]),
    "other bytes": (one({"type": "fixed", "name": "F", "size": 2}), one({"type": "fixed", "name": "F", "size": 3}), ["a"]),
    "deep within": (one(record({"name": "b", "type": "int"}, name="S")), one(record({"name": "b", "type": "int"}, {"name": "c", "type": "int"}, name="S")), ["a.c"]),
    "deep within a nullable": (one(["null", record(name="S")]), one(["null", one("int") | {"name": "S"}]), ["a.a"]),
    "another name": (record(), record(name="T"), [""]),
    "another name, with an alias": (record(), record(name="T", aliases=["R"]), []),
    "another namespace": (record(namespace="x"), record(namespace="y"), []),
    "a type within itself": (TREE, TREE, []),
    "a type within itself, changed": (TREE, DEEP_TREE, ["value"]),
}  # fmt: skip


@pytest.mark.parametrize(("writer", "reader", "fields"), CASES.values(), ids=CASES.keys())
def test_what_a_reader_cannot_read_is_named(writer: Any, reader: Any, fields: list[str]):
    found = faults(parse_schema(reader), parse_schema(writer))
    assert [fault.field for fault in found] == fields


V1, V2, V3 = (SCHEMAS[number] for number in (101, 102, 103))
WITHOUT_DEFAULT = {**V2, "fields": [{k: v for k, v in f.items() if k != "default"} for f in V2["fields"]]}  # fmt: skip


@pytest.mark.parametrize("level", Level)
def test_the_seeds_second_version_follows_the_first_at_every_level(level: Level):
    assert breaks(V2, {1: V1}, level) == []


@pytest.mark.parametrize(
    ("new", "level", "found"),
    [
        (V3, Level.BACKWARD, []),
        (V3, Level.FORWARD, [("FORWARD", 2, "status")]),
        (V3, Level.FULL, [("FORWARD", 2, "status")]),
        (V3, Level.FULL_TRANSITIVE, [("FORWARD", 1, "status"), ("FORWARD", 2, "status")]),
        (V3, Level.NONE, []),
        (WITHOUT_DEFAULT, Level.BACKWARD, []),
        (WITHOUT_DEFAULT, Level.BACKWARD_TRANSITIVE, [("BACKWARD", 1, "currency")]),
        (V1, Level.FORWARD, []),
    ],
)
def test_each_level_looks_where_confluent_does(new: Any, level: Level, found: list[Any]):
    said = breaks(new, {2: V2, 1: V1}, level)
    assert [(str(b.direction), b.version, b.fault.field) for b in said] == found


def test_a_fault_says_what_is_written_and_what_is_read():
    (said,) = breaks(V3, {2: V2}, Level.FORWARD)
    assert said.fault.why == "is written as RETURNED, which its readers do not know"
    (gone,) = faults(parse_schema(one("int")), parse_schema(record()))
    assert gone.why == "is not written, and its readers have no default for it"


@pytest.mark.parametrize("schema", [{}, {"type": "record"}, {"type": "what"}, 7, {"type": "array"}, one("Q")])  # fmt: skip
def test_what_is_no_schema_is_said(schema: Any):
    with pytest.raises(ValueError, match="no Avro schema"):
        parse_schema(schema)


# ---- AGAINST FASTAVRO ---- #

LEAVES = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False),
    "string": st.text("abc", max_size=3),
}
KINDS = st.one_of(
    st.sampled_from(list(LEAVES)),
    st.sampled_from([enum("A"), enum("A", "B"), enum("A", default="A")]),
    st.sampled_from([["null", "int"], ["null", "string"], ["int", "string"]]),
    st.sampled_from(["int", "long", "string"]).map(lambda kind: {"type": "array", "items": kind}),
)


@st.composite
def records(draw: Any) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from("abc"), unique=True))
    fields = [{"name": name, "type": draw(KINDS)} for name in names]
    for number, field in enumerate(fields):  # a name is defined once
        if isinstance(field["type"], dict) and field["type"]["type"] == "enum":
            field["type"] = {**field["type"], "name": f"E{field['name']}"}
        if draw(st.booleans()) and isinstance(field["type"], str) and number % 2:
            field["default"] = {"null": None, "boolean": True, "string": "x"}.get(field["type"], 1)
    return record(*fields)


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    if isinstance(kind, str):
        return LEAVES[kind]
    if isinstance(kind, list):
        return st.one_of([LEAVES[branch] for branch in kind])
    if kind["type"] == "enum":
        return st.sampled_from(kind["symbols"])
    if kind["type"] == "array":
        return st.lists(LEAVES[kind["items"]], min_size=1, max_size=2)
    return st.fixed_dictionaries({f["name"]: values_of(f["type"]) for f in kind["fields"]})


@given(st.data(), records(), records())
def test_what_is_said_to_be_readable_is_read(data: Any, writer: Any, reader: Any):
    if faults(parse_schema(reader), parse_schema(writer)):
        return
    told = io.BytesIO()
    fastavro.schemaless_writer(told, writer, data.draw(values_of(writer)))
    told.seek(0)
    read = fastavro.schemaless_reader(told, writer, reader)
    assert set(read) == {field["name"] for field in reader["fields"]}


# ---- THE REGISTRY ---- #


class Answers(BaseHTTPRequestHandler):
    """A registry with one subject of two versions, whose level is the whole registry's."""

    paths = {  # noqa: RUF012
        "/subjects/orders-topic-value/versions": [1, 2],
        "/subjects/orders-topic-value/versions/1": {"subject": "s", "version": 1, "id": 101, "schema": json.dumps(V1)},
        "/subjects/orders-topic-value/versions/2": {"subject": "s", "version": 2, "id": 102, "schema": json.dumps(V2)},
        "/config": {"compatibilityLevel": "FORWARD"},
    }  # fmt: skip

    def do_GET(self) -> None:
        found = self.paths.get(self.path.split("?")[0])
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        told = {"error_code": 40401, "message": "not found"} if found is None else found
        self.wfile.write(json.dumps(told).encode())

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    served = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def test_a_registry_tells_versions_and_level(server: str):
    known = open_registry(server, {})
    assert known is not None
    assert known.versions("orders-topic-value") == {1: V1, 2: V2}
    assert known.level("orders-topic-value") == "FORWARD"
    assert known.versions("unknown") == {}


def test_a_registry_that_is_away_is_no_empty_one():
    known = open_registry("http://127.0.0.1:9", {"max.retries": "0"})
    assert known is not None
    with pytest.raises(RegistryError, match="does not answer"):
        known.versions("orders-topic-value")


@pytest.fixture
def check(tmp_path: Path) -> Any:
    (tmp_path / "registry.json").write_text(json.dumps(REGISTRY))

    def run(schema: Any, *more: str) -> Any:
        (tmp_path / "new.avsc").write_text(json.dumps(schema))
        command = ["registry", "check", str(tmp_path / "new.avsc"), "--subject", "orders-topic-value"]  # fmt: skip
        return CliRunner().invoke(
            app, [*command, "--registry", str(tmp_path / "registry.json"), *more]
        )

    return run


def test_a_version_that_breaks_readers_is_refused_by_the_fields_name(check: Any):
    done = check(V3)
    assert isinstance(done.exception, IncompatibleError)
    assert "is not FULL with orders-topic-value: status" in str(done.exception)
    assert "RETURNED" in done.stdout


def test_a_version_that_may_follow_is_told_so(check: Any):
    done = check({**V2, "fields": [*V2["fields"], {"name": "channel", "type": "string", "default": ""}]})  # fmt: skip
    assert done.exit_code == 0
    assert "'channel' (string) is not in the contract" in done.stderr
    assert "may be the next version of orders-topic-value, of 2 versions (FULL)" in " ".join(done.stderr.split())  # fmt: skip


def test_a_version_that_the_topics_table_would_refuse_is_told_by_its_column(check: Any):
    money = record({"name": "units", "type": "long"}, name="Money")
    fields = [{**f, "type": money} if f["name"] == "totalAmount" else f for f in V2["fields"]]
    done = check({**V2, "fields": fields}, "--compatibility", "none")
    assert isinstance(done.exception, DriftError)
    assert "'total_amount' is float64 in the contract and json" in str(done.exception)


@pytest.mark.parametrize(
    ("more", "said"),
    [(["--compatibility", "BACKWARDS"], "did you mean 'BACKWARD'"), (["--registry", ""], "no schema registry")],
)  # fmt: skip
def test_settings_that_are_none_are_said(check: Any, more: list[str], said: str):
    done = check(V2, *more)
    assert isinstance(done.exception, SettingsError)
    assert said in str(done.exception)
