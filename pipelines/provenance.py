"""What feeds what, from the same contracts and SQL that run: each table's lineage, and all of it as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import polars as pl

from lineage.cache import Traces
from lineage.errors import LineageError
from lineage.flow import Source
from lineage.graph import LineageGraph, TableLineage
from lineage.layers import capture_lineage, silver_lineage, sql_lineage
from lineage.records import SCHEMA, lineage_rows
from pipelines.bronze import BRONZE
from pipelines.contract import Catalog, Contract
from pipelines.contract.source import TIME
from pipelines.errors import ContractError
from pipelines.gold import order_of
from pipelines.history import history_schema
from pipelines.privacy import with_masks
from pipelines.state import quarantine_schema, silver_schema
from pipelines.storage import Lake

#: What this process traced before: commands and Dagster ask for the same lineage many times.
_TRACES = Traces()

LINEAGE = "system.main.data_lineage"

#: Columns of silver that come from bronze's own columns.
_CARRIED = {
    "source_bronze_id": "event_id",
    "source_timestamp": "event_timestamp",
    "source_epoch": "source_epoch",
    "source_commit": "source_commit",
    "source_event": "source_event",
    "source_offset": "kafka_offset",
}


def source_of(contract: Contract) -> str:
    """The source table behind a silver table, as `postgres:shop.public.orders`."""
    source = contract.source
    return f"{source.connector}:{source.topic}" if source else ""


def lineage_of(catalog: Catalog) -> dict[str, TableLineage]:
    """The lineage of every table, by its name.

    Raises:
        ContractError: when a gold table's SQL names what is not there, with file, line and column.
    """
    found, failed = known_lineage(catalog)
    for error in failed.values():
        raise error
    return found


def known_lineage(catalog: Catalog) -> tuple[dict[str, TableLineage], dict[str, ContractError]]:
    """The lineage of every table that has one, and why the others have none.

    Raises:
        ContractError: when gold tables read each other in a circle.
    """
    found = dict[str, TableLineage]()
    for contract in catalog.layer("silver"):
        for entry in _silver_tables(contract):
            found[entry.table] = entry
    failed, schema = dict[str, ContractError](), columns_of(catalog)
    for table in [*order_of(catalog), *(c.table for c in catalog.layer("export"))]:
        try:
            found[table] = _sql_table(catalog[table], schema)
        except ContractError as error:
            failed[table] = error
    return found, failed


def columns_of(catalog: Catalog) -> dict[str, Mapping[str, str]]:
    """The columns of every table that SQL may read, with the names of their types."""
    known: dict[str, Mapping[str, str]] = {
        table: {name: str(dtype) for name, dtype in schema.items()}
        for table, schema in schemas_of(catalog).items()
    }
    for contract in catalog.layer("gold"):
        known[contract.table] = {
            name: str(column.type) for name, column in contract.columns.items()
        }
    return known


def schemas_of(catalog: Catalog) -> dict[str, Mapping[str, pl.DataType]]:
    """The columns of every table that SQL may read, with the types they are stored in."""
    known = dict[str, Mapping[str, pl.DataType]]()
    for contract in catalog.layer("silver"):
        for table, schema in (
            (contract.table, silver_schema(contract)),
            (contract.sibling("history"), history_schema(contract)),
            (contract.sibling("quarantine"), quarantine_schema(contract)),
            (contract.bronze, BRONZE),
        ):
            known[table] = dict(schema)
    for contract in catalog.layer("gold"):
        known[contract.table] = {
            name: column.type.stored for name, column in contract.columns.items()
        }
    return known


def keep_lineage(lake: Lake, catalog: Catalog, now: datetime) -> int:
    """The lineage as rows of `data_lineage`; the number of its rows.

    A new version is written when it differs from what is there, so that the table's own versions
    are the past of the lineage. An edge keeps the time at which it first was: `created_at`.
    """
    made = [_with_version(catalog, entry) for entry in lineage_of(catalog).values()]
    rows = lineage_rows(LineageGraph.of(made), now)
    handle = lake.create(LINEAGE, SCHEMA)
    compared = [name for name in rows.columns if name != "created_at"]
    old = lake.scan_handle(handle).collect()
    if not old.select(compared).sort("lineage_id").equals(rows.select(compared).sort("lineage_id")):
        first = old.select("lineage_id", pl.col("created_at").alias("first"))
        since = pl.coalesce("first", "created_at").alias("created_at")
        known = rows.join(first, on="lineage_id", how="left", maintain_order="left")
        lake.write(handle, known.with_columns(since).select(rows.columns), mode="overwrite")
    return len(rows)


def _with_version(catalog: Catalog, entry: TableLineage) -> TableLineage:
    """The entry with the version of the contract that says it."""
    by_bronze = {contract.bronze: contract for contract in catalog.layer("silver")}
    name = entry.table.replace("history.", "silver.", 1)
    contract = by_bronze.get(name) or catalog[name]
    return replace(entry, config={**entry.config, "contract_version": contract.version})


def _silver_tables(contract: Contract) -> list[TableLineage]:
    every = {name: contract.field_of(name) for name in contract.columns}
    fields = {name: field for name, field in every.items() if field != TIME}
    carried = {**_CARRIED, **dict.fromkeys(every.keys() - fields.keys(), "event_timestamp")}
    source = contract.source
    captured = capture_lineage(
        source_of(contract), source.topic if source else "", contract.bronze, list(fields.values())
    )
    silver = silver_lineage(contract.bronze, contract.table, fields, carried=carried)
    if not contract.history:
        return [captured, silver]
    history = silver_lineage(
        contract.bronze,
        contract.sibling("history"),
        fields,
        carried={**carried, "valid_from": "event_timestamp"},
        kind="HISTORY",
    )
    return [captured, silver, history]


def _sql_table(contract: Contract, schema: Mapping[str, Mapping[str, str]]) -> TableLineage:
    try:
        kind = "EXPORT" if contract.layer == "export" else "DIMENSIONAL_MODEL"
        traced = sql_lineage(contract.table, contract.sql or "", schema, kind, traces=_TRACES)
    except LineageError as error:
        raise ContractError(f"{contract.path.with_suffix('.sql')}: {error}") from error
    made: dict[str, tuple[Source, ...]] = {
        name: () for name in contract.columns if name not in traced.columns
    }
    if contract.forecast is not None:
        of = dict.fromkeys(
            replace(s, transformation="expression")
            for s in traced.columns.get(contract.forecast.of, ())
        )
        made |= dict.fromkeys(("forecast", "lower", "upper", "naive"), tuple(of))
    if contract.surrogate_key is not None:
        natural = (s for name in contract.surrogate_key.of for s in traced.columns.get(name, ()))
        numbered = dict.fromkeys(replace(s, transformation="expression") for s in natural)
        made[contract.surrogate_key.column] = tuple(numbered)
    return with_masks(contract, replace(traced, columns={**traced.columns, **made}))
