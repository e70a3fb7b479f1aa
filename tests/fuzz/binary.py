"""The avro capture's messages as values and back, by fastavro: independent of what is being tested."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import Any

import fastavro

from pipelines.avro import Wire, open_registry
from tests.spec.test_captures import CAPTURES

REGISTRY = CAPTURES / "avro-schemas.json"


@cache
def _schemas() -> dict[int, Any]:
    told = json.loads(REGISTRY.read_text())["schemas"]
    return {int(number): fastavro.parse_schema(schema) for number, schema in told.items()}


def wire() -> Wire:
    return Wire(open_registry(str(REGISTRY), {}))


def is_avro(data: bytes | None) -> bool:
    return (
        data is not None and data[:1] == b"\x00" and int.from_bytes(data[1:5], "big") in _schemas()
    )


def read(data: bytes) -> Any:
    """The value of a framed message; trailing bytes are passed over.

    Raises:
        Exception: of any class, when there is none.
    """
    schema = _schemas()[int.from_bytes(data[1:5], "big")]
    return fastavro.schemaless_reader(io.BytesIO(data[5:]), schema, None)


def write(frame: bytes, value: Any) -> bytes:
    """The value behind the frame of the message that it is made from."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _schemas()[int.from_bytes(frame[1:5], "big")], value)
    return frame[:5] + out.getvalue()
