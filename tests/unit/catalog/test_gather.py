"""What the catalog says of a lake: sizes, schema history, rules over time, classes; and of no value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from lineage.catalog.model import Site
from lineage.catalog.site import write_site
from pipelines.catalog import site_of
from pipelines.catalog.describe import says, spelled
from pipelines.catalog.facts import RESULTS_SHOWN
from pipelines.contract import load_catalog
from pipelines.contract.rules import rules_of
from pipelines.landing import BRONZE
from pipelines.quality import RESULTS, keep_results
from pipelines.state import silver_schema
from pipelines.storage import Lake
from quality_rules.results import RuleResult

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "anna@example.org"
PEOPLE = """table: silver.shop.people
description: One row a person.
owner: shop-data
source: {connector: postgres, topic: shop.public.people}
key: [id]
history: true
freshness: 1 hour
withheld: [password]
columns:
  id: {type: int32, description: Number}
  email: {type: string, classification: confidential, values: [anna@example.org, b@example.org], description: Address}
  age: {type: int32, classification: restricted, min: 18, max: 99, description: Years}
rules:
  - {name: grown_up, description: By law, severity: warning, expression: {sql: "age >= 18"}}
"""
COUNTED = """table: gold.shop.ages
description: People by age.
owner: shop-reports
key: [age]
columns:
  age: {type: int32, classification: restricted, description: Years}
  people: {type: int64, description: How many}
  mail: {type: string, mask: hash, description: Address}
