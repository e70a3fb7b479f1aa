"""Golden cases of statements that write: the columns of the target, and where they come from."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lineage.columns import SelectLineage
from lineage.errors import LineageError
from lineage.statements import trace_script, trace_statement

SCHEMA = {"db.s.t": ["id", "v", "w"], "db.s.u": ["id", "v", "x", "y"]}

CASES = [
    ("postgres", "SELECT id FROM db.s.u", "SELECT None: id = u.id"),
    # ---- INSERT ---- #
    ("postgres", "WITH a AS (SELECT id AS k, x FROM db.s.u WHERE y > 1) INSERT INTO db.s.t (w, id) SELECT x, k FROM a",
     "INSERT db.s.t: w = u.x; id = u.id | u.y filter"),
    ("postgres", "INSERT INTO db.s.t (id, v) WITH a AS (SELECT id FROM db.s.u) SELECT id, id FROM a",
     "INSERT db.s.t: id = u.id; v = u.id"),
    ("tsql", "WITH a AS (SELECT x FROM db.s.u) INSERT INTO [db].[s].[t] (id) SELECT x + 1 FROM a",
     "INSERT db.s.t: id = u.x (expression)"),
    ("duckdb", "INSERT INTO db.s.t SELECT id, v, SUM(x) FROM db.s.u GROUP BY id, v",
     "INSERT db.s.t: id = u.id; v = u.v; w = u.x (aggregation) | u.id group, u.v group"),
    ("spark", "INSERT INTO db.s.t BY NAME SELECT x AS w, id FROM db.s.u", "INSERT db.s.t: w = u.x; id = u.id"),
    ("spark", "INSERT OVERWRITE TABLE db.s.t PARTITION (w = '1') SELECT id, x FROM db.s.u",
     "INSERT db.s.t: id = u.id; v = u.x; w = "),
    ("snowflake", "INSERT INTO DB.S.T SELECT ID, V, X FROM db.s.u", "INSERT db.s.t: id = u.id; v = u.v; w = u.x"),
    ("postgres", "INSERT INTO db.s.t (id, v) VALUES (1, (SELECT MAX(x) FROM db.s.u)), (2, 3)",
     "INSERT db.s.t: id = ; v = u.x (aggregation)"),
    ("postgres", "INSERT INTO db.s.t (id, v) SELECT id, x FROM db.s.u ON CONFLICT (id) DO UPDATE SET v = excluded.v + t.w",
     "INSERT db.s.t: id = u.id; v = t.w (expression) + u.x (expression) + u.x | t.id join, u.id join"),
    ("postgres", "INSERT INTO db.s.t (id) SELECT id FROM db.s.u ON CONFLICT DO NOTHING", "INSERT db.s.t: id = u.id"),
    # ---- CREATE ---- #
    ("bigquery", "CREATE OR REPLACE TABLE db.s.n AS SELECT id, UPPER(x) AS x FROM db.s.u",
     "CREATE TABLE db.s.n: id = u.id; x = u.x (expression)"),
    ("postgres", "CREATE VIEW db.s.n (p, q) AS WITH z AS (SELECT x, y FROM db.s.u) SELECT x, y + 1 FROM z",
     "CREATE VIEW db.s.n: p = u.x; q = u.y (expression)"),
    ("tsql", "SELECT id AS k INTO db.s.n FROM db.s.u", "CREATE TABLE db.s.n: k = u.id"),
    # ---- MERGE ---- #
    ("snowflake", "MERGE INTO db.s.t AS t USING (SELECT id, v FROM db.s.u WHERE x > 1) AS s ON t.id = s.id"
     " WHEN MATCHED AND s.v > 1 THEN UPDATE SET t.v = s.v + t.w WHEN MATCHED THEN DELETE"
     " WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, s.v)",
     "MERGE db.s.t: v = t.w (expression) + u.v (expression) + u.v; id = u.id | t.id join, u.id join, u.v filter, u.x filter"),
    ("spark", "MERGE INTO db.s.t t USING db.s.u s ON t.id = s.id WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *",
     "MERGE db.s.t: id = u.id; v = u.v | t.id join, u.id join"),
    ("bigquery", "MERGE db.s.t t USING (SELECT id, v, x FROM db.s.u) s ON FALSE WHEN NOT MATCHED THEN INSERT ROW",
     "MERGE db.s.t: id = u.id; v = u.v; w = u.x"),
    ("tsql", "WITH s AS (SELECT id, y FROM db.s.u) MERGE INTO db.s.t AS t USING s ON t.id = s.id"
     " WHEN NOT MATCHED BY SOURCE AND t.w > 1 THEN DELETE WHEN NOT MATCHED BY TARGET THEN INSERT (id, v) VALUES (s.id, s.y);",
     "MERGE db.s.t: id = u.id; v = u.y | t.id join, t.w filter, u.id join"),
    ("postgres", "MERGE INTO db.s.t t USING db.s.u u ON t.id = u.id WHEN MATCHED AND u.y > 1 THEN DO NOTHING"
     " WHEN MATCHED THEN UPDATE SET v = u.x, w = DEFAULT WHEN NOT MATCHED AND u.x > 2 THEN INSERT (id, v) VALUES (u.id, u.v)"
     " WHEN NOT MATCHED BY SOURCE THEN UPDATE SET w = t.v",
     "MERGE db.s.t: v = u.v + u.x; w = t.v; id = u.id | t.id join, u.id join, u.x filter, u.y filter"),
    # ---- UPDATE, DELETE ---- #
    ("postgres", "UPDATE db.s.t SET v = DEFAULT, w = v", "UPDATE db.s.t: v = ; w = t.v"),
    ("tsql", "UPDATE t SET t.v = u.x FROM db.s.t AS t INNER JOIN db.s.u AS u ON u.id = t.id WHERE u.y > 1",
     "UPDATE db.s.t: v = u.x | t.id join, u.id join, u.y filter"),
    ("postgres", "UPDATE db.s.t AS t SET v = s.x, w = t.w || 'z' FROM db.s.u AS s WHERE t.id = s.id",
     "UPDATE db.s.t: v = u.x; w = t.w (expression) | t.id filter, u.id filter"),
    ("mysql", "UPDATE db.s.t AS t JOIN db.s.u AS s ON t.id = s.id SET t.v = s.x",
     "UPDATE db.s.t: v = u.x | t.id join, u.id join"),
    ("duckdb", "UPDATE db.s.t SET v = (SELECT MAX(u.x) FROM db.s.u WHERE u.id = t.id)",
     "UPDATE db.s.t: v = u.x (aggregation) | t.id filter of v, u.id filter of v"),
    ("postgres", "DELETE FROM db.s.t AS t USING db.s.u AS s WHERE t.id = s.id AND s.x > 1",
     "DELETE db.s.t:  | t.id filter, u.id filter, u.x filter"),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "sql", "expected"), CASES, ids=lambda part: str(part)[:60])
def test_a_statement_is_followed(
    dialect: str, sql: str, expected: str, shown: Callable[[SelectLineage], str]
) -> None:
    found = trace_statement(sql, SCHEMA, dialect)
    assert f"{found.kind} {found.target}: {shown(found.lineage)}" == expected


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("INSERT INTO db.s.t (id) SELECT id, »x FROM db.s.u", "2 columns for the 1 of the target"),
        ("INSERT INTO »db.s.unknown SELECT id FROM db.s.u", "the columns of 'db.s.unknown' are not known"),
        ("INSERT INTO db.s.t (id) SELECT »nope FROM db.s.u", "no column 'nope'"),
        ("MERGE INTO db.s.t AS t USING db.s.u AS u ON t.id = u.id WHEN MATCHED THEN UPDATE SET v = »z.x", "no column 'z.x'"),
        ("UPDATE db.s.t SET v = »nope", "no column 'nope'"),
        ("UPDATE db.s.t SET »nope = 1", "no column 'nope' in db.s.t"),
        ("INSERT INTO db.s.t (id, »nope) SELECT id, x FROM db.s.u", "no column 'nope' in db.s.t"),
        ("UPDATE db.s.t AS t SET »u.y = t.w FROM db.s.u AS u", "SET u.y = t.w is not followed"),
        ("UPDATE db.s.t AS t SET »t.v.a = 1", "SET t.v.a = 1 is not followed"),
        ("DROP TABLE db.s.t", "DROP is not followed"),
        ("CREATE TABLE db.s.n (a INT)", "CREATE TABLE without a SELECT is not followed"),
        ("INSERT INTO db.s.t (id) VALUES (1); INSERT INTO db.s.t (id) VALUES (2)", "expected one statement, found 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_said(sql: str, said: str) -> None:
    with pytest.raises(LineageError, match=said.replace("(", r"\(")) as caught:
        trace_statement(sql.replace("»", ""), SCHEMA, "postgres")
    if "»" in sql and "columns for" not in said:
        assert caught.value.column == sql.index("»") + 1


def test_a_script_knows_the_tables_it_made(shown: Callable[[SelectLineage], str]) -> None:
    script = """
        CREATE TABLE db.s.step AS SELECT id AS k, x + y AS z FROM db.s.u;
        INSERT INTO db.s.t (id, v) SELECT k, z FROM db.s.step;
    """
    first, second = trace_script(script, SCHEMA, "postgres")
    assert shown(first.lineage) == "k = u.id; z = u.x (expression) + u.y (expression)"
    assert shown(second.lineage) == "id = step.k; v = step.z"
