"""Silver and gold brought to what bronze holds: a table that fails stops only what depends on it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from pipelines.checks import unproven
from pipelines.contract import Catalog
from pipelines.contract.rules import rules_of
from pipelines.cut import Cut
from pipelines.errors import MedallionError
from pipelines.export import Exported, Exports, export
from pipelines.gold import Built, build, inputs_of, order_of
from pipelines.plan import parents_of, silver_order
from pipelines.quality import judge_table, keep_results, keep_rules
from pipelines.run_events import RunEvents
from pipelines.run_facts import RunFacts
from pipelines.silver import Applied, apply
from pipelines.storage import Lake
from quality_rules.results import RuleResult

#: Called for each table that changed, once it has: to judge it as a whole, to report it.
After = Callable[[Applied | Built], Sequence[RuleResult] | None]


def chosen(catalog: Catalog, layer: str, tables: Sequence[str] | None) -> list[str]:
    """The tables of a layer that were asked for, in the order they are made.

    Raises:
        ContractError: when a table is named that no contract makes.
    """
    orders = {"silver": silver_order, "gold": order_of}
    order = orders[layer](catalog) if layer in orders else [c.table for c in catalog.layer(layer)]
    for table in tables or ():
        catalog[table]
    return [table for table in order if not tables or table in tables]


def apply_all(
    lake: Lake,
    catalog: Catalog,
    tables: Sequence[str],
    *,
    now: datetime,
    cut: Cut,
    after: After,
    progress: Callable[[int], None] = lambda _: None,
    events: RunEvents | None = None,
) -> tuple[list[Applied], dict[str, MedallionError]]:
    """Brings silver tables, in this order, to one cut; what was done, and what failed of which table."""
    done, failed = list[Applied](), dict[str, MedallionError]()
    events = events or RunEvents(RunFacts(lake, catalog))
    for table in tables:
        if any(parent in failed for parent in parents_of(catalog[table])):
            continue
        try:
            with events.step(table) as told:
                limit = cut.of(table)
                done.append(apply(lake, catalog, table, now=now, limit=limit, progress=progress))
                told.done(done[-1], after(done[-1]))
        except MedallionError as error:
            failed[table] = error
    return done, failed


def build_all(
    lake: Lake,
    catalog: Catalog,
    tables: Sequence[str],
    *,
    now: datetime,
    after: After,
    cut: Cut | None = None,
    failed: Collection[str] = (),
    events: RunEvents | None = None,
) -> tuple[list[Built], dict[str, MedallionError]]:
    """Builds gold tables, in this order, but not those that read a failed one, or that leak a secret."""
    done, errors, batch_id = list[Built](), dict[str, MedallionError](), str(uuid.uuid4())
    events = events or RunEvents(RunFacts(lake, catalog))
    refused = unproven(catalog)
    for table in tables:
        read = {name.replace("history.", "silver.", 1) for name in inputs_of(catalog[table])}
        if read & {*failed, *errors}:
            continue
        try:
            with events.step(table) as told:
                if table in refused:
                    raise refused[table]
                made = build(lake, catalog, table, batch_id=batch_id, now=now, cut=cut)
                done.append(made)
                told.done(made, after(made) if made.changed else None)
        except MedallionError as error:
            errors[table] = error
    return done, errors


def export_all(
    lake: Lake,
    catalog: Catalog,
    tables: Sequence[str],
    to: Exports,
    *,
    events: RunEvents | None = None,
) -> tuple[list[Exported], dict[str, MedallionError]]:
    """Writes exports, but none that leaks a secret; what was done, and what failed of which."""
    done, errors, refused = list[Exported](), dict[str, MedallionError](), unproven(catalog)
    events = events or RunEvents(RunFacts(lake, catalog))
    for table in tables:
        try:
            with events.step(table) as told:
                if table in refused:
                    raise refused[table]
                done.append(export(lake, catalog, table, to))
                told.done(done[-1])
        except MedallionError as error:
            errors[table] = error
    return done, errors


def keep_quality(
    lake: Lake, catalog: Catalog, table: str, now: datetime, *, run_id: str
) -> Sequence[RuleResult]:
    """Judges a table as a whole, and keeps its rules and their results, which are returned."""
    contract = catalog[table]
    keep_rules(lake, rules_of(contract), now)
    results = judge_table(lake, contract, now)
    keep_results(lake, results, now, run_id=run_id)
    return results
