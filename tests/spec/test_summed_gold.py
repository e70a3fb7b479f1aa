"""Groups are moved by what went and came, and worked out anew only where that leaves something open."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from pipelines.contract import Catalog
from pipelines.delta import read_snapshot
from pipelines.gold import Built, build
from pipelines.storage import Lake
from tests.properties.small_shop import (
    CUSTOMERS,
    GOLD,
    NOW,
    ORDERS,
    RATES,
    Change,
    Row,
    change,
    contract_for,
    day,
    shop,
    whole,
)


def order(customer: int, units: int | None, cents: int | None = None, at: int = 0) -> Row:
    amount = None if cents is None else Decimal(cents) / 100
    return (customer, day(at), "paid", amount, units)


FIRST: Change = {
    ORDERS: ({1: order(1, 2, 150), 2: order(1, 3, 290), 3: order(2, 5), 4: order(2, None)}, set()),
    CUSTOMERS: ({1: ("DE", None), 2: ("FR", None)}, set()),
}


def table(folder: Path, measures: str, source: str = f"{ORDERS} o") -> tuple[Lake, Catalog]:
    sql = f"SELECT o.customer_id AS k, {measures} FROM {source} GROUP BY o.customer_id"
    lake, catalog = shop(folder), contract_for(folder, sql, ["k"])
    change(lake, FIRST)
    build(lake, catalog, GOLD, batch_id="b0", now=NOW)
    return lake, catalog


def after(lake: Lake, catalog: Catalog, step: Change) -> Built:
    """The build after a change, whose table is what computing it whole gives."""
    change(lake, step)
    built = build(lake, catalog, GOLD, batch_id="b1", now=NOW)
    shown = lake.scan(GOLD).drop("etl").collect()
    assert shown.sort("k").equals(whole(lake, catalog).sort("k"))
    return built


EVERY = (
    "COUNT(*) AS n, COUNT(o.units) AS c, SUM(o.units) AS u, MIN(o.units) AS s, MAX(o.day) AS d, "
    "CAST(SUM(o.amount) AS DECIMAL(18, 2)) AS a, SUM(CASE WHEN o.units > 2 THEN 1 ELSE 0 END) AS m"
)
FAR = f"{ORDERS} o LEFT JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id"


@pytest.mark.parametrize("source", [f"{ORDERS} o", FAR])
def test_rows_that_come_are_added_without_the_others(tmp_path: Path, source: str):
    lake, catalog = table(tmp_path, EVERY, source)
    held = read_snapshot(lake.path(ORDERS), {}).files
    change(lake, {ORDERS: ({9: order(1, 4, 50, 2), 10: order(7, None)}, set())})
    for file in held:
        (Path(lake.path(ORDERS)) / file.path).unlink()
    built = build(lake, catalog, GOLD, batch_id="b1", now=NOW)
    assert (built.computed, built.removed, built.added) == ("part", 1, 2)
    rows = {row["k"]: row for row in lake.scan(GOLD).collect().to_dicts()}
    assert rows[1] == {
        "k": 1, "n": 3, "c": 3, "u": 9, "s": 2, "d": day(2), "a": Decimal("4.90"), "m": 2, "etl": "b1",
    }  # fmt: skip
    assert (rows[7]["n"], rows[7]["u"], rows[7]["a"]) == (1, None, None)
    assert rows[2]["etl"] == "b0"


#: The measures, what changes, and how many rows of gold go and come.
OPEN = {
    "a sum of which no value is left": ("SUM(o.units) AS u", {}, {3}, (1, 1)),
    "a group of which no row is left, uncounted": ("SUM(o.units) AS u", {}, {1, 2}, (1, 0)),
    "a group of which no row is left, counted": ("COUNT(*) AS n", {}, {1, 2}, (1, 0)),
    "a group whose values are not counted but whose rows are there": (
        "COUNT(o.amount) AS c",
        {},
        {3},
        (0, 0),
    ),
    "a largest value that goes": ("MAX(o.units) AS x", {}, {2}, (1, 1)),
    "a largest value that goes, and a larger comes": ("MAX(o.units) AS x", {2: order(1, 9)}, {}, (1, 1)),
    "a smallest value that rises": ("MIN(o.units) AS x", {1: order(1, 9)}, {}, (1, 1)),
    "a row that moves to another group": (EVERY, {1: order(2, 2, 150)}, {}, (2, 2)),
    "a sum that comes to zero": ("SUM(o.units) AS u", {2: order(1, -2)}, {}, (1, 1)),
    "sums that come to zero while the group is there": (
        "SUM(CASE WHEN o.units > 2 THEN 1 ELSE 0 END) AS m",
        {2: order(1, 1)},
        {},
        (1, 1),
    ),
    "flags of a group of which no row is left": (
        "SUM(CASE WHEN o.units > 2 THEN 1 ELSE 0 END) AS m",
        {},
        {1, 2},
        (1, 0),
    ),
    "a sum that is rounded": (
        "CAST(SUM(o.amount) AS DECIMAL(18, 0)) AS a",
        {9: order(1, 1, 30)},
        {},
        (1, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("measures", "upserts", "deletes", "moved"), OPEN.values(), ids=OPEN)
def test_what_is_left_open_is_worked_out_anew(
    tmp_path: Path,
    measures: str,
    upserts: dict[int, Row],
    deletes: set[int],
    moved: tuple[int, int],
):
    lake, catalog = table(tmp_path, measures)
    built = after(lake, catalog, {ORDERS: (upserts, set(deletes))})
    assert (built.computed, built.removed, built.added) == ("part", *moved)


def test_a_table_that_is_read_twice_is_no_sum_over_its_rows(tmp_path: Path):
    lake, catalog = table(
        tmp_path,
        "COUNT(*) AS n",
        f"{ORDERS} o INNER JOIN {ORDERS} p ON o.customer_id = p.customer_id",
    )
    assert after(lake, catalog, {ORDERS: ({9: order(1, 1)}, set())}).computed == "part"


def test_rows_of_an_optional_table_are_no_sum(tmp_path: Path):
    rates = {number: ("DE", day(0), None, 2) for number in (1, 2)}
    matched = f"{ORDERS} o LEFT JOIN {RATES} r ON o.units = r.factor"
    lake, catalog = table(tmp_path, "COUNT(*) AS n", matched)
    after(lake, catalog, {RATES: (rates, set())})
    assert after(lake, catalog, {RATES: ({}, {1})}).added == 1
