"""Where a row of gold comes from: exactly its rows, proven, and not a value more than that."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from lineage.errors import LineageError
from lineage.pieces import relations_of
from pipelines.cli import app
from pipelines.contract import Contract
from pipelines.errors import QueryError
from pipelines.explain import is_key
from pipelines.gold import result_over
from pipelines.origins import Origins, numbered, origins_of
from tests.unit.openlineage.parts import Shop

ORDERS = pl.DataFrame(
    {
        "id": [1, 2, 3, 4, 5],
        "day": ["mon", "mon", "tue", "tue", "mon"],
        "customer": ["a", "b", "a", None, "c"],
        "amount": [10, 20, 30, 40, 50],
        "status": ["ok", "ok", "ok", "ok", "lost"],
    }
)
CUSTOMERS = pl.DataFrame({"name": ["a", "b", "c"], "land": ["x", "y", "x"]})
INPUTS = {"silver.s.orders": ORDERS.lazy(), "silver.s.customers": CUSTOMERS.lazy()}


def contract_of(sql: str, key: str, **columns: str) -> Contract:
    return Contract.model_validate(
        {
            "table": "gold.s.made",
            "description": "Made",
            "owner": "me",
            "key": [key],
            "columns": {name: {"type": kind} for name, kind in columns.items()},
            "path": Path("made.yaml"),
            "sql": sql,
        }
    )


def explained(contract: Contract, inputs: dict[str, pl.LazyFrame], key: object) -> Origins:
    rows = result_over(contract, inputs).filter(pl.col(contract.key[0]).eq_missing(key))
    assert len(rows) == 1
    return origins_of(contract, rows, numbered(inputs))


def ids(found: Origins, table: str = "silver.s.orders") -> list[int]:
    return [int(row) for row in found.rows[table]]


def only(*names: str) -> dict[str, pl.LazyFrame]:
    return {f"silver.s.{name}": INPUTS[f"silver.s.{name}"] for name in names}


def test_a_group_is_made_of_its_rows_that_pass_the_filter() -> None:
    sql = """SELECT o.day, CAST(SUM(o.amount) AS BIGINT) AS total
             FROM silver.s.orders AS o WHERE o.status = 'ok' GROUP BY o.day"""
    found = explained(contract_of(sql, "day", day="string", total="int64"), only("orders"), "mon")
    assert (ids(found), found.proven, found.notes) == ([0, 1], True, ())


def test_a_computed_key_is_computed_again() -> None:
    sql = """WITH days AS (SELECT UPPER(o.day) || '!' AS shout, o.amount FROM silver.s.orders AS o)
             SELECT d.shout, CAST(COUNT(*) AS BIGINT) AS n FROM days AS d GROUP BY d.shout"""
    found = explained(contract_of(sql, "shout", shout="string", n="int64"), only("orders"), "TUE!")
    assert (ids(found), found.proven) == ([2, 3], True)


JOINED = """WITH spent AS (
  SELECT o.customer, SUM(o.amount) AS amount FROM silver.s.orders AS o GROUP BY o.customer
)
SELECT c.land, CAST(SUM(s.amount) AS BIGINT) AS amount
FROM silver.s.customers AS c LEFT JOIN spent AS s ON c.name = s.customer
GROUP BY c.land"""


def test_a_join_leads_to_the_rows_of_both_sides() -> None:
    contract = contract_of(JOINED, "land", land="string", amount="int64")
    found = explained(contract, only("orders", "customers"), "x")
    assert ids(found) == [0, 2, 4]
    assert ids(found, "silver.s.customers") == [0, 2]
    assert found.proven


def test_a_left_join_without_a_match_leads_to_one_side() -> None:
    contract = contract_of(JOINED, "land", land="string", amount="int64")
    inputs = only("orders", "customers") | {
        "silver.s.orders": ORDERS.filter(pl.col("id") == 2).lazy()
    }
    found = explained(contract, inputs, "x")
    assert (ids(found), ids(found, "silver.s.customers"), found.proven) == ([], [0, 2], True)


def test_a_union_leads_to_the_sides_that_gave_the_row() -> None:
    sql = """WITH both AS (
      SELECT o.customer AS name, 1 AS n FROM silver.s.orders AS o
      UNION ALL
      SELECT c.name, 2 AS n FROM silver.s.customers AS c WHERE c.land = 'y'
    )
    SELECT b.name, CAST(SUM(b.n) AS BIGINT) AS n FROM both AS b GROUP BY b.name"""
    contract = contract_of(sql, "name", name="string", n="int64")
    found = explained(contract, only("orders", "customers"), "a")
    assert (ids(found), ids(found, "silver.s.customers")) == ([0, 2], [])
    found = explained(contract, only("orders", "customers"), "b")
    assert (ids(found), ids(found, "silver.s.customers"), found.proven) == ([1], [1], True)


def test_a_window_is_made_of_its_whole_partition() -> None:
    sql = """WITH seen AS (
      SELECT o.id, ROW_NUMBER() OVER (PARTITION BY o.day ORDER BY o.amount DESC) AS nth
      FROM silver.s.orders AS o
    )
    SELECT s.id, CAST(s.nth AS BIGINT) AS nth FROM seen AS s"""
    found = explained(contract_of(sql, "id", id="int64", nth="int64"), only("orders"), 2)
    assert (ids(found), found.proven) == ([0, 1, 4], True)


def test_what_a_condition_compares_with_counts_whole_and_is_said() -> None:
    sql = """SELECT o.id, o.amount FROM silver.s.orders AS o
             WHERE o.customer IN (SELECT c.name FROM silver.s.customers AS c WHERE c.land = 'x')"""
    contract = contract_of(sql, "id", id="int64", amount="int64")
    found = explained(contract, only("orders", "customers"), 3)
    assert (ids(found), ids(found, "silver.s.customers")) == ([2], [0, 1, 2])
    assert found.proven
    assert found.notes == ("a condition compares with 'silver.s.customers': all its rows count",)


def test_a_sum_over_everything_is_made_of_everything() -> None:
    sql = "SELECT 1 AS one, CAST(SUM(o.amount) AS BIGINT) AS total FROM silver.s.orders AS o"
    found = explained(contract_of(sql, "one", one="int32", total="int64"), only("orders"), 1)
    assert (len(ids(found)), found.proven) == (5, True)


def test_a_row_that_the_sql_does_not_give_is_not_proven() -> None:
    sql = """SELECT o.day, CAST(SUM(o.amount) AS BIGINT) AS total
             FROM silver.s.orders AS o GROUP BY o.day"""
    contract = contract_of(sql, "day", day="string", total="int64")
    tampered = result_over(contract, only("orders")).with_columns(pl.col("total") + 1)
    found = origins_of(contract, tampered.filter(pl.col("day") == "tue"), numbered(only("orders")))
    assert (ids(found), found.proven) == ([2, 3], False)
    assert "gives other values" in found.notes[0]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT o.id FROM silver.s.orders AS o LIMIT 3", "line 1, column 39: LIMIT cannot"),
        ("SELECT * FROM silver.s.orders", r"the column '\*' cannot"),
        ("SELECT s.id FROM (SELECT id FROM t) AS s", "reading from SUBQUERY cannot"),
        ("SELECT a.id FROM t AS a\nEXCEPT\nSELECT b.id FROM u AS b", "line 2, column 1: EXCEPT"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused_with_its_place(sql: str, said: str) -> None:
    with pytest.raises(LineageError, match=said):
        relations_of(sql)


ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, 5)), max_size=12
)


@settings(max_examples=25)
@given(rows=ROWS)
def test_rows_of_a_group_are_found_and_enough_whatever_the_data(
    rows: list[tuple[str, str, int]],
) -> None:
    sql = """WITH kept AS (
      SELECT o.one, o.two, o.n,
        ROW_NUMBER() OVER (PARTITION BY o.one, o.two ORDER BY o.n, o.id) AS nth
      FROM silver.s.orders AS o WHERE o.n > 1
    ),
    firsts AS (SELECT k.one, k.two, k.n FROM kept AS k WHERE k.nth = 1)
    SELECT f.one, CAST(SUM(f.n) AS BIGINT) AS n FROM firsts AS f GROUP BY f.one"""
    contract = contract_of(sql, "one", one="string", n="int64")
    schema = {"one": pl.String, "two": pl.String, "n": pl.Int64}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_row_index("id")
    inputs = {"silver.s.orders": frame.lazy()}
    for row in result_over(contract, inputs).partition_by("one"):
        found = origins_of(contract, row, numbered(inputs))
        mine = frame.filter((pl.col("one") == row["one"][0]) & (pl.col("n") > 1))
        assert found.proven
        assert found.rows["silver.s.orders"].to_list() == mine["id"].to_list()


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("date", "2026-01-05", date(2026, 1, 5)),
        ("timestamp", "2026-01-05T10:00:00+01:00", datetime(2026, 1, 5, 9, tzinfo=UTC)),
        ("timestamp", "2026-01-05 09:00:00.000001", datetime(2026, 1, 5, 9, 0, 0, 1, tzinfo=UTC)),
        ("bool", "true", True),
        ("decimal(6,2)", "1.5", Decimal("1.50")),
        ("int64", "7", 7),
        ("date", "yesterday", None),
        ("int64", "seven", None),
        ("bool", "perhaps", None),
    ],
)
def test_a_key_is_read_as_its_column_is(kind: str, text: str, value: object) -> None:
    contract = contract_of("SELECT 1", "at", at=kind)
    if value is None:
        with pytest.raises(QueryError, match="not of type"):
            is_key(contract, [text])
        return
    stored = contract.columns["at"].type.stored
    frame = pl.DataFrame({"at": [value, None]}, schema={"at": stored})
    assert frame.filter(is_key(contract, [text]))["at"].to_list() == [value]


# ---- THE COMMAND ---- #


def test_a_gold_row_leads_to_its_kafka_offsets(shop: Shop) -> None:
    shop.run_all()
    done = shop.run("explain", "gold.shop.kinds", "--key", "k", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["proven"] is True
    assert [(t["table"], t["rows"]) for t in told["tables"]] == [
        ("gold.shop.kinds", 1),
        ("silver.shop.notes", 2),
    ]
    assert told["offsets"] == [
        {
            "topic": "p.public.notes",
            "kafka_partition": 0,
            "events": 2,
            "first_offset": 1,
            "last_offset": 3,
        }
    ]
    assert [e["kafka_offset"] for e in told["events"]] == [1, 3]


def test_it_explains_the_row_as_it_was_built(shop: Shop) -> None:
    shop.run_all()
    shop.record(("later", 4))
    stream = str(shop.root / "stream.jsonl")
    assert shop.run("capture", "--from-file", stream).exit_code == 0
    assert shop.run("apply").exit_code == 0
    told = json.loads(shop.run("explain", "gold.shop.kinds", "--key", "k", "--json").stdout)
    assert [e["kafka_offset"] for e in told["events"]] == [1, 3]
    assert shop.run("build").exit_code == 0
    told = json.loads(shop.run("explain", "gold.shop.kinds", "--key", "k", "--json").stdout)
    assert [e["kafka_offset"] for e in told["events"]] == [1, 3, 4]


def test_a_classified_key_is_not_shown(shop: Shop) -> None:
    path = shop.root / "assets" / "shop" / "silver" / "notes.yaml"
    path.write_text(path.read_text().replace("key: [id]", "key: [id, text]"))
    stream = shop.root / "stream.jsonl"
    lines = [json.loads(line) for line in stream.read_text().splitlines()]
    for line in lines:
        after = json.loads(line["value"])["after"]
        line["key"] = json.dumps({"id": after["id"], "text": after["text"]})
    stream.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shop.run_all()
    done = shop.run("explain", "gold.shop.kinds", "--key", "k")
    assert done.exit_code == 0, done.output
    assert "***" in done.output
    assert "a note" not in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--key", "secret"], "has no row with the key kind"),
        (["--key", "a", "--key", "secret"], "1 values, not 2"),
    ],
)
def test_a_key_that_is_not_there_is_not_said_again(
    shop: Shop, arguments: list[str], said: str
) -> None:
    shop.run_all()
    done = CliRunner().invoke(app, ["explain", "gold.shop.kinds", *arguments], env=shop.environment)
    assert isinstance(done.exception, QueryError)
    assert said in str(done.exception)
    assert "secret" not in str(done.exception)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path, "")
    made.configure("transport: {type: noop}")
    return made
