"""quarantine: what waits and why, and what somebody decides of it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from pipelines.audit import Actor
from pipelines.cli.options import (
    AssetsOption,
    JsonOption,
    LakeOption,
    StorageOption,
    TablesArgument,
)
from pipelines.cli.show import note, out, print_records
from pipelines.contract import Catalog, Contract, load_catalog
from pipelines.contract.model import parse_duration
from pipelines.decisions import DROP, RELEASE
from pipelines.errors import SettingsError
from pipelines.ingest import open_lake
from pipelines.quarantine import decide, retry
from pipelines.refine import chosen, keep_quality
from pipelines.settings import load_settings
from pipelines.storage import Lake
from pipelines.waiting import Choice, Shown, counted, show_row, waiting_rows

quarantine_app = typer.Typer(help="Rows that break an error rule.", no_args_is_help=True)

#: Rows that a terminal is shown unless told otherwise.
_SHOWN = 50


class By(StrEnum):
    """What a line of the list is."""

    ROW = "row"
    RULE = "rule"
    TABLE = "table"


TableArgument = Annotated[str, typer.Argument(help="A silver table, as in silver.commerce.orders.")]
RowsArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Ids of rows, or their first or last characters.", show_default=False),
]
RuleOption = Annotated[
    str | None,
    typer.Option("--rule", help="Only rows that break this rule, or lack this column's value."),
]
OlderOption = Annotated[
    str | None,
    typer.Option("--older-than", metavar="DURATION", help="Only rows that wait longer: '7 days'."),
]
AllOption = Annotated[bool, typer.Option("--all", help="Every row that waits in the table.")]
WhyOption = Annotated[
    str, typer.Option("--why", help="The reason; kept with the decision and in the audit log.")
]
ByOption = Annotated[
    str | None,
    typer.Option(
        "--by", help="Who decides, where it is not the system's user.", show_default=False
    ),
]


@quarantine_app.command("list")
def list_command(
    tables: TablesArgument = None,
    rule: RuleOption = None,
    older_than: OlderOption = None,
    group: Annotated[By, typer.Option("--by", help="What a line counts.")] = By.ROW,
    limit: Annotated[
        int | None,
        typer.Option(help=f"Lines shown; {_SHOWN} on a terminal, all with --json.", min=1),
    ] = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what waits: key, what it breaks, since when, and how many of its events were refused.

    Those that wait longest come first. Classified key columns are shown as `***`, values never.

    Examples:
        medallion quarantine list silver.commerce.orders

        medallion quarantine list --by rule

        medallion quarantine list --rule known_customer --older-than '7 days' --json
    """
    catalog, target = _opened(lake, assets, storage)
    now, age = datetime.now(UTC), _duration(older_than)
    parts = [
        waiting_rows(target, catalog[table], now, rule=rule, older_than=age)
        for table in chosen(catalog, "silver", tables)
    ]
    rows = pl.concat(parts) if parts else pl.DataFrame()
    if group is By.ROW:
        lines = rows.with_columns(pl.col("issues").list.join(", ")) if len(rows) else rows
    else:
        lines = counted(rows, ["table"] if group is By.TABLE else ["table", "rule"])
    most = limit or (len(lines) if as_json else _SHOWN)
    print_records(lines.head(most).to_dicts(), as_json=as_json)
    if len(lines) > most:
        note(f"{len(lines) - most:,} lines more; --limit shows them, --by rule counts them")


