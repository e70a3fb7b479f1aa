"""person: what the lake holds of one person, to be handed over to them."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime
from typing import Annotated

import typer

from pipelines.cli.options import AssetsOption, LakeOption, StorageOption
from pipelines.contract import load_catalog
from pipelines.ingest import open_lake
from pipelines.person import person_document
from pipelines.settings import load_settings

app = typer.Typer()


@app.command()
def person(
    table: Annotated[str, typer.Argument(help="The silver table with a row a person.")],
    key: Annotated[str, typer.Argument(help="The person's key in it.")],
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
) -> None:
    """Print everything that silver and quarantine hold of a person, as JSON.

    Their own row, and every row whose contract says by a reference rule that it belongs to them. It is
    all in the clear, for it is theirs: hand it to nobody else.

    Examples:
        medallion person silver.tasks.users 7c9e6679-7425-40de-944b-e07fc1f90ae7 > mine.json
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    catalog = load_catalog(settings.assets)
    told = person_document(open_lake(settings), catalog, table, key, now=datetime.now(UTC))
    sys.stdout.write(json.dumps(told, indent=2, ensure_ascii=False, default=_text) + "\n")


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
