"""The OpenLineage specification as a JSON Schema to validate events with.

Read from the classes that OpenLineage's own generator makes of the published schemas (OpenLineage.json
2-0-2 and its facets), as `openlineage-python` ships them: names, types, what is required, formats,
and under which name each facet must say that it is described. No package ships the schemas
themselves: `test_spec.py` states what they require, and `published.py` reads them from a checkout.
"""

from __future__ import annotations

import importlib
import pkgutil
import types
import typing
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import attr
from jsonschema import Draft202012Validator, FormatChecker
from openlineage.client import generated
from openlineage.client.generated import base

#: Filled in by the client, so that its classes do not ask for them; the specification does.
_ALWAYS = {"producer", "schemaURL", "_producer", "_schemaURL"}

#: The key of each facet, as the facets' own schemas give it, by the module of its class.
_KEYS = {"dataset_version_dataset": "version", "processing_engine_run": "processing_engine"}

_GROUPS = {
    base.RunFacet: "run",
    base.JobFacet: "job",
    base.OutputDatasetFacet: "output",
    base.InputDatasetFacet: "input",
    base.DatasetFacet: "dataset",
}

_FORMATS = {"isoparse": "date-time", "UUID": "uuid", "urlparse": "uri"}

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}


def validator() -> Draft202012Validator:
    """What says whether a JSON document is a run event."""
    definitions = dict[str, Any]()
    top = _object(base.RunEvent, definitions)
    event = definitions[_name(base.RunEvent)]
    event["properties"]["schemaURL"] = {
        "const": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
    }
    event["required"].append("eventType")  # a state is what we always tell
    return Draft202012Validator({**top, "$defs": definitions}, format_checker=formats())


def _facet_classes() -> Iterator[tuple[str, str, type]]:
    """Group (run, job, dataset ...), key and class of every facet there is."""
    for module in pkgutil.iter_modules(generated.__path__):
        name, loaded = module.name, importlib.import_module(f"{generated.__name__}.{module.name}")
        for each in vars(loaded).values():
            if not (isinstance(each, type) and each.__module__ == loaded.__name__):
                continue
            group = next((g for parent, g in _GROUPS.items() if issubclass(each, parent)), None)
            if group is not None and each not in _GROUPS:
                words = name.removesuffix("_dataset").removesuffix("_job").removesuffix("_run")
                first, *rest = words.removesuffix("_input").removesuffix("_output").split("_")
                yield group, _KEYS.get(name, first + "".join(w.title() for w in rest)), each


def _name(cls: type) -> str:
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"


def _facets(definitions: dict[str, Any], group: str) -> dict[str, Any]:
    known = {k: _object(each, definitions) for g, k, each in _facet_classes() if g == group}
    return {
        "type": "object",
        "properties": known,
        "additionalProperties": _object(base.BaseFacet, definitions),
    }


def _object(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """A reference to the schema of a class, which `definitions` then holds."""
    name = _name(cls)
    if name not in definitions:
        definitions[name] = {}  # a class may hold itself
        hints = typing.get_type_hints(cls)
        properties, required = dict[str, Any](), list[str]()
        for each in attr.fields(cls):
            typed = _typed(hints[each.name], cls, each.name, definitions)
            properties[each.name] = typed | _format(each)
            if each.default is attr.NOTHING or each.name in _ALWAYS:
                required.append(each.name)
        if "_schemaURL" in properties and cls is not base.BaseFacet:
            properties["_schemaURL"] = {"const": cls._get_schema()}
        definitions[name] = {"type": "object", "properties": properties, "required": required}
    return {"$ref": f"#/$defs/{name}"}


def _typed(hint: Any, owner: type, name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    if name in ("facets", "inputFacets", "outputFacets"):
        group = _group(owner, name)
        return _facets(definitions, group) if group else {"type": "object"}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    inner = [_typed(e, owner, "", definitions) for e in arguments if e is not type(None)]
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": inner}
    if origin is list:
        return {"type": "array", "items": inner[0]}
    if origin is dict:
        return {"type": "object", "additionalProperties": inner[1]}
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [each.value for each in hint]}
    return _object(hint, definitions) if isinstance(hint, type) and attr.has(hint) else {}


def _group(owner: type, name: str) -> str | None:
    if name != "facets":
        return name.removesuffix("Facets")
    groups = {base.Run: "run", base.Job: "job", base.Dataset: "dataset"}
    return next((group for parent, group in groups.items() if issubclass(owner, parent)), None)


def _format(field: attr.Attribute[Any]) -> dict[str, Any]:
    code = getattr(field.validator, "__code__", None)
    names = set(code.co_names) if code else set[str]()
    found = next((form for word, form in _FORMATS.items() if word in names), None)
    return {"format": found} if found else {}


def formats() -> FormatChecker:
    """The forms that the specification names; none of them is asked for as an optional library has it."""
    checker = FormatChecker(formats=())

    @checker.checks("uuid", raises=ValueError)
    def _(text: object) -> bool:
        return not isinstance(text, str) or bool(UUID(text))

    @checker.checks("date-time", raises=ValueError)
    def _(text: object) -> bool:
        return not isinstance(text, str) or datetime.fromisoformat(text).tzinfo is not None

    @checker.checks("uri", raises=ValueError)
    def _(text: object) -> bool:
        return not isinstance(text, str) or bool(urlsplit(text).scheme)

    return checker
