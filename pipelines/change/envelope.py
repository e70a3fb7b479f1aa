"""What an event says of itself: its form, operation, source, time, transaction and raw position.

Three forms are read. *Envelope*: Debezium's `{before, after, source, op, ...}` (Postgres connector,
"Change event values"). *Flat*: the row alone, as ExtractNewRecordState leaves it, with metadata in
fields of a prefix where the transform was asked for them ("Adding metadata to the event"). *Cloud
event*: the envelope's images under `data` and the rest in `iodebezium` attributes ("Emitting change
event records in CloudEvents format").

What each connector calls a position becomes two numbers, the transaction's and the event's, and the
log in which they rise; see `places` and `position`.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from pipelines.change.calendar import millis_as_micros, on_calendar
from pipelines.change.ndjson import parse
from pipelines.change.places import FIELDS, place, place_of_flat
from pipelines.change.texts import fill

ENVELOPE = "envelope"
FLAT = "flat"
CLOUD = "cloudevent"

_TEXT = pl.String()
_LONG = pl.Int64()

#: What bronze shows of an envelope's `source`.
_SOURCE: Mapping[str, pl.DataType] = {
    "name": _TEXT,
    "connector": _TEXT,
    "schema": _TEXT,
    "table": _TEXT,
    "db": _TEXT,
    "collection": _TEXT,
    "keyspace": _TEXT,
    "snapshot": _TEXT,
    "txId": _TEXT,
    "ts_us": _LONG,
    "server_id": _TEXT,
    **FIELDS,
}

#: The fields of an envelope that bronze shows as columns. Everything else stays in the payload.
_ENVELOPE: Mapping[str, pl.DataType] = {
    "op": _TEXT,
    "ts_ms": _LONG,
    "source": pl.Struct(_SOURCE),
    "transaction": pl.Struct({"id": _TEXT}),
}

#: Those of them that a Postgres source has: a parser looks in vain for each of the others in each text.
_POSTGRES = "postgresql"
_OF_POSTGRES = ("name", "connector", "schema", "table", "db", "snapshot", "txId", "ts_us", "ts_ms", "sequence", "lsn")  # fmt: skip

_FLAT_NAMES = (
    "op", "deleted", "table", "schema", "lsn", "source_ts_ms", "source_ts_us", "ts_ms", "source_sequence", "source_snapshot",
    "source_lsn", "source_schema", "source_table", "source_name", "name", "transaction_id", "source_txId", "source_file", "source_pos", "source_row", "db", "source_db",
    "commit_lsn", "change_lsn", "event_serial_no", "scn", "commit_scn",
    "source_commit_lsn", "source_change_lsn", "source_event_serial_no", "source_scn", "source_commit_scn",
)  # fmt: skip

#: Attributes of a cloud event beside `data`.
_CLOUD = tuple(
    f"iodebezium{name}"
    for name in (
        "op", "connector", "name", "tsms", "snapshot", "db", "schema", "table", "collection", "sequence", "txid", "lsn",
        "file", "pos", "row", "serverid", "ord", "txId", "commitlsn", "changelsn", "eventserialno", "scn", "commitscn",
    )
)  # fmt: skip

_OPERATIONS = {
    "c": "INSERT",
    "i": "INSERT",
    "u": "UPDATE",
    "d": "DELETE",
    "r": "SNAPSHOT",
    "t": "TRUNCATE",
    "m": "MESSAGE",
}

#: What `describe` adds to each record.
DESCRIPTION: Mapping[str, pl.DataType] = {
    "payload_form": _TEXT,
    "operation_type": _TEXT,
    "source_system": _TEXT,
    "table_name": _TEXT,
    "transaction_id": _TEXT,
    "snapshot": _TEXT,
    "commit_position": _LONG,
    "event_position": _LONG,
    "log_name": _TEXT,
    "source_time_us": _LONG,
    "commit_time_us": _LONG,
    "reason": _TEXT,
}


def describe(payloads: pl.Series, header_op: pl.Series, *, prefix: str = "__") -> pl.DataFrame:
    """One row of `DESCRIPTION` a payload; `reason` says why a payload cannot be an event.

    A null payload is a tombstone. `header_op` is the `__op` header where the transform was asked to
    put the operation there, else null. `commit_position` and `event_position` are null where the
    event names none, `log_name` where the connector has one log only. `commit_time_us` is the
    source's own clock; `source_time_us` falls back on the connector's.
    """
    looks_enveloped = payloads.str.starts_with('{"before":').fill_null(value=False)
    parts = [
        _describe_envelopes(payloads, looks_enveloped),
        _describe_rest(payloads, header_op, ~looks_enveloped, prefix),
    ]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pl.DataFrame(schema=DESCRIPTION)
    return pl.concat(parts).sort("_at").drop("_at")


def _positions(mask: pl.Series) -> pl.Series:
    return mask.arg_true().rename("_at")


def _describe_envelopes(payloads: pl.Series, mask: pl.Series) -> pl.DataFrame:
    frame, reasons = _parse_envelopes(payloads.filter(mask))
    return _shape(_read_envelope(frame), reasons, _positions(mask))


def _parse_envelopes(texts: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    """The fields of `_ENVELOPE`: those of Postgres alone where all texts turn out to be Postgres'."""
    if not len(texts) or f'"{_POSTGRES}"' not in texts[0]:
        return parse(texts, _ENVELOPE)
    fewer = pl.Struct({name: _SOURCE[name] for name in _OF_POSTGRES})
    frame, reasons = parse(texts, {**_ENVELOPE, "source": fewer})
    source = pl.col("source").struct
    others = source.field("connector").ne_missing(_POSTGRES) & pl.lit(reasons.is_null())
    if frame.select(others.any()).item():
        return parse(texts, _ENVELOPE)
    absent = [
        pl.lit(None, kind).alias(name) for name, kind in _SOURCE.items() if name not in _OF_POSTGRES
    ]
    return frame.with_columns(source.with_fields(absent)), reasons


