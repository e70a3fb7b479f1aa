"""The table `data_lineage`: what is kept of an edge, and which versions there are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from pipelines.contract import Catalog, load_catalog
from pipelines.provenance import LINEAGE, keep_lineage
from pipelines.storage import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)

SILVER = """table: silver.shop.notes
description: Notes
owner: me
version: 1.2.0
source: {connector: postgres, topic: p.public.notes}
key: [id]
columns:
  id: {type: int32}
  kind: {type: string}
"""

GOLD = """table: gold.shop.kinds
description: Kinds
owner: me
version: 3.0.0
key: [kind]
columns:
  kind: {type: string}
  notes: {type: int64}
"""


def catalog_of(root: Path, sql: str) -> Catalog:
    for layer, name, text in (("silver", "notes", SILVER), ("gold", "kinds", GOLD)):
        (root / "shop" / layer).mkdir(parents=True, exist_ok=True)
        (root / "shop" / layer / f"{name}.yaml").write_text(text)
    (root / "shop" / "gold" / "kinds.sql").write_text(sql)
    return load_catalog(root)


COUNT = "SELECT kind, COUNT(*) AS notes FROM silver.shop.notes GROUP BY kind"
COUNT_SOME = "SELECT kind, COUNT(*) AS notes FROM silver.shop.notes WHERE id > 1 GROUP BY kind"


def test_tables_stand_at_their_level_with_the_contract_that_says_so(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    keep_lineage(lake, catalog_of(tmp_path / "assets", COUNT), NOW)
    tables = lake.scan(LINEAGE).filter(pl.col("source_column").is_null()).collect()
    told = {
        (r["source_dataset"], r["target_dataset"], r["transformation_type"], r["dependency_level"])
        for r in tables.to_dicts()
    }
    assert told == {
        ("postgres:p.public.notes", "bronze.shop.notes", "CDC_CAPTURE", 1),
        ("bronze.shop.notes", "silver.shop.notes", "ETL_TRANSFORM", 2),
        ("silver.shop.notes", "gold.shop.kinds", "DIMENSIONAL_MODEL", 3),
    }
    configs = {
        r["target_dataset"]: json.loads(r["transformation_config"]) for r in tables.to_dicts()
    }
    assert configs["bronze.shop.notes"]["connector"] == "postgres"
    assert configs["silver.shop.notes"]["contract_version"] == "1.2.0"
    assert configs["gold.shop.kinds"]["contract_version"] == "3.0.0"


def test_what_did_not_change_writes_nothing_and_a_new_edge_keeps_the_age_of_the_old(
    tmp_path: Path,
) -> None:
    lake, assets = Lake(str(tmp_path / "lake")), tmp_path / "assets"
    keep_lineage(lake, catalog_of(assets, COUNT), NOW)
    first = lake.version(LINEAGE)
    assert keep_lineage(lake, catalog_of(assets, COUNT), NOW + timedelta(days=1)) > 0
    assert lake.version(LINEAGE) == first
    later = NOW + timedelta(days=2)
    keep_lineage(lake, catalog_of(assets, COUNT_SOME), later)
    assert lake.version(LINEAGE) == (first or 0) + 1
    rows = lake.scan(LINEAGE).collect()
    new = rows.filter(pl.col("created_at") == later)
    assert new.select("source_column", "transformation_config").rows() == [
        ("id", '{"indirect": "filter"}')
    ]
    assert set(rows["created_at"]) == {NOW, later}
    before = lake.scan(LINEAGE, version=first).collect()
    assert len(before) == len(rows) - 1
    assert rows["lineage_id"].is_unique().all()
