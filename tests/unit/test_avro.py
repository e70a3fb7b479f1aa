"""Avro read in bulk says what fastavro says of each record, and a broken record spoils no other."""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.avro import Wire, open_registry
from pipelines.avro.binary import read
from pipelines.avro.connect import connect_schema
from pipelines.avro.wire import EIGHT_BYTE_ID, NO_REGISTRY, UNKNOWN_ID, UNREADABLE
from pipelines.errors import RegistryError, SettingsError

CAPTURES = Path(__file__).parents[1] / "data" / "captures"

NAMES = itertools.count()

# ---- AGAINST FASTAVRO ---- #

LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32),
    "double": st.floats(),
    "bytes": st.binary(max_size=40),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
}


@st.composite
def typed(draw: Any, depth: int = 0) -> tuple[Any, st.SearchStrategy[Any]]:
    """A schema and values of it."""
    kind = draw(
        st.sampled_from(
            [
                *LEAVES,
                *(["record", "array", "map", "optional", "enum", "fixed"] if depth < 3 else []),
            ]
        )
    )
    name = f"t{next(NAMES)}"
    if kind == "enum":
        return {"type": "enum", "name": name, "symbols": ["A", "B"]}, st.sampled_from(["A", "B"])
    if kind == "fixed":
        return {"type": "fixed", "name": name, "size": 3}, st.binary(min_size=3, max_size=3)
    if kind == "optional":
        schema, values = draw(typed(depth + 1))
        if isinstance(schema, list):
            return schema, values
        return draw(st.sampled_from([["null", schema], [schema, "null"]])), st.none() | values
    if kind == "array":
        schema, values = draw(typed(depth + 1))
        return {"type": "array", "items": schema}, st.lists(values, max_size=4)
    if kind == "map":
        schema, values = draw(typed(depth + 1))
        return {"type": "map", "values": schema}, st.dictionaries(
            LEAVES["string"], values, max_size=3
        )
    if kind == "record":
        members = draw(st.lists(typed(depth + 1), min_size=1, max_size=4))
        fields = [{"name": f"f{n}", "type": schema} for n, (schema, _) in enumerate(members)]
        values = st.fixed_dictionaries({f"f{n}": value for n, (_, value) in enumerate(members)})
        return {"type": "record", "name": name, "fields": fields}, values
    return kind, LEAVES[kind]


def written(schema: Any, values: list[Any]) -> list[bytes]:
    parsed = fastavro.parse_schema(schema)
    bodies = []
    for value in values:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, value)
        bodies.append(out.getvalue())
    return bodies


def same(ours: Any, theirs: Any) -> bool:
    """Whether JSON says what Python holds: bytes as base64, a float by Java's words where it is no number."""
    if isinstance(theirs, bytes):
        return ours == base64.b64encode(theirs).decode()
    if isinstance(theirs, dict):
        ours = json.loads(ours) if isinstance(ours, str) else ours
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, float):
        if isinstance(ours, str) and math.isfinite(theirs):
            return float(ours) == theirs or math.isclose(
                float(ours), theirs, rel_tol=1e-7, abs_tol=1e-44
            )
        if not math.isfinite(theirs):
            return ours == (
                "NaN" if math.isnan(theirs) else "Infinity" if theirs > 0 else "-Infinity"
            )
        return math.isclose(float(ours), theirs, rel_tol=1e-7, abs_tol=1e-44)
    return ours == theirs


@given(st.data())
def test_any_schema_reads_as_fastavro_reads_it(data: st.DataObject):
    members = data.draw(st.lists(typed(), min_size=1, max_size=4))
    schema = {
        "type": "record",
        "name": "top",
        "fields": [{"name": f"f{n}", "type": kind} for n, (kind, _) in enumerate(members)],
    }
    rows = data.draw(
        st.lists(
            st.fixed_dictionaries({f"f{n}": value for n, (_, value) in enumerate(members)}),
            min_size=1,
            max_size=6,
        )
    )
    values, sound = read(schema, written(schema, rows))
    assert sound.all()
    texts = values.struct.json_encode().to_list()
    assert all(same(json.loads(text), row) for text, row in zip(texts, rows, strict=True))
    assert connect_schema(schema)["type"] == "struct"