@quarantine_app.command("show")
def show_command(
    table: TableArgument,
    row: Annotated[str, typer.Argument(help="A row's id, or its first or last characters.")],
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one row: its values, the event it came from, and each rule that it breaks.

    Of a classified value, and of all that the message holds, only the shape is shown: its type, its
    length, the kinds of its characters.

    Example:
        medallion quarantine show silver.commerce.orders 0391
    """
    catalog, target = _opened(lake, assets, storage)
    found = show_row(target, _silver(catalog, table), row)
    if as_json:
        print_records([asdict(found)], as_json=True)
    else:
        _print(found)


@quarantine_app.command("release")
def release_command(
    table: TableArgument,
    why: WhyOption,
    rows: RowsArgument = None,
    rule: RuleOption = None,
    older_than: OlderOption = None,
    everything: AllOption = False,
    by: ByOption = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let rows into silver although they break rules, with their issues listed there.

    It holds for this event of the row and for the rules that it breaks now: a newer event, or a rule
    that it breaks later, is judged as ever. A row whose value could not be read is not released.

    Examples:
        medallion quarantine release silver.commerce.orders 0391 --why "agreed with the shop, ticket 812"

        medallion quarantine release silver.commerce.orders --rule known_customer --older-than '7 days' --why "old shop"
    """
    choice = Choice(
        ids=tuple(rows or ()), rule=rule, older_than=_duration(older_than), everything=everything
    )
    _decide(RELEASE, table, choice, why, by, _opened(lake, assets, storage), as_json=as_json)


@quarantine_app.command("drop")
def drop_command(
    table: TableArgument,
    why: WhyOption,
    rows: RowsArgument = None,
    rule: RuleOption = None,
    older_than: OlderOption = None,
    everything: AllOption = False,
    by: ByOption = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Leave rows out of silver and of quarantine; bronze keeps their events.

    It holds for this event of the row: a newer one is judged as ever. There is no way back but a
    newer event of the row from the source.

    Examples:
        medallion quarantine drop silver.commerce.orders 0391 --why "test order, ticket 813"

        medallion quarantine drop silver.commerce.orders --rule total_amount --all --why "load test"
    """
    choice = Choice(
        ids=tuple(rows or ()), rule=rule, older_than=_duration(older_than), everything=everything
    )
    _decide(DROP, table, choice, why, by, _opened(lake, assets, storage), as_json=as_json)


@quarantine_app.command("retry")
def retry_command(
    tables: TablesArgument = None,
    why: Annotated[str, typer.Option("--why", help="The reason; kept in the audit log.")] = "",
    by: ByOption = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge what waits again, now: after rules were mended, or parents came.

    Examples:
        medallion quarantine retry

        medallion quarantine retry silver.commerce.orders --why "the rule was too strict"
    """
    catalog, target = _opened(lake, assets, storage)
    there = [
        t for t in chosen(catalog, "silver", tables) if tables or target.version(t) is not None
    ]
    actor, now = Actor.here(by), datetime.now(UTC)
    done = [retry(target, catalog, table, why=why, actor=actor, now=now) for table in there]
    for each in done:
        if each.released:
            keep_quality(
                target, catalog, each.table, now, run_id=f"quarantine/{now:%Y%m%dT%H%M%S%f}"
            )
    print_records(
        [
            {"table": d.table, "judged": d.decided, "released": d.released, "waiting": d.waiting}
            for d in done
        ],
        as_json=as_json,
    )


def _decide(
    act: str,
    table: str,
    choice: Choice,
    why: str,
    by: str | None,
    opened: tuple[Catalog, Lake],
    *,
    as_json: bool,
) -> None:
    catalog, lake = opened
    _silver(catalog, table)
    now = datetime.now(UTC)
    done = decide(lake, catalog, table, act, choice, why=why, actor=Actor.here(by), now=now)
    # The results of the rules, and the alerts that follow them, are of the table as it is now.
    keep_quality(lake, catalog, table, now, run_id=f"quarantine/{now:%Y%m%dT%H%M%S%f}")
    print_records([asdict(done)], as_json=as_json)
    if done.unfit:
        note(
            f"{done.unfit:,} rows hold a value that could not be read or never came, and stay: "
            "mend the contract and retry, or drop them"
        )


def _print(found: Shown) -> None:
    parts = {
        "Row": found.row,
        "Event": found.event,
        "Values": found.columns,
        "Message": found.payload,
    }
    for title, told in parts.items():
        out.print(f"[bold]{title}[/bold]")
        width = max((len(name) for name in told), default=0)
        for name, value in told.items():
            out.print(f"  {name:<{width}}  {value}", markup=False, highlight=False)
        if title == "Row":
            out.print("[bold]Breaks[/bold]")
            print_records(found.failed, as_json=False)


def _opened(
    lake: str | None, assets: Path | None, storage: list[str] | None
) -> tuple[Catalog, Lake]:
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    return load_catalog(settings.assets), open_lake(settings)


def _silver(catalog: Catalog, table: str) -> Contract:
    """The contract of a silver table: no other has a quarantine."""
    contract = catalog[table]
    if contract.layer != "silver":
        raise SettingsError(f"{table} has no quarantine", hint="name a silver table")
    return contract


def _duration(text: str | None) -> timedelta | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"--older-than: {error}") from error
