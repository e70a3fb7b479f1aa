"""capture, apply, build, run: the steps of the pipeline."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipelines.alerts import tell_of_trouble
from pipelines.avro import open_wire
from pipelines.bronze import Landed
from pipelines.capture.batch import BatchLimits
from pipelines.cli.options import (
    AssetsOption,
    BootstrapOption,
    JsonOption,
    KafkaOption,
    LakeOption,
    RegistryOption,
    StorageOption,
    TablesArgument,
)
from pipelines.cli.show import counter, finish, note, say_captured
from pipelines.contract import Catalog, load_catalog
from pipelines.cut import plan_cut
from pipelines.errors import MedallionError
from pipelines.files.fault import report
from pipelines.files.inbox import take_inbox
from pipelines.gold import Built
from pipelines.ingest import Captured, capture_file, capture_kafka, open_lake
from pipelines.provenance import keep_lineage
from pipelines.refine import After, apply_all, build_all, chosen, keep_quality
from pipelines.run_events import RunEvents, told_events
from pipelines.settings import Settings, load_settings
from pipelines.silver import Applied
from pipelines.storage import Lake
from quality_rules.results import RuleResult

app = typer.Typer()


@app.command()
def capture(
    lake: LakeOption = None,
    assets: AssetsOption = None,
    bootstrap: BootstrapOption = None,
    kafka: KafkaOption = None,
    registry: RegistryOption = None,
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
        lake=lake,
        assets=assets,
        bootstrap=bootstrap,
        kafka=kafka or (),
        storage=storage or (),
        registry=registry,
    )
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    limits = BatchLimits(max_records=max_records, max_bytes=max_mib << 20, max_seconds=max_seconds)
    files = from_file or ()
    telling = told_events(
        settings, target, catalog, "medallion.capture", files=files, streaming=follow
    )
    read = [c.bronze for t, c in catalog.topics().items() if not topic or t in topic]
    with telling as events, events.steps(read), counter("records landed") as advance:

        def progress(landed: Landed) -> None:
            advance(landed.rows + landed.letters)

        if from_file:
            wire = open_wire(settings)
            done = [
                capture_file(target, catalog, path, wire=wire, limits=limits, progress=progress)
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
    say_captured(done, as_json=as_json)


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
    with told_events(settings, target, catalog, "medallion.apply") as events:
        finish(*_apply_all(target, catalog, tables, events), as_json=as_json)


@app.command("build")
def build_command(
    tables: TablesArgument = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build gold from silver; a table whose inputs are as they were is left alone.

    Where the SQL allows, only the part that changes can reach is computed; else 'why' says what does
    not allow it.

    Examples:
        medallion build

        medallion build gold.commerce.daily_sales --json
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    with told_events(settings, target, catalog, "medallion.build") as events:
        finish(*_build_all(target, catalog, tables, events), as_json=as_json)


@app.command()
def run(
    lake: LakeOption = None,
    assets: AssetsOption = None,
    bootstrap: BootstrapOption = None,
    kafka: KafkaOption = None,
    registry: RegistryOption = None,
    storage: StorageOption = None,
    from_file: Annotated[
        list[Path] | None,
        typer.Option("--from-file", help="A recorded stream instead of Kafka; may be repeated."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Capture, apply and build, each to the end of what there is now.

    Files in the inbox (MEDALLION_INBOX) are taken too, and without a broker they alone. A table that fails stops only what depends on it; the others go on, and the exit code tells.

    Examples:
        medallion run --bootstrap localhost:9092

        medallion run --from-file stream.jsonl.gz --lake /data/lake
    """
    settings = load_settings(
        lake=lake,
        assets=assets,
        bootstrap=bootstrap,
        kafka=kafka or (),
        storage=storage or (),
        registry=registry,
    )
    catalog, target = load_catalog(settings.assets), open_lake(settings)
    files = from_file or ()
    with told_events(settings, target, catalog, "medallion.run", files=files) as events:
        with events.steps(c.bronze for c in catalog.layer("silver")):
            if from_file:
                wire = open_wire(settings)
                captured = [capture_file(target, catalog, path, wire=wire) for path in from_file]
            else:
                captured = _arrived(settings, target, catalog)
        keep_lineage(target, catalog, datetime.now(UTC))
        applied, failed = _apply_all(target, catalog, None, events)
        built, more = _build_all(target, catalog, None, events, failed)
        tell_of_trouble(settings, target, catalog, datetime.now(UTC), note)
        if not as_json:
            say_captured(captured, as_json=False)
        finish([*applied, *built], {**failed, **more}, as_json=as_json)


def _arrived(settings: Settings, lake: Lake, catalog: Catalog) -> list[Captured]:
    """The inbox, where there is one, and the topics, unless all that is named is an inbox."""
    if settings.inbox is not None:
        for each in take_inbox(lake, catalog, settings.inbox, now=datetime.now(UTC)):
            told = report(each.name, each.faults).rstrip() if each.faults else None
            note(told or f"{each.name}: {each.rows:,} rows of {each.table} {each.verdict}")
        if settings.bootstrap is None:
            return []
    return [capture_kafka(settings, catalog)]


def _apply_all(
    lake: Lake, catalog: Catalog, tables: Sequence[str] | None, events: RunEvents
) -> tuple[list[Applied], dict[str, MedallionError]]:
    now, cut = datetime.now(UTC), plan_cut(lake, catalog)
    for notice in cut.notices:
        note(notice)
    with counter("events applied") as advance:
        return apply_all(
            lake,
            catalog,
            chosen(catalog, "silver", tables),
            now=now,
            cut=cut,
            after=_judging(lake, catalog, now),
            progress=advance,
            events=events,
        )


def _build_all(
    lake: Lake,
    catalog: Catalog,
    tables: Sequence[str] | None,
    events: RunEvents,
    failed: Collection[str] = (),
) -> tuple[list[Built], dict[str, MedallionError]]:
    now, wanted = datetime.now(UTC), chosen(catalog, "gold", tables)
    judging = _judging(lake, catalog, now)
    return build_all(lake, catalog, wanted, now=now, after=judging, failed=failed, events=events)


def _judging(lake: Lake, catalog: Catalog, now: datetime) -> After:
    def judge(done: Applied | Built) -> Sequence[RuleResult]:
        return keep_quality(lake, catalog, done.table, now, run_id=f"cli/{now:%Y%m%dT%H%M%S%f}")

    return judge
