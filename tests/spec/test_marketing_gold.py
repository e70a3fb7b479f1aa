"""Each gold table of the marketing department equals what DuckDB makes of the rows that were sent."""

from __future__ import annotations

import duckdb
import polars as pl
import pytest

from assets.demo_marketing import Market, generate
from pipelines.files.upload import UPLOADS, Uploaded, Verdict, upload
from tests.spec.domains import (
    NOW,
    Refinery,
    assert_checklist,
    assert_equal,
    assert_examples_run,
    only,
    truth_of,
)

#: What was sent without the rows that wait in quarantine.
KEPT = """
CREATE VIEW d AS SELECT * FROM campaign_days WHERE campaign_id IN (SELECT campaign_id FROM campaigns);
CREATE VIEW m AS SELECT * FROM live_metrics WHERE campaign_id IN (SELECT campaign_id FROM campaigns) AND clicks >= 0;
CREATE MACRO as_of() AS (SELECT max(day) FROM d);
CREATE MACRO live_until() AS (SELECT date_trunc('hour', max(minute)) + INTERVAL 1 HOUR FROM m);
CREATE MACRO ratio(a, b) AS CAST(a AS DOUBLE) / CAST(nullif(b, 0) AS DOUBLE);
CREATE TABLE c AS SELECT campaign_id, name AS campaign_name, coalesce((SELECT any_value(n.channel) FROM channel_names AS n WHERE lower(trim(n.alias)) = lower(trim(campaigns.channel))), 'other') AS channel,
  channel AS channel_sent, objective, status, currency, budget, starts_on, ends_on FROM campaigns;
CREATE TABLE rate AS SELECT w.currency, w.day, arg_max(r.day, r.day) AS quoted_on, arg_max(r.euros_per_unit, r.day) AS euros_per_unit
  FROM (SELECT DISTINCT currency, unnest(generate_series(day, day + INTERVAL 6 DAY, INTERVAL 1 DAY))::DATE AS day FROM exchange_rates) AS w
  JOIN exchange_rates AS r ON r.currency = w.currency AND r.day BETWEEN w.day - 6 AND w.day GROUP BY ALL;
CREATE TABLE p AS SELECT d.campaign_id, d.day, c.channel, impressions, clicks, conversions, new_customers, d.currency,
  CASE WHEN d.currency = 'EUR' THEN 1 ELSE euros_per_unit END::DECIMAL(18, 8) AS rate_,
  round(spend::DECIMAL(18, 2) * rate_, 2)::DECIMAL(14, 2) AS spend_eur, round(revenue::DECIMAL(18, 2) * rate_, 2)::DECIMAL(14, 2) AS revenue_eur
  FROM d JOIN c USING (campaign_id) LEFT JOIN rate ON rate.currency = d.currency AND rate.day = d.day;
"""

