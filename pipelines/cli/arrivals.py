"""upload, pull: rows that come as files, or from APIs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from pipelines.cli.options import (
    AssetsOption,
    JsonOption,
    LakeOption,
    StorageOption,
    TablesArgument,
)
from pipelines.cli.show import err, out
from pipelines.contract import load_catalog
from pipelines.errors import MedallionError, SettingsError
from pipelines.files.fault import report
from pipelines.files.inbox import take_inbox
from pipelines.files.upload import Uploaded, Verdict, upload
from pipelines.ingest import open_lake
from pipelines.pull.pull import Pulled, client_of, pull, pullable
from pipelines.settings import load_settings

app = typer.Typer()


class SetAsideError(MedallionError):
    """Files were set aside; their reports say where, why and what next."""

    exit_code: ClassVar[int] = 26


@app.command("upload")
def upload_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="CSV files; their names tell the tables. All of the inbox when left out."
        ),
    ] = None,
    inbox: Annotated[
        Path | None, typer.Option(help="A folder to take every file from. [MEDALLION_INBOX]")
    ] = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check CSV files against their contracts and land their rows in bronze, each file once.

    A file with a fault is set aside whole, and the report tells file, line, column, reason and what to
    do next; the exit code is then 26. The same bytes again, under whatever name, change nothing.

    Examples:

        medallion upload campaign_days_2026-05.csv

        medallion upload --inbox /srv/inbox
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or (), inbox=inbox)
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    done = list[Uploaded]()
    if files:
        for path in files:
            if not path.is_file():
                raise SettingsError(f"there is no file {path}", hint="give the files, or --inbox a folder of them")  # fmt: skip
            done.append(upload(target, catalog, path, now=datetime.now(UTC)))
    elif settings.inbox is not None:
        done += take_inbox(target, catalog, settings.inbox, now=datetime.now(UTC))
    else:
        raise SettingsError("no file and no inbox is named", hint="give files, --inbox or MEDALLION_INBOX")  # fmt: skip
    _say(done, as_json=as_json)
    if aside := [each.name for each in done if each.verdict is Verdict.SET_ASIDE]:
        raise SetAsideError(f"{len(aside)} of {len(done)} files were set aside: {', '.join(aside)}", hint="mend them and upload them again")  # fmt: skip


@app.command("pull")
def pull_command(
    tables: TablesArgument = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read what APIs have of tables into bronze, from where the last pull ended, page by page.

    Where an API is, and the token that opens it, is in MEDALLION_API_<NAME>_URL and _TOKEN. What says
    nothing new lands nothing.

    Examples:

        medallion pull

        medallion pull silver.marketing.campaigns
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    done = list[Pulled]()
    for table in tables or pullable(catalog):
        client = client_of(settings, catalog[table])
        done.append(pull(target, catalog, table, client, now=datetime.now(UTC)))
    if as_json:
        out.print_json(json.dumps([asdict(each) for each in done]))
        return
    for each in done:
        out.print(f"{each.table}: {each.rows:,} new rows of {each.items:,} items on {each.pages:,} pages", highlight=False)  # fmt: skip
    if not done:
        out.print("no contract names an API")


def _say(done: Sequence[Uploaded], *, as_json: bool) -> None:
    if as_json:
        out.print_json(json.dumps([asdict(each) for each in done]))
        return
    for each in done:
        if each.verdict is Verdict.SET_ASIDE:
            err.print(report(each.name, each.faults).rstrip(), highlight=False, markup=False)
        else:
            more = f", {each.equal_rows} lines stood twice" if each.equal_rows else ""
            out.print(f"{each.name}: {each.rows:,} rows of {each.table} {each.verdict}{more}", highlight=False)  # fmt: skip
    if not done:
        out.print("the inbox is empty")
