"""What a profile proposes holds for the table it was made of, and tells no classified value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from pipelines.contract import Catalog, load_catalog
from pipelines.errors import LakeError
from pipelines.quality import judge_table
from pipelines.state import silver_schema
from pipelines.storage import Lake
from pipelines.suggest import as_patch, suggest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TABLE = "silver.shop.orders"
CONTRACT = """
table: silver.shop.{name}
description: d
owner: o
source: {{connector: postgres, topic: shop.public.{name}}}
key: [{key}]
columns:
"""
ORDERS = (
    CONTRACT.format(name="orders", key="order_id")
    + """
  order_id: {type: int64}
  customer_id: {type: int64}
  state: {type: string}
  currency: {type: string}
  mail: {type: string, classification: confidential}
  rank: {type: string, classification: restricted}
  code: {type: string}
  amount: {type: "decimal(10,2)"}
  balance: {type: int32, required: true}
  born: {type: string}
  created_at: {type: timestamp}
  updated_at: {type: timestamp}
"""
)
CUSTOMERS = CONTRACT.format(name="customers", key="id") + "  id: {type: int64}\n"


def catalog_of(folder: Path, rules: str = "") -> Catalog:
    (folder / "shop" / "silver").mkdir(parents=True, exist_ok=True)
    (folder / "shop" / "silver" / "orders.yaml").write_text(ORDERS + rules)
    (folder / "shop" / "silver" / "customers.yaml").write_text(CUSTOMERS)
    return load_catalog(folder)


def rows(number: int) -> pl.DataFrame:
    at = pl.int_range(number, eager=True)
    created = pl.Series([NOW - timedelta(hours=int(hour)) for hour in at])
    return pl.DataFrame(
        {
            "order_id": at,
            "customer_id": at % 10,
            "state": [("new", "sent")[number % 2] for number in at],
            "currency": [("EUR", "USD", "CHF")[number % 3] for number in at],
            "mail": [f"person{number}@example.org" for number in at],
            "rank": [("secret", "open")[number % 2] for number in at],
            "code": [f"AB{number:04}" for number in at],
            "amount": (at % 7).cast(pl.Decimal(10, 2)),
            "balance": (at - 5).cast(pl.Int32),
            "born": ["1999-12-31"] * number,
            "created_at": created,
            "updated_at": created + (at % 2 * 60_000_000).cast(pl.Duration("us")),
        }
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake, catalog = Lake(str(tmp_path / "lake")), catalog_of(tmp_path / "assets")
    held = {TABLE: rows(24 * 30), "silver.shop.customers": pl.DataFrame({"id": range(10)})}
    for table, frame in held.items():
        schema = silver_schema(catalog[table])
        lacking = [
            pl.lit(None, kind).alias(n) for n, kind in schema.items() if n not in frame.columns
        ]
        whole = frame.with_columns(lacking).select(
            pl.col(n).cast(kind) for n, kind in schema.items()
        )
        lake.write(lake.create(table, schema), whole, mode="append")
    return lake


def proposed(lake: Lake, catalog: Catalog) -> dict[str, Any]:
    return {str(each.rule["name"]): each.rule for each in suggest(lake, catalog, TABLE)}


def test_each_proposal_is_told_by_the_rows(lake: Lake, tmp_path: Path) -> None:
    found = proposed(lake, catalog_of(tmp_path / "assets"))
    bodies = {name: {k: v for k, v in rule.items() if k not in ("name", "severity")} for name, rule in found.items()}  # fmt: skip
    assert {name: body for name, body in bodies.items() if "not_null" not in body} == {
        "customer_id_not_below": {"range": {"column": "customer_id", "min": 0}},
        "customer_id_known": {"reference": {"column": "customer_id", "table": "silver.shop.customers", "column_there": "id"}},
        "order_id_not_below": {"range": {"column": "order_id", "min": 0}},
        "state_listed": {"set": {"column": "state", "values": ["new", "sent"]}},
        "currency_format": {"format": {"column": "currency", "format": "currency"}},
        "mail_format": {"format": {"column": "mail", "format": "email"}},
        "mail_unique": {"unique": {"columns": ["mail"]}},
        "code_unique": {"unique": {"columns": ["code"]}},
        "code_length": {"length": {"column": "code", "min": 6, "max": 6}},
        "amount_not_below": {"range": {"column": "amount", "min": 0}},
        "balance_unique": {"unique": {"columns": ["balance"]}},
        "born_type": {"type": {"column": "born", "type": "date"}},
        "updated_at_not_before_created_at": {"expression": {"sql": "updated_at >= created_at"}},
        "updated_at_fresh": {"freshness": {"column": "updated_at", "within": "4 hours"}},
        "created_at_volume": {"volume": {"column": "created_at", "at_least": 0.5, "at_most": 2.0}},
    }  # fmt: skip
    assert all(rule["severity"] == "warning" for rule in found.values())


def test_the_patch_makes_a_contract_whose_rules_all_pass(lake: Lake, tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path / "assets")
    patch = as_patch(TABLE, suggest(lake, catalog, TABLE), NOW)
    assert not any(value in patch for value in ("example.org", "secret", "person"))
    assert len(yaml.safe_load(patch)["rules"]) == patch.count("  # ")
    patched = catalog_of(tmp_path / "assets", patch)
    results = judge_table(lake, patched[TABLE], NOW)
    assert [result.rule.name for result in results if not result.passed] == []
    assert suggest(lake, patched, TABLE) == [], "what the contract says is not proposed"


def test_few_rows_are_no_evidence(tmp_path: Path) -> None:
    lake, catalog = Lake(str(tmp_path / "lake")), catalog_of(tmp_path / "assets")
    lake.create(TABLE, silver_schema(catalog[TABLE]))
    with pytest.raises(LakeError, match="0 rows, which is evidence of nothing"):
        suggest(lake, catalog, TABLE)