GOLD = {
    "clock": "SELECT 1::INTEGER AS clock_id, as_of() AS as_of, live_until() AS live_until",
    "campaigns": "FROM c",
    "daily_rates": "FROM rate",
    "daily_performance": "SELECT * RENAME (rate_ AS euros_per_unit), ratio(revenue_eur - spend_eur, spend_eur) AS roi FROM p",
    "daily_channels": """
        SELECT channel, day, count(*) AS campaigns, sum(impressions)::BIGINT AS impressions, sum(clicks)::BIGINT AS clicks, sum(conversions)::BIGINT AS conversions,
          sum(new_customers)::BIGINT AS new_customers, coalesce(sum(spend_eur), 0)::DECIMAL(18, 2) AS spend_eur, coalesce(sum(revenue_eur), 0)::DECIMAL(18, 2) AS revenue_eur,
          count(*) FILTER (rate_ IS NULL) AS rows_without_rate, ratio(sum(revenue_eur) - sum(spend_eur), sum(spend_eur)) AS roi FROM p GROUP BY channel, day""",
    "campaign_performance": """
        SELECT c.campaign_id, campaign_name, c.channel, status, count(p.day) AS days, min(p.day) AS first_day, max(p.day) AS last_day, coalesce(sum(impressions), 0)::BIGINT AS impressions,
          coalesce(sum(clicks), 0)::BIGINT AS clicks, coalesce(sum(conversions), 0)::BIGINT AS conversions, coalesce(sum(new_customers), 0)::BIGINT AS new_customers,
          coalesce(sum(spend_eur), 0)::DECIMAL(18, 2) AS spend_eur, coalesce(sum(revenue_eur), 0)::DECIMAL(18, 2) AS revenue_eur, count(p.day) FILTER (rate_ IS NULL) AS days_without_rate,
          (SELECT CASE WHEN bool_and(d.currency = c.currency) THEN 100 * sum(d.spend)::DOUBLE / c.budget::DOUBLE END FROM d WHERE d.campaign_id = c.campaign_id) AS budget_used_percent,
          ratio(sum(clicks), sum(impressions)) AS click_rate, ratio(sum(conversions), sum(clicks)) AS conversion_rate,
          ratio(sum(spend_eur), sum(new_customers) FILTER (rate_ IS NOT NULL)) AS cost_per_new_customer_eur, ratio(sum(revenue_eur) - sum(spend_eur), sum(spend_eur)) AS roi
        FROM c LEFT JOIN p USING (campaign_id) GROUP BY ALL""",
    "live_campaigns": """
        SELECT campaign_id, m.currency, channel, max(minute) AS last_minute,
          coalesce(sum(impressions) FILTER (h), 0)::BIGINT AS impressions_hour, coalesce(sum(clicks) FILTER (h), 0)::BIGINT AS clicks_hour,
          coalesce(sum(conversions) FILTER (h), 0)::BIGINT AS conversions_hour, coalesce(sum(spend) FILTER (h), 0)::DECIMAL(18, 2) AS spend_hour,
          sum(impressions)::BIGINT AS impressions_24_hours, sum(clicks)::BIGINT AS clicks_24_hours, sum(conversions)::BIGINT AS conversions_24_hours, sum(spend)::DECIMAL(18, 2) AS spend_24_hours
        FROM (SELECT *, minute >= live_until() - INTERVAL 1 HOUR AS h FROM m WHERE minute >= live_until() - INTERVAL 24 HOUR) AS m JOIN c USING (campaign_id) GROUP BY ALL""",
    "seasonality": """
        WITH s AS (SELECT channel, day, sum(conversions) AS conversions, sum(new_customers) AS new_customers, coalesce(sum(spend_eur), 0) AS spend FROM p WHERE day > as_of() - 730 GROUP BY ALL),
        parts AS (SELECT *, 'weekday' AS period, isodow(day)::INTEGER AS part FROM s UNION ALL SELECT *, 'month', month(day)::INTEGER FROM s),
        mean AS (SELECT channel, avg(conversions) AS c, avg(new_customers) AS n, avg(spend) AS s FROM s GROUP BY ALL)
        SELECT channel, period, part, count(*) AS days, round(avg(conversions) / nullif(c, 0), 4) AS conversions_index, round(avg(new_customers) / nullif(n, 0), 4) AS new_customers_index,
          round(avg(spend) / nullif(s, 0), 4) AS spend_index FROM parts JOIN mean USING (channel) GROUP BY channel, period, part, c, n, s""",
}  # fmt: skip


#: What is foretold, a row a channel and day of the files; ROI goes on as it was where nothing was spent.
FORETOLD = {
    "acquisition_forecast": "SELECT channel, day, sum(new_customers)::DOUBLE AS value FROM p GROUP BY ALL",
    "roi_forecast": "SELECT channel, day, ratio(sum(revenue_eur) - sum(spend_eur), sum(spend_eur)) AS value FROM p GROUP BY ALL",
}


