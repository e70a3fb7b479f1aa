"""A shop of three silver tables, changes to them, and one gold table of any SQL over them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.contract import Catalog, load_catalog
from pipelines.delta import commit_changes, locate, read_snapshot
from pipelines.gold import result_over
from pipelines.storage import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORDERS, CUSTOMERS, RATES = "silver.shop.orders", "silver.shop.customers", "silver.shop.rates"

SCHEMAS: dict[str, dict[str, pl.DataType]] = {
    ORDERS: {
        "order_id": pl.Int64(),
        "customer_id": pl.Int64(),
        "day": pl.Datetime("us", "UTC"),
        "status": pl.String(),
        "amount": pl.Decimal(10, 2),
        "units": pl.Int64(),
    },
    CUSTOMERS: {"customer_id": pl.Int64(), "country": pl.String(), "parent_id": pl.Int64()},
    RATES: {
        "rate_id": pl.Int64(),
        "country": pl.String(),
        "from_day": pl.Datetime("us", "UTC"),
        "to_day": pl.Datetime("us", "UTC"),
        "factor": pl.Int64(),
    },
}
KEYS = {ORDERS: "order_id", CUSTOMERS: "customer_id", RATES: "rate_id"}

Row = tuple[Any, ...]
Change = dict[str, tuple[dict[int, Row], set[int]]]

GOLD = "gold.shop.a"


def day(number: int) -> datetime:
    return NOW + timedelta(hours=13 * number)


def shop(folder: Path) -> Lake:
    lake = Lake(str(folder / "lake"))
    for table, schema in SCHEMAS.items():
        lake.create(table, schema, configuration={"delta.enableDeletionVectors": "true"})
    return lake


def change(lake: Lake, what: Change) -> None:
    for table, (upserts, deletes) in what.items():
        key = KEYS[table]
        snapshot = read_snapshot(lake.path(table), {})
        touched = pl.DataFrame({key: [*upserts, *deletes]}, schema={key: pl.Int64})
        rows = [(identity, *values) for identity, values in upserts.items()]
        commit_changes(
            snapshot,
            removed=locate(snapshot, touched, [key], []).select("_file", "_row"),
            added=pl.DataFrame(rows, schema=SCHEMAS[table], orient="row"),
            app_transactions={},
            metadata={},
            stats_columns=[key],
        )


def not_null(sql: str, keys: list[str]) -> str:
    """Gold has no row without a key."""
    kept = " AND ".join(f"q.{name} IS NOT NULL" for name in keys)
    return f"SELECT q.* FROM ({sql}) q WHERE {kept}"


TYPES = {pl.Int64(): "int64", pl.String(): "string", pl.Float64(): "float64", pl.Boolean(): "bool"}


def type_name(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Decimal):
        return f'"decimal({dtype.precision},{dtype.scale})"'
    return "timestamp" if dtype == pl.Datetime("us", "UTC") else TYPES[dtype]


def typed(sql: str) -> tuple[str, dict[str, pl.DataType]]:
    """The SQL with its small integers made int64, and the columns it gives."""
    frames = {table: pl.LazyFrame(schema=schema) for table, schema in SCHEMAS.items()}
    schema = pl.SQLContext(frames).execute(sql, eager=False).collect_schema()
    small = [name for name, dtype in schema.items() if dtype.is_integer() and dtype != pl.Int64()]
    columns = ", ".join(
        f"CAST(z.{name} AS BIGINT) AS {name}" if name in small else f"z.{name}" for name in schema
    )
    types = {name: pl.Int64() if name in small else dtype for name, dtype in schema.items()}
    return (f"SELECT {columns} FROM ({sql}) z" if small else sql), types


def silver_contracts(folder: Path) -> None:
    """The contracts of the silver tables, which tell their keys."""
    path = folder / "assets" / "shop" / "silver"
    path.mkdir(parents=True, exist_ok=True)
    for table, key in KEYS.items():
        name = table.rsplit(".", 1)[-1]
        (path / f"{name}.yaml").write_text(
            f"table: {table}\ndescription: d\nowner: o\nkey: [{key}]\n"
            f"source: {{connector: postgres, topic: shop.public.{name}}}\n"
            f"columns: {{{key}: {{type: int64}}}}\n"
        )


def contract_for(folder: Path, sql: str, keys: list[str]) -> Catalog:
    sql, types = typed(not_null(sql, keys))
    columns = {name: f"{{type: {type_name(dtype)}}}" for name, dtype in types.items()}
    columns["etl"] = "{type: string}"
    path = folder / "assets" / "shop" / "gold" / "a.yaml"
    path.parent.mkdir(parents=True)
    text = ", ".join(f"{name}: {kind}" for name, kind in columns.items())
    path.write_text(
        f"table: {GOLD}\ndescription: d\nowner: o\nbatch_id: etl\nkey: [{', '.join(keys)}]\ncolumns: {{{text}}}\n"
    )
    path.with_suffix(".sql").write_text(sql)
    silver_contracts(folder)
    return load_catalog(folder / "assets")


def whole(lake: Lake, catalog: Catalog) -> pl.DataFrame:
    frames = {table: lake.scan(table) for table in SCHEMAS}
    return result_over(catalog[GOLD], frames).sort(pl.all())
