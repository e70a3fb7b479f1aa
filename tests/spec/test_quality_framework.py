"""The three example rules of the data architecture document, written in a contract as they stand there."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from pipelines.contract import Catalog, load_catalog
from pipelines.quality import RESULTS, RULES
from pipelines.query import query
from pipelines.refine import keep_quality
from pipelines.storage import Lake
from tests.spec.orders import NOW, Change, Desk

CUSTOMERS = """
table: silver.x.customers
description: One row per customer
owner: shop
source: {connector: postgres, topic: p.public.customers}
key: [id]
columns:
  id: {type: string, description: Customer number}
"""
ORDERS = """
table: silver.x.orders
description: One row per order
owner: shop
source: {connector: postgres, topic: p.public.orders, decimal: string}
key: [id]
columns:
  id: {type: int32, description: Order number}
  customer_id: {type: string, description: Who ordered}
  email: {type: string, classification: confidential, description: Where to write to}
  total_amount: {type: "decimal(10,2)", description: Total}
rules:
  - {rule_id: rule-001, table_name: orders, column_name: total_amount, rule_type: RANGE, rule_config: {"min": 0, "max": 10000}, severity: ERROR, is_active: true}
  - {rule_id: rule-002, table_name: orders, column_name: email, rule_type: PATTERN, rule_config: {"regex": "^[^@]+@[^@]+\\\\.[^@]+$"}, severity: ERROR, is_active: true}
  - {rule_id: rule-003, table_name: orders, column_name: customer_id, rule_type: REFERENCE, rule_config: {"table": "customers", "column": "id"}, severity: ERROR, is_active: true}
"""


def written(folder: Path, orders: str = ORDERS) -> Catalog:
    (folder / "x" / "silver").mkdir(parents=True, exist_ok=True)
    (folder / "x" / "silver" / "customers.yaml").write_text(CUSTOMERS)
    (folder / "x" / "silver" / "orders.yaml").write_text(orders)
    return load_catalog(folder)


def order(key: int, customer: str, email: str, total: str) -> Change:
    return "orders", "c", key, {"customer_id": customer, "email": email, "total_amount": total}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(Lake(str(tmp_path / "lake")))
    catalog = written(tmp_path / "assets")
    desk.run(
        catalog,
        ("customers", "c", "A", {}),
        order(1, "A", "a@x.org", "10.00"),
        order(2, "A", "a@x.org", "10000.01"),
        order(3, "A", "nobody", "-1.00"),
        order(4, "B", "b@x.org", "10000.00"),
    )
    keep_quality(desk.lake, catalog, "silver.x.orders", NOW, run_id="run-1")
    return desk


def test_rows_that_break_a_rule_wait_in_quarantine(desk: Desk):
    assert desk.kept() == {1: []}
    assert desk.waiting() == {2: ["rule_001"], 3: ["rule_001", "rule_002"], 4: ["rule_003"]}


def test_rules_and_results_are_tables(desk: Desk):
    rules = query(desk.lake, f"SELECT * FROM {RULES} WHERE rule_id LIKE 'rule-%' ORDER BY rule_id")
    told = rules.select("rule_id", "version", "table_name", "column_name", "rule_type", "rule_config", "severity", "is_active")  # fmt: skip
    assert told.rows() == [
        ("rule-001", 1, "silver.x.orders", "total_amount", "RANGE", '{"max": 10000, "min": 0}', "error", True),
        ("rule-002", 1, "silver.x.orders", "email", "PATTERN", json.dumps({"regex": r"^[^@]+@[^@]+\.[^@]+$"}), "error", True),
        ("rule-003", 1, "silver.x.orders", "customer_id", "REFERENCE", '{"column": "id", "table": "silver.x.customers"}', "error", True),
    ]  # fmt: skip
    results = query(
        desk.lake, f"SELECT * FROM {RESULTS} WHERE rule_id LIKE 'rule-%' ORDER BY rule_id"
    )
    counts = results.select("rule_id", "checked_at", "record_count", "failed_count", "success_rate", "passed", "run_id")  # fmt: skip
    assert counts.rows() == [
        ("rule-001", NOW, 4, 2, Decimal("50.00"), False, "run-1"),
        ("rule-002", NOW, 4, 1, Decimal("75.00"), False, "run-1"),
        ("rule-003", NOW, 4, 1, Decimal("75.00"), False, "run-1"),
    ]
    samples = [json.loads(text) for text in results["sample_failures"]]
    assert [sorted(row["id"] for row in sample) for sample in samples] == [[2, 3], [3], [4]]
    assert "nobody" not in results.write_csv(), "a sample holds keys and no other value"


def test_a_rule_has_a_version_for_each_of_its_definitions(desk: Desk, tmp_path: Path):
    wider = written(tmp_path / "assets", ORDERS.replace("10000}", "20000}"))
    for _ in range(2):
        keep_quality(desk.lake, wider, "silver.x.orders", NOW, run_id="run-2")
    without = "\n".join(line for line in ORDERS.splitlines() if "rule-002" not in line)
    keep_quality(desk.lake, written(tmp_path / "assets", without), "silver.x.orders", NOW, run_id="run-3")  # fmt: skip
    rows = desk.lake.scan(RULES).filter(pl.col("rule_id").str.starts_with("rule-")).collect()
    told = rows.select("rule_id", "version", "rule_config", "is_active", "is_removed").sort("rule_id", "version")  # fmt: skip
    assert [(r[0], r[1], r[3], r[4]) for r in told.rows()] == [
        ("rule-001", 1, True, False),
        ("rule-001", 2, True, False),
        ("rule-001", 3, True, False),
        ("rule-002", 1, True, False),
        ("rule-002", 2, False, True),
        ("rule-003", 1, True, False),
    ]
    assert '"max": 20000' in told["rule_config"][1]
