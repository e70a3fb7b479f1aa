"""What Dagster loads: every contract below MEDALLION_ASSETS as assets, checks, a schedule and a sensor."""

from __future__ import annotations

import dagster as dg

from assets.arrivals import inbox_sensor
from assets.exporting import export_asset
from assets.factory import bronze_assets, gold_asset, lineage_asset, silver_asset, source_assets
from assets.reporting import report_asset, reports_of, with_links
from assets.schedules import alerts_sensor, everything, news_sensor, nightly, upkeep, upkeep_nightly
from pipelines.contract import Catalog, load_catalog
from pipelines.provenance import lineage_of
from pipelines.settings import load_settings


def definitions_of(catalog: Catalog) -> dg.Definitions:
    """The definitions of a folder of domains."""
    lineage = lineage_of(catalog)
    silver = [
        silver_asset(catalog, contract, lineage[contract.table])
        for contract in catalog.layer("silver")
    ]
    gold = [
        gold_asset(catalog, contract, lineage[contract.table]) for contract in catalog.layer("gold")
    ]
    exports = [
        export_asset(catalog, contract, lineage[contract.table])
        for contract in catalog.layer("export")
    ]
    reports, folder = reports_of(catalog)
    pages = list[dg.AssetsDefinition]()
    if folder is not None:
        gold = with_links(gold, reports, folder)
        pages = [report_asset(catalog, reports, domain, folder) for domain in reports]
    return dg.Definitions(
        assets=[
            *source_assets(catalog),
            bronze_assets(catalog, lineage),
            *silver,
            *gold,
            *exports,
            *pages,
            lineage_asset(catalog),
        ],
        jobs=[everything, upkeep],
        schedules=[nightly, upkeep_nightly],
        sensors=[news_sensor(catalog), inbox_sensor(), alerts_sensor(catalog)],
        # One process: tables share what is warm, and a step costs 20 ms instead of a start of 2 s.
        executor=dg.in_process_executor,
    )


@dg.definitions
def definitions() -> dg.Definitions:
    """The definitions of this process's settings."""
    return definitions_of(load_catalog(load_settings().assets))
