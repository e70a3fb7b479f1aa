"""`medallion catalog`, and the link from Dagster to what it wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from assets.describe import definition_metadata
from benchmarks.catalogs import write_contracts
from pipelines.catalog.describe import contract_facts
from pipelines.contract import Catalog
from pipelines.contract.model import Retention
from pipelines.provenance import lineage_of
from pipelines.settings import load_settings


def medallion(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "assets.cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return write_contracts(tmp_path / "assets", tables=3, columns=6)


def test_the_command_writes_where_it_is_told_and_leaves_other_folders_alone(
    catalog: Catalog, tmp_path: Path
):
    places = ("--lake", str(tmp_path / "lake"), "--assets", str(catalog.root))
    done = medallion("catalog", *places, MEDALLION_CATALOG=str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr
    assert "9 tables on" in done.stdout
    assert (tmp_path / "site" / "tables" / "silver.sales.orders_000.html").is_file()
    refused = medallion("catalog", *places, "--out", str(catalog.root))
    assert refused.returncode == 10
    assert "holds files, and no catalog" in " ".join(refused.stderr.split())


def test_dagster_links_a_table_to_its_page(catalog: Catalog):
    contract = catalog["silver.sales.orders_000"]
    lineage = lineage_of(catalog)[contract.table]
    page = "tables/silver.sales.orders_000.html"
    url = definition_metadata(contract, lineage, "https://data.example.org/catalog/")["catalog"]
    assert url == dg.MetadataValue.url(f"https://data.example.org/catalog/{page}")
    path = definition_metadata(contract, lineage, "public")["catalog"]
    assert path == dg.MetadataValue.path(Path.cwd() / "public" / page)
    assert "catalog" not in definition_metadata(contract, lineage)


def test_dagster_says_what_a_contract_promises_as_the_catalog_does(catalog: Catalog):
    contract = catalog["silver.sales.orders_000"]
    kept = Retention(archive_after="2 years idle", delete_after="90 days")
    promised = contract.model_copy(update={"retention": kept})
    told = definition_metadata(promised, lineage_of(catalog)[contract.table])
    assert told["key"] == ", ".join(contract.key)
    assert (told["archived_after"], told["deleted_after"]) == ("2 years idle", "90 days")
    assert contract_facts(promised).keys() == {"Key", "Connector", "Topic", "Archived after", "Deleted after"}  # fmt: skip


def test_where_the_catalog_lies_is_a_setting():
    told = load_settings(environment={"MEDALLION_CATALOG": "https://data.example.org"})
    assert told.catalog == "https://data.example.org"
    assert load_settings(environment={}).catalog is None