def _describe_rest(
    payloads: pl.Series, header_op: pl.Series, mask: pl.Series, prefix: str
) -> pl.DataFrame:
    """Flat rows, tombstones, and the odd envelope whose fields stand in another order."""
    names = {name: f"{prefix}{name}" for name in _FLAT_NAMES}
    schema = dict.fromkeys(
        ["op", "source", "specversion", "datacontenttype", *_CLOUD, *names.values()], _TEXT
    )
    given = payloads.filter(mask)
    frame, reasons = parse(given, schema)
    enveloped = frame["op"].is_not_null() & frame["source"].str.starts_with("{")
    cloud = frame["specversion"].is_not_null() & frame["iodebeziumop"].is_not_null()
    enveloped, cloud = enveloped.fill_null(value=False), cloud.fill_null(value=False)
    flat = ~enveloped & ~cloud
    at = _positions(mask)
    ops = header_op.filter(mask)
    parts = [
        _shape(
            _read_flat(frame.filter(flat), names, ops.filter(flat), given.filter(flat)),
            reasons.filter(flat),
            at.filter(flat),
        )
    ]
    if enveloped.any():
        again, again_reasons = parse(given.filter(enveloped), _ENVELOPE)
        parts.append(_shape(_read_envelope(again), again_reasons, at.filter(enveloped)))
    if cloud.any():
        read = _read_envelope(_as_envelope(frame.filter(cloud)), CLOUD)
        parts.append(_shape(read, reasons.filter(cloud), at.filter(cloud)))
    return pl.concat(parts)


def _as_envelope(cloud: pl.DataFrame) -> pl.DataFrame:
    """The attributes of cloud events as the fields of an envelope; Avro inside JSON is not read."""
    source = _ENVELOPE["source"]
    assert isinstance(source, pl.Struct)  # noqa: S101 - as it is written above
    fields = [
        pl.col(name).cast(field.dtype, strict=False).alias(field.name)
        if (name := f"iodebezium{field.name.replace('_', '').lower()}") in cloud.columns
        else pl.lit(None, field.dtype).alias(field.name)
        for field in source.fields
    ]
    as_json = pl.col("datacontenttype").fill_null("application/json").str.contains("json")
    return cloud.with_columns(
        iodebeziumtxid=pl.coalesce("iodebeziumtxid", "iodebeziumtxId")
    ).select(
        pl.when(as_json).then("iodebeziumop").otherwise(pl.lit("avro_in_cloudevent")).alias("op"),
        pl.lit(None, _LONG).alias("ts_ms"),
        pl.struct(fields).alias("source"),
        pl.struct(pl.lit(None, _TEXT).alias("id")).alias("transaction"),
    )


def _shape(frame: pl.DataFrame, reasons: pl.Series, at: pl.Series) -> pl.DataFrame:
    """The columns of `DESCRIPTION`, their types, and where the row stood."""
    reason = pl.coalesce(pl.lit(reasons), pl.col("reason"))
    return (
        frame.with_columns(reason.alias("reason"))
        .select(pl.col(name).cast(dtype) for name, dtype in DESCRIPTION.items())
        .with_columns(at)
    )


