"""A rule: a named promise of a table's rows. A rule that exists can be judged.

A row rule is a Polars expression, true = valid. A null verdict counts as valid, since whether a
value may be null is a rule of its own (NOT_NULL). UNIQUE speaks of the whole table: it is counted
and reported, and does not send rows to quarantine, since which of two twins is wrong is unknown.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from functools import cached_property
from typing import Any

import polars as pl

_NAMESPACE = uuid.UUID("5d0f6a5c-6a3a-5d52-9a0b-6f0f0b6ad1c7")


class RuleKind(StrEnum):
    """What a rule speaks of; the names are those of the `data_quality_rules` table."""

    NOT_NULL = "NOT_NULL"
    RANGE = "RANGE"
    PATTERN = "PATTERN"
    SET = "SET"
    UNIQUE = "UNIQUE"
    REFERENCE = "REFERENCE"
    EXPRESSION = "EXPRESSION"


class Severity(StrEnum):
    """What follows when a row breaks the rule: error, the row is quarantined; else it is noted."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class RuleError(ValueError):
    """A rule that cannot be judged: names the rule, what is wrong, and what to write instead."""


_PARAMS: Mapping[RuleKind, tuple[frozenset[str], frozenset[str]]] = {
    RuleKind.NOT_NULL: (frozenset(), frozenset()),
    RuleKind.RANGE: (frozenset(), frozenset({"min", "max"})),
    RuleKind.PATTERN: (frozenset({"regex"}), frozenset()),
    RuleKind.SET: (frozenset({"values"}), frozenset()),
    RuleKind.UNIQUE: (frozenset(), frozenset()),
    RuleKind.REFERENCE: (frozenset({"table", "column"}), frozenset()),
    RuleKind.EXPRESSION: (frozenset({"sql"}), frozenset()),
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule of one table.

    `params` by kind: RANGE `min`, `max` (at least one; both allowed values); PATTERN `regex` (the
    text has a match); SET `values`; REFERENCE `table`, `column`; EXPRESSION `sql`, a condition.

    Raises:
        RuleError: on construction, when it could not be judged.
    """

    table: str
    name: str
    kind: RuleKind
    columns: tuple[str, ...]
    severity: Severity = Severity.ERROR
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    description: str = ""
    active: bool = True

    def __post_init__(self) -> None:
        needed, optional = _PARAMS[self.kind]
        unknown, missing = set(self.params) - needed - optional, needed - set(self.params)
        if unknown or missing:
            wrong = (
                f"has no parameter '{min(unknown)}'"
                if unknown
                else f"lacks the parameter '{min(missing)}'"
            )
            raise RuleError(
                f"rule '{self.name}': {self.kind} {wrong}; it takes {', '.join(sorted(needed | optional)) or 'none'}"
            )
        _CHECKS.get(self.kind, _no_check)(self)

    @cached_property
    def rule_id(self) -> str:
        """The rule's identity: the same for the same table and name."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.table}/{self.name}"))

    @property
    def on_rows(self) -> bool:
        """Whether the rule is judged row by row."""
        return self.kind is not RuleKind.UNIQUE

    def valid(
        self, types: Mapping[str, pl.DataType], parents: Mapping[str, pl.Series] | None = None
    ) -> pl.Expr:
        """True where a row keeps the rule, null where it does not apply.

        `parents` holds, by rule name, the values that a REFERENCE finds in its table.

        Raises:
            RuleError: when the rule names a column that `types` lacks, or compares it with
                something of another type.
        """
        for name in self.columns:
            if name not in types:
                raise RuleError(
                    f"rule '{self.name}' names column '{name}'; the columns are {', '.join(types)}"
                )
        if self.kind is RuleKind.EXPRESSION:
            return pl.sql_expr(self.params["sql"])
        column = pl.col(self.columns[0])
        if self.kind is RuleKind.NOT_NULL:
            return column.is_not_null()
        if self.kind is RuleKind.RANGE:
            return self._in_range(column, types[self.columns[0]])
        if self.kind is RuleKind.PATTERN:
            return column.cast(pl.String).str.contains(self.params["regex"])
        if self.kind is RuleKind.SET:
            return column.is_in(
                pl.Series(list(self.params["values"]))
                .cast(types[self.columns[0]], strict=False)
                .implode()
            )
        found = (parents or {})[self.name]
        return pl.when(column.is_not_null()).then(column.is_in(found.implode()))

    def _in_range(self, column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        verdict = pl.lit(value=True)
        low, high = self.params.get("min"), self.params.get("max")
        if low is not None:
            verdict = verdict & (column >= self._bound(low, dtype, ROUND_CEILING))
        if high is not None:
            verdict = verdict & (column <= self._bound(high, dtype, ROUND_FLOOR))
        return verdict

    def _bound(self, value: object, dtype: pl.DataType, rounding: str) -> pl.Expr:
        """A bound to compare with exactly: read from its text, so that no float comes between."""
        try:
            if dtype.is_temporal():
                return pl.lit(_moment(str(value), dtype))
            if dtype.is_float():
                return pl.lit(float(str(value)))
            number = Decimal(str(value))
        except (ArithmeticError, ValueError, pl.exceptions.PolarsError) as error:
            raise RuleError(
                f"rule '{self.name}': '{value}' is no {dtype} to compare '{self.columns[0]}' with"
            ) from error
        if dtype.is_integer():
            return pl.lit(int(number.to_integral_value(rounding)))
        if not isinstance(dtype, pl.Decimal):
            raise RuleError(
                f"rule '{self.name}': column '{self.columns[0]}' is {dtype}, which has no range"
            )
        # Between two neighbours of the column's scale no value lies, so the bound may move to the next.
        return pl.lit(
            number.quantize(Decimal(1).scaleb(-dtype.scale), rounding), pl.Decimal(38, dtype.scale)
        )


def _moment(text: str, dtype: pl.DataType) -> object:
    if isinstance(dtype, pl.Datetime):
        moment = datetime.fromisoformat(text)
        return (
            moment.replace(tzinfo=moment.tzinfo or UTC)
            if dtype.time_zone
            else moment.replace(tzinfo=None)
        )
    return date.fromisoformat(text[:10])


def _no_check(_rule: Rule) -> None:
    return None


def _check_range(rule: Rule) -> None:
    low, high = rule.params.get("min"), rule.params.get("max")
    if low is None and high is None:
        raise RuleError(f"rule '{rule.name}': RANGE wants 'min', 'max' or both")
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        raise RuleError(
            f"rule '{rule.name}': min {low} is larger than max {high}, so no value is valid"
        )


def _check_pattern(rule: Rule) -> None:
    try:
        pl.select(pl.lit("").str.contains(rule.params["regex"]))
    except pl.exceptions.PolarsError as error:
        raise RuleError(
            f"rule '{rule.name}': the regular expression does not compile: {_first_line(error)}; look-around and back references are not known"
        ) from error


def _check_expression(rule: Rule) -> None:
    try:
        pl.sql_expr(rule.params["sql"])
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise RuleError(
            f"rule '{rule.name}': the SQL condition does not parse: {_first_line(error)}"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


_CHECKS = {
    RuleKind.RANGE: _check_range,
    RuleKind.PATTERN: _check_pattern,
    RuleKind.EXPRESSION: _check_expression,
}
