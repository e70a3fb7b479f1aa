"""Words for the catalog: a contract's columns and rules, and the columns that every table of a layer has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import polars as pl

from lineage.catalog.model import ColumnEntry
from lineage.catalog.words import span
from lineage.privacy import SECRET
from pipelines.contract import Contract
from pipelines.history import ENDED, INTERVAL
from pipelines.state import AUDIT
from quality_rules.rule import Rule, RuleKind

_PLAIN: Mapping[str, str] = {
    "String": "string",
    "Boolean": "bool",
    "Binary": "binary",
    "Date": "date",
    **{
        f"{kind}{bits}": f"{kind.lower()}{bits}"
        for kind in ("Int", "Float")
        for bits in (8, 16, 32, 64)
    },
}

#: The columns that no contract describes.
_EXPLAINED: Mapping[str, str] = {
    "event_id": "Identity of the event: made of cluster, topic, partition and offset",
    "event_timestamp": "When the source committed the change",
    "source_system": "The connector's name of the source",
    "operation_type": "What happened: insert, update, delete, read or truncate",
    "table_name": "The table of the source",
    "raw_payload": "The message as it came",
    "ingestion_date": "Day on which it was captured; the table's partition",
    "key": "The message's key as it came",
    "topic": "The Kafka topic",
    "kafka_partition": "The topic's partition",
    "kafka_offset": "The record's offset in its partition",
    "kafka_timestamp": "When Kafka took the record",
    "headers": "The record's headers",
    "payload_form": "How the message is written: envelope or flat, with or without schema",
    "schema_fingerprint": "Which schema block the message came with",
    "transaction_id": "The source's transaction",
    "data_quality_score": "Share of the rules that the row keeps",
    "quality_checks_passed": "Names of the rules that the row keeps",
    "quality_issues": "Names of the rules that the row breaks",
    "source_bronze_id": "The bronze event that made the row what it is",
    "source_timestamp": "When the source committed that event",
    "source_epoch": "First part of the event's position: the full snapshot that it follows",
    "source_commit": "Second part of the position: the transaction's place in the source's log",
    "source_event": "Third part of the position: the event's place in its transaction",
    "source_offset": "Last part of the position: the Kafka offset",
    "processed_at": "When the row was applied",
    "processing_version": "The version of the code and the contract that applied it",
    "valid_from": "When this version began to be the source's",
    "valid_to": "When the next version took its place; null while it is current",
    "is_current": "Whether it is the newest version",
    "is_deleted": "Whether the version is a delete",
    "verdict": "What the rules said of the version",
    **dict.fromkeys(ENDED, "Where the version ended: part of the next one's position"),
}


def spelled(dtype: pl.DataType) -> str:
    """A stored type as a contract would write it."""
    if isinstance(dtype, pl.Decimal):
        return f"decimal({dtype.precision},{dtype.scale})"
    if isinstance(dtype, pl.Datetime):
        return "timestamp" if dtype.time_zone else "timestamp_ntz"
    if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.DataType):
        return f"list<{spelled(dtype.inner)}>"
    return _PLAIN.get(str(dtype), str(dtype).lower())


def column_entry(contract: Contract, name: str) -> ColumnEntry:
    """A column as its contract has it."""
    column = contract.columns[name]
    return ColumnEntry(
        name=name,
        type=str(column.type),
        description=column.description,
        classification=column.classification,
        mask=str(column.mask) if column.mask else None,
        required=column.required or name in contract.key,
        key=name in contract.key,
    )


def contract_facts(contract: Contract) -> dict[str, str]:
    """Whatever else a reader may ask of the contract, by its label."""
    facts = {"Key": ", ".join(contract.key)}
    if contract.source:
        facts |= {"Connector": contract.source.connector, "Topic": contract.source.topic}
    if contract.export:
        facts["File"] = contract.export_file
    if contract.surrogate_key:
        made = contract.surrogate_key
        facts["Surrogate key"] = f"{made.column}, of {', '.join(made.of)}"
    if contract.group_size:
        size = contract.group_size
        facts["Smallest group"] = f"{size.minimum}, by {size.column}"
    if contract.retention.archive_after:
        facts["Archived after"] = contract.retention.archive_after
    if contract.retention.delete_after:
        facts["Deleted after"] = contract.retention.delete_after
    return facts


def added_column(name: str, dtype: pl.DataType, *, classification: str = "internal") -> ColumnEntry:
    """A column that the platform adds."""
    return ColumnEntry(
        name=name,
        type=spelled(dtype),
        description=_EXPLAINED.get(name, ""),
        classification=classification,
        added=True,
    )


def audit_columns() -> tuple[ColumnEntry, ...]:
    """The columns silver adds."""
    return tuple(added_column(name, dtype) for name, dtype in AUDIT.items())


def interval_columns() -> tuple[ColumnEntry, ...]:
    """The columns history adds to those of silver."""
    return tuple(added_column(name, dtype) for name, dtype in INTERVAL.items())


def says(rule: Rule, contract: Contract) -> str:
    """The rule as a sentence. Values that a classified column may have are counted, not listed."""
    hidden = any(
        name in contract.columns and contract.columns[name].classification in SECRET
        for name in rule.columns
    )
    said = _of_rows(rule, hidden=hidden) or _of_table(rule)
    share = "" if rule.mostly == 1 else f", in {rule.mostly:.2%} of the rows at least"
    return said + share


#: What the kinds say that need no more than the column and the parameters.
_PLAINLY: Mapping[RuleKind, Callable[[str, Mapping[str, Any]], str]] = {
    RuleKind.NOT_NULL: lambda column, _: f"{column} is not null",
    RuleKind.UNIQUE: lambda column, _: f"{column} is unique",
    RuleKind.PATTERN: lambda column, params: f"{column} matches {params['regex']}",
    RuleKind.TYPE: lambda column, params: f"{column} is {params['type']}",
    RuleKind.FORMAT: lambda column, params: f"{column} has the format {params['format']}",
    RuleKind.LENGTH: lambda column, params: f"the length of {column} is {_bounds(params)}",
    RuleKind.EXPRESSION: lambda _, params: str(params["sql"]),
    RuleKind.REFERENCE: lambda column, params: (
        f"{column} stands in {params['table']}.{params['column']}"
    ),
}


def _of_rows(rule: Rule, *, hidden: bool) -> str | None:
    column, params = ", ".join(rule.columns), rule.params
    if rule.kind in _PLAINLY:
        return _PLAINLY[rule.kind](column, params)
    if rule.kind is RuleKind.RANGE:
        return f"{column} is {'within its bounds' if hidden else _bounds(params)}"
    if rule.kind is RuleKind.SET:
        values = [str(value) for value in params["values"]]
        return f"{column} is one of {f'{len(values)} values' if hidden else ', '.join(values)}"
    return None


def _of_table(rule: Rule) -> str:
    column, params = ", ".join(rule.columns), rule.params
    match rule.kind:
        case RuleKind.FRESHNESS:
            return f"the newest {column} is at most {span(timedelta(seconds=params['within_seconds']))} old"
        case RuleKind.VOLUME if "days" in params:
            times = _bounds({"min": params.get("at_least"), "max": params.get("at_most")})
            return f"the last day by {column} has {times} times the rows of the mean of {params['days']} days before"
        case RuleKind.VOLUME:
            return f"the table has {_bounds(params)} rows"
        case RuleKind.DRIFT:
            return f"the distribution of {rule.columns[0]} is that of before"
        case RuleKind.SCHEMA:
            return f"the table has {len(params['columns'])} columns as named"
        case RuleKind.RECONCILIATION:
            return f"the table has as many rows as its source, within {params.get('within', 0):.2%}"
        case _:
            return f"{rule.kind.value.lower().replace('_', ' ')} of {column or 'the table'}"


def _bounds(params: Mapping[str, object]) -> str:
    told = [
        f"{word} {params[name]}"
        for name, word in (("min", "at least"), ("max", "at most"))
        if params.get(name) is not None
    ]
    return " and ".join(told)
