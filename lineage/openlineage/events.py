"""Facts as OpenLineage run events, built with the client's own classes, so that versions agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from typing import Any

from openlineage.client import event_v2
from openlineage.client.facet_v2 import (
    BaseFacet,
    column_lineage_dataset,
    data_quality_assertions_dataset,
    data_quality_metrics_input_dataset,
    dataset_version_dataset,
    documentation_dataset,
    documentation_job,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    ownership_dataset,
    ownership_job,
    parent_run,
    processing_engine_run,
    schema_dataset,
    source_code_job,
    source_code_location_job,
    sql_job,
    storage_dataset,
    symlinks_dataset,
    tags_dataset,
)

from lineage.flow import OPENLINEAGE, IndirectKind, Transformation
from lineage.openlineage.facts import DatasetFact, JobFact, Place, StepFact

#: Who makes the events, as the URI that the specification asks for.
_PRODUCER = "urn:medallion:{}"

_INTEGRATION = "MEDALLION"

#: The storage layer and the file format of what lies in files.
_STORAGE = {
    "delta": ("delta", "parquet"),
    "parquet": ("file", "parquet"),
    "csv": ("file", "csv"),
    "jsonl": ("file", "json"),
}

_Facets = dict[str, Any]
_InputField = column_lineage_dataset.InputField


def event_of(step: StepFact) -> event_v2.RunEvent:
    """The run event of one state of a step.

    Raises:
        ValueError: a fact is not what the specification allows, as a run id that is no UUID.
    """
    producer = _PRODUCER.format(step.adapter)
    event = event_v2.RunEvent(
        eventType=event_v2.RunState(step.state),
        eventTime=step.at.astimezone(UTC).isoformat(timespec="milliseconds"),
        run=event_v2.Run(step.run_id, _run_facets(step)),
        job=event_v2.Job(step.namespace, step.job.name, _job_facets(step.job)),
        inputs=[_input(dataset, step.namespace) for dataset in step.inputs],
        outputs=[_output(dataset, step.namespace) for dataset in step.outputs],
        producer=producer,
    )
    _sign(producer, *_facet_groups(event))
    return event


def revive(stored: Mapping[str, Any]) -> event_v2.RunEvent:
    """An event from its JSON: what the client writes of it again is that JSON."""
    run, job = stored["run"], stored["job"]
    event = event_v2.RunEvent(
        eventType=event_v2.RunState(stored["eventType"]),
        eventTime=stored["eventTime"],
        run=event_v2.Run(run["runId"], dict(run.get("facets", {}))),
        job=event_v2.Job(job["namespace"], job["name"], job.get("facets", {})),
        inputs=[event_v2.InputDataset(**each) for each in stored.get("inputs", ())],
        outputs=[event_v2.OutputDataset(**each) for each in stored.get("outputs", ())],
        producer=stored["producer"],
    )
    parent = run.get("facets", {}).get("parent")
    if parent is not None and event.run.facets is not None:
        # Kafka's transport reads the parent's job, to keep a run's events in one partition.
        facet = _parent(parent["run"]["runId"], parent["job"])
        event.run.facets["parent"] = facet
        _sign(event.producer, {"parent": facet})
    return event


def _facet_groups(event: event_v2.RunEvent) -> Iterator[Mapping[str, BaseFacet] | None]:
    yield event.run.facets
    yield event.job.facets
    for read in event.inputs or ():
        yield read.facets
        yield read.inputFacets
    for written in event.outputs or ():
        yield written.facets
        yield written.outputFacets


def _sign(producer: str, *groups: Mapping[str, BaseFacet] | None) -> None:
    """Our name on each facet: the client would write its own."""
    for facets in groups:
        for facet in (facets or {}).values():
            facet._producer = producer  # pyright: ignore[reportPrivateUsage] - OpenLineage's name


# ---- RUN AND JOB ---- #


def _run_facets(step: StepFact) -> _Facets:
    name, version = step.engine
    facets: _Facets = {
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            version=version, name=name, openlineageAdapterVersion=step.adapter
        )
    }
    if step.parent is not None:
        job = {"namespace": step.namespace, "name": step.parent.job}
        facets["parent"] = _parent(step.parent.run_id, job)
    if step.failure is not None:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=step.failure.message,
            programmingLanguage="python",
            stackTrace=step.failure.trace,
        )
    return facets


def _parent(run_id: str, job: Mapping[str, str]) -> parent_run.ParentRunFacet:
    return parent_run.ParentRunFacet(
        run=parent_run.Run(run_id),
        job=parent_run.Job(job["namespace"], job["name"]),
    )


def _job_facets(job: JobFact) -> _Facets:
    facets: _Facets = {
        "jobType": job_type_job.JobTypeJobFacet(
            processingType="STREAMING" if job.streaming else "BATCH",
            integration=_INTEGRATION,
            jobType=job.type,
        )
    }
    if job.description:
        facets["documentation"] = documentation_job.DocumentationJobFacet(job.description)
    if job.owner:
        facets["ownership"] = ownership_job.OwnershipJobFacet([ownership_job.Owner(job.owner)])
    if job.sql:
        facets["sql"] = sql_job.SQLJobFacet(job.sql)
    if job.source:
        facets["sourceCode"] = source_code_job.SourceCodeJobFacet(*job.source)
    if job.code:
        facets["sourceCodeLocation"] = source_code_location_job.SourceCodeLocationJobFacet(
            type="git",
            url=job.code.url,
            repoUrl=job.code.url,
            path=job.code.path,
            version=job.code.commit,
            branch=job.code.branch,
        )
    return facets


# ---- DATASETS ---- #


def _input(fact: DatasetFact, namespace: str) -> event_v2.InputDataset:
    judged: _Facets = {}
    if fact.checks:
        judged["dataQualityAssertions"] = _assertions(fact)
        judged["dataQualityMetrics"] = _metrics(fact)
    return event_v2.InputDataset(
        fact.place.namespace,
        fact.place.name,
        facets=_dataset_facets(fact, namespace),
        inputFacets=judged,
    )


def _output(fact: DatasetFact, namespace: str) -> event_v2.OutputDataset:
    facets = _dataset_facets(fact, namespace)
    if fact.lineage is not None:
        facets["columnLineage"] = column_lineage(fact)
    written: _Facets = {}
    if fact.rows_written is not None:
        written["outputStatistics"] = (
            output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                rowCount=fact.rows_written
            )
        )
    return event_v2.OutputDataset(
        fact.place.namespace, fact.place.name, facets=facets, outputFacets=written
    )


def _dataset_facets(fact: DatasetFact, namespace: str) -> _Facets:
    facets: _Facets = {}
    if fact.columns:
        facets["schema"] = schema_dataset.SchemaDatasetFacet(
            [
                schema_dataset.SchemaDatasetFacetFields(
                    each.name, each.type, each.description or None
                )
                for each in fact.columns
            ]
        )
    tags = [
        tags_dataset.TagsDatasetFacetFields(
            "classification", each.classification, source=_INTEGRATION, field=each.name
        )
        for each in fact.columns
        if each.classification
    ]
    if tags:
        facets["tags"] = tags_dataset.TagsDatasetFacet(tags)
    if fact.version is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(fact.version)
    if fact.description:
        facets["documentation"] = documentation_dataset.DocumentationDatasetFacet(fact.description)
    if fact.owner:
        owner = ownership_dataset.Owner(fact.owner)
        facets["ownership"] = ownership_dataset.OwnershipDatasetFacet([owner])
    if fact.format in _STORAGE:
        facets["storage"] = storage_dataset.StorageDatasetFacet(*_STORAGE[fact.format])
    if fact.table:
        known = symlinks_dataset.Identifier(namespace, fact.table, "TABLE")
        facets["symlinks"] = symlinks_dataset.SymlinksDatasetFacet([known])
    return facets


def _assertions(
    fact: DatasetFact,
) -> data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet:
    return data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
        [
            data_quality_assertions_dataset.Assertion(
                assertion=check.kind.lower(),
                success=check.passed,
                column=check.columns[0] if len(check.columns) == 1 else None,
                severity=check.severity,
                name=check.name,
                description=check.description or None,
                expected="0" if check.passed == (check.failed_count == 0) else None,
                actual=str(check.failed_count),
                params=None,
            )
            for check in fact.checks
        ]
    )


def _metrics(
    fact: DatasetFact,
) -> data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet:
    """Counts that the rules took: of rows, and of nulls where a rule forbids them."""
    nulls = {
        check.columns[0]: data_quality_metrics_input_dataset.ColumnMetrics(
            nullCount=check.failed_count, quantiles=None
        )
        for check in fact.checks
        if check.kind == "NOT_NULL" and len(check.columns) == 1
    }
    counted = max((c.record_count for c in fact.checks if not c.on_table), default=None)
    return data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet(
        nulls, rowCount=counted
    )


# ---- COLUMN LINEAGE ---- #


def column_lineage(fact: DatasetFact) -> column_lineage_dataset.ColumnLineageDatasetFacet:
    """How the columns of an output are made of those of the inputs.

    What decides about all rows stands once, under `dataset`; what decides about some columns stands
    with those, as an indirect transformation.
    """
    lineage = fact.lineage
    if lineage is None:
        return column_lineage_dataset.ColumnLineageDatasetFacet({})
    found: dict[str, dict[tuple[str, str], list[Transformation | IndirectKind]]] = {
        column: {} for column in lineage.columns
    }
    whole: dict[tuple[str, str], list[Transformation | IndirectKind]] = {}
    for column, sources in lineage.columns.items():
        for source in sources:
            ways = found[column].setdefault((source.table, source.column), [])
            ways.append(source.transformation)
    for each in lineage.indirect:
        groups = [whole] if each.outputs is None else [found[name] for name in each.outputs]
        for group in groups:
            group.setdefault((each.table, each.column), []).append(each.kind)
    masked = {column.name for column in fact.columns if column.masked}
    fields = {
        column: column_lineage_dataset.Fields(_fields(ways, fact.places, masked=column in masked))
        for column, ways in found.items()
        if ways
    }
    return column_lineage_dataset.ColumnLineageDatasetFacet(
        fields, dataset=_fields(whole, fact.places)
    )


def _fields(
    ways: Mapping[tuple[str, str], Iterable[Transformation | IndirectKind]],
    places: Mapping[str, Place],
    *,
    masked: bool = False,
) -> list[_InputField]:
    return [
        _InputField(
            places[table].namespace,
            places[table].name,
            column,
            [_transformation(how, masked=masked) for how in dict.fromkeys(hows)],
        )
        for (table, column), hows in sorted(ways.items())
    ]


def _transformation(
    how: Transformation | IndirectKind, *, masked: bool
) -> column_lineage_dataset.Transformation:
    kind, subtype = OPENLINEAGE[how]
    return column_lineage_dataset.Transformation(
        type=kind,
        subtype=subtype,
        description=how,
        masking=True if masked and kind == "DIRECT" else None,
    )
