"""What Dagster knows of the way of the data: the source, columns, versions, and what is stale."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets import telling
from assets.definitions import definitions_of
from assets.keys import key_of
from assets.staleness import code_version
from pipelines.capture.embedded import EmbeddedBroker, Outgoing
from pipelines.contract import load_catalog
from tests.unit.openlineage.parts import Listening, Shop

SOURCE = dg.AssetKey(["postgres", "p", "public", "notes"])


@pytest.fixture
def listening() -> Iterator[Listening]:
    server = Listening()
    yield server
    server.stop()


@pytest.fixture
def shop(tmp_path: Path, listening: Listening, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    made = Shop(tmp_path, f"http://127.0.0.1:{listening.port}")
    lines = [json.loads(line) for line in (tmp_path / "stream.jsonl").read_text().splitlines()]
    with EmbeddedBroker() as broker:
        broker.produce(
            Outgoing(e["topic"], e["key"].encode(), e["value"].encode(), (), 0, e["timestamp"])
            for e in lines
        )
        for name, value in {**made.environment, "MEDALLION_BOOTSTRAP": broker.bootstrap}.items():
            monkeypatch.setenv(name, value)
        telling._listener.cache_clear()
        yield made
        telling._listener.cache_clear()


def versions(result: dg.ExecuteInProcessResult) -> dict[str, tuple[str, str]]:
    """The code and data version of every table that was materialised."""
    found = {}
    for event in result.all_events:
        if event.is_step_materialization and event.asset_key:
            tags = event.step_materialization_data.materialization.tags or {}
            told = (tags.get("dagster/code_version", ""), tags.get("dagster/data_version", ""))
            found[".".join(event.asset_key.path)] = told
    return found


def run(instance: dg.DagsterInstance, shop: Shop) -> dg.ExecuteInProcessResult:
    definitions = definitions_of(load_catalog(shop.root / "assets"))
    job = definitions.resolve_job_def("everything")
    return job.execute_in_process(instance=instance)


def test_the_graph_begins_at_the_source_table_with_its_fields(shop: Shop) -> None:
    definitions = definitions_of(load_catalog(shop.root / "assets"))
    graph = definitions.resolve_asset_graph()
    source = graph.get(SOURCE)
    assert source.is_external
    assert source.kinds == {"postgres"}
    schema = source.metadata["dagster/column_schema"]
    assert [column.name for column in schema.columns] == ["id", "kind", "text"]
    assert schema.columns[2].tags == {"classification": "confidential"}
    assert graph.get(key_of("bronze.shop.notes")).parent_keys == {SOURCE}


@pytest.mark.slow
def test_a_run_tells_versions_columns_and_openlineage(shop: Shop, listening: Listening) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        first = run(instance, shop)
        again = run(instance, shop)
        before, after = versions(first), versions(again)
        assert all(code and data for code, data in before.values())
        assert {*before} >= {"bronze.shop.notes", "silver.shop.notes", "gold.shop.kinds"}
        # A run that wrote nothing leaves the data as it was, so nothing above it is stale.
        assert before["gold.shop.kinds"] == after["gold.shop.kinds"]
        bronze = next(
            event.step_materialization_data.materialization
            for event in first.all_events
            if event.is_step_materialization and event.asset_key == key_of("bronze.shop.notes")
        )
        told = bronze.metadata["dagster/column_lineage"].value.deps_by_column
        assert told["raw_payload.text"] == [dg.TableColumnDep(SOURCE, "text")]
    listener = telling._listener()
    assert listener is not None
    listener.close()
    assert listening.faults == []
    event = next(
        e
        for e in listening.events
        if (e["job"]["name"], e["eventType"]) == ("build.gold.shop.kinds", "COMPLETE")
    )
    parent = event["run"]["facets"]["parent"]
    assert parent["job"]["name"] == "dagster.everything"
    assert parent["run"]["runId"] in {first.run_id, again.run_id}


def test_other_sql_is_another_code_version_even_without_a_new_version(shop: Shop) -> None:
    before = load_catalog(shop.root / "assets")["gold.shop.kinds"]
    sql = shop.root / "assets" / "shop" / "gold" / "kinds.sql"
    sql.write_text(sql.read_text().replace("id > 0", "id > 1"))
    after = load_catalog(shop.root / "assets")["gold.shop.kinds"]
    assert before.version == after.version
    assert code_version(before) != code_version(after)
    assert code_version(after) == code_version(load_catalog(shop.root / "assets")[after.table])
