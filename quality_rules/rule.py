"""A rule: a named promise of a table's rows. A rule that exists can be judged.

A row rule is a Polars expression, true = valid. A null verdict counts as valid, since whether a
value may be null is a rule of its own (NOT_NULL). UNIQUE speaks of each row beside all the others:
it is counted and reported, and does not send rows to quarantine, since which of two twins is wrong
is unknown. The rules of `TABLE_KINDS` are aggregates: they speak of the table (`aggregates.py`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any

import polars as pl

from quality_rules.conditions import RAISED, condition
from quality_rules.formats import FORMATS, TYPES
from quality_rules.kinds import PARAMS, TABLE_KINDS, RuleError, RuleKind, Severity

__all__ = ["TABLE_KINDS", "Rule", "RuleError", "RuleKind", "Severity"]

#: Judged by a time, which is the last of their columns.
_TIMED = frozenset({RuleKind.FRESHNESS, RuleKind.VOLUME, RuleKind.DRIFT})

_NAMESPACE = uuid.UUID("5d0f6a5c-6a3a-5d52-9a0b-6f0f0b6ad1c7")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule of one table.

    `params` by kind (bounds are allowed values; of `min`, `max` at least one):

    * RANGE `min`, `max`; LENGTH `min`, `max`: characters, bytes, or items of a list
    * PATTERN `regex`: the text has a match; SET `values`; TYPE `type`; FORMAT `format`
    * REFERENCE `table`, `column`; EXPRESSION `sql`, a condition over the row's columns
    * FRESHNESS `within_seconds`: the newest time in the column is at most that old
    * VOLUME `min`, `max`: the table's rows; or of its column's last whole day (UTC) `at_least`,
      `at_most` times the mean of the `days` before
    * DRIFT `days`, `most`: the first column's distribution in the last days (by the second column,
      a time) has a population stability index of at most `most` against that of all days before
    * SCHEMA `columns`: Polars types by name; `exact`: and no others
    * RECONCILIATION `within`: the share by which the rows may differ from the source's count

    `mostly` is the share of the rows (0 to 1) that must keep the rule for the table to pass; what
    becomes of the rows that break it is the severity's to say. `id` names the rule in
    `data_quality_rules`; without it, table and name do.

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
    mostly: float = 1.0
    owner: str = ""
    id: str | None = None

    def __post_init__(self) -> None:
        needed, optional = PARAMS[self.kind]
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
        if not 0 < self.mostly <= 1:
            raise RuleError(
                f"rule '{self.name}': mostly {self.mostly} is no share; write for example 0.99"
            )
        _CHECKS.get(self.kind, _no_check)(self)

    @cached_property
    def rule_id(self) -> str:
        """The rule's identity: the one it was given, else the same for the same table and name."""
        return self.id or str(uuid.uuid5(_NAMESPACE, f"{self.table}/{self.name}"))

    @property
    def on_rows(self) -> bool:
        """Whether the rule is judged row by row."""
        return self.kind is not RuleKind.UNIQUE and not self.on_table

    @property
    def on_table(self) -> bool:
        """Whether the rule is judged by aggregates over the table: no row breaks it."""
        return self.kind in TABLE_KINDS

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """The columns that a verdict depends on; of an expression, those that its SQL names."""
        if self.kind is not RuleKind.EXPRESSION:
            return self.columns
        return tuple(dict.fromkeys(pl.sql_expr(self.params["sql"]).meta.root_names()))

    def valid(
        self, types: Mapping[str, pl.DataType], parents: Mapping[str, pl.Series] | None = None
    ) -> pl.Expr:
        """True where a row keeps the rule, null where it does not apply.

        `parents` holds, by rule name, the values that a REFERENCE finds in its table.

        Raises:
            RuleError: when the rule names a column that `types` lacks, or compares it with
                something of another type.
        """
        self.refuse_unknown(types)
        if self.kind is RuleKind.EXPRESSION:
            return pl.sql_expr(self.params["sql"])
        if self.kind is RuleKind.REFERENCE:
            column, found = pl.col(self.columns[0]), (parents or {})[self.name]
            return pl.when(column.is_not_null()).then(column.is_in(found.implode()))
        name = self.columns[0]
        return condition(self.kind, self.name, name, self.params, types[name])

    def refuse_unknown(self, types: Mapping[str, pl.DataType]) -> None:
        """Nothing, when all columns that the rule reads are there.

        Raises:
            RuleError: naming the first that is not.
        """
        for name in self.reads:
            if name not in types:
                raise RuleError(
                    f"rule '{self.name}' names column '{name}'; the columns are {', '.join(types)}"
                )

    def check(self, types: Mapping[str, pl.DataType]) -> None:
        """Nothing, when the rule can be judged on rows of these types.

        Raises:
            RuleError: when a column is missing, or is of a type the rule cannot be put to; when an
                expression is no condition.
        """
        self.refuse_unknown(types)
        if self.kind in _TIMED and self.columns and not types[self.columns[-1]].is_temporal():
            raise RuleError(
                f"rule '{self.name}': column '{self.columns[-1]}' is {types[self.columns[-1]]}, which is no time"
            )
        if not self.on_rows or self.kind is RuleKind.REFERENCE:
            return
        verdict = self.valid(types)
        if self.kind is not RuleKind.EXPRESSION:
            return
        try:
            # One row of nulls: some types meet only when the expression runs. Only of what it reads:
            # rules are checked whenever contracts are loaded, and tables are wide.
            read = pl.DataFrame(schema={name: types[name] for name in self.reads})
            told = read.clear(1).select(verdict.alias("v")).schema["v"]
        except RAISED as error:
            raise RuleError(
                f"rule '{self.name}': the SQL condition does not fit the columns: {_first_line(error)}"
            ) from error
        if told != pl.Boolean:
            raise RuleError(
                f"rule '{self.name}': the SQL is of type {told}; a condition is true or false"
            )


