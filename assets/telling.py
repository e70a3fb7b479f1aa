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
        facts=RunFacts(lake, catalog, settings.bootstrap),
        listener=_listener(),
        namespace=settings.job_namespace,
        parent=ParentFact(run_id=context.run.run_id, job=f"dagster.{context.run.job_name}"),
    )


@cache
def _listener() -> Listener | None:
    """One for the process: steps share its thread, and the last of its events go at the end."""
    listener = open_listener(load_settings())
    if listener is not None:
        atexit.register(listener.close)
    return listener