@pytest.fixture(scope="module")
def market() -> Market:
    return generate(days=112, live_hours=26)


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory, market: Market) -> tuple[Refinery, list[Uploaded]]:  # fmt: skip
    made = Refinery(tmp_path_factory.mktemp("marketing"), "marketing")
    done, half = list[Uploaded](), len(market.files) // 2
    for number, (name, data) in enumerate(market.files.items()):
        (made.folder / name).write_bytes(data)
        done.append(upload(made.lake, made.catalog, made.folder / name, now=NOW))
        if number == half:  # gold is there before the corrections come
            made.take(market.records[: len(market.records) // 2])
    made.take(market.records[len(market.records) // 2 :])
    return made, done


@pytest.fixture(scope="module")
def refinery(brought: tuple[Refinery, list[Uploaded]]) -> Refinery:
    return brought[0]


@pytest.fixture(scope="module")
def source(market: Market) -> duckdb.DuckDBPyConnection:
    here = truth_of(market.truth, "marketing")
    here.execute(KEPT)
    return here


def test_every_gold_table_is_held_to_the_source():
    made = {contract.name for contract in only("marketing").layer("gold")}
    assert made == {*GOLD, *FORETOLD, "forecast_accuracy"}


@pytest.mark.parametrize("table", GOLD)
def test_gold_is_what_sql_says_of_what_was_sent(table: str, refinery: Refinery, source):
    assert_equal(refinery.rows(f"gold.marketing.{table}"), source, GOLD[table])


@pytest.mark.parametrize("table", FORETOLD)
def test_a_forecast_is_what_the_library_says_of_the_days_before(
    table: str, refinery: Refinery, source
):
    """Fitted once more, on what DuckDB says of the source up to the day that each row names."""
    from statsmodels.tsa.forecasting.theta import ThetaModel

    made = refinery.rows(f"gold.marketing.{table}")
    told = pl.DataFrame(
        source.execute(f"SELECT * FROM ({FORETOLD[table]}) ORDER BY channel, day").fetchall(),
        schema={"channel": pl.String, "day": pl.Date, "value": pl.Float64},
        orient="row",
    )
    long = told.group_by("channel").agg(pl.len()).filter(pl.col("len") >= 98)["channel"].to_list()
    assert set(made["channel"]) == set(long)
    for (channel, until), rows in made.group_by("channel", "trained_until"):
        own = told.filter(pl.col("channel") == channel)
        known = own.filter(pl.col("day") <= until)["value"].forward_fill().fill_null(0.0).to_numpy()
        ahead = ThetaModel(known, period=7, method="additive").fit().forecast(28)
        rows = rows.sort("day")
        least = 0.0 if table == "acquisition_forecast" else -1e9
        assert rows["forecast"].to_list() == pytest.approx([max(v, least) for v in ahead], abs=1e-3)
        assert rows["naive"].to_list() == pytest.approx([*known[-7:]] * 4, abs=1e-3)
        actual = rows.join(own, on="day", how="left")
        assert actual[table.split("_")[0] if table == "roi_forecast" else "new_customers"].equals(actual["value"])  # fmt: skip
        assert rows["is_backtest"].to_list() == [until < own["day"].max()] * 28
        assert rows.select((pl.col("lower") <= pl.col("forecast")).all()).item()
        assert rows.select((pl.col("forecast") <= pl.col("upper")).all()).item()


def test_the_accuracy_is_what_sql_says_of_the_back_tests(refinery: Refinery, source):
    for table in FORETOLD:
        source.register(table, refinery.rows(f"gold.marketing.{table}").to_arrow())
    tried = " UNION ALL ".join(
        f"SELECT '{name}' AS metric, channel, model, model_version, {name} AS actual, forecast, naive, lower, upper FROM {table} WHERE is_backtest AND {name} IS NOT NULL"
        for name, table in (("new_customers", "acquisition_forecast"), ("roi", "roi_forecast"))
    )
    sql = f"""SELECT metric, channel, model, model_version, count(*) AS days, round(sum(e) / count(*), 4) AS mean_absolute_error, round(sum(n) / count(*), 4) AS naive_absolute_error,
      round(1 - sum(e) / nullif(sum(n), 0), 4) AS skill, round(avg((actual BETWEEN lower AND upper)::INTEGER), 4) AS coverage
      FROM (SELECT *, round(abs(actual - forecast), 4)::DECIMAL(18, 4)::DOUBLE AS e, round(abs(actual - naive), 4)::DECIMAL(18, 4)::DOUBLE AS n FROM ({tried})) GROUP BY ALL"""
    assert_equal(refinery.rows("gold.marketing.forecast_accuracy"), source, sql)


# ---- WHAT A READER IS PROMISED ---- #


def test_kept_and_quarantined_are_what_was_sent(refinery: Refinery, market: Market):
    for table, truth in market.truth.items():
        rows = [refinery.rows(f"silver.marketing.{table}"), refinery.lake.scan(f"quarantine.marketing.{table}").collect()]  # fmt: skip
        key = refinery.catalog[f"silver.marketing.{table}"].key
        held = [
            dict(zip(key, each, strict=True)) for part in rows for each in part.select(key).rows()
        ]
        wanted = [{name: row[name] for name in key} for row in truth.values()]
        assert sorted(held, key=str) == sorted(wanted, key=str)


def test_bad_files_are_set_aside_and_no_other(brought, market: Market):
    refinery, done = brought
    assert {each.name for each in done if each.verdict is Verdict.SET_ASIDE} == market.aside
    assert [each.name for each in done if each.verdict is Verdict.REPEATED] == ["campaign_days_2026-W07 (1).csv"]  # fmt: skip
    told = refinery.lake.scan(UPLOADS).filter(pl.col("equal_rows") > 0).collect()
    assert told["file_name"].to_list() == ["campaign_days_2026-W10.csv"]
    reasons = {name: fault.told for each in done for name, fault in [(each.name, fault) for fault in each.faults[:1]]}  # fmt: skip
    assert reasons == {
        "campaign_days_excel.csv": "line 1: its values are separated by semicolons, not by commas",
        "campaign_days_old.csv": "line 1, column spend: is missing from the header",
        "campaign_days_germany.csv": reasons["campaign_days_germany.csv"],
        "campaign_days_bots.csv": "line 2: breaks the rule 'clicked_where_shown': What is clicked was shown",
        "campaign_days_nothing.csv": "is empty",
        "channel_names_legacy.csv": "line 2: has a byte 0xE9 that is no utf-8",
        "budget_2026.csv": "no table takes files of this name",
    }
    assert reasons["campaign_days_germany.csv"].startswith("line 2, column spend: '")
    assert reasons["campaign_days_germany.csv"].endswith("is no decimal(14,2)")


def test_rows_of_nobodys_campaign_wait_for_it(refinery: Refinery):
    waiting = refinery.lake.scan("quarantine.marketing.campaign_days").collect()
    assert waiting.select("campaign_id").unique().rows() == [("c-999",)]
    assert set(waiting["quality_issues"].list.first()) == {"known_campaign"}


def test_a_currency_without_quotes_is_no_money_and_is_counted(refinery: Refinery):
    rows = refinery.rows("gold.marketing.campaign_performance").filter(
        pl.col("days_without_rate") > 0
    )
    assert rows.select("campaign_id").rows() == [("c-013",)]
    assert rows.select(pl.col("days") == pl.col("days_without_rate")).item()
    assert rows["roi"].to_list() == [None]
    assert rows["cost_per_new_customer_eur"].to_list() == [None]


def test_a_channel_that_nobody_named_is_other_and_noted(refinery: Refinery):
    silver = refinery.lake.scan("silver.marketing.campaigns").filter(pl.col("channel") == "Threads").collect()  # fmt: skip
    assert silver["quality_issues"].to_list() == [["known_channel"]]
    rows = refinery.rows("gold.marketing.campaigns").filter(pl.col("channel") == "other")
    assert rows["channel_sent"].to_list() == ["Threads"]


def test_every_column_of_silver_says_its_class():
    for contract in only("marketing").layer("silver"):
        for name, column in contract.columns.items():
            assert "classification" in column.model_fields_set, (contract.table, name)


def test_the_same_story_again_and_another(market: Market):
    again, other = generate(days=112, live_hours=26), generate(seed=8, days=112, live_hours=26)
    assert (again.files, again.records, again.truth) == (market.files, market.records, market.truth)
    assert other.files != market.files


# ---- README ---- #


def test_the_readmes_examples_run(refinery: Refinery):
    assert_examples_run("marketing", refinery.lake, refinery.catalog)


def test_the_readmes_checklist_names_what_there_is():
    assert_checklist("marketing")
