"""What reaches bronze in a run: files, pages of APIs, records of topics; and the sensor that watches the inbox."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.schedules import everything, under_way
from pipelines.contract import Catalog
from pipelines.errors import MedallionError, PullError
from pipelines.files.fault import report
from pipelines.files.inbox import take_inbox, waiting
from pipelines.files.upload import Uploaded, Verdict
from pipelines.ingest import Captured, capture_kafka
from pipelines.pull.pull import client_of, is_reachable, pull, pullable
from pipelines.settings import Settings, load_settings
from pipelines.storage import Lake


def take_files(
    context: dg.AssetExecutionContext, settings: Settings, lake: Lake, catalog: Catalog
) -> list[Uploaded]:
    """What waits in the inbox, where there is one; a file that is set aside is a warning, and fails nothing else."""
    done = list[Uploaded]()
    if settings.inbox is None:
        return done
    for each in take_inbox(lake, catalog, settings.inbox, now=datetime.now(UTC)):
        if each.verdict is Verdict.SET_ASIDE:
            context.log.warning(report(each.name, each.faults))
        else:
            context.log.info("%s: %d rows of %s %s", each.name, each.rows, each.table, each.verdict)
        done.append(each)
    return done


def pull_tables(
    context: dg.AssetExecutionContext,
    settings: Settings,
    lake: Lake,
    catalog: Catalog,
    tables: Sequence[str],
) -> None:
    """What the APIs of these tables have, where somebody said where they are; one that is down is a warning."""
    for table in tables:
        if table not in pullable(catalog) or not is_reachable(settings, catalog[table]):
            continue
        try:
            client = client_of(settings, catalog[table])
            done = pull(lake, catalog, table, client, now=datetime.now(UTC))
        except PullError as error:
            context.log.warning("%s: %s", table, error)
        else:
            context.log.info("%s: %d new rows of %d items", table, done.rows, done.items)


def upload_metadata(done: Sequence[Uploaded], table: str) -> dict[str, Any]:
    """What was uploaded for a table, and the reports of what was set aside; nothing where nothing came."""
    own = [each for each in done if each.table == table]
    if not own:
        return {}
    aside = [report(each.name, each.faults) for each in own if each.verdict is Verdict.SET_ASIDE]
    told: dict[str, Any] = {
        "files_taken": sum(each.verdict is Verdict.LANDED for each in own),
        "files_set_aside": len(aside),
    }
    if aside:
        told["set_aside"] = dg.MetadataValue.md("```\n" + "\n".join(aside) + "```")
    return told


def read_topics(settings: Settings, catalog: Catalog, topics: Sequence[str]) -> Captured | None:
    """The topics to their ends; None where rows come by other ways, and nobody named a broker."""
    if (settings.inbox is not None or settings.apis) and settings.bootstrap is None:
        return None
    return capture_kafka(settings, catalog, topics=topics)


def inbox_sensor() -> dg.SensorDefinition:
    """Looks every half minute whether files wait in the inbox."""

    @dg.sensor(
        name="inbox",
        job=everything,
        minimum_interval_seconds=30,
        description="Starts a run when files wait in the inbox (MEDALLION_INBOX).",
    )
    def inbox(context: dg.SensorEvaluationContext) -> Iterator[Any]:
        settings = load_settings()
        if settings.inbox is None:
            yield dg.SkipReason("no inbox is named; set MEDALLION_INBOX")
            return
        try:
            files = waiting(settings.inbox, datetime.now(UTC))
        except MedallionError as error:
            yield dg.SkipReason(str(error))
            return
        if not files:
            yield dg.SkipReason("the inbox is empty")
            return
        if under_way(context):
            yield dg.SkipReason("a run is under way; what it leaves is taken by the next")
            return
        mark = json.dumps([(path.name, path.stat().st_mtime_ns) for path in files])
        # The same files seen twice: the run for them has failed, and said so.
        if mark == context.cursor:
            yield dg.SkipReason(f"a run was started for these {len(files)} files, and left them")
            return
        context.update_cursor(mark)
        yield dg.RunRequest(
            run_key=hashlib.sha256(mark.encode()).hexdigest(), tags={"files": str(len(files))}
        )

    return inbox
