"""The rows of a file held to their table's contract, as far as the file alone can tell.

Types, required values, ranges, patterns, sets and conditions of one row are judged here, and a fault
sets the whole file aside. Whether a row refers to something that exists is for silver's quarantine:
what it refers to may come later.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from pipelines.change.schema import writings
from pipelines.change.values import decode
from pipelines.contract import Contract
from pipelines.contract.arrivals import Files
from pipelines.contract.rules import rules_of
from pipelines.files.fault import MOST_FAULTS, Fault, Unreadable
from pipelines.files.parse import Parsed, parse_csv
from quality_rules.rule import RuleKind, Severity
from quality_rules.split import split

_LONGEST_SHOWN = 40
_MEND = "Mend it where the file is made, and upload the file again."


def read_file(data: bytes, contract: Contract, files: Files) -> Parsed:
    """The rows of a file that keep their contract.

    Raises:
        Unreadable: with each fault, at most `MOST_FAULTS`.
    """
    fields = [contract.field_of(name) for name in contract.columns]
    parsed = parse_csv(data, files, [name for name in fields if name not in files.optional])
    typed = _typed(parsed, contract)
    untyped = list(_untyped(parsed, typed, contract))
    faults = [
        *untyped,
        # A value that could not be read breaks its other rules too, which would tell nothing more.
        *_broken(typed.filter(~pl.col("_line").is_in([f.line for f in untyped])), contract),
        *_contradicted(parsed, contract),
    ]
    if faults:
        raise Unreadable(*sorted(faults, key=lambda fault: fault.line or 0)[:MOST_FAULTS])
    return parsed


def _typed(parsed: Parsed, contract: Contract) -> pl.DataFrame:
    """The contract's columns as silver will read them, with `_line`."""
    ways = writings(contract, None)
    return parsed.rows.select(
        decode(_field(parsed, contract, name), column.type, ways[name]).alias(name)
        for name, column in contract.columns.items()
    ).with_columns(parsed.lines)


def _field(parsed: Parsed, contract: Contract, column: str) -> pl.Expr:
    name = contract.field_of(column)
    return pl.col(name) if name in parsed.rows.columns else pl.lit(None, pl.String)


def _untyped(parsed: Parsed, typed: pl.DataFrame, contract: Contract) -> Iterator[Fault]:
    """Values that no value of their column's type is."""
    secret = contract.classified()
    for name, column in contract.columns.items():
        raw = parsed.rows.select(_field(parsed, contract, name)).to_series()
        bad = raw.is_not_null() & typed[name].is_null()
        for line, value in zip(*(each.filter(bad).head(MOST_FAULTS) for each in (parsed.lines, raw)), strict=True):  # fmt: skip
            shown = "the value" if name in secret else f"'{value[:_LONGEST_SHOWN]}'"
            yield Fault(
                line=line,
                column=contract.field_of(name),
                reason=f"{shown} is no {column.type}",
                next_step=_WRITTEN.get(column.type.kind, _MEND),
            )


#: How values of a type are written, for whoever wrote one otherwise.
_WRITTEN = {
    "decimal": "Write digits with a point and no separator of thousands, as in 1234.50, and no more digits behind the point than the type has.",
    "date": "Write it as 2026-05-31.",
    "timestamp": "Write it with its zone, as in 2026-05-31T14:00:00Z.",
    "int32": "Write digits alone, as in 1200.",
    "int64": "Write digits alone, as in 1200.",
    "bool": "Write true or false.",
}


def _broken(typed: pl.DataFrame, contract: Contract) -> Iterator[Fault]:
    """Rows that break an error rule which the row alone can keep."""
    rules = {
        rule.name: rule
        for rule in rules_of(contract)
        if rule.severity is Severity.ERROR and rule.kind is not RuleKind.REFERENCE
    }
    refused = split(typed, list(rules.values()), {}).quarantined
    told = refused.select("_line", "quality_issues").explode("quality_issues").head(MOST_FAULTS)
    for line, issue in zip(told["_line"], told["quality_issues"], strict=True):
        rule = rules[issue.removeprefix("unjudged: ")]
        columns = [contract.field_of(name) for name in rule.columns if name in contract.columns]
        why = f": {rule.description}" if rule.description else ""
        yield Fault(line=line, column=", ".join(columns) or None, reason=f"breaks the rule '{rule.name}'{why}", next_step=_MEND)  # fmt: skip


def _contradicted(parsed: Parsed, contract: Contract) -> Iterator[Fault]:
    """Rows of one key that say different things: which is right is unknown. Equal rows are one row."""
    key = [contract.field_of(name) for name in contract.key]
    once = parsed.rows.with_columns(parsed.lines).unique(parsed.rows.columns, keep="first")
    twins = once.filter(pl.struct(key).is_duplicated()).sort("_line").head(MOST_FAULTS)
    for line in twins["_line"]:
        yield Fault(
            line=line,
            column=", ".join(key),
            reason="another line of the file has this key and other values",
            next_step="Keep the line that is right.",
        )
