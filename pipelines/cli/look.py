"""query, status, lag, letters: what is in the lake."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import polars as pl
import typer

from pipelines.asof import query_as_of
from pipelines.avro import open_wire
from pipelines.bronze import DEAD_LETTERS, UNKEYED_EVENTS
from pipelines.cli.options import (
    AssetsOption,
    BootstrapOption,
    JsonOption,
    KafkaOption,
    LakeOption,
    RegistryOption,
    StorageOption,
)
from pipelines.cli.show import Format, err, print_records, print_rows
from pipelines.contract import load_catalog
from pipelines.errors import LagError, SettingsError
from pipelines.ingest import open_lake
from pipelines.lag import STUCK_AFTER, Pace, lag
from pipelines.letters import redrive
from pipelines.moment import parse_moment
from pipelines.query import query as run_query
from pipelines.settings import load_settings
from pipelines.status import lags_of
from pipelines.status import status as read_status
from pipelines.tenant import query_as_tenant

app = typer.Typer()
letters_app = typer.Typer(help="Messages that could not be landed.", no_args_is_help=True)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over tables named layer.domain.name.")],
    lake: LakeOption = None,
    storage: StorageOption = None,
    form: Annotated[
        Format, typer.Option("--format", "-f", help="How rows are printed.")
    ] = Format.TABLE,
    assets: AssetsOption = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="POSITION|TIME",
            help="As if nothing had happened since: a time (ISO 8601, UTC unless it says), epoch/commit/event[/offset], or lsn:0/16B3748.",
        ),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(
            help="As this tenant: the tables whose contracts name one, and of those its rows alone."
        ),
    ] = None,
) -> None:
    """Run SQL over the lake, as it is or as of a position or a time of the source.

    As of a moment, silver and history are the versions valid then, gold is its SQL over them, and bronze
    its events so far. How each table's past was found is said on stderr.

    Examples:
        medallion query "SELECT status, COUNT(*) AS orders FROM silver.commerce.orders GROUP BY status"

        medallion query "SELECT * FROM gold.commerce.daily_sales" -f csv > daily_sales.csv

        medallion query "SELECT * FROM gold.commerce.daily_sales" --as-of 2026-01-31T23:59:59+01:00

        medallion query "SELECT * FROM silver.commerce.orders" --as-of lsn:0/16B3748

        medallion query "SELECT title, state FROM gold.interactions.finder" --tenant 3
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    if tenant is not None:
        if as_of is not None:
            raise SettingsError("a tenant has no past: give --as-of or --tenant, not both")
        catalog = load_catalog(settings.assets)
        print_rows(query_as_tenant(open_lake(settings), catalog, sql, tenant), form)
        return
    if as_of is None:
        print_rows(run_query(open_lake(settings), sql), form)
        return
    moment, catalog = parse_moment(as_of), load_catalog(settings.assets)
    answer = query_as_of(open_lake(settings), catalog, sql, moment)
    for table, way in sorted(answer.ways.items()):
        err.print(f"note: {table} as of {as_of}: {way}", highlight=False, soft_wrap=True)
    print_rows(answer.rows, form)


@app.command()
def status(
    lake: LakeOption = None,
    assets: AssetsOption = None,
    bootstrap: BootstrapOption = None,
    kafka: KafkaOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show rows, positions, lag, quarantine and dead letters of every table.

    Lag is asked of the broker when one is named.

    Examples:
        medallion status

        medallion status --bootstrap localhost:9092 --json
    """
    settings = load_settings(
        lake=lake, assets=assets, bootstrap=bootstrap, kafka=kafka or (), storage=storage or ()
    )
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    lags = lags_of(settings, target, catalog) if settings.bootstrap else None
    rows = [asdict(each) for each in read_status(target, catalog, lags)]
    print_records(rows, as_json=as_json)


@app.command("lag")
def lag_command(
    lake: LakeOption = None,
    assets: AssetsOption = None,
    bootstrap: BootstrapOption = None,
    kafka: KafkaOption = None,
    storage: StorageOption = None,
    stuck_after: Annotated[
        float, typer.Option(help="Minutes without a move after which a step stands still.", min=0)
    ] = STUCK_AFTER.total_seconds() / 60,
    as_json: JsonOption = False,
) -> None:
    """Say what waits for each table since when, and whether it is idle, behind, stuck or silent.

    Ends with 24 when something is stuck or silent. Without a broker, what waits there is not counted.

    Examples:
        medallion lag --bootstrap localhost:9092

        medallion lag --stuck-after 1 --json
    """
    settings = load_settings(
        lake=lake, assets=assets, bootstrap=bootstrap, kafka=kafka or (), storage=storage or ()
    )
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    found = lag(
        target,
        catalog,
        on_broker=lags_of(settings, target, catalog) if settings.bootstrap else {},
        now=datetime.now(UTC),
        stuck_after=timedelta(minutes=stuck_after),
    )
    print_records([asdict(each) for each in found], as_json=as_json)
    ill = [each.table for each in found if each.pace in (Pace.STUCK, Pace.SILENT)]
    if ill:
        raise LagError(f"{len(ill)} tables do not come on: {', '.join(ill[:5])}")


@letters_app.command("list")
def letters_list(
    lake: LakeOption = None, storage: StorageOption = None, as_json: JsonOption = False
) -> None:
    """List dead letters: where each stood in Kafka and why it could not be used; never its content.

    Example:
        medallion letters list --json
    """
    target = open_lake(load_settings(lake=lake, storage=storage or ()))
    shown = [
        "topic",
        "kafka_partition",
        "kafka_offset",
        "stage",
        "reason",
        "recorded_at",
        "letter_id",
    ]
    frames = [
        target.scan(table).select(shown).collect()
        for table in (DEAD_LETTERS, UNKEYED_EVENTS)
        if target.version(table) is not None
    ]
    rows = (
        pl.concat(frames).sort("topic", "kafka_partition", "kafka_offset").to_dicts()
        if frames
        else []
    )
    print_records(rows, as_json=as_json)


@letters_app.command("redrive")
def letters_redrive(
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    registry: RegistryOption = None,
    topic: Annotated[str | None, typer.Option(help="Only letters of this topic.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Land dead letters again, after a contract or the code was mended; those that land leave the list.

    Example:
        medallion letters redrive --topic shop.public.orders
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or (), registry=registry)
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    landed, left = redrive(target, catalog, topic, wire=open_wire(settings))
    print_records([{"landed": landed, "left": left}], as_json=as_json)
