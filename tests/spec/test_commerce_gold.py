"""A few rows in, the gold rows they must become: each SQL file runs as it stands, over literal frames."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlglot

from lineage.columns import tables_of
from pipelines.contract import Contract, load_catalog
from pipelines.gold import added_columns
from pipelines.history import history_schema
from pipelines.state import silver_schema

CATALOG = load_catalog(Path(__file__).parents[2] / "assets")
GOLD = CATALOG.layer("gold")

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
    if layer == "silver":
        return silver_schema(CATALOG[table])
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
    """The columns that are the SQL's own."""
    added = added_columns(contract)
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


# ---- ANY GOLD TABLE ---- #


@pytest.mark.parametrize("contract", GOLD, ids=lambda contract: contract.name)
def test_sql_parses_and_gives_the_contracts_columns(contract: Contract):
    sql = contract.sql or ""
    assert sqlglot.parse_one(sql).named_selects == list(made_by_sql(contract))
    assert "*" not in sql.replace(" * ", "")
    assert build(contract.table) == []


# ---- FACTS ---- #


def test_of_two_lines_the_first_alone_counts_the_order_and_carries_its_shipping():
    rows = facts([order(0)], [line("i2", 0), line("i1", 0)])
    assert story(rows, "order_item_id", "order_count", "shipping_amount", "is_current") == [
        ("i1", 1, money("4.90"), True),
        ("i2", 0, money("0.00"), True),
    ]


def test_a_change_of_status_gives_two_intervals():
    rows = facts([order(0, 5), order(5, status="CONFIRMED")], [line("i1", 0)])
    assert story(rows, "order_status", "valid_from", "valid_to", "is_current", "order_count") == [
        ("CONFIRMED", 5, None, True, 1),
        ("PENDING", 0, 5, False, 1),
    ]


def test_a_change_of_a_line_cuts_the_order_and_leaves_the_other_line_as_it_was():
    changed = [line("i2", 0, 3), line("i2", 3, line_total=money("7.00"))]
    rows = facts([order(0)], [line("i1", 0), *changed])
    assert story(
        rows, "order_item_id", "valid_from", "valid_to", "total_amount", "order_count"
    ) == [
        ("i1", 0, 3, money("10.00"), 1),
        ("i1", 3, None, money("10.00"), 1),
        ("i2", 0, 3, money("10.00"), 0),
        ("i2", 3, None, money("7.00"), 0),
    ]


#: Lines come and go, the order changes: whichever line is first, an order counts once.
COMINGS_AND_GOINGS = {
    "a later line sorts first": [line("i2", 0), line("i1", 2)],
    "the first line goes": [line("i1", 0, 4), line("i1", 4, verdict="deleted"), line("i2", 0)],
    "lines take turns": [line("i1", 0, 3), line("i2", 2, 8), line("i3", 7), line("i1", 9)],
    "a line changes twice": [line("i1", 0, 1), line("i1", 1, 6), line("i1", 6), line("i2", 1)],
}


@pytest.mark.parametrize("lines", COMINGS_AND_GOINGS.values(), ids=COMINGS_AND_GOINGS.keys())
def test_an_order_counts_once_at_every_moment(lines: list[Row]):
    orders = [order(0, 5), order(5, status="CONFIRMED", shipping_amount=money("6.90"))]
    rows = facts(orders, lines)
    for minute in range(12):
        then = at(minute + 0.5)
        held = [r for r in rows if r["valid_from"] <= then < (r["valid_to"] or at(99))]
        shipping = money("4.90") if minute < 5 else money("6.90")
        expected = [
            v["order_item_id"]
            for v in lines
            if v["verdict"] == "kept" and v["valid_from"] <= then < (v["valid_to"] or at(99))
        ]
        assert sorted(r["order_item_id"] for r in held) == sorted(expected)
        assert sum(r["order_count"] for r in held) == 1
        assert sum(r["shipping_amount"] for r in held) == shipping
        assert [r["is_current"] for r in held] == [r["valid_to"] is None for r in held]


def test_intervals_that_only_touch_do_not_meet():
    rows = facts([order(5)], [line("i1", 0, 5), line("i1", 5, 5), line("i1", 5, verdict="deleted")])
    assert rows == []


def test_a_deleted_order_leaves_no_current_fact():
    rows = facts([order(0, 5), order(5, verdict="deleted")], [line("i1", 0), line("i2", 0)])
    assert story(rows, "order_item_id", "valid_to", "is_current") == [
        ("i1", 5, False),
        ("i2", 5, False),
    ]


@pytest.mark.parametrize("gone", ["order", "line"])
def test_what_the_shop_struck_out_leaves_no_current_fact(gone: str):
    struck = {"deleted_at": at(5)}
    orders = [order(0, 5), order(5, **(struck if gone == "order" else {}))]
    lines = [line("i1", 0, 5), line("i1", 5, **(struck if gone == "line" else {}))]
    assert story(facts(orders, lines), "valid_from", "valid_to", "is_current") == [(0, 5, False)]


def test_a_version_in_quarantine_makes_no_fact_and_ends_the_one_before():
    rows = facts([order(0)], [line("i1", 0, 5), line("i1", 5, verdict="quarantined")])
    assert story(rows, "valid_from", "valid_to", "is_current") == [(0, 5, False)]


def test_a_clock_set_back_gives_one_row_a_line_and_moment():
    lines = [line("i1", 0, 9, event=1), line("i1", 9, 4, event=2), line("i1", 4, event=3)]
    rows = facts([order(5, event=9)], lines)
    assert story(rows, "valid_from", "is_current", "order_count") == [(5, False, 1), (9, True, 1)]


