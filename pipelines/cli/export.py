"""export: what leaves the lake as files."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import AssetsOption, JsonOption, LakeOption, StorageOption
from pipelines.cli.show import finish
from pipelines.contract import load_catalog
from pipelines.errors import SettingsError
from pipelines.export import Exports
from pipelines.ingest import open_lake
from pipelines.refine import chosen, export_all
from pipelines.run_events import told_events
from pipelines.settings import load_settings

app = typer.Typer()


@app.command("export")
def export_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Exports, as in export.commerce.daily_revenue.", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every export.")] = False,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write exports: files made by SQL under contracts, below MEDALLION_EXPORTS.

    A file is written whole or not at all, and left alone where it would not change. A classified
    column leaves under its class, masked, or not.

    Examples:
        medallion export export.commerce.daily_revenue

        medallion export --all --json
    """
    if bool(names) == every:
        raise SettingsError(
            "name exports, or say --all", hint="'medallion contract check' lists them"
        )
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    catalog, source = load_catalog(settings.assets), open_lake(settings)
    wanted = chosen(catalog, "export", names)
    to = Exports(settings.exports_root, settings.storage)
    with told_events(settings, source, catalog, "medallion.export") as events:
        finish(*export_all(source, catalog, wanted, to, events=events), as_json=as_json)
