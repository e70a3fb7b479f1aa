"""Files that a run takes from the inbox, as Dagster tells of them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from pipelines.contract import Catalog
from pipelines.files.fault import report
from pipelines.files.inbox import take_inbox
from pipelines.files.upload import Uploaded, Verdict
from pipelines.settings import Settings
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
