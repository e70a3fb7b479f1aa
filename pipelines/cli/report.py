"""report: pages with plots for people, one a domain."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import AssetsOption, LakeOption, StorageOption
from pipelines.cli.show import out
from pipelines.contract import did_you_mean, load_catalog
from pipelines.errors import SettingsError
from pipelines.ingest import open_lake
from pipelines.report import (
    listing_of,
    load_each,
    load_reports,
    write_each,
    write_index,
    write_page,
)
from pipelines.settings import load_settings

app = typer.Typer()


@app.command()
def report(
    domains: Annotated[
        list[str] | None,
        typer.Argument(help="Domains, as in commerce; all when left out.", show_default=False),
    ] = None,
    out_folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The folder to write. [MEDALLION_REPORTS, else _reports in a lake on this machine]",
            show_default=False,
        ),
    ] = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
) -> None:
    """Write pages with plots of gold, which open from the disk without a network.

    A domain's reports are files in its folder `reports`: SQL over gold, and how its rows are drawn. A
    report that shows a classified column is refused.

    Examples:

        medallion report

        medallion report commerce --out public/reports
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    catalog = load_catalog(settings.assets)
    known, folder = load_reports(catalog.root), out_folder or settings.reports_folder
    if folder is None:
        raise SettingsError(
            "the lake is no folder of this machine", hint="say --out or set MEDALLION_REPORTS"
        )
    for domain in domains or ():
        if domain not in known:
            raise SettingsError(
                f"domain '{domain}' has no reports",
                hint=did_you_mean(domain, known) or f"these have: {', '.join(known) or 'none'}",
            )
    place = open_lake(settings)
    each = load_each(catalog.root)
    for domain in dict.fromkeys(domains or known):
        own, now = each.get(domain, ()), datetime.now(UTC)
        lists = [(listing_of(report), report.title) for report in own]
        page = write_page(place, catalog, known[domain], folder, now, lists)
        out.print(f"{domain}: {page.charts} charts, {page.size_bytes / 1e3:,.0f} kB: {page.file}")
        for report in own:
            pages = write_each(place, catalog, report, folder, now)
            out.print(f"{domain}: {pages.count} pages of {report.title}: {pages.listing}")
    out.print(str(write_index(folder, known)))
