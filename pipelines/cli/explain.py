"""explain: the silver rows, bronze events and Kafka offsets behind one row of gold."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from pipelines.cli.options import AssetsOption, JsonOption, LakeOption, StorageOption
from pipelines.cli.show import Format, err, out, print_rows
from pipelines.contract import load_catalog
from pipelines.explain import Explanation, Step, explain
from pipelines.ingest import open_lake
from pipelines.settings import load_settings

app = typer.Typer()


@app.command("explain")
def explain_command(
    table: Annotated[str, typer.Argument(help="A gold or silver table.")],
    key: Annotated[
        list[str],
        typer.Option("--key", help="The row's key; once for each of its columns, in their order."),
    ],
    limit: Annotated[int, typer.Option(min=0, help="Rows and events shown of each table.")] = 10,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the silver rows, the bronze events and the Kafka offsets behind one row.

    Goes back from the row through the SQL's own groups and joins, at the versions it was built
    from. `proven` says that the SQL over the rows told here, and no others, gives the row again;
    where it does not, the reason is told. Classified key columns are shown as `***`.

    Examples:
        medallion explain gold.commerce.daily_sales --key 20240115

        medallion explain gold.commerce.hourly_revenue --key 2024-01-15T10:00:00Z --json

        medallion explain silver.commerce.orders --key 8f14e45f-ceea-467f-a0e6-cbb0d3a1f1a5
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    catalog = load_catalog(settings.assets)
    found = explain(open_lake(settings), catalog, table, key)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(found), default=str, indent=2) + "\n")
        return
    for step in found.steps:
        out.print(f"[bold]{step.table}[/bold], version {step.version}: {_told(step)}")
        print_rows(step.keys.head(limit), Format.TABLE)
    out.print(f"[bold]Bronze[/bold]: {len(found.events):,} events")
    print_rows(found.events.head(limit), Format.TABLE)
    out.print("[bold]Kafka[/bold]")
    print_rows(found.offsets(), Format.TABLE)
    for note in _notes(found):
        err.print(f"note: {note}", highlight=False, soft_wrap=True)


def _told(step: Step) -> str:
    verdict = {True: ", proven by those below", False: ", NOT proven by those below", None: ""}
    return f"{step.rows:,} rows{verdict[step.proven]}"


def _notes(found: Explanation) -> list[str]:
    return [*found.notes, *(f"{step.table}: {note}" for step in found.steps for note in step.notes)]


def _as_json(found: Explanation) -> dict[str, Any]:
    return {
        "proven": found.proven,
        "tables": [
            {
                "table": step.table,
                "version": step.version,
                "rows": step.rows,
                "proven": step.proven,
                "keys": step.keys.to_dicts(),
            }
            for step in found.steps
        ],
        "events": found.events.to_dicts(),
        "offsets": found.offsets().to_dicts(),
        "notes": _notes(found),
    }
