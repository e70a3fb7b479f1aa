"""MongoDB's events: a row is a document, written as Extended JSON inside a text.

`after` is the document as a lookup found it. Without it (`capture.mode=change_streams`) an update
says only which fields it set and which it removed, so the others are as they were (MongoDB
connector, "Update events"). The key is the message's: `{"id": "<Extended JSON>"}`, where 1234 and
"1234" are two keys ("Change event keys").
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from pipelines.change.calendar import FIRST_MICRO, LAST_MICRO
from pipelines.change.envelope import ENVELOPE, FLAT
from pipelines.change.ndjson import parse
from pipelines.change.nested import is_taken, read_paths
from pipelines.change.texts import fill
from pipelines.change.values import raw_type
from pipelines.contract import Contract, DataType
from pipelines.contract.source import REST, TIME, WHOLE
from pipelines.contract.types import TIMESTAMPS

_UPSERT = "upsert"
_TEXT = pl.String()
_CALENDAR = (FIRST_MICRO // 1000, LAST_MICRO // 1000)


def read_documents(rows: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """The rows with a text for each column of the contract; see `images.read_images`."""
    form, verb = rows["payload_form"].fill_null(""), rows["_verb"]
    texts, patches, reasons = _documents(rows, form)
    paths = {name: contract.field_of(name) for name in contract.columns}
    types = {name: column.type for name, column in contract.columns.items()}
    fields = {path: raw_type(types[name]) for name, path in paths.items()}
    frame, wrong, misshapen = read_paths(texts, fields, withheld=contract.withheld)
    values = [
        plain(pl.col(paths[name]), types[name]).alias(name)
        for name in paths
        if name not in contract.key and paths[name] != TIME
    ]
    keys = [_key(rows["key"], types[name], form == FLAT).alias(name) for name in contract.key]
    lacking = pl.Series(verb == _UPSERT) & texts.is_null()
    missing = pl.when(pl.lit(lacking)).then(pl.lit("no_after"))
    why = pl.coalesce(pl.lit(reasons), pl.lit(wrong), missing)
    columns = misshapen.replace({path: name for name, path in paths.items()})
    unreadable = pl.coalesce(fill("undecodable:*{}", why), fill("undecodable:{}", pl.lit(columns)))
    read = frame.select(*values, *keys, unreadable.alias("_unreadable"))
    own = {n: p for n, p in paths.items() if n not in contract.key and p != TIME}
    return pl.concat([rows, read, _patch_states(patches, own, fields)], how="horizontal")


def _documents(rows: pl.DataFrame, form: pl.Series) -> tuple[pl.Series, list[Any], pl.Series]:
    """Each event's document, its patch where it has no document, and why it cannot be read."""
    patch = pl.Struct(
        {"updatedFields": _TEXT, "removedFields": pl.List(_TEXT), "truncatedArrays": _TEXT}
    )
    enveloped = pl.select(pl.when(form == ENVELOPE).then(rows["raw_payload"])).to_series()
    frame, reasons = parse(enveloped, {"after": _TEXT, "updateDescription": patch})
    flat = (form == FLAT) & (rows["_verb"] == _UPSERT)
    texts = pl.select(pl.when(flat).then(rows["raw_payload"]).otherwise(frame["after"])).to_series()
    told = frame["updateDescription"]
    patched = texts.is_null() & told.is_not_null() & (rows["_verb"] == _UPSERT)
    patches: list[Any] = [None] * len(rows)
    for at in patched.arg_true():
        patches[at] = told[at]
    if patched.any():
        partial = pl.Series([_partial(each) if each else None for each in patches], dtype=_TEXT)
        texts = texts.zip_with(~patched, partial)
    return texts, patches, reasons


# ---- KEYS ---- #


def _key(keys: pl.Series, kind: DataType, flat: pl.Series) -> pl.Expr:
    """The `_id` that a message's key names; a number is no text and a text no number.

    The flattening transform leaves the plain text of an `_id` instead of its Extended JSON.
    """
    found, _ = parse(keys, {"id": _TEXT})
    text = found["id"]
    if kind.kind == "json":
        return pl.lit(text)
    wrapped = pl.select(pl.concat_str(pl.lit('{"v":'), pl.lit(text), pl.lit("}"))).to_series()
    inner, reasons = parse(wrapped, {"v": _TEXT})
    quoted = text.str.starts_with('"') | text.str.starts_with("{")
    fits = quoted if kind.kind in ("string", "uuid") else ~text.str.starts_with('"')
    value = pl.when(pl.lit(fits & reasons.is_null())).then(plain(pl.lit(inner["v"]), kind))
    bare = flat & ~text.str.starts_with('"') & ~text.str.starts_with("{")
    return pl.when(pl.lit(bare)).then(pl.lit(text)).otherwise(value)


# ---- EXTENDED JSON ---- #

_ONE = r'^\{\s*"\$(?:numberLong|numberInt|numberDouble|numberDecimal|oid|uuid|symbol|code)"\s*:\s*"([^"]*)"\s*\}$'
_DATE = r'^\{\s*"\$date"\s*:\s*(?:\{\s*"\$numberLong"\s*:\s*)?"?([^"}]*)"?\s*\}?\s*\}$'
_BINARY = r'^\{\s*"\$binary"\s*:\s*(?:\{\s*"base64"\s*:\s*)?"([^"]*)"'
_NOTHING = r'^\{\s*"\$undefined"\s*:\s*true\s*\}$'


