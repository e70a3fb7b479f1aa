"""Bronze rows to typed change events of one table, whatever form the connector wrote them in."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import md5

import polars as pl

from pipelines.change.envelope import ENVELOPE, FLAT
from pipelines.change.ndjson import parse
from pipelines.change.position import ORDER
from pipelines.change.schema import MessageSchema, Writing, read_block, writings
from pipelines.change.values import decode, raw_type
from pipelines.contract import Contract, DataType

UPSERT, DELETE, TRUNCATE = "upsert", "delete", "truncate"

_VERBS = {
    "INSERT": UPSERT,
    "UPDATE": UPSERT,
    "SNAPSHOT": UPSERT,
    "UPSERT": UPSERT,
    "DELETE": DELETE,
    "TOMBSTONE": DELETE,
    "TRUNCATE": TRUNCATE,
}

#: The bronze columns that an event is made from.
BRONZE_COLUMNS = (
    "event_id", "event_timestamp", "operation_type", "payload_form", "raw_payload", "key", "schema_fingerprint",
    "topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "headers", *ORDER[:3],
)  # fmt: skip

#: What stands beside the contract's columns in an event.
EVENT_COLUMNS: Mapping[str, pl.DataType] = {
    "_verb": pl.String(),
    "_issues": pl.List(pl.String()),
    "source_bronze_id": pl.String(),
    "source_timestamp": pl.Datetime("us", "UTC"),
    **{name: pl.Int64() for name in ORDER},
    "raw_payload": pl.String(),
    "_key": pl.String(),
    "_moved_from": pl.String(),
}

#: The header that names the key a row had before (Postgres connector, "Primary key updates").
_OLD_KEY = "__debezium.oldkey"


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """The events of one table in any order.

    `frame` holds the contract's columns, `EVENT_COLUMNS` and, for each column of `unchanged`, a
    Boolean `_same:<column>`: true where the source said only that the value is as it was.
    `unkeyed` are bronze rows whose key cannot be read, with `reason`: no row can be told from them.
    """

    frame: pl.DataFrame
    unchanged: tuple[str, ...]
    unkeyed: pl.DataFrame


def decode_events(rows: pl.DataFrame, contract: Contract, blocks: Mapping[str, str]) -> Events:
    """The row events among `rows` (of `BRONZE_COLUMNS`), typed by the contract.

    A value that its type cannot hold exactly becomes null with the issue `undecodable:<column>`.
    `blocks` are schema blocks by fingerprint. Other kinds of message are passed over.
    """
    verbs = pl.col("operation_type").replace_strict(_VERBS, default=None, return_dtype=pl.String)
    rows = rows.with_columns(verbs.alias("_verb"), pl.col("kafka_offset").alias(ORDER[3])).filter(
        pl.col("_verb").is_not_null()
    )
    parts = [
        _decode_group(part, contract, _block(blocks, fingerprint[0]))
        for fingerprint, part in rows.group_by("schema_fingerprint", maintain_order=True)
    ]
    frame = (
        pl.concat([part for part, _ in parts], how="diagonal") if parts else _no_events(contract)
    )
    unchanged = tuple(sorted({name for _, names in parts for name in names}))
    frame = frame.with_columns(pl.col(f"_same:{name}").fill_null(value=False) for name in unchanged)
    lost = (pl.col("_verb") != TRUNCATE) & pl.any_horizontal(
        pl.col(name).is_null() for name in contract.key
    )
    unkeyed = frame.filter(lost).select(source_bronze_id="source_bronze_id")
    reason = pl.lit("undecodable_key").alias("reason")
    return Events(
        frame=frame.filter(~lost),
        unchanged=unchanged,
        unkeyed=rows.join(
            unkeyed, left_on="event_id", right_on="source_bronze_id", how="semi"
        ).with_columns(reason),
    )


def _block(blocks: Mapping[str, str], fingerprint: object) -> MessageSchema | None:
    return None if fingerprint is None else read_block(blocks[str(fingerprint)])


def _no_events(contract: Contract) -> pl.DataFrame:
    typed = {name: column.type.stored for name, column in contract.columns.items()}
    return pl.DataFrame(schema={**typed, **EVENT_COLUMNS})


def _decode_group(
    rows: pl.DataFrame, contract: Contract, block: MessageSchema | None
) -> tuple[pl.DataFrame, list[str]]:
    ways = writings(contract, block)
    raw = _read_images(rows, contract)
    raw, unchanged = _mark_unchanged(raw, contract)
    types = {name: column.type for name, column in contract.columns.items()}
    typed = raw.with_columns(
        decode(pl.col(name), kind, ways[name]).alias(f"_typed:{name}")
        for name, kind in types.items()
    )
    refused = [
        pl.when(pl.col(name).is_not_null() & pl.col(f"_typed:{name}").is_null()).then(
            pl.lit(f"undecodable:{name}")
        )
        for name in types
        if not _cannot_fail(types[name], ways[name])
    ]
    issues = pl.concat_list([pl.col("_unreadable"), *refused]).list.drop_nulls()
    return typed.select(
        *(pl.col(f"_typed:{name}").alias(name) for name in types),
        *(pl.col(f"_same:{name}") for name in unchanged),
        issues.alias("_issues"),
        "_verb",
        pl.col("event_id").alias("source_bronze_id"),
        pl.col("event_timestamp").alias("source_timestamp"),
        *ORDER,
        "raw_payload",
        pl.col("key").alias("_key"),
        "_moved_from",
    ), unchanged


def _cannot_fail(kind: DataType, way: Writing) -> bool:
    return kind.kind in ("string", "json", "enum") and way.encoding == "text"


# ---- IMAGES ---- #


def _read_images(rows: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Each row's image as text columns named as in the contract, and `_unreadable`: why there is none."""
    fields = {contract.field_of(name): name for name in contract.columns}
    raw = {field: raw_type(contract.columns[name].type) for field, name in fields.items()}
    key = {contract.field_of(name): raw[contract.field_of(name)] for name in contract.key}
    verb, form = rows["_verb"], rows["payload_form"].fill_null("")
    enveloped = (form == ENVELOPE) & (verb != TRUNCATE)
    flat = form == FLAT
    rest = ~enveloped & ~flat
    parts = [
        _enveloped_images(rows.filter(enveloped), raw, key),
        _flat_images(rows.filter(flat), raw, key),
        _bare(rows.filter(rest), raw),
    ]
    merged = pl.concat([part for part in parts if len(part)] or parts[:1])
    return (
        _keys_from_message_key(merged, key).with_columns(old_keys(merged["headers"])).rename(fields)
    )


