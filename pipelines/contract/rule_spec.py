"""What a contract's rules can say."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.contract.base import IDENTIFIER, Strict, TableName

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


class RuleSpec(Strict):
    """A named rule: exactly one of its kinds."""

    name: Annotated[str, Field(pattern=rf"^{IDENTIFIER}$")]
    description: str = ""
    severity: SeverityName = "error"
    active: bool = True
    not_null: NotNull | None = None
    range: Range | None = None
    pattern: Pattern | None = None
    set: ValueSet | None = None
    unique: Unique | None = None
    reference: Reference | None = None
    expression: Expression | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if len(self.kinds()) != 1:
            raise ValueError(
                f"rule '{self.name}' names {len(self.kinds())} kinds; give one of {', '.join(RULE_KINDS)}"
            )
        return self

    def kinds(self) -> list[str]:
        """The kinds that are filled in: one, in a rule that exists."""
        return [kind for kind in RULE_KINDS if getattr(self, kind) is not None]


RULE_KINDS = ("not_null", "range", "pattern", "set", "unique", "reference", "expression")
