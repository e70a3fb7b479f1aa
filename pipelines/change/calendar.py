"""The times that a calendar of four digits holds: what lies beyond, nothing downstream can write."""

from __future__ import annotations

import polars as pl

#: The years 1 to 9999 in microseconds since 1970. Debezium's infinities lie outside (Postgres
#: connector, "Temporal types"), and so do the times of a broken clock.
FIRST_MICRO = -62_135_596_800_000_000
LAST_MICRO = 253_402_300_799_999_999


def on_calendar(micros: pl.Expr) -> pl.Expr:
    """Microseconds, null beyond the calendar."""
    return pl.when(micros.is_between(FIRST_MICRO, LAST_MICRO)).then(micros)


def millis_as_micros(millis: pl.Expr) -> pl.Expr:
    """Milliseconds as microseconds, null beyond the calendar, where they would overflow in the end."""
    return pl.when(millis.is_between(FIRST_MICRO // 1000, LAST_MICRO // 1000)).then(millis * 1000)