def _enveloped_images(
    rows: pl.DataFrame, raw: Mapping[str, pl.DataType], key: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """`after` for an upsert; of `before` the key alone, for the rest may be unknown (replica identity)."""
    images, reasons = parse(
        rows["raw_payload"], {"after": pl.Struct(raw), "before": pl.Struct(key)}
    )
    upsert = rows["_verb"] == UPSERT
    after, before = pl.col("after").struct, pl.col("before").struct
    columns = [
        pl.when(upsert)
        .then(after.field(name))
        .otherwise(before.field(name) if name in key else None)
        .alias(name)
        for name in raw
    ]
    missing = pl.when(upsert & pl.col("after").is_null()).then(pl.lit("no_after"))
    why = pl.coalesce(pl.lit(reasons), missing)
    return pl.concat([rows, images.select(*columns, _unreadable(why))], how="horizontal")


def _flat_images(
    rows: pl.DataFrame, raw: Mapping[str, pl.DataType], key: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    images, reasons = parse(rows["raw_payload"], raw)
    upsert = rows["_verb"] == UPSERT
    columns = [
        pl.col(name) if name in key else pl.when(upsert).then(pl.col(name)).alias(name)
        for name in raw
    ]
    return pl.concat(
        [rows, images.select(*columns, _unreadable(pl.lit(reasons)))], how="horizontal"
    )


def _bare(rows: pl.DataFrame, raw: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Tombstones and truncates: no image."""
    return rows.with_columns(
        *(pl.lit(None, dtype).alias(name) for name, dtype in raw.items()),
        _unreadable(pl.lit(None, pl.String)),
    )


def _unreadable(reason: pl.Expr) -> pl.Expr:
    return (
        pl.when(reason.is_not_null())
        .then(pl.format("undecodable:*{}", reason))
        .alias("_unreadable")
    )


def _keys_from_message_key(rows: pl.DataFrame, key: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The key columns that the image lacks, from the message's key."""
    lacking = pl.any_horizontal(pl.col(name).is_null() for name in key) & (
        pl.col("_verb") != TRUNCATE
    )
    at = rows.select(lacking.arg_true()).to_series()
    if not len(at):
        return rows
    found, _ = parse(rows["key"].gather(at), key)
    filled = found.with_columns(at.alias("_at"))
    joined = rows.with_row_index("_at").join(filled, on="_at", how="left", suffix=":key")
    return joined.with_columns(pl.coalesce(name, f"{name}:key") for name in key).select(
        rows.columns
    )


def old_keys(headers: pl.Series) -> pl.Series:
    """The text of the key that each row had before a key change; null for all the others."""
    found = headers.str.contains(_OLD_KEY, literal=True).fill_null(value=False)
    texts = [dict(json.loads(text)).get(_OLD_KEY) for text in headers.filter(found)]
    empty = pl.repeat(None, len(headers), dtype=pl.String, eager=True).alias("_moved_from")
    return empty.scatter(found.arg_true(), pl.Series(texts, dtype=pl.String)) if texts else empty


# ---- UNCHANGED VALUES ---- #


def _mark_unchanged(raw: pl.DataFrame, contract: Contract) -> tuple[pl.DataFrame, list[str]]:
    """Nulls in place of placeholders, with `_same:<column>` where there were some."""
    source = contract.source
    assert source is not None  # noqa: S101 - only silver contracts are decoded
    named = {
        name: _is_placeholder(pl.col(name), column.type, source.placeholder)
        for name, column in contract.columns.items()
    }
    marks = raw.select(
        pl.coalesce(mark, pl.lit(value=False)).alias(name)
        for name, mark in named.items()
        if mark is not None
    )
    found = [name for name in marks.columns if marks[name].any()]
    blank = [pl.when(~marks[name]).then(pl.col(name)).alias(name) for name in found]
    flags = [marks[name].alias(f"_same:{name}") for name in found]
    return raw.with_columns(*blank, *flags), found


def _is_placeholder(raw: pl.Expr, kind: DataType, placeholder: str) -> pl.Expr | None:
    """Debezium's shapes of an unchanged value by type (Postgres connector, "Toasted values")."""
    data = placeholder.encode()
    encoded = base64.b64encode(data).decode()
    if kind.item is not None:
        if kind.item.item is not None or kind.item.kind == "struct":
            return None
        name_based = str(uuid.UUID(bytes=md5(data, usedforsecurity=False).digest(), version=3))
        shapes: Sequence[str] = [
            placeholder,
            encoded,
            name_based,
            ",".join(str(byte) for byte in data),
        ]
        return raw.list.join(",", ignore_nulls=True).is_in(shapes)
    if kind.kind == "binary":
        return raw.is_in(
            [placeholder, encoded, encoded.replace("+", "-").replace("/", "_"), data.hex()]
        )
    if kind.kind == "json":
        return raw.is_in([placeholder, f'{{"{placeholder}": "{placeholder}"}}'])
    return None if kind.kind in ("struct", "bool") else raw == placeholder
