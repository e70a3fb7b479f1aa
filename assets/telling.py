"""Dagster's runs told to OpenLineage, as the commands' are: each step a child of the Dagster run."""

from __future__ import annotations

import atexit
from functools import cache

import dagster as dg

from lineage.openlineage.facts import ParentFact
from pipelines.contract import Catalog
from pipelines.run_events import Listener, RunEvents, open_listener
from pipelines.run_facts import RunFacts
from pipelines.settings import load_settings
from pipelines.storage import Lake


def run_events(context: dg.AssetExecutionContext, lake: Lake, catalog: Catalog) -> RunEvents:
    """The events of this step's run."""
    settings = load_settings()
    return RunEvents(
        facts=_facts(lake, catalog, settings.bootstrap, settings.exports_root),
        listener=_listener(),
        namespace=settings.job_namespace,
        parent=ParentFact(run_id=context.run.run_id, job=f"dagster.{context.run.job_name}"),
    )


#: The facts that the last step used: they hold the lineage of all tables, worked out once.
_LAST: list[RunFacts] = []


def _facts(lake: Lake, catalog: Catalog, bootstrap: str | None, exports: str) -> RunFacts:
    facts = RunFacts(lake, catalog, bootstrap, exports=exports)
    _LAST[:] = [each for each in _LAST if each == facts] or [facts]
    return _LAST[0]


@cache
def _listener() -> Listener | None:
    """One for the process: steps share its thread, and the last of its events go at the end."""
    listener = open_listener(load_settings())
    if listener is not None:
        atexit.register(listener.close)
    return listener
