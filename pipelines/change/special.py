"""Values that a source may say and nothing of ours can hold: no number, no day of any calendar."""

from __future__ import annotations

import polars as pl

from pipelines.change.calendar import FIRST_MICRO, LAST_MICRO, on_calendar
from pipelines.change.schema import Writing
from pipelines.contract import DataType
from pipelines.contract.types import TIMESTAMPS

_DAY_MICROS = 86_400_000_000

#: Java's and Postgres' words for what is no number (SpecialValueDecimal), and for the ends of time.
_NO_NUMBER = ("NaN", "NAN", "Infinity", "-Infinity", "POSITIVE_INFINITY", "NEGATIVE_INFINITY")
_NO_YEAR = r"^([+-]\d{5,}-|-\d{4}-|0000-)|^-?infinity$"


def is_special(raw: pl.Expr, kind: DataType, writing: Writing) -> pl.Expr:
    """Whether a value is well said and yet one that no number or calendar of ours holds."""
    if kind.kind == "decimal":
        return raw.is_in(_NO_NUMBER)
    if kind.kind in TIMESTAMPS and writing.encoding in ("millis", "micros", "nanos"):
        number = raw.cast(pl.Int64, strict=False)
        micros = number if writing.encoding == "micros" else number * 1000
        if writing.encoding == "nanos":
            micros = number // 1000
        near = pl.lit(writing.encoding == "nanos") & number.is_in([2**63 - 1, -(2**63)])
        return number.is_not_null() & (on_calendar(micros).is_null() | near)
    if kind.kind == "date" and writing.encoding == "days":
        days = raw.cast(pl.Int64, strict=False)
        return days.is_not_null() & ~days.is_between(
            FIRST_MICRO // _DAY_MICROS, LAST_MICRO // _DAY_MICROS
        )
    if kind.kind in (*TIMESTAMPS, "date"):
        return raw.str.contains(_NO_YEAR)
    return pl.lit(value=False)
