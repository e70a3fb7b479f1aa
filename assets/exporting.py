"""Exports as assets: each a file made of the tables above it."""

# Dagster reads the annotations of asset functions at run time and knows no MaterializeResult[...].
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

from dataclasses import asdict
from typing import Any

import dagster as dg

from assets.describe import column_lineage, definition_metadata, kinds, owners
from assets.keys import key_of
from assets.staleness import code_version
from assets.telling import run_events
from lineage.graph import TableLineage
from pipelines.contract import Catalog, Contract
from pipelines.export import Exports
from pipelines.gold import inputs_of
from pipelines.ingest import open_lake
from pipelines.refine import export_all
from pipelines.settings import load_settings


def export_asset(
    catalog: Catalog, contract: Contract, lineage: TableLineage
) -> dg.AssetsDefinition:
    """An export, in its domain's group; its version is its file's content."""
    form = contract.export.format if contract.export else ""

    @dg.asset(
        key=key_of(contract.table),
        deps=sorted({key_of(name) for name in inputs_of(contract)}),
        group_name=contract.domain,
        description=contract.description,
        kinds={*kinds("export"), form},
        owners=owners(contract),
        tags=dict.fromkeys(contract.tags, ""),
        metadata=definition_metadata(contract, lineage, load_settings().catalog),
        code_version=code_version(contract),
    )
    def made(context: dg.AssetExecutionContext) -> Any:
        settings = load_settings()
        lake = open_lake(settings)
        to, events = (
            Exports(settings.exports_root, settings.storage),
            run_events(context, lake, catalog),
        )
        done, failed = export_all(lake, catalog, [contract.table], to, events=events)
        for error in failed.values():
            raise error
        (report,) = done
        told = {
            name: value for name, value in asdict(report).items() if name not in ("table", "rows")
        }
        return dg.MaterializeResult(
            metadata={
                **told,
                "dagster/row_count": report.rows,
                "dagster/column_lineage": column_lineage(lineage),
            },
            data_version=dg.DataVersion(report.sha256),
        )

    return made
