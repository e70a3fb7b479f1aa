"""Avro schemas as the Kafka Connect schemas they were made from, in JsonConverter's spelling.

The Avro converters keep what Avro lacks under `connect.` names (Debezium, "Avro serialization"), so
a schema block comes back with the same semantic names that a JSON message carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPES = {
    "boolean": "boolean", "int": "int32", "long": "int64", "float": "float", "double": "double",
    "bytes": "bytes", "string": "string", "fixed": "bytes", "enum": "string",
}  # fmt: skip

#: Avro's own logical types, for schemas that no Connect converter wrote.
_LOGICAL = {
    "decimal": "org.apache.kafka.connect.data.Decimal",
    "date": "org.apache.kafka.connect.data.Date",
    "time-millis": "org.apache.kafka.connect.data.Time",
    "time-micros": "io.debezium.time.MicroTime",
    "timestamp-millis": "org.apache.kafka.connect.data.Timestamp",
    "timestamp-micros": "io.debezium.time.MicroTimestamp",
    "local-timestamp-millis": "io.debezium.time.Timestamp",
    "local-timestamp-micros": "io.debezium.time.MicroTimestamp",
    "uuid": "io.debezium.data.Uuid",
}


def connect_schema(schema: Any) -> dict[str, Any]:
    """The Connect schema of an Avro schema.

    Raises:
        ValueError: when a name is used that the schema does not define.
    """
    return _schema(schema, {}, "")


def _schema(schema: Any, named: dict[str, Any], space: str) -> dict[str, Any]:
    if isinstance(schema, list):
        return _union(schema, named, space)
    if isinstance(schema, str):
        if schema in _TYPES:
            return {"type": _TYPES[schema], "optional": False}
        full = schema if "." in schema or not space else f"{space}.{schema}"
        if full not in named and schema not in named:
            raise ValueError(f"Avro type '{schema}' is not known")
        return dict(named.get(full) or named[schema])
    kind = schema["type"]
    if not isinstance(kind, str):
        return {**_schema(kind, named, space), **_told(schema)}
    if kind == "record":
        return _record(schema, named, space)
    if kind == "array":
        return {
            "type": "array",
            "items": _schema(schema["items"], named, space),
            "optional": False,
            **_told(schema),
        }
    if kind == "map":
        values = _schema(schema["values"], named, space)
        keys = {"type": "string", "optional": False}
        return {"type": "map", "keys": keys, "values": values, "optional": False, **_told(schema)}
    plain = (
        _schema(kind, named, space)
        if kind not in _TYPES
        else {"type": _TYPES[kind], "optional": False}
    )
    plain |= _told(schema)
    if kind in ("enum", "fixed"):
        named[_full_name(schema, space)[0]] = plain
    return plain


def _record(schema: Mapping[str, Any], named: dict[str, Any], space: str) -> dict[str, Any]:
    full, space = _full_name(schema, space)
    result: dict[str, Any] = {"type": "struct", "fields": [], "optional": False, **_told(schema)}
    named[full] = result
    for field in schema["fields"]:
        result["fields"].append({**_schema(field["type"], named, space), "field": field["name"]})
    return result


def _full_name(schema: Mapping[str, Any], space: str) -> tuple[str, str]:
    name = str(schema["name"])
    space = str(schema.get("namespace", "")) or (name.rpartition(".")[0] or space)
    return (name if "." in name or not space else f"{space}.{name}"), space


def _union(branches: list[Any], named: dict[str, Any], space: str) -> dict[str, Any]:
    parts = [_schema(branch, named, space) for branch in branches if branch != "null"]
    optional = "null" in branches
    if len(parts) == 1:
        return {**parts[0], "optional": optional}
    return {"type": "string", "optional": optional, "name": "union"}


def _told(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Semantic name, version, parameters and default, as the converter kept them."""
    logical = schema.get("logicalType")
    name = schema.get("connect.name") or _LOGICAL.get(str(logical))
    parameters = dict(schema.get("connect.parameters") or {})
    if logical == "decimal":
        parameters.setdefault("scale", str(schema.get("scale", 0)))
    told = {
        "type": schema.get("connect.type"),
        "name": name,
        "version": schema.get("connect.version"),
        "parameters": parameters or None,
        "default": schema.get("connect.default"),
    }
    return {key: value for key, value in told.items() if value is not None}
