"""Rules of this repository that no linter has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipelines.checks import check_sql
from pipelines.contract import load_catalog
from pipelines.contract.load import LAYERS
from pipelines.contract.schema import contract_schema
from pipelines.gold import inputs_of
from pipelines.provenance import columns_of, lineage_of

ROOT = Path(__file__).parents[2]
CATALOG = load_catalog(ROOT / "assets")
MODULES = sorted(
    path
    for package in ("pipelines", "assets", "quality_rules", "lineage")
    for path in (ROOT / package).rglob("*.py")
)

#: Longer than 400 lines, and why.
LONG: dict[str, str] = {}

#: Rows one by one, and why.
BY_ROW = {
    "pipelines/change/position.py": "a handful of snapshots in a batch, not its rows",
    "pipelines/cli/explain.py": "rows that are printed",
    "pipelines/cli/look.py": "rows that are printed",
    "pipelines/cli/alerts.py": "incidents that are printed",
    "pipelines/cli/quarantine.py": "rows that are printed",
    "pipelines/cli/show.py": "rows that are printed",
    "quality_rules/results.py": "at most twenty sample keys",
    "pipelines/bronze.py": "schema blocks and partitions, not records",
    "pipelines/status.py": "a count a topic",
    "pipelines/person.py": "one person's rows",
    "pipelines/evolution.py": "columns learned",
}


def test_every_column_is_described_and_every_silver_table_names_a_rule():
    for contract in CATALOG.contracts.values():
        assert [
            name for name, column in contract.columns.items() if not column.description
        ] == [], contract.table
        assert contract.rules or contract.layer != "silver", contract.table


def test_every_file_of_a_domain_is_a_contract_or_the_sql_beside_one():
    files = {path for layer in LAYERS for path in (ROOT / "assets").glob(f"*/{layer}/*")}
    contracts = {contract.path for contract in CATALOG.contracts.values()}
    beside = {path.with_suffix(".sql") for path in contracts if path.parent.name != "silver"}
    assert files == contracts | beside


def test_every_contract_names_the_schema_that_editors_complete_it_by():
    for contract in CATALOG.contracts.values():
        first, named = contract.path.read_text().splitlines()[0], "# yaml-language-server: $schema="
        assert first.startswith(named), contract.path
        published = (contract.path.parent / first.removeprefix(named)).resolve()
        assert published == ROOT / "assets" / "contract.schema.json"


def test_gold_reads_tables_that_exist_and_its_lineage_resolves():
    known, lineage = columns_of(CATALOG), lineage_of(CATALOG)
    for contract in CATALOG.from_sql():
        assert set(inputs_of(contract)) <= set(known)
        assert set(contract.columns) <= set(lineage[contract.table].columns)


def test_gold_is_without_a_fault_and_shows_nothing_personal():
    assert check_sql(CATALOG).faults == ()


def test_the_published_schema_is_the_models():
    assert json.loads((ROOT / "assets" / "contract.schema.json").read_text()) == contract_schema()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_small_and_work_on_columns(path: Path):
    name, text = str(path.relative_to(ROOT)), path.read_text()
    assert len(text.splitlines()) <= 400 or name in LONG
    by_row = re.search(r"\.(map_elements|map_rows|iter_rows|to_dicts|iter_slices)\(", text)
    allowed = (
        name in BY_ROW or name.startswith("assets/") or (by_row and by_row[1] == "iter_slices")
    )
    assert by_row is None or allowed, f"{name}: {by_row[0]} outside the places that have a reason"
    assert "to_pyarrow" not in text, "aborts short processes at exit, and knows no deletion vectors"
    assert ".count()" not in text, "DeltaTable.count() counts rows that deletion vectors took away"


def test_every_exception_is_still_needed():
    assert all(len((ROOT / name).read_text().splitlines()) > 400 for name in LONG)
    assert all(
        re.search(r"\.(map_elements|map_rows|iter_rows|to_dicts)\(", (ROOT / name).read_text())
        for name in BY_ROW
    )
