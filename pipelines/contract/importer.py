"""Contracts written for you: from the source database, or from what a topic's messages say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg2
import yaml

from pipelines.avro import open_wire
from pipelines.capture.batch import BatchLimits
from pipelines.capture.kafka import KafkaSource
from pipelines.capture.recorded import RecordedSource
from pipelines.capture.records import Origin, Partition
from pipelines.change.drift import type_of
from pipelines.errors import ContractError
from pipelines.settings import Settings

#: Messages looked at, so that a column which is null in the first still gets a type.
_SAMPLE = 1000

_POSTGRES: Mapping[str, str] = {
    "int2": "int16", "int4": "int32", "int8": "int64", "oid": "int64", "float4": "float32", "float8": "float64", "bool": "bool",
    "date": "date", "time": "time", "timetz": "time", "timestamp": "timestamp_ntz", "timestamptz": "timestamp",
    "uuid": "uuid", "json": "json", "jsonb": "json", "bytea": "binary", "hstore": "json", "money": "decimal(19,2)",
}  # fmt: skip

Columns = dict[str, dict[str, Any]]


def skeleton(table: str, topic: str) -> str:
    """A contract to be filled in."""
    return _text(
        table, topic, ["id"], {"id": {"type": "int64", "required": True, "description": "TODO"}}
    )


def place(assets: Path, table: str, text: str) -> Path:
    """Writes a contract where `load_catalog` finds it.

    Raises:
        ContractError: when the name is not layer.domain.name, or the file is there already.
    """
    if re.fullmatch(r"silver\.[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*", table) is None:
        raise ContractError(
            f"'{table}' is not a silver table", hint="write silver.<domain>.<name>, in lower case"
        )
    layer, domain, name = table.split(".")
    path = assets / domain / layer / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ContractError(f"{path}: is there already", hint="move it away, or edit it") from error
    return path


def from_database(table: str, topic: str, url: str, source_table: str) -> str:
    """A contract with the columns, types and key of a Postgres table.

    Raises:
        ContractError: when the database cannot be reached or has no such table.
    """
    schema, _, name = source_table.rpartition(".")
    try:
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(_COLUMNS_SQL, {"schema": schema or "public", "table": name})
            found = cursor.fetchall()
    except psycopg2.Error as error:
        raise ContractError(
            f"the source database cannot be read: {str(error).strip()}",
            hint="check the URL; the password comes from PGPASSWORD",
        ) from error
    if not found:
        raise ContractError(
            f"the source has no table '{source_table}', or it may not be read",
            hint="name it with --source-table schema.table",
        )
    columns = {
        row[0]: _column(row[0], _postgres_type(*row[1:5]), required=not row[5]) for row in found
    }
    millis = [
        row[0] for row in found if row[1] == "timestamp" and row[4] is not None and row[4] <= 3
    ]
    for column in millis:
        columns[column]["encoding"] = "millis"
    key = [row[0] for row in sorted(found, key=lambda row: row[6] or 0) if row[6]]
    return _text(table, topic, key, columns)


#: name, type, precision, scale, fractional digits of seconds, nullable, place in the primary key.
_COLUMNS_SQL = """
SELECT c.column_name, c.udt_name, c.numeric_precision, c.numeric_scale, c.datetime_precision, c.is_nullable = 'YES',
       (SELECT k.ordinal_position FROM information_schema.table_constraints t
          JOIN information_schema.key_column_usage k USING (constraint_schema, constraint_name, table_name)
         WHERE t.constraint_type = 'PRIMARY KEY' AND t.table_schema = c.table_schema
           AND t.table_name = c.table_name AND k.column_name = c.column_name)
  FROM information_schema.columns c
 WHERE c.table_schema = %(schema)s AND c.table_name = %(table)s
 ORDER BY c.ordinal_position
