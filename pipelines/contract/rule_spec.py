"""What a contract's rules can say."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipelines.contract.base import IDENTIFIER, Duration, Strict, TableName, TypeName

SeverityName = Literal["error", "warning", "info"]


class NotNull(Strict):
    """No null in the column."""

    column: str


class Range(Strict):
    """Values between `min` and `max`, both allowed."""

    column: str
    min: int | float | str | None = None
    max: int | float | str | None = None


class Pattern(Strict):
    """Each text matches the regular expression somewhere."""

    column: str
    regex: str


class ValueSet(Strict):
    """Only these values."""

    column: str
    values: tuple[str | int | bool, ...] = Field(min_length=1)


class Unique(Strict):
    """No two rows of the table share these columns."""

    columns: tuple[str, ...] = Field(min_length=1)


class Reference(Strict):
    """The value stands in a column of another silver table."""

    column: str
    table: TableName
    column_there: str


class Expression(Strict):
    """A condition over several columns."""

    sql: str = Field(
        min_length=1, description="A SQL condition over the row's columns; true is valid."
    )


class Length(Strict):
    """Characters of a text, bytes, or items of a list: between `min` and `max`, both allowed."""

    column: str
    min: int | None = Field(default=None, ge=0)
    max: int | None = Field(default=None, ge=0)


class Type(Strict):
    """Each text can be read as the type (ISO 8601 dates and times)."""

    column: str
    type: Literal["integer", "number", "boolean", "date", "timestamp"]


class Format(Strict):
    """Each text has the format: an address, or a code of an ISO standard."""

    column: str
    format: Literal[
        "email", "url", "uuid", "ipv4", "phone", "country", "country3", "subdivision", "currency", "language", "language3", "script"
    ]  # fmt: skip


class Freshness(Strict):
    """The newest time in the column is at most this old."""

    column: str
    within: Duration


class Volume(Strict):
    """The table's rows are between `min` and `max`; those of the last whole day (UTC, by `column`)
    between `at_least` and `at_most` times the mean of the `days` before.
    """  # noqa: D205 - one sentence

    column: str | None = None
    days: int = Field(default=7, ge=1)
    at_least: float | None = Field(default=None, ge=0)
    at_most: float | None = Field(default=None, gt=0)
    min: int | None = Field(default=None, ge=0)
    max: int | None = Field(default=None, ge=0)


class DistributionDrift(Strict):
    """The column's values of the last `days` (by the time column `by`) are spread as those before."""

    column: str
    by: str
    days: int = Field(default=7, ge=1)
    most: float = Field(
        default=0.2, gt=0, description="The population stability index that is still no drift."
    )


class TableSchema(Strict):
    """The table has these columns; those of the contract when left out."""

    columns: dict[str, TypeName] | None = None
    exact: bool = Field(default=False, description="And no others.")


class Reconciliation(Strict):
    """Kept and quarantined rows together are as many as `medallion verify` last counted at the source."""

    within: float = Field(default=0, ge=0, lt=1, description="The share they may differ by.")


class RuleRow(Strict):
    """A rule as a row of `data_quality_rules` has it."""

    rule_id: str = Field(min_length=1)
    table_name: str | None = None
    column_name: str | None = None
    rule_name: Annotated[str, Field(pattern=rf"^{IDENTIFIER}$")] | None = None
    rule_type: str
    rule_config: dict[str, Any] = Field(default_factory=dict[str, Any])
    severity: str = "ERROR"
    is_active: bool = True
    description: str = ""
    owner: str | None = None


class RuleSpec(Strict):
    """A named rule: exactly one of its kinds."""

    name: Annotated[str, Field(pattern=rf"^{IDENTIFIER}$")]
    id: str | None = Field(
        default=None, min_length=1, description="Its rule_id; by default one of table and name."
    )
    description: str = ""
    owner: str | None = Field(
        default=None, description="Who mends it; by default the table's owner."
    )
    severity: SeverityName = "error"
    active: bool = True
    mostly: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="The share of rows that must keep it for the table to pass.",
    )
    not_null: NotNull | None = None
    range: Range | None = None
    length: Length | None = None
    pattern: Pattern | None = None
    set: ValueSet | None = None
    type: Type | None = None
    format: Format | None = None
    unique: Unique | None = None
    reference: Reference | None = None
    expression: Expression | None = None
    freshness: Freshness | None = None
    volume: Volume | None = None
    drift: DistributionDrift | None = None
    schema_: TableSchema | None = Field(default=None, alias="schema")
    reconciliation: Reconciliation | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if len(self.kinds()) != 1:
            raise ValueError(
                f"rule '{self.name}' names {len(self.kinds())} kinds; give one of {', '.join(RULE_KINDS)}"
            )
        return self

    def kinds(self) -> list[str]:
        """The kinds that are filled in: one, in a rule that exists."""
        return [kind for kind in RULE_KINDS if self._of(kind) is not None]

    @property
    def body(self) -> Any:
        """What the rule's kind says."""
        return self._of(self.kinds()[0])

    def columns(self) -> tuple[str, ...]:
        """The columns that the rule names; an expression's stand in its SQL."""
        body = self.body
        if isinstance(body, Unique):
            return body.columns
        named = (getattr(body, "column", None), getattr(body, "by", None))
        return tuple(name for name in named if name is not None)

    def _of(self, kind: str) -> Any:
        return getattr(self, "schema_" if kind == "schema" else kind)


RULE_KINDS = (
    "not_null", "range", "length", "pattern", "set", "type", "format", "unique", "reference", "expression",
    "freshness", "volume", "drift", "schema", "reconciliation",
)  # fmt: skip

# ---- RULES AS ROWS ---- #


def from_row(given: Any) -> Any:
    """A rule written as a row of `data_quality_rules`, in a contract's words; any other as it is."""
    if not isinstance(given, dict) or "rule_type" not in given:
        return given  # pyright: ignore[reportUnknownVariableType]
    row = RuleRow.model_validate(given)
    kind = row.rule_type.lower()
    if kind not in RULE_KINDS:
        raise ValueError(
            f"rule_type '{row.rule_type}' is none of {', '.join(name.upper() for name in RULE_KINDS)}"
        )
    body = dict(row.rule_config)
    if kind == "reference" and "column" in body:
        body["column_there"] = body.pop("column")
    if row.column_name is not None:
        columns = [name.strip() for name in row.column_name.split(",")]
        body |= {"columns": columns} if kind == "unique" else {"column": columns[0]}
    plain = re.sub(r"[^a-z0-9]+", "_", row.rule_id.lower()).strip("_")
    named = row.rule_name or (plain if plain[:1].isalpha() else f"rule_{plain}")
    return {
        "name": named,
        "id": row.rule_id,
        "severity": row.severity.lower(),
        "active": row.is_active,
        "description": row.description,
        "owner": row.owner,
        kind: body,
    }


def with_full_names(rule: Any, domain: str) -> Any:
    """The rule with a table of its own domain, named by its name alone, under its full name."""
    if not isinstance(rule, dict):
        return rule
    told: dict[str, Any] = dict(rule)  # pyright: ignore[reportUnknownArgumentType]
    for body in ("reference", "rule_config"):
        inner = told.get(body)
        if isinstance(inner, dict):
            table: Any = inner.get("table")  # pyright: ignore[reportUnknownMemberType]
            if isinstance(table, str) and re.fullmatch(IDENTIFIER, table):
                told[body] = {**inner, "table": f"silver.{domain}.{table}"}
    return told


AnyRule = Annotated[RuleSpec, BeforeValidator(from_row, json_schema_input_type=RuleSpec | RuleRow)]
