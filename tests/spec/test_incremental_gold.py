"""What each construct of SQL makes of a change: the part that is computed anew, or why it is the whole."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipelines.gold import Built, build
from pipelines.storage import Lake
from tests.properties.small_shop import (
    CUSTOMERS,
    GOLD,
    NOW,
    ORDERS,
    RATES,
    Change,
    change,
    contract_for,
    day,
    shop,
    whole,
)

FIRST: Change = {
    ORDERS: (
        {
            1: (1, day(0), "paid", None, 2),
            2: (2, day(1), "paid", None, 1),
            3: (2, day(2), "new", None, 4),
            4: (3, day(3), None, None, None),
            5: (1, day(2), "sent", None, 3),
        },
        set(),
    ),
    CUSTOMERS: ({1: ("DE", None), 2: ("FR", 1), 3: ("DE", 2)}, set()),
    RATES: ({1: ("DE", day(0), day(2), 2), 2: ("DE", day(2), None, 3)}, set()),
}
NEXT: Change = {
    ORDERS: ({2: (2, day(1), "new", None, 7)}, {4}),
    CUSTOMERS: ({1: ("FR", None)}, set()),
    RATES: ({2: ("DE", day(2), None, 5)}, set()),
}

JOINED = f"{ORDERS} o LEFT JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id"
TYPE_2 = (
    f"SELECT o.order_id AS k, c.country, r.factor FROM {ORDERS} o "
    f"INNER JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id "
    f"LEFT JOIN {RATES} r ON c.country = r.country AND o.day >= r.from_day "
    "AND (r.to_day IS NULL OR o.day < r.to_day)"
)
NEWEST = (
    "WITH n AS (SELECT o.order_id, o.customer_id, o.units, ROW_NUMBER() OVER "
    f"(PARTITION BY o.customer_id ORDER BY o.day DESC, o.order_id) AS nth FROM {ORDERS} o) "
)

#: SQL with the key `k`, the table that changes, and how many rows of gold are written.
IN_PART = {
    "a filter and a projection": (
        f"SELECT o.order_id AS k, o.units FROM {ORDERS} o WHERE o.status = 'new'",
        ORDERS,
        1,
    ),
    "a change that no column shows": (
        f"SELECT c.customer_id AS k FROM {CUSTOMERS} c",
        CUSTOMERS,
        0,
    ),
    "a group": (
        f"SELECT o.customer_id AS k, SUM(o.units) AS u, COUNT(*) AS n FROM {ORDERS} o GROUP BY o.customer_id",
        ORDERS,
        1,
    ),
    "a group by an expression, with HAVING": (
        f"SELECT DATE_TRUNC('day', o.day) AS k, COUNT(*) AS n FROM {ORDERS} o GROUP BY DATE_TRUNC('day', o.day) HAVING COUNT(*) > 0",
        ORDERS,
        1,
    ),
    "a group by a cast that only some rows stand": (
        f"SELECT CAST(CASE WHEN o.status = 'paid' THEN '1' ELSE o.status END AS BIGINT) AS k, COUNT(*) AS n FROM {ORDERS} o WHERE o.status = 'paid' GROUP BY CAST(CASE WHEN o.status = 'paid' THEN '1' ELSE o.status END AS BIGINT)",
        ORDERS,
        1,
    ),
    "a count of different values": (
        f"SELECT o.status AS k, COUNT(DISTINCT o.customer_id) AS n FROM {ORDERS} o GROUP BY o.status",
        ORDERS,
        1,
    ),
    "a dimension, by the rows that refer to it": (
        f"SELECT o.order_id AS k, c.country FROM {JOINED}",
        CUSTOMERS,
        2,
    ),
    "a dimension in a group": (
        f"SELECT o.status AS k, COUNT(DISTINCT c.country) AS n FROM {JOINED} GROUP BY o.status",
        CUSTOMERS,
        1,
    ),
    "a type 2 join, by the history": (TYPE_2, RATES, 2),
    "a type 2 join, by the facts": (TYPE_2, ORDERS, 0),
    "a window by key": (
        f"SELECT o.order_id AS k, SUM(o.units) OVER (PARTITION BY o.customer_id) AS u FROM {ORDERS} o",
        ORDERS,
        2,
    ),
    "windows by several keys": (
        f"SELECT o.order_id AS k, SUM(o.units) OVER (PARTITION BY o.customer_id) AS u, SUM(o.units) OVER (PARTITION BY o.day) AS d FROM {ORDERS} o",
        ORDERS,
        2,
    ),
    "an ON that says something of other sources": (
        f"SELECT o.order_id AS k, c.country, r.factor FROM {ORDERS} o INNER JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id "
        f"LEFT JOIN {RATES} r ON r.country = c.country AND o.units = c.parent_id AND r.rate_id = 1",
        CUSTOMERS,
        2,
    ),
    "the newest of each key": (
        f"{NEWEST} SELECT n.customer_id AS k, n.order_id, n.units FROM n WHERE n.nth = 1",
        ORDERS,
        0,
    ),
    "DISTINCT": (f"SELECT DISTINCT o.status AS k FROM {ORDERS} o", ORDERS, 0),
    "UNION": (
        f"SELECT o.customer_id AS k FROM {ORDERS} o UNION SELECT c.parent_id AS k FROM {CUSTOMERS} c",
        ORDERS,
        0,
    ),
    "a cross join, by the values it shows": (
        f"SELECT o.order_id AS k, r.factor FROM {ORDERS} o CROSS JOIN {RATES} r WHERE r.rate_id = 2",
        RATES,
        5,
    ),
    "EXCEPT": (
        f"SELECT c.customer_id AS k FROM {CUSTOMERS} c EXCEPT SELECT o.customer_id AS k FROM {ORDERS} o",
        ORDERS,
        1,
    ),
    "SEMI JOIN": (
        f"SELECT c.customer_id AS k, c.country FROM {CUSTOMERS} c SEMI JOIN {ORDERS} o ON o.customer_id = c.customer_id",
        ORDERS,
        0,
    ),
    "totals of another table": (
        f"WITH t AS (SELECT o.customer_id, SUM(o.units) AS u FROM {ORDERS} o GROUP BY o.customer_id) SELECT c.customer_id AS k, t.u FROM {CUSTOMERS} c LEFT JOIN t ON t.customer_id = c.customer_id",
        ORDERS,
        1,
    ),
}

#: SQL with the key `k`, the table that changes, and the reason that is told.
WHOLE = {
    "one row of all": (
        f"SELECT COUNT(*) AS k FROM {ORDERS} o",
        ORDERS,
        "COUNT(*) is a value of many rows",
    ),
    "LIMIT": (
        f"SELECT o.order_id AS k FROM {ORDERS} o ORDER BY o.order_id LIMIT 2",
        ORDERS,
        "LIMIT picks rows by their order among all",
    ),
    "the clock": (
        f"SELECT o.order_id AS k, CURRENT_DATE > CAST(o.day AS DATE) AS late FROM {ORDERS} o",
        ORDERS,
        "CURRENT_DATE is another value each time",
    ),
    "a cross join": (
        f"SELECT o.order_id AS k, COUNT(DISTINCT r.factor) AS f FROM {ORDERS} o CROSS JOIN {RATES} r GROUP BY o.order_id",
        RATES,
        "'r' is joined by no equality, so a change reaches every row",
    ),
    "a join by comparison": (
        f"SELECT o.order_id AS k, COUNT(DISTINCT r.factor) AS f FROM {ORDERS} o INNER JOIN {RATES} r ON o.day >= r.from_day GROUP BY o.order_id",
        RATES,
        "'r' is joined by no equality",
    ),
    "a subquery in a condition": (
        f"SELECT o.order_id AS k FROM {ORDERS} o WHERE o.customer_id IN (SELECT c.customer_id FROM {CUSTOMERS} c)",
        CUSTOMERS,
        "a subquery in an expression or a condition; join it instead",
    ),
    "a window over all rows": (
        f"SELECT o.order_id AS k, ROW_NUMBER() OVER (ORDER BY o.order_id) AS n FROM {ORDERS} o",
        ORDERS,
        "a window without PARTITION BY is over all rows",
    ),
    "a window by no order": (
        f"SELECT o.order_id AS k, FIRST_VALUE(o.units) OVER (PARTITION BY o.status) AS n FROM {ORDERS} o",
        ORDERS,
        "depends on the order of rows",
    ),
    "a sum of floating-point numbers": (
        f"SELECT o.status AS k, SUM(o.units / 2) AS n FROM {ORDERS} o GROUP BY o.status",
        ORDERS,
        "adds floating-point numbers in any order; cast to DECIMAL before it is summed",
    ),
    "a key that an optional row gives": (
        f"SELECT c.country AS k, COUNT(DISTINCT o.units) AS n FROM {JOINED} GROUP BY c.country",
        ORDERS,
        "c.country is null where the LEFT JOIN finds no row",
    ),
    "a FULL JOIN": (
        f"SELECT c.customer_id AS k, o.units FROM {CUSTOMERS} c FULL JOIN {ORDERS} o ON o.order_id = c.customer_id",
        ORDERS,
        "a FULL JOIN",
    ),
}


def brought_up(folder: Path, sql: str, changed: str) -> tuple[Lake, Built, pl.DataFrame]:
    lake, catalog = shop(folder), contract_for(folder, sql, ["k"])
    change(lake, FIRST)
    build(lake, catalog, GOLD, batch_id="b0", now=NOW)
    change(lake, {changed: NEXT[changed]})
    built = build(lake, catalog, GOLD, batch_id="b1", now=NOW)
    return lake, built, whole(lake, catalog)


@pytest.mark.parametrize(("sql", "changed", "added"), IN_PART.values(), ids=IN_PART)
def test_a_part_is_computed(tmp_path: Path, sql: str, changed: str, added: int):
    lake, built, expected = brought_up(tmp_path, sql, changed)
    assert (built.computed, built.why) == ("part", None)
    assert built.added == added
    assert lake.scan(GOLD).drop("etl").collect().sort(pl.all()).equals(expected)


@pytest.mark.parametrize(("sql", "changed", "why"), WHOLE.values(), ids=WHOLE)
def test_the_whole_is_computed_and_the_reason_is_told(
    tmp_path: Path, sql: str, changed: str, why: str
):
    lake, built, expected = brought_up(tmp_path, sql, changed)
    assert built.computed == "whole"
    assert why in (built.why or "")
    assert lake.scan(GOLD).drop("etl").collect().sort(pl.all()).equals(expected)


def test_facts_and_their_dimension_may_change_at_once(tmp_path: Path):
    sql = f"SELECT o.order_id AS k, o.status, c.country FROM {JOINED}"
    lake, catalog = shop(tmp_path), contract_for(tmp_path, sql, ["k"])
    change(lake, FIRST)
    build(lake, catalog, GOLD, batch_id="b0", now=NOW)
    change(lake, {ORDERS: NEXT[ORDERS], CUSTOMERS: NEXT[CUSTOMERS]})
    built = build(lake, catalog, GOLD, batch_id="b1", now=NOW)
    assert (built.computed, built.removed, built.added) == ("part", 4, 3)
    assert lake.scan(GOLD).drop("etl").collect().sort(pl.all()).equals(whole(lake, catalog))


@pytest.mark.parametrize("changed", [ORDERS, CUSTOMERS])
def test_what_is_whole_by_one_input_is_a_part_by_another(tmp_path: Path, changed: str):
    sql = (
        f"SELECT o.order_id AS k, COUNT(DISTINCT c.country) AS n FROM {ORDERS} o "
        f"INNER JOIN {CUSTOMERS} c ON o.units >= c.customer_id GROUP BY o.order_id"
    )
    _, built, _ = brought_up(tmp_path, sql, changed)
    assert built.computed == ("part" if changed == ORDERS else "whole")
