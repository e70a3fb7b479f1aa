"""Gold tables of the shop's own database equal what DuckDB makes of the source itself."""

from __future__ import annotations

import json
import runpy
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from assets import demo_documents
from assets.demo_shop import generate
from assets.demo_source import Database
from tests.spec.domains import (
    ASSETS,
    Refinery,
    assert_checklist,
    assert_equal,
    assert_examples_run,
    source_of,
)
from tests.spec.test_commerce_documents import registry

#: The source without the rows that break an error rule.
KEPT = r"""
CREATE VIEW c AS SELECT * FROM customers WHERE regexp_matches(email, '^[^@]+@[^@]+\.[^@]+$');
CREATE MACRO stands(total, status, customer) AS total BETWEEN 0 AND 99999999.99 AND status IN ('PENDING', 'CONFIRMED', 'SHIPPED', 'DELIVERED', 'CANCELLED')
  AND customer IN (SELECT customer_id FROM c);
CREATE VIEW o AS SELECT * FROM orders WHERE total_amount IS NOT NULL AND stands(total_amount, status, customer_id);
CREATE VIEW i AS SELECT * FROM order_items WHERE order_id IN (SELECT order_id FROM o);
CREATE VIEW told AS SELECT * FROM orders_log WHERE op = 'd' OR stands(total_amount, status, customer_id);
CREATE MACRO key_of(t) AS CAST(strftime(t, '%Y%m%d') AS INTEGER);
"""  # fmt: skip

GOLD = {
    "daily_sales": """
        SELECT key_of(created_at) AS order_date_key, count(DISTINCT order_id) AS order_count, sum(line_total + shipping) AS total_revenue,
          CAST((CAST(total_revenue * 200 AS BIGINT) + order_count) // (2 * order_count) / 100 AS DECIMAL(18, 2)) AS avg_order_value, count(DISTINCT customer_id) AS unique_customers
        FROM (SELECT o.created_at, o.order_id, o.customer_id, i.line_total, IF(i.order_item_id = min(i.order_item_id) OVER (PARTITION BY o.order_id), o.shipping_amount, 0) AS shipping
          FROM o JOIN i USING (order_id) WHERE o.status <> 'CANCELLED' AND o.deleted_at IS NULL AND i.deleted_at IS NULL) GROUP BY ALL""",
    "hourly_revenue": """
        SELECT date_trunc('hour', created_at) AS hour_start, hour_start + INTERVAL 1 HOUR AS hour_end, count(*) AS order_count, sum(total_amount) AS revenue
        FROM o WHERE status IN ('CONFIRMED', 'SHIPPED', 'DELIVERED') AND deleted_at IS NULL GROUP BY ALL""",
}  # fmt: skip

#: Every change with the whole row before and after it, as DuckDB's own structures.
AUDIT = """
SELECT order_id, CASE WHEN op = 'd' THEN 'DELETE' WHEN old_values IS NULL THEN 'INSERT' ELSE 'UPDATE' END AS operation_type, make_timestamp(told_us) AS operation_timestamp,
  IF(op = 'd', NULL, updated_by) AS operation_user, old_values, new_values, commit AS correlation_id, lsn AS version
FROM (SELECT *, lag(new_values) OVER (PARTITION BY order_id ORDER BY commit, lsn) AS old_values FROM (SELECT *, IF(op = 'd', NULL, {
  'order_id': order_id, 'customer_id': customer_id, 'status': status, 'total_amount': total_amount, 'discount_amount': discount_amount, 'tax_amount': tax_amount,
  'shipping_amount': shipping_amount, 'currency': currency, 'note': note, 'created_at': created_at, 'created_by': created_by, 'updated_at': updated_at,
  'updated_by': updated_by, 'version': version, 'deleted_at': deleted_at, 'deleted_by': deleted_by}) AS new_values FROM told))
WHERE commit > 0 AND old_values IS DISTINCT FROM new_values
"""  # fmt: skip


@pytest.fixture(scope="module")
def shop() -> Database:
    return generate()


@pytest.fixture(scope="module")
def refinery(shop: Database, tmp_path_factory: pytest.TempPathFactory) -> Refinery:
    folder, half = tmp_path_factory.mktemp("shop"), len(shop.records) // 2
    made = Refinery(folder, "commerce", registry(folder))
    made.take(shop.records[:half])
    made.take([*shop.records[half:], *demo_documents.generate(days=3).records])
    return made


@pytest.fixture(scope="module")
def source(shop: Database) -> duckdb.DuckDBPyConnection:
    here = source_of(shop, "commerce")
    here.execute(KEPT)
    return here


@pytest.mark.parametrize("table", GOLD)
def test_gold_is_what_sql_says_of_the_source(
    table: str, refinery: Refinery, source: duckdb.DuckDBPyConnection
):
    assert_equal(refinery.rows(f"gold.commerce.{table}"), source, GOLD[table])


# ---- AUDIT ---- #


def test_the_audit_tells_every_change_of_an_order_with_the_row_before_and_after(
    refinery: Refinery, source: duckdb.DuckDBPyConnection
):
    assert_audit_is_the_log(refinery, source)


