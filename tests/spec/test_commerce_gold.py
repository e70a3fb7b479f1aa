"""A few rows in, the gold rows they must become: each SQL file runs as it stands, over literal frames."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlglot

from lineage.columns import tables_of
from pipelines.contract import Contract, load_catalog
from pipelines.history import history_schema

CATALOG = load_catalog(Path(__file__).parents[2] / "assets")
GOLD = CATALOG.layer("gold")

type_of = {"history": history_schema}
NOON = datetime(2026, 5, 31, 12, tzinfo=UTC)

Row = dict[str, Any]


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def money(text: str) -> Decimal:
    return Decimal(text)


# ---- INPUTS ---- #


def schema_of(table: str) -> dict[str, pl.DataType]:
    """The columns of an input as the lake holds them."""
    layer, _, rest = table.partition(".")
    if layer == "history":
        return history_schema(CATALOG[f"silver.{rest}"])
    return {name: column.type.stored for name, column in CATALOG[table].columns.items()}


def build(table: str, **inputs: list[Row]) -> list[Row]:
    """The rows that the table's SQL makes, less what the runner adds; inputs are named `silver_orders`."""
    frames = dict[str, pl.LazyFrame]()
    for name in tables_of(CATALOG[table].sql or ""):
        layer, domain, short = name.split(".")
        rows = inputs.pop(f"{layer}_{short}", [])
        schema = schema_of(f"{layer}.{domain}.{short}")
        whole = [{**dict.fromkeys(schema), **row} for row in rows]
        frames[name] = pl.LazyFrame(whole, schema=schema, orient="row")
    assert not inputs, f"{table} does not read {list(inputs)}"
    sql = CATALOG[table].sql or ""
    result = pl.SQLContext(frames).execute(sql, eager=False).collect(engine="streaming")
    assert dict(result.schema) == made_by_sql(CATALOG[table])
    return result.sort(pl.all()).to_dicts()


def made_by_sql(contract: Contract) -> dict[str, pl.DataType]:
    """The columns that are the SQL's own; the runner adds the surrogate key and the batch."""
    added = {contract.batch_id, contract.surrogate_key.column if contract.surrogate_key else None}
    return {n: column.type.stored for n, column in contract.columns.items() if n not in added}


def version(
    begin: float,
    end: float | None = None,
    *,
    verdict: str = "kept",
    event: int | None = None,
    **values: object,
) -> Row:
    """A version that held from minute `begin` to minute `end`; without an end it is the newest."""
    return {
        **values,
        "valid_from": at(begin),
        "valid_to": None if end is None else at(end),
        "is_current": end is None and verdict != "deleted",
        "is_deleted": verdict == "deleted",
        "verdict": verdict,
        "source_epoch": 1,
        "source_commit": event or int(begin * 10),
        "source_event": event or int(begin * 10),
        "source_offset": event or int(begin * 10),
    }


def order(begin: float, end: float | None = None, **values: Any) -> Row:
    given = {"order_id": "o1", "customer_id": "c1", "status": "PENDING", "created_at": NOON}
    return version(begin, end, **{**given, "shipping_amount": money("4.90"), **values})


def line(name: str, begin: float, end: float | None = None, **values: Any) -> Row:
    given = {"order_item_id": name, "order_id": "o1", "product_id": "p1"}
    sums = {"line_total": "10.00", "discount_amount": "0.50", "tax_amount": "1.60"}
    amounts = {column: money(text) for column, text in sums.items()}
    return version(begin, end, **{**given, **amounts, **values})


def facts(orders: list[Row], lines: list[Row], **more: list[Row]) -> list[Row]:
    return build(
        "gold.commerce.order_facts", history_orders=orders, history_order_items=lines, **more
    )


def story(rows: list[Row], *columns: str) -> list[tuple[object, ...]]:
    """The rows as tuples of these columns, times as minutes after noon."""

    def short(value: object) -> object:
        return (value - NOON).total_seconds() / 60 if isinstance(value, datetime) else value

    return sorted((tuple(short(row[name]) for name in columns) for row in rows), key=repr)
