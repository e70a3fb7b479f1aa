"""quality: what the rules found, where people look."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import AssetsOption, LakeOption, StorageOption
from pipelines.cli.show import err, out
from pipelines.contract import load_catalog
from pipelines.errors import SettingsError
from pipelines.ingest import open_lake
from pipelines.settings import load_settings
from pipelines.validations import docs_folder, validate_missing, write_docs

quality_app = typer.Typer(help="What the rules found.", no_args_is_help=True)


@quality_app.command("docs")
def docs_command(
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="The folder to write. [_data_docs in a lake on this machine]"),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Validate every table anew first.")
    ] = False,
    open_browser: Annotated[bool, typer.Option("--open", help="Open them in a browser.")] = False,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
) -> None:
    """Write the Data Docs of Great Expectations: pages that open from the disk, without a network.

    They show the newest validation of each table: every rule as an expectation, how many rows break
    it and the keys of some. A table that was never validated is validated first.

    Example:

        medallion quality docs --open
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    the_lake = open_lake(settings)
    where = folder or docs_folder(the_lake)
    if where is None:
        raise SettingsError(
            "the lake is on an object store, and Data Docs are pages of a folder",
            hint="give --out FOLDER",
        )
    with err.status("Great Expectations judges what it has not judged yet"):
        judged = validate_missing(the_lake, load_catalog(settings.assets), again=again)
        index = write_docs(the_lake, where)
    out.print(f"{len(judged)} tables validated; the pages begin at {index}", soft_wrap=True)
    if open_browser:
        webbrowser.open(index.absolute().as_uri())
