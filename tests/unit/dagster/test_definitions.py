"""Dagster over a lake: what is materialised, what checks say, and what a failing table stops."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets.checks import GX_CHECK
from assets.definitions import definitions_of
from assets.demo import STORIES, assets_of
from assets.demo_shop import generate
from assets.demo_source import recorded_lines
from assets.keys import key_of
from pipelines.bronze import Bronze
from pipelines.capture.embedded import EmbeddedBroker, Outgoing
from pipelines.contract import Catalog, load_catalog
from pipelines.ingest import capture_file, capture_kafka
from pipelines.settings import load_settings
from pipelines.storage import Lake

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The shop's tables alone, whose changes the broker holds."""
    return load_catalog(assets_of([STORIES["commerce"]], tmp_path_factory.mktemp("one") / "assets"))


@pytest.fixture(scope="module")
def broker():
    with EmbeddedBroker() as running:
        shop = generate(days=1, orders_a_day=20)
        running.produce(
            Outgoing(r.topic, r.key, r.value, r.headers, 0, r.timestamp_ms) for r in shop.records
        )
        yield running


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broker: EmbeddedBroker) -> Lake:
    monkeypatch.setenv("MEDALLION_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("MEDALLION_BOOTSTRAP", broker.bootstrap)
    return Lake(str(tmp_path / "lake"))


def run(instance: dg.DagsterInstance, catalog: Catalog) -> dg.ExecuteInProcessResult:
    job = definitions_of(catalog).resolve_job_def("everything")
    return job.execute_in_process(instance=instance, raise_on_error=False)


def test_a_run_materialises_every_table_with_what_it_knows(lake: Lake, catalog: Catalog):
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance, catalog)
        assert result.success
        made = {
            event.asset_key: event.step_materialization_data.materialization.metadata
            for event in result.all_events
            if event.is_step_materialization
        }
        for table, contract in catalog.contracts.items():
            metadata = made[key_of(table)]
            file = Path(lake.root) / "export" / contract.export_file
            rows = pl.scan_csv(file) if contract.export else lake.scan(table)
            assert metadata["dagster/row_count"].value == len(rows.collect())
            assert metadata["dagster/column_lineage"].value.deps_by_column.keys() >= {
                next(iter(catalog[table].columns))
            }
        assert made[key_of("silver.commerce.orders")]["position"].value.count("/") == 3
        sales = made[key_of("gold.commerce.daily_sales")]
        assert (sales["computed"].value, sales["why"].value) == ("whole", "no build of it is known")
        assert key_of("bronze.commerce.orders") in made
        assert key_of("system.main.data_lineage") in made


def test_every_rule_is_a_check_and_failures_show_keys_but_no_personal_value(
    lake: Lake, catalog: Catalog
):
    with dg.DagsterInstance.ephemeral() as instance:
        evaluations = {
            (e.asset_key, e.check_name): e
            for e in run(instance, catalog).get_asset_check_evaluations()
        }
    orders = key_of("silver.commerce.orders")
    assert not evaluations[orders, "total_amount_range"].passed
    assert evaluations[orders, "total_amount_range"].metadata["failed_count"].value == 1
    assert evaluations[orders, "status_values"].passed
    assert not evaluations[orders, GX_CHECK].passed
    shown = " ".join(str(evaluation.metadata) for evaluation in evaluations.values())
    assert "@example.org" not in shown


def test_an_error_rule_stops_what_is_made_of_the_table_where_the_contract_says_so(
    lake: Lake, catalog: Catalog
):
    stopping = catalog["silver.commerce.orders"].model_copy(update={"on_error": "stop"})
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance, catalog.having(stopping))
    assert not result.success
    done = {event.step_key for event in result.all_events if event.is_step_success}
    assert not {"gold__commerce__order_facts", "gold__commerce__daily_sales"} & done
    assert {"silver__commerce__customers", "gold__commerce__dim_product"} <= done
    # What was found is there all the same, and the table with it.
    found = {
        e.check_name: e
        for e in result.get_asset_check_evaluations()
        if e.asset_key == key_of("silver.commerce.orders")
    }
    assert found["total_amount_range"].blocking
    assert not found["total_amount_range"].passed
    assert lake.version("silver.commerce.orders") is not None


