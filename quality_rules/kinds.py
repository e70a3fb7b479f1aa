"""The words of a rule: what it speaks of, what follows when it is broken, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class RuleKind(StrEnum):
    """What a rule speaks of; the names are those of the `data_quality_rules` table."""

    # of each row
    NOT_NULL = "NOT_NULL"
    RANGE = "RANGE"
    LENGTH = "LENGTH"
    PATTERN = "PATTERN"
    SET = "SET"
    TYPE = "TYPE"
    FORMAT = "FORMAT"
    REFERENCE = "REFERENCE"
    EXPRESSION = "EXPRESSION"
    # of each row beside the others
    UNIQUE = "UNIQUE"
    # of the table as a whole
    FRESHNESS = "FRESHNESS"
    VOLUME = "VOLUME"
    DRIFT = "DRIFT"
    SCHEMA = "SCHEMA"
    RECONCILIATION = "RECONCILIATION"


#: Judged by aggregates over the table: there is no row to blame.
TABLE_KINDS = frozenset(
    {
        RuleKind.FRESHNESS,
        RuleKind.VOLUME,
        RuleKind.DRIFT,
        RuleKind.SCHEMA,
        RuleKind.RECONCILIATION,
    }
)


class Severity(StrEnum):
    """What follows when a row breaks the rule: error, the row is quarantined; else it is noted."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class RuleError(ValueError):
    """A rule that cannot be judged: names the rule, what is wrong, and what to write instead."""


def _words(text: str = "") -> frozenset[str]:
    return frozenset(text.split())


#: The parameters that a kind must have, and those that it may have.
PARAMS: Mapping[RuleKind, tuple[frozenset[str], frozenset[str]]] = {
    RuleKind.NOT_NULL: (_words(), _words()),
    RuleKind.RANGE: (_words(), _words("min max")),
    RuleKind.LENGTH: (_words(), _words("min max")),
    RuleKind.PATTERN: (_words("regex"), _words()),
    RuleKind.SET: (_words("values"), _words()),
    RuleKind.TYPE: (_words("type"), _words()),
    RuleKind.FORMAT: (_words("format"), _words()),
    RuleKind.REFERENCE: (_words("table column"), _words()),
    RuleKind.EXPRESSION: (_words("sql"), _words()),
    RuleKind.UNIQUE: (_words(), _words()),
    RuleKind.FRESHNESS: (_words("within_seconds"), _words()),
    RuleKind.VOLUME: (_words(), _words("min max days at_least at_most")),
    RuleKind.DRIFT: (_words(), _words("days most")),
    RuleKind.SCHEMA: (_words("columns"), _words("exact")),
    RuleKind.RECONCILIATION: (_words(), _words("within")),
}
