"""Bronze rows to typed change events of one table, whatever form the connector wrote them in."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b, md5

import polars as pl

from pipelines.change.images import DELETE, TRUNCATE, UPSERT, read_images
from pipelines.change.ndjson import parse
from pipelines.change.position import ORDER
from pipelines.change.schema import Writing, read_block, writings
from pipelines.change.special import is_special
from pipelines.change.values import decode
from pipelines.contract import Column, Contract, DataType
from pipelines.contract.model import ROW_ID
from quality_rules.split import SPECIAL

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
    "topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "headers", "transaction_id", *ORDER[:3],
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


#: Why a row cannot be read that came with a schema block which is none.
BAD_SCHEMA = "bad_schema"

#: How each column is written, and why images cannot be read at all.
_Way = tuple[dict[str, Writing], str | None]


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

    A value that its type cannot hold exactly becomes null with the issue `undecodable:<column>`, or
    `special:<column>` where the contract lets such a value be null.
    `blocks` are schema blocks by fingerprint. Other kinds of message are passed over.
    """
    verbs = pl.col("operation_type").replace_strict(_VERBS, default=None, return_dtype=pl.String)
    rows = rows.with_columns(verbs.alias("_verb"), pl.col("kafka_offset").alias(ORDER[3])).filter(
        pl.col("_verb").is_not_null()
    )
    changes = rows.clear()
    if contract.identity == "event":
        changes = rows.filter(pl.col("operation_type").is_in(_CHANGES))
        rows = rows.filter(~pl.col("operation_type").is_in([*_CHANGES, "TOMBSTONE"]))
    parts = [
        _decode_group(part, contract, *way) for part, way in _by_writing(rows, contract, blocks)
    ]
    frame = (
        pl.concat([part for part, _ in parts], how="diagonal") if parts else _no_events(contract)
    )
    if contract.identity != "key":
        frame = frame.with_columns(_row_ids(frame, contract))
    unchanged = tuple(sorted({name for _, names in parts for name in names}))
    frame = frame.with_columns(pl.col(f"_same:{name}").fill_null(value=False) for name in unchanged)
    lost = (pl.col("_verb") != TRUNCATE) & pl.any_horizontal(
        pl.col(name).is_null() for name in contract.key
    )
    unkeyed = frame.filter(lost).select(event_id="source_bronze_id")
    without_key = rows.join(unkeyed, on="event_id", how="semi") if len(unkeyed) else rows.clear()
    return Events(
        frame=frame.filter(~lost) if len(unkeyed) else frame,
        unchanged=unchanged,
        unkeyed=pl.concat(
            [
                without_key.with_columns(pl.lit("undecodable_key").alias("reason")),
                changes.with_columns(pl.lit("change_without_key").alias("reason")),
            ]
        ),
    )


#: Changes of rows that only an event identifies: there is no telling which.
_CHANGES = ("UPDATE", "DELETE")


def _row_ids(frame: pl.DataFrame, contract: Contract) -> pl.Expr:
    """What tells rows without a key apart: where the event stands, and for its likes there its image.

    Rows of one COPY share a position; with transaction metadata their order in it tells them apart,
    else their contents do. A row of a snapshot has its message alone.
    """
    event = pl.col("source_bronze_id")
    if contract.identity == "row":
        return event.alias(ROW_ID)
    order = pl.col("raw_payload").str.extract(r'"total_order"\s*:\s*(\d+)')
    image, _ = parse(frame["raw_payload"], {"after": pl.String()}, objects=r'"after"\s*:\s*\{')
    texts = image["after"].fill_null(frame["raw_payload"])
    digests = [text and blake2b(text.encode(), digest_size=8).hexdigest() for text in texts]
    place = [pl.col(name).cast(pl.String) for name in ORDER[:3]]
    mark = pl.coalesce(order, pl.lit(pl.Series(digests, dtype=pl.String)))
    streamed = pl.concat_str([*place, mark], separator="-")
    return pl.when(pl.col(ORDER[1]) > 0).then(streamed).otherwise(event).alias(ROW_ID)


def _by_writing(
    rows: pl.DataFrame, contract: Contract, blocks: Mapping[str, str]
) -> list[tuple[pl.DataFrame, _Way]]:
    """The rows with how they are written: together where their blocks differ, but not in what we read."""
    ways = {
        fingerprint: _way(contract, blocks, fingerprint)
        for fingerprint in rows["schema_fingerprint"].unique(maintain_order=True)
    }
    same = {fingerprint: repr(way) for fingerprint, way in ways.items()}
    by_text = {text: ways[fingerprint] for fingerprint, text in same.items()}
    if len(by_text) == 1:
        return [(rows, way) for way in by_text.values()]
    texts = rows["schema_fingerprint"].replace_strict(same, return_dtype=pl.String).alias("_way")
    groups = rows.with_columns(texts).partition_by(
        "_way", maintain_order=True, include_key=False, as_dict=True
    )
    return [(part, by_text[str(text)]) for (text,), part in groups.items()]


