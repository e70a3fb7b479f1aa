"""What rules cost: beside one pass of Polars written by hand, and within an apply."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from benchmarks.accounts import CATALOG, TABLE
from pipelines import applying
from pipelines.applying import Work
from pipelines.contract.rule_spec import RuleSpec
from pipelines.quality import judge_rows
from pipelines.rejudge import rejudge, standing
from pipelines.silver import apply
from pipelines.storage import Lake
from quality_rules.rule import Rule, RuleKind, Severity
from quality_rules.split import split

_STATES = ["NEW", "PAID", "SENT", "DONE"]
_MAIL = r"^[^@]+@[^@]+\.[^@]+$"


def rows_of(number: int) -> pl.DataFrame:
    """Twelve columns; about one row in a hundred breaks a rule."""
    at = pl.int_range(number, eager=True).alias("id")
    created = pl.lit(datetime(2026, 1, 1, tzinfo=UTC)) + at.cast(pl.Duration("ms"))
    return pl.select(
        id=at,
        customer=at % 5000,
        state=pl.lit(pl.Series(_STATES)).gather(at % 4),
        total=(at % 9000).cast(pl.Decimal(10, 2)),
        tax=(at % 700).cast(pl.Decimal(10, 2)),
        currency=pl.lit("EUR"),
        mail=pl.concat_str(pl.lit("person"), at.cast(pl.String), pl.when(at % 300 == 0).then(pl.lit("")).otherwise(pl.lit("@x.org"))),
        country=pl.lit(pl.Series(["DE", "FR", "PL"])).gather(at % 3),
        note=pl.when(at % 5 == 0).then(pl.lit("a note of some words")),
        created_at=created,
        updated_at=created + pl.lit(timedelta(minutes=5)),
        version=at % 9 + pl.when(at % 200 == 0).then(0).otherwise(1),
    )  # fmt: skip


_KINDS: list[tuple[str, str, tuple[str, ...], dict[str, Any]]] = [
    ("id_required", "NOT_NULL", ("id",), {}),
    ("customer_required", "NOT_NULL", ("customer",), {}),
    ("state_values", "SET", ("state",), {"values": _STATES}),
    ("total_range", "RANGE", ("total",), {"min": 0, "max": 10000}),
    ("tax_range", "RANGE", ("tax",), {"min": 0}),
    ("currency_pattern", "PATTERN", ("currency",), {"regex": "^[A-Z]{3}$"}),
    ("mail_pattern", "PATTERN", ("mail",), {"regex": _MAIL}),
    ("note_length", "LENGTH", ("note",), {"max": 200}),
    ("version_range", "RANGE", ("version",), {"min": 1}),
    ("in_order", "EXPRESSION", (), {"sql": "updated_at >= created_at"}),
]
RULES = [
    Rule(table=TABLE, name=name, kind=RuleKind(kind), columns=columns, params=params,
         severity=Severity.WARNING if name == "note_length" else Severity.ERROR)
    for name, kind, columns, params in _KINDS
]  # fmt: skip


#: Nine rules of the accounts, beside the one that their key implies.
_SPECS = tuple(
    RuleSpec.model_validate({"name": f"rule_{at}", "severity": "warning", **each})
    for at, each in enumerate(
        [
            {"not_null": {"column": "customer"}},
            {"format": {"column": "customer", "format": "uuid"}},
            {"set": {"column": "status", "values": ["NEW", "SHIPPED"]}},
            {"range": {"column": "total", "min": 0, "max": 100000}},
            {"pattern": {"column": "currency", "regex": "^[A-Z]{3}$"}},
            {"length": {"column": "created_by", "max": 50}},
            {"range": {"column": "version", "min": 1}},
            {"range": {"column": "ordered_on", "min": "2020-01-01"}},
            {"expression": {"sql": "updated_at >= created_at"}},
        ]
    )
)


def by_hand(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same ten conditions as somebody would write them: the rows that keep all, and the others."""
    judged = rows.with_columns(
        pl.col("id").is_not_null().alias("r1"),
        pl.col("customer").is_not_null().alias("r2"),
        pl.col("state").is_in(_STATES).alias("r3"),
        pl.col("total").is_between(0, 10000).alias("r4"),
        (pl.col("tax") >= 0).alias("r5"),
        pl.col("currency").str.contains("^[A-Z]{3}$").alias("r6"),
        pl.col("mail").str.contains(_MAIL).alias("r7"),
        (pl.col("note").str.len_chars() <= 200).alias("r8"),
        (pl.col("version") >= 1).alias("r9"),
        (pl.col("updated_at") >= pl.col("created_at")).alias("r10"),
    )
    good = pl.all_horizontal(
        pl.col(f"r{at}").fill_null(value=True) for at in range(1, 11) if at != 8
    )
    told = judged.with_columns(good.alias("good"))
    return told.filter("good"), told.filter(~pl.col("good"))


def rules(rows: int) -> dict[str, Any]:
    """Our split beside the pass by hand, in turns; the best of each, as other work only slows them."""
    frame, taken = rows_of(rows), {"split": list[float](), "by_hand": list[float]()}
    for _ in range(7):
        for name, step in (("split", lambda: split(frame, RULES, {})), ("by_hand", lambda: by_hand(frame))):  # fmt: skip
            taken[name].append(_timed(step))
    ours, theirs = split(frame, RULES, {}), by_hand(frame)
    assert [ours.kept.height, ours.quarantined.height] == [each.height for each in theirs]
    return {name: min(each) for name, each in taken.items()}


def within_apply(folder: str) -> dict[str, Any]:
    """How much of an apply is spent on judging by ten rules; the rows stored before know them already."""
    lake, now = Lake(folder), datetime.now(UTC)
    contract = CATALOG[TABLE].model_copy(update={"rules": _SPECS})
    work = Work(lake=lake, catalog=CATALOG, contract=contract, now=now, app_id="")
    rejudge(work, standing(lake, contract), was_empty=False)
    spent = list[float]()

    def timed(*args: Any) -> Any:
        began = time.perf_counter()
        found = judge_rows(*args)
        spent.append(time.perf_counter() - began)
        return found

    applying.judge_rows = timed
    ruled = CATALOG.having(contract)
    seconds = _timed(lambda: apply(lake, ruled, TABLE, now=now))
    return {"seconds": seconds, "judging": sum(spent)}


def _timed(step: Callable[[], Any]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began