def assert_audit_is_the_log(refinery: Refinery, source: duckdb.DuckDBPyConnection) -> None:
    """Row by row, with the JSON as DuckDB's own structures."""
    made = refinery.rows("gold.commerce.orders_audit")
    assert made["audit_id"].is_unique().all()
    found = source.execute(AUDIT)
    names = [column[0] for column in found.description or ()]
    expected = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    rows = made.with_columns(pl.col("operation_timestamp").dt.replace_time_zone(None)).to_dicts()
    assert _plain(rows, names) == _plain(expected, names)
    assert set(made["operation_type"]) == {"INSERT", "UPDATE", "DELETE"}


def _plain(rows: list[dict[str, Any]], names: list[str]) -> list[tuple[Any, ...]]:
    """The rows with JSON and structures both as Python's own values, in one order."""
    told = [tuple(_value(row[name]) for name in names) for row in rows]
    return sorted(told, key=lambda row: (row[names.index("order_id")], row[-1]))


def _value(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value, parse_float=Decimal)
    if isinstance(value, dict):
        return {
            name: f"{each:%Y-%m-%dT%H:%M:%S.%fZ}" if isinstance(each, datetime) else each
            for name, each in value.items()
        }
    return value


def test_a_correlation_names_the_lines_that_came_with_the_order(refinery: Refinery):
    """The change that made an order, and the lines that the same transaction made."""
    made = refinery.rows("gold.commerce.orders_audit").filter(
        pl.col("operation_type") == "INSERT", pl.col("new_values").str.contains('"version":1,')
    )
    history = refinery.lake.scan("history.commerce.order_items")
    lines = history.filter(pl.col("verdict") != "deleted").collect()
    together = made.join(
        lines, left_on=["order_id", "correlation_id"], right_on=["order_id", "source_commit"]
    )
    assert set(together["order_id"]) == set(made["order_id"])
    sums = together.group_by("order_id").agg(
        pl.col("line_total").sum(), pl.col("new_values").first()
    )
    for lines_total, row in sums.select("line_total", "new_values").rows():
        order = json.loads(row, parse_float=Decimal)
        assert lines_total + order["shipping_amount"] == order["total_amount"]


def test_every_text_comes_out_of_the_audits_json_as_it_went_in(tmp_path: Path):
    small = generate(days=1, orders_a_day=8)
    order = next(iter(small.truth["orders"].values()))
    every = "".join(map(chr, range(1, 0x250))) + "\\u007c \u2028 \ufffd \U0001f600 {|a|:null}"
    nasty = {**order, "note": every, "updated_by": '"|\\', "version": 9}
    small.commit(("orders", "u", nasty))
    refinery = Refinery(tmp_path, "commerce")
    refinery.take(small.records)
    newest = refinery.rows("gold.commerce.orders_audit").filter(order_id=order["order_id"])
    told = json.loads(newest.sort("version")["new_values"][-1])
    assert (told["note"], told["updated_by"]) == (every, '"|\\')
    assert told["created_at"] == f"{order['created_at'].astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


# ---- LATE DATA ---- #


def test_an_order_that_is_confirmed_late_corrects_its_hour_and_no_other(
    shop: Database, tmp_path: Path
):
    """What the last third of the stream tells of earlier hours is in them, as if it had come in time."""
    late, third = Refinery(tmp_path, "commerce"), len(shop.records) // 3
    late.take(shop.records[: 2 * third])
    before = late.rows("gold.commerce.hourly_revenue")
    late.take(shop.records[2 * third :])
    after = late.rows("gold.commerce.hourly_revenue")
    corrected = before.join(after, on="hour_start").filter(
        pl.col("revenue") != pl.col("revenue_right")
    )
    assert 0 < len(corrected) < len(before)
    orders = late.rows("silver.commerce.orders").filter(
        pl.col("status").is_in(["CONFIRMED", "SHIPPED", "DELIVERED"])
    )
    assert after["revenue"].sum() == orders["total_amount"].sum()


# ---- README AND NOTEBOOK ---- #


def test_the_readmes_examples_run(refinery: Refinery):
    assert_examples_run("commerce", refinery.lake, refinery.catalog)


def test_the_readmes_checklist_names_what_there_is():
    assert_checklist("commerce")


def test_the_notebook_runs_and_its_answers_are_golds(
    refinery: Refinery, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MEDALLION_LAKE", refinery.lake.root)
    told = runpy.run_path(str(ASSETS.parent / "docs" / "notebooks" / "commerce.py"))
    assert told["days"]["total_revenue"].sum() == refinery.rows("gold.commerce.daily_sales")["total_revenue"].sum()  # fmt: skip
    assert len(told["late"]) > 0
    silver = refinery.rows("silver.commerce.orders")
    training = told["training"].sort("as_of", "customer_id")
    assert training["label"].sum() == silver["total_amount"].sum()
    first = training.filter(lifetime_order_count=0)
    assert 0 < len(first) < len(training)
