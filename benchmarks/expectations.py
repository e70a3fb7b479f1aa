"""Great Expectations over one frame of twelve columns: ten rules by our engine, by its own for pandas, and by hand.

By hand is one lazy Polars pass that counts what breaks each rule, and knows nothing else: no keys of
rows, no names, no results. All three hold the frame in memory and have been warmed up.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from quality_rules.rule import Rule, RuleKind

TABLE = "silver.bench.orders"
_STATUS = ["CONFIRMED", "SHIPPED", "DELIVERED", "CANCELLED"]


def frame(rows: int) -> pl.DataFrame:
    """Twelve columns, of which one row in a thousand breaks each of most rules."""
    draw = np.random.default_rng(7)
    at = pl.int_range(rows, eager=True)
    bad = pl.Series(draw.random(rows) < 0.001)
    return pl.DataFrame(
        {
            "order_id": at,
            "customer_id": draw.integers(0, rows // 10 + 1, rows),
            "line": draw.integers(0, 9, rows),
            "status": draw.choice(_STATUS, rows),
            "country": draw.choice(["DE", "FR", "SE", "NZ"], rows),
            "amount": draw.normal(100, 20, rows),
            "tax": draw.normal(20, 4, rows),
            "quantity": draw.integers(1, 50, rows),
            "ordered_on": draw.integers(19_000, 20_000, rows),
            "note": draw.choice(["", "gift", "call first", "fragile"], rows),
        }
    ).with_columns(
        pl.when(~bad).then(pl.format("user{}@example.org", "customer_id")).alias("email"),
        pl.format("A{}", pl.col("order_id") % 10_000).alias("code"),
        pl.when(bad).then(pl.lit("?")).otherwise("status").alias("status"),
        pl.when(bad).then(-1).otherwise("quantity").alias("quantity"),
        pl.col("ordered_on").cast(pl.Int32).cast(pl.Date),
        pl.col("amount", "tax").cast(pl.Decimal(10, 2)),  # money, as the lake's tables hold it
    )


def rule(name: str, kind: str, *columns: str, **params: Any) -> Rule:
    """A rule of the frame."""
    return Rule(table=TABLE, name=name, kind=RuleKind(kind), columns=columns, params=params)


RULES = [
    rule("order_id_required", "NOT_NULL", "order_id"),
    rule("order_id_unique", "UNIQUE", "order_id"),
    rule("email_required", "NOT_NULL", "email"),
    rule("email_pattern", "PATTERN", "email", regex=r"^[^@\s]+@[^@\s]+\.[a-z]+$"),
    rule("status_values", "SET", "status", values=_STATUS),
    rule("quantity_range", "RANGE", "quantity", min=1, max=100),
    rule("amount_range", "RANGE", "amount", min=0),
    rule("tax_range", "RANGE", "tax", max=500),
    rule("country_length", "LENGTH", "country", min=2, max=2),
    rule("code_pattern", "PATTERN", "code", regex="^A[0-9]+$"),
]


def by_hand(rows: pl.LazyFrame) -> list[int]:
    """How many rows break each rule, in one pass."""
    text = pl.col("email")
    broken = [
        pl.col("order_id").is_null(),
        pl.col("order_id").is_duplicated(),
        text.is_null(),
        ~text.str.contains(r"^[^@\s]+@[^@\s]+\.[a-z]+$"),
        ~pl.col("status").is_in(_STATUS),
        ~pl.col("quantity").is_between(1, 100),
        pl.col("amount") < 0,
        pl.col("tax") > 500,
        pl.col("country").str.len_chars() != 2,
        ~pl.col("code").str.contains("^A[0-9]+$"),
    ]
    counted = [each.sum().alias(str(at)) for at, each in enumerate(broken)]
    return list(rows.select(counted).collect(engine="streaming").row(0))


def validate(rows: int) -> dict[str, Any]:
    """The seconds of each way, the runs of all three taking turns; all count the same rows."""
    from quality_rules.expectations import context
    from quality_rules.expectations import validate as by_our_engine
    from quality_rules.gx.suite import suite_of

    made = frame(rows)
    lazy, suite = made.lazy(), suite_of(TABLE, RULES)
    asset = context().data_sources.add_pandas(name="pandas").add_dataframe_asset(name=TABLE)
    request = asset.build_batch_request({"dataframe": made.to_pandas()})

    def ours() -> list[int]:
        report = by_our_engine(lazy, RULES, {}, table=TABLE, key=["order_id"])
        found = {each.rule: each.unexpected for each in report.results}
        return [found[rule.name] for rule in RULES]

    def pandas() -> list[int]:
        result = asset.get_batch(request).validate(suite)
        told = {
            r.expectation_config.meta["rule"]: r.result["unexpected_count"] for r in result.results
        }
        return [told[rule.name] for rule in RULES]

    seconds: dict[str, list[float]] = {"hand": [], "ours": [], "pandas": []}
    ways: dict[str, Callable[[], list[int]]] = {
        "hand": lambda: by_hand(lazy),
        "ours": ours,
        "pandas": pandas,
    }
    counts = by_hand(lazy)
    ours()
    for turn in range(5):
        for name, way in ways.items():
            if name == "pandas" and turn >= 2:  # one takes ten seconds
                continue
            began = time.perf_counter()
            found = way()
            seconds[name].append(time.perf_counter() - began)
            if found != counts:
                raise AssertionError(f"{name} counts {found}, by hand it is {counts}")
    return {name: statistics.median(taken) for name, taken in seconds.items()}