def test_keys_come_from_the_dimensions_and_an_unknown_one_loses_no_fact():
    customers = [{"customer_key": 7, "customer_id": "c1"}]
    products = [{"product_key": 9, "product_id": "p1"}]
    lines = [line("i1", 0), line("i2", 0, product_id="p2")]
    rows = facts([order(0)], lines, gold_dim_customer=customers, gold_dim_product=products)
    assert story(rows, "order_item_id", "customer_key", "product_key") == [
        ("i1", 7, 9),
        ("i2", 7, None),
    ]


def test_the_day_is_that_of_the_order_in_utc():
    before_midnight = datetime(2025, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    rows = facts([order(0, created_at=before_midnight)], [line("i1", 0)])
    assert [row["order_date_key"] for row in rows] == [20251231]


def test_amounts_are_exact_to_the_last_digit():
    amounts = {
        "line_total": money("99999999.99"),
        "discount_amount": money("0.01"),
        "tax_amount": money("0.10"),
    }
    rows = facts([order(0, shipping_amount=money("12345678.91"))], [line("i1", 0, **amounts)])
    assert rows[0]["total_amount"] == money("99999999.99")
    assert rows[0]["discount_amount"] + rows[0]["tax_amount"] == money("0.11")
    assert rows[0]["shipping_amount"] == money("12345678.91")


# ---- SALES ---- #


def fact(count: int, total: str, shipping: str = "0.00", **values: Any) -> Row:
    sums = {"order_count": count, "total_amount": money(total), "shipping_amount": money(shipping)}
    given = {"order_date_key": 20260531, "customer_key": 1, "order_status": "PENDING"}
    return {**given, **sums, "is_current": True, **values}


def test_a_day_sums_current_facts_of_orders_that_stand():
    rows = build(
        "gold.commerce.daily_sales",
        gold_order_facts=[
            fact(1, "10.10", "4.90"),
            fact(0, "0.20"),
            fact(1, "5.00", customer_key=2),
            fact(1, "1.00", customer_key=None),
            fact(1, "70.00", is_current=False),
            fact(1, "80.00", order_status="CANCELLED"),
            fact(1, "3.00", order_date_key=20260601),
        ],
    )
    assert [tuple(row.values()) for row in rows] == [
        (20260531, 3, money("21.20"), money("7.07"), 2),
        (20260601, 1, money("3.00"), money("3.00"), 1),
    ]


@pytest.mark.parametrize(
    ("totals", "average"),
    [
        (["1.00", "1.01"], "1.01"),
        (["-1.00", "-1.01"], "-1.01"),
        (["0.00", "0.29"], "0.15"),
        (["8.04", "0.01"], "4.03"),
        (["10.00", "0.00", "0.00"], "3.33"),
        (["9999999999.99", "9999999999.98"], "9999999999.99"),
    ],
)
def test_the_average_rounds_half_a_cent_away_from_zero(totals: list[str], average: str):
    given = [fact(1, total) for total in totals]
    rows = build("gold.commerce.daily_sales", gold_order_facts=given)
    assert [row["avg_order_value"] for row in rows] == [money(average)]


def test_an_hour_sums_the_orders_placed_in_it_that_are_confirmed_or_further():
    def placed(minutes: float, status: str, total: str, **more: Any) -> Row:
        return {
            "order_id": f"{minutes}",
            "created_at": at(minutes),
            "status": status,
            "total_amount": money(total),
            **more,
        }

    rows = build(
        "gold.commerce.hourly_revenue",
        silver_orders=[
            placed(0, "CONFIRMED", "10.10"),
            placed(30, "SHIPPED", "0.20"),
            placed(59.9, "DELIVERED", "0.03"),
            placed(10, "PENDING", "100.00"),
            placed(20, "CANCELLED", "100.00"),
            placed(40, "CONFIRMED", "100.00", deleted_at=at(50)),
            placed(60, "CONFIRMED", "5.00"),
        ],
    )
    assert [tuple(row.values()) for row in rows] == [
        (at(0), at(60), 3, money("10.33")),
        (at(60), at(120), 1, money("5.00")),
    ]


# ---- DIMENSIONS ---- #


def test_dates_are_the_days_of_kept_orders_with_their_iso_week():
    rows = build(
        "gold.commerce.dim_date",
        history_orders=[
            order(0),
            order(0, 5, order_id="o2"),
            order(0, order_id="o3", created_at=datetime(2027, 1, 1, 5, tzinfo=UTC)),
            order(
                0, order_id="o4", created_at=datetime(2024, 2, 29, tzinfo=UTC), verdict="deleted"
            ),
        ],
    )
    assert [tuple(row.values()) for row in rows] == [
        (20260531, date(2026, 5, 31), 2026, 2, 5, 31, 22, 7, True),
        (20270101, date(2027, 1, 1), 2027, 1, 1, 1, 53, 5, False),
    ]


def test_a_customer_is_known_by_country_and_segment_alone():
    person = {"customer_id": "c1", "country": "DE", "segment": "trade", "created_at": at(0)}
    secrets = {"email": "a@b.c", "name": "Ada", "phone": "1"}
    rows = build("gold.commerce.dim_customer", silver_customers=[{**person, **secrets}])
    assert [tuple(row.values()) for row in rows] == [("c1", "DE", "trade", date(2026, 5, 31))]


def test_a_product_is_the_article_as_it_is_sold():
    article = {"sku": "s", "name": "Cup", "category": None, "price": money("0.10"), "active": False}
    rows = build("gold.commerce.dim_product", silver_products=[{"product_id": "p1", **article}])
    assert [tuple(row.values()) for row in rows] == [("p1", "s", "Cup", None, money("0.10"), False)]
