"""From the source table to gold: the graph, the rows of data_lineage, the renderings."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lineage.errors import LineageError
from lineage.flow import Source
from lineage.graph import ColumnRef, LineageGraph, TableLineage
from lineage.layers import capture_lineage, silver_lineage, sql_lineage
from lineage.records import SCHEMA, lineage_rows
from lineage.render import markdown_table, mermaid, tree

SOURCE = "postgres:shop.public.orders"
BRONZE, SILVER, HISTORY = "bronze.shop.orders", "silver.shop.orders", "history.shop.orders"
DAILY, WEEKLY = "gold.shop.daily", "gold.shop.weekly"
NOW = datetime(2024, 1, 15, 12, tzinfo=UTC)


def shop() -> LineageGraph:
    fields = {
        "order_id": "order_id",
        "amount": "total_amount",
        "placed": "placed",
        "state": "state",
    }
    daily = "SELECT placed, SUM(amount) AS revenue FROM silver.shop.orders WHERE state <> 'x' GROUP BY 1"
    weekly = "SELECT MAX(revenue) AS best, 'v1' AS version FROM gold.shop.daily"
    return LineageGraph.of(
        [
            sql_lineage(WEEKLY, weekly, {DAILY: ["placed", "revenue"]}),
            sql_lineage(DAILY, daily, {SILVER: list(fields)}),
            silver_lineage(BRONZE, HISTORY, fields, kind="HISTORY"),
            silver_lineage(BRONZE, SILVER, fields, carried={"source_bronze_id": "event_id"}),
            capture_lineage(SOURCE, "shop.public.orders", BRONZE, fields.values()),
        ]
    )


def ways(hops: object) -> list[str]:
    assert isinstance(hops, tuple)
    return [f"{hop.depth} {hop.source} > {hop.target} {hop.how}" for hop in hops]


def test_a_gold_column_goes_back_to_the_source_table() -> None:
    graph = shop()
    assert ways(graph.upstream(graph.column("gold.shop.weekly.best"))) == [
        "1 gold.shop.daily.revenue > gold.shop.weekly.best aggregation",
        "2 silver.shop.orders.amount > gold.shop.daily.revenue aggregation",
        "3 bronze.shop.orders.raw_payload.total_amount > silver.shop.orders.amount cast",
        "4 postgres:shop.public.orders.total_amount"
        " > bronze.shop.orders.raw_payload.total_amount identity",
    ]


def test_a_source_column_goes_forward_to_every_layer() -> None:
    graph = shop()
    hops = graph.downstream(ColumnRef(SOURCE, "placed"))
    assert {str(hop.target) for hop in hops} == {
        "bronze.shop.orders.raw_payload",
        "bronze.shop.orders.raw_payload.placed",
        "silver.shop.orders.placed",
        "history.shop.orders.placed",
        "gold.shop.daily.placed",
    }


def test_depth_ends_the_walk() -> None:
    graph = shop()
    best = graph.column("gold.shop.weekly.best")
    assert [hop.depth for hop in graph.upstream(best, 2)] == [1, 2]
    assert graph.upstream(best, 0) == ()


def test_indirect_ways_are_walked_when_asked_for() -> None:
    graph = shop()
    state = graph.column("silver.shop.orders.state")
    assert graph.downstream(state) == ()
    assert ways(graph.downstream(state, 1, indirect=True)) == [
        "1 silver.shop.orders.state > gold.shop.daily.placed filter",
        "1 silver.shop.orders.state > gold.shop.daily.revenue filter",
    ]


def test_levels_count_from_the_source() -> None:
    assert shop().levels() == {SOURCE: 0, BRONZE: 1, HISTORY: 2, SILVER: 2, DAILY: 3, WEEKLY: 4}


def test_inputs_come_first_in_levels() -> None:
    order = list(shop().levels())
    assert order.index(SILVER) < order.index(DAILY) < order.index(WEEKLY)


def test_a_cycle_is_refused_with_its_way() -> None:
    tables = [
        sql_lineage("gold.a.one", "SELECT x FROM gold.a.two", {"gold.a.two": ["x"]}),
        sql_lineage("gold.a.two", "SELECT x FROM gold.a.one", {"gold.a.one": ["x"]}),
    ]
    with pytest.raises(LineageError, match=r"gold\.a\.(one|two) -> gold\.a\.(one|two) -> gold"):
        LineageGraph.of(tables)


def test_a_table_given_twice_is_refused() -> None:
    table = silver_lineage(BRONZE, SILVER, {})
    with pytest.raises(LineageError, match="is given twice"):
        LineageGraph.of([table, table])


def test_a_source_outside_the_inputs_is_refused() -> None:
    with pytest.raises(LineageError, match="which its inputs do not name"):
        TableLineage(DAILY, "X", (SILVER,), {"a": (Source("silver.shop.other", "a"),)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gold.shop.daily.revenu", "no column 'revenu' in gold.shop.daily\n.*did you mean revenue"),
        ("gold.shop.dayly.revenue", "no table of 'gold.shop.dayly.revenue'"),
    ],
)
def test_an_unknown_column_is_refused(text: str, message: str) -> None:
    with pytest.raises(LineageError, match=message):
        shop().column(text)


def test_rows_hold_tables_and_columns() -> None:
    rows = lineage_rows(shop(), NOW)
    assert rows.schema == SCHEMA
    tables = rows.filter(pl.col("source_column").is_null())
    assert tables.select(
        "source_dataset", "target_dataset", "transformation_type", "dependency_level"
    ).rows() == [
        (SOURCE, BRONZE, "CDC_CAPTURE", 1),
        (BRONZE, HISTORY, "HISTORY", 2),
        (BRONZE, SILVER, "ETL_TRANSFORM", 2),
        (SILVER, DAILY, "DIMENSIONAL_MODEL", 3),
        (DAILY, WEEKLY, "DIMENSIONAL_MODEL", 4),
    ]
    assert json.loads(tables["transformation_config"][0]) == {
        "connector": "postgres",
        "topic": "shop.public.orders",
    }
    daily = rows.filter(pl.col("target_dataset") == DAILY, pl.col("source_column").is_not_null())
    assert daily.select("source_column", "target_column", "transformation_config").rows() == [
        ("placed", None, '{"indirect": "group"}'),
        ("state", None, '{"indirect": "filter"}'),
        ("placed", "placed", '{"transformation": "identity"}'),
        ("amount", "revenue", '{"transformation": "aggregation"}'),
    ]


def test_rows_are_the_same_again_but_for_the_time() -> None:
    graph = shop()
    shuffled = LineageGraph.of(reversed(list(graph.tables.values())))
    first, again = lineage_rows(graph, NOW), lineage_rows(shuffled, NOW + timedelta(days=1))
    assert first.drop("created_at").equals(again.drop("created_at"))
    assert first["lineage_id"].is_unique().all()


def test_a_table_row_keeps_its_id_when_its_config_changes() -> None:
    table = capture_lineage(SOURCE, "shop.public.orders", BRONZE)
    moved = replace(table, config={"topic": "elsewhere"})
    before, after = (lineage_rows(LineageGraph.of([t]), NOW) for t in (table, moved))
    assert before["lineage_id"].to_list() == after["lineage_id"].to_list()
    assert before["transformation_config"][0] != after["transformation_config"][0]


def test_a_window_names_the_columns_it_reaches() -> None:
    sql = f"SELECT order_id, RANK() OVER (ORDER BY placed) AS r FROM {SILVER}"
    graph = LineageGraph.of([sql_lineage(DAILY, sql, {SILVER: ["order_id", "placed"]})])
    rows = lineage_rows(graph, NOW).filter(pl.col("source_column") == "placed")
    assert rows["target_column"].to_list() == ["r"]


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        lineage_rows(shop(), datetime(2024, 1, 15))


def test_no_tables_give_no_rows() -> None:
    assert lineage_rows(LineageGraph.of([]), NOW).schema == SCHEMA


def test_a_markdown_table_says_where_each_column_comes_from() -> None:
    graph = shop()
    assert markdown_table(graph.tables[DAILY]) == (
        "| column | from | how |\n"
        "|---|---|---|\n"
        "| `placed` | `silver.shop.orders.placed` | identity |\n"
        "| `revenue` | `silver.shop.orders.amount` | aggregation |\n"
        "\n"
        "| decides | how | which columns |\n"
        "|---|---|---|\n"
        "| `silver.shop.orders.placed` | group | all |\n"
        "| `silver.shop.orders.state` | filter | all |\n"
    )
    assert "| `version` | (no source) |  |" in markdown_table(graph.tables[WEEKLY])


def test_a_markdown_cell_survives_a_bar() -> None:
    table = TableLineage(DAILY, "X", (SILVER,), {"a|b": (Source(SILVER, "c|d"),)})
    assert "| `a\\|b` | `silver.shop.orders.c\\|d` | identity |" in markdown_table(table)


def test_a_tree_goes_up() -> None:
    graph = shop()
    assert tree(graph, graph.column("gold.shop.daily.revenue")) == (
        "gold.shop.daily.revenue\n"
        "`-- silver.shop.orders.amount (aggregation)\n"
        "    `-- bronze.shop.orders.raw_payload.total_amount (cast)\n"
        "        `-- postgres:shop.public.orders.total_amount (identity)\n"
    )


def test_a_tree_goes_down_and_branches() -> None:
    graph = shop()
    start = graph.column("bronze.shop.orders.raw_payload.placed")
    assert tree(graph, start, up=False, indirect=True) == (
        "bronze.shop.orders.raw_payload.placed\n"
        "|-- history.shop.orders.placed (cast)\n"
        "`-- silver.shop.orders.placed (cast)\n"
        "    |-- gold.shop.daily.placed (identity, group)\n"
        "    `-- gold.shop.daily.revenue (group)\n"
        "        `-- gold.shop.weekly.best (aggregation)\n"
    )


def test_a_tree_shows_a_shared_branch_once() -> None:
    schema = {SILVER: ["a"], "gold.x.two": ["l", "r"]}
    twice = sql_lineage("gold.x.two", f"SELECT a AS l, a + 1 AS r FROM {SILVER}", schema)
    joined = sql_lineage("gold.x.top", "SELECT l + r AS s FROM gold.x.two", schema)
    silver = silver_lineage(BRONZE, SILVER, {"a": "a"})
    graph = LineageGraph.of([twice, joined, silver])
    assert tree(graph, ColumnRef("gold.x.top", "s")) == (
        "gold.x.top.s\n"
        "|-- gold.x.two.l (expression)\n"
        "|   `-- silver.shop.orders.a (identity)\n"
        "|       `-- bronze.shop.orders.raw_payload.a (cast)\n"
        "`-- gold.x.two.r (expression)\n"
        "    `-- silver.shop.orders.a (expression) ...\n"
    )


def test_a_flowchart_names_each_table_once() -> None:
    graph = LineageGraph.of([silver_lineage('bronze.a."b"', SILVER, {})])
    assert mermaid(graph) == (
        "flowchart LR\n"
        '    t0["bronze.a.#quot;b#quot;"]\n'
        '    t1["silver.shop.orders"]\n'
        "    t0 --> t1\n"
    )
