"""Writer schemas by id: from a Confluent-compatible registry, or from a file that holds them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from pipelines.errors import RegistryError, SettingsError

_HINT = "check the registry's URL and that it runs; nothing was read, so running again is safe"


class Registry(Protocol):
    """Where the schema that a message was written with is found by its id."""

    def schema(self, identity: int) -> Any:
        """The Avro schema, parsed; None when no such id is known.

        Raises:
            RegistryError: when the registry does not answer, so that nothing can be said.
        """
        ...

    def versions(self, subject: str) -> Mapping[int, Any]:
        """The schemas of a subject by their version; none when there is no such subject.

        Raises:
            RegistryError: when the registry does not answer.
        """
        ...

    def level(self, subject: str) -> str:
        """The compatibility that a subject's new versions must have, its own or the registry's.

        Raises:
            RegistryError: when the registry does not answer.
        """
        ...


#: What a registry asks of new versions where nobody set anything (Confluent, "Schema Evolution").
DEFAULT_LEVEL = "BACKWARD"


def open_registry(place: str | None, options: Mapping[str, str]) -> Registry | None:
    """The registry at a URL, or a JSON file `{"schemas": {"<id>": {...}}}`; None when none is named.

    A file may also say of which ids a subject's versions are, and their level:
    `"subjects": {"orders-value": [1, 2]}, "compatibility": {"orders-value": "FULL"}`.

    `options` are those of confluent-kafka's SchemaRegistryClient, as `basic.auth.user.info`.

    Raises:
        SettingsError: when the place or an option is not one.
    """
    if not place:
        return None
    if place.startswith(("http://", "https://")):
        return _Http(place, options)
    return _File(Path(place.removeprefix("file://")))


class _Http:
    """Asks a registry over HTTP; what it said once about an id holds for ever."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        # Imported here: it costs a third of a second that only users of Avro should pay.
        from confluent_kafka.schema_registry import SchemaRegistryClient

        try:
            self._client = SchemaRegistryClient({"url": url, **_typed(options)})
        except (ValueError, TypeError) as error:
            raise SettingsError(f"the registry's options are wrong: {error}") from error
        self._url = url
        self._known: dict[int, Any] = {}

    def schema(self, identity: int) -> Any:
        if identity not in self._known:
            self._known[identity] = self._ask(identity)
        return self._known[identity]

    def _ask(self, identity: int) -> Any:
        found = self._answer(lambda: self._client.get_schema(identity))
        if found is None or found.schema_type not in (None, "AVRO") or not found.schema_str:
            return None
        return _with_references(self._client, found)

    def versions(self, subject: str) -> Mapping[int, Any]:
        numbers = self._answer(lambda: self._client.get_versions(subject)) or ()
        found = {n: self._answer(lambda n=n: self._client.get_version(subject, n)) for n in numbers}
        return {
            number: _with_references(self._client, each.schema)
            for number, each in found.items()
            if each is not None
        }

    def level(self, subject: str) -> str:
        own = self._answer(lambda: self._client.get_compatibility(subject))
        return own or self._answer(self._client.get_compatibility) or DEFAULT_LEVEL

    @staticmethod
    def _answer(ask: Callable[[], Any]) -> Any:
        """What the registry says; None where it knows nothing of what it is asked."""
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return ask()
        except SchemaRegistryError as error:
            if error.http_status_code == 404:
                return None
            raise RegistryError(
                f"the schema registry answers {error.http_status_code}", hint=_HINT
            ) from error
        except Exception as error:  # the client lets its HTTP library's own errors through
            raise RegistryError(
                f"the schema registry does not answer: {type(error).__name__}", hint=_HINT
            ) from error


def _typed(options: Mapping[str, str]) -> dict[str, Any]:
    """The options with numbers as numbers; the client refuses a retry count that is a text."""
    return {name: int(value) if value.isdecimal() else value for name, value in options.items()}


def _with_references(client: Any, found: Any) -> Any:
    """The schema; types that it takes from other subjects are put where they are first used."""
    parsed = json.loads(found.schema_str)
    for reference in found.references or ():
        other = client.get_version(reference.subject, reference.version).schema
        parsed = _inline(parsed, str(reference.name), _with_references(client, other), [False])
    return parsed


def _inline(schema: Any, name: str, other: Any, done: list[bool]) -> Any:
    if schema == name and not done[0]:
        done[0] = True
        return other
    if isinstance(schema, list):
        return [_inline(part, name, other, done) for part in schema]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(schema, dict):
        deep = {"type", "items", "values", "fields"}
        return {
            key: _inline(value, name, other, done) if key in deep else value
            for key, value in schema.items()
        }  # pyright: ignore[reportUnknownVariableType]
    return schema


class _File:
    """Schemas kept beside a recorded stream."""

    def __init__(self, path: Path) -> None:
        try:
            parsed: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"the schemas in {path} cannot be read: {type(error).__name__}",
                hint='give a registry\'s URL, or a JSON file {"schemas": {"1": {...}}}',
            ) from error
        schemas = parsed.get("schemas", parsed) if isinstance(parsed, dict) else {}
        self._schemas: dict[str, Any] = {str(key): _parsed(value) for key, value in schemas.items()}
        told = parsed if isinstance(parsed, dict) and "schemas" in parsed else {}
        self._subjects: dict[str, list[Any]] = told.get("subjects", {})
        self._levels: dict[str, str] = told.get("compatibility", {})

    def schema(self, identity: int) -> Any:
        return self._schemas.get(str(identity))

    def versions(self, subject: str) -> Mapping[int, Any]:
        numbers = enumerate(self._subjects.get(subject, ()), 1)
        found = {number: self._schemas.get(str(identity)) for number, identity in numbers}
        return {number: schema for number, schema in found.items() if schema is not None}

    def level(self, subject: str) -> str:
        return self._levels.get(subject, DEFAULT_LEVEL)


def _parsed(value: Any) -> Any:
    """A schema as JSON, as JSON text, or as a registry answers: `{"schema": "<text>"}`."""
    if isinstance(value, dict) and isinstance(value.get("schema"), str) and "type" not in value:
        value = value["schema"]
    return (
        json.loads(value) if isinstance(value, str) and value.startswith(("{", "[", '"')) else value
    )
