"""catalog: the site that shows every table, its columns, rules, sizes, and where each value comes from."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from lineage.catalog.site import NotACatalogError, write_site
from pipelines.catalog import site_of
from pipelines.cli.options import AssetsOption, LakeOption, StorageOption
from pipelines.cli.show import out
from pipelines.contract import load_catalog
from pipelines.errors import SettingsError
from pipelines.ingest import open_lake
from pipelines.settings import load_settings

app = typer.Typer()


@app.command("catalog")
def catalog_command(
    out_folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The folder to write; an older catalog there is replaced. [MEDALLION_CATALOG, else catalog]",
            show_default=False,
        ),
    ] = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
) -> None:
    """Write the catalog: pages that open from the disk, with search, lineage graph and privacy map.

    They show contracts, SQL, and what the lake's logs and quality results say; never a row's values.
    Where MEDALLION_CATALOG says where they are read (a URL, or a folder), Dagster links assets to them.

    Example:

        medallion catalog --out public/catalog
    """
    began = time.monotonic()
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    folder = out_folder or Path(_folder(settings.catalog) or "catalog")
    site = site_of(load_catalog(settings.assets), open_lake(settings), datetime.now(UTC))
    try:
        written = write_site(site, folder)
    except NotACatalogError as error:
        raise SettingsError(str(error), hint="give --out a folder of its own") from error
    except OSError as error:
        raise SettingsError(
            f"{folder}: cannot be written: {error.strerror}",
            hint="choose another folder with --out",
        ) from error
    out.print(
        f"{len(site.tables):,} tables on {written.pages:,} pages, {written.size_bytes / 1e6:.1f} MB, "
        f"in {time.monotonic() - began:.1f} s: {folder / 'index.html'}"
    )


def _folder(catalog: str | None) -> str | None:
    """Where to write what is read at `catalog`: a URL is no folder, so somebody else publishes there."""
    return None if catalog is None or "://" in catalog else catalog
