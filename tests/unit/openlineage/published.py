"""The published schemas themselves, where a checkout of OpenLineage is: `OPENLINEAGE_SPEC=<checkout>/spec`.

They ship in no package. The checkout is that of the client's version, so that each facet's
`_schemaURL` names a file of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.exceptions import NoSuchResource, Unresolvable
from referencing.jsonschema import DRAFT202012

#: What is wrong with an event, as texts.
Faults = Callable[[Mapping[str, Any]], list[str]]


def published(spec: Path, formats: FormatChecker) -> Faults:
    """Holds events to the schemas of a folder, and each facet to the schema that it names itself."""
    files = [spec / "OpenLineage.json", *sorted((spec / "facets").glob("*.json"))]
    core, *facets = (json.loads(path.read_text("utf-8")) for path in files)

    def older(uri: str) -> Resource[Any]:
        # Facets that did not change since name the core by the version that it had then.
        if uri.endswith("/OpenLineage.json"):
            return DRAFT202012.create_resource(core)
        raise NoSuchResource(ref=uri)

    documents = [(each["$id"], DRAFT202012.create_resource(each)) for each in (core, *facets)]
    registry: Registry[Any] = Registry(retrieve=older).with_resources(documents)

    def told(reference: str, value: Any) -> Iterator[str]:
        schema = {"$ref": reference}
        validator = Draft202012Validator(schema, registry=registry, format_checker=formats)
        try:
            yield from (
                f"{reference}: {e.json_path}: {e.message}" for e in validator.iter_errors(value)
            )
        except Unresolvable:
            yield f"{reference}: no such schema in {spec}"

    def faults(event: Mapping[str, Any]) -> list[str]:
        found = [*told(f"{core['$id']}#/$defs/RunEvent", event)]
        for facet in _facets(event):
            found += told(str(facet.get("_schemaURL")), facet)
        return found

    return faults


def _facets(event: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    datasets = (*event.get("inputs", ()), *event.get("outputs", ()))
    for part in (event.get("run", {}), event.get("job", {}), *datasets):
        for group in ("facets", "inputFacets", "outputFacets"):
            yield from part.get(group, {}).values()
