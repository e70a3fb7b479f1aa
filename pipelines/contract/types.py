"""The types a contract can name, and how each is held in a Delta table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

#: What each plain type is stored as. `time` is ISO text (`23:59:59.123456`), since Delta has no
#: time of day and Postgres knows `24:00:00`; `duration` is microseconds, for MySQL's TIME goes from -838 to 838 hours
#: and an interval may be any; `uuid`, `json` and `enum` are text as sent.
_STORED: Mapping[str, pl.DataType] = {
    "string": pl.String(),
    "bool": pl.Boolean(),
    "int8": pl.Int8(),
    "int16": pl.Int16(),
    "int32": pl.Int32(),
    "int64": pl.Int64(),
    "float32": pl.Float32(),
    "float64": pl.Float64(),
    "date": pl.Date(),
    "time": pl.String(),
    "duration": pl.Int64(),
    "timestamp": pl.Datetime("us", "UTC"),
    "timestamp_ntz": pl.Datetime("us"),
    "uuid": pl.String(),
    "json": pl.String(),
    "enum": pl.String(),
    "binary": pl.Binary(),
}

INTEGERS = ("int8", "int16", "int32", "int64")
FLOATS = ("float32", "float64")
TIMESTAMPS = ("timestamp", "timestamp_ntz")

_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")


class UnknownTypeError(ValueError):
    """The text names no type; says which types there are."""

    def __init__(self, text: str, why: str = "is not a type") -> None:
        known = ", ".join([*_STORED, "decimal(p,s)", "list<type>", "struct<name: type, ...>"])
        super().__init__(f"'{text}' {why}; the types are {known}")


@dataclass(frozen=True, slots=True)
class DataType:
    """A type of a contract's column: `kind` is its name without parameters."""

    kind: str
    precision: int = 0
    scale: int = 0
    item: DataType | None = None
    fields: Mapping[str, DataType] = field(default_factory=dict[str, "DataType"])

    @property
    def stored(self) -> pl.DataType:
        """The Polars type of the Delta column."""
        if self.kind == "decimal":
            return pl.Decimal(self.precision, self.scale)
        if self.item is not None:
            return pl.List(self.item.stored)
        if self.kind == "struct":
            return pl.Struct({name: member.stored for name, member in self.fields.items()})
        return _STORED[self.kind]

    def __str__(self) -> str:
        if self.kind == "decimal":
            return f"decimal({self.precision},{self.scale})"
        if self.item is not None:
            return f"list<{self.item}>"
        if self.kind == "struct":
            return (
                f"struct<{', '.join(f'{name}: {member}' for name, member in self.fields.items())}>"
            )
        return self.kind


def parse_type(text: str) -> DataType:
    """The type that `text` names, such as `decimal(10,2)` or `list<struct<a: int32, b: string>>`.

    Raises:
        UnknownTypeError: when it names none.
    """
    text = text.strip()
    if text in _STORED:
        return DataType(text)
    if text.startswith("decimal"):
        return _parse_decimal(text)
    if text.startswith("list<") and text.endswith(">"):
        return DataType("list", item=parse_type(text[5:-1]))
    if text.startswith("struct<") and text.endswith(">"):
        members = (_parse_member(text, part) for part in _split_members(text[7:-1]))
        return DataType("struct", fields=dict(members))
    raise UnknownTypeError(text)


def _parse_decimal(text: str) -> DataType:
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise UnknownTypeError(text, "wants its digits, as in decimal(10,2)")
    precision, scale = int(match[1]), int(match[2])
    if not 1 <= precision <= 38 or scale > precision:
        raise UnknownTypeError(text, "has more digits than a decimal holds (38)")
    return DataType("decimal", precision, scale)


def _parse_member(text: str, part: str) -> tuple[str, DataType]:
    name, colon, kind = part.partition(":")
    if not colon or not name.strip():
        raise UnknownTypeError(text, f"has a member '{part.strip()}' without a name and a type")
    return name.strip(), parse_type(kind)


def _split_members(text: str) -> list[str]:
    """`text` cut at the commas that stand outside any bracket."""
    parts, depth, start = list[str](), 0, 0
    for at, character in enumerate(text):
        depth += (character in "<(") - (character in ">)")
        if character == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]
