"""Columns made of what Avro's reader found: views, lists, texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipelines.change.texts import fill

Ints = npt.NDArray[np.int64]

#: Text up to this long stands in the view itself (Arrow columnar format, "Variable-size binary view").
_INLINE = 12


def words(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The value with each float as text: the number, or Java's word for what is none."""
    if isinstance(dtype, pl.Struct):
        parts = [
            words(value.struct.field(f.name), _made(f.dtype)).alias(f.name) for f in dtype.fields
        ]
        return pl.when(value.is_not_null()).then(pl.struct(parts))
    if isinstance(dtype, pl.List):
        return value.list.eval(words(pl.element(), _made(dtype.inner)))
    if not dtype.is_float():
        return value
    infinite = pl.when(value > 0).then(pl.lit("Infinity")).otherwise(pl.lit("-Infinity"))
    odd = pl.when(value.is_nan()).then(pl.lit("NaN")).otherwise(infinite)
    return (
        pl.when(value.is_finite()).then(value.cast(pl.String)).when(value.is_not_null()).then(odd)
    )


def _made(dtype: Any) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype


def base64_texts(values: pl.Series) -> pl.Series:
    """Bytes as JSON can hold them."""
    return values.bin.encode("base64")


def utf8(data: bytes) -> str | None:
    """The text that the bytes are in UTF-8, None where they are none."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def views(data: npt.NDArray[np.uint8], start: Ints, lengths: Ints) -> pl.Series:
    """Slices of a buffer as Arrow binary views: only the short ones are copied."""
    views = np.zeros((len(start), 4), dtype=np.int32)
    views[:, 0] = lengths
    inline = lengths <= _INLINE
    if inline.any():
        width = np.arange(_INLINE)
        taken = data[start[inline][:, None] + width]
        taken[width >= lengths[inline][:, None]] = 0
        views[inline, 1:] = np.ascontiguousarray(taken).view(np.int32)
    if not inline.all():
        first = np.ascontiguousarray(data[start[~inline][:, None] + np.arange(4)])
        views[~inline, 1] = first.view(np.int32)[:, 0]
        views[~inline, 3] = start[~inline]
    buffers = [None, pa.py_buffer(views.tobytes()), pa.py_buffer(data)]
    return pl.Series(pa.Array.from_buffers(pa.binary_view(), len(start), buffers))


def spread(mask: npt.NDArray[np.bool_], values: pl.Series) -> pl.Series:
    """The values where the mask is true, null elsewhere."""
    if mask.all():
        return values
    index = pl.Series(np.cumsum(mask) - 1, dtype=pl.Int64)
    at = pl.select(pl.when(pl.Series(mask)).then(index)).to_series()
    if not len(values):
        return pl.repeat(None, len(mask), dtype=values.dtype, eager=True)
    return values.gather(at)


def lists(values: pl.Series, lengths: npt.NDArray[Any]) -> pl.Series:
    """Lists of these lengths, one after another."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = values.to_arrow(compat_level=pl.CompatLevel.oldest())
    return pl.Series(pa.LargeListArray.from_arrays(pa.array(offsets), items))


def objects(pairs: pl.Series) -> pl.Series:
    """JSON object texts from lists of keys and values."""
    entry = pl.element().struct
    member = fill(
        "{}: {}",
        pl.struct(entry.field("key")).struct.json_encode().str.slice(7).str.strip_suffix("}"),
        pl.struct(entry.field("value")).struct.json_encode().str.slice(9).str.strip_suffix("}"),
    )
    joined = pairs.to_frame("m").select(pl.col("m").list.eval(member).list.join(", ")).to_series()
    return pl.select(pl.concat_str([pl.lit("{"), joined, pl.lit("}")])).to_series()


def as_text(values: pl.Series) -> pl.Series:
    """Values of any type as texts, nested ones as JSON."""
    if isinstance(values.dtype, pl.Struct):
        return values.struct.json_encode()
    if isinstance(values.dtype, pl.List):
        wrapped = values.to_frame("l").to_struct().struct.json_encode()
        return wrapped.str.slice(5).str.strip_suffix("}")
    return values.cast(pl.String)
