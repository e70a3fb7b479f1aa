"""Reports as assets: a domain's page, made anew when the gold that it shows was."""

# Dagster reads the annotations of asset functions at run time and knows no MaterializeResult[...].
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from assets.keys import key_of
from pipelines.contract import Catalog
from pipelines.ingest import open_lake
from pipelines.report import (
    Report,
    listing_of,
    load_each,
    load_reports,
    page_of,
    tables_in,
    write_each,
    write_index,
    write_page,
)
from pipelines.settings import load_settings

Reports = Mapping[str, Sequence[Report]]


def reports_of(catalog: Catalog) -> tuple[Reports, Path | None]:
    """The reports of the domains that the catalog has, and the folder of their pages, if there is one."""
    domains, folder = {c.domain for c in catalog.contracts.values()}, load_settings().reports_folder
    found = load_reports(catalog.root) if folder else {}
    return {domain: each for domain, each in found.items() if domain in domains}, folder


def report_asset(
    catalog: Catalog, reports: Reports, domain: str, folder: Path
) -> dg.AssetsDefinition:
    """The page of a domain's reports, in its group."""
    mine, each = reports[domain], load_each(catalog.root).get(domain, ())
    tables = sorted({table for report in (*mine, *each) for table in tables_in(report)})
    owners = dict.fromkeys(r.owner if "@" in r.owner else f"team:{r.owner}" for r in mine)

    def made() -> dg.MaterializeResult:
        lake, now = open_lake(load_settings()), datetime.now(UTC)
        lists = [(listing_of(report), report.title) for report in each]
        page = write_page(lake, catalog, mine, folder, now, lists)
        more = [write_each(lake, catalog, report, folder, now) for report in each]
        write_index(folder, reports)
        versions = {
            **page.input_versions,
            **{t: v for p in more for t, v in p.input_versions.items()},
        }
        return dg.MaterializeResult(
            metadata={
                **{f"pages_of_{pages.name}": pages.count for pages in more},
                "page": dg.MetadataValue.path(page.file.absolute()),
                "charts": page.charts,
                "size_bytes": page.size_bytes,
                "input_versions": dg.MetadataValue.json(versions),
            },
            data_version=dg.DataVersion(_marked(versions)),
        )

    return dg.asset(
        key=key_of(f"report.{domain}.page"),
        deps=[key_of(table) for table in tables],
        group_name=domain,
        description="; ".join(f"{r.title}: {r.description}" for r in mine),
        kinds={"report"},
        owners=list(owners),
        code_version=_marked([r.model_dump_json() for r in (*mine, *each)]),
    )(made)


def with_links(
    assets: Sequence[dg.AssetsDefinition], reports: Reports, folder: Path
) -> list[dg.AssetsDefinition]:
    """The assets, each with a link to the pages that show it."""
    links = dict[dg.AssetKey, dict[str, Any]]()
    for domain, mine in reports.items():
        # A path, since a browser opens no file from Dagster's page.
        page = dg.MetadataValue.path((folder / page_of(domain)).absolute())
        for table in {table for report in mine for table in tables_in(report)}:
            links.setdefault(key_of(table), {})[f"report_{domain}"] = page

    def linked(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.merge_attributes(metadata=links.get(spec.key, {}))

    return [asset.map_asset_specs(linked) for asset in assets]


def _marked(told: object) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
