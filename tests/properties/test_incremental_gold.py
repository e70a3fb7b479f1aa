"""Law 4: gold that is brought up to date in parts equals gold that is computed whole."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pipelines.delta import columns, index
from pipelines.gold import build
from pipelines.incremental import changes, inputs
from tests.properties.small_shop import (
    CUSTOMERS,
    GOLD,
    NOW,
    ORDERS,
    RATES,
    SCHEMAS,
    Change,
    Row,
    change,
    contract_for,
    day,
    shop,
    whole,
)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values, values)


IDS = st.integers(0, 7)
VALUES: dict[str, st.SearchStrategy[Row]] = {
    ORDERS: st.tuples(
        maybe(st.integers(0, 4)),
        maybe(st.integers(0, 5).map(day)),
        st.sampled_from(["new", "paid", None]),
        maybe(st.integers(-300, 300).map(lambda cents: Decimal(cents) / 100)),
        maybe(st.integers(0, 3)),
    ),
    CUSTOMERS: st.tuples(st.sampled_from(["DE", "FR", None]), maybe(st.integers(0, 4))),
    RATES: st.tuples(
        st.sampled_from(["DE", "FR", None]),
        st.integers(0, 3).map(day),
        maybe(st.integers(2, 6).map(day)),
        st.integers(1, 3),
    ),
}


def changes_of(table: str) -> st.SearchStrategy[tuple[dict[int, Row], set[int]]]:
    return st.tuples(st.dictionaries(IDS, VALUES[table], max_size=3), st.sets(IDS, max_size=2))


CHANGES: st.SearchStrategy[Change] = st.fixed_dictionaries(
    {}, optional={table: changes_of(table) for table in SCHEMAS}
)
FIRST: st.SearchStrategy[Change] = st.fixed_dictionaries(
    {
        table: st.tuples(st.dictionaries(IDS, VALUES[table], max_size=8), st.just(set[int]()))
        for table in SCHEMAS
    }
)


# ---- SQL ---- #


@st.composite
def aggregates(draw: st.DrawFn, source: str) -> str:
    """Aggregates over the columns `amount`, `units`, `status` and `id`."""
    every = [
        f"CAST(SUM({source}.amount) AS DECIMAL(38, 2))",
        f"SUM({source}.units)",
        "COUNT(*)",
        f"COUNT({source}.units)",
        f"COUNT(DISTINCT {source}.status)",
        f"MIN({source}.amount)",
        f"MAX({source}.units)",
        f"AVG({source}.units)",
        f"SUM(CASE WHEN {source}.status = 'paid' THEN {source}.units ELSE 0 END)",
    ]
    chosen = draw(st.lists(st.sampled_from(every), min_size=1, max_size=3, unique=True))
    return ", ".join(f"{text} AS m{number}" for number, text in enumerate(chosen))


FILTERS = st.sampled_from(
    ["", "WHERE {0}.status = 'paid'", "WHERE {0}.units > 1 OR {0}.amount IS NULL"]
)
JOINS = st.sampled_from(["INNER JOIN", "LEFT JOIN"])


@st.composite
def grouped(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Orders by a group, perhaps of a joined table, perhaps with HAVING or a window over the groups."""
    group = draw(
        st.sampled_from(
            [
                ["o.customer_id"],
                ["DATE_TRUNC('day', o.day)"],
                ["o.status", "o.customer_id"],
                ["CASE WHEN o.units > 1 THEN 'many' ELSE o.status END"],
            ]
        )
    )
    join = draw(st.sampled_from(["", "inner", "left", "type 2", "self", "before"]))
    froms = {
        "": "silver.shop.orders o",
        "inner": f"silver.shop.orders o INNER JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id",
        "left": f"{ORDERS} o LEFT JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id AND c.country <> 'FR'",
        "type 2": f"""{ORDERS} o INNER JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id
            LEFT JOIN {RATES} r ON c.country = r.country AND o.day >= r.from_day
            AND (r.to_day IS NULL OR o.day < r.to_day)""",
        "self": f"{ORDERS} o LEFT JOIN {ORDERS} p ON o.customer_id = p.customer_id AND p.day < o.day",
        "before": f"{ORDERS} o INNER JOIN (SELECT country, customer_id, parent_id AS p FROM {CUSTOMERS}) c ON c.p = o.customer_id",
    }
    if join in ("inner", "left", "type 2", "before") and draw(st.booleans()):
        group = draw(st.sampled_from([["c.country"], ["c.country", "o.status"]]))
    where = draw(FILTERS).format("o")
    names = [f"k{number}" for number in range(len(group))]
    keys = ", ".join(f"{text} AS {name}" for text, name in zip(group, names, strict=True))
    extra = ""
    if join == "type 2":
        extra = ", SUM(r.factor * o.units) AS x"
    elif join in ("inner", "left", "before"):
        extra = ", COUNT(DISTINCT c.country) AS x"
    elif join == "self":
        extra = ", COUNT(p.order_id) AS x"
    having = draw(st.sampled_from(["", "HAVING COUNT(*) > 1", "HAVING SUM(o.units) > 2"]))
    sql = f"SELECT {keys}, {draw(aggregates('o'))}{extra} FROM {froms[join]} {where} GROUP BY {', '.join(group)} {having}"
    if draw(st.booleans()):
        over = draw(st.sampled_from([names[-1], names[0]]))
        sql = f"WITH g AS ({sql}) SELECT g.*, SUM(g.m0) OVER (PARTITION BY g.{over}) AS w FROM g"
    return sql, names


