"""Lineage against the engine: what a changed input column changes, lineage has named, and back.

Each query runs in Polars twice, the second time with an input column, or several, drawn anew. The
rows of the result, cut to the outputs that lineage says they do not reach, must be the same.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.columns import SelectLineage, trace

TYPES: Mapping[str, Mapping[str, pl.DataType]] = {
    "silver.shop.orders": {
        "order_id": pl.Int64(),
        "customer_id": pl.Int64(),
        "amount": pl.Int64(),
        "discount": pl.Int64(),
        "status": pl.String(),
        "placed": pl.Int64(),
        "tags": pl.List(pl.String()),
    },
    "silver.shop.customers": {
        "customer_id": pl.Int64(),
        "name": pl.String(),
        "country": pl.String(),
        "tier": pl.Int64(),
    },
    "silver.shop.items": {"order_id": pl.Int64(), "product": pl.String(), "qty": pl.Int64()},
}
ORDERS, CUSTOMERS, ITEMS = TYPES

QUERIES = {
    "projection": f"SELECT order_id, amount - discount AS net, UPPER(status) AS s FROM {ORDERS}",
    "cast": f"SELECT CAST(amount AS VARCHAR) AS a, placed::double AS p, order_id FROM {ORDERS}",
    "star": f"SELECT * FROM {CUSTOMERS}",
    "star exclude": f"SELECT * EXCLUDE (tier) FROM {CUSTOMERS}",
    "star replace": f"SELECT * REPLACE (tier + 1 AS tier) FROM {CUSTOMERS}",
    "case": f"SELECT order_id, CASE WHEN status = 'a' THEN amount WHEN placed > 2 THEN discount END"
    f" AS x FROM {ORDERS}",
    "coalesce": f"SELECT COALESCE(amount, discount, 0) AS x, status FROM {ORDERS}",
    "filter": f"SELECT order_id, amount FROM {ORDERS} WHERE status = 'a' AND placed BETWEEN 1 AND 3",
    "aggregate": f"SELECT status, SUM(amount) AS total, MIN(discount) AS low, COUNT(*) AS n,"
    f" COUNT(placed) AS p FROM {ORDERS} GROUP BY status",
    "group by position": f"SELECT status, MAX(amount) + MAX(discount) AS m FROM {ORDERS} GROUP BY 1",
    "group by all": f"SELECT status, placed, QUANTILE_CONT(amount, 0.5) AS q FROM {ORDERS} GROUP BY ALL",
    "group by alias": f"SELECT amount % 2 AS odd, SUM(discount) AS d FROM {ORDERS} GROUP BY odd",
    "having": f"SELECT customer_id, SUM(amount) AS total FROM {ORDERS} GROUP BY customer_id"
    " HAVING SUM(discount) > 2",
    "having alias": f"SELECT customer_id, SUM(amount) AS total FROM {ORDERS} GROUP BY customer_id"
    " HAVING total > 2",
    "distinct": f"SELECT DISTINCT status, customer_id FROM {ORDERS}",
    "filter clause": f"SELECT SUM(amount) FILTER (WHERE status = 'a') AS paid, SUM(discount) AS d,"
    f" COUNT(*) AS n FROM {ORDERS}",
    "top": f"SELECT order_id, amount FROM {ORDERS} ORDER BY placed DESC, order_id LIMIT 2",
    "top by alias": f"SELECT order_id, amount * 2 AS twice FROM {ORDERS} ORDER BY twice, order_id LIMIT 2",
    "window": f"SELECT order_id, amount, SUM(discount) OVER (PARTITION BY status) AS s FROM {ORDERS}",
    "rank": f"SELECT order_id, amount, ROW_NUMBER() OVER (PARTITION BY status ORDER BY placed,"
    f" order_id) AS r FROM {ORDERS}",
    "named window": f"SELECT amount, SUM(discount) OVER w AS s FROM {ORDERS}"
    " WINDOW w AS (PARTITION BY customer_id ORDER BY order_id)",
    "qualify": f"SELECT amount, ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY placed,"
    f" order_id) AS r FROM {ORDERS} QUALIFY r = 1",
    "inner join": f"SELECT o.amount, c.name FROM {ORDERS} o JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id",
    "left join": f"SELECT o.order_id, o.amount, c.name, c.tier FROM {ORDERS} o LEFT JOIN {CUSTOMERS} c"
    " ON o.customer_id = c.customer_id",
    "join using": f"SELECT amount, name, tier FROM {ORDERS} JOIN {CUSTOMERS} USING (customer_id)",
    "three joins": f"SELECT c.country, i.product, SUM(i.qty * o.amount) AS value, COUNT(*) AS n"
    f" FROM {ORDERS} o JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id JOIN {ITEMS} i ON i.order_id = o.order_id"
    " WHERE o.discount < 3 GROUP BY c.country, i.product",
    "semi join": f"SELECT order_id, amount FROM {ORDERS} o SEMI JOIN {CUSTOMERS} c"
    " ON o.customer_id = c.customer_id",
    "anti join": f"SELECT order_id, amount FROM {ORDERS} o ANTI JOIN {CUSTOMERS} c"
    " ON o.customer_id = c.customer_id",
    "cross join": f"SELECT o.order_id, c.name FROM {ORDERS} o CROSS JOIN {CUSTOMERS} c WHERE o.placed > c.tier",
    "self join": f"SELECT a.amount, b.discount FROM {ORDERS} a JOIN {ORDERS} b ON a.order_id = b.placed",
    "cte": f"WITH paid AS (SELECT order_id, amount, discount FROM {ORDERS} WHERE status = 'a')"
    " SELECT order_id, amount FROM paid WHERE discount > 0",
    "nested cte": f"WITH a AS (SELECT customer_id, SUM(amount) AS total, MAX(placed) AS latest FROM"
    f" {ORDERS} GROUP BY customer_id), b AS (SELECT c.name, a.total, a.latest FROM a JOIN {CUSTOMERS} c"
    " ON a.customer_id = c.customer_id) SELECT name, total * 2 AS twice FROM b",
    "unused window": f"WITH w AS (SELECT amount, RANK() OVER (ORDER BY placed) AS r FROM {ORDERS})"
    " SELECT amount FROM w",
    "derived table": f"SELECT t.c, t.total FROM (SELECT customer_id AS c, SUM(amount) AS total,"
    f" COUNT(discount) AS n FROM {ORDERS} GROUP BY customer_id) AS t WHERE t.n > 0",
    "union all": f"SELECT order_id AS id, status AS word FROM {ORDERS}"
    f" UNION ALL SELECT customer_id AS id, name AS word FROM {CUSTOMERS}",
    "union": f"SELECT customer_id FROM {ORDERS} UNION SELECT customer_id FROM {CUSTOMERS}",
    "union in cte": f"WITH u AS (SELECT customer_id, amount AS v FROM {ORDERS} UNION ALL"
    f" SELECT customer_id, tier AS v FROM {CUSTOMERS}) SELECT customer_id, SUM(v) AS s FROM u"
    " GROUP BY customer_id",
    "except": f"SELECT customer_id FROM {ORDERS} EXCEPT SELECT customer_id FROM {CUSTOMERS}",
    "intersect": f"SELECT customer_id FROM {ORDERS} INTERSECT SELECT customer_id FROM {CUSTOMERS}",
    "scalar subquery": f"SELECT name, (SELECT MAX(amount) FROM {ORDERS} WHERE status = 'a') AS top"
    f" FROM {CUSTOMERS}",
    "correlated subquery": f"SELECT c.name, (SELECT SUM(o.amount) FROM {ORDERS} o"
    f" WHERE o.customer_id = c.customer_id) AS s, c.tier FROM {CUSTOMERS} c",
    "subquery in where": f"SELECT order_id, amount FROM {ORDERS}"
    f" WHERE placed > (SELECT MIN(tier) FROM {CUSTOMERS})",
    "in subquery": f"SELECT order_id, amount FROM {ORDERS} WHERE customer_id IN"
    f" (SELECT customer_id FROM {CUSTOMERS} WHERE country = 'a')",
    "exists": f"SELECT name, country FROM {CUSTOMERS} WHERE EXISTS"
    f" (SELECT 1 FROM {ORDERS} WHERE orders.customer_id = customers.customer_id)",
    "unnest": f"SELECT order_id, amount, UNNEST(tags) AS tag FROM {ORDERS}",
    "values": f"SELECT c.name, v.word FROM {CUSTOMERS} c JOIN (VALUES (1, 'x'), (2, 'y')) AS v(n, word)"
    " ON v.n = c.tier",
    "comma join": f"SELECT o.amount, c.name FROM {ORDERS} o, {CUSTOMERS} c WHERE o.customer_id = c.customer_id",
    "ordered array": f"SELECT status, ARRAY_AGG(amount ORDER BY placed, order_id) AS a FROM {ORDERS}"
    " GROUP BY status",
    "lag": f"SELECT order_id, LAG(amount) OVER (ORDER BY placed, order_id) AS l, discount FROM {ORDERS}",
}
SCHEMA = {table: list(columns) for table, columns in TYPES.items()}
LINEAGE = {name: trace(sql, SCHEMA) for name, sql in QUERIES.items()}

#: Few values, so that joins and groups meet; nulls no more often than the others.
WORDS = ["a", "b", "c", None]
NUMBERS = [1, 2, 3, 4, 0, None]

Columns = dict[str, list[Any]]
Frames = dict[str, Columns]
Edge = tuple[str, str, str]  # input table, input column, output


def run(sql: str, frames: Frames) -> pl.DataFrame:
    tables = {name: pl.DataFrame(data, schema=TYPES[name]) for name, data in frames.items()}
    return pl.SQLContext(tables, eager=True).execute(sql)


def rows(frame: pl.DataFrame, columns: list[str]) -> list[str]:
    """The rows as a bag: no query promises an order of those it does not sort."""
    return sorted(map(repr, frame.select(columns).rows()))


def values(kind: pl.DataType) -> st.SearchStrategy[object]:
    if isinstance(kind, pl.List):
        return st.lists(st.sampled_from("ab"), max_size=2)
    return st.sampled_from(WORDS if kind == pl.String else NUMBERS)


def column_of(table: str, column: str, size: int) -> st.SearchStrategy[list[object]]:
    return st.lists(values(TYPES[table][column]), min_size=size, max_size=size)


@st.composite
def tables(draw: st.DrawFn) -> Frames:
    frames: Frames = {}
    for table, columns in TYPES.items():
        size = draw(st.sampled_from([3, 4, 5, 2, 1, 0]), label=f"rows of {table}")
        frames[table] = {name: draw(column_of(table, name, size)) for name in columns}
    return frames


def untouched(name: str, table: str, column: str) -> list[str]:
    """The outputs of the query that lineage says this column cannot change."""
    lineage = LINEAGE[name]
    reached = lineage.reached(table, column)
    return [output.name for output in lineage.outputs if output.name not in reached]


@pytest.mark.parametrize("name", QUERIES)
@settings(deadline=None, max_examples=settings().max_examples // 2)
@given(data=st.data())
def test_a_changed_column_changes_only_what_lineage_names(name: str, data: st.DataObject) -> None:
    before = data.draw(tables())
    output = data.draw(st.sampled_from([output.name for output in LINEAGE[name].outputs]))
    harmless = [
        (table, column)
        for table in LINEAGE[name].tables
        for column in SCHEMA[table]
        if output in untouched(name, table, column)
    ]
    if not harmless:
        return
    # All of them at once finds a forgotten one far sooner; one alone shows that none is needed.
    alone = data.draw(st.sampled_from([[edge] for edge in harmless]))
    changed = data.draw(st.sampled_from([harmless, alone]))
    after = {table: dict(columns) for table, columns in before.items()}
    for table, column in changed:
        size = len(before[table][column])
        after[table][column] = data.draw(column_of(table, column, size), label=f"{table}.{column}")
    first, second = run(QUERIES[name], before), run(QUERIES[name], after)
    same = set(first.columns).intersection(*(untouched(name, *edge) for edge in changed))
    assert rows(first, sorted(same)) == rows(second, sorted(same))


@pytest.mark.parametrize("name", QUERIES)
def test_the_engine_gives_the_columns_lineage_names(name: str) -> None:
    frame = run(
        QUERIES[name], {table: {c: [] for c in columns} for table, columns in SCHEMA.items()}
    )
    assert frame.columns == [output.name for output in LINEAGE[name].outputs]


def random_value(kind: pl.DataType, dice: random.Random) -> object:
    if isinstance(kind, pl.List):
        return [dice.choice("ab") for _ in range(dice.randint(0, 2))]
    return dice.choice(WORDS if kind == pl.String else NUMBERS)


@pytest.mark.parametrize("name", QUERIES)
def test_every_column_lineage_names_can_change_the_result(name: str) -> None:
    """The other direction: lineage that named too much would prove nothing above."""
    dice = random.Random(name)
    pending = named_by(LINEAGE[name])
    for _ in range(300):
        before = {
            table: {c: [random_value(k, dice) for _ in range(5)] for c, k in columns.items()}
            for table, columns in TYPES.items()
        }
        pending = {edge for edge in pending if not changes(name, edge, before, dice)}
        if not pending:
            break
    assert pending == set()


def named_by(lineage: SelectLineage) -> set[Edge]:
    """Each input column with each output it goes into, or with one whose rows it decides about."""
    named = {(s.table, s.column, o.name) for o in lineage.outputs for s in o.sources}
    for influence in lineage.indirect:
        outputs = influence.outputs or [lineage.outputs[0].name]
        named |= {(influence.table, influence.column, output) for output in outputs}
    return named


def changes(name: str, edge: Edge, before: Frames, dice: random.Random) -> bool:
    """Whether other values of the edge's input change its output, seen beside what stays."""
    table, column, output = edge
    drawn = [random_value(TYPES[table][column], dice) for _ in before[table][column]]
    after = {**before, table: {**before[table], column: drawn}}
    seen = [output, *untouched(name, table, column)]
    return rows(run(QUERIES[name], before), seen) != rows(run(QUERIES[name], after), seen)