def plain(raw: pl.Expr, kind: DataType) -> pl.Expr:
    """A value without Extended JSON's wrapper, in any of its modes; JSON columns keep it.

    Source: MongoDB Extended JSON specification, version 2; and version 1, which the connector's
    `legacy` mode still writes.
    """
    if kind.item is not None:
        return raw.list.eval(plain(pl.element(), kind.item))
    if kind.kind == "struct":
        parts = [
            plain(raw.struct.field(name), inner).alias(name) for name, inner in kind.fields.items()
        ]
        return pl.when(raw.is_not_null()).then(pl.struct(parts))
    if kind.kind == "json":
        return raw
    wrapped = raw.str.starts_with('{"$').fill_null(value=False)
    binary = _uuid(raw) if kind.kind == "uuid" else raw.str.extract(_BINARY)
    inner = pl.coalesce(raw.str.extract(_ONE), binary, _date(raw, kind))
    nothing = raw.str.contains(_NOTHING)
    return (
        pl.when(~wrapped)
        .then(_number_as_time(raw, kind))
        .when(~nothing)
        .then(pl.coalesce(inner, raw))
    )


#: The bytes of a UUID in their own order; the older subtype 3 has as many orders as drivers.
_UUID = r'^\{\s*"\$binary"\s*:\s*(?:\{\s*"base64"\s*:\s*)?"([A-Za-z0-9+/]{22}==)"\s*,\s*"(?:subType|\$type)"\s*:\s*"0?4"'


def _uuid(raw: pl.Expr) -> pl.Expr:
    digits = raw.str.extract(_UUID).str.decode("base64", strict=False).bin.encode("hex")
    return digits.str.replace(r"^(.{8})(.{4})(.{4})(.{4})", "${1}-${2}-${3}-${4}-")


def _date(raw: pl.Expr, kind: DataType) -> pl.Expr:
    text = raw.str.extract(_DATE)
    return _number_as_time(text, kind) if kind.kind in (*TIMESTAMPS, "date") else text


def _number_as_time(text: pl.Expr, kind: DataType) -> pl.Expr:
    """Milliseconds as ISO text where a time is wanted: BSON dates are UTC; other texts as they are."""
    if kind.kind not in TIMESTAMPS:
        return text
    millis = pl.when(text.str.contains(r"^-?\d+$")).then(text.cast(pl.Int64, strict=False))
    iso = pl.from_epoch(millis.clip(*_CALENDAR), "ms").dt.strftime("%Y-%m-%dT%H:%M:%S%.3f")
    suffix = "Z" if kind.kind == "timestamp" else ""
    outside = millis != millis.clip(*_CALENDAR)
    return pl.when(millis.is_null() | outside).then(text).otherwise(fill("{}" + suffix, iso))


# ---- UPDATES WITHOUT A DOCUMENT ---- #


def _partial(patch: Mapping[str, Any]) -> str:
    """A document of the fields that an update set."""
    document: dict[str, Any] = {}
    for path, value in _updated(patch).items():
        *parents, last = path.split(".")
        branch = document
        for parent in parents:
            held = branch.setdefault(parent, {})
            if not isinstance(held, dict):
                break
            branch = held
        else:
            branch[last] = value
    return json.dumps(document, ensure_ascii=False)


def _updated(patch: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found: Any = json.loads(patch.get("updatedFields") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _patch_states(
    patches: list[Any], paths: Mapping[str, str], fields: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """`_same:<column>` for what an update did not touch, `_unknown` for what it changed in part only."""
    count = len(patches)
    if not any(patches):
        return pl.DataFrame({"_unknown": pl.repeat(None, count, dtype=_TEXT, eager=True)})
    states = [dict(_states(patch, paths, fields)) if patch else {} for patch in patches]
    columns = {f"_same:{name}": [state.get(name) == "same" for state in states] for name in paths}
    unknown = [
        next((f"unavailable:{name}" for name, what in state.items() if what == "partly"), None)
        for state in states
    ]
    return pl.DataFrame({**columns, "_unknown": pl.Series(unknown, dtype=_TEXT)})


def _states(
    patch: Mapping[str, Any], paths: Mapping[str, str], fields: Mapping[str, pl.DataType]
) -> Iterator[tuple[str, str]]:
    touched = [*_updated(patch), *(patch.get("removedFields") or ())]
    cut = _cut_arrays(patch)
    for name, path in paths.items():
        if path == WHOLE:
            yield name, "partly" if touched or cut else "same"
        elif path == REST:
            known = all(is_taken(each, fields) for each in [*touched, *cut])
            yield name, "same" if known else "partly"
        elif any(path == each or path.startswith(f"{each}.") for each in touched):
            yield name, "set"
        elif any(each == path or each.startswith(f"{path}.") for each in [*touched, *cut]):
            yield name, "partly"
        else:
            yield name, "same"


def _cut_arrays(patch: Mapping[str, Any]) -> list[str]:
    try:
        found: Any = json.loads(patch.get("truncatedArrays") or "[]")
    except ValueError:
        return []
    return [str(each.get("field")) for each in found if isinstance(each, dict)]  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType, reportUnknownVariableType]
