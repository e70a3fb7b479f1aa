"""Avro's binary encoding read a field at a time over many records at once, by numpy.

A record-by-record reader costs a call a value. Here every record keeps a cursor, and each field of
the schema is read for all records together: one varint for all, one text for all. A record that
breaks off, runs past its end, or does not end where it should is marked and spoils no other.

Source: Apache Avro 1.12 specification, "Binary encoding".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.avro.columns import (
    Ints,
    as_text,
    base64_texts,
    lists,
    objects,
    spread,
    utf8,
    views,
    words,
)

Schema = Any

#: Bytes behind the last record, so that a fixed-size look ahead never leaves the buffer.
_PADDING = bytes(16)

#: Elements of one array or map; more come from garbage, or belong in a table of their own.
_MOST_ITEMS = 1_000_000

#: A longer concatenation would not fit the 32-bit offsets of a view.
MOST_BYTES = 2**31 - 64


@dataclass(slots=True)
class Records:
    """Records of one schema behind each other, where each is read next, and which are sound."""

    data: npt.NDArray[np.uint8]
    at: Ints
    end: Ints
    ok: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, bodies: Sequence[bytes]) -> Records:
        """The records in these bytes; at most `MOST_BYTES` together."""
        lengths = np.fromiter(map(len, bodies), dtype=np.int64, count=len(bodies))
        end = np.cumsum(lengths)
        data = np.frombuffer(b"".join([*bodies, _PADDING]), dtype=np.uint8)
        return cls(data=data, at=end - lengths, end=end, ok=np.ones(len(bodies), dtype=np.bool_))

    def spoil(self, rows: Ints) -> None:
        """Marks records as broken and reads no further in them."""
        self.ok[rows] = False
        self.at[rows] = self.end[rows]


def read(schema: Schema, bodies: Sequence[bytes]) -> tuple[pl.Series, pl.Series]:
    """The values of records that all have one schema, and whether each could be read to its very end.

    Bytes come as base64 text, enums and maps as text, so that the result is what JSON can say.
    A float that is no number comes as Java's word for it.

    Raises:
        ValueError: when the schema is not one that can be read: recursive, or of an unknown type.
    """
    records = Records.of(bodies)
    reader = _Reader(records)
    values = reader.read(schema, np.arange(len(bodies)), "")
    values = reader.worded(values)
    ok = records.ok & (records.at == records.end)
    return values, pl.Series(ok)


class _Reader:
    """Reads values of any schema; knows the named types met so far."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self._named: dict[str, Schema] = {}
        self._open: set[str] = set()
        #: Whether a float was met that is no number.
        self.odd_floats = False

    def read(self, schema: Schema, rows: Ints, space: str) -> pl.Series:
        """One value of `schema` for each of `rows`; `space` is the namespace that names are relative to."""
        if isinstance(schema, str):
            plain = _PLAIN.get(schema)
            return (
                plain(self, rows) if plain else self.read(self._look_up(schema, space), rows, space)
            )
        if isinstance(schema, list):
            return self._union(schema, rows, space)
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.read(kind, rows, space)
        if kind in ("record", "enum", "fixed"):
            return self._read_named(schema, rows, space)
        if kind == "array":
            return self._items(rows, partial(self.read, schema["items"], space=space))
        if kind == "map":
            pairs = self._items(rows, partial(self._pair, schema["values"], space=space))
            return objects(self.worded(pairs))
        return self.read(kind, rows, space)

    def worded(self, values: pl.Series) -> pl.Series:
        """The values with floats as words, if any of those read so far is no number."""
        if not self.odd_floats:
            return values
        return values.to_frame("v").select(words(pl.col("v"), values.dtype).alias("v")).to_series()

    # ---- NAMED TYPES ---- #

    def _look_up(self, name: str, space: str) -> Schema:
        full = name if "." in name or not space else f"{space}.{name}"
        found = self._named.get(full, self._named.get(name))
        if found is None:
            raise ValueError(f"Avro type '{name}' is not known")
        return found

    def _read_named(self, schema: Mapping[str, Any], rows: Ints, space: str) -> pl.Series:
        name = str(schema["name"])
        space = str(schema.get("namespace", "")) or (name.rpartition(".")[0] or space)
        full = name if "." in name or not space else f"{space}.{name}"
        if full in self._open:
            raise ValueError(f"Avro type '{full}' holds itself")
        self._named[full] = {**schema, "namespace": space}
        self._open.add(full)
        try:
            return self._named_value(schema, rows, space)
        finally:
            self._open.discard(full)

    def _named_value(self, schema: Mapping[str, Any], rows: Ints, space: str) -> pl.Series:
        if schema["type"] == "fixed":
            size = np.full(len(rows), int(schema["size"]))
            return base64_texts(self._slices(rows, size))
        if schema["type"] == "enum":
            symbols = pl.Series(schema["symbols"], dtype=pl.String)
            return symbols.gather(self._index(rows, len(symbols)))
        fields = schema["fields"]
        if not fields:
            return pl.Series([{}] * len(rows), dtype=pl.Struct([]))
        columns = [self.read(field["type"], rows, space).alias(field["name"]) for field in fields]
        return pl.DataFrame(columns).to_struct()

    # ---- UNIONS ---- #

    def _union(self, branches: Sequence[Schema], rows: Ints, space: str) -> pl.Series:
        chosen = self._index(rows, len(branches))
        values = [
            (chosen == number, self.read(branch, rows[chosen == number], space))
            for number, branch in enumerate(branches)
            if branch != "null"
        ]
        if len(values) > 1:
            values = [(mask, as_text(self.worded(part))) for mask, part in values]
        if not values:
            return pl.repeat(None, len(rows), dtype=pl.Null, eager=True)
        result = spread(*values[0])
        for mask, part in values[1:]:
            result = spread(mask, part).zip_with(pl.Series(mask), result)
        return result

    def _index(self, rows: Ints, count: int) -> Ints:
        """A number from 0 to `count` - 1; anything else spoils the record."""
        index = self.longs(rows)
        wrong = (index < 0) | (index >= count)
        if wrong.any():
            self.records.spoil(rows[wrong])
            index[wrong] = 0
        return index

    # ---- ARRAYS AND MAPS ---- #

    def _items(self, rows: Ints, read_items: Callable[[Ints], pl.Series]) -> pl.Series:
        """A list for each row: blocks of items, each with its count, ended by an empty one."""
        owners, parts = list[Ints](), list[pl.Series]()
        here = np.arange(len(rows))
        while len(here):
            counts = self._block_counts(rows[here])
            here, counts = here[counts > 0], counts[counts > 0]
            for number in range(int(counts.max()) if len(counts) else 0):
                some = here[counts > number]
                parts.append(read_items(rows[some]))
                owners.append(some)
                alive = self.records.ok[rows[here]]
                here, counts = here[alive], counts[alive]
                if not len(here) or not (counts > number).any():
                    break
        empty = read_items(rows[:0])
        values = pl.concat([empty, *parts]) if parts else empty
        owner = np.concatenate(owners) if owners else np.empty(0, dtype=np.int64)
        order = np.argsort(owner, kind="stable")
        lengths = np.bincount(owner, minlength=len(rows))
        return lists(values.gather(order), lengths)

    def _block_counts(self, rows: Ints) -> Ints:
        counts = self.longs(rows)
        sized = counts < 0  # then the block's size in bytes follows
        if sized.any():
            self.longs(rows[sized])
            counts[sized] = -counts[sized]
        left = self.records.end[rows] - self.records.at[rows]
        wrong = (counts < 0) | (counts > np.minimum(left, _MOST_ITEMS))
        if wrong.any():
            self.records.spoil(rows[wrong])
            counts[wrong] = 0
        return counts

    def _pair(self, values: Schema, rows: Ints, space: str) -> pl.Series:
        return pl.DataFrame(
            [self.texts(rows).alias("key"), self.read(values, rows, space).alias("value")]
        ).to_struct()

    # ---- PRIMITIVES ---- #

    def longs(self, rows: Ints) -> Ints:
        """Zigzag variable-length integers of up to ten bytes."""
        records = self.records
        at, last = records.at[rows], len(records.data) - 1
        value = np.zeros(len(rows), dtype=np.uint64)
        going = np.arange(len(rows))
        for shift in range(0, 70, 7):
            byte = records.data[np.minimum(at[going], last)].astype(np.uint64)
            value[going] |= (byte & 0x7F) << np.uint64(shift)
            at[going] += 1
            going = going[byte >= 0x80]
            if not len(going):
                break
        wrong = at > records.end[rows]
        wrong[going] = True
        records.at[rows] = at
        if wrong.any():
            records.spoil(rows[wrong])
            value[wrong] = 0
        return (value >> np.uint64(1)).astype(np.int64) ^ -(value & np.uint64(1)).astype(np.int64)

    def fixed(self, rows: Ints, size: int) -> npt.NDArray[np.uint8]:
        """`size` bytes of each record, as a matrix."""
        records = self.records
        start = records.at[rows]
        short = start + size > records.end[rows]
        records.at[rows] = start + size
        if short.any():
            records.spoil(rows[short])
            start[short] = 0
        last = len(records.data) - size
        return records.data[np.minimum(start, last)[:, None] + np.arange(size)]

    def _slices(self, rows: Ints, lengths: Ints) -> pl.Series:
        """The next `lengths` bytes of each record, not copied when they are long."""
        records = self.records
        start = records.at[rows]
        wrong = (lengths < 0) | (lengths > records.end[rows] - start)
        if wrong.any():
            records.spoil(rows[wrong])
            lengths, start = np.where(wrong, 0, lengths), np.where(wrong, 0, start)
        good = ~wrong
        records.at[rows[good]] = (start + lengths)[good]
        return views(records.data, start, lengths)

    def texts(self, rows: Ints) -> pl.Series:
        """UTF-8 texts; what is none spoils its record."""
        raw = self._slices(rows, self.longs(rows))
        try:
            return raw.cast(pl.String)
        except pl.exceptions.PolarsError:
            decoded = [utf8(data) for data in raw.to_list()]
            self.records.spoil(rows[np.array([text is None for text in decoded])])
            return pl.Series(decoded, dtype=pl.String)

    def octets(self, rows: Ints) -> pl.Series:
        """Bytes of any length, as base64."""
        return base64_texts(self._slices(rows, self.longs(rows)))

    def whole(self, rows: Ints) -> pl.Series:
        """Longs as a column."""
        return pl.Series(self.longs(rows))

    def singles(self, rows: Ints) -> pl.Series:
        """IEEE 754 single precision, little-endian."""
        return self._floats(self.fixed(rows, 4), "<f4")

    def doubles(self, rows: Ints) -> pl.Series:
        """IEEE 754 double precision, little-endian."""
        return self._floats(self.fixed(rows, 8), "<f8")

    def _floats(self, octets: npt.NDArray[np.uint8], kind: str) -> pl.Series:
        values = np.ascontiguousarray(octets).view(kind)[:, 0]
        self.odd_floats = self.odd_floats or not bool(np.isfinite(values).all())
        return pl.Series(values)

    def booleans(self, rows: Ints) -> pl.Series:
        """One byte, 0 or 1."""
        byte = self.fixed(rows, 1)[:, 0]
        if (byte > 1).any():
            self.records.spoil(rows[byte > 1])
        return pl.Series(byte == 1)

    def ints(self, rows: Ints) -> pl.Series:
        """Longs that fit 32 bits."""
        value = self.longs(rows)
        wrong = (value < -(2**31)) | (value >= 2**31)
        if wrong.any():
            self.records.spoil(rows[wrong])
        return pl.Series(value)


def _null(_: _Reader, rows: Ints) -> pl.Series:
    return pl.repeat(None, len(rows), dtype=pl.Null, eager=True)


_PLAIN = {
    "null": _null,
    "boolean": _Reader.booleans,
    "int": _Reader.ints,
    "long": _Reader.whole,
    "float": _Reader.singles,
    "double": _Reader.doubles,
    "bytes": _Reader.octets,
    "string": _Reader.texts,
}