def _way(contract: Contract, blocks: Mapping[str, str], fingerprint: str | None) -> _Way:
    """How the rows of a block are written, and why their images cannot be read (None: they can)."""
    try:
        block = None if fingerprint is None else read_block(blocks[fingerprint])
    except ValueError:
        return writings(contract, None), BAD_SCHEMA
    return writings(contract, block), None


def _no_events(contract: Contract) -> pl.DataFrame:
    typed = {name: column.type.stored for name, column in contract.columns.items()}
    return pl.DataFrame(schema={**typed, **EVENT_COLUMNS})


def _decode_group(
    rows: pl.DataFrame, contract: Contract, ways: Mapping[str, Writing], unusable: str | None
) -> tuple[pl.DataFrame, list[str]]:
    if unusable is None:
        raw = read_images(rows, contract)
    else:  # a row without a form has no image: only the message's key is read
        bare = read_images(
            rows.with_columns(pl.lit(None, pl.String).alias("payload_form")), contract
        )
        raw = bare.with_columns(pl.lit(f"undecodable:*{unusable}").alias("_unreadable"))
    raw, unchanged = _mark_unchanged(_without_claims(_with_defaults(raw, ways), contract), contract)
    types = {name: column.type for name, column in contract.columns.items()}
    typed = raw.with_columns(
        decode(pl.col(name), kind, ways[name]).alias(f"_typed:{name}")
        for name, kind in types.items()
    )
    refused = [
        _refused(name, contract.columns[name], ways[name])
        for name in types
        if not _cannot_fail(types[name], ways[name])
    ]
    issues = pl.concat_list([pl.col("_unreadable"), pl.col("_unknown"), *refused]).list.drop_nulls()
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


def _with_defaults(raw: pl.DataFrame, ways: Mapping[str, Writing]) -> pl.DataFrame:
    """With the values of fields that the messages' schema does not know (Avro, "Schema Resolution")."""
    told = {name: way.default for name, way in ways.items() if way.default is not None}
    return raw.with_columns(
        pl.when(pl.col("_verb") == UPSERT).then(pl.lit(text)).alias(name)
        for name, text in told.items()
    )


def _refused(name: str, column: Column, way: Writing) -> pl.Expr:
    """The issue of a value that became null on its way."""
    issue = pl.lit(f"undecodable:{name}")
    if column.special == "null":
        special = is_special(pl.col(name), column.type, way)
        issue = pl.when(special).then(pl.lit(f"{SPECIAL}:{name}")).otherwise(issue)
    return pl.when(pl.col(name).is_not_null() & pl.col(f"_typed:{name}").is_null()).then(issue)


def _cannot_fail(kind: DataType, way: Writing) -> bool:
    return kind.kind in ("string", "json", "enum") and way.encoding == "text"


# ---- UNCHANGED VALUES ---- #


#: A large value that was put aside, of which the message has only where (S3 claim check).
_CLAIM = "__debezium:s3:ref:"


def _without_claims(raw: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Without the texts that only say where a value lies, and with an issue where there was one."""
    if not raw["raw_payload"].str.contains(_CLAIM, literal=True).any():
        return raw
    claims = {
        name: pl.col(name).str.starts_with(_CLAIM)
        for name, column in contract.columns.items()
        if raw.schema[name] == pl.String and column.type.item is None
    }
    told = pl.coalesce(
        "_unknown",
        *(pl.when(claim).then(pl.lit(f"undecodable:{name}")) for name, claim in claims.items()),
    )
    kept = [
        pl.when(~claim.fill_null(value=False)).then(pl.col(name)).alias(name)
        for name, claim in claims.items()
    ]
    return raw.with_columns(told.alias("_unknown"), *kept)


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
    for name in contract.columns:  # an image may have said it already
        if f"_same:{name}" in raw.columns:
            said = raw[f"_same:{name}"].fill_null(value=False)
            marks = marks.with_columns(
                (said | marks[name] if name in marks.columns else said).alias(name)
            )
    found = [name for name in marks.columns if marks[name].any()]
    blank = [pl.when(~marks[name]).then(pl.col(name)).alias(name) for name in found]
    flags = [marks[name].alias(f"_same:{name}") for name in found]
    return raw.with_columns(*blank, *flags), found


def _as_hstore(placeholder: str) -> list[str]:
    """An unchanged hstore, as JSON text or as a map; each writer has its own spaces."""
    told = json.dumps(placeholder)
    return [placeholder, f"{{{told}:{told}}}", f"{{{told}: {told}}}"]


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
        return raw.is_in(_as_hstore(placeholder))
    if kind.kind == "string":
        return raw.is_in([placeholder, *_as_hstore(placeholder)])
    return None if kind.kind in ("struct", "bool") else raw == placeholder
