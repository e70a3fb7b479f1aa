"""verify: is silver the source?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape

from pipelines.cli.options import (
    AssetsOption,
    BootstrapOption,
    JsonOption,
    KafkaOption,
    LakeOption,
    StorageOption,
)
from pipelines.cli.show import counter, err, out, print_records
from pipelines.contract import Catalog, Contract, load_catalog
from pipelines.errors import ContractError
from pipelines.ingest import open_lake
from pipelines.quality import keep_source_count
from pipelines.settings import Settings, load_settings
from pipelines.status import lags_of
from pipelines.storage import Lake
from pipelines.verify import DIFFERENCES_FOUND, Report
from pipelines.verify import verify as run_verify

app = typer.Typer()

#: Hexadecimal digits of a hidden key's hash: enough to tell two rows apart.
_HASH_DIGITS = 12


@app.command()
def verify(
    table: Annotated[str, typer.Argument(help="The silver table, as in silver.commerce.orders.")],
    source: Annotated[
        str, typer.Option(help="postgresql:// URL of the source; the password from PGPASSWORD.")
    ],
    source_table: Annotated[
        str | None, typer.Option(help="The table there; by default the topic's last two parts.")
    ] = None,
    wait: Annotated[
        float,
        typer.Option(min=0, help="Seconds to look at differing rows again while the lake moves."),
    ] = 0,
    limit: Annotated[int, typer.Option(min=0, help="Differing rows to print.")] = 20,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    bootstrap: BootstrapOption = None,
    kafka: KafkaOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare silver and quarantine with the source's table, and name every row that differs.

    The source is read in one read-only snapshot; every row and every column the contract names is
    compared. Values are never shown, classified keys as a hash. Ends with 0 when all is equal, with
    21 when a row differs, with 22 when the two cannot be compared. With --bootstrap it also tells
    whether the lake holds all that the source had: until then, a row that differs may be on its way.

    Examples:
        medallion verify silver.commerce.orders --source postgresql://reader@localhost/shop

        medallion verify silver.shop.orders --source postgresql://reader@db/shop --wait 60 --json
    """
    settings = load_settings(
        lake=lake, assets=assets, bootstrap=bootstrap, kafka=kafka or (), storage=storage or ()
    )
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    contract = _contract(catalog, table)
    with counter("rows compared") as progress:
        report = run_verify(
            target,
            contract,
            source,
            source_table=source_table,
            wait_seconds=wait,
            lag=_lag(settings, target, catalog, contract),
            progress=progress,
        )
    keep_source_count(target, contract, report.source_rows, datetime.now(UTC))
    rows = _differences(report, contract, limit)
    if as_json:
        out.print_json(json.dumps(_as_json(report, rows)))
    else:
        _say(report, rows)
    if not report.is_equal:
        raise typer.Exit(DIFFERENCES_FOUND)


def _contract(catalog: Catalog, table: str) -> Contract:
    if table not in catalog.contracts:
        silver = ", ".join(contract.table for contract in catalog.layer("silver"))
        raise ContractError(f"'{table}' has no contract", hint=f"the silver tables are {silver}")
    return catalog[table]


def _lag(
    settings: Settings, lake: Lake, catalog: Catalog, contract: Contract
) -> Callable[[], int | None]:
    """How many records the broker holds that bronze lacks; None without a broker."""
    if not settings.bootstrap or contract.source is None:
        return lambda: None
    topic = contract.source.topic
    return lambda: lags_of(settings, lake, catalog).get(topic)


# ---- WHAT IS SAID ---- #


def _differences(report: Report, contract: Contract, limit: int) -> list[dict[str, Any]]:
    """The first differing rows: key, kind, columns, and where they stand in the lake."""
    hidden = contract.classified()
    first = report.found.head(limit)
    keys = [
        [_hashed(value) if name in hidden else value for value in first[name]]
        for name in contract.key
    ]
    rest = zip(first["kind"], first["columns"], first["places"], strict=True)
    return [
        {
            "key": dict(zip(contract.key, key, strict=True)),
            "kind": kind,
            "columns": columns.to_list(),
            "places": places.to_list(),
        }
        for key, (kind, columns, places) in zip(zip(*keys, strict=True), rest, strict=True)
    ]