@st.composite
def by_row(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A row an order: joins, windows by key, aggregates of another table, the newest of several."""
    kind = draw(
        st.sampled_from(["dimension", "window", "newest", "totals", "chain", "semi", "siblings"])
    )
    join, where = draw(JOINS), draw(FILTERS).format("o")
    sql = {
        "dimension": f"SELECT o.order_id AS k0, o.amount, c.country FROM {ORDERS} o {join} {CUSTOMERS} c ON o.customer_id = c.customer_id {where}",
        "window": f"""SELECT o.order_id AS k0, ROW_NUMBER() OVER (PARTITION BY o.customer_id ORDER BY o.day, o.order_id) AS nth,
            SUM(o.units) OVER (PARTITION BY o.status) AS u FROM {ORDERS} o {where}""",
        "newest": f"""WITH n AS (SELECT o.order_id, o.customer_id, o.amount, ROW_NUMBER() OVER (PARTITION BY o.customer_id
            ORDER BY o.day DESC, o.order_id) AS nth FROM {ORDERS} o {where})
            SELECT n.customer_id AS k0, n.order_id, n.amount, c.country FROM n {join} {CUSTOMERS} c ON n.customer_id = c.customer_id WHERE n.nth = 1""",
        "totals": f"""WITH t AS (SELECT o.customer_id, SUM(o.units) AS units, COUNT(*) AS n FROM {ORDERS} o {where} GROUP BY o.customer_id)
            SELECT c.customer_id AS k0, c.country, t.units, t.n FROM {CUSTOMERS} c {join} t ON t.customer_id = c.customer_id""",
        "chain": f"""SELECT o.order_id AS k0, p.country AS parent FROM {ORDERS} o INNER JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id
            {join} {CUSTOMERS} p ON c.parent_id = p.customer_id {where}""",
        "semi": f"SELECT o.order_id AS k0, o.units FROM {ORDERS} o {draw(st.sampled_from(['SEMI', 'ANTI']))} JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id {where}",
        "siblings": f"""WITH t AS (SELECT o.order_id, o.customer_id, o.units, SUM(o.units) OVER (PARTITION BY o.customer_id) AS all_of FROM {ORDERS} o {where})
            SELECT t.order_id AS k0, t.units, t.all_of, c.country FROM t {join} {CUSTOMERS} c ON t.customer_id = c.customer_id""",
    }[kind]
    return sql, ["k0"]


@st.composite
def united(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Sets of keys: UNION, INTERSECT, EXCEPT, DISTINCT, and groups over UNION ALL."""
    kind = draw(st.sampled_from(["UNION", "INTERSECT", "EXCEPT", "distinct", "all"]))
    where = draw(FILTERS).format("o")
    if kind == "distinct":
        return (
            f"SELECT DISTINCT o.status AS k0, DATE_TRUNC('day', o.day) AS k1 FROM {ORDERS} o {where}",
            ["k0", "k1"],
        )
    if kind == "all":
        return (
            f"""WITH u AS (SELECT 'order' AS kind, o.customer_id AS id, o.units AS v FROM {ORDERS} o {where}
            UNION ALL SELECT 'parent' AS kind, c.parent_id AS id, c.customer_id AS v FROM {CUSTOMERS} c)
            SELECT u.kind AS k0, u.id AS k1, COUNT(*) AS n, MAX(u.v) AS m FROM u GROUP BY u.kind, u.id""",
            ["k0", "k1"],
        )
    return (
        f"SELECT o.customer_id AS k0 FROM {ORDERS} o {where} {kind} SELECT c.customer_id AS k0 FROM {CUSTOMERS} c",
        ["k0"],
    )


@st.composite
def summed(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Groups whose measures follow from what went and came, or nearly."""
    group = draw(
        st.sampled_from([["o.customer_id"], ["o.status"], ["o.day", "o.status"], ["o.units > 1"]])
    )
    source = draw(
        st.sampled_from(
            [
                f"{ORDERS} o",
                f"{ORDERS} o {draw(JOINS)} {CUSTOMERS} c ON o.customer_id = c.customer_id",
                f"{CUSTOMERS} c RIGHT JOIN {ORDERS} o ON o.customer_id = c.customer_id",
                f"(SELECT a.customer_id, a.status, a.day, a.units, -a.amount AS amount FROM {ORDERS} a UNION ALL SELECT * FROM (SELECT b.customer_id, 'twice' AS status, b.day, b.units, b.amount FROM {ORDERS} b WHERE b.units > 0) d) o",
            ]
        )
    )
    every = [
        "COUNT(*)",
        "CAST(COUNT(1) AS BIGINT)",
        "COUNT(o.units)",
        "SUM(o.units)",
        "CAST(SUM(o.amount) AS DECIMAL(18, 2))",
        "CAST(SUM(o.amount * o.units) AS DECIMAL(20, 2))",
        "SUM(CASE WHEN o.status = 'paid' THEN o.units END)",
        "SUM(CASE WHEN o.status = 'paid' THEN 1 ELSE 0 END)",
        "SUM(COALESCE(o.units, 0))",
        "MIN(o.amount)",
        "MAX(o.day)",
        "MAX(o.status)",
        "CAST(SUM(o.amount) AS DECIMAL(18, 1))",
        "SUM(o.units) + 1",
    ]
    chosen = draw(st.lists(st.sampled_from(every), min_size=1, max_size=3, unique=True))
    measures = ", ".join(f"{text} AS m{number}" for number, text in enumerate(chosen))
    names = [f"k{number}" for number in range(len(group))]
    keys = ", ".join(f"{text} AS {name}" for text, name in zip(group, names, strict=True))
    where = draw(FILTERS).format("o")
    return f"SELECT {keys}, {measures} FROM {source} {where} GROUP BY {', '.join(group)}", names


QUERIES = st.one_of(grouped(), by_row(), united(), summed(), summed())
#: Changes of orders alone, as facts change beside dimensions that stand still.
OF_ORDERS: st.SearchStrategy[Change] = st.fixed_dictionaries({ORDERS: changes_of(ORDERS)})


@settings(max_examples=60)
@given(
    query=QUERIES,
    first=FIRST,
    steps=st.lists(CHANGES | OF_ORDERS, min_size=1, max_size=3),
    small=st.sampled_from([-1, 100_000]),
    indexed=st.booleans(),
)
def test_a_part_and_the_whole_are_equal(
    query: tuple[str, list[str]], first: Change, steps: list[Change], small: int, *, indexed: bool
):
    """`small` tells of how many rows a table is whose changes are read at once; none: as asked for.

    `indexed` tables are read as large ones are: rows by an index, and mapped columns.
    """
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(changes, "_SMALL_TABLE", small)
        if indexed:
            patch.setattr(index, "WORTH_ROWS", 0)
            patch.setattr(columns, "WORTH_ROWS", 0)
            patch.setattr(inputs, "_MOST", 2)
        lake, catalog = shop(Path(name)), contract_for(Path(name), *query)
        change(lake, first)
        build(lake, catalog, GOLD, batch_id="b0", now=NOW)
        for number, step in enumerate(steps, start=1):
            before = lake.scan(GOLD).collect()
            change(lake, step)
            built = build(lake, catalog, GOLD, batch_id=f"b{number}", now=NOW)
            event(f"{built.computed}: {built.why}")
            held = lake.scan(GOLD).collect()
            shown = held.drop("etl").sort(pl.all())
            assert shown.equals(whole(lake, catalog)), catalog[GOLD].sql
            assert built.rows == len(held)
            again = [each for each in held.columns if each != "etl"]
            kept = held.join(before, on=again, how="inner", nulls_equal=True)
            assert (kept["etl"] == kept["etl_right"]).all(), "rows that stayed keep their batch"
            assert built.removed == len(before) - len(kept)
            assert built.added == len(held) - len(kept)