def test_checks_show_their_trend_and_the_page_of_data_docs(lake: Lake, catalog: Catalog):
    with dg.DagsterInstance.ephemeral() as instance:
        run(instance, catalog)
        evaluations = {
            (e.asset_key, e.check_name): e.metadata
            for e in run(instance, catalog).get_asset_check_evaluations()
        }
    orders = key_of("silver.commerce.orders")
    trend = str(evaluations[orders, "total_amount_range"]["trend"].value)
    assert trend.startswith("`██` failed rows")
    assert trend.count("\n| 2") == 2
    page = str(evaluations[orders, GX_CHECK]["data_docs"].value)
    assert page.startswith(f"file://{lake.root}/_data_docs/validations/silver/commerce/orders/")
    assert Path(page.removeprefix("file://")).is_file()


def test_a_failing_table_stops_only_what_depends_on_it(lake: Lake, catalog: Catalog):
    with dg.DagsterInstance.ephemeral() as instance:
        run(instance, catalog)
    log = Path(lake.path("silver.commerce.products")) / "_delta_log"
    for commit in log.glob("*.json"):
        commit.write_text("{broken")
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance, catalog)
    assert not result.success
    done = {event.step_key for event in result.all_events if event.is_step_success}
    failed = {event.step_key for event in result.all_events if event.is_step_failure}
    assert failed == {"silver__commerce__products"}
    assert {
        "silver__commerce__customers",
        "silver__commerce__orders",
        "silver__commerce__payments",
        "gold__commerce__dim_customer",
        "gold__commerce__hourly_revenue",
    } <= done
    assert not {"gold__commerce__dim_product", "gold__commerce__order_facts"} & done


def test_the_sensor_asks_for_a_run_when_topics_have_news(lake: Lake, catalog: Catalog):
    definitions = definitions_of(catalog)
    sensor = definitions.get_repository_def().get_sensor_def("news")
    with dg.DagsterInstance.ephemeral() as instance:
        with dg.build_sensor_context(instance=instance) as context:
            requests = [each for each in sensor(context) if isinstance(each, dg.RunRequest)]
            assert len(requests) == 1
            assert int(requests[0].tags["records"]) > 0
        run(instance, catalog)
        with dg.build_sensor_context(instance=instance) as context:
            said = list(sensor(context))
    assert [type(each) for each in said] == [dg.SkipReason]


def test_the_nightly_schedule_runs_everything(catalog: Catalog):
    schedule = definitions_of(catalog).get_repository_def().get_schedule_def("nightly")
    assert (schedule.cron_schedule, schedule.execution_timezone, schedule.job_name) == (
        "0 2 * * *",
        "UTC",
        "everything",
    )


def test_loading_definitions_does_not_import_great_expectations():
    code = "import sys, assets.definitions as d; d.definitions(); sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_dagster_keeps_its_runs_in_sqlite_by_default(tmp_path: Path):
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.telemetry_enabled is False
        assert instance.get_runs_count() == 0
    assert sqlite3.connect(tmp_path / "history" / "runs.db").execute(
        "select count(*) from runs"
    ).fetchone() == (0,)


def test_a_recorded_file_and_the_broker_give_the_same_rows(
    lake: Lake, tmp_path: Path, catalog: Catalog
):
    file = tmp_path / "shop.jsonl"
    file.write_text("\n".join(recorded_lines(generate(days=1, orders_a_day=20).records)))
    recorded = Lake(str(tmp_path / "recorded"))
    capture_file(recorded, catalog, file)
    with dg.DagsterInstance.ephemeral() as instance:
        run(instance, catalog)
    landed = [each for each in catalog.layer("silver") if recorded.version(each.bronze) is not None]
    assert len(landed) == 5  # the shop's own; posts, chat and the like come from elsewhere
    for contract in landed:
        columns = [
            "operation_type",
            "raw_payload",
            "key",
            "kafka_offset",
            "source_commit",
            "source_event",
        ]
        left, right = (
            each.scan(contract.bronze).select(columns).sort("kafka_offset").collect()
            for each in (lake, recorded)
        )
        assert left.equals(right)
    assert Bronze(recorded, catalog).lake is recorded


def test_the_alerts_sensor_tells_who_asked(
    lake: Lake, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    sensor = definitions_of(catalog).get_repository_def().get_sensor_def("alerts")
    with dg.DagsterInstance.ephemeral() as instance:
        with dg.build_sensor_context(instance=instance) as context:
            assert sensor(context).skip_message == "what is new was told"
        capture_kafka(load_settings(), catalog)
        (tmp_path / "alerts.yaml").write_text("receivers: {log: {kind: log}}\nstale: {to: [log]}\n")
        monkeypatch.setenv("MEDALLION_ALERTS", str(tmp_path / "alerts.yaml"))
        with (
            caplog.at_level("WARNING", "medallion.alerts"),
            dg.build_sensor_context(instance=instance) as context,
        ):
            sensor(context)
    assert any("no news since" in said for said in caplog.messages)