ITEM = {
    "type": "record",
    "name": "Item",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "name", "type": ["null", "string"]},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "price", "type": "double"},
    ],
}


@given(st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=3)), min_size=1, max_size=5))
def test_a_broken_record_spoils_no_other(cuts: list[tuple[int, bytes]]):
    rows = [
        {"id": n, "name": f"name {n} of some length", "tags": ["a"] * n, "price": n / 3}
        for n in range(6)
    ]
    bodies = written(ITEM, rows)
    broken = list(bodies)
    for number, (at, more) in enumerate(cuts):
        broken[number] = broken[number][:at] + more
    values, sound = read(ITEM, broken)
    for number, (body, good) in enumerate(zip(broken, sound, strict=True)):
        if body == bodies[number]:
            assert good
        if good:
            again = fastavro.schemaless_reader(io.BytesIO(body), fastavro.parse_schema(ITEM))
            text = values[number : number + 1].struct.json_encode().item()
            assert same(json.loads(text), again)


# ---- MESSAGES ---- #


@pytest.fixture(scope="module")
def registry_url() -> Iterator[str]:
    """A Confluent-compatible registry with the captured schemas; id 500 makes it fail."""
    schemas = json.loads((CAPTURES / "avro-schemas.json").read_text())["schemas"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            identity = self.path.split("?", maxsplit=1)[0].rsplit("/", 1)[-1]
            known = identity in schemas
            status = 200 if known else 500 if identity == "500" else 404
            body = (
                {"schema": json.dumps(schemas[identity])}
                if known
                else {"error_code": 40403, "message": "no"}
            )
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def framed(identity: int, body: bytes = b"") -> bytes:
    return b"\x00" + identity.to_bytes(4, "big") + body


def captured() -> list[bytes]:
    with gzip.open(CAPTURES / "avro.jsonl.gz", "rt", encoding="utf-8") as lines:
        values = [json.loads(line)["value"] for line in lines]
    return [
        base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode()
        for value in values
        if value
    ]


def test_a_registry_and_a_file_of_schemas_say_the_same(registry_url: str):
    values = captured()
    asked = Wire(open_registry(registry_url, {})).unwrap(values)
    filed = Wire(open_registry(str(CAPTURES / "avro-schemas.json"), {})).unwrap(values)
    assert len(asked.texts) == len(values)
    assert asked == filed


def test_why_a_message_cannot_be_read(registry_url: str):
    values = [
        b'{"a":1}',
        None,
        framed(0, b"\x00\x00\x00\x07x"),
        framed(4711),
        framed(4, b"\xff\xff"),
        b"\x00x",
    ]
    result = Wire(open_registry(registry_url, {})).unwrap(values)
    assert result.reasons == {2: EIGHT_BYTE_ID, 3: UNKNOWN_ID, 4: UNREADABLE}
    assert Wire().unwrap(values).reasons == {2: NO_REGISTRY, 3: NO_REGISTRY, 4: NO_REGISTRY}


def test_a_registry_that_does_not_answer_stops_the_run(registry_url: str):
    options = {"max.retries": "0"}
    with pytest.raises(RegistryError, match="answers 500"):
        Wire(open_registry(registry_url, options)).unwrap([framed(500)])
    with pytest.raises(RegistryError, match="does not answer"):
        Wire(open_registry("http://127.0.0.1:9", options)).unwrap([framed(4)])


def test_a_registry_that_is_none_is_refused(tmp_path: Path):
    with pytest.raises(SettingsError, match="cannot be read"):
        open_registry(str(tmp_path / "none.json"), {})
    with pytest.raises(SettingsError, match="options are wrong"):
        open_registry("http://127.0.0.1:9", {"basic.auth.user.infos": "a:b"})
