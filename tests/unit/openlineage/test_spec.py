"""The schema that events are held to asks for what the published specification asks for.

Stated by hand from the published schemas, so that a slip of the derived one is seen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.openlineage.parts import VALIDATOR
from tests.unit.openlineage.published import published
from tests.unit.openlineage.spec import formats

#: What must be there, by class; of a facet beside `_producer` and `_schemaURL`.
REQUIRED = """
base.RunEvent                  eventTime eventType job producer run schemaURL
base.Run                       runId
base.Job                       name namespace
base.InputDataset              name namespace
base.OutputDataset             name namespace
parent_run.ParentRunFacet      job run
parent_run.Run                 runId
parent_run.Job                 name namespace
processing_engine_run.ProcessingEngineRunFacet  version
error_message_run.ErrorMessageRunFacet          message programmingLanguage
job_type_job.JobTypeJobFacet   integration processingType
documentation_job.DocumentationJobFacet         description
ownership_job.OwnershipJobFacet
ownership_job.Owner            name
sql_job.SQLJobFacet            query
source_code_job.SourceCodeJobFacet              language sourceCode
source_code_location_job.SourceCodeLocationJobFacet  type url
schema_dataset.SchemaDatasetFacet
schema_dataset.SchemaDatasetFacetFields         name
tags_dataset.TagsDatasetFacet
tags_dataset.TagsDatasetFacetFields             key value
dataset_version_dataset.DatasetVersionDatasetFacet  datasetVersion
documentation_dataset.DocumentationDatasetFacet     description
ownership_dataset.OwnershipDatasetFacet
ownership_dataset.Owner        name
storage_dataset.StorageDatasetFacet             storageLayer
symlinks_dataset.SymlinksDatasetFacet
symlinks_dataset.Identifier    name namespace type
column_lineage_dataset.ColumnLineageDatasetFacet    fields
column_lineage_dataset.Fields  inputFields
column_lineage_dataset.InputField               field name namespace
column_lineage_dataset.Transformation           type
data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet  assertions
data_quality_assertions_dataset.Assertion       assertion success
data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet  columnMetrics
data_quality_metrics_input_dataset.ColumnMetrics
output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
"""

#: Forms other than plain text, by class and field.
FORMS = """
base.RunEvent      eventTime date-time
base.RunEvent      producer  uri
base.Run           runId     uuid
parent_run.Run     runId     uuid
base.BaseFacet     _producer uri
base.BaseFacet     _schemaURL uri
source_code_location_job.SourceCodeLocationJobFacet url uri
"""

DEFINITIONS: dict[str, Any] = VALIDATOR.schema["$defs"]


def _lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


@pytest.mark.parametrize(("name", "fields"), [(n, set(f)) for n, *f in _lines(REQUIRED)])
def test_what_the_specification_requires_is_required(name: str, fields: set[str]) -> None:
    schema = DEFINITIONS[name]
    facet = {"_producer", "_schemaURL"} if "_producer" in schema["properties"] else set[str]()
    assert set(schema["required"]) == fields | facet


@pytest.mark.parametrize(("name", "field", "form"), _lines(FORMS))
def test_the_forms_of_the_specification_are_checked(name: str, field: str, form: str) -> None:
    assert DEFINITIONS[name]["properties"][field]["format"] == form


# ---- A CHECKOUT ---- #

AT = "https://openlineage.io/spec"
CORE = {
    "$id": f"{AT}/2-0-2/OpenLineage.json",
    "$defs": {
        "RunEvent": {
            "required": ["eventTime"],
            "properties": {"eventTime": {"format": "date-time"}},
        },
        "JobFacet": {"required": ["_producer"], "properties": {"_producer": {"format": "uri"}}},
    },
}
FACET = {
    "$id": f"{AT}/facets/1-1-0/SQLJobFacet.json",
    "$defs": {
        "SQLJobFacet": {
            "allOf": [
                {"$ref": f"{AT}/1-0-2/OpenLineage.json#/$defs/JobFacet"},
                {"required": ["query"]},
            ]
        }
    },
}


def test_a_checkout_of_the_specification_is_asked_of_events_and_facets(tmp_path: Path) -> None:
    (tmp_path / "facets").mkdir()
    (tmp_path / "OpenLineage.json").write_text(json.dumps(CORE))
    (tmp_path / "facets" / "SQLJobFacet.json").write_text(json.dumps(FACET))
    faults = published(tmp_path, formats())

    def event(time: str = "2026-01-01T00:00:00Z", **facet: str) -> dict[str, Any]:
        sql = {
            "_producer": "urn:x",
            "_schemaURL": f"{FACET['$id']}#/$defs/SQLJobFacet",
            "query": "q",
        }
        return {"eventTime": time, "job": {"facets": {"sql": sql | facet}}}

    assert faults(event()) == []
    assert len(faults(event(time="yesterday"))) == 1
    assert len(faults(event(_producer="me"))) == 1
    (unknown,) = faults(event(_schemaURL=f"{AT}/facets/9-0-0/SQLJobFacet.json#/$defs/SQLJobFacet"))
    assert "no such schema" in unknown
