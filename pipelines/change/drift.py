"""Where what a message says of its fields departs from what a contract says of its columns. Pure.

Nothing is remembered: a message's schema (its block, or the names in its JSON) is held against the
contract, so a change that came while nobody looked is found as well, and one that is found again is
the same finding (apache/flink-cdc PR 3502, #4279).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipelines.change.schema import MessageSchema, by_path, is_bare_number
from pipelines.contract import Column, Contract, DataType
from pipelines.contract.model import ROW_ID
from pipelines.contract.types import FLOATS, INTEGERS, TIMESTAMPS, parse_type


class Kind(StrEnum):
    """What can change; the names of a contract's `drift`."""

    ADD = "add"
    DROP = "drop"
    WIDEN = "widen"
    NARROW = "narrow"
    RETYPE = "retype"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Drift:
    """One departure: the message's field, the contract's column where it has one, and the new type."""

    kind: Kind
    field: str
    column: str | None = None
    was: str = ""
    now: str = ""

    def __str__(self) -> str:
        said = {
            Kind.ADD: f"field '{self.field}' ({self.now}) is not in the contract",
            Kind.DROP: f"column '{self.column}' is no longer in the messages",
            Kind.KEY: f"the messages' key is ({self.now}), the contract's is ({self.was})",
        }
        return said.get(
            self.kind,
            f"column '{self.column}' is {self.was} in the contract and {self.now} in the messages",
        )


#: The type of a field in JSON without a schema.
UNKNOWN = "of unknown type"

#: Metadata that transforms add beside a row's own fields.
_META = "__"

_SEMANTIC: Mapping[str, str] = {
    "org.apache.kafka.connect.data.Date": "date",
    "org.apache.kafka.connect.data.Time": "time",
    "org.apache.kafka.connect.data.Timestamp": "timestamp_ntz",
    "io.debezium.time.Date": "date",
    "io.debezium.time.IsoDate": "date",
    "io.debezium.time.Time": "time",
    "io.debezium.time.MicroTime": "time",
    "io.debezium.time.NanoTime": "time",
    "io.debezium.time.IsoTime": "time",
    "io.debezium.time.ZonedTime": "time",
    "io.debezium.time.Timestamp": "timestamp_ntz",
    "io.debezium.time.MicroTimestamp": "timestamp_ntz",
    "io.debezium.time.NanoTimestamp": "timestamp_ntz",
    "io.debezium.time.IsoTimestamp": "timestamp_ntz",
    "io.debezium.time.ZonedTimestamp": "timestamp",
    "io.debezium.time.MicroDuration": "duration",
    "io.debezium.time.NanoDuration": "duration",
    "io.debezium.data.Uuid": "uuid",
    "io.debezium.data.Json": "json",
    "io.debezium.data.VariableScaleDecimal": "string",
}
_PLAIN: Mapping[str, str] = {
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64", "float": "float32", "double": "float64",
    "float32": "float32", "float64": "float64", "boolean": "bool", "string": "string", "bytes": "binary",
}  # fmt: skip


def type_of(field: Mapping[str, Any]) -> str:
    """The contract's type for a Connect field: the one that holds all its values."""
    name, kind = str(field.get("name") or ""), str(field.get("type", "string"))
    if name == "org.apache.kafka.connect.data.Decimal":
        parameters = field.get("parameters") or {}
        digits, scale = (
            int(parameters.get("connect.decimal.precision", 38)),
            int(parameters.get("scale", 0)),
        )
        return f"decimal({min(digits, 38)},{scale})" if 0 <= scale <= min(digits, 38) else "string"
    if name in _SEMANTIC:
        return _SEMANTIC[name]
    if kind == "array":
        return f"list<{type_of(field.get('items') or {})}>"
    return _PLAIN.get(kind, "json")


def drifts(contract: Contract, schema: MessageSchema) -> list[Drift]:
    """How a message's schema block departs from the contract."""
    fields = by_path(schema.fields, contract.parents)
    found = list(_names(contract, fields))
    for name, column in contract.columns.items():
        field = next((fields[each] for each in fields_of(name, column) if each in fields), None)
        kind = None if field is None else compare(column, field)
        if field is not None and kind is not None:
            now = type_of(field)
            found.append(Drift(kind, str(field.get("field", name)), name, str(column.type), now))
    return found


def drifts_of_names(contract: Contract, image: str | None) -> list[Drift]:
    """How the names in a schemaless image depart from the contract; JSON tells no types."""
    try:
        found: Any = json.loads(image or "null")
    except (ValueError, RecursionError):
        return []
    if not isinstance(found, dict):
        return []
    return list(_names(contract, {path: {} for path in _paths(found, contract.parents)}))  # pyright: ignore[reportUnknownArgumentType]


def _paths(document: Mapping[str, Any], parents: Collection[str], above: str = "") -> Iterator[str]:
    """The paths of a document's fields, those inside the structures among `parents` too."""
    for name, value in document.items():
        path = f"{above}{name}"
        if path in parents and isinstance(value, dict):
            yield from _paths(value, parents, f"{path}.")  # pyright: ignore[reportUnknownArgumentType]
        else:
            yield path