"""


def _postgres_type(udt: str, precision: int | None, scale: int | None, _seconds: int | None) -> str:
    if udt.startswith("_"):
        return f"list<{_postgres_type(udt[1:], precision, scale, None)}>"
    if udt == "numeric":
        return f"decimal({precision},{scale})" if precision and precision <= 38 else "string"
    return _POSTGRES.get(udt, "string")


def from_stream(table: str, topic: str, settings: Settings, path: Path | None) -> str:
    """A contract with the columns that a topic's first messages show.

    Raises:
        ContractError: when the topic has no row to read them from.
    """
    limits = BatchLimits(max_records=_SAMPLE, max_seconds=5)
    source = (
        RecordedSource(path, limits=limits, wire=open_wire(settings))
        if path
        else KafkaSource(settings, [topic], _from_the_start, limits=limits)
    )
    with source:
        for batch in source:
            rows = batch.by_topic().get(topic)
            values = (
                [] if rows is None else [_payload(value) for value in rows["value"].drop_nulls()]
            )
            images = [image for value in values if (image := _image(value))]
            if rows is None or not images:
                continue
            key = next((list(_payload(k)) for k in rows["key"].drop_nulls() if _payload(k)), [])
            blocks = [
                json.loads(batch.schemas[mark])
                for mark in rows["value_schema"].drop_nulls().unique()
            ]
            columns = _from_block(blocks[-1]) if blocks else _from_images(images)
            return _text(table, topic, key, columns)
    raise ContractError(
        f"topic '{topic}' has no row to read columns from",
        hint="import from the database with --source",
    )


def _from_the_start(
    _origin: Origin, _partitions: Sequence[Partition]
) -> dict[Partition, int | None]:
    return {}


def _payload(value: bytes) -> dict[str, Any]:
    try:
        found: object = json.loads(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType] - any JSON object


def _image(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if isinstance(value.get("source"), dict):
        return value.get("after")
    return {name: item for name, item in value.items() if not name.startswith("__")}


def _from_block(block: Mapping[str, Any]) -> Columns:
    top = {field["field"]: field for field in block["fields"]}
    fields: Sequence[Mapping[str, Any]] = (
        top["after"]["fields"] if "after" in top and "source" in top else block["fields"]
    )
    return {
        field["field"]: _column(
            field["field"], type_of(field), required=not field.get("optional", True)
        )
        for field in fields
        if not field["field"].startswith("__")
    }


def _from_images(images: Sequence[Mapping[str, Any]]) -> Columns:
    """What JSON alone tells; a text may be a number, a time or bytes in disguise, so it is marked."""
    columns: Columns = {}
    for name in dict.fromkeys(name for image in images for name in image):
        seen = [image[name] for image in images if image.get(name) is not None]
        kind = _json_type(seen)
        columns[name] = _column(name, kind, required=False)
        if kind in ("string", "int64"):
            columns[name]["description"] = (
                f"TODO: JSON shows {kind}; is it a decimal, a date or a time?"
            )
    return columns


def _json_type(seen: Sequence[object]) -> str:
    for kind, name in ((bool, "bool"), (int, "int64"), (float | int, "float64"), (str, "string")):
        if seen and all(
            isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
            for value in seen
        ):
            return name
    return "string" if not seen else "json"


def _column(name: str, kind: str, *, required: bool) -> dict[str, Any]:
    return {"type": kind, **({"required": True} if required else {}), "description": "TODO"}


def _text(table: str, topic: str, key: Sequence[str], columns: Columns) -> str:
    renamed = {
        plain_name(name): ({**column, "source": name} if plain_name(name) != name else column)
        for name, column in columns.items()
    }
    document = {
        "table": table,
        "description": "TODO: one row per ...",
        "owner": "TODO",
        "source": {"connector": "postgres", "topic": topic},
        **({"key": [plain_name(name) for name in key]} if key else {"identity": "row"}),
        "columns": renamed,
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def plain_name(name: str) -> str:
    """The name without the characters that a Delta column cannot have."""
    return re.sub(r"[ ,;{}()\n\t=]+", "_", name).lstrip("_") or "column"
