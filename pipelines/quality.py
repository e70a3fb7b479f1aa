"""Quality of the lake's tables: rows judged on their way, tables counted, results kept as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import polars as pl

from pipelines.contract import Contract
from pipelines.contract.rules import rules_of
from pipelines.storage import Lake
from quality_rules.results import (
    RESULTS_TABLE,
    RULES_TABLE,
    RuleResult,
    judge,
    result_rows,
    rule_rows,
)
from quality_rules.rule import Rule, RuleKind
from quality_rules.split import Split, split

RULES = "system.main.data_quality_rules"
RESULTS = "system.main.data_quality_results"

#: Given a table, a column and values: those of the values that stand there.
Parents = Callable[[str, str, pl.Series], pl.DataFrame]


def judge_rows(rows: pl.DataFrame, contract: Contract, parents: Parents) -> Split:
    """The rows split by the contract's rules."""
    rules = rules_of(contract)
    return split(rows, rules, parent_values(rows, rules, parents))


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


def judge_table(lake: Lake, contract: Contract) -> list[RuleResult]:
    """Each active rule counted over the whole of a table as it is now, its quarantined rows included."""
    rules = rules_of(contract)
    return judge(
        judged_rows(lake, contract),
        rules,
        contract.key,
        table_parents(lake, rules),
        hidden=contract.classified(),
    )


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
    """The rules as they are now in `data_quality_rules`; one row a rule, the newest."""
    new = rule_rows(rules, now)
    handle = lake.create(RULES, RULES_TABLE)
    old = lake.scan_handle(handle).collect()
    others = old.join(new.select("table_name").unique(), on="table_name", how="anti")
    mine = old.join(new.select("table_name").unique(), on="table_name", how="semi")
    compared = [name for name in RULES_TABLE if name != "recorded_at"]
    if mine.select(compared).sort("rule_id").equals(new.select(compared).sort("rule_id")):
        return
    lake.write(handle, pl.concat([others, new]), mode="overwrite")


def keep_results(lake: Lake, results: Sequence[RuleResult], now: datetime, run_id: str) -> None:
    """The results as rows of `data_quality_results`."""
    if results:
        handle = lake.create(RESULTS, RESULTS_TABLE)
        lake.write(handle, result_rows(results, now, run_id), mode="append")


def failures(results: Sequence[RuleResult]) -> Mapping[str, int]:
    """How many rows break each rule that some break."""
    return {result.rule.name: result.failed_count for result in results if result.failed_count}
