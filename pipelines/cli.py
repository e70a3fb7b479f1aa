"""The command line `medallion`: each command is one step of the pipeline, or a look at it."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipelines.bronze import DEAD_LETTERS, UNKEYED_EVENTS, Landed
from pipelines.capture.batch import BatchLimits
from pipelines.contract import Catalog, load_catalog
from pipelines.contract.rules import rules_of
from pipelines.errors import MedallionError
from pipelines.gold import Built, build, inputs_of, order_of
from pipelines.ingest import Captured, capture_file, capture_kafka, open_lake
from pipelines.letters import redrive
from pipelines.plan import parents_of, silver_order
from pipelines.quality import judge_table, keep_results, keep_rules
from pipelines.query import query as run_query
from pipelines.settings import load_settings
from pipelines.silver import Applied, apply
from pipelines.status import lags_of
from pipelines.status import status as read_status
from pipelines.storage import Lake

app = typer.Typer(
    name="medallion",
    help="A lakehouse fed by change data capture that can prove it is right.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
contract_app = typer.Typer(help="Check, write and import contracts.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Rows that break an error rule.", no_args_is_help=True)
letters_app = typer.Typer(help="Messages that could not be landed.", no_args_is_help=True)
app.add_typer(contract_app, name="contract")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(letters_app, name="letters")

out = Console(soft_wrap=True)
#: Tables are not squeezed into 80 columns where nobody looks at a screen.
_PAGE = Console(width=None if out.is_terminal else 250)
err = Console(stderr=True)


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


LakeOption = Annotated[
    str | None,
    typer.Option(
        "--lake",
        help="Folder or object-store URL of the lake. [MEDALLION_LAKE]",
        show_default=False,
    ),
]
AssetsOption = Annotated[
    Path | None,
    typer.Option(
        "--assets", help="Folder of domains with contracts. [MEDALLION_ASSETS]", show_default=False
    ),
]
BootstrapOption = Annotated[
    str | None,
    typer.Option(
        "--bootstrap", help="Kafka's HOST:PORT. [MEDALLION_BOOTSTRAP]", show_default=False
    ),
]
KafkaOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kafka", help="A librdkafka property, as in security.protocol=SASL_SSL; may be repeated."
    ),
]
StorageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--storage", help="An object-store option, as in aws_region=eu-west-1; may be repeated."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")]
TablesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Tables, as in silver.commerce.orders; all when left out.", show_default=False
    ),
]


@app.command()
def capture(
    lake: LakeOption = None,
    assets: AssetsOption = None,
    bootstrap: BootstrapOption = None,
    kafka: KafkaOption = None,
    storage: StorageOption = None,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", help="Only this declared topic; may be repeated.")
    ] = None,
    from_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--from-file",
            help="A recorded stream (.jsonl, .jsonl.gz) instead of Kafka; may be repeated.",
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Go on until SIGTERM, sharing partitions with other followers of the group.",
        ),
    ] = False,
    group: Annotated[str | None, typer.Option(help="Consumer group of followers.")] = None,
    max_records: Annotated[
        int, typer.Option(help="Records a batch.", min=1)
    ] = BatchLimits().max_records,
    max_mib: Annotated[int, typer.Option(help="MiB a batch.", min=1)] = BatchLimits().max_bytes
    >> 20,
    max_seconds: Annotated[
        float, typer.Option(help="Seconds a batch is kept open.", min=0.05)
    ] = BatchLimits().max_seconds,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss", help="Go on where offsets are gone from the broker, and say which."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read the declared topics into bronze, exactly once.

    Bounded by default: to the ends the topics have now. A crash at any moment loses and doubles nothing.

    Examples:
        medallion capture --bootstrap localhost:9092

        medallion capture --follow --max-seconds 1

        medallion capture --from-file stream.jsonl.gz
    """
    settings = load_settings(
        lake=lake, assets=assets, bootstrap=bootstrap, kafka=kafka or (), storage=storage or ()
    )
    catalog = load_catalog(settings.assets)
    limits = BatchLimits(max_records=max_records, max_bytes=max_mib << 20, max_seconds=max_seconds)
    with _counter("records landed") as advance:

        def progress(landed: Landed) -> None:
            advance(landed.rows + landed.letters)

        if from_file:
            done = [
                capture_file(open_lake(settings), catalog, path, limits=limits, progress=progress)
                for path in from_file
            ]
        else:
            mode = "follow" if follow else "bounded"
            done = [
                capture_kafka(
                    settings,
                    catalog,
                    topics=topic or (),
                    mode=mode,
                    group=group,
                    limits=limits,
                    accept_loss=accept_loss,
                    progress=progress,
                )
            ]
    _say_captured(done, as_json=as_json)