def _read_envelope(frame: pl.DataFrame, form: str = ENVELOPE) -> pl.DataFrame:
    source = pl.col("source").struct
    connectors = frame["source"].struct.field("connector")
    commit, event = place(connectors, {name: source.field(name) for name in FIELDS})
    committed = pl.coalesce(
        on_calendar(source.field("ts_us")),
        on_calendar(source.field("ts_micro")),
        millis_as_micros(source.field("ts_ms")),
    )
    range_tombstone = (source.field("connector") == "cassandra") & (pl.col("op") == "r")
    schema = pl.coalesce(source.field("schema"), source.field("keyspace"), source.field("db"))
    return frame.select(
        pl.lit(form).alias("payload_form"),
        _operation(pl.col("op")).alias("operation_type"),
        source.field("name").alias("source_system"),
        _dotted(schema, pl.coalesce(source.field("table"), source.field("collection"))).alias(
            "table_name"
        ),
        _transaction(pl.col("transaction").struct.field("id"), source.field("txId")).alias(
            "transaction_id"
        ),
        source.field("snapshot").alias("snapshot"),
        commit.alias("commit_position"),
        event.alias("event_position"),
        _log(source.field("file"), source.field("server_id")).alias("log_name"),
        pl.coalesce(committed, millis_as_micros(pl.col("ts_ms"))).alias("source_time_us"),
        committed.alias("commit_time_us"),
        pl.when(range_tombstone)
        .then(pl.lit("range_tombstone"))
        .otherwise(_refuse_unknown_operation(pl.col("op")))
        .alias("reason"),
    )


def _log(file: pl.Expr, server: pl.Expr) -> pl.Expr:
    """The log in which positions rise: a binlog's is its server's, since another numbers its files anew."""
    return pl.when(file.is_not_null()).then(fill("{}/{}", server, file.str.replace(r"\.\d+$", "")))


def _read_flat(
    frame: pl.DataFrame, names: Mapping[str, str], header_op: pl.Series, given: pl.Series
) -> pl.DataFrame:
    """Metadata where the transform left some; without any, a row is an upsert and its order is Kafka's."""
    meta = {name: pl.col(field) for name, field in names.items()}
    op = (
        pl.when(meta["deleted"] == "true")
        .then(pl.lit("d"))
        .otherwise(pl.coalesce(meta["op"], pl.col("_header_op")))
    )
    commit, event = place_of_flat(
        {
            name: pl.coalesce(told).cast(dtype, strict=False)
            for name, dtype in FIELDS.items()
            if (told := [meta[each] for each in (name, f"source_{name}") if each in meta])
        }
    )
    tombstone = pl.col("_given").is_null()
    snapshot = pl.coalesce(
        meta["source_snapshot"], pl.when((op == "r") & event.is_not_null()).then(pl.lit("true"))
    )
    committed = pl.coalesce(
        on_calendar(meta["source_ts_us"].cast(pl.Int64, strict=False)),
        millis_as_micros(meta["source_ts_ms"].cast(pl.Int64, strict=False)),
    )
    micros = pl.coalesce(committed, millis_as_micros(meta["ts_ms"].cast(pl.Int64, strict=False)))
    return frame.with_columns(header_op.alias("_header_op"), given.alias("_given")).select(
        pl.when(~tombstone).then(pl.lit(FLAT)).alias("payload_form"),
        pl.when(tombstone)
        .then(pl.lit("TOMBSTONE"))
        .when(op.is_null())
        .then(pl.lit("UPSERT"))
        .otherwise(_operation(op))
        .alias("operation_type"),
        pl.coalesce(meta["source_name"], meta["name"]).alias("source_system"),
        _dotted(
            pl.coalesce(meta["schema"], meta["source_schema"], meta["db"], meta["source_db"]),
            pl.coalesce(meta["table"], meta["source_table"]),
        ).alias("table_name"),
        _transaction(meta["transaction_id"], meta["source_txId"]).alias("transaction_id"),
        snapshot.alias("snapshot"),
        commit.alias("commit_position"),
        event.alias("event_position"),
        pl.lit(None, _TEXT).alias("log_name"),
        micros.alias("source_time_us"),
        committed.alias("commit_time_us"),
        pl.when(~tombstone).then(_refuse_unknown_operation(op)).alias("reason"),
    )


def _operation(op: pl.Expr) -> pl.Expr:
    return op.replace_strict(_OPERATIONS, default=None, return_dtype=pl.String)


def _refuse_unknown_operation(op: pl.Expr) -> pl.Expr:
    return pl.when(op.is_not_null() & ~op.is_in(list(_OPERATIONS))).then(
        pl.lit("unknown_operation")
    )


def _dotted(schema: pl.Expr, table: pl.Expr) -> pl.Expr:
    both = pl.concat_str([schema, table], separator=".", ignore_nulls=True)
    return pl.when(schema.is_not_null() | table.is_not_null()).then(both)


def _transaction(identity: pl.Expr, number: pl.Expr) -> pl.Expr:
    """The transaction's name: Postgres writes `txId:LSN`, with another LSN in each event."""
    return pl.coalesce(identity.str.extract(r"^(\d+):\d+$"), identity, number)
