"""How commands print: tables for people, JSON for scripts, progress where somebody watches."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import Any

import polars as pl
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipelines.bronze import Landed
from pipelines.errors import MedallionError
from pipelines.export import Exported
from pipelines.gold import Built
from pipelines.ingest import Captured
from pipelines.silver import Applied

out = Console(soft_wrap=True)
err = Console(stderr=True)
#: Tables are not squeezed into 80 columns where nobody looks at a screen.
_PAGE = Console(width=None if out.is_terminal else 250)


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@contextmanager
def counter(what: str) -> Generator[Callable[[int], None]]:
    """A live count on a terminal; nothing elsewhere."""
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} " + what), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda number: progress.advance(task, number)


def say_captured(done: Sequence[Captured], *, as_json: bool) -> None:
    """What captures did, and what they have to say."""
    total = sum((each.landed for each in done), Landed())
    seconds = sum(each.seconds for each in done)
    report = {
        **asdict(total),
        "batches": sum(each.batches for each in done),
        "seconds": round(seconds, 3),
    }
    notices = [str(notice) for each in done for notice in each.notices]
    if as_json:
        out.print_json(json.dumps({**report, "notices": notices}))
        return
    out.print(
        f"captured {total.rows:,} records and {total.letters:,} dead letters in {seconds:.1f} s; {total.repeated:,} were there before"
    )
    for notice in notices:
        err.print(f"note: {notice}")


def note(text: str) -> None:
    """Something to know, beside the result."""
    err.print(f"note: {text}", highlight=False, soft_wrap=True)


def finish(
    done: Sequence[Applied | Built | Exported],
    failed: Mapping[str, MedallionError],
    *,
    as_json: bool,
) -> None:
    """The reports, then the failures; the process ends with the first failure's code."""
    print_records([asdict(each) for each in done], as_json=as_json)
    for each in done:
        for notice in getattr(each, "notices", ()):
            note(f"{each.table}: {notice}")
    for table, error in failed.items():
        err.print(f"[red]{table} failed:[/red] {error}", highlight=False)
    if failed:
        raise typer.Exit(next(iter(failed.values())).exit_code)


def print_records(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Reports as a table without the columns that nobody filled, or as JSON."""
    if as_json:
        out.print_json(json.dumps(list(rows), default=str))
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    columns = [name for name in columns if name != "notices"]
    shown = [name for name in columns if any(row.get(name) not in (None, {}, ()) for row in rows)]
    table = Table(*shown, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in shown))
    _PAGE.print(table if rows else "nothing")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def print_rows(rows: pl.DataFrame, form: Format) -> None:
    """A query's rows, all of them in CSV and JSON."""
    if form is Format.JSON:
        sys.stdout.write(json.dumps(rows.to_dicts(), default=str) + "\n")
    elif form is Format.CSV:
        sys.stdout.write(_flat(rows).write_csv())
    else:
        with pl.Config(
            tbl_rows=100,
            tbl_cols=-1,
            tbl_hide_dataframe_shape=True,
            fmt_str_lengths=60,
            tbl_width_chars=200,
        ):
            sys.stdout.write(f"{rows}\n{len(rows):,} rows\n")


def _flat(rows: pl.DataFrame) -> pl.DataFrame:
    """Lists and structs as JSON text, which CSV has no form for."""
    nested = [name for name, dtype in rows.schema.items() if dtype.is_nested()]
    return rows.with_columns(
        pl.Series(
            name,
            [None if v is None else json.dumps(v, default=str) for v in rows[name].to_list()],
            dtype=pl.String,
        )
        for name in nested
    )
