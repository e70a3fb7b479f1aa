"""When things run: every night, and when topics have news."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from pipelines.alerts import tell_of_trouble
from pipelines.contract import Catalog
from pipelines.errors import MedallionError
from pipelines.ingest import open_lake
from pipelines.settings import load_settings
from pipelines.status import lags_of
from pipelines.upkeep import RETENTION_HOURS, keep_up

everything = dg.define_asset_job(
    "everything",
    selection=dg.AssetSelection.all(),
    description="Capture, apply and build all tables.",
)

nightly = dg.ScheduleDefinition(
    name="nightly",
    job=everything,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    description="All tables, at two in the night (UTC).",
)


@dg.op(
    description="Folds dead rows and small files away, and deletes files of versions a week old."
)
def maintain(context: dg.OpExecutionContext) -> None:
    """Upkeep of every table of the lake."""
    lake = open_lake(load_settings())

    def skipped(table: str, error: MedallionError) -> None:
        context.log.info("%s: left for the next time: %s", table, error)

    for kept in keep_up(lake, lake.tables(), retention_hours=RETENTION_HOURS, skipped=skipped):
        if kept.changed:
            context.log.info(
                "%s: %d files into %d, %d dead rows taken out, %d files deleted",
                kept.table, kept.files, kept.into, kept.dead, kept.deleted,
            )  # fmt: skip


@dg.job(description="Keeps tables small and quick to read; no row changes.")
def upkeep() -> None:
    """One step over all tables."""
    maintain()


upkeep_nightly = dg.ScheduleDefinition(
    name="upkeep_nightly",
    job=upkeep,
    cron_schedule="0 4 * * *",
    execution_timezone="UTC",
    description="Upkeep, at four in the night (UTC).",
)


def under_way(context: dg.SensorEvaluationContext) -> bool:
    """Whether a run of all tables is waiting or going on."""
    going_on = dg.RunsFilter(
        job_name=everything.name,
        statuses=[
            dg.DagsterRunStatus.QUEUED,
            dg.DagsterRunStatus.STARTING,
            dg.DagsterRunStatus.STARTED,
        ],
    )
    return context.instance.get_runs_count(going_on) > 0


def news_sensor(catalog: Catalog) -> dg.SensorDefinition:
    """Asks the broker every half minute whether a declared topic holds records that bronze does not."""

    @dg.sensor(
        name="news",
        job=everything,
        minimum_interval_seconds=30,
        description="Starts a run when topics have news.",
    )
    def news(context: dg.SensorEvaluationContext) -> Iterator[Any]:
        settings = load_settings()
        if not settings.bootstrap:
            yield dg.SkipReason("no broker is named; set MEDALLION_BOOTSTRAP")
            return
        try:
            lags = {
                topic: lag
                for topic, lag in lags_of(settings, open_lake(settings), catalog).items()
                if lag > 0
            }
        except MedallionError as error:
            yield dg.SkipReason(str(error))
            return
        if not lags:
            yield dg.SkipReason("bronze holds everything the topics have")
            return
        if under_way(context):
            yield dg.SkipReason(
                "a run is under way; it reads to the ends the topics had when it began"
            )
            return
        mark = json.dumps(lags, sort_keys=True)
        # The same lag seen twice is the same news: the run for it has failed, and said so.
        if mark == context.cursor:
            yield dg.SkipReason(
                f"a run was started for these {sum(lags.values())} records, and did not land them"
            )
            return
        context.update_cursor(mark)
        yield dg.RunRequest(
            run_key=hashlib.sha256(
                f"{mark}{context.last_tick_completion_time}".encode()
            ).hexdigest(),
            tags={"records": str(sum(lags.values()))},
        )

    return news


def alerts_sensor(catalog: Catalog) -> dg.SensorDefinition:
    """Looks every five minutes for what went wrong, and tells who asked for it."""

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells of failed error rules, growing quarantines and stale tables (alerts.yaml).",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        settings, said = load_settings(), list[str]()
        tell_of_trouble(settings, open_lake(settings), catalog, datetime.now(UTC), said.append)
        for each in said:
            context.log.warning(each)
        return dg.SkipReason("; ".join(said) or "what is new was told")

    return alerts
