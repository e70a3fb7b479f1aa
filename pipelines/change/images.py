"""The image of a row in each message: its fields as texts, whatever form and connector wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import polars as pl

from pipelines.change.documents import read_documents
from pipelines.change.envelope import CLOUD, ENVELOPE, FLAT
from pipelines.change.ndjson import parse
from pipelines.change.nested import read_paths
from pipelines.change.texts import fill
from pipelines.change.values import raw_type
from pipelines.contract import Contract
from pipelines.contract.source import REST, TIME, WHOLE

UPSERT, DELETE, TRUNCATE = "upsert", "delete", "truncate"

#: The header that names the key a row had before (Postgres connector, "Primary key updates").
_OLD_KEY = "__debezium.oldkey"

#: What stands before and behind the image in an envelope of Debezium's, whose fields keep their order.
_AFTER, _SOURCE = '{"before":null,"after":', ',"source":{"version":"'


def read_images(rows: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """The rows with a column of text for each column of the contract.

    `_unreadable` is the issue of a row without an image, `_unknown` that of a value which the
    message changes without saying to what, `_same:<column>` is there where the connector says of a
    value that it was not touched, `_moved_from` is the key that the row had before.
    """
    source = contract.source
    assert source is not None  # noqa: S101 - only silver contracts are decoded
    if source.connector == "mongodb":
        read = read_documents(rows, contract)
    else:
        read = _read_rows(rows, contract, cells=source.connector == "cassandra")
    unknown = [] if "_unknown" in read.columns else [pl.lit(None, pl.String).alias("_unknown")]
    when = [_written().alias(n) for n in contract.columns if contract.field_of(n) == TIME]
    return read.with_columns(old_keys(read["headers"]), *unknown, *when)


def _written() -> pl.Expr:
    """When the source wrote an event, as the text of an instant."""
    text = pl.col("event_timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    return pl.when(pl.col("_verb") == UPSERT).then(text)


def _read_rows(rows: pl.DataFrame, contract: Contract, *, cells: bool) -> pl.DataFrame:
    names_of = dict[str, list[str]]()
    for name in contract.columns:
        names_of.setdefault(contract.field_of(name), []).append(name)
    names_of.pop(TIME, None)
    fields = {field: names[0] for field, names in names_of.items()}
    older = {
        contract.field_of(name): column.was
        for name, column in contract.columns.items()
        if column.was
    }
    raw = {field: raw_type(contract.columns[name].type) for field, name in fields.items()}
    raw |= {name: raw[field] for field, names in older.items() for name in names}
    key = {contract.field_of(name): raw[contract.field_of(name)] for name in contract.key}
    key |= {name: key[field] for field, names in older.items() if field in key for name in names}
    verb, form = rows["_verb"], rows["payload_form"].fill_null("")
    enveloped = (form == ENVELOPE) & (verb != TRUNCATE)
    cloud = (form == CLOUD) & (verb != TRUNCATE)
    flat = form == FLAT
    rest = ~enveloped & ~flat & ~cloud
    read = _cells if cells else _enveloped_images
    parts = [
        read(rows.filter(enveloped), raw, key),
        _cloud_images(rows.filter(cloud), raw, key),
        _flat_images(rows.filter(flat), raw, key, contract),
        _bare(rows.filter(rest), raw),
    ]
    merged = pl.concat([part for part in parts if len(part)] or parts[:1], how="diagonal")
    names = {**fields, **{f"_same:{field}": f"_same:{name}" for field, name in fields.items()}}
    merged = _under_one_name(merged, older)
    read_rows = _keys_from_message_key(merged, key, older).rename(names, strict=False)
    return read_rows.with_columns(
        pl.col(names[0]).alias(name) for names in names_of.values() for name in names[1:]
    )


def _under_one_name(rows: pl.DataFrame, older: Mapping[str, tuple[str, ...]]) -> pl.DataFrame:
    """Fields that older messages call otherwise under the name they have now."""
    now = [
        pl.coalesce(field, *names).alias(field)
        for field, names in older.items()
        if field in rows.columns
    ]
    gone = [name for names in older.values() for name in names]
    return rows.with_columns(now).drop(gone, strict=False) if older else rows


def _enveloped_images(
    rows: pl.DataFrame, raw: Mapping[str, pl.DataType], key: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """`after` for an upsert; of `before` the key alone, for the rest may be unknown (replica identity)."""
    alone = _after_alone(rows)
    short = alone.is_not_null()
    if not short.any():
        return _whole_images(rows, raw, key)
    images, reasons = parse(alone.filter(short), raw, objects=_objects(raw))
    read = pl.concat(
        [
            rows if short.all() else rows.filter(short),
            images.with_columns(_unreadable(pl.lit(None, pl.String))),
        ],
        how="horizontal",
    )
    if short.all() and reasons.is_null().all():
        return read
    short = short.scatter(short.arg_true(), reasons.is_null())
    rest = _whole_images(rows.filter(~short), raw, key)
    return pl.concat([read.filter(reasons.is_null()), rest])


def _after_alone(rows: pl.DataFrame) -> pl.Series:
    """The text of `after` where it can be cut from the envelope: of creates, and of updates without `before`.

    A quote within a text is escaped, so that the words which are cut at are a name wherever they stand.
    They may be one within the row: what is cut there is no whole object, and is refused as JSON.
    """
    payload = pl.col("raw_payload")
    end = payload.str.find(_SOURCE, literal=True).cast(pl.Int64)
    alone = payload.str.starts_with(_AFTER + "{") & (pl.col("_verb") == UPSERT)
    cut = payload.cast(pl.Binary).bin.slice(len(_AFTER), end - len(_AFTER)).cast(pl.String)
    return rows.select(pl.when(alone & end.is_not_null()).then(cut)).to_series()


def _whole_images(
    rows: pl.DataFrame, raw: Mapping[str, pl.DataType], key: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    images, reasons = parse(rows["raw_payload"], _both(raw, key), objects=_objects(raw))
    return _with_image(rows, images, reasons, raw, key)


def _both(raw: Mapping[str, pl.DataType], key: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
    return {"after": pl.Struct(raw), "before": pl.Struct(key)}


def _objects(raw: Mapping[str, pl.DataType]) -> str | None:
    """A pattern of payloads in which a field that is to be text is an object or a list: hstore as a map."""
    names = "|".join(
        re.escape(json.dumps(name)[1:-1]) for name, kind in raw.items() if kind == pl.String
    )
    return rf'"(?:{names})"\s*:\s*[\[{{]' if names else None


def _cloud_images(
    rows: pl.DataFrame, raw: Mapping[str, pl.DataType], key: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """The images under `data`, or under its `payload` where the data brings its schema."""
    both = _both(raw, key)
    read, reasons = parse(
        rows["raw_payload"], {"data": pl.Struct({**both, "payload": pl.Struct(both)})}
    )
    data = pl.col("data").struct
    inner = data.field("payload").struct
    images = read.select(
        pl.coalesce(data.field(name), inner.field(name)).alias(name) for name in both
    )
    return _with_image(rows, images, reasons, raw, key)


def _with_image(
    rows: pl.DataFrame,
    images: pl.DataFrame,
    reasons: pl.Series,
    raw: Mapping[str, pl.DataType],
    key: Mapping[str, pl.DataType],
) -> pl.DataFrame:
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


def _cells(
    rows: pl.DataFrame, raw: Mapping[str, pl.DataType], key: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """`after` of cells `{value, deletion_ts, set}`: what is not set was not touched by the write.

    Cassandra's deletes name their row in `after` too (Cassandra connector, "Change event values").
    """
    cell = {name: pl.Struct({"value": kind, "set": pl.Boolean()}) for name, kind in raw.items()}
    images, reasons = parse(
        rows["raw_payload"], {"after": pl.Struct(cell)}, objects=r'"value"\s*:\s*[\[{]'
    )
    upsert = rows["_verb"] == UPSERT
    after = pl.col("after").struct
    values = [
        pl.when(pl.lit(upsert) | pl.lit(name in key))
        .then(after.field(name).struct.field("value"))
        .alias(name)
        for name in raw
    ]
    same = [
        (upsert & ~after.field(name).struct.field("set").fill_null(value=False)).alias(
            f"_same:{name}"
        )
        for name in raw
        if name not in key
    ]
    missing = pl.when(upsert & pl.col("after").is_null()).then(pl.lit("no_after"))
    why = _unreadable(pl.coalesce(pl.lit(reasons), missing))
    return pl.concat([rows, images.select(*values, *same, why)], how="horizontal")


def _flat_images(
    rows: pl.DataFrame,
    raw: Mapping[str, pl.DataType],
    key: Mapping[str, pl.DataType],
    contract: Contract,
) -> pl.DataFrame:
    texts = rows["raw_payload"]
    if contract.nested and (contract.parents or raw.keys() & {WHOLE, REST}):
        images, reasons, misshapen = read_paths(texts, raw, withheld=contract.withheld)
        columns_of = {
            f: name for name, c in contract.columns.items() for f in (c.source or name, *c.was)
        }
        named = fill("undecodable:{}", pl.lit(misshapen.replace(columns_of)))
        unreadable = pl.coalesce(_unreadable(pl.lit(reasons)), named)
    else:
        images, reasons = parse(texts, raw, objects=_objects(raw))
        unreadable = _unreadable(pl.lit(reasons))
    upsert = rows["_verb"] == UPSERT
    columns = [
        pl.col(name) if name in key else pl.when(upsert).then(pl.col(name)).alias(name)
        for name in raw
    ]
    return pl.concat([rows, images.select(*columns, unreadable)], how="horizontal")


def _bare(rows: pl.DataFrame, raw: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Tombstones and truncates: no image."""
    return rows.with_columns(
        *(pl.lit(None, dtype).alias(name) for name, dtype in raw.items()),
        _unreadable(pl.lit(None, pl.String)),
    )


