"""quality: what fails, how it went, the worst tables; rules that a table's rows speak for; Data Docs."""

from __future__ import annotations

import json
import sys
import webbrowser
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import AssetsOption, JsonOption, LakeOption, StorageOption
from pipelines.cli.show import err, out, print_records
from pipelines.contract import load_catalog
from pipelines.errors import SettingsError
from pipelines.ingest import open_lake
from pipelines.settings import load_settings
from pipelines.standing import Standing
from pipelines.standing import standing as read_standing
from pipelines.suggest import as_patch
from pipelines.suggest import suggest as propose
from pipelines.validations import docs_folder, validate_missing, write_docs

quality_app = typer.Typer(help="How the rules stand, and which to add.")


@quality_app.callback(invoke_without_command=True)
def quality(
    context: typer.Context,
    lake: LakeOption = None,
    storage: StorageOption = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", help="Only this table; may be repeated.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=90, help="Days to look back.")] = 14,
    as_json: JsonOption = False,
) -> None:
    """Show the rules that fail now, their trend (a bar a day, full: 100 %), and the worst tables.

    Examples:
        medallion quality

        medallion quality --table silver.commerce.orders --days 30 --json
    """
    if context.invoked_subcommand is not None:
        return
    settings = load_settings(lake=lake, storage=storage or ())
    found = read_standing(open_lake(settings), datetime.now(UTC), days=days, tables=table)
    if as_json:
        out.print_json(json.dumps(asdict(found), default=str))
        return
    _say(found, days)


def _say(found: Standing, days: int) -> None:
    if not found.checks:
        out.print(f"no rule was judged in the last {days} days; 'medallion run' judges them")
        return
    out.print(
        f"{len(found.failures):,} of {found.rules:,} rules fail;"
        f" {found.checks:,} checks in the last {days} days"
    )
    if found.failures:
        out.print("\n[bold]Failing now[/bold]")
        print_records(
            [
                {**row, "checked_at": f"{row['checked_at']:%Y-%m-%d %H:%M}"}
                for row in found.failures
            ],
            as_json=False,
        )
        out.print("\n[bold]Worst tables[/bold]")
        print_records(found.tables[:10], as_json=False)


@quality_app.command("suggest")
def quality_suggest(
    table: Annotated[str, typer.Argument(help="The table, as in silver.commerce.orders.")],
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Profile a table and propose rules, each with its evidence, as a patch of its contract.

    Values of classified columns are never shown. What holds is no proof that it must: take what is meant.

    Example:
        medallion quality suggest silver.commerce.orders > rules.yaml
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    found = propose(open_lake(settings), load_catalog(settings.assets), table)
    if as_json:
        out.print_json(json.dumps([asdict(each) for each in found], default=str))
    else:
        sys.stdout.write(as_patch(table, found, datetime.now(UTC)))


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
