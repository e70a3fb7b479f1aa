"""What a contract says: a table's source, columns, rules and promises. A Contract that exists is valid."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, Field, field_validator, model_validator

from pipelines.contract.base import (
    Duration,
    Strict,
    TableName,
    TypeName,
    did_you_mean,
    misplaced,
    parse_duration,
)
from pipelines.contract.export import Export
from pipelines.contract.features import Features
from pipelines.contract.forecast import Forecast
from pipelines.contract.mask import GroupSize, MaskSpec
from pipelines.contract.rule_spec import AnyRule, with_full_names
from pipelines.contract.source import Source, fault_of_source, parents_of, takes

__all__ = ["Contract", "did_you_mean", "parse_duration"]

#: Delta refuses these in a column's name unless column mapping is on, which Polars cannot read.
_FORBIDDEN_IN_COLUMN = set(" ,;{}()\n\t=")

#: Columns that silver adds to every row; a contract cannot name a column so.
AUDIT_COLUMNS = (
    "data_quality_score",
    "quality_checks_passed",
    "quality_issues",
    "source_bronze_id",
    "source_timestamp",
    "source_epoch",
    "source_commit",
    "source_event",
    "source_offset",
    "processed_at",
    "processing_version",
)

Layer = Literal["silver", "gold", "export"]
Classification = Literal["public", "internal", "confidential", "restricted"]
Encoding = Literal[
    "text", "number", "base64", "base64-url-safe", "hex", "days", "millis", "micros", "nanos", "iso", "uint64", "bits", "utf8", "timeuuid"
]  # fmt: skip


def _plain_column_name(name: str) -> str:
    if not name or _FORBIDDEN_IN_COLUMN & set(name):
        raise ValueError(
            f"column '{name}' has a character Delta does not allow in a name; "
            "give the column a plain name and put the source's name under 'source:'"
        )
    if name in AUDIT_COLUMNS or name.startswith("_"):
        raise ValueError(f"column '{name}' is reserved for the columns silver adds")
    return name


ColumnName = Annotated[str, AfterValidator(_plain_column_name)]


class Column(Strict):
    """One column: its type, what it means, and what must hold of each value."""

    type: TypeName
    required: bool = Field(default=False, description="No nulls: an error rule.")
    description: str = ""
    classification: Classification = "internal"
    mask: MaskSpec | None = Field(
        default=None, description="Gold: what the build puts on it. Silver: the one gold must use."
    )
    min: int | float | str | None = Field(default=None, description="Smallest value allowed.")
    max: int | float | str | None = Field(default=None, description="Largest value allowed.")
    pattern: str | None = Field(default=None, description="A regular expression each text matches.")
    values: tuple[str | int | bool, ...] | None = Field(
        default=None, description="The only values allowed."
    )
    unique: bool = Field(
        default=False, description="No two rows share a value: checked on the table."
    )
    source: str | None = Field(
        default=None,
        description="The field's name in the message; of MongoDB and events a path, as in address.city. "
        "`$` is the whole document, `$rest` what no other column takes of it, `$time` when the source wrote.",
    )
    default: str | None = Field(
        default=None,
        description="The text of the value in messages whose schema does not know the field: Avro's reader default.",
    )
    was: tuple[str, ...] = Field(
        default=(), description="Names that the field had in older messages, the latest first."
    )
    encoding: Encoding | None = Field(
        default=None,
        description="How schemaless messages write it, where it differs from the source's modes.",
    )
    special: Literal["refuse", "null"] = Field(
        default="refuse",
        description="What becomes of a value that no number or calendar holds (NaN, infinity, BC): "
        "its row is refused, or it is null and the row says so.",
    )

    @model_validator(mode="after")
    def _enum_has_values(self) -> Self:
        if self.type.kind == "enum" and not self.values:
            raise ValueError("an enum lists its 'values'")
        return self


Policy = Literal["evolve", "try", "ignore", "refuse"]


class Drift(Strict):
    """What to do when messages depart from the contract.

    `evolve`: the table follows the source. `try`: the contract stays; values that fit are taken, a
    row with one that does not is quarantined. `ignore`: the same, and nothing is said. `refuse`: the
    table stops where it is until the contract is mended.
    """

    add: Policy = Field(
        default="try", description="A field that no column takes: left out unless evolve."
    )
    drop: Policy = Field(
        default="try", description="A column without its field: null from then on."
    )
    widen: Policy = Field(default="try", description="The field holds more than the column.")
    narrow: Policy = Field(default="ignore", description="The field holds less than the column.")
    retype: Policy = Field(default="try", description="The field is of another type.")
    key: Literal["try", "ignore", "refuse"] = Field(
        default="refuse", description="The messages' key has other fields than the contract's."
    )


class Retention(Strict):
    """How long rows stay: durations, with the word that starts the clock."""

    archive_after: str | None = None
    delete_after: str | None = None
    tombstones: Duration = Field(
        default=timedelta(days=30), description="How long a delete is remembered."
    )


class SurrogateKey(Strict):
    """An integer key of a dimension, given to each new natural key once and kept for ever."""

    column: ColumnName
    of: tuple[str, ...] = Field(min_length=1)


#: The column that a table without a key gets as its key.
ROW_ID = "row_id"


class Contract(Strict):
    """One table's contract; see the repository's JSON Schema for the YAML."""

    table: TableName
    description: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = "1.0.0"
    source: Source | None = None
    identity: Literal["key", "event", "row"] = Field(
        default="key",
        description="What tells rows apart: the key; or of a table without one, the event that "
        "inserted it (rows are never changed), or all its columns (REPLICA IDENTITY FULL).",
    )
    key: tuple[str, ...] = Field(
        default=(), validate_default=True, description="The columns that identify a row."
    )
    history: bool = Field(default=False, description="Keep every version (type 2).")
    tenant: ColumnName | None = Field(
        default=None,
        description="The column that says whose row it is; 'medallion query --tenant' shows nobody else's.",
    )
    withheld: tuple[str, ...] = Field(
        default=(),
        description="Fields of the messages that never leave bronze (password hashes, tokens): no column "
        "may take them, drift does not speak of them, and quarantine keeps no copy of their event.",
    )
    freshness: Duration | None = None
    retention: Retention = Retention()
    drift: Drift = Drift()
    tags: tuple[str, ...] = ()
    columns: dict[ColumnName, Column] = Field(min_length=1)
    surrogate_key: SurrogateKey | None = None
    features: Features | None = None
    forecast: Forecast | None = Field(default=None, description="What the table foretells (gold).")
    batch_id: ColumnName | None = Field(
        default=None, description="A column that names the build which wrote the row."
    )
    group_size: GroupSize | None = Field(
        default=None, description="How many people each row stands for, at least (gold)."
    )
    export: Export | None = Field(default=None, description="The file that an export writes.")
    rules: tuple[AnyRule, ...] = ()
    on_error: Literal["go_on", "stop"] = Field(
        default="go_on",
        description="What follows when rows break an error rule, beside their quarantine: with 'stop', "
        "Dagster builds nothing of this table in that run.",
    )
    path: Path = Field(default=Path(), exclude=True, json_schema_extra={"deprecated": True})
    sql: str | None = Field(default=None, exclude=True, json_schema_extra={"deprecated": True})

    @property
    def layer(self) -> str:
        """`silver`, `gold` or `export`."""
        return self.table.split(".")[0]

    @property
    def domain(self) -> str:
        """The folder the table belongs to."""
        return self.table.split(".")[1]

    @property
    def name(self) -> str:
        """The table's own name."""
        return self.table.split(".")[2]

    def sibling(self, layer: str) -> str:
        """The table of the same domain and name in another layer."""
        return f"{layer}.{self.domain}.{self.name}"

    @property
    def bronze(self) -> str:
        """The bronze table that feeds this one."""
        named = self.source.bronze if self.source else None
        return named or self.sibling("bronze")

    @property
    def export_file(self) -> str:
        """The file that an export writes, below the folder of exports."""
        form = self.export.format if self.export else ""
        return (self.export and self.export.path) or f"{self.domain}/{self.name}.{form}"

    def field_of(self, column: str) -> str:
        """The message's field behind a column."""
        return self.columns[column].source or column

    @property
    def nested(self) -> bool:
        """Whether a dot in a field's name leads into a structure: a column of a database may have one."""
        return self.source is not None and self.source.nested

    @property
    def parents(self) -> frozenset[str]:
        """The paths of the structures in messages that columns look into."""
        if not self.nested:
            return frozenset()
        return parents_of(
            [
                *(c.source or n for n, c in self.columns.items()),
                *(w for c in self.columns.values() for w in c.was),
            ]
        )

    def classified(self) -> frozenset[str]:
        """The columns whose values no log, error or sample may show."""
        return frozenset(
            name
            for name, column in self.columns.items()
            if column.classification in ("confidential", "restricted")
        )

    @model_validator(mode="before")
    @classmethod
    def _with_row_id(cls, given: Any) -> Any:
        """A table without a key has the key that we give its rows."""
        if not isinstance(given, dict) or given.get("identity", "key") == "key":
            return given  # pyright: ignore[reportUnknownVariableType]
        told: dict[str, Any] = dict(given)  # pyright: ignore[reportUnknownArgumentType]
        if told.get("key") not in (None, (), [], (ROW_ID,), [ROW_ID]):
            raise ValueError(
                f"'identity: {told['identity']}' is for tables without a key; leave 'key' out"
            )
        own = {
            "type": "string",
            "description": "Tells this row from its likes; no column of the source.",
        }
        return {**told, "key": (ROW_ID,), "columns": {**told.get("columns", {}), ROW_ID: own}}

    @model_validator(mode="before")
    @classmethod
    def _with_full_names(cls, given: Any) -> Any:
        """A rule may name a table of its own domain by its name alone."""
        parts = str(given.get("table")).split(".") if isinstance(given, dict) else []  # pyright: ignore[reportUnknownMemberType]
        if len(parts) != len(["layer", "domain", "name"]) or not isinstance(given.get("rules"), list | tuple):  # fmt: skip
            return given
        rules = [with_full_names(rule, parts[1]) for rule in given["rules"]]
        return {**given, "rules": rules}

    @field_validator("key")
    @classmethod
    def _some_key(cls, key: tuple[str, ...]) -> tuple[str, ...]:
        if not key:
            raise ValueError(
                "a table has a key; one without says 'identity: event' or 'identity: row'"
            )
        return key

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.layer not in get_args(Layer):
            raise ValueError(f"table '{self.table}': a contract is for silver, gold or export")
        if (self.layer == "silver") != (self.source is not None):
            raise ValueError("a silver table has a 'source', a gold table and an export have none")
        if (self.layer == "export") != (self.export is not None):
            raise ValueError("an export says its 'export: {format: ...}', and nothing else does")
        if self.source is not None and self.source.connector == "mongodb" and len(self.key) != 1:
            raise ValueError("a MongoDB document has one key: the column of its '_id'")
        for name in self.key:
            self._refuse_unknown(name, "key", ("key",))
        if self.tenant is not None:
            self._refuse_unknown(self.tenant, "tenant", ("tenant",))
            if self.layer == "gold" and self.tenant not in self.key:
                raise ValueError(f"'{self.tenant}' is the tenant, so it is a part of the key")
        self._refuse_withheld()
        self._refuse_no_field()
        self._refuse_ill_named_rules()
        return self

    def _refuse_ill_named_rules(self) -> None:
        for at, rule in enumerate(self.rules):
            for name in rule.columns():
                self._refuse_unknown(name, f"rule '{rule.name}'", ("rules", at))
        names = [rule.name for rule in self.rules]
        for at, name in enumerate(names):
            if name in names[:at]:
                raise misplaced(f"two rules share the name '{name}'", place=("rules", at))

    def _refuse_withheld(self) -> None:
        if self.withheld and self.source is None:
            raise ValueError("'withheld' names fields of messages, which a gold table has none of")
        for name, column in self.columns.items():
            fields = (column.source or name, *column.was)
            taken = {w for w in self.withheld for f in fields if takes(f, column.type, w, nested=self.nested)}  # fmt: skip
            if taken:
                raise ValueError(f"column '{name}' takes '{min(taken)}', which is withheld")

    def _refuse_no_field(self) -> None:
        for name, column in self.columns.items():
            fault = fault_of_source(column.source or name, column.type.kind, nested=self.nested)
            if (column.source or name) in self.parents:
                fault = (
                    "takes a structure of which other columns take parts",
                    "take its parts, and what is left by '$rest'",
                )
            if fault:
                raise misplaced(
                    f"column '{name}' {fault[0]}", place=("columns", name), hint=fault[1]
                )

    @model_validator(mode="after")
    def _releasable(self) -> Self:
        """The build can put on each mask of a gold table, and can see the size of its groups."""
        if self.layer == "silver":
            if self.group_size is not None or self.forecast is not None:
                raise ValueError("'group_size' and 'forecast' are for gold tables")
            return self
        if self.forecast is not None:
            fault = self.forecast.fault(
                {name: column.type for name, column in self.columns.items()}
            )
            if fault is not None:
                raise misplaced(
                    f"a forecast needs the column '{fault[0]}' ({fault[1]})", place=("forecast",)
                )
        if self.export is not None:
            told = {name: (c.type, c.model_fields_set) for name, c in self.columns.items()}
            self.export.refuse_unkept((n for n in self.model_fields_set if getattr(self, n)), told)
        for name, column in self.columns.items():
            required = column.required or name in self.key
            fault = column.mask and column.mask.fault(column.type, required=required)
            if fault:
                raise ValueError(f"columns.{name}.mask: {fault}")
        if self.group_size is not None:
            self._refuse_unknown(self.group_size.column, "group_size", ("group_size",))
        return self

    def _refuse_unknown(self, column: str, where: str, place: tuple[str | int, ...]) -> None:
        if column not in self.columns:
            raise misplaced(
                f"{where} names column '{column}', which the contract does not have",
                place=place,
                hint=did_you_mean(column, self.columns),
            )
