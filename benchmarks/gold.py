"""Gold after 0.1 % of its input's rows changed: the part that changes reach, against computing all of it.

The whole is the SQL over the same tables in Polars' streaming engine, written over a Delta table: no
comparison with what is there, no keys, nothing that a bare recomputation does not need.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipelines.contract import Catalog
from pipelines.contract.model import Contract
from pipelines.delta import commit_changes, locate, read_snapshot
from pipelines.gold import build, inputs_of, run_sql
from pipelines.storage import Lake

ORDERS, CUSTOMERS = "silver.bench.orders", "silver.bench.customers"
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_STATUS = ["CONFIRMED", "SHIPPED", "DELIVERED", "CANCELLED"]

_TABLES = {
    "lines": (
        ["order_id"],
        {
            "order_id": "int64", "customer_id": "int64", "status": "string", "amount": "decimal(10,2)",
            "ordered_on": "date", "note": "string", "country": "string", "segment": "string",
        },
        f"""SELECT o.order_id, o.customer_id, o.status, o.amount, CAST(o.created_at AS DATE) AS ordered_on, o.note,
            c.country, c.segment
            FROM {ORDERS} AS o LEFT JOIN {CUSTOMERS} AS c ON o.customer_id = c.customer_id""",
    ),
    "totals": (
        ["customer_id"],
        {
            "customer_id": "int64", "orders": "int64", "total": "decimal(18,2)", "days": "int64", "newest": "timestamp",
        },
        f"""SELECT o.customer_id, CAST(COUNT(*) AS BIGINT) AS orders, CAST(SUM(o.amount) AS DECIMAL(18, 2)) AS total,
            CAST(COUNT(DISTINCT CAST(o.created_at AS DATE)) AS BIGINT) AS days, MAX(o.created_at) AS newest
            FROM {ORDERS} AS o WHERE o.status <> 'CANCELLED' GROUP BY o.customer_id""",
    ),
    "numbered": (
        ["order_id"],
        {"order_id": "int64", "customer_id": "int64", "nth": "int64", "so_far": "decimal(18,2)"},
        f"""SELECT o.order_id, o.customer_id,
            CAST(ROW_NUMBER() OVER (PARTITION BY o.customer_id ORDER BY o.created_at, o.order_id) AS BIGINT) AS nth,
            CAST(SUM(o.amount) OVER (PARTITION BY o.customer_id) AS DECIMAL(18, 2)) AS so_far FROM {ORDERS} AS o""",
    ),
    "daily": (
        ["day", "segment"],
        {
            "day": "date", "segment": "string", "orders": "int64", "revenue": "decimal(18,2)",
        },
        f"""SELECT CAST(o.created_at AS DATE) AS day, c.segment, CAST(COUNT(*) AS BIGINT) AS orders,
            CAST(SUM(o.amount) AS DECIMAL(18, 2)) AS revenue
            FROM {ORDERS} AS o INNER JOIN {CUSTOMERS} AS c ON o.customer_id = c.customer_id
            WHERE o.status <> 'CANCELLED' GROUP BY CAST(o.created_at AS DATE), c.segment""",
    ),
}  # fmt: skip
TABLES = tuple(_TABLES)
PLACES = ("anywhere", "newest 1 %")


def _contract(name: str) -> Contract:
    key, columns, sql = _TABLES[name]
    given = {
        "table": f"gold.bench.{name}",
        "description": "For the benchmark.",
        "owner": "bench",
        "key": key,
        "columns": {column: {"type": kind} for column, kind in columns.items()},
    }
    return Contract.model_validate(given).model_copy(update={"sql": sql})


def _silver(table: str, key: str) -> Contract:
    given = {
        "table": table,
        "description": "For the benchmark.",
        "owner": "bench",
        "source": {"connector": "postgres", "topic": table},
        "key": [key],
        "columns": {key: {"type": "int64"}},
    }
    return Contract.model_validate(given)


def _catalog() -> Catalog:
    contracts = [_contract(name) for name in TABLES]
    contracts += [_silver(ORDERS, "order_id"), _silver(CUSTOMERS, "customer_id")]
    return Catalog(Path(), {contract.table: contract for contract in contracts})


def _orders(numbers: np.ndarray[Any, Any], customers: int, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    count = len(numbers)
    return pl.DataFrame(
        {
            "order_id": numbers.astype(np.int64),
            "customer_id": random.integers(0, customers, count),
            "status": pl.Series(_STATUS).gather(random.integers(0, 4, count)),
            "amount": pl.Series(random.integers(100, 900_000, count)).cast(pl.Decimal(10, 2)),
            "created_at": pl.Series(1_767_225_600 + random.integers(0, 31_536_000, count)).cast(
                pl.Int64
            )
            * 1_000_000,
            "note": pl.Series(random.integers(0, 10**12, count)).cast(pl.String),
        }
    ).with_columns(pl.col("created_at").cast(pl.Datetime("us", "UTC")))


def _customers(numbers: np.ndarray[Any, Any], seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "customer_id": numbers.astype(np.int64),
            "country": pl.Series(random.integers(0, 60, len(numbers))).cast(pl.String),
            "segment": pl.Series(random.integers(0, 9, len(numbers))).cast(pl.String),
        }
    )


def _put(lake: Lake, table: str, key: str, rows: pl.DataFrame) -> None:
    lake.create(
        table,
        rows.schema,
        stats_columns=[key],
        configuration={"delta.enableDeletionVectors": "true"},
    )
    snapshot = read_snapshot(lake.path(table), lake.options)
    commit_changes(
        snapshot,
        removed=locate(snapshot, rows.select(key), [key], []).select("_file", "_row"),
        added=rows,
        app_transactions={},
        metadata={},
        stats_columns=[key],
    )


def prepare(rows: int, folder: str) -> dict[str, Any]:
    """Silver with a tenth as many customers as orders, and gold built of it."""
    lake = Lake(folder)
    _put(lake, ORDERS, "order_id", _orders(np.arange(rows), rows // 10, 1))
    _put(lake, CUSTOMERS, "customer_id", _customers(np.arange(rows // 10), 2))
    for name in TABLES:
        build(lake, _catalog(), f"gold.bench.{name}", batch_id="first", now=_NOW)
    return {}


def change(rows: int, folder: str, where: str, seed: int) -> dict[str, Any]:
    """0.1 % of the orders become others: `anywhere` in the table, or among the newest 1 %."""
    first = 0 if where == "anywhere" else rows - rows // 100
    numbers = first + np.random.default_rng(seed).choice(rows - first, rows // 1000, replace=False)
    _put(Lake(folder), ORDERS, "order_id", _orders(numbers, rows // 10, seed))
    return {}


def part(folder: str, name: str) -> dict[str, Any]:
    """A build after the change."""
    began, used = time.perf_counter(), time.process_time()
    built = build(Lake(folder), _catalog(), f"gold.bench.{name}", batch_id="next", now=_NOW)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    assert built.computed == "part", built.why
    return {"seconds": seconds, "cpu": cpu, "written": built.added}


def whole(folder: str, name: str) -> dict[str, Any]:
    """The same rows by the SQL alone, written over a table of the same columns; then compared with the part's."""
    lake, contract = Lake(folder), _contract(name)
    kept = lake.scan(contract.table).collect_schema()
    other = lake.create(f"whole.bench.{name}", kept)
    began, used = time.perf_counter(), time.process_time()
    rows = run_sql(contract, {each: lake.scan(each) for each in inputs_of(contract)}).cast(
        dict(kept)
    )
    lake.write(other, rows, mode="overwrite")
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    key = list(contract.key)
    ours = lake.scan(contract.table).collect().sort(key)
    assert ours.equals(rows.select(ours.columns).sort(key))
    return {"seconds": seconds, "cpu": cpu}