def _hashed(value: str | None) -> str | None:
    return value and "#" + hashlib.sha256(value.encode()).hexdigest()[:_HASH_DIGITS]


def _as_json(report: Report, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = [
        name
        for name in Report.__dataclass_fields__
        if name not in ("found", "moment", "last_moment")
    ]
    said = {name: getattr(report, name) for name in names}
    moments = {name: _moment(asdict(getattr(report, name))) for name in ("moment", "last_moment")}
    return {"equal": report.is_equal, **said, **moments, "differences": rows}


def _moment(moment: dict[str, Any]) -> dict[str, Any]:
    for name in ("source_position", "lake_position"):
        moment[name] = _lsn(moment[name])
    return moment


def _lsn(position: int) -> str:
    """A position of the log as Postgres writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def _say(report: Report, rows: Sequence[dict[str, Any]]) -> None:
    moment, total = report.moment, sum(report.counts.values())
    verdict = (
        "[green]equal[/green]"
        if report.is_equal
        else f"[red]{total:,} rows differ[/red]: "
        + ", ".join(f"{number:,} {kind}" for kind, number in report.counts.items() if number)
    )
    out.print(f"{report.table} and {report.source_table}: {verdict}", highlight=False)
    out.print(
        f"{report.silver_rows:,} in silver + {report.quarantined_rows:,} in quarantine,"
        f" {report.source_rows:,} in the source at {_lsn(moment.source_position)};"
        f" the lake's newest event is at {_lsn(moment.lake_position)}; {report.seconds:.1f} s",
        highlight=False,
    )
    for note in _notes(report, shown=len(rows)):
        err.print(f"note: {note}", highlight=False)
    if rows:
        print_records([_line(row) for row in rows], as_json=False)


def _line(row: dict[str, Any]) -> dict[str, str]:
    return {
        "key": escape("/".join("null" if part is None else part for part in row["key"].values())),
        "kind": row["kind"],
        "columns": ", ".join(row["columns"]),
        "stands in": ", ".join(row["places"]),
    }


def _notes(report: Report, *, shown: int) -> list[str]:
    counted = {
        "rows of the source were dropped by decision": report.dropped_rows,
        "values set aside: quarantine declares them unknown": report.set_aside,
        "rows differed at first, and were equal when read again": report.settled,
    }
    notes = [f"{number:,} {what}" for what, number in counted.items() if number]
    for column, reason in report.not_compared.items():
        notes.append(f"column '{column}' is not compared: {reason}")
    if report.not_in_contract:
        notes.append(f"not in the contract: {', '.join(report.not_in_contract)}")
    if report.is_equal:
        return notes
    if report.moving:
        notes.append(f"{report.moving:,} of the rows were changed by the source meanwhile")
    if not report.looks:
        notes.append("too many rows differ to look at them again")
    if not report.last_moment.reached:
        notes.append(_may_be_behind(report))
    if shown < sum(report.counts.values()):
        notes.append(f"{shown:,} differing rows are shown; more with --limit")
    return notes


def _may_be_behind(report: Report) -> str:
    moment = report.last_moment
    waiting = [
        f"{moment.lag:,} records wait on the broker" if moment.lag else "",
        f"{moment.unapplied_versions:,} versions of bronze are not applied"
        if moment.unapplied_versions
        else "",
        "name the broker to know" if moment.lag is None else "",
    ]
    why = (
        "; ".join(part for part in waiting if part)
        or "the connector may not have sent all; --wait gives it time"
    )
    return f"the lake may be behind the source, and rows on their way: {why}"
