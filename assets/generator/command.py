"""`medallion generate`: believable data in a real database."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from assets.demo import STORIES
from pipelines.cli import app
from pipelines.cli.show import out


@app.command()
def generate(
    domain: Annotated[str, typer.Argument(help=f"Whose tables: {', '.join(STORIES)}.")],
    to: Annotated[
        str,
        typer.Option(
            help="An empty database: postgresql://user@host/name (password from PGPASSWORD) or mariadb://user:password@host/name."
        ),
    ],
    seed: Annotated[int, typer.Option(help="Another seed, other data.")] = 7,
    size: Annotated[
        int, typer.Option(help="About how many rows of the years before the story.", min=0)
    ] = 0,
    until: Annotated[
        datetime | None, typer.Option(help="The story ends in the week before; now by default.")
    ] = None,
) -> None:
    """Fill a real database with believable data: skewed, with seasons, errors and every awkward turn.

    Creates the domain's tables, writes the years before, then does what the demo's story tells, in
    transactions that overlap: keys that change, long texts left alone, a truncate, rows that break
    rules and are mended, people who leave. Point a Debezium connector at it, before or after.

    Examples:

        medallion generate tasks --to postgresql://postgres@localhost/taskapp

        medallion generate commerce --to postgresql://postgres@localhost/shop --size 1000000 --seed 3
    """
    from assets.generator.telling import generate as told  # the drivers cost start-up time

    began = time.monotonic()
    end = until and until.replace(tzinfo=until.tzinfo or UTC)
    done = told(domain, to, seed=seed, size=size, until=end)
    for table, rows in done.rows.items():
        changes = sum(n for (name, _), n in done.changes.items() if name == table)
        out.print(f"{table:<20} {rows:>12,} rows, then {changes:,} changes")
    for why, count in done.refused.items():
        out.print(f"{count} transactions refused by the database ({why}), as it should")
    out.print(f"Done in {time.monotonic() - began:.0f} s.")
