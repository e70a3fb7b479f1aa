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
from pipelines.report import load_reports, write_index, write_page
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
    for domain in dict.fromkeys(domains or known):
        page = write_page(place, catalog, known[domain], folder, datetime.now(UTC))
        out.print(f"{domain}: {page.charts} charts, {page.size_bytes / 1e3:,.0f} kB: {page.file}")
    out.print(str(write_index(folder, known)))
