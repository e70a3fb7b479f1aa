"""Where a table's messages come from, and what of them a column can take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pipelines.contract.arrivals import Api, Files
from pipelines.contract.base import Strict, TableName, did_you_mean
from pipelines.contract.types import DataType

#: What a column can take that is no field of the message, and its type: the whole document, what no
#: other column takes of it, and when the source wrote it.
WHOLE, REST, TIME = "$", "$rest", "$time"
_NO_FIELDS = {WHOLE: "json", REST: "json", TIME: "timestamp"}


class Source(Strict):
    """Where a silver table's changes come from, and how the connector was told to write values.

    The modes carry Debezium's own names and defaults (Postgres connector, "Data type mappings").
    They are read only where a message has no schema block; a schema block says it itself, save for
    `binary`, which Debezium leaves out of the schema.
    """

    connector: Literal[
        "postgres", "mysql", "mariadb", "sqlserver", "oracle", "mongodb", "cassandra", "events"
    ] = Field(
        description="The Debezium connector; or `events`: whole rows as flat JSON from an application, files or "
        "an API, ordered by when they came, with decimals and times as text."
    )
    topic: str = Field(min_length=1, description="The Kafka topic of the table.")
    bronze: TableName | None = Field(
        default=None, description="Its bronze table; bronze.<domain>.<name> when left out."
    )
    decimal: Literal["precise", "string", "double"] = "precise"
    time: Literal[
        "adaptive",
        "adaptive_time_microseconds",
        "connect",
        "isostring",
        "microseconds",
        "nanoseconds",
    ] = "adaptive"
    binary: Literal["bytes", "base64", "base64-url-safe", "hex"] = "bytes"
    placeholder: str = Field(
        default="__debezium_unavailable_value", description="unavailable.value.placeholder"
    )
    snapshot: Literal["whole", "partial"] = Field(
        default="whole",
        description="Whether a full snapshot reads every row: then rows it no longer has were deleted.",
    )
    files: Files | None = Field(default=None, description="Which uploaded files hold its rows.")
    api: Api | None = Field(default=None, description="Where its rows can be pulled from.")

    @model_validator(mode="before")
    @classmethod
    def _events_are_plain(cls, given: Any) -> Any:
        """No connector wrote an application's rows: decimals and times are text as people write it."""
        if isinstance(given, dict) and given.get("connector") == "events":
            return {"decimal": "string", "time": "isostring", **given}
        return given  # pyright: ignore[reportUnknownVariableType]

    @model_validator(mode="after")
    def _arrivals_are_events(self) -> Self:
        if (self.files or self.api) and self.connector != "events":
            raise ValueError(
                "'files' and 'api' give rows of 'connector: events', not a database's changes"
            )
        return self

    @property
    def nested(self) -> bool:
        """Whether messages are documents, so that a dot in a field's name leads into a structure.

        A column of a database, or of a file, may have one in its name.
        """
        return self.connector == "mongodb" or (self.connector == "events" and self.files is None)


def parents_of(paths: Iterable[str]) -> frozenset[str]:
    """The paths of the structures that these lead through."""
    parts = [path.split(".") for path in paths]
    return frozenset(".".join(path[:end]) for path in parts for end in range(1, len(path)))


def takes(field: str, kind: DataType, withheld: str, *, nested: bool) -> bool:
    """Whether a column of a field and a type holds what is withheld, all of it or a part."""
    if not nested or field == withheld:
        return field == withheld
    if field == WHOLE or field.startswith(f"{withheld}."):
        return True
    if not withheld.startswith(f"{field}."):
        return False
    while kind.item is not None:
        kind = kind.item
    member = withheld.removeprefix(f"{field}.").split(".")[0]
    if kind.kind != "struct":
        return True
    return member in kind.fields and takes(
        f"{field}.{member}", kind.fields[member], withheld, nested=nested
    )


def fault_of_source(field: str, kind: str, *, nested: bool) -> tuple[str, str | None] | None:
    """What is wrong with a column of this type that takes this field, and a hint; None: nothing."""
    if not field.startswith("$"):
        return None
    if field not in _NO_FIELDS:
        known = ", ".join(_NO_FIELDS)
        return f"takes '{field}', which is none of {known}", did_you_mean(field, _NO_FIELDS)
    if kind != _NO_FIELDS[field]:
        return f"takes '{field}', which is of type {_NO_FIELDS[field]}", None
    if field != TIME and not nested:
        return f"takes '{field}', which there is in documents alone: MongoDB's, and events", None
    return None
