"""How a message writes each field: read from its schema block, or from what the contract declares.

The block is Kafka Connect's JSON schema (`type`, `name`, `parameters`); the semantic names are
Debezium's ("Data type mappings" of the connector pages). Where there is no block, JSON alone does
not tell `"BAE="` the number from `"BAE="` the text, nor 1772323199123 milliseconds from
microseconds: the source's modes and a column's `encoding` decide, never a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipelines.contract import Column, Contract, DataType, Source
from pipelines.contract.model import Encoding

#: `name` of a Connect schema -> how its values are written.
_SEMANTIC: Mapping[str, Encoding] = {
    "org.apache.kafka.connect.data.Decimal": "base64",
    "io.debezium.data.VariableScaleDecimal": "base64",
    "org.apache.kafka.connect.data.Date": "days",
    "org.apache.kafka.connect.data.Time": "millis",
    "org.apache.kafka.connect.data.Timestamp": "millis",
    "io.debezium.time.Date": "days",
    "io.debezium.time.Time": "millis",
    "io.debezium.time.MicroTime": "micros",
    "io.debezium.time.NanoTime": "nanos",
    "io.debezium.time.Timestamp": "millis",
    "io.debezium.time.MicroTimestamp": "micros",
    "io.debezium.time.NanoTimestamp": "nanos",
    "io.debezium.time.ZonedTimestamp": "iso",
    "io.debezium.time.ZonedTime": "iso",
    "io.debezium.time.IsoDate": "iso",
    "io.debezium.time.IsoTime": "iso",
    "io.debezium.time.IsoTimestamp": "iso",
    "io.debezium.time.MicroDuration": "micros",
    "io.debezium.time.NanoDuration": "nanos",
    "io.debezium.data.Bits": "bits",
}

#: Debezium's `time.precision.mode` -> how dates, times and timestamps without zone are written.
#: A Postgres timestamp(0..3) is in milliseconds under `adaptive`; such a column says `encoding: millis`.
_TIME_MODES: Mapping[str, tuple[Encoding, Encoding, Encoding]] = {
    "adaptive": ("days", "micros", "micros"),
    "adaptive_time_microseconds": ("days", "micros", "micros"),
    "microseconds": ("days", "micros", "micros"),
    "connect": ("days", "millis", "millis"),
    "nanoseconds": ("days", "nanos", "nanos"),
    "isostring": ("iso", "iso", "iso"),
}
_DECIMAL_MODES: Mapping[str, Encoding] = {"precise": "base64", "string": "text", "double": "number"}
_BINARY_MODES: Mapping[str, Encoding] = {
    "bytes": "base64", "base64": "base64", "base64-url-safe": "base64-url-safe", "hex": "hex",
}  # fmt: skip


#: Encodings that a schema block does not tell, so that the contract's word counts: an unsigned BIGINT
#: has the block of a signed one (MySQL connector, `bigint.unsigned.handling.mode`).
_ALWAYS = ("uint64", "utf8", "timeuuid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How a field's values stand in JSON.

    `scale` is a base64 decimal's (None: the contract's own), or the number of bits. `default` is the
    text of the value where the message's schema does not know the field.
    """

    encoding: Encoding
    scale: int | None = None
    item: Writing | None = None
    fields: Mapping[str, Writing] | None = None
    default: str | None = None


@dataclass(frozen=True, slots=True)
class MessageSchema:
    """The row fields of one schema block."""

    fields: Mapping[str, Mapping[str, Any]]


def read_block(block: str) -> MessageSchema | None:
    """The row fields that a value's schema block describes, of an envelope or of a flat row.

    None for the block `null`, with which a converter says that it has no schema.

    Raises:
        ValueError: when the text is not a Connect schema of a struct.
    """
    try:
        schema = json.loads(block)
    except RecursionError as error:
        raise ValueError("nested beyond any schema") from error
    if schema is None:
        return None
    if not _is_well_formed(schema) or not _is_struct(schema):
        raise ValueError("not a Connect schema of a struct")
    top = {str(field.get("field")): field for field in schema["fields"]}
    row = next((top[name] for name in ("after", "before") if _is_struct(top.get(name))), None)
    if row is None:
        return MessageSchema(top)
    return MessageSchema({str(field.get("field")): _in_cell(field) for field in row["fields"]})


#: What Cassandra's connector puts around each value.
_CELL = {"value", "deletion_ts", "set"}


def _in_cell(field: Mapping[str, Any]) -> Mapping[str, Any]:
    """The field of the value that a cell holds; any other field as it is."""
    inner = _members(field) if _is_struct(field) else {}
    if set(inner) != _CELL:
        return field
    return {**inner["value"], "field": field.get("field")}


def _members(field: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(member.get("field")): member for member in field["fields"]}


