"""Rules that raise on some rows: exactly those rows are found, and all others are judged."""

from __future__ import annotations

import polars as pl

from quality_rules.conditions import RAISED

#: Begins the issue of a row that a rule could not be judged on; the rule's name follows.
UNJUDGED = "unjudged"


def judge_each(rows: pl.DataFrame, valid: pl.Expr) -> tuple[pl.Series, pl.Series]:
    """For each row whether it breaks the condition, and whether the condition raised on it.

    The rows are halved until what raises stands alone: k rows of n that raise cost some k log n
    evaluations. Only for conditions that have raised, which contracts that pass their check seldom do.
    """
    broken = [pl.Series([], dtype=pl.Boolean)]
    raised = [pl.Series([], dtype=pl.Boolean)]
    pieces = [rows] if len(rows) else []
    while pieces:
        piece = pieces.pop()
        try:
            told = piece.select(pl.int_range(pl.len()), is_broken(valid).alias("broken"))
            broken.append(told["broken"])
            raised.append(pl.repeat(value=False, n=len(piece), dtype=pl.Boolean, eager=True))
        except RAISED:
            if len(piece) == 1:
                broken.append(pl.Series([False]))
                raised.append(pl.Series([True]))
            else:
                half = len(piece) // 2
                pieces += [piece.slice(half), piece.head(half)]
    return pl.concat(broken).alias("broken"), pl.concat(raised).alias("raised")


def is_broken(valid: pl.Expr) -> pl.Expr:
    """True where a condition is false; where it is null it does not apply, and is kept."""
    return (~valid).fill_null(value=False)
