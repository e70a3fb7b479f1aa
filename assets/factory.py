"""Assets made from contracts: one a table, with a check a rule."""

# Dagster reads the annotations of asset functions at run time and knows no MaterializeResult[...].
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.arrivals import pull_tables, read_topics, take_files, upload_metadata
from assets.checks import check_results, check_specs
from assets.describe import (
    bronze_metadata,
    column_lineage,
    definition_metadata,
    kinds,
    owners,
    run_metadata,
    source_key,
    source_metadata,
)
from assets.keys import key_of, table_of
from assets.staleness import code_version, data_version
from assets.telling import run_events
from lineage.graph import TableLineage
from pipelines.bronze import BRONZE
from pipelines.checks import unproven
from pipelines.contract import Catalog, Contract
from pipelines.contract.rules import rules_of
from pipelines.cut import Cut, plan_cut
from pipelines.gold import Built, build, inputs_of
from pipelines.ingest import open_lake
from pipelines.plan import parents_of
from pipelines.provenance import LINEAGE, keep_lineage, source_of
from pipelines.quality import judge_table, keep_results, keep_rules
from pipelines.run_events import Told
from pipelines.settings import load_settings
from pipelines.silver import Applied, apply
from pipelines.status import count
from pipelines.storage import Lake
from pipelines.version import CODE_VERSION


def source_assets(catalog: Catalog) -> list[dg.AssetSpec]:
    """The source tables, so that the graph begins at the database."""
    return [
        dg.AssetSpec(
            source_key(source_of(contract)),
            group_name=contract.domain,
            description=f"The source table behind {contract.table}.",
            kinds={contract.source.connector} if contract.source else set(),
            owners=owners(contract),
            metadata=source_metadata(contract),
        )
        for contract in catalog.layer("silver")
    ]


def bronze_assets(catalog: Catalog, lineage: Mapping[str, TableLineage]) -> dg.AssetsDefinition:
    """All bronze tables, read by one consumer; a run may ask for some of them."""
    by_bronze = {contract.bronze: contract for contract in catalog.layer("silver")}
    specs = [_bronze_spec(name, each, lineage[name]) for name, each in by_bronze.items()]

    @dg.multi_asset(name="capture", specs=specs, can_subset=True)
    def capture(context: dg.AssetExecutionContext) -> Iterator[Any]:
        settings = load_settings()
        wanted = [by_bronze[table_of(key)] for key in context.selected_asset_keys]
        topics = [contract.source.topic for contract in wanted if contract.source]
        lake = open_lake(settings)
        events = run_events(context, lake, catalog)
        with events.steps(contract.bronze for contract in wanted):
            uploaded = take_files(context, settings, lake, catalog)
            pull_tables(context, settings, lake, catalog, [each.table for each in wanted])
            done = read_topics(settings, catalog, topics)
        for notice in done.notices if done else ():
            context.log.warning(str(notice))
        for contract in wanted:
            topic = contract.source.topic if contract.source else ""
            reached = {
                str(part.partition): offset
                for part, offset in (done.next_offsets if done else {}).items()
                if part.topic == topic
            }
            yield dg.MaterializeResult(
                asset_key=key_of(contract.bronze),
                data_version=data_version(lake, contract.bronze),
                metadata={
                    "dagster/row_count": count(lake, contract.bronze) or 0,
                    "version": lake.version(contract.bronze) or 0,
                    "dagster/column_lineage": column_lineage(lineage[contract.bronze]),
                    "next_offsets": dg.MetadataValue.json(reached),
                    "seconds": done.seconds if done else 0.0,
                    **upload_metadata(uploaded, contract.table),
                },
            )

    return capture


def _bronze_spec(bronze: str, contract: Contract, lineage: TableLineage) -> dg.AssetSpec:
    topic = contract.source.topic if contract.source else ""
    return dg.AssetSpec(
        key_of(bronze),
        deps=[source_key(source_of(contract))],
        group_name=contract.domain,
        description=f"Every record of topic {topic}, as it came.",
        kinds=kinds("bronze"),
        owners=owners(contract),
        code_version=CODE_VERSION,
        metadata=bronze_metadata(bronze, topic, BRONZE, lineage),
    )


#: The cuts of the last runs of this process: all tables of a run are applied to one.
_CUTS: dict[str, Cut] = {}


