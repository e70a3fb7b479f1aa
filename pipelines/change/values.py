"""Texts of a message to typed values: exact, or null. A null where there was a text is a refusal."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipelines.change.calendar import FIRST_MICRO, LAST_MICRO, millis_as_micros, on_calendar
from pipelines.change.octets import bits_as_number, bytes_as_text
from pipelines.change.schema import Writing
from pipelines.change.texts import fill
from pipelines.contract import DataType
from pipelines.contract.types import FLOATS, INTEGERS, TIMESTAMPS

_DAY_MICROS = 86_400_000_000

_UTC = pl.Datetime("us", "UTC")

#: Nine digits tell any two float32 apart (IEEE 754-2019, 5.12.2); more come from a double.
_FLOAT32_DIGITS = 9

#: A Postgres numeric: up to 131,072 digits before the point and 16,383 behind it (Postgres, "Numeric Types").
_MOST_BYTES, _MOST_SCALE = 61_250, 16_383

_HIGH_OF_38_DIGITS = 10**38 >> 64

_SPECIAL_FLOATS = {"NaN": "NaN", "Infinity": "inf", "-Infinity": "-inf"}


def raw_type(kind: DataType) -> pl.DataType:
    """What a column is read as from JSON: text at every leaf, so that no parser assumes a type."""
    if kind.item is not None:
        return pl.List(raw_type(kind.item))
    if kind.kind == "struct":
        return pl.Struct({name: raw_type(member) for name, member in kind.fields.items()})
    return pl.String()


def decode(raw: pl.Expr, kind: DataType, writing: Writing) -> pl.Expr:
    """The typed value of `raw`, null where it cannot be held exactly."""
    if kind.item is not None:
        return _decode_list(raw, kind, writing)
    if kind.kind == "struct":
        return _decode_struct(raw, kind, writing)
    if kind.kind == "decimal":
        return _decode_decimal(raw, kind, writing)
    if kind.kind in INTEGERS:
        return _decode_integer(raw, kind, writing)
    if kind.kind in FLOATS:
        return _decode_float(raw, kind)
    if kind.kind in TIMESTAMPS:
        return _decode_timestamp(raw, kind, writing)
    if kind.kind == "binary":
        return _decode_binary(raw, writing)
    return _decode_plain(raw, kind, writing)


def _decode_plain(raw: pl.Expr, kind: DataType, writing: Writing) -> pl.Expr:
    if kind.kind == "bool":
        return raw.replace_strict(
            {"true": True, "false": False, "1": True, "0": False},
            default=None,
            return_dtype=pl.Boolean,
        )
    if kind.kind == "date":
        return _decode_date(raw, writing)
    if kind.kind == "time":
        return _decode_time(raw, writing)
    if kind.kind == "duration":
        return _to_micros(raw.cast(pl.Int64, strict=False), writing)
    if kind.kind == "uuid":
        lower = raw.str.to_lowercase()
        return pl.when(lower.str.contains(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")).then(
            lower
        )
    if kind.kind == "string" and writing.encoding in ("utf8", "bits"):
        return bytes_as_text(raw, writing)
    if kind.kind == "string" and writing.encoding == "base64":
        return raw.map_batches(
            lambda s: _decimal_text(s, writing.scale), return_dtype=pl.String, is_elementwise=True
        )
    return raw


# ---- NUMBERS ---- #


def _decode_integer(raw: pl.Expr, kind: DataType, writing: Writing) -> pl.Expr:
    if writing.encoding == "bits":
        return bits_as_number(raw).cast(kind.stored, strict=False)
    if writing.encoding == "base64":
        whole = DataType("decimal", 38, 0)
        raw = _decode_decimal(raw, whole, writing).cast(pl.String)
    return raw.str.strip_suffix(".0").cast(kind.stored, strict=False)


def _decode_float(raw: pl.Expr, kind: DataType) -> pl.Expr:
    """A binary float; one too large for the type, or of more digits than float32 tells apart, is refused."""
    number = raw.replace(_SPECIAL_FLOATS).cast(kind.stored, strict=False)
    lost = number.is_infinite() & ~raw.is_in(list(_SPECIAL_FLOATS))
    if kind.kind == "float32":
        digits = raw.str.replace(r"[eE].*$", "").str.replace_all(r"[^0-9]", "").str.strip_chars("0")
        lost = lost | (digits.str.len_bytes() > _FLOAT32_DIGITS)
    return pl.when(~lost).then(number)


def _decode_decimal(raw: pl.Expr, kind: DataType, writing: Writing) -> pl.Expr:
    if writing.encoding == "uint64":
        raw = _unsigned(raw)
    if writing.encoding == "base64":
        scale = kind.scale if writing.scale is None else writing.scale
        return raw.map_batches(
            lambda s: _unscaled_decimals(s, kind, scale),
            return_dtype=kind.stored,
            is_elementwise=True,
        )
    return raw.map_batches(
        lambda s: _text_decimals(s, kind), return_dtype=kind.stored, is_elementwise=True
    )


def _unsigned(raw: pl.Expr) -> pl.Expr:
    """The text of an unsigned number of 64 bits that was sent as a signed one of the same bits."""
    number = raw.cast(pl.Int128, strict=False)
    return pl.when(number < 0).then(number + 2**64).otherwise(number).cast(pl.String)


def _text_decimals(raw: pl.Series, kind: DataType) -> pl.Series:
    """Plain decimal texts in bulk; those with an exponent, or too many digits, one by one."""
    parts = raw.str.extract_groups(r"^([+-]?)0*(\d*)(?:\.(\d*?)0*)?$").struct.unnest()
    whole, fraction = parts["2"], parts["3"].fill_null("")
    fits = (whole.str.len_bytes() <= kind.precision - kind.scale) & (
        fraction.str.len_bytes() <= kind.scale
    )
    plain = fits.fill_null(value=False) & raw.str.contains(r"\d")
    easy = pl.select(pl.when(plain).then(raw)).to_series().cast(kind.stored, strict=False)
    hard = (raw.is_not_null() & easy.is_null()).arg_true()
    if not len(hard):
        return easy
    return easy.scatter(
        hard, pl.Series([_exact(text, kind) for text in raw.gather(hard)], dtype=kind.stored)
    )


def _exact(text: str, kind: DataType) -> Decimal | None:
    """The decimal that `text` writes, when the type holds it without rounding."""
    with localcontext(Context(prec=kind.precision, traps=[Inexact, InvalidOperation])):
        try:
            value = Decimal(text)
            return value.quantize(Decimal(1).scaleb(-kind.scale)) if value.is_finite() else None
        except (ArithmeticError, ValueError):
            return None


def _unscaled_decimals(raw: pl.Series, kind: DataType, scale: int) -> pl.Series:
    """Base64 of big-endian two's complement (Connect's Decimal), or JSON `{scale, value}`."""
    if raw.str.starts_with("{").any():
        texts = _decimal_text(raw, scale)
        return _text_decimals(texts, kind)
    if not 0 <= scale <= 38:
        return _text_decimals(_decimal_text(raw, scale), kind)
    held = pl.Series(_from_bytes(raw.str.decode("base64", strict=False), scale))
    easy = (
        held.cast(kind.stored, strict=False)
        if scale == kind.scale
        else _text_decimals(held.cast(pl.String), kind)
    )
    hard = (raw.is_not_null() & held.is_null()).arg_true()
    if not len(hard):
        return easy
    return easy.scatter(hard, _text_decimals(_decimal_text(raw.gather(hard), scale), kind))


def _from_bytes(numbers: pl.Series, scale: int) -> Any:
    """Decimal(38, scale) of up to 16 big-endian bytes each, in bulk: bytes are laid out reversed.

    Arrow holds a decimal as 16 little-endian bytes; shorter ones are filled with their sign.
    """
    arrow = numbers.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.large_binary())
    count = len(arrow)
    offsets = np.frombuffer(
        arrow.buffers()[1], dtype=np.int64, count=count + 1, offset=8 * arrow.offset
    )
    data = np.frombuffer(arrow.buffers()[2] or b"", dtype=np.uint8)
    lengths = np.diff(offsets)
    known = (
        numbers.is_not_null().to_numpy()
    )  # arrow's own way to numpy imports pandas: half a second
    valid = known & (lengths > 0) & (lengths <= 16)
    starts, sizes = offsets[:-1][valid], lengths[valid]
    rows = np.zeros((count, 16), dtype=np.uint8)
    if len(starts):
        negative = (data[starts] & 0x80) != 0
        rows[np.flatnonzero(valid)[negative]] = 0xFF
        at = np.repeat(np.flatnonzero(valid), sizes)
        total = int(sizes.sum())
        within = np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows[at, np.repeat(sizes, sizes) - 1 - within] = data[np.repeat(starts, sizes) + within]
    high = rows[:, 8:].copy().view(np.int64)[:, 0]
    # 38 digits end before 2**127; what lies at the very end goes to the slow path, which knows.
    valid &= (high < _HIGH_OF_38_DIGITS) & (high > -_HIGH_OF_38_DIGITS)
    validity = pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    return pa.Array.from_buffers(
        pa.decimal128(38, scale), count, [validity, pa.py_buffer(rows.tobytes())]
    )


def _decimal_text(raw: pl.Series, scale: int | None) -> pl.Series:
    """The digits of each base64 or `{scale, value}` decimal as plain text; any number of them."""
    value = raw.str.extract(r'"value":\s*"([^"]*)"')
    own_scale = raw.str.extract(r'"scale":\s*(-?\d+)').cast(pl.Int64, strict=False)
    packed = (
        pl.select(pl.when(raw.str.starts_with("{")).then(value).otherwise(raw))
        .to_series()
        .str.decode("base64", strict=False)
    )
    scales = pl.select(
        pl.when(raw.str.starts_with("{")).then(own_scale).otherwise(pl.lit(scale or 0))
    ).to_series()
    return pl.Series(
        [
            _digits(data, power) if data and power is not None else None
            for data, power in zip(packed, scales, strict=True)
        ],
        dtype=pl.String,
    )


def _digits(data: bytes, scale: int) -> str | None:
    """The number as plain digits; null for one that no database holds, whose digits would fill memory."""
    if len(data) > _MOST_BYTES or abs(scale) > _MOST_SCALE:
        return None
    number = Decimal(int.from_bytes(data, "big", signed=True))
    digits = len(number.as_tuple().digits)
    return format(number.scaleb(-scale, Context(prec=digits + abs(scale) + 1)), "f")


# ---- TIMES ---- #


def _decode_timestamp(raw: pl.Expr, kind: DataType, writing: Writing) -> pl.Expr:
    if writing.encoding == "timeuuid":
        return on_calendar(_timeuuid_micros(raw)).cast(kind.stored)
    if writing.encoding not in ("millis", "micros", "nanos"):
        return (
            _iso_micros(raw).cast(pl.Datetime("us")).cast(kind.stored)
            if kind.kind == "timestamp_ntz"
            else _iso_instant(raw)
        )
    micros = _to_micros(raw.cast(pl.Int64, strict=False), writing)
    return on_calendar(micros).cast(kind.stored)


#: 15 October 1582, from which version 1 counts, in tenths of microseconds before 1970 (RFC 9562, 5.1).
_GREGORIAN = 0x01B21DD213814000


def _timeuuid_micros(raw: pl.Expr) -> pl.Expr:
    """When a UUID of version 1 was made; its last digit, a tenth of a microsecond, only tells equals apart."""
    parts = raw.str.to_lowercase().str.extract_groups(
        r"^([0-9a-f]{8})-([0-9a-f]{4})-1([0-9a-f]{3})-[0-9a-f]{4}-[0-9a-f]{12}$"
    )
    digits = pl.concat_str([parts.struct.field(group) for group in ("3", "2", "1")])
    return (digits.str.to_integer(base=16, strict=False) - _GREGORIAN) // 10


def _to_micros(number: pl.Expr, writing: Writing) -> pl.Expr:
    if writing.encoding == "millis":
        return millis_as_micros(number)
    if writing.encoding == "nanos":
        return pl.when(number % 1000 == 0).then(number // 1000)
    return number


def _finer_than_micros(raw: pl.Expr) -> pl.Expr:
    return raw.map_batches(_finer, return_dtype=pl.Boolean, is_elementwise=True)


def _finer(texts: pl.Series) -> pl.Series:
    """Texts with digits beyond microseconds; looked for only where one is long enough to have them."""
    if (texts.str.len_bytes().max() or 0) <= len("2026-02-28T21:59:59.123456Z"):  # pyright: ignore[reportOperatorIssue] - a length
        return pl.repeat(value=False, n=len(texts), dtype=pl.Boolean, eager=True)
    return texts.str.contains(r"\.\d{6}\d*[1-9]").fill_null(value=False)


def _iso_micros(raw: pl.Expr) -> pl.Expr:
    """A local date and time; the `Z` that `isostring` mode writes behind it is no zone."""
    local = raw.str.strip_suffix("Z").str.replace(" ", "T", literal=True)
    parsed = local.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    return pl.when(_four_digit_year(parsed) & ~_finer_than_micros(raw)).then(parsed)


def _four_digit_year(parsed: pl.Expr) -> pl.Expr:
    return parsed.dt.year().is_between(1, 9999)


def _iso_instant(raw: pl.Expr) -> pl.Expr:
    """An instant with its offset; one without is refused, since its zone would be a guess."""
    return raw.map_batches(_instants, return_dtype=_UTC, is_elementwise=True)


def _instants(texts: pl.Series) -> pl.Series:
    """Instants in UTC, with a fraction of up to six digits, in bulk; any others by the longer way."""
    frame = texts.alias("").to_frame()
    padded = pl.col("").str.strip_suffix("Z").str.pad_end(len("2026-02-28T21:59:59.123456"), "0")
    parsed = padded.str.to_datetime("%Y-%m-%dT%H:%M:%S.%6f", time_unit="us", strict=False)
    utc = pl.col("").str.ends_with("Z") & _four_digit_year(parsed)
    easy = frame.select(pl.when(utc).then(parsed.dt.replace_time_zone("UTC"))).to_series()
    hard = (texts.is_not_null() & easy.is_null()).arg_true()
    if not len(hard):
        return easy
    return easy.scatter(hard, frame.select(_any_instant(pl.col("").gather(hard))).to_series())


def _any_instant(raw: pl.Expr) -> pl.Expr:
    zoned = raw.str.replace(r"Z$", "+00:00")
    parsed = zoned.str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False
    )
    return pl.when(_four_digit_year(parsed) & ~_finer_than_micros(raw)).then(parsed)


def _decode_date(raw: pl.Expr, writing: Writing) -> pl.Expr:
    if writing.encoding == "days":
        days = raw.cast(pl.Int64, strict=False)
        first, last = FIRST_MICRO // _DAY_MICROS, LAST_MICRO // _DAY_MICROS
        return pl.when(days.is_between(first, last)).then(days).cast(pl.Int32).cast(pl.Date)
    parsed = raw.str.strip_suffix("Z").str.to_date("%Y-%m-%d", strict=False)
    return pl.when(_four_digit_year(parsed)).then(parsed)


def _decode_time(raw: pl.Expr, writing: Writing) -> pl.Expr:
    """A time of day as `HH:MM:SS.ffffff`; 24:00 is one to Postgres, and stays one."""
    if writing.encoding in ("millis", "micros", "nanos"):
        micros = _to_micros(raw.cast(pl.Int64, strict=False), writing)
        return pl.when(micros.is_between(0, _DAY_MICROS)).then(_clock(micros))
    groups = raw.str.strip_suffix("Z").str.extract_groups(
        r"^(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?$"
    )
    hours, minutes = groups.struct.field("1"), groups.struct.field("2")
    seconds, fraction = (
        groups.struct.field("3").fill_null("00"),
        groups.struct.field("4").fill_null(""),
    )
    text = fill(
        "{}:{}:{}.{}", hours, minutes, seconds, fraction.str.slice(0, 6).str.pad_end(6, "0")
    )
    valid = (
        (text <= "24:00:00.000000") & (minutes < "60") & (seconds < "60") & ~_finer_than_micros(raw)
    )
    return pl.when(valid).then(text)


def _clock(micros: pl.Expr) -> pl.Expr:
    def two(number: pl.Expr) -> pl.Expr:
        return number.cast(pl.String).str.zfill(2)

    seconds = micros // 1_000_000
    fraction = (micros % 1_000_000).cast(pl.String).str.zfill(6)
    return fill(
        "{}:{}:{}.{}", two(seconds // 3600), two(seconds // 60 % 60), two(seconds % 60), fraction
    )


# ---- BYTES, LISTS, STRUCTS ---- #


def _decode_binary(raw: pl.Expr, writing: Writing) -> pl.Expr:
    if writing.encoding == "hex":
        return raw.str.decode("hex", strict=False)
    if writing.encoding == "base64-url-safe":
        raw = raw.str.replace_all("-", "+", literal=True).str.replace_all("_", "/", literal=True)
    return raw.str.decode("base64", strict=False)


def _decode_list(raw: pl.Expr, kind: DataType, writing: Writing) -> pl.Expr:
    item = kind.item
    assert item is not None  # noqa: S101 - lists have an item type
    inner = writing.item or writing
    decoded = raw.list.eval(decode(pl.element(), item, inner))
    lost = raw.list.drop_nulls().list.len() != decoded.list.drop_nulls().list.len()
    return pl.when(~lost).then(decoded)


def _decode_struct(raw: pl.Expr, kind: DataType, writing: Writing) -> pl.Expr:
    known = writing.fields or {}
    plain = Writing(encoding="text")
    parts = {n: decode(raw.struct.field(n), t, known.get(n, plain)) for n, t in kind.fields.items()}
    lost = pl.any_horizontal(
        raw.struct.field(n).is_not_null() & part.is_null() for n, part in parts.items()
    )
    return pl.when(raw.is_not_null() & ~lost).then(
        pl.struct([part.alias(n) for n, part in parts.items()])
    )
