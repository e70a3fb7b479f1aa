"""Golden cases of seven dialects: what each writes in a way of its own.

The tables: `o` of orders with `tags` a list and `addr` a structure, `c` of customers.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lineage.columns import SelectLineage, tables_of, trace
from lineage.errors import LineageError

SCHEMA = {"db.s.o": ["id", "cust", "amt", "tags", "addr", "at"], "db.s.c": ["cust", "name", "boss"]}

CASES = [
    # ---- Postgres ---- #
    ("postgres", "SELECT DISTINCT ON (cust) cust, amt FROM db.s.o ORDER BY cust, at DESC",
     "cust = o.cust; amt = o.amt | o.at sort, o.cust group, o.cust sort"),
    ("postgres", "SELECT o.id, l.n FROM db.s.o LEFT JOIN LATERAL (SELECT c.name AS n FROM db.s.c WHERE c.cust = o.cust LIMIT 1) l ON TRUE",
     "id = o.id; n = c.name | c.cust filter, o.cust filter"),
    ("postgres", "SELECT o.addr->>'city' AS city, o.addr #>> '{a,b}' AS deep FROM db.s.o",
     "city = o.addr (expression); deep = o.addr (expression)"),
    ("postgres", "SELECT id, unnest(tags) AS tag FROM db.s.o",
     "id = o.id; tag = o.tags (expression) | o.tags join"),
    ("postgres", "SELECT o.id, t.tag, t.nth FROM db.s.o, unnest(o.tags) WITH ORDINALITY AS t(tag, nth)",
     "id = o.id; tag = o.tags (expression); nth =  | o.tags join"),
    ("postgres", "SELECT ARRAY(SELECT name FROM db.s.c WHERE c.cust = o.cust) AS names FROM db.s.o",
     "names = c.name (expression) | c.cust filter of names, o.cust filter of names"),
    ("postgres", "SELECT v.a, o.id FROM (VALUES (1, 'x')) AS v(a, b) JOIN db.s.o ON o.id = v.a",
     "a = ; id = o.id | o.id join"),
    ("postgres", "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY amt) AS mid FROM db.s.o",
     "mid = o.amt (aggregation)"),
    ("postgres", "WITH RECURSIVE t(n, who) AS (VALUES (1, 'a') UNION ALL SELECT n + 1, c.name FROM t JOIN db.s.c ON c.cust = t.n) SELECT who FROM t",
     "who = c.name | c.cust join"),
    ("postgres", "SELECT row_to_json(c) AS j FROM db.s.c",
     "j = c.boss (expression) + c.cust (expression) + c.name (expression)"),
    ("postgres", "SELECT id, (SELECT json_agg(c) FROM db.s.c WHERE c.cust = o.cust) AS j FROM db.s.o",
     "id = o.id; j = c.boss (aggregation) + c.cust (aggregation) + c.name (aggregation) | c.cust filter of j, o.cust filter of j"),
    ("postgres", "SELECT to_jsonb(o.*) AS j FROM db.s.o", "a star inside an expression is not followed"),
    ("postgres", "SELECT a.id FROM (db.s.o a LEFT JOIN db.s.c b ON a.cust = b.cust) JOIN db.s.c d ON d.boss = b.name",
     "id = o.id | c.boss join, c.cust join, c.name join, o.cust join"),
    ("postgres", "SELECT a.id FROM db.s.o a JOIN ((db.s.c b JOIN db.s.c d ON b.boss = d.name) JOIN db.s.c e ON e.name = d.cust) ON a.at = b.name",
     "id = o.id | c.boss join, c.cust join, c.name join, o.at join"),
    ("postgres", "SELECT id, jsonb_array_elements(tags) AS x FROM db.s.o", "id = o.id; x = o.tags (expression) | o.tags join"),
    ("postgres", "SELECT id, generate_series(1, amt) AS n FROM db.s.o", "id = o.id; n = o.amt (expression) | o.amt join"),
    ("postgres", 'SELECT "Amt" FROM db.s."Odd"', "no table 'db.s.Odd'"),
    ("postgres", "SELECT id FROM db.s.o ORDER BY amt FETCH FIRST 3 ROWS ONLY", "id = o.id | o.amt sort"),
    ("postgres", "SELECT id FROM db.s.o FOR UPDATE", "id = o.id"),
    ("postgres", "SELECT g.n FROM generate_series(1, 3) AS g(n)", "cannot be followed: only plain tables are"),
    # ---- DuckDB ---- #
    ("duckdb", "FROM db.s.c", "cust = c.cust; name = c.name; boss = c.boss"),
    ("duckdb", "SELECT o.* EXCLUDE (tags, addr, at, id) REPLACE (amt + 1 AS amt) FROM db.s.o",
     "cust = o.cust; amt = o.amt (expression)"),
    ("duckdb", "SELECT * RENAME (boss AS chief) FROM db.s.c", "cust = c.cust; name = c.name; chief = c.boss"),
    ("duckdb", "SELECT o.addr.city AS city, addr['zip'] AS zip FROM db.s.o",
     "city = o.addr (expression); zip = o.addr (expression)"),
    ("duckdb", "SELECT list_transform(tags, x -> x || id) AS l FROM db.s.o",
     "l = o.id (expression) + o.tags (expression)"),
    ("duckdb", "SELECT [x + amt FOR x IN tags] AS l FROM db.s.o",
     "l = o.amt (expression) + o.tags (expression)"),
    ("duckdb", "SELECT o.id, c.name FROM db.s.o ASOF JOIN db.s.c ON o.cust = c.cust AND o.at >= c.boss",
     "id = o.id; name = c.name | c.boss join, c.cust join, o.at join, o.cust join"),
    ("duckdb", "SELECT max_by(amt, at) AS newest FROM db.s.o", "newest = o.amt (aggregation) | o.at sort of newest"),
    ("duckdb", "SELECT cust, sum(amt) FILTER (WHERE at > 1) AS s FROM db.s.o GROUP BY ALL",
     "cust = o.cust; s = o.amt (aggregation) | o.at filter of s, o.cust group"),
    ("duckdb", "SELECT id FROM db.s.o UNION ALL BY NAME SELECT cust AS id, name FROM db.s.c",
     "id = c.cust + o.id; name = c.name"),
    ("duckdb", "SELECT o FROM (SELECT id, amt AS a FROM db.s.o) o", "o = o.amt (expression) + o.id (expression)"),
    ("duckdb", 'SELECT "ID" AS "My Id", Amt FROM db.s.o', "My Id = o.id; Amt = o.amt"),
    ("duckdb", "SELECT COUNT(*) AS n, COUNT(*) FILTER (WHERE amt > 1) AS m FROM db.s.o", "n = ; m =  | o.amt filter of m"),
    ("duckdb", "SELECT * FROM db.s.o PIVOT (SUM(amt) FOR cust IN (1, 2))", "PIVOT is not followed"),
    # ---- Spark ---- #
    ("spark", "SELECT o.id, t.tag FROM db.s.o LATERAL VIEW EXPLODE(o.tags) t AS tag",
     "id = o.id; tag = o.tags (expression) | o.tags join"),
    ("spark", "SELECT o.id, p, tag FROM db.s.o LATERAL VIEW OUTER POSEXPLODE(o.tags) t AS p, tag",
     "id = o.id; p = o.tags (expression); tag = o.tags (expression) | o.tags join"),
    ("spark", "SELECT id, EXPLODE(tags) AS tag FROM db.s.o", "id = o.id; tag = o.tags (expression) | o.tags join"),
    ("spark", "SELECT o.id FROM db.s.o LEFT ANTI JOIN db.s.c ON o.cust = c.cust",
     "id = o.id | c.cust join, o.cust join"),
    ("spark", "SELECT cust, COLLECT_LIST(id) AS l FROM db.s.o GROUP BY cust",
     "cust = o.cust; l = o.id (aggregation) | o.cust group"),
    ("spark", "SELECT transform(tags, x -> x + amt) AS l FROM db.s.o",
     "l = o.amt (expression) + o.tags (expression)"),
    ("spark", "SELECT id FROM db.s.o DISTRIBUTE BY cust SORT BY at", "id = o.id | o.at sort, o.cust sort"),
    # ---- Snowflake ---- #
    ("snowflake", "SELECT o.id, f.value AS tag FROM db.s.o, LATERAL FLATTEN(input => o.tags) f",
     "ID = o.id; TAG = o.tags (expression) | o.tags join"),
    ("snowflake", "SELECT o.addr:city::string AS city FROM DB.S.O", "CITY = o.addr (expression)"),
    ("snowflake", "SELECT IFF(amt > 1, id, cust) AS x FROM db.s.o",
     "X = o.cust (expression) + o.id (expression) | o.amt conditional of X"),
    ("snowflake", "SELECT Id FROM Db.S.O QUALIFY ROW_NUMBER() OVER (PARTITION BY cust ORDER BY at) = 1",
     "ID = o.id | o.at window, o.cust window"),
    ("snowflake", "SELECT LAST_VALUE(amt IGNORE NULLS) OVER (PARTITION BY cust ORDER BY at) AS s FROM db.s.o",
     "S = o.amt (expression) | o.at window of S, o.cust window of S"),
    ("snowflake", "SELECT LISTAGG(name, ',') WITHIN GROUP (ORDER BY boss) AS l FROM db.s.c",
     "L = c.name (aggregation) | c.boss sort of L"),
    ("snowflake", "SELECT OBJECT_CONSTRUCT(*) AS j FROM db.s.o", "a star inside an expression is not followed"),
    ("snowflake", "SELECT ARRAY_AGG(amt) WITHIN GROUP (ORDER BY at) AS l FROM db.s.o", "L = o.amt (aggregation) | o.at sort of L"),
    ("snowflake", "SELECT DECODE(cust, id, amt, at) AS d FROM db.s.o",
     "D = o.amt (expression) + o.at (expression) | o.cust conditional of D, o.id conditional of D"),
    ("snowflake", "SELECT NVL2(amt, id, cust) AS x FROM db.s.o",
     "X = o.cust (expression) + o.id (expression) | o.amt conditional of X"),
    ("snowflake", "SELECT cust FROM db.s.c START WITH boss IS NULL CONNECT BY boss = PRIOR cust", "CONNECT is not followed"),
    # ---- BigQuery ---- #
    ("bigquery", "SELECT o.id, tag FROM `db`.`s`.`o` AS o, UNNEST(o.tags) AS tag WITH OFFSET AS pos",
     "id = o.id; tag = o.tags (expression) | o.tags join"),
    ("bigquery", "SELECT * EXCEPT (boss) REPLACE (UPPER(name) AS name) FROM db.s.c",
     "cust = c.cust; name = c.name (expression)"),
    ("bigquery", "SELECT o.addr.city AS city FROM db.s.o AS o", "city = o.addr (expression)"),
    ("bigquery", "SELECT id FROM `db.s.o`", "id = o.id"),
    ("bigquery", "SELECT ARRAY_AGG(c ORDER BY name LIMIT 1)[OFFSET(0)] AS r FROM db.s.c AS c GROUP BY cust",
     "r = c.boss (aggregation) + c.cust (aggregation) + c.name (aggregation) | c.cust group, c.name sort of r"),
    ("bigquery", "SELECT ANY_VALUE(name HAVING MAX boss) AS n FROM db.s.c", "n = c.name (aggregation) | c.boss sort of n"),
    ("bigquery", "FROM db.s.o |> WHERE amt > 1 |> SELECT id", "id = o.id | o.amt filter"),
    ("bigquery", "SELECT STRUCT(id, amt AS a) AS s FROM db.s.o", "s = o.amt (expression) + o.id (expression)"),
    ("bigquery", "SELECT SAFE_CAST(amt AS STRING) AS s FROM db.s.o", "s = o.amt (cast)"),
    # ---- T-SQL ---- #
    ("tsql", "SELECT o.id, x.n FROM db.s.o CROSS APPLY (SELECT TOP 1 c.name AS n FROM db.s.c WHERE c.cust = o.cust) x",
     "id = o.id; n = c.name | c.cust filter, o.cust filter"),
    ("tsql", "SELECT TOP 3 [id], n = amt FROM [db].[s].[O] ORDER BY at", "id = o.id; n = o.amt | o.at sort"),
    ("tsql", "SELECT ISNULL(amt, id) AS x, IIF(at > 1, cust, 0) AS y FROM db.s.o",
     "x = o.amt (expression) + o.id (expression); y = o.cust (expression) | o.at conditional of y"),
    ("tsql", "SELECT o.id, v.k, v.x FROM db.s.o AS o CROSS APPLY (VALUES ('a', o.amt), ('d', o.at)) AS v(k, x)",
     "id = o.id; k = ; x = o.amt + o.at"),
    ("tsql", "SELECT CHECKSUM(*) AS c FROM db.s.o", "a star inside an expression is not followed"),
    ("tsql", "SELECT COUNT_BIG(*) AS [N] FROM db.s.o", "N = "),
    ("tsql", "SELECT CONVERT(VARCHAR(10), amt) AS x FROM db.s.o", "x = o.amt (cast)"),
    # ---- MySQL ---- #
    ("mysql", "SELECT `id`, IF(amt > 1, o.cust, 0) AS x FROM `db`.`s`.`o`",
     "id = o.id; x = o.cust (expression) | o.amt conditional of x"),
    ("mysql", "SELECT GROUP_CONCAT(name ORDER BY boss) AS g FROM db.s.o STRAIGHT_JOIN db.s.c USING (cust) GROUP BY id",
     "g = c.name (aggregation) | c.boss sort of g, c.cust join, o.cust join, o.id group"),
    ("mysql", "SELECT IFNULL(name, boss) AS n FROM db.s.c LIMIT 2, 3", "n = c.boss (expression) + c.name (expression)"),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "sql", "expected"), CASES, ids=lambda part: str(part)[:60])
def test_a_dialect_is_followed_or_what_is_not_is_said(
    dialect: str, sql: str, expected: str, shown: Callable[[SelectLineage], str]
) -> None:
    if "=" in expected:
        assert shown(trace(sql, SCHEMA, dialect)) == expected
        return
    with pytest.raises(LineageError) as caught:
        trace(sql, SCHEMA, dialect)
    assert expected in str(caught.value)


def test_tables_are_the_callers_whatever_their_case() -> None:
    assert trace("SELECT ID FROM DB.S.O", SCHEMA, "snowflake").tables == ("db.s.o",)
    assert tables_of("SELECT ID FROM DB.S.O", "snowflake") == ("DB.S.O",)
