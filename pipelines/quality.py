"""Quality of the lake's tables: rows judged on their way, tables counted, results kept as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import polars as pl
from deltalake import DeltaTable

from pipelines.contract import Contract
from pipelines.contract.rules import rules_of
from pipelines.state import AUDIT, shaped
from pipelines.storage import Lake, schema_of
from quality_rules.aggregates import Facts
from quality_rules.results import (
    RESULTS_TABLE,
    RULES_TABLE,
    RuleResult,
    judge,
    new_versions,
    result_rows,
    rule_rows,
)
from quality_rules.rule import Rule, RuleKind
from quality_rules.split import Split, split

RULES = "system.main.data_quality_rules"
RESULTS = "system.main.data_quality_results"
SOURCE_COUNTS = "system.main.source_counts"

_SOURCE_COUNTS: Mapping[str, pl.DataType] = {
    "table_name": pl.String(),
    "row_count": pl.Int64(),
    "counted_at": pl.Datetime("us", "UTC"),
}

#: Given a table, a column and values: those of the values that stand there.
Parents = Callable[[str, str, pl.Series], pl.DataFrame]


def judge_rows(rows: pl.DataFrame, contract: Contract, parents: Parents) -> Split:
    """The rows split by the contract's rules.

    Rows that refer to their own table find each other: all are taken to stand, and those that are
    refused are taken away until no more are. As many rounds as rows are chained to a refused one.
    """
    rules = rules_of(contract)
    found = parent_values(rows, rules, parents)
    inward = [rule for rule in rules if rule.name in found and rule.params["table"] == rule.table]
    verdict, standing = split(rows, rules, _with_own(found, inward, rows)), len(rows)
    while inward and len(verdict.kept) < standing:
        standing = len(verdict.kept)
        verdict = split(rows, rules, _with_own(found, inward, verdict.kept))
    return verdict


def _with_own(
    found: Mapping[str, pl.Series], inward: Sequence[Rule], rows: pl.DataFrame
) -> dict[str, pl.Series]:
    """The values found, and for rules that refer to their own table those that the rows bring."""
    own = {rule.name: rows[rule.params["column"]].drop_nulls() for rule in inward}
    return {
        name: pl.concat([values, own[name].cast(values.dtype)]) if name in own else values
        for name, values in found.items()
    }


def parent_values(
    rows: pl.DataFrame, rules: Sequence[Rule], parents: Parents
) -> dict[str, pl.Series]:
    """For each REFERENCE rule the values of its column that stand in the table it names."""
    found = dict[str, pl.Series]()
    for rule in rules:
        if rule.kind is RuleKind.REFERENCE and rule.active:
            values = rows[rule.columns[0]].drop_nulls().unique()
            found[rule.name] = parents(
                rule.params["table"], rule.params["column"], values
            ).to_series()
    return found


def judge_table(lake: Lake, contract: Contract, now: datetime | None = None) -> list[RuleResult]:
    """Each active rule counted over the whole of a table as it is now, its quarantined rows included."""
    rules = rules_of(contract)
    return judge(
        judged_rows(lake, contract),
        rules,
        contract.key,
        table_parents(lake, rules),
        hidden=contract.classified(),
        facts=facts_of(lake, contract, now or datetime.now(UTC)),
    )


def facts_of(lake: Lake, contract: Contract, now: datetime) -> Facts:
    """What the rules of the table as a whole are judged by, beside its rows."""
    columns = schema_of(lake.handle(contract.table))
    own = {name: dtype for name, dtype in columns.items() if name not in AUDIT}
    counted = _source_count(lake, contract.table)
    return Facts(
        now=now,
        columns=own,
        source_rows=None if counted is None else counted[0],
        source_counted_at=None if counted is None else counted[1],
    )


def keep_source_count(lake: Lake, contract: Contract, rows: int, now: datetime) -> None:
    """How many rows the source had when it was last read whole, where a rule of the table asks for it."""
    if not any(rule.kind is RuleKind.RECONCILIATION for rule in rules_of(contract)):
        return
    handle = lake.create(SOURCE_COUNTS, _SOURCE_COUNTS)
    row = pl.DataFrame([(contract.table, rows, now)], schema=dict(_SOURCE_COUNTS), orient="row")
    lake.write(handle, row, mode="append")


def _source_count(lake: Lake, table: str) -> tuple[int, datetime] | None:
    if lake.version(SOURCE_COUNTS) is None:
        return None
    of_table = lake.scan(SOURCE_COUNTS).filter(pl.col("table_name") == table)
    rows = of_table.sort("counted_at").select("row_count", "counted_at").tail(1).collect().rows()
    return rows[0] if rows else None


def judged_rows(lake: Lake, contract: Contract) -> pl.LazyFrame:
    """The rows that a contract's rules speak of: those kept, and those waiting in quarantine."""
    columns, waiting = list(contract.columns), contract.sibling("quarantine")
    kept = lake.scan(contract.table).select(columns)
    if contract.layer != "silver" or lake.version(waiting) is None:
        return kept
    return pl.concat([kept, lake.scan(waiting).select(columns)])


def table_parents(lake: Lake, rules: Sequence[Rule]) -> dict[str, pl.Series]:
    """For each REFERENCE rule all values of the column it names."""
    found = dict[str, pl.Series]()
    for rule in rules:
        if rule.kind is RuleKind.REFERENCE and rule.active:
            column: str = rule.params["column"]
            exists = lake.version(rule.params["table"]) is not None
            scan = (
                lake.scan(rule.params["table"]).select(column).unique().collect().to_series()
                if exists
                else pl.Series(column, [], pl.String)
            )
            found[rule.name] = scan
    return found


def keep_rules(lake: Lake, rules: Sequence[Rule], now: datetime) -> None:
    """The rules of a table in `data_quality_rules`: a new version of each that is not as it was."""
    tables = {rule.table for rule in rules}
    handle = _table(lake, RULES, RULES_TABLE)
    known = lake.scan_handle(handle).filter(pl.col("table_name").is_in(tables)).collect()
    news = new_versions(rule_rows(rules, now), known, now)
    if len(news):
        lake.write(handle, news, mode="append")


def keep_results(lake: Lake, results: Sequence[RuleResult], now: datetime, run_id: str) -> None:
    """The results as rows of `data_quality_results`."""
    if results:
        handle = _table(lake, RESULTS, RESULTS_TABLE)
        lake.write(handle, result_rows(results, now, run_id), mode="append")


def _table(lake: Lake, table: str, schema: Mapping[str, pl.DataType]) -> DeltaTable:
    """The table, made where it is missing; one of an older make gets the columns it lacks, as nulls."""
    handle = lake.create(table, schema)
    if set(schema_of(handle)) >= set(schema):
        return handle
    rows = lake.scan_handle(handle).collect()
    if "version" in schema and "version" not in rows.columns:
        rows = rows.with_columns(pl.lit(0, pl.Int64).alias("version"))
    if "is_removed" in schema and "is_removed" not in rows.columns:
        rows = rows.with_columns(pl.lit(value=False).alias("is_removed"))
    lake.write(handle, shaped(rows, schema), mode="overwrite", reshape=True)
    return lake.handle(table)


def failures(results: Sequence[RuleResult]) -> Mapping[str, int]:
    """How many rows break each rule that some break."""
    return {result.rule.name: result.failed_count for result in results if result.failed_count}
