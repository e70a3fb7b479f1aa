"""Golden cases: one construct each, with all that reaches its outputs."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from lineage.columns import SelectLineage, tables_of, trace
from lineage.errors import LineageError

SCHEMA = {
    "silver.shop.orders": ["order_id", "customer_id", "amount", "status", "placed", "tags"],
    "silver.shop.customers": ["customer_id", "name", "country", "order_id"],
    "gold.shop.orders": ["order_id", "total"],
}
ORDERS = "silver.shop.orders"
CUSTOMERS = "silver.shop.customers"


class Case(NamedTuple):
    sql: str
    outputs: dict[str, str]
    indirect: str = ""


CASES = {
    "identity": Case(
        f"SELECT order_id, amount AS total FROM {ORDERS}",
        {"order_id": "orders.order_id", "total": "orders.amount"},
    ),
    "constant": Case(
        f"SELECT 1 AS one, CURRENT_DATE AS today FROM {ORDERS}", {"one": "", "today": ""}
    ),
    "cast": Case(
        f"SELECT CAST(amount AS DOUBLE) AS a, placed::date AS b FROM {ORDERS}",
        {"a": "orders.amount:cast", "b": "orders.placed:cast"},
    ),
    "cast then expression": Case(
        f"SELECT amount::text || status AS a FROM {ORDERS}",
        {"a": "orders.amount:expression orders.status:expression"},
    ),
    "case": Case(
        f"SELECT CASE WHEN status = 'paid' THEN amount ELSE 0 END AS paid FROM {ORDERS}",
        {"paid": "orders.amount:expression"},
        "orders.status:conditional(paid)",
    ),
    "case with an operand": Case(
        f"SELECT CASE customer_id WHEN order_id THEN status ELSE placed END AS x FROM {ORDERS}",
        {"x": "orders.placed:expression orders.status:expression"},
        "orders.customer_id:conditional(x) orders.order_id:conditional(x)",
    ),
    "case in an aggregate": Case(
        f"SELECT SUM(CASE WHEN status = 'paid' THEN amount END) AS paid FROM {ORDERS}",
        {"paid": "orders.amount:aggregation"},
        "orders.status:conditional(paid)",
    ),
    "case in a condition": Case(
        f"SELECT order_id FROM {ORDERS} WHERE CASE WHEN status = 'a' THEN amount END > 1",
        {"order_id": "orders.order_id"},
        "orders.amount:filter orders.status:filter",
    ),
    "nullif": Case(
        f"SELECT NULLIF(amount, placed) AS x FROM {ORDERS}",
        {"x": "orders.amount:expression"},
        "orders.placed:conditional(x)",
    ),
    "coalesce": Case(
        f"SELECT COALESCE(status, 'new') AS status FROM {ORDERS}",
        {"status": "orders.status:expression"},
    ),
    "same column two ways": Case(
        f"SELECT amount - SUM(amount) OVER () AS rest FROM {ORDERS}",
        {"rest": "orders.amount:aggregation orders.amount:expression"},
    ),
    "lateral alias": Case(
        f"SELECT amount + 1 AS more, more * 2 AS most FROM {ORDERS}",
        {"more": "orders.amount:expression", "most": "orders.amount:expression"},
    ),
    "group by": Case(
        f"SELECT status, SUM(amount) AS total, COUNT(*) AS n FROM {ORDERS} GROUP BY status",
        {"status": "orders.status", "total": "orders.amount:aggregation", "n": ""},
        "orders.status:group",
    ),
    "group by position, having, order by alias": Case(
        f"SELECT status, SUM(amount) AS total FROM {ORDERS} WHERE placed > 1"
        " GROUP BY 1 HAVING COUNT(customer_id) > 1 ORDER BY total DESC",
        {"status": "orders.status", "total": "orders.amount:aggregation"},
        "orders.amount:sort orders.customer_id:filter orders.placed:filter orders.status:group",
    ),
    "group by all": Case(
        f"SELECT status, QUANTILE_CONT(amount, 0.5) AS middle FROM {ORDERS} GROUP BY ALL",
        {"status": "orders.status", "middle": "orders.amount:aggregation"},
        "orders.status:group",
    ),
    "grouping sets": Case(
        f"SELECT MAX(amount) AS m FROM {ORDERS} GROUP BY GROUPING SETS ((status), (placed), ())",
        {"m": "orders.amount:aggregation"},
        "orders.placed:group orders.status:group",
    ),
    "filter clause": Case(
        f"SELECT SUM(amount) FILTER (WHERE status = 'paid') AS paid, COUNT(*) AS n FROM {ORDERS}",
        {"paid": "orders.amount:aggregation", "n": ""},
        "orders.status:filter(paid)",
    ),
    "ordered aggregate": Case(
        f"SELECT ARRAY_AGG(amount ORDER BY placed) AS a FROM {ORDERS}",
        {"a": "orders.amount:aggregation"},
        "orders.placed:sort(a)",
    ),
    "within group": Case(
        f"SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY amount) AS p FROM {ORDERS}",
        {"p": "orders.amount:aggregation"},
    ),
    "distinct": Case(
        f"SELECT DISTINCT status FROM {ORDERS}", {"status": "orders.status"}, "orders.status:group"
    ),
    "distinct on": Case(
        f"SELECT DISTINCT ON (status) status, amount FROM {ORDERS} ORDER BY status, placed",
        {"status": "orders.status", "amount": "orders.amount"},
        "orders.placed:sort orders.status:group orders.status:sort",
    ),
    "window": Case(
        f"SELECT order_id, RANK() OVER (PARTITION BY status ORDER BY placed) AS r FROM {ORDERS}",
        {"order_id": "orders.order_id", "r": ""},
        "orders.placed:window(r) orders.status:window(r)",
    ),
    "window value": Case(
        f"SELECT LAG(amount) OVER (ORDER BY placed) AS before FROM {ORDERS}",
        {"before": "orders.amount:expression"},
        "orders.placed:window(before)",
    ),
    "named window": Case(
        f"SELECT SUM(amount) OVER (w ORDER BY placed) AS s FROM {ORDERS}"
        " WINDOW w AS (PARTITION BY status)",
        {"s": "orders.amount:aggregation"},
        "orders.placed:window(s) orders.status:window(s)",
    ),
    "qualify": Case(
        f"SELECT order_id, ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY placed) AS n"
        f" FROM {ORDERS} QUALIFY n = 1",
        {"order_id": "orders.order_id", "n": ""},
        "orders.customer_id:window orders.placed:window",
    ),
    "join on": Case(
        f"SELECT o.amount, c.name FROM {ORDERS} o JOIN {CUSTOMERS} c"
        " ON o.customer_id = c.customer_id",
        {"amount": "orders.amount", "name": "customers.name"},
        "customers.customer_id:join orders.customer_id:join",
    ),
    "join using": Case(
        f"SELECT customer_id, name FROM {ORDERS} JOIN {CUSTOMERS} USING (customer_id)",
        {
            "customer_id": "customers.customer_id orders.customer_id",
            "name": "customers.name",
        },
        "customers.customer_id:join orders.customer_id:join",
    ),
    "semi join": Case(
        f"SELECT order_id FROM {ORDERS} o SEMI JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id",
        {"order_id": "orders.order_id"},
        "customers.customer_id:join orders.customer_id:join",
    ),
    "comma join": Case(
        f"SELECT o.amount, c.name FROM {ORDERS} o, {CUSTOMERS} c WHERE o.customer_id = c.customer_id",
        {"amount": "orders.amount", "name": "customers.name"},
        "customers.customer_id:filter orders.customer_id:filter",
    ),
    "tables of one name": Case(
        f"SELECT {ORDERS}.amount, gold.shop.orders.total FROM {ORDERS}"
        f" JOIN gold.shop.orders ON {ORDERS}.order_id = gold.shop.orders.order_id",
        {"amount": "orders.amount", "total": "gold.orders.total"},
        "gold.orders.order_id:join orders.order_id:join",
    ),
    "cte": Case(
        f"WITH paid AS (SELECT order_id, amount * 2 AS twice FROM {ORDERS} WHERE status = 'paid')"
        " SELECT order_id, twice FROM paid",
        {"order_id": "orders.order_id", "twice": "orders.amount:expression"},
        "orders.status:filter",
    ),
    "cte with names": Case(
        f"WITH p(a, b) AS (SELECT order_id, amount FROM {ORDERS}) SELECT b, a FROM p",
        {"b": "orders.amount", "a": "orders.order_id"},
    ),
    "nested cte": Case(
        f"WITH a AS (SELECT amount, customer_id FROM {ORDERS}), b AS ("
        "  WITH c AS (SELECT SUM(amount) AS total, customer_id FROM a GROUP BY customer_id)"
        "  SELECT total::text AS total FROM c)"
        " SELECT total FROM b",
        {"total": "orders.amount:aggregation"},
        "orders.customer_id:group",
    ),
    "cte shadows a name": Case(
        f"WITH orders AS (SELECT name FROM {CUSTOMERS}) SELECT name FROM orders",
        {"name": "customers.name"},
    ),
    "window in an unused column": Case(
        f"WITH w AS (SELECT amount, RANK() OVER (ORDER BY placed) AS r FROM {ORDERS})"
        " SELECT amount FROM w",
        {"amount": "orders.amount"},
    ),
    "derived table": Case(
        f"SELECT t.a FROM (SELECT amount AS a, status FROM {ORDERS}) t WHERE t.status = 'x'",
        {"a": "orders.amount"},
        "orders.status:filter",
    ),
    "derived table with names": Case(
        f"SELECT k FROM (SELECT order_id, amount FROM {ORDERS}) AS t(k, v)",
        {"k": "orders.order_id"},
    ),
    "union all": Case(
        f"SELECT order_id AS id, status AS word FROM {ORDERS}"
        f" UNION ALL SELECT customer_id, UPPER(name) FROM {CUSTOMERS}",
        {
            "id": "customers.customer_id orders.order_id",
            "word": "customers.name:expression orders.status",
        },
    ),
    "union": Case(
        f"SELECT order_id FROM {ORDERS} UNION SELECT order_id FROM {CUSTOMERS}",
        {"order_id": "customers.order_id orders.order_id"},
        "customers.order_id:group orders.order_id:group",
    ),
    "union by name": Case(
        f"SELECT order_id, amount FROM {ORDERS}"
        f" UNION ALL BY NAME SELECT name, order_id FROM {CUSTOMERS}",
        {
            "order_id": "customers.order_id orders.order_id",
            "amount": "orders.amount",
            "name": "customers.name",
        },
    ),
    "except": Case(
        f"SELECT order_id FROM {ORDERS} EXCEPT SELECT order_id FROM {CUSTOMERS}",
        {"order_id": "orders.order_id"},
        "customers.order_id:filter orders.order_id:filter",
    ),
    "intersect": Case(
        f"SELECT order_id FROM {ORDERS} INTERSECT SELECT order_id FROM {CUSTOMERS}",
        {"order_id": "orders.order_id"},
        "customers.order_id:filter orders.order_id:filter",
    ),
    "scalar subquery": Case(
        f"SELECT name, (SELECT MAX(amount) FROM {ORDERS} WHERE status = 'x') AS top"
        f" FROM {CUSTOMERS}",
        {"name": "customers.name", "top": "orders.amount:aggregation"},
        "orders.status:filter(top)",
    ),
    "correlated subquery": Case(
        f"SELECT (SELECT SUM(o.amount) FROM {ORDERS} o WHERE o.customer_id = c.customer_id) AS s"
        f" FROM {CUSTOMERS} c",
        {"s": "orders.amount:aggregation"},
        "customers.customer_id:filter(s) orders.customer_id:filter(s)",
    ),
    "exists": Case(
        f"SELECT name FROM {CUSTOMERS} c"
        f" WHERE EXISTS (SELECT * FROM {ORDERS} o WHERE o.customer_id = c.customer_id)",
        {"name": "customers.name"},
        "customers.customer_id:filter orders.customer_id:filter",
    ),
    "outer column without alias": Case(
        f"SELECT country FROM {CUSTOMERS} WHERE EXISTS (SELECT 1 FROM {ORDERS} WHERE status = name)",
        {"country": "customers.country"},
        "customers.name:filter orders.status:filter",
    ),
    "in subquery": Case(
        f"SELECT name FROM {CUSTOMERS} WHERE customer_id IN"
        f" (SELECT customer_id FROM {ORDERS} WHERE amount > 1)",
        {"name": "customers.name"},
        "customers.customer_id:filter orders.amount:filter orders.customer_id:filter",
    ),
    "unnest in select": Case(
        f"SELECT order_id, UNNEST(tags) AS tag FROM {ORDERS}",
        {"order_id": "orders.order_id", "tag": "orders.tags:expression"},
        "orders.tags:join",
    ),
    "unnest in from": Case(
        f"SELECT o.order_id, t.tag, t.at FROM {ORDERS} o"
        " CROSS JOIN UNNEST(o.tags) WITH ORDINALITY AS t(tag, at)",
        {"order_id": "orders.order_id", "tag": "orders.tags:expression", "at": ""},
        "orders.tags:join",
    ),
    "lateral": Case(
        f"SELECT c.name, l.a FROM {CUSTOMERS} c CROSS JOIN LATERAL"
        f" (SELECT amount FROM {ORDERS} o WHERE o.customer_id = c.customer_id) AS l(a)",
        {"name": "customers.name", "a": "orders.amount"},
        "customers.customer_id:filter orders.customer_id:filter",
    ),
    "values": Case(
        f"SELECT v.word, c.name FROM {CUSTOMERS} c JOIN (VALUES ('a', 1), ('b', 2)) AS v(word, n)"
        " ON v.n = c.customer_id",
        {"word": "", "name": "customers.name"},
        "customers.customer_id:join",
    ),
    "star": Case(
        "SELECT * FROM gold.shop.orders",
        {"order_id": "gold.orders.order_id", "total": "gold.orders.total"},
    ),
    "star of one table": Case(
        f"SELECT g.*, o.status FROM gold.shop.orders g JOIN {ORDERS} o USING (order_id)",
        {
            "order_id": "gold.orders.order_id",
            "total": "gold.orders.total",
            "status": "orders.status",
        },
        "gold.orders.order_id:join orders.order_id:join",
    ),
    "star except": Case(
        "SELECT * EXCLUDE (total) FROM gold.shop.orders", {"order_id": "gold.orders.order_id"}
    ),
    "star replace": Case(
        "SELECT * REPLACE (total + 1 AS total) FROM gold.shop.orders",
        {"order_id": "gold.orders.order_id", "total": "gold.orders.total:expression"},
    ),
    "order by expression of an output": Case(
        f"SELECT amount + 1 AS more FROM {ORDERS} ORDER BY more, placed LIMIT 3",
        {"more": "orders.amount:expression"},
        "orders.amount:sort orders.placed:sort",
    ),
    "ordered in parentheses": Case(
        f"(SELECT order_id FROM {ORDERS} ORDER BY amount LIMIT 1)",
        {"order_id": "orders.order_id"},
        "orders.amount:sort",
    ),
    "recursive": Case(
        f"WITH RECURSIVE r(id, path) AS ("
        f" SELECT customer_id, name FROM {CUSTOMERS} WHERE country = 'x'"
        f" UNION ALL SELECT c.order_id, r.path || c.country FROM {CUSTOMERS} c JOIN r ON c.customer_id = r.id)"
        " SELECT id, path FROM r",
        {
            "id": "customers.customer_id customers.order_id",
            "path": "customers.country:expression customers.name:expression customers.name",
        },
        "customers.country:filter customers.customer_id:join customers.order_id:join",
    ),
    "recursive that swaps its columns": Case(
        f"WITH RECURSIVE r AS (SELECT name AS a, country AS b, 0 AS n FROM {CUSTOMERS}"
        " UNION ALL SELECT b, a, n + 1 FROM r WHERE n < 3) SELECT a FROM r",
        {"a": "customers.country customers.name"},
    ),
    "recursive over numbers": Case(
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 9)"
        f" SELECT r.n, o.amount FROM r JOIN {ORDERS} o ON o.amount = r.n",
        {"n": "", "amount": "orders.amount"},
        "orders.amount:join",
    ),
    "recursive word without recursion": Case(
        f"WITH RECURSIVE a AS (SELECT amount FROM {ORDERS}), b AS (SELECT amount FROM a"
        " UNION ALL SELECT amount FROM a) SELECT amount FROM b",
        {"amount": "orders.amount"},
    ),
    "natural join": Case(
        "SELECT total, status FROM gold.shop.orders NATURAL JOIN silver.shop.orders",
        {"total": "gold.orders.total", "status": "orders.status"},
        "gold.orders.order_id:join orders.order_id:join",
    ),
    "any and all": Case(
        f"SELECT name FROM {CUSTOMERS} WHERE order_id >= ALL (SELECT order_id FROM {ORDERS})"
        f" OR customer_id = ANY (SELECT customer_id FROM {ORDERS})",
        {"name": "customers.name"},
        "customers.customer_id:filter customers.order_id:filter"
        " orders.customer_id:filter orders.order_id:filter",
    ),
    "row in subquery": Case(
        f"SELECT name FROM {CUSTOMERS} WHERE (customer_id, order_id) IN"
        f" (SELECT customer_id, order_id FROM {ORDERS})",
        {"name": "customers.name"},
        "customers.customer_id:filter customers.order_id:filter"
        " orders.customer_id:filter orders.order_id:filter",
    ),
    "long chain": Case(
        f"SELECT order_id FROM {ORDERS} WHERE " + " AND ".join(["amount > 1"] * 2000),
        {"order_id": "orders.order_id"},
        "orders.amount:filter",
    ),
}


def short(table: str) -> str:
    return table.replace("silver.shop.", "").replace("gold.shop.", "gold.")


def outputs_of(lineage: SelectLineage) -> dict[str, str]:
    return {
        output.name: " ".join(
            f"{short(source.table)}.{source.column}"
            + ("" if source.transformation == "identity" else f":{source.transformation}")
            for source in output.sources
        )
        for output in lineage.outputs
    }


def indirect_of(lineage: SelectLineage) -> str:
    return " ".join(
        f"{short(i.table)}.{i.column}:{i.kind}"
        + ("" if i.outputs is None else f"({','.join(i.outputs)})")
        for i in lineage.indirect
    )


@pytest.mark.parametrize("name", CASES)
def test_a_construct_is_followed(name: str) -> None:
    case = CASES[name]
    lineage = trace(case.sql, SCHEMA)
    assert outputs_of(lineage) == case.outputs
    assert indirect_of(lineage) == case.indirect


@pytest.mark.parametrize("name", CASES)
def test_the_tables_are_those_the_lineage_names(name: str) -> None:
    lineage = trace(CASES[name].sql, SCHEMA)
    named = {source.table for output in lineage.outputs for source in output.sources}
    named |= {influence.table for influence in lineage.indirect}
    assert named <= set(lineage.tables) == set(tables_of(CASES[name].sql))


#: The SQL with a mark before the word at fault, where one word is; and what the error says.
REFUSED = {
    "unknown column": (
        f"SELECT order_id,\n  »amuont AS a FROM {ORDERS}",
        "no column 'amuont'\n  Hint: did you mean amount?",
    ),
    "unknown column of an alias": (
        f"SELECT »o.nme AS n FROM {ORDERS} o",
        "no column 'nme' in silver.shop.orders",
    ),
    "unknown alias": (f"SELECT »x.amount FROM {ORDERS} o", "no column 'x.amount'"),
    "unknown in where": (f"SELECT amount FROM {ORDERS} WHERE »nope = 1", "no column 'nope'"),
    "unknown in order by": (f"SELECT amount FROM {ORDERS} ORDER BY »nope", "no column 'nope'"),
    "unknown in a correlated subquery": (
        f"SELECT name FROM {CUSTOMERS} c"
        f" WHERE EXISTS (SELECT 1 FROM {ORDERS} o WHERE »o.x = c.name)",
        "no column 'x' in silver.shop.orders",
    ),
    "column the cte leaves out": (
        f"WITH c AS (SELECT amount FROM {ORDERS}) SELECT »status FROM c",
        "no column 'status'\n  Hint: known here: amount",
    ),
    "outer column in a derived table": (
        f"SELECT c.name FROM {CUSTOMERS} c,"
        f" (SELECT o.amount + »c.customer_id AS x FROM {ORDERS} o) t",
        "no column 'c.customer_id'",
    ),
    "letters of another case": (f"SELECT »AMOUNT FROM {ORDERS}", "no column 'AMOUNT'"),
    "ambiguous column": (
        f"SELECT o.amount, »customer_id FROM {ORDERS} o"
        f" JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id",
        "column 'customer_id' is ambiguous",
    ),
    "ambiguous through a cte": (
        f"WITH t AS (SELECT o.order_id, c.order_id FROM {ORDERS} o, {CUSTOMERS} c)"
        " SELECT »order_id AS x FROM t",
        "column 'order_id' is ambiguous",
    ),
    "using what is not there": (
        f"SELECT o.amount FROM {ORDERS} o JOIN {CUSTOMERS} c USING (»nope)",
        "Cannot automatically join: nope",
    ),
    "alias twice": (
        f"SELECT o.amount FROM {ORDERS} o JOIN {CUSTOMERS} »o ON TRUE",
        "Alias already used: o",
    ),
    "output twice": (
        f"SELECT * FROM {ORDERS} o JOIN gold.shop.orders g ON o.order_id = g.order_id",
        "output column 'order_id' appears 2 times",
    ),
    "unnamed output": (
        f"SELECT order_id, »amount + 1 FROM {ORDERS}",
        "output column 2 has no name: amount + 1",
    ),
    "unknown table": ("SELECT a FROM »silver.shop.order", "no table 'silver.shop.order'"),
    "table by its last name": ("SELECT order_id FROM »orders", "no table 'orders'"),
    "table function": ("SELECT x FROM »read_csv('a.csv') AS t(x)", "only plain tables"),
    "unions of other widths": (
        f"SELECT »order_id FROM {ORDERS} UNION ALL SELECT order_id, name FROM {CUSTOMERS}",
        "the two sides of UNION have 1 and 2 columns",
    ),
    "too many names": (
        f"SELECT l.a FROM {CUSTOMERS} c,"
        f" LATERAL (SELECT »o.amount FROM {ORDERS} o WHERE o.order_id = c.order_id) AS l(a, b)",
        "2 names for 1 columns",
    ),
    "unknown window": (f"SELECT »SUM(amount) OVER w AS s FROM {ORDERS}", "no window 'w'"),
    "pivot": (
        f"SELECT * FROM {ORDERS} PIVOT (»SUM(amount) FOR status IN ('a'))",
        "PIVOT is not followed",
    ),
    "columns by pattern": (f"SELECT »COLUMNS('a.*') AS x FROM {ORDERS}", "COLUMNS is not followed"),
    "star in a function": (f"SELECT COUNT(»o.*) AS n FROM {ORDERS} o", "a star inside"),
    "no select": ("DELETE FROM »silver.shop.orders", "expected a SELECT, found DELETE"),
    "two statements": ("SELECT 1 AS a; SELECT 2 AS b", "expected one statement, found 2"),
    "nothing": ("  -- only a comment", "expected one statement, found 0"),
    "syntax": (f"SELECT order_id FROM {ORDERS}\n»WHERE", "not valid SQL: Required keyword"),
    "open quote": (
        f"SELECT order_id,\n  amount\nFROM {ORDERS} WHERE status = »'abc AND\n amount > 1",
        "a quote or comment is not closed",
    ),
    "open comment": ("SELECT 1 AS a /* one", "a quote or comment is not closed"),
    "too deep": (f"SELECT {'(' * 900}amount{')' * 900} AS a FROM {ORDERS}", "too deeply"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_resolved_is_refused_with_its_place(name: str) -> None:
    marked, message = REFUSED[name]
    sql, at = marked.replace("»", ""), marked.find("»")
    with pytest.raises(LineageError) as caught:
        trace(sql, SCHEMA)
    assert message in str(caught.value)
    if at >= 0:
        lines = sql[:at].split("\n")
        assert (caught.value.line, caught.value.column) == (len(lines), len(lines[-1]) + 1)
        assert f"line {len(lines)}, column {len(lines[-1]) + 1}: " in str(caught.value)


def test_tables_are_listed_without_a_schema() -> None:
    sql = """
        WITH b AS (SELECT x FROM silver.a.b), c AS (SELECT x FROM b)
        SELECT x FROM c JOIN gold.a.c ON true WHERE x IN (SELECT y FROM silver.a.d)
        UNION ALL SELECT (SELECT 1 FROM silver.a.e) FROM silver.a.b
    """
    assert tables_of(sql) == ("gold.a.c", "silver.a.b", "silver.a.d", "silver.a.e")


def test_a_dialect_decides_about_letters_case() -> None:
    lineage = trace(f"SELECT AMOUNT AS Total FROM {ORDERS}", SCHEMA, dialect="duckdb")
    assert outputs_of(lineage) == {"Total": "orders.amount"}


def test_odd_names_are_taken_as_they_are() -> None:
    schema = {"silver.shop.odd": ["group", "a b", "x:y", "Ünï"]}
    lineage = trace("SELECT * FROM silver.shop.odd", schema)
    assert [output.name for output in lineage.outputs] == ["group", "a b", "x:y", "Ünï"]
    assert [output.sources[0].column for output in lineage.outputs] == schema["silver.shop.odd"]
