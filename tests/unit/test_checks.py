"""Faults of gold's SQL, found before anything runs, each with its place."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipelines.checks import can_hold, check_sql
from pipelines.contract import load_catalog, parse_type

SILVER = """
table: silver.shop.orders
description: d
owner: o
source: {connector: postgres, topic: shop.public.orders}
key: [order_id]
columns:
  order_id: {type: int64}
  customer_id: {type: int64}
  amount: {type: "decimal(10,2)"}
  placed: {type: timestamp}
  note: {type: string}
"""


def write(root: Path, table: str, text: str, sql: str | None = None) -> None:
    layer, domain, name = table.split(".")
    path = root / domain / layer / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if sql is not None:
        path.with_suffix(".sql").write_text(sql)


def gold(
    root: Path, sql: str, columns: str = "{x: {type: int64}}", name: str = "g", extra: str = ""
) -> None:
    key = columns.removeprefix("{").split(":")[0]
    table = f"gold.shop.{name}"
    text = f"table: {table}\ndescription: d\nowner: o\nkey: [{key}]\n{extra}columns: {columns}\n"
    write(root, table, text, sql)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "silver.shop.orders", SILVER)
    return tmp_path


ORDERS = "silver.shop.orders"


@pytest.mark.parametrize(
    ("sql", "columns", "said"),
    [
        (f"SELECT o.order_id AS x,\n  »o.amuont AS y FROM {ORDERS} AS o", "{x: {type: int64}, y: {type: int64}}",
         "no column 'amuont' in silver.shop.orders\n  Hint: did you mean amount?"),
        ("SELECT x FROM »silver.shop.order AS o", "{x: {type: int64}}", "no table 'silver.shop.order'\n  Hint: did you mean silver.shop.orders"),
        (f"SELECT a.order_id AS x FROM {ORDERS} AS a\nJOIN {ORDERS} AS b ON a.order_id = b.order_id\nWHERE »amount > 1", "{x: {type: int64}}",
         "column 'amount' is ambiguous\n  Hint: write the table's alias before it"),
        (f"SELECT o.order_id AS x,\n »o.note FROM {ORDERS} AS o", "{x: {type: int64}, nota: {type: string}}",
         "the SQL gives column 'note', which the contract does not have\n  Hint: did you mean 'nota'?"),
        (f"SELECT\n »o.note AS x FROM {ORDERS} AS o", "{x: {type: int64}}", "column 'x' is String here, and int64 in the contract"),
        (f"SELECT »o.placed AS x FROM {ORDERS} AS o", "{x: {type: date}}", "and date in the contract"),
        (f"WITH nobodys AS (SELECT »nope FROM {ORDERS}) SELECT o.amount AS x FROM {ORDERS} AS o", "{x: {type: int64}}", "no column 'nope'"),
        (f"SELECT o.amount AS x, »o.note AS x FROM {ORDERS} AS o", "{x: {type: int64}}", "output column 'x' appears 2 times"),
        (f"SELECT 1 AS x FROM {ORDERS}; SELECT »2 AS x", "{x: {type: int64}}", "expected one statement, found 2"),
        (f"SELECT »o.amount AS y FROM {ORDERS} AS o", "{y: {type: int64}, x: {type: int64}}", "column 'x' is not in the SQL's result"),
        (f"SELECT o.amount AS x,\n »NO_SUCH(o.note) AS y FROM {ORDERS} AS o", "{x: {type: int64}, y: {type: string}}", "the engine refuses it: unsupported function"),
        (f"SELECT o.amount AS x,»,o.note AS y FROM {ORDERS} AS o", "{x: {type: int64}, y: {type: string}}", "the engine refuses it: sql parser error"),
        (f"SELECT CAST(»o.amount AS DOUBLE) AS x FROM {ORDERS} AS o", '{x: {type: "decimal(10,2)"}}', "column 'x' is Float64 here"),
        ("SELECT b.event_id AS x\nFROM »bronze.shop.orders AS b", "{x: {type: string}}", "gold reads 'bronze.shop.orders', past silver and its rules\n  Hint: read silver.shop.orders"),
        ("SELECT g.x FROM »gold.shop.g AS g", "{x: {type: int64}}", "gold tables read each other: gold.shop.g <- gold.shop.g"),
        (f"SELECT o.order_id AS x FROM {ORDERS} AS o\n»WHERE", "{x: {type: int64}}", "not valid SQL"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_line_and_column(
    root: Path, sql: str, columns: str, said: str
) -> None:
    at = sql.index("»")
    gold(root, sql.replace("»", ""), columns)
    fault = check_sql(load_catalog(root)).faults[0]
    line, column = sql[:at].count("\n") + 1, at - sql[:at].rfind("\n")
    assert fault.startswith(f"{root / 'shop/gold/g.sql'}: line {line}, column {column}: "), fault
    assert said in fault


def test_a_circle_is_told_where_a_table_reads_the_next(root: Path) -> None:
    gold(root, "SELECT b.x\nFROM gold.shop.b AS b", name="a")
    gold(root, "SELECT a.x FROM gold.shop.a AS a", name="b")
    (fault,) = check_sql(load_catalog(root)).faults
    assert "gold tables read each other: gold.shop." in fault
    assert "a.sql: line 2, column 6:" in fault or "b.sql: line 1, column 17:" in fault


def test_all_faults_of_all_tables_are_told_at_once(root: Path) -> None:
    gold(root, f"SELECT o.nope AS x FROM {ORDERS} AS o", name="a")
    gold(root, "SELECT n.x FROM silver.shop.none AS n", name="b")
    assert len(check_sql(load_catalog(root)).faults) == 2


def test_what_the_contract_wants_and_the_sql_does_not_give_is_told(root: Path) -> None:
    gold(root, f"SELECT o.order_id AS x FROM {ORDERS} AS o", "{x: {type: int64}, y: {type: int64}}")
    assert "column 'y' is not in the SQL's result" in check_sql(load_catalog(root)).faults[0]


def test_a_column_that_the_build_gives_is_not_the_sqls(root: Path) -> None:
    columns = "{x: {type: int64}, b: {type: string}}"
    gold(
        root,
        f"SELECT o.order_id AS x, o.note AS b FROM {ORDERS} AS o",
        columns,
        extra="batch_id: b\n",
    )
    assert "column 'b', which the build gives" in check_sql(load_catalog(root)).faults[0]


def test_what_only_the_engine_does_not_know_is_told(root: Path) -> None:
    gold(root, f"SELECT FROBNICATE(o.order_id) AS x FROM {ORDERS} AS o")
    assert "line 1, column 8: the engine refuses it: " in check_sql(load_catalog(root)).faults[0]


def test_columns_that_nobody_reads_are_notes(root: Path) -> None:
    sql = f"WITH a AS (SELECT o.order_id,\n  o.note AS unread FROM {ORDERS} AS o) SELECT a.order_id AS x FROM a"
    gold(root, sql)
    findings = check_sql(load_catalog(root))
    assert findings.faults == ()
    path = root / "shop/gold/g.sql"
    assert findings.notes == (f"{path}: line 2, column 3: column 'unread' of 'a' is never read",)


@pytest.mark.parametrize(
    "sql",
    [
        f"WITH a AS (SELECT o.order_id, o.note FROM {ORDERS} AS o) SELECT a.order_id AS x FROM a WHERE a.note = 'x'",
        f"WITH a AS (SELECT o.order_id, o.note FROM {ORDERS} AS o) SELECT a.order_id AS x FROM a ORDER BY a.note",
        f"WITH a AS (SELECT o.order_id AS x FROM {ORDERS} AS o) SELECT * FROM a",
        f"WITH a AS (SELECT o.order_id AS x FROM {ORDERS} AS o) SELECT a.x FROM a UNION ALL SELECT a.x FROM a",
        f"WITH a AS (SELECT o.order_id AS x FROM {ORDERS} AS o UNION ALL SELECT o.amount FROM {ORDERS} AS o) SELECT a.x FROM a",
    ],
)
def test_a_column_that_somebody_reads_is_no_note(root: Path, sql: str) -> None:
    gold(root, sql)
    assert check_sql(load_catalog(root)).notes == ()


@pytest.mark.parametrize(
    ("wanted", "given", "holds"),
    [
        ("int32", pl.Int64(), True),
        ("int32", pl.Decimal(10, 0), True),
        ("decimal(10,2)", pl.Int64(), True),
        ("decimal(10,2)", pl.Float64(), False),
        ("int64", pl.Float64(), False),
        ("float64", pl.Int64(), True),
        ("string", pl.Int64(), False),
        ("date", pl.Datetime("us"), False),
        ("timestamp", pl.Datetime("us"), False),
        ("timestamp", pl.Datetime("ms", "UTC"), True),
        ("uuid", pl.String(), True),
        ("string", pl.Null(), True),
        ("bool", pl.Int8(), False),
    ],
)
def test_types_that_can_hold_each_other(wanted: str, given: pl.DataType, holds: bool) -> None:
    assert can_hold(parse_type(wanted), given) == holds


def test_a_with_that_nobody_reads_is_a_note(root: Path) -> None:
    sql = f"WITH a AS (\n  SELECT o.note FROM {ORDERS} AS o\n)\nSELECT o.order_id AS x FROM {ORDERS} AS o"
    gold(root, sql)
    path = root / "shop/gold/g.sql"
    assert check_sql(load_catalog(root)).notes == (f"{path}: line 2, column 10: 'a' is never read",)


def test_types_that_cannot_meet_are_found_before_there_are_rows(root: Path) -> None:
    gold(root, f"SELECT o.amount AS x FROM {ORDERS} AS o WHERE o.order_id = 'a'")
    (fault,) = check_sql(load_catalog(root)).faults
    assert "the engine refuses it: cannot compare string with numeric type" in fault