def by_path(
    fields: Mapping[str, Mapping[str, Any]], parents: Collection[str], above: str = ""
) -> dict[str, Mapping[str, Any]]:
    """The fields, and in place of each structure among `parents` those in it, by their path with dots."""
    found = dict[str, Mapping[str, Any]]()
    for name, field in fields.items():
        path = f"{above}{name}"
        deeper = path in parents and _is_struct(field)
        found |= by_path(_members(field), parents, f"{path}.") if deeper else {path: field}
    return found


def _is_well_formed(schema: object) -> bool:
    """Whether a schema and all within it are of the types that Connect gives them."""
    if not isinstance(schema, dict) or not isinstance(schema.get("type"), str):
        return False
    given = {name: value for name, value in schema.items() if value is not None}
    parameters, inner = given.get("parameters", {}), given.get("fields", [])
    if not (
        isinstance(given.get("name", ""), str)
        and isinstance(parameters, dict)
        and isinstance(inner, list)
    ):
        return False
    if re.fullmatch(r"-?[0-9]{1,9}", str(parameters.get("scale", 0))) is None:
        return False
    items = [given["items"]] if "items" in given else []
    return all(_is_well_formed(part) for part in [*inner, *items])


def _is_struct(field: Mapping[str, Any] | None) -> bool:
    return (
        field is not None
        and field.get("type") == "struct"
        and isinstance(field.get("fields"), list)
    )


def writings(contract: Contract, block: MessageSchema | None) -> dict[str, Writing]:
    """How each column of the contract is written, by the block where it knows the field."""
    source = contract.source
    assert source is not None  # noqa: S101 - only silver contracts are decoded
    result = dict[str, Writing]()
    fields = {} if block is None else by_path(block.fields, contract.parents)
    for name, column in contract.columns.items():
        names = (column.source or name, *column.was)
        described = next((fields[each] for each in names if each in fields), None)
        if described is None:
            result[name] = _declared(column, source)
            if block is not None and column.default is not None:
                result[name] = replace(result[name], default=column.default)
        elif column.encoding in _ALWAYS or (column.encoding and is_bare_number(described)):
            result[name] = _declared(column, source)
        else:
            result[name] = _described(column.type, described, source)
    return result


def is_bare_number(field: Mapping[str, Any]) -> bool:
    """Whether a field is a whole number of which the schema does not say what it counts."""
    return str(field.get("type")).startswith("int") and not field.get("name")


def _declared(column: Column, source: Source) -> Writing:
    writing = _by_modes(column.type, source)
    return writing if column.encoding is None else Writing(encoding=column.encoding)


def _by_modes(kind: DataType, source: Source) -> Writing:
    date, time, timestamp = _TIME_MODES[source.time]
    if kind.item is not None:
        return Writing(encoding="text", item=_by_modes(kind.item, source))
    if kind.kind == "struct":
        return Writing(
            encoding="text", fields={n: _by_modes(t, source) for n, t in kind.fields.items()}
        )
    modes: Mapping[str, Encoding] = {
        "decimal": _DECIMAL_MODES[source.decimal],
        "date": date,
        "time": time,
        "duration": "micros" if time in ("iso", "days") else time,
        "timestamp_ntz": timestamp,
        "timestamp": "iso",
        "binary": _BINARY_MODES[source.binary],
    }
    return Writing(encoding=modes.get(kind.kind, "text"))


def _described(kind: DataType, field: Mapping[str, Any], source: Source) -> Writing:
    if kind.item is not None and isinstance(field.get("items"), dict):
        return Writing(encoding="text", item=_described(kind.item, field["items"], source))
    if kind.kind == "struct" and _is_struct(field):
        inner = {str(member.get("field")): member for member in field["fields"]}
        parts = {n: _described(t, inner.get(n, {}), source) for n, t in kind.fields.items()}
        return Writing(encoding="text", fields=parts)
    name = str(field.get("name") or "")
    if name in _SEMANTIC:
        return Writing(encoding=_SEMANTIC[name], scale=_scale(field))
    if field.get("type") == "bytes":
        return Writing(encoding="utf8" if kind.kind == "string" else "base64")
    if kind.kind == "binary":
        return Writing(encoding=_BINARY_MODES[source.binary])
    if field.get("type") in ("double", "float", "float64", "float32"):
        return Writing(encoding="number")
    return Writing(encoding="text")


def _scale(field: Mapping[str, Any]) -> int | None:
    """The parameter that counts digits or bits; None where there is none, or it is no number."""
    parameters = field.get("parameters")
    told = (
        parameters.get("scale", parameters.get("length")) if isinstance(parameters, dict) else None
    )
    try:
        return None if told is None else int(told)
    except (TypeError, ValueError):
        return None
