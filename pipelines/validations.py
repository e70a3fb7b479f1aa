"""Results of Great Expectations as rows of the lake, and as Data Docs made of them.

A result is kept as the JSON that Great Expectations itself writes and reads, with the suite that it was
judged by. Importing this module does not import Great Expectations; judging and writing pages do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from pipelines.contract import Catalog, Contract
from pipelines.contract.rules import rules_of
from pipelines.errors import LakeError
from pipelines.quality import facts_of, judged_rows, table_parents
from pipelines.storage import Lake

if TYPE_CHECKING:
    from quality_rules.expectations import GxReport
    from quality_rules.gx.docs import Validation

VALIDATIONS = "system.main.data_quality_validations"

_VALIDATIONS: Mapping[str, pl.DataType] = {
    "table_name": pl.String(),
    "run_id": pl.String(),
    "checked_at": pl.Datetime("us", "UTC"),
    "success": pl.Boolean(),
    "evaluated_expectations": pl.Int64(),
    "unsuccessful_expectations": pl.Int64(),
    "suite": pl.String(),
    "result": pl.String(),
}

#: Where the Data Docs of a lake on this machine lie: inside it, beside the layers.
_FOLDER = "_data_docs"


def validate_table(lake: Lake, contract: Contract, now: datetime, *, run_id: str) -> GxReport:
    """Judges a table as it is now, its quarantined rows included, and keeps the result.

    `run_id` and `now` name the validation.
    """
    from quality_rules.expectations import validate

    rules = rules_of(contract)
    report = validate(
        judged_rows(lake, contract),
        rules,
        table_parents(lake, rules),
        table=contract.table,
        key=contract.key,
        hidden=contract.classified(),
        facts=facts_of(lake, contract, now),
    )
    statistics = report.raw.statistics
    row = (
        contract.table,
        run_id,
        now,
        report.success,
        statistics["evaluated_expectations"],
        statistics["unsuccessful_expectations"],
        json.dumps(report.suite.to_json_dict()),
        json.dumps(report.raw.to_json_dict()),
    )
    kept = pl.DataFrame([row], schema=dict(_VALIDATIONS), orient="row")
    lake.write(lake.create(VALIDATIONS, _VALIDATIONS), kept, mode="append")
    return report


def newest_validations(lake: Lake) -> list[Validation]:
    """The newest validation of each table."""
    from quality_rules.gx.docs import Validation

    if lake.version(VALIDATIONS) is None:
        return []
    newest = (
        lake.scan(VALIDATIONS)
        .sort("checked_at")
        .group_by("table_name")
        .last()
        .sort("table_name")
        .select("table_name", "run_id", "checked_at", "suite", "result")
        .collect()
    )
    return [
        Validation(
            table=table,
            run_id=run_id,
            checked_at=checked_at,
            suite=json.loads(suite),
            result=json.loads(result),
        )
        for table, run_id, checked_at, suite, result in newest.rows()
    ]


def validate_missing(lake: Lake, catalog: Catalog, *, again: bool = False) -> list[str]:
    """Validates each table that has rows and no validation yet, or all `again`; their names."""
    known = set() if again else {each.table for each in newest_validations(lake)}
    now = datetime.now(UTC)
    judged = [
        contract
        for contract in catalog.contracts.values()
        if contract.table not in known and lake.version(contract.table) is not None
    ]
    for contract in judged:
        validate_table(lake, contract, now, run_id=f"cli/{now:%Y%m%dT%H%M%S%f}")
    return [contract.table for contract in judged]


def docs_folder(lake: Lake) -> Path | None:
    """Where a lake's Data Docs lie by default; None for one on an object store."""
    return None if "://" in lake.root else Path(lake.root).absolute() / _FOLDER


def write_docs(lake: Lake, folder: Path, *, only: Iterable[str] | None = None) -> Path:
    """The Data Docs of the newest validation of each table; their index.

    With `only`, the pages of other tables stay as they are.

    Raises:
        LakeError: when nothing was validated yet.
    """
    from quality_rules.gx.docs import write_site

    if not (validations := newest_validations(lake)):
        raise LakeError(
            "no table was validated yet", hint="run 'medallion run', then 'medallion quality docs'"
        )
    return write_site(folder, validations, only=only)


def page(lake: Lake, folder: Path, table: str) -> Path | None:
    """The page of a table's newest validation."""
    from quality_rules.gx.docs import page_of

    found = [each for each in newest_validations(lake) if each.table == table]
    return page_of(folder, found[0]) if found else None
