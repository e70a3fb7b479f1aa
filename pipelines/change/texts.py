"""Texts put together from columns."""

from __future__ import annotations

import polars as pl


def fill(template: str, *parts: pl.Expr) -> pl.Expr:
    """The template with each `{}` replaced by a column's text; null where one of them is null.

    Stands in for `polars.format`, which panics on a column whose first chunk is empty, as filtering
    by a mask leaves it (Polars 2.1).
    """
    first, *rest = template.split("{}")
    pieces = [pl.lit(first)]
    for part, text in zip(parts, rest, strict=True):
        pieces += [part, pl.lit(text)]
    return pl.concat_str(pieces)