def _cut(lake: Lake, catalog: Catalog, run_id: str) -> Cut:
    """The cut of a run, planned by the first silver table of it; other processes plan their own."""
    if run_id not in _CUTS:
        while len(_CUTS) >= 8:
            _CUTS.pop(next(iter(_CUTS)))
        _CUTS[run_id] = plan_cut(lake, catalog)
    return _CUTS[run_id]


def silver_asset(
    catalog: Catalog, contract: Contract, lineage: TableLineage
) -> dg.AssetsDefinition:
    """A silver table with its history and quarantine."""
    deps = [key_of(contract.bronze), *(key_of(parent) for parent in parents_of(contract))]

    @_asset(contract, deps, lineage)
    def made(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        lake, now = open_lake(load_settings()), datetime.now(UTC)
        limit = _cut(lake, catalog, context.run.run_id).of(contract.table)
        with run_events(context, lake, catalog).step(contract.table) as told:
            report = apply(lake, catalog, contract.table, now=now, limit=limit)
            waiting = count(lake, contract.sibling("quarantine")) or 0
            context.log.info(
                "%d events: %d kept, %d deleted, %d quarantined",
                report.events,
                report.kept,
                report.deleted,
                report.quarantined,
            )
            shown = {"quarantine_rows": waiting}
            return _result(context, lake, contract, lineage, report, now, told, **shown)

    return made


def gold_asset(catalog: Catalog, contract: Contract, lineage: TableLineage) -> dg.AssetsDefinition:
    """A gold table."""
    deps = sorted({key_of(name) for name in inputs_of(contract)})

    @_asset(contract, deps, lineage)
    def made(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        lake, now = open_lake(load_settings()), datetime.now(UTC)
        with run_events(context, lake, catalog).step(contract.table) as told:
            if refused := unproven(catalog).get(contract.table):
                raise refused
            report = build(lake, catalog, contract.table, batch_id=context.run.run_id, now=now)
            context.log.info(
                "%d rows, %s", report.rows, "a new version" if report.changed else "as they were"
            )
            if report.why is not None:
                context.log.info("computed whole: %s", report.why)
            return _result(context, lake, contract, lineage, report, now, told)

    return made


def lineage_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The `data_lineage` table."""

    @dg.asset(
        key=key_of(LINEAGE),
        group_name="system",
        kinds={"deltalake"},
        description="What feeds what: every table and column, with its transformation and dependency level.",
    )
    def data_lineage() -> Any:
        lake = open_lake(load_settings())
        rows = keep_lineage(lake, catalog, datetime.now(UTC))
        return dg.MaterializeResult(
            metadata={"dagster/row_count": rows, "dagster/table_name": LINEAGE},
            data_version=data_version(lake, LINEAGE),
        )

    return data_lineage


def _asset(contract: Contract, deps: Sequence[dg.AssetKey], lineage: TableLineage) -> Any:
    key = key_of(contract.table)
    return dg.asset(
        key=key,
        deps=list(deps),
        group_name=contract.domain,
        description=contract.description,
        kinds=kinds(contract.layer),
        owners=owners(contract),
        tags=dict.fromkeys(contract.tags, ""),
        metadata=definition_metadata(contract, lineage, load_settings().catalog),
        code_version=code_version(contract),
        check_specs=list(check_specs(contract)),
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=contract.freshness)
        if contract.freshness
        else None,
    )


def _result(
    context: dg.AssetExecutionContext,
    lake: Lake,
    contract: Contract,
    lineage: TableLineage,
    report: Applied | Built,
    now: datetime,
    told: Told,
    **extra: Any,
) -> dg.MaterializeResult[Any]:
    """The materialisation with every rule's result, which is kept as data too."""
    if lake.version(contract.table) is None:
        raise dg.Failure(
            f"{contract.table} has no input yet: nothing was captured from {contract.bronze}"
        )
    key = key_of(contract.table)
    results = judge_table(lake, contract)
    keep_rules(lake, rules_of(contract), now)
    keep_results(lake, results, now, context.run.run_id)
    told.done(report, results)
    rows = count(lake, contract.table) or 0
    return dg.MaterializeResult(
        asset_key=key,
        metadata=run_metadata(report, rows, lineage, extra),
        data_version=data_version(lake, contract.table),
        check_results=list(check_results(lake, contract, results, now, context.run.run_id)),
    )
