"""What Dagster shows of a table: columns, lineage, owners, and what a run did to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg

from assets.keys import key_of
from lineage.catalog.links import table_page
from lineage.graph import TableLineage
from lineage.render import markdown_table
from pipelines.catalog.describe import contract_facts
from pipelines.contract import Column, Contract
from pipelines.contract.rules import rules_of
from pipelines.gold import Built
from pipelines.silver import Applied
from quality_rules.rule import Rule

_LAYER_KINDS = {
    "bronze": {"bronze", "kafka", "deltalake"},
    "silver": {"silver", "deltalake", "polars"},
    "gold": {"gold", "deltalake", "sql"},
    "export": {"export", "sql"},
}


def kinds(layer: str) -> set[str]:
    """The badges of a layer's assets."""
    return _LAYER_KINDS[layer]


def owners(contract: Contract) -> list[str]:
    """The owner as Dagster writes it: an address, or a team."""
    return [contract.owner if "@" in contract.owner else f"team:{contract.owner}"]


def definition_metadata(
    contract: Contract, lineage: TableLineage, catalog: str | None = None
) -> dict[str, Any]:
    """What is known of a table before it is made, with its page where the catalog lies."""
    metadata: dict[str, Any] = {
        "dagster/table_name": contract.table,
        "dagster/column_schema": column_schema(contract),
        "contract_version": contract.version,
        **{
            label.lower().replace(" ", "_"): said
            for label, said in contract_facts(contract).items()
        },
        "lineage": dg.MetadataValue.md(markdown_table(lineage)),
    }
    if contract.sql:
        metadata["sql"] = dg.MetadataValue.md(f"```sql\n{contract.sql}\n```")
    if catalog:
        metadata["catalog"] = _page(catalog, contract.table)
    return metadata


def _page(catalog: str, table: str) -> dg.MetadataValue[Any]:
    """A link to a table's page; of a folder its path, since a browser opens no file from Dagster's page."""
    if "://" in catalog:
        return dg.MetadataValue.url(f"{catalog.rstrip('/')}/{table_page(table)}")
    return dg.MetadataValue.path(Path(catalog).absolute() / table_page(table))


def source_metadata(contract: Contract) -> dict[str, Any]:
    """What is known of a source table: the fields that the contract reads, and its topic."""
    fields = [
        dg.TableColumn(
            name=contract.field_of(name),
            type=str(column.type),
            description=column.description or None,
            tags={"classification": column.classification},
        )
        for name, column in contract.columns.items()
    ]
    return {
        "dagster/column_schema": dg.TableSchema(columns=fields),
        "topic": contract.source.topic if contract.source else "",
    }


def bronze_metadata(
    bronze: str, topic: str, schema: Mapping[str, object], lineage: TableLineage
) -> dict[str, Any]:
    """What is known of a bronze table before it is filled."""
    columns = [dg.TableColumn(name=name, type=str(dtype)) for name, dtype in schema.items()]
    return {
        "dagster/table_name": bronze,
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "lineage": dg.MetadataValue.md(markdown_table(lineage)),
        "topic": topic,
    }


def column_schema(contract: Contract) -> dg.TableSchema:
    """The contract's columns with types, descriptions, constraints and classification."""
    rules = rules_of(contract)
    return dg.TableSchema(
        columns=[_column(name, column, rules) for name, column in contract.columns.items()]
    )


def _column(name: str, column: Column, rules: Sequence[Rule]) -> dg.TableColumn:
    mine = [rule for rule in rules if rule.columns == (name,)]
    told = [
        f"{rule.name} ({rule.severity.value})"
        for rule in mine
        if not rule.name.endswith(("_required", "_unique"))
    ]
    return dg.TableColumn(
        name=name,
        type=str(column.type),
        description=column.description or None,
        constraints=dg.TableColumnConstraints(
            nullable=not any(rule.name == f"{name}_required" for rule in mine),
            unique=column.unique,
            other=told,
        ),
        tags={"classification": column.classification},
    )


def column_lineage(lineage: TableLineage) -> dg.TableColumnLineage:
    """The columns that feed each column, as Dagster stores them."""
    return dg.TableColumnLineage(
        deps_by_column={
            column: [
                dg.TableColumnDep(asset_key=_upstream(table), column_name=name)
                for table, name in sorted({(source.table, source.column) for source in sources})
            ]
            for column, sources in lineage.columns.items()
        }
    )


def _upstream(table: str) -> dg.AssetKey:
    return source_key(table) if ":" in table else key_of(table)


def source_key(source: str) -> dg.AssetKey:
    """The key of a source table: `postgres:shop.public.orders` is postgres/shop/public/orders."""
    connector, _, name = source.partition(":")
    return dg.AssetKey([connector, *name.split(".")])


def run_metadata(
    report: Applied | Built, rows: int, lineage: TableLineage, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """What a run did: counts, versions and positions; each number gets a plot in the UI."""
    told = {
        name: value
        for name, value in asdict(report).items()
        if value is not None and name not in ("table", "rows", "notices")
    }
    if isinstance(report, Applied) and report.position is not None:
        told["position"] = "/".join(str(part) for part in report.position)
    if isinstance(report, Applied) and report.notices:
        told["source_changed"] = dg.MetadataValue.md(
            "\n".join(f"- {each}" for each in report.notices)
        )
    if isinstance(report, Built):
        told["input_versions"] = dg.MetadataValue.json(dict(report.input_versions))
    return {
        "dagster/row_count": rows,
        "dagster/column_lineage": column_lineage(lineage),
        **told,
        **extra,
    }