@app.command("apply")
def apply_command(
    tables: TablesArgument = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring silver (and history, quarantine) to the newest version of bronze.

    Examples:
        medallion apply

        medallion apply silver.commerce.orders
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    _finish(*_apply_all(target, catalog, tables), as_json=as_json)


@app.command("build")
def build_command(
    tables: TablesArgument = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build gold from silver; a table whose inputs are as they were is left alone.

    Examples:
        medallion build

        medallion build gold.commerce.daily_sales --json
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    _finish(*_build_all(target, catalog, tables, failed=set()), as_json=as_json)


@app.command()
def run(
    lake: LakeOption = None,
    assets: AssetsOption = None,
    bootstrap: BootstrapOption = None,
    kafka: KafkaOption = None,
    storage: StorageOption = None,
    from_file: Annotated[
        list[Path] | None,
        typer.Option("--from-file", help="A recorded stream instead of Kafka; may be repeated."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Capture, apply and build, each to the end of what there is now.

    A table that fails stops only what depends on it; the others go on, and the exit code tells.

    Examples:
        medallion run --bootstrap localhost:9092

        medallion run --from-file stream.jsonl.gz --lake /data/lake
    """
    settings = load_settings(
        lake=lake, assets=assets, bootstrap=bootstrap, kafka=kafka or (), storage=storage or ()
    )
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    if from_file:
        captured = [capture_file(target, catalog, path) for path in from_file]
    else:
        captured = [capture_kafka(settings, catalog)]
    applied, failed = _apply_all(target, catalog, None)
    built, more = _build_all(target, catalog, None, failed=set(failed))
    if not as_json:
        _say_captured(captured, as_json=False)
    _finish([*applied, *built], {**failed, **more}, as_json=as_json)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over tables named layer.domain.name.")],
    lake: LakeOption = None,
    storage: StorageOption = None,
    form: Annotated[
        Format, typer.Option("--format", "-f", help="How rows are printed.")
    ] = Format.TABLE,
) -> None:
    """Run SQL over the lake.

    Examples:
        medallion query "SELECT status, COUNT(*) AS orders FROM silver.commerce.orders GROUP BY status"

        medallion query "SELECT * FROM gold.commerce.daily_sales" -f csv > daily_sales.csv
    """
    settings = load_settings(lake=lake, storage=storage or ())
    _print_rows(run_query(open_lake(settings), sql), form)


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
    _print_records(rows, as_json=as_json)


# ---- CONTRACTS ---- #


@contract_app.command("check")
def contract_check(assets: AssetsOption = None, as_json: JsonOption = False) -> None:
    """Check every contract, rule and SQL file; exit code 11 when one is at fault.

    Example:
        medallion contract check --assets my/assets
    """
    settings = load_settings(assets=assets)
    catalog = load_catalog(settings.assets)
    for contract in catalog.contracts.values():
        rules_of(contract)
    order_of(catalog)
    rows = [
        {
            "table": c.table,
            "version": c.version,
            "columns": len(c.columns),
            "rules": len(rules_of(c)),
            "owner": c.owner,
        }
        for c in catalog.contracts.values()
    ]
    _print_records(rows, as_json=as_json)


@contract_app.command("new")
def contract_new(
    table: Annotated[str, typer.Argument(help="The table, as in silver.commerce.orders.")],
    topic: Annotated[str, typer.Option(help="Its Kafka topic.")],
    assets: AssetsOption = None,
) -> None:
    """Write the first lines of a contract for you to fill in.

    Example:
        medallion contract new silver.shop.orders --topic shop.public.orders --assets my/assets
    """
    from pipelines.contract.importer import place, skeleton

    settings = load_settings(assets=assets)
    out.print(str(place(settings.assets, table, skeleton(table, topic))))


@contract_app.command("import")
def contract_import(
    table: Annotated[
        str, typer.Argument(help="The silver table to make, as in silver.shop.orders.")
    ],
    topic: Annotated[str, typer.Option(help="Its Kafka topic.")],
    source: Annotated[
        str | None,
        typer.Option(
            help="postgresql:// URL to read the columns from; the password from PGPASSWORD."
        ),
    ] = None,
    source_table: Annotated[
        str | None, typer.Option(help="The table there; by default the topic's last two parts.")
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option(help="A recorded stream to read the columns from.")
    ] = None,
    bootstrap: BootstrapOption = None,
    kafka: KafkaOption = None,
    assets: AssetsOption = None,
) -> None:
    """Write a contract from a live topic, a recorded stream, or the source database.

    The database knows every type; a message with a schema block nearly; one without only what JSON
    tells, and the columns to look at are marked.

    Examples:
        medallion contract import silver.shop.orders --topic shop.public.orders --source postgresql://reader@localhost/shop

        medallion contract import silver.shop.orders --topic shop.public.orders --bootstrap localhost:9092
    """
    from pipelines.contract.importer import from_database, from_stream, place

    settings = load_settings(assets=assets, bootstrap=bootstrap, kafka=kafka or ())
    if source:
        text = from_database(table, topic, source, source_table or ".".join(topic.split(".")[-2:]))
    else:
        text = from_stream(table, topic, settings, from_file)
    out.print(str(place(settings.assets, table, text)))


# ---- QUARANTINE AND DEAD LETTERS ---- #


@quarantine_app.command("list")
def quarantine_list(
    tables: TablesArgument = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """List quarantined rows: their key, what they break, and the event they came from.

    Classified key columns are shown as `***`.

    Example:
        medallion quarantine list silver.commerce.orders
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    rows = list[Mapping[str, Any]]()
    for contract in _chosen(catalog, "silver", tables):
        table = catalog[contract].sibling("quarantine")
        if target.version(table) is not None:
            rows += _quarantined(target, catalog, contract)
    _print_records(rows, as_json=as_json)


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
    _print_records(rows, as_json=as_json)


@letters_app.command("redrive")
def letters_redrive(
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    topic: Annotated[str | None, typer.Option(help="Only letters of this topic.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Land dead letters again, after a contract or the code was mended; those that land leave the list.

    Example:
        medallion letters redrive --topic shop.public.orders
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    landed, left = redrive(target, catalog, topic)
    _print_records([{"landed": landed, "left": left}], as_json=as_json)


# ---- STEPS ---- #


def _chosen(catalog: Catalog, layer: str, tables: Sequence[str] | None) -> list[str]:
    order = silver_order(catalog) if layer == "silver" else order_of(catalog)
    for table in tables or ():
        catalog[table]
    return [table for table in order if not tables or table in tables]


def _apply_all(
    lake: Lake, catalog: Catalog, tables: Sequence[str] | None
) -> tuple[list[Applied], dict[str, MedallionError]]:
    done, failed, now = list[Applied](), dict[str, MedallionError](), datetime.now(UTC)
    with _counter("events applied") as advance:
        for table in _chosen(catalog, "silver", tables):
            if any(parent in failed for parent in parents_of(catalog[table])):
                continue
            try:
                done.append(apply(lake, catalog, table, now=now, progress=advance))
                _keep_quality(lake, catalog, table, now)
            except MedallionError as error:
                failed[table] = error
    return done, failed


def _build_all(
    lake: Lake, catalog: Catalog, tables: Sequence[str] | None, failed: set[str]
) -> tuple[list[Built], dict[str, MedallionError]]:
    done, errors, now, batch_id = (
        list[Built](),
        dict[str, MedallionError](),
        datetime.now(UTC),
        str(uuid.uuid4()),
    )
    for table in _chosen(catalog, "gold", tables):
        behind = {name.replace("history.", "silver.", 1) for name in inputs_of(catalog[table])}
        if behind & (failed | errors.keys()):
            continue
        try:
            done.append(build(lake, catalog, table, batch_id=batch_id, now=now))
            if done[-1].changed:
                _keep_quality(lake, catalog, table, now)
        except MedallionError as error:
            errors[table] = error
    return done, errors


def _keep_quality(lake: Lake, catalog: Catalog, table: str, now: datetime) -> None:
    contract = catalog[table]
    keep_rules(lake, rules_of(contract), now)
    keep_results(lake, judge_table(lake, contract), now, run_id=f"cli/{now:%Y%m%dT%H%M%S%f}")


def _quarantined(lake: Lake, catalog: Catalog, table: str) -> list[dict[str, Any]]:
    contract = catalog[table]
    hidden = contract.classified()
    key = pl.concat_str(
        [
            pl.lit("***") if name in hidden else pl.col(name).cast(pl.String)
            for name in contract.key
        ],
        separator="/",
    )
    rows = lake.scan(contract.sibling("quarantine")).select(
        pl.lit(table).alias("table"),
        key.alias("key"),
        pl.col("quality_issues").list.join(", ").alias("issues"),
        "source_bronze_id",
        "first_seen_at",
    )
    return rows.sort("first_seen_at", "key").collect().to_dicts()


# ---- PRINTING ---- #


@contextmanager
def _counter(what: str) -> Generator[Callable[[int], None]]:
    """A live count on a terminal; nothing elsewhere."""
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} " + what), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda number: progress.advance(task, number)


def _say_captured(done: Sequence[Captured], *, as_json: bool) -> None:
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


def _finish(
    done: Sequence[Applied | Built], failed: Mapping[str, MedallionError], *, as_json: bool
) -> None:
    """The reports, then the failures; the process ends with the first failure's code."""
    _print_records([asdict(each) for each in done], as_json=as_json)
    for table, error in failed.items():
        err.print(f"[red]{table} failed:[/red] {error}", highlight=False)
    if failed:
        raise typer.Exit(next(iter(failed.values())).exit_code)


def _print_records(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        out.print_json(json.dumps(list(rows), default=str))
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
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


def _print_rows(rows: pl.DataFrame, form: Format) -> None:
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


def main(command: typer.Typer = app) -> None:
    """The process's outermost loop: an error of ours is said without a traceback, with its own code."""
    try:
        command()
    except MedallionError as error:
        err.print(f"[red]{type(error).__name__}:[/red] {error}", highlight=False)
        sys.exit(error.exit_code)