"""
COUNTED_SQL = """SELECT age, COUNT(*) AS people, MIN(email) AS mail
FROM silver.shop.people GROUP BY age
"""


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Path, Lake]:
    for name, text in (
        ("silver/people.yaml", PEOPLE), ("gold/ages.yaml", COUNTED), ("gold/ages.sql", COUNTED_SQL),
    ):  # fmt: skip
        path = tmp_path / "assets" / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "assets", Lake(str(tmp_path / "lake"))


def fill(lake: Lake, assets: Path, runs: int = 3) -> None:
    contract = load_catalog(assets)["silver.shop.people"]
    rules = {rule.name: rule for rule in rules_of(contract)}
    handle = lake.create(contract.table, silver_schema(contract))
    people = pl.DataFrame({"id": [1, 2], "email": [SECRET, "b@example.org"], "age": [40, 17]})
    frame = pl.DataFrame(schema=silver_schema(contract))
    rows = pl.concat([frame, people.cast({"id": pl.Int32, "age": pl.Int32})], how="diagonal")
    lake.write(handle, rows, mode="append")
    for run in range(runs):
        result = RuleResult(
            rule=rules["grown_up"], record_count=2, failed_count=1 if run else 0,
            sample=({"email": SECRET},),
        )  # fmt: skip
        keep_results(lake, [result], NOW - timedelta(days=runs - run), f"run {run}")


def site(shop: tuple[Path, Lake]) -> Site:
    assets, lake = shop
    return site_of(load_catalog(assets), lake, NOW)


def test_every_layer_has_its_tables_and_what_is_not_there_has_no_storage(shop: tuple[Path, Lake]):
    tables = site(shop).tables
    assert {table.layer for table in tables.values()} == {
        "source", "bronze", "silver", "history", "gold",
    }  # fmt: skip
    assert all(table.storage is None for table in tables.values())


def test_sizes_and_rules_over_time_are_the_lakes(shop: tuple[Path, Lake]):
    fill(shop[1], shop[0])
    people = site(shop).tables["silver.shop.people"]
    assert people.storage is not None
    assert (people.storage.rows, people.storage.files, people.storage.version) == (2, 1, 1)
    assert people.storage.size_bytes > 0
    rule = next(rule for rule in people.rules if rule.name == "grown_up")
    assert [(each.failed, each.rate, each.passed) for each in rule.results] == [
        (0, 100.0, True), (1, 50.0, False), (1, 50.0, False),
    ]  # fmt: skip
    assert rule.broken
    assert [rule.name for rule in people.broken_rules] == ["grown_up"]


def test_the_newest_results_are_shown_oldest_first(shop: tuple[Path, Lake]):
    fill(shop[1], shop[0], runs=RESULTS_SHOWN + 2)
    (rule,) = site(shop).tables["silver.shop.people"].broken_rules
    assert len(rule.results) == RESULTS_SHOWN
    assert rule.results[-1].at == NOW - timedelta(days=1)
    assert rule.results == tuple(sorted(rule.results, key=lambda each: each.at))


def test_results_of_before_rules_had_verdicts_are_read(shop: tuple[Path, Lake]):
    fill(shop[1], shop[0])
    older = shop[1].scan(RESULTS).drop("passed").collect()
    shop[1].write(shop[1].handle(RESULTS), older, mode="overwrite", reshape=True)
    (rule,) = site(shop).tables["silver.shop.people"].broken_rules
    assert [each.passed for each in rule.results] == [True, False, False]


def test_a_partitioned_table_is_counted_too(shop: tuple[Path, Lake]):
    lake = shop[1]
    handle = lake.create("bronze.shop.people", BRONZE, partition_by=["ingestion_date"])
    row = dict.fromkeys(BRONZE) | {"event_id": "a", "ingestion_date": NOW.date()}
    lake.write(handle, pl.DataFrame([row], schema=dict(BRONZE)), mode="append")
    storage = site(shop).tables["bronze.shop.people"].storage
    assert storage is not None
    assert (storage.rows, storage.files) == (1, 1)


def test_each_change_of_a_schema_is_told_with_its_version(shop: tuple[Path, Lake]):
    path = shop[1].path("gold.shop.ages")
    frames = (
        pl.DataFrame({"age": [1], "old": ["x"]}),
        pl.DataFrame({"age": [1], "old": ["x"]}),
        pl.DataFrame({"age": [Decimal("1.5")], "people": [[1]]}),
    )
    for frame in frames:
        write_deltalake(path, frame.to_arrow(compat_level=pl.CompatLevel.oldest()), mode="overwrite", schema_mode="overwrite")  # fmt: skip
    changes = site(shop).tables["gold.shop.ages"].schema_changes
    assert [change.version for change in changes] == [0, 2]
    assert changes[1].added == (("people", "array<long>"),)
    assert changes[1].removed == (("old", "string"),)
    assert [name for name, _, _ in changes[1].retyped] == ["age"]
    assert changes[1].retyped[0][1] == "long"


def test_classes_reach_from_the_source_and_withheld_fields_are_the_most_secret(
    shop: tuple[Path, Lake],
):
    tables = site(shop).tables

    def classes(table: str) -> dict[str, str]:
        return {column.name: column.classification for column in tables[table].columns}

    assert classes("postgres:shop.public.people") == {
        "id": "internal", "email": "confidential", "age": "restricted", "password": "restricted",
    }  # fmt: skip
    bronze = classes("bronze.shop.people")
    assert bronze["raw_payload"] == "restricted"
    assert bronze["raw_payload.email"] == "confidential"
    assert bronze["kafka_offset"] == "internal"


def test_no_value_of_a_row_and_no_listed_value_of_a_classified_column_stands_on_any_page(
    shop: tuple[Path, Lake], tmp_path: Path
):
    fill(shop[1], shop[0])
    write_site(site(shop), tmp_path / "site")
    pages = list((tmp_path / "site").rglob("*.html")) + list((tmp_path / "site").rglob("data/*"))
    assert len(pages) > 5
    assert not [page for page in pages if "example.org" in page.read_text("utf-8")]


def test_rules_are_told_as_sentences(shop: tuple[Path, Lake]):
    contract = load_catalog(shop[0])["silver.shop.people"]
    told = {rule.name: says(rule, contract) for rule in rules_of(contract)}
    assert told == {
        "id_required": "id is not null",
        "email_values": "email is one of 2 values",
        "age_range": "age is within its bounds",
        "grown_up": "age >= 18",
    }


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        (pl.Datetime("us", "UTC"), "timestamp"),
        (pl.Datetime("us"), "timestamp_ntz"),
        (pl.Decimal(3, 2), "decimal(3,2)"),
        (pl.List(pl.String()), "list<string>"),
        (pl.Int64(), "int64"),
    ],
)
def test_stored_types_are_spelled_as_contracts_spell_them(dtype: pl.DataType, text: str):
    assert spelled(dtype) == text
