"""A table's asset checks: one a rule, and one of Great Expectations over all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from assets.keys import key_of
from pipelines.contract import Contract
from pipelines.contract.rules import rules_of
from pipelines.storage import Lake
from pipelines.trends import markdown, trends
from pipelines.validations import docs_folder, page, validate_table, write_docs
from quality_rules.results import RuleResult
from quality_rules.rule import Rule, Severity

#: The check by which Great Expectations speaks of a whole table.
GX_CHECK = "great_expectations"


def check_specs(contract: Contract) -> Iterator[dg.AssetCheckSpec]:
    """A check for each active rule; one of severity error blocks where the contract says `stop`."""
    key = key_of(contract.table)
    for rule in rules_of(contract):
        if rule.active:
            yield dg.AssetCheckSpec(
                rule.name,
                asset=key,
                description=rule.description
                or f"{rule.kind} on {', '.join(rule.columns) or 'the row'}",
                blocking=_blocks(contract, rule),
                metadata={"severity": rule.severity.value, "owner": rule.owner or contract.owner},
            )
    yield dg.AssetCheckSpec(
        GX_CHECK,
        asset=key,
        description="The contract as a Great Expectations suite, over the whole table.",
    )


def _blocks(contract: Contract, rule: Rule) -> bool:
    return contract.on_error == "stop" and rule.severity is Severity.ERROR


def check_results(
    lake: Lake, contract: Contract, results: Sequence[RuleResult], now: datetime, run_id: str
) -> Iterator[dg.AssetCheckResult]:
    """What was found of each rule, which is kept as data already, and what Great Expectations says."""
    known = trends(lake, contract.table)
    for result in results:
        yield check_result(result, key_of(contract.table), known.get(result.rule.name))
    yield _expectations(lake, contract, now, run_id)


def check_result(
    result: RuleResult, key: dg.AssetKey, trend: pl.DataFrame | None = None
) -> dg.AssetCheckResult:
    """A rule's result as an asset check: how many rows, how many broke it, and the keys of some.

    One that could not be judged, on some rows or at all, is an error and no pass, whatever the rule's
    severity and tolerance.
    """
    unjudged = result.unjudged_count > 0
    grave = unjudged or result.rule.severity is Severity.ERROR
    metadata: dict[str, Any] = {
        "record_count": result.record_count,
        "failed_count": result.failed_count,
        "success_rate": float(result.success_rate),
        "severity": result.rule.severity.value,
    }
    if unjudged:
        metadata["unjudged_count"] = result.unjudged_count
    if result.observed:
        metadata["observed"] = dg.MetadataValue.json(json.loads(_json(result.observed)))
    if result.sample:
        records = [
            dg.TableRecord({name: str(value) for name, value in row.items()})
            for row in result.sample
        ]
        metadata["sample_keys"] = dg.MetadataValue.table(records)
    if trend is not None and len(trend):
        metadata["trend"] = dg.MetadataValue.md(markdown(trend))
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=result.rule.name,
        passed=result.passed and not unjudged,
        severity=dg.AssetCheckSeverity.ERROR if grave else dg.AssetCheckSeverity.WARN,
        description=f"{result.unjudged_count:,} of {result.record_count:,} could not be judged"
        if unjudged
        else None,
        metadata=metadata,
    )


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(dict(value), default=str)


def _expectations(
    lake: Lake, contract: Contract, now: datetime, run_id: str
) -> dg.AssetCheckResult:
    """What Great Expectations says of the table, with its page; its import takes five seconds."""
    report = validate_table(lake, contract, now, run_id=run_id)
    unjudged = {each.rule: each.error for each in report.results if each.error is not None}
    failed = sorted(each.rule for each in report.results if not each.success and not each.error)
    metadata: dict[str, Any] = {
        "expectations": len(report.results),
        "failed": ", ".join(failed) or "none",
        "result": dg.MetadataValue.json(report.raw.to_json_dict()),
        **docs_metadata(lake, contract.table),
    }
    if unjudged:
        metadata["not_judged"] = dg.MetadataValue.json(unjudged)
    return dg.AssetCheckResult(
        asset_key=key_of(contract.table),
        check_name=GX_CHECK,
        passed=report.success and not unjudged,
        severity=dg.AssetCheckSeverity.ERROR if unjudged else dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )


def docs_metadata(lake: Lake, table: str) -> dict[str, Any]:
    """Where the page of a table's newest validation lies, which is written; nothing for a lake elsewhere."""
    from quality_rules.gx.docs import DataDocsError

    if (folder := docs_folder(lake)) is None:
        return {}
    try:
        write_docs(lake, folder, only=[table])
    except (DataDocsError, OSError) as error:
        # The table is as good without its page.
        return {"data_docs": f"not written: {error}"}
    found = page(lake, folder, table)
    return {} if found is None else {"data_docs": dg.MetadataValue.url(found.as_uri())}