def _unreadable(reason: pl.Expr) -> pl.Expr:
    return pl.when(reason.is_not_null()).then(fill("undecodable:*{}", reason)).alias("_unreadable")


def _keys_from_message_key(
    rows: pl.DataFrame, key: Mapping[str, pl.DataType], older: Mapping[str, tuple[str, ...]]
) -> pl.DataFrame:
    """The key columns that the image lacks, from the message's key."""
    wanted = [name for name in key if name in rows.columns]
    lacking = pl.any_horizontal(pl.col(name).is_null() for name in wanted) & (
        pl.col("_verb") != TRUNCATE
    )
    at = rows.select(lacking.arg_true()).to_series()
    if not len(at):
        return rows
    found, _ = parse(rows["key"].gather(at), key)
    filled = _under_one_name(found, older).with_columns(at.alias("_at"))
    joined = rows.with_row_index("_at").join(filled, on="_at", how="left", suffix=":key")
    return joined.with_columns(pl.coalesce(name, f"{name}:key") for name in wanted).select(
        rows.columns
    )


def old_keys(headers: pl.Series) -> pl.Series:
    """The text of the key that each row had before a key change; null for all the others."""
    found = headers.str.contains(_OLD_KEY, literal=True).fill_null(value=False)
    values = [dict(json.loads(text)).get(_OLD_KEY) for text in headers.filter(found)]
    texts = [value if isinstance(value, str) else None for value in values]
    empty = pl.repeat(None, len(headers), dtype=pl.String, eager=True).alias("_moved_from")
    return empty.scatter(found.arg_true(), pl.Series(texts, dtype=pl.String)) if texts else empty


def last_image(rows: pl.DataFrame) -> str | None:
    """The JSON text of the last row's image, with the fields that the message has; None if it has none."""
    last = rows.row(-1, named=True)
    if last["payload_form"] == FLAT:
        return last["raw_payload"]
    if last["payload_form"] != ENVELOPE:
        return None
    images, _ = parse(rows["raw_payload"].tail(1), {"after": pl.String()})
    return images["after"][0]
