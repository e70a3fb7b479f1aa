"""Features are what the source says at an instant, know nothing from later, and are read by key."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from assets.demo_shop import generate
from assets.demo_source import Database, Record
from pipelines.cli import app
from pipelines.delta import read_snapshot
from pipelines.errors import ContractError, QueryError
from pipelines.features import OnlineFeatures, feature_table, training_set
from pipelines.gold import inputs_of, result_over
from tests.spec.domains import Refinery, assert_equal, only, source_of
from tests.spec.test_commerce_source import KEPT

CATALOG = only("commerce")
FEATURES = feature_table(CATALOG)
MOMENTS = "gold.commerce.feature_moments"

SQL = {
    "clock": "SELECT CAST(1 AS INTEGER) AS clock_id, day AS as_of FROM clock",
    "feature_moments": "SELECT customer_id, day + INTERVAL 1 DAY AS as_of FROM c CROSS JOIN clock",
    "customer_features": """
        WITH m AS (SELECT customer_id, day + INTERVAL 1 DAY AS as_of FROM c CROSS JOIN clock),
        s AS (SELECT o.*, o.created_at >= as_of - INTERVAL 30 DAY AS recent FROM o JOIN m USING (customer_id) WHERE status <> 'CANCELLED' AND deleted_at IS NULL),
        g AS (SELECT customer_id, category, sum(quantity) AS pieces, sum(line_total) AS amount FROM s JOIN i USING (order_id) JOIN products USING (product_id)
          WHERE recent AND i.deleted_at IS NULL AND category IS NOT NULL GROUP BY ALL),
        f AS (SELECT customer_id, category FROM g QUALIFY row_number() OVER (PARTITION BY customer_id ORDER BY pieces DESC, amount DESC, category) = 1),
        t AS (SELECT customer_id, max(told) AS changed FROM (SELECT customer_id, arg_max(told_us, (commit, lsn)) AS told FROM customers_log GROUP BY ALL
          UNION ALL SELECT o.customer_id, max(told_us) FROM o JOIN told USING (order_id) GROUP BY ALL) GROUP BY ALL)
        SELECT m.customer_id, m.as_of, count(order_id) FILTER (recent) AS order_count_last_30_days, coalesce(sum(total_amount) FILTER (recent), 0) AS total_spent_last_30_days,
          CAST((CAST(total_spent_last_30_days * 200 AS BIGINT) + order_count_last_30_days) // (2 * nullif(order_count_last_30_days, 0)) / 100 AS DECIMAL(18, 2)) AS avg_order_value,
          any_value(f.category) AS preferred_category, count(order_id) AS lifetime_order_count, coalesce(sum(total_amount), 0) AS lifetime_value,
          CASE lifetime_order_count WHEN 0 THEN 'none' WHEN 1 THEN 'new' WHEN 2 THEN 'returning' WHEN 3 THEN 'returning' WHEN 4 THEN 'returning' ELSE 'loyal' END AS lifetime_segment,
          make_timestamp(any_value(t.changed)) AS features_updated_at, '1.0.0' AS feature_version
        FROM m LEFT JOIN s USING (customer_id) LEFT JOIN f USING (customer_id) LEFT JOIN t USING (customer_id) GROUP BY m.customer_id, m.as_of""",
}  # fmt: skip


@pytest.fixture(scope="module")
def shop() -> Database:
    """Forty days, so that orders leave the window of thirty."""
    return generate(days=40, orders_a_day=7)


@pytest.fixture(scope="module")
def refinery(shop: Database, tmp_path_factory: pytest.TempPathFactory) -> Refinery:
    made, cut = Refinery(tmp_path_factory.mktemp("shop"), "commerce"), len(shop.records) - 400
    made.take(shop.records[:cut])
    made.take(shop.records[cut:])
    return made


# ---- WHAT THEY SAY ---- #


@pytest.fixture(scope="module")
def source(shop: Database) -> duckdb.DuckDBPyConnection:
    here = source_of(shop, "commerce")
    here.execute(KEPT)
    tables = ("customers", "orders", "order_items")
    told = " UNION ALL ".join(f"SELECT told_us FROM {table}_log" for table in tables)
    here.execute(f"CREATE TABLE clock AS SELECT date_trunc('day', make_timestamp(max(told_us))) AS day FROM ({told})")  # fmt: skip
    return here


@pytest.mark.parametrize("table", SQL)
def test_gold_is_what_sql_says_of_the_source(
    table: str, refinery: Refinery, source: duckdb.DuckDBPyConnection
):
    assert_equal(refinery.rows(f"gold.commerce.{table}"), source, SQL[table])


def test_every_feature_takes_several_values(refinery: Refinery):
    rows = refinery.rows(FEATURES.table)
    assert set(rows["lifetime_segment"]) == {"none", "new", "returning", "loyal"}
    assert (rows["order_count_last_30_days"] < rows["lifetime_order_count"]).any()
    assert rows["preferred_category"].n_unique() > 4
    assert set(rows["feature_version"]) == {FEATURES.version}


# ---- WHAT THEY KNOW ---- #


def told_before(shop: Database, instant: datetime) -> list[Record]:
    """What the connector had sent by then: it tells a transaction in the moment of its commit."""
    return [r for r in shop.records if r.timestamp_ms - 60 < int(instant.timestamp() * 1000)]


def test_a_training_set_is_what_was_known_at_each_of_its_instants(
    shop: Database, refinery: Refinery, tmp_path: Path
):
    """The features of four past instants, out of today's lake, equal those out of lakes that ended there."""
    begin = datetime.fromtimestamp(shop.records[0].timestamp_ms // 1000, UTC)
    instants = [begin + (shop.clock - begin) * share for share in (0.06, 0.35, 0.7, 0.99)]
    everybody = refinery.rows("silver.commerce.customers").select("customer_id")
    asked = pl.concat([everybody.with_columns(pl.lit(t).alias("as_of")) for t in instants])
    made = training_set(refinery.lake, CATALOG, FEATURES, asked.sample(fraction=1, shuffle=True, seed=1))  # fmt: skip
    growing, told = Refinery(tmp_path, "commerce"), 0
    for instant in sorted(instants):
        then = told_before(shop, instant)
        growing.take(then[told:])
        told = len(then)
        frames = {name: growing.lake.scan(name) for name in inputs_of(FEATURES)}
        moments = asked.filter(as_of=instant).with_columns(pl.col("as_of").cast(pl.Datetime("us", "UTC")))  # fmt: skip
        known = result_over(FEATURES, {**frames, MOMENTS: moments.lazy()}).sort("customer_id")
        then_said = made.filter(as_of=instant).sort("customer_id").select(known.columns)
        assert then_said.equals(known), instant
        assert known["lifetime_order_count"].sum() > 0
    totals = made.group_by("as_of").agg(pl.col("lifetime_order_count").sum()).sort("as_of")
    assert totals["lifetime_order_count"].is_sorted()
    assert totals["lifetime_order_count"].n_unique() == len(instants)


def test_an_order_is_known_just_after_its_commit_and_counts_for_thirty_days(
    shop: Database, tmp_path: Path
):
    """At the very instant of its commit it is not known yet: what a label is made of cannot be in its features."""
    small = generate(days=2, orders_a_day=4)
    order = next(o for o in small.truth["orders"].values() if o["status"] != "CANCELLED")
    lake = Refinery(tmp_path, "commerce")
    lake.take(small.records)
    history = lake.lake.scan("history.commerce.orders").filter(order_id=order["order_id"]).collect()
    committed, second = history["valid_from"].min(), timedelta(seconds=1)
    instants = [committed - second, committed, committed + timedelta(microseconds=1)]
    asked = pl.DataFrame({"customer_id": [order["customer_id"]] * 3, "as_of": instants, "label": [1, 2, 3]})  # fmt: skip
    made = training_set(lake.lake, CATALOG, FEATURES, asked)
    counts = made["lifetime_order_count"].to_list()
    assert (counts[0], counts[1], counts[2] - counts[1]) == (counts[1], counts[1], 1)
    assert made["label"].to_list() == [1, 2, 3]
    frames = {name: lake.lake.scan(name) for name in inputs_of(FEATURES)}
    edge = order["created_at"] + timedelta(days=30)
    recent = [
        result_over(FEATURES, {**frames, MOMENTS: pl.LazyFrame({"customer_id": [order["customer_id"]], "as_of": [t]}, schema={"customer_id": pl.String, "as_of": pl.Datetime("us", "UTC")})})["order_count_last_30_days"].item()
        for t in (edge, edge + timedelta(microseconds=1))
    ]  # fmt: skip
    assert recent[0] - recent[1] == 1


def test_instants_beyond_what_the_lake_knows_are_refused(refinery: Refinery):
    asked = pl.DataFrame({"customer_id": ["nobody"], "as_of": [datetime(2027, 1, 1, tzinfo=UTC)]})
    with pytest.raises(QueryError, match="would lack what is still to come"):
        training_set(refinery.lake, CATALOG, FEATURES, asked)
    stranger = training_set(refinery.lake, CATALOG, FEATURES, asked.with_columns(pl.lit("2026-05-01").alias("as_of")))  # fmt: skip
    assert stranger.select("lifetime_segment", "features_updated_at").row(0) == ("none", None)
    with pytest.raises(QueryError, match="no column 'as_of'"):
        training_set(refinery.lake, CATALOG, FEATURES, asked.rename({"as_of": "at"}))
    with pytest.raises(ContractError, match="no table of features"):
        feature_table(CATALOG, "gold.commerce.daily_sales")


# ---- HOW THEY ARE READ ---- #


@pytest.mark.parametrize("worth", [1, 10**9], ids=["by the index", "by a scan"])
def test_a_key_reads_its_row_and_the_newest_version_of_it(
    worth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pipelines.features._WORTH_ROWS", worth)
    shop = generate(days=3, orders_a_day=20)
    refinery, half = Refinery(tmp_path, "commerce"), len(shop.records) // 2
    refinery.take(shop.records[:half])
    online = OnlineFeatures(refinery.lake, FEATURES)
    for piece in ([], shop.records[half:-60], shop.records[-60:]):
        refinery.take(piece)
        rows = refinery.rows(FEATURES.table)
        keys = rows["customer_id"].sample(20, shuffle=True, seed=2).to_list()
        got = online.get(*([key] for key in [*keys, "no such customer"]))
        assert got["customer_id"].to_list() == keys
        assert got.sort("customer_id").equals(rows.filter(pl.col("customer_id").is_in(keys)))
    files = read_snapshot(refinery.lake.path(FEATURES.table), {}).files
    assert any(file.vector for file in files), "some rows were marked as gone, others have moved"
    with pytest.raises(QueryError, match="1 values, not 2"):
        online.get(["a", "b"])
    index = Path(refinery.lake.path(FEATURES.table)) / "_index"
    assert index.is_dir() == (worth == 1)
    shutil.rmtree(index, ignore_errors=True)
    index.write_text("no index can be kept here")
    assert online.get([keys[0]])["customer_id"].to_list() == keys[:1]


def test_the_command_line_reads_and_writes_them(refinery: Refinery, tmp_path: Path):
    place = ["--lake", refinery.lake.root, "--assets", str(CATALOG.root)]
    rows = refinery.rows(FEATURES.table).sort("lifetime_order_count")
    who = rows["customer_id"][-1]
    run = CliRunner().invoke
    told = json.loads(run(app, ["features", "get", who, *place]).stdout)
    assert told["lifetime_order_count"] == rows["lifetime_order_count"][-1]
    before = json.loads(run(app, ["features", "get", who, "--as-of", "2026-05-10", *place]).stdout)
    assert before["lifetime_order_count"] < told["lifetime_order_count"]
    asked, made = tmp_path / "asked.csv", tmp_path / "made.parquet"
    asked.write_text(f"customer_id,as_of,label\n{who},2026-05-10T00:00:00Z,yes\n")
    assert run(app, ["features", "set", str(asked), "--out", str(made), *place]).exit_code == 0
    assert pl.read_parquet(made)["lifetime_order_count"].item() == before["lifetime_order_count"]
    assert isinstance(run(app, ["features", "get", "nobody", *place]).exception, QueryError)
