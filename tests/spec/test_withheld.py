"""Fields that never leave bronze: no layer after it holds them, and nothing speaks of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.bronze import Bronze
from pipelines.contract import load_catalog
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.properties.test_laws import batch

CONTRACT = """
table: silver.shop.items
description: Accounts
owner: me
source: {connector: postgres, topic: p.public.items}
key: [id]
history: true
withheld: [password_hash]
drift: {add: evolve}
columns:
  id: {type: int32}
  name: {type: string, required: true}
"""
SECRET = "$2b$12$never-to-be-seen"


def sent(key: int, name: str | None, lsn: int) -> tuple[str, str, list[list[str]]]:
    source: dict[str, Any] = {
        "name": "p",
        "schema": "public",
        "table": "items",
        "snapshot": "false",
    }
    source |= {"lsn": lsn, "sequence": json.dumps([str(lsn), str(lsn)]), "ts_ms": lsn}
    after = {"id": key, "name": name, "password_hash": SECRET}
    value = {"before": None, "after": after, "source": source, "op": "c", "ts_ms": 1}
    return json.dumps({"id": key}), json.dumps({**value, "transaction": None}), []


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    folder = tmp_path / "assets" / "shop" / "silver"
    folder.mkdir(parents=True)
    (folder / "items.yaml").write_text(CONTRACT)
    catalog, lake = load_catalog(tmp_path / "assets"), Lake(str(tmp_path / "lake"))
    Bronze(lake, catalog).land(batch([sent(1, "Ada", 10), sent(2, None, 20)], 0))
    done = apply(lake, catalog, "silver.shop.items", now=datetime(2026, 1, 1, tzinfo=UTC))
    assert done.notices == ()
    return lake


def test_the_secret_lies_in_bronze_and_in_no_other_file(lake: Lake):
    holding = {
        path.relative_to(lake.root).parts[0]
        for path in Path(lake.root).rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    }
    assert holding <= {"bronze"}
    for layer in ("silver", "history", "quarantine", "tombstones"):
        rows = lake.scan(f"{layer}.shop.items").collect()
        assert SECRET not in str(rows.to_dicts()), layer
        assert "password_hash" not in rows.columns
    assert SECRET in str(lake.scan("bronze.shop.items").collect().to_dicts())


def test_a_quarantined_row_names_the_event_that_bronze_keeps(lake: Lake):
    row = lake.scan("quarantine.shop.items").collect().row(0, named=True)
    kept = lake.scan("bronze.shop.items").collect()["event_id"]
    assert (row["id"], row["raw_payload"]) == (2, None)
    assert row["source_bronze_id"] in kept


def test_a_table_whose_source_never_had_a_row_is_there_and_empty(tmp_path: Path):
    folder = tmp_path / "assets" / "shop" / "silver"
    folder.mkdir(parents=True)
    (folder / "items.yaml").write_text(CONTRACT)
    lake = Lake(str(tmp_path / "lake"))
    apply(lake, load_catalog(tmp_path / "assets"), "silver.shop.items", now=datetime.now(UTC))
    for layer in ("silver", "history", "quarantine"):
        assert len(lake.scan(f"{layer}.shop.items").collect()) == 0
