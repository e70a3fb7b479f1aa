"""replay: silver made once more from bronze, to compare or to look at."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import (
    AssetsOption,
    JsonOption,
    LakeOption,
    StorageOption,
    TablesArgument,
)
from pipelines.cli.show import counter, err, print_records
from pipelines.contract import load_catalog
from pipelines.errors import ReplayError, SettingsError
from pipelines.ingest import open_lake
from pipelines.refine import chosen
from pipelines.replay import Replayed, check, has_come, make
from pipelines.settings import load_settings

app = typer.Typer()


@app.command()
def replay(
    tables: TablesArgument = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    check_only: Annotated[
        bool, typer.Option("--check", help="Compare with what is stored; the lake is only read.")
    ] = False,
    into: Annotated[
        Path | None,
        typer.Option(help="Leave what bronze makes of one table in this new folder."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make silver once more from bronze, cut into other pieces, and compare it with what is stored.

    Silver, quarantine, history and tombstones must come out the same whatever the pieces. Keys of
    differing rows are named (classified ones as a hash), values never. Nothing in the lake changes.

    Examples:
        medallion replay --check

        medallion replay silver.commerce.orders --check --json

        medallion replay silver.commerce.orders --into /tmp/orders
    """
    if check_only == (into is not None):
        raise SettingsError(
            "replay takes either --check or --into FOLDER: it never writes to the lake",
            hint="'medallion replay TABLE --check' compares, and a deleted table is made anew by 'medallion apply'",
        )
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    wanted, now = chosen(catalog, "silver", tables), datetime.now(UTC)
    if into is not None:
        if len(wanted) != 1:
            raise SettingsError("--into takes one silver table", hint="name it before --into")
        with counter("events replayed") as advance:
            made = make(target, catalog, wanted[0], str(into), now=now, progress=advance)
        print_records([{"table": name} for name in made.tables()], as_json=as_json)
        return
    there = [table for table in wanted if tables or has_come(target, catalog[table])]
    with counter("events replayed") as advance:
        done = [check(target, catalog, table, now=now, progress=advance) for table in there]
    _say(done, as_json=as_json)


def _say(done: list[Replayed], *, as_json: bool) -> None:
    """The reports; then each differing row on stderr, and an error when there is one."""
    reports = [asdict(each) for each in done]
    if not as_json:
        for report in reports:
            del report["differences"]
    print_records(reports, as_json=as_json)
    for each in done:
        for row in each.differences:
            err.print(f"{row.place} {row.key} at {row.position}: {row.what}", highlight=False)
        if each.differing > len(each.differences):
            err.print(f"{each.table}: and {each.differing - len(each.differences):,} more")
    wrong = [each for each in done if each.differing]
    if wrong:
        names = ", ".join(f"{each.table} ({each.differing:,} rows)" for each in wrong)
        old = sum(each.other_version for each in wrong)
        raise ReplayError(
            f"not what bronze makes: {names}",
            hint=f"{old:,} of the rows were written under another version of the contract or of the code"
            if old
            else "'medallion replay TABLE --into FOLDER' leaves what bronze makes, to look at",
        )
