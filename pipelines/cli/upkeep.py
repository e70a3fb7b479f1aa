"""maintain: tables kept small and quick to read."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from pipelines.cli.options import JsonOption, LakeOption, StorageOption, TablesArgument
from pipelines.cli.show import note, out
from pipelines.contract import did_you_mean
from pipelines.errors import QueryError
from pipelines.ingest import open_lake
from pipelines.settings import load_settings
from pipelines.upkeep import RETENTION_HOURS, keep_up

app = typer.Typer()


@app.command()
def maintain(
    tables: TablesArgument = None,
    lake: LakeOption = None,
    storage: StorageOption = None,
    vacuum: Annotated[
        bool, typer.Option("--vacuum", help="Delete files that no younger version names.")
    ] = False,
    retain_hours: Annotated[
        int, typer.Option(help="How long a version stays readable with --vacuum.", min=0)
    ] = RETENTION_HOURS,
    as_json: JsonOption = False,
) -> None:
    """Fold dead rows away and put small files together; rows stay what they are.

    Runs beside capture, apply and queries: a table that is written meanwhile is left for the next time.

    Examples:
        medallion maintain

        medallion maintain silver.commerce.orders --vacuum --retain-hours 24
    """
    target = open_lake(load_settings(lake=lake, storage=storage or ()))
    known = target.tables()
    for table in tables or ():
        if table not in known:
            raise QueryError(f"'{table}' is not in the lake", hint=did_you_mean(table, known))
    done = keep_up(
        target,
        tables or known,
        retention_hours=retain_hours if vacuum else None,
        skipped=lambda table, error: note(f"{table}: left for the next time: {error}"),
    )
    if as_json:
        out.print_json(
            data=[{name: getattr(each, name) for name in each.__slots__} for each in done]
        )
        return
    shown = Table("table", "files", "now", "dead rows taken out", "files deleted", box=None)
    for each in (kept for kept in done if kept.changed):
        numbers = (each.files, each.into, each.dead, each.deleted)
        shown.add_row(each.table, *(f"{number:,}" for number in numbers))
    out.print(shown if shown.row_count else "nothing is worth it")
