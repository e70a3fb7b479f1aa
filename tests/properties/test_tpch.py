"""The 22 queries of TPC-H, and more over its tables: each resolves, and DuckDB agrees with what lineage says.

Values are drawn from the words and numbers that the queries look for, so that few rows meet every
condition. One column drawn anew may change the outputs that lineage names for it, and no other.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest
import sqlglot

from lineage.columns import SelectLineage, trace

TEXT = (Path(__file__).parents[1] / "data" / "tpch.sql").read_text()
TPCH = {
    number: sql.strip().rstrip(";")
    for number, sql in re.findall(r"^-- (\d+): .*\n((?:(?!-- ).*\n)+)", TEXT, re.MULTILINE)
}

#: What TPC-H does not ask, and Polars does not run.
MORE = {
    "recursive": """
        WITH RECURSIVE reach (k, way, steps) AS (
          SELECT n_nationkey, n_name, 0 FROM tpch.nation WHERE n_comment = 'quick'
          UNION ALL
          SELECT r_regionkey, way || r_comment, steps + 1 FROM reach JOIN tpch.region ON k = r_regionkey WHERE steps < 2
        )
        SELECT k, way, steps FROM reach""",
    "recursive that swaps": """
        WITH RECURSIVE s AS (
          SELECT r_name AS a, r_comment AS b, 0 AS n FROM tpch.region
          UNION ALL SELECT b, a, n + 1 FROM s WHERE n < 1
        )
        SELECT a, n FROM s""",
    "lateral": """
        SELECT c_name, newest.o_totalprice FROM tpch.customer, LATERAL (
          SELECT o_totalprice FROM tpch.orders WHERE o_custkey = c_custkey ORDER BY o_orderdate DESC, o_clerk LIMIT 1
        ) AS newest""",
    "natural join": """
        SELECT k, n, m FROM (SELECT n_nationkey AS k, n_name AS n FROM tpch.nation)
        NATURAL JOIN (SELECT c_nationkey AS k, c_name AS m FROM tpch.customer)""",
    "union by name": """
        SELECT s_name AS n, s_phone AS p FROM tpch.supplier UNION ALL BY NAME SELECT c_phone AS p, c_acctbal AS b FROM tpch.customer""",
    "max by": "SELECT o_custkey, MAX_BY(o_clerk, (o_orderdate, o_totalprice)) AS clerk FROM tpch.orders GROUP BY o_custkey",
    "case": """
        SELECT p_partkey, CASE WHEN p_size = 15 THEN p_name WHEN p_size = 3 THEN p_mfgr END AS x, NULLIF(p_mfgr, p_name) AS y,
          COUNT(*) OVER (PARTITION BY p_type) AS n FROM tpch.part""",
    "any and all": """
        SELECT s_name FROM tpch.supplier WHERE s_acctbal >= ALL (SELECT c_acctbal FROM tpch.customer WHERE c_custkey > 4)
          AND s_nationkey = ANY (SELECT n_nationkey FROM tpch.nation)""",
    "distinct on": "SELECT DISTINCT ON (l_shipmode) l_shipmode, l_comment FROM tpch.lineitem ORDER BY l_shipmode, l_tax, l_comment",
}  # fmt: skip
QUERIES = TPCH | MORE

NATIONS = ["FRANCE", "GERMANY", "BRAZIL", "CANADA", "SAUDI ARABIA"]
DATES = [date(y, m, d) for y in range(1993, 1997) for m, d in ((1, 9), (8, 2), (9, 3), (11, 5))]
DATES.append(date(1998, 11, 1))
PHONES = ["13-555", "31-123", "23-456", "11-000"]
TYPES = ["ECONOMY ANODIZED STEEL", "PROMO PLATED BRASS", "MEDIUM POLISHED TIN", "SMALL BRASS"]
NAMES = ["forest green", "forest", "green dim", "blue"]
COMMENTS = ["special packed requests", "Customer sent Complaints", "slow", "quick"]
KEY = list(range(1, 7))

#: The values of each column; a few rows of each table meet.
TABLES: Mapping[str, tuple[int, Mapping[str, Sequence[object]]]] = {
    "region": (5, {"r_regionkey": KEY[:3], "r_name": ["EUROPE", "ASIA", "AMERICA"], "r_comment": COMMENTS}),
    "nation": (8, {"n_nationkey": KEY[:4], "n_name": NATIONS, "n_regionkey": KEY[:3], "n_comment": COMMENTS}),
    "supplier": (8, {"s_suppkey": KEY, "s_name": NAMES, "s_address": NAMES, "s_nationkey": KEY[:4], "s_phone": PHONES,
        "s_acctbal": [1.0, 2.5, 9.0], "s_comment": COMMENTS}),
    "customer": (8, {"c_custkey": KEY, "c_name": NAMES, "c_address": NAMES, "c_nationkey": KEY[:4], "c_phone": PHONES,
        "c_acctbal": [-1.0, 1.0, 2.0, 9.0], "c_mktsegment": ["BUILDING", "AUTOMOBILE"], "c_comment": COMMENTS}),
    "part": (8, {"p_partkey": KEY, "p_name": NAMES, "p_mfgr": NAMES, "p_brand": ["Brand#12", "Brand#23", "Brand#45"],
        "p_type": TYPES, "p_size": [15, 3, 9], "p_container": ["MED BOX", "SM BOX"], "p_retailprice": [1.0, 2.0],
        "p_comment": COMMENTS}),
    "partsupp": (14, {"ps_partkey": KEY, "ps_suppkey": KEY, "ps_availqty": [1, 30, 900], "ps_supplycost": [1.0, 2.0, 7.0],
        "ps_comment": COMMENTS}),
    "orders": (14, {"o_orderkey": [*KEY, None], "o_custkey": KEY, "o_orderstatus": ["F", "O"], "o_totalprice": [1.0, 5.0, 7.0],
        "o_orderdate": DATES, "o_orderpriority": ["1-URGENT", "2-HIGH", "3-MEDIUM"], "o_clerk": NAMES,
        "o_shippriority": [0, 1], "o_comment": COMMENTS}),
    "lineitem": (30, {"l_orderkey": KEY, "l_partkey": KEY, "l_suppkey": KEY, "l_linenumber": KEY, "l_quantity": [1, 11, 250],
        "l_extendedprice": [1.0, 3.0, 8.0], "l_discount": [0.05, 0.06, 0.2], "l_tax": [0.0, 0.1],
        "l_returnflag": ["R", "N"], "l_linestatus": ["O", "F"], "l_shipdate": DATES, "l_commitdate": DATES,
        "l_receiptdate": DATES, "l_shipinstruct": ["DELIVER IN PERSON", "NONE"],
        "l_shipmode": ["AIR", "MAIL", "SHIP"], "l_comment": COMMENTS}),
}  # fmt: skip
SCHEMA = {f"tpch.{table}": list(columns) for table, (_, columns) in TABLES.items()}
LINEAGE = {number: trace(sql, SCHEMA, "duckdb") for number, sql in QUERIES.items()}

Frames = dict[str, pl.DataFrame]
Rows = list[str]
Edges = list[tuple[str, str]]


def drawn(table: str, column: str, dice: random.Random) -> pl.Series:
    size, columns = TABLES[table]
    return pl.Series(column, [dice.choice(columns[column]) for _ in range(size)])


def tables(dice: random.Random) -> Frames:
    return {
        t: pl.DataFrame([drawn(t, c, dice) for c in columns]) for t, (_, columns) in TABLES.items()
    }


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1; CREATE SCHEMA tpch")
        for table, frame in tables(random.Random(1)).items():
            put(connection, table, frame)
            connection.execute(f"CREATE VIEW tpch.{table} AS SELECT * FROM given_{table}")
        yield connection


def put(engine: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame) -> None:
    engine.register(f"given_{table}", frame.to_arrow())


def run(
    engine: duckdb.DuckDBPyConnection, number: str
) -> tuple[list[str], list[tuple[object, ...]]]:
    found = engine.execute(QUERIES[number])
    return [name for name, *_ in found.description or ()], found.fetchall()


def bag(names: list[str], rows: list[tuple[object, ...]], wanted: set[str]) -> Rows:
    """The rows cut to some columns, as a bag; sums in any order, so the last digits are left out."""
    if not wanted:  # not even how many rows there are is promised
        return []
    places = [at for at, name in enumerate(names) if name in wanted]
    cells = (
        [round(v, 6) if isinstance(v, float) else v for v in (row[at] for at in places)]
        for row in rows
    )
    return sorted(map(repr, cells))


class Trial:
    """One query over tables drawn once, and again with some columns drawn anew."""

    def __init__(self, engine: duckdb.DuckDBPyConnection, number: str, dice: random.Random) -> None:
        self.engine, self.number, self.dice = engine, number, dice
        self.before = tables(dice)
        for table in LINEAGE[number].tables:
            self._put(table, {})
        self.names, self.rows = run(engine, number)

    def changes(self, edges: Edges, wanted: set[str]) -> bool:
        """Whether other values of these columns change these outputs."""
        for table in {table for table, _ in edges}:
            self._put(table, {c: drawn(_last(table), c, self.dice) for t, c in edges if t == table})
        _, after = run(self.engine, self.number)
        for table in {table for table, _ in edges}:
            self._put(table, {})
        return bag(self.names, self.rows, wanted) != bag(self.names, after, wanted)

    def _put(self, table: str, columns: Mapping[str, pl.Series]) -> None:
        put(self.engine, _last(table), self.before[_last(table)].with_columns(**columns))


def _last(table: str) -> str:
    return table.removeprefix("tpch.")


def test_there_are_22_queries_and_duckdb_gives_the_columns_lineage_names(
    engine: duckdb.DuckDBPyConnection,
) -> None:
    assert sorted(TPCH, key=int) == [str(number) for number in range(1, 23)]
    for number, lineage in LINEAGE.items():
        assert run(engine, number)[0] == [output.name for output in lineage.outputs]


def by_what_they_leave(lineage: SelectLineage) -> dict[frozenset[str], Edges]:
    """The columns of the tables read, by the outputs that lineage says they do not reach."""
    names = frozenset(output.name for output in lineage.outputs)
    found: dict[frozenset[str], Edges] = {}
    for edge in ((table, column) for table in lineage.tables for column in SCHEMA[table]):
        found.setdefault(names - lineage.reached(*edge), []).append(edge)
    return found


@pytest.mark.parametrize("number", QUERIES)
def test_what_lineage_does_not_name_changes_nothing(
    engine: duckdb.DuckDBPyConnection, number: str
) -> None:
    dice = random.Random(number)
    for _ in range(8):
        trial = Trial(engine, number, dice)
        for left, edges in by_what_they_leave(LINEAGE[number]).items():
            assert not left or not trial.changes(edges, set(left)), edges


@pytest.mark.parametrize("number", QUERIES)
def test_every_column_that_lineage_names_can_change_the_result(
    engine: duckdb.DuckDBPyConnection, number: str
) -> None:
    """The other direction: lineage that named too much would prove nothing above."""
    lineage, dice = LINEAGE[number], random.Random(number)
    groups = by_what_they_leave(lineage).items()
    every = {output.name for output in lineage.outputs}
    pending = {edge for left, edges in groups if left != every for edge in edges}
    for _ in range(60):
        trial = Trial(engine, number, dice)
        pending = {edge for edge in sorted(pending) if not trial.changes([edge], every)}
        if not pending:
            break
    assert pending == set()


def in_lower_case(lineage: SelectLineage) -> tuple[object, ...]:
    """Lineage without the case of output names and without casts, which dialects write differently."""
    outputs = [
        (o.name.lower(), sorted({(s.table, s.column, s.transformation.replace("cast", "expression")) for s in o.sources}))
        for o in lineage.outputs
    ]  # fmt: skip
    indirect = sorted({(i.table, i.column, i.kind, tuple(n.lower() for n in i.outputs or ())) for i in lineage.indirect})  # fmt: skip
    return outputs, indirect, lineage.tables


@pytest.mark.parametrize("dialect", ["postgres", "spark", "snowflake", "bigquery", "tsql", "mysql"])
def test_the_same_query_has_the_same_lineage_in_every_dialect(dialect: str) -> None:
    for number, sql in TPCH.items():
        if (dialect, number) == ("bigquery", "13"):
            continue  # BigQuery has no AS t(a, b) of a derived table, so sqlglot cannot write it
        (there,) = sqlglot.transpile(sql, read="duckdb", write=dialect)
        assert in_lower_case(trace(there, SCHEMA, dialect)) == in_lower_case(LINEAGE[number]), there