# ---- CHECKS ---- #


def _no_check(_rule: Rule) -> None:
    return None


def _check_bounds(rule: Rule) -> None:
    low, high = rule.params.get("min"), rule.params.get("max")
    if low is None and high is None:
        raise RuleError(f"rule '{rule.name}': {rule.kind} wants 'min', 'max' or both")
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        raise RuleError(
            f"rule '{rule.name}': min {low} is larger than max {high}, so no value is valid"
        )


def _check_pattern(rule: Rule) -> None:
    try:
        pl.select(pl.lit("").str.contains(rule.params["regex"]))
    except RAISED as error:
        raise RuleError(
            f"rule '{rule.name}': the regular expression does not compile: {_first_line(error)}; look-around and back references are not known"
        ) from error


def _check_expression(rule: Rule) -> None:
    try:
        pl.sql_expr(rule.params["sql"])
    except RAISED as error:
        raise RuleError(
            f"rule '{rule.name}': the SQL condition does not parse: {_first_line(error)}"
        ) from error


def _one_of(param: str, known: tuple[str, ...]) -> Callable[[Rule], None]:
    def check(rule: Rule) -> None:
        if rule.params[param] not in known:
            raise RuleError(
                f"rule '{rule.name}': '{rule.params[param]}' is no {param}; there are {', '.join(known)}"
            )

    return check


def _check_volume(rule: Rule) -> None:
    ratios = [rule.params.get(name) for name in ("at_least", "at_most")]
    if rule.columns and all(ratio is None for ratio in ratios):
        raise RuleError(
            f"rule '{rule.name}': VOLUME of a column wants 'at_least', 'at_most' or both: times the mean of the days before"
        )
    if not rule.columns and any(ratio is not None for ratio in ratios):
        raise RuleError(f"rule '{rule.name}': VOLUME by day wants the column that tells the day")
    if not rule.columns or "min" in rule.params or "max" in rule.params:
        _check_bounds(rule)


def _check_drift(rule: Rule) -> None:
    if len(rule.columns) != 2:
        raise RuleError(f"rule '{rule.name}': DRIFT wants a column, and the time to part it by")


def _check_share(rule: Rule) -> None:
    if not Decimal(0) <= Decimal(str(rule.params.get("within", 0))) < 1:
        raise RuleError(f"rule '{rule.name}': within {rule.params['within']} is no share below 1")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


_CHECKS: Mapping[RuleKind, Callable[[Rule], None]] = {
    RuleKind.RANGE: _check_bounds,
    RuleKind.LENGTH: _check_bounds,
    RuleKind.PATTERN: _check_pattern,
    RuleKind.TYPE: _one_of("type", tuple(TYPES)),
    RuleKind.FORMAT: _one_of("format", FORMATS),
    RuleKind.EXPRESSION: _check_expression,
    RuleKind.VOLUME: _check_volume,
    RuleKind.DRIFT: _check_drift,
    RuleKind.RECONCILIATION: _check_share,
}
