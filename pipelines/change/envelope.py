"""What an event says of itself: its form, operation, source, time, transaction and raw position.

Two forms are read. *Envelope*: Debezium's `{before, after, source, op, ...}` (Postgres connector,
"Change event values"). *Flat*: the row alone, as ExtractNewRecordState leaves it, with metadata in
fields of a prefix where the transform was asked for them ("Adding metadata to the event").
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from pipelines.change.calendar import millis_as_micros, on_calendar
from pipelines.change.ndjson import parse

ENVELOPE = "envelope"
FLAT = "flat"

_TEXT = pl.String()
_LONG = pl.Int64()

#: The fields of an envelope that bronze shows as columns. Everything else stays in the payload.
_ENVELOPE: Mapping[str, pl.DataType] = {
    "op": _TEXT,
    "ts_ms": _LONG,
    "source": pl.Struct(
        {
            "name": _TEXT,
            "connector": _TEXT,
            "schema": _TEXT,
            "table": _TEXT,
            "snapshot": _TEXT,
            "sequence": _TEXT,
            "lsn": _LONG,
            "txId": _TEXT,
            "ts_ms": _LONG,
            "ts_us": _LONG,
        }
    ),
    "transaction": pl.Struct({"id": _TEXT}),
}

_FLAT_NAMES = (
    "op", "deleted", "table", "schema", "lsn", "source_ts_ms", "source_ts_us", "ts_ms", "source_sequence", "source_snapshot",
    "source_lsn", "source_schema", "source_table", "source_name", "name", "transaction_id", "source_txId",
)  # fmt: skip

_OPERATIONS = {
    "c": "INSERT",
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
    "commit_lsn": _LONG,
    "lsn": _LONG,
    "source_time_us": _LONG,
    "reason": _TEXT,
}


def describe(payloads: pl.Series, header_op: pl.Series, *, prefix: str = "__") -> pl.DataFrame:
    """One row of `DESCRIPTION` a payload; `reason` says why a payload cannot be an event.

    A null payload is a tombstone. `header_op` is the `__op` header where the transform was asked to
    put the operation there, else null. `commit_lsn` and `lsn` are null where the event names none.
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
    frame, reasons = parse(payloads.filter(mask), _ENVELOPE)
    return _shape(_read_envelope(frame), reasons, _positions(mask))


def _describe_rest(
    payloads: pl.Series, header_op: pl.Series, mask: pl.Series, prefix: str
) -> pl.DataFrame:
    """Flat rows, tombstones, and the odd envelope whose fields stand in another order."""
    names = {name: f"{prefix}{name}" for name in _FLAT_NAMES}
    schema = dict.fromkeys(["op", "source", *names.values()], _TEXT)
    given = payloads.filter(mask)
    frame, reasons = parse(given, schema)
    enveloped = (frame["op"].is_not_null() & frame["source"].str.starts_with("{")).fill_null(
        value=False
    )
    at = _positions(mask)
    flat = _read_flat(
        frame.filter(~enveloped),
        names,
        header_op.filter(mask).filter(~enveloped),
        given.filter(~enveloped),
    )
    shaped = _shape(flat, reasons.filter(~enveloped), at.filter(~enveloped))
    if not enveloped.any():
        return shaped
    again, again_reasons = parse(given.filter(enveloped), _ENVELOPE)
    return pl.concat([shaped, _shape(_read_envelope(again), again_reasons, at.filter(enveloped))])


def _shape(frame: pl.DataFrame, reasons: pl.Series, at: pl.Series) -> pl.DataFrame:
    """The columns of `DESCRIPTION`, their types, and where the row stood."""
    reason = pl.coalesce(pl.lit(reasons), pl.col("reason"))
    return (
        frame.with_columns(reason.alias("reason"))
        .select(pl.col(name).cast(dtype) for name, dtype in DESCRIPTION.items())
        .with_columns(at)
    )


def _read_envelope(frame: pl.DataFrame) -> pl.DataFrame:
    source = pl.col("source").struct
    sequence = source.field("sequence")
    return frame.select(
        pl.lit(ENVELOPE).alias("payload_form"),
        _operation(pl.col("op")).alias("operation_type"),
        source.field("name").alias("source_system"),
        _dotted(source.field("schema"), source.field("table")).alias("table_name"),
        _transaction(pl.col("transaction").struct.field("id"), source.field("txId")).alias(
            "transaction_id"
        ),
        source.field("snapshot").alias("snapshot"),
        _sequence_part(sequence, 1).alias("commit_lsn"),
        source.field("lsn").alias("lsn"),
        pl.coalesce(
            on_calendar(source.field("ts_us")),
            millis_as_micros(source.field("ts_ms")),
            millis_as_micros(pl.col("ts_ms")),
        ).alias("source_time_us"),
        _refuse_unknown_operation(pl.col("op")).alias("reason"),
    )


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
    lsn = pl.coalesce(meta["lsn"], meta["source_lsn"]).cast(pl.Int64, strict=False)
    tombstone = pl.col("_given").is_null()
    snapshot = pl.coalesce(
        meta["source_snapshot"], pl.when((op == "r") & lsn.is_not_null()).then(pl.lit("true"))
    )
    micros = pl.coalesce(
        on_calendar(meta["source_ts_us"].cast(pl.Int64, strict=False)),
        millis_as_micros(meta["source_ts_ms"].cast(pl.Int64, strict=False)),
        millis_as_micros(meta["ts_ms"].cast(pl.Int64, strict=False)),
    )
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
            pl.coalesce(meta["schema"], meta["source_schema"]),
            pl.coalesce(meta["table"], meta["source_table"]),
        ).alias("table_name"),
        _transaction(meta["transaction_id"], meta["source_txId"]).alias("transaction_id"),
        snapshot.alias("snapshot"),
        _sequence_part(meta["source_sequence"], 1).alias("commit_lsn"),
        lsn.alias("lsn"),
        micros.alias("source_time_us"),
        pl.when(~tombstone).then(_refuse_unknown_operation(op)).alias("reason"),
    )


def _operation(op: pl.Expr) -> pl.Expr:
    return op.replace_strict(_OPERATIONS, default=None, return_dtype=pl.String)


def _refuse_unknown_operation(op: pl.Expr) -> pl.Expr:
    return pl.when(op.is_not_null() & ~op.is_in(list(_OPERATIONS))).then(
        pl.lit("unknown_operation")
    )


def _dotted(schema: pl.Expr, table: pl.Expr) -> pl.Expr:
    return pl.concat_str([schema, table], separator=".", ignore_nulls=True)


def _transaction(identity: pl.Expr, number: pl.Expr) -> pl.Expr:
    """The transaction's number: Postgres writes `txId:LSN`, with another LSN in each event."""
    return pl.coalesce(identity.str.split(":").list.first(), number)


def _sequence_part(sequence: pl.Expr, part: int) -> pl.Expr:
    """A number of `source.sequence`, the JSON text `["<last commit lsn>","<lsn>"]`, each or null."""
    pattern = r'^\s*\[\s*(?:null|"?(\d+)"?)\s*,\s*(?:null|"?(\d+)"?)\s*\]\s*$'
    return sequence.str.extract(pattern, part).cast(pl.Int64, strict=False)