def drift_of_key(contract: Contract, key: str | None) -> list[Drift]:
    """How a message's key departs from the contract's, by the names of its fields."""
    if contract.identity != "key":
        return []
    try:
        found: Any = json.loads(key or "null")
    except (ValueError, RecursionError):
        return []
    if not isinstance(found, dict):
        return []
    names: set[str] = set(map(str, found))  # pyright: ignore[reportUnknownArgumentType]
    wanted = {name: set(fields_of(name, contract.columns[name])) for name in contract.key}
    same = len(names) == len(wanted) and all(names & fields for fields in wanted.values())
    told = (", ".join(contract.key), ", ".join(sorted(names)))
    return [] if same else [Drift(Kind.KEY, "", None, *told)]


def fields_of(name: str, column: Column) -> tuple[str, ...]:
    """The names under which messages may carry a column, the newest first."""
    return (column.source or name, *column.was)


def _names(contract: Contract, told: Mapping[str, Mapping[str, Any]]) -> Iterator[Drift]:
    known = {each for name, column in contract.columns.items() for each in fields_of(name, column)}
    known |= set(contract.withheld)
    for field in told:
        if field not in known and not field.startswith(_META):
            now = type_of(told[field]) if told[field] else UNKNOWN
            yield Drift(Kind.ADD, field, now=now)
    for name, column in contract.columns.items():
        own = name == ROW_ID and contract.identity != "key"
        if own or column.default is not None or contract.field_of(name).startswith("$"):
            continue
        if not any(each in told for each in fields_of(name, column)):
            yield Drift(Kind.DROP, column.source or name, name)


# ---- TYPES ---- #


#: Encodings by which the contract knows better than the schema what values are.
_AS_TOLD = ("uint64", "bits", "utf8", "timeuuid")


def compare(column: Column, field: Mapping[str, Any]) -> Kind | None:
    """Whether a field's values are more, fewer or others than a column's type holds; None: the same."""
    declared, text = column.type, type_of(field)
    if declared.kind in ("string", "json") or column.encoding in _AS_TOLD:
        return None
    if column.encoding is not None and is_bare_number(field):
        return None
    now = parse_type(text)
    return _compare(declared, now, str(field.get("name") or ""))


def _compare(declared: DataType, now: DataType, name: str) -> Kind | None:
    if declared.item is not None:
        return Kind.RETYPE if now.item is None else _compare(declared.item, now.item, "")
    if declared.kind == "struct":
        return None if now.kind == "json" else Kind.RETYPE
    if declared.kind in INTEGERS:
        return _compare_integers(declared, now)
    if declared.kind == "decimal":
        return _compare_decimals(declared, now, name)
    if declared.kind in FLOATS:
        return _compare_floats(declared, now)
    if declared.kind in _TEXTS:
        return None if now.kind in _TEXTS[declared.kind] else Kind.RETYPE
    return None if now.kind in _SAME.get(declared.kind, (declared.kind,)) else Kind.RETYPE


#: Types whose values are texts of some shape: which message types may carry them.
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "enum": ("string",), "uuid": ("uuid", "string"), "binary": ("binary", "string"),
}  # fmt: skip
_SAME: Mapping[str, tuple[str, ...]] = {
    "bool": ("bool", "int8", "int16"),
    "time": ("time", "string", "duration"),
    "duration": ("duration", "time", "int64"),
    "date": ("date", "string"),
    **dict.fromkeys(TIMESTAMPS, ("timestamp", "timestamp_ntz", "string")),
}
_DIGITS = {"int8": 3, "int16": 5, "int32": 10, "int64": 19}


def _compare_integers(declared: DataType, now: DataType) -> Kind | None:
    if now.kind == "bool":
        return None
    if now.kind == "decimal":
        return Kind.RETYPE if now.scale else _order(now.precision, _DIGITS[declared.kind])
    if now.kind not in INTEGERS:
        return Kind.RETYPE
    return _order(INTEGERS.index(now.kind), INTEGERS.index(declared.kind))


def _compare_decimals(declared: DataType, now: DataType, name: str) -> Kind | None:
    whole = declared.precision - declared.scale
    if now.kind in INTEGERS:
        return None if _DIGITS[now.kind] <= whole else Kind.WIDEN
    if now.kind == "string" or now.kind in FLOATS:  # decimal.handling.mode
        return None
    if now.kind != "decimal":
        return Kind.RETYPE
    if now.precision == 38 and "Decimal" in name and declared.scale == now.scale:
        return None  # no precision told (money)
    if now.precision - now.scale > whole or now.scale > declared.scale:
        return Kind.WIDEN
    return (
        None if (now.precision, now.scale) == (declared.precision, declared.scale) else Kind.NARROW
    )


def _compare_floats(declared: DataType, now: DataType) -> Kind | None:
    if now.kind in FLOATS:
        return _order(FLOATS.index(now.kind), FLOATS.index(declared.kind))
    return None if now.kind in (*INTEGERS, "string") else Kind.RETYPE


def _order(now: int, declared: int) -> Kind | None:
    return Kind.WIDEN if now > declared else Kind.NARROW if now < declared else None
