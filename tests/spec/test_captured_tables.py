"""The awkward tables of the captures: changed columns, partitions, odd names, values beyond any calendar.

What the workload's SQL leaves in Postgres, in every form; what a form lost upstream is said.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.avro import Wire, open_registry
from pipelines.contract import Catalog
from pipelines.contract.model import Contract
from pipelines.ingest import capture_file
from pipelines.silver import apply
from pipelines.storage import Lake

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FORMS = ("env", "envs", "unw", "unws", "alt", "altc", "avro")

TABLES: dict[str, tuple[list[str], dict[str, dict[str, Any]]]] = {
    "evolve": (
        ["id"],
        {
            "id": {"type": "int32"}, "a": {"type": "string"}, "b": {"type": "string", "source": "b_renamed", "was": ["b"]},
            "d": {"type": "int32"}, "m": {"type": "string"},
        },
    ),
    "part": (["id", "ts"], {"id": {"type": "int32"}, "ts": {"type": "date"}, "v": {"type": "string"}}),
    "Mixed_Case": (["id"], {"id": {"type": "int32", "source": "Id"}, "value": {"type": "string", "source": "Välue"}}),
    "born_later": (["id"], {"id": {"type": "int32"}, "v": {"type": "string"}}),
    "special": (
        ["id"],
        {
            "id": {"type": "int32"}, "n": {"type": "decimal(38,10)", "special": "null"}, "n2": {"type": "decimal(10,2)", "special": "null"},
            "ts": {"type": "timestamp_ntz", "special": "null"}, "tz": {"type": "timestamp", "special": "null"},
        },
    ),
}  # fmt: skip


def catalog_of(form: str) -> Catalog:
    modes = {
        "alt": {"decimal": "string", "time": "isostring", "binary": "hex"},
        "altc": {"binary": "base64"},
    }.get(form, {})
    contracts = {}
    for name, (key, columns) in TABLES.items():
        told = {
            n: c | ({"source": "V_lue"} if form == "avro" and c.get("source") == "Välue" else {})
            for n, c in columns.items()
        }
        table = f"silver.inv.{name.lower()}"
        contracts[table] = Contract.model_validate(
            {
                "table": table,
                "description": "d",
                "owner": "o",
                "key": key,
                "columns": told,
                "source": {"connector": "postgres", "topic": f"{form}.inv.{name}", **modes},
            }
        )
    return Catalog(Path(), contracts)


@pytest.fixture(scope="module", params=FORMS)
def landed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Lake, Catalog]:
    lake, catalog = Lake(str(tmp_path_factory.mktemp(request.param))), catalog_of(request.param)
    wire = Wire(open_registry(str(CAPTURES / "avro-schemas.json"), {}))
    capture_file(lake, catalog, CAPTURES / f"{request.param}.jsonl.gz", wire=wire)
    return request.param, lake, catalog


def rows(landed: tuple[str, Lake, Catalog], name: str, *more: str) -> list[tuple[Any, ...]]:
    _, lake, catalog = landed
    contract = catalog[f"silver.inv.{name.lower()}"]
    apply(lake, catalog, contract.table, now=NOW, chunk_events=3)
    assert lake.scan(contract.sibling("quarantine")).collect().is_empty()
    return (
        lake.scan(contract.table)
        .select(*contract.columns, *more)
        .collect()
        .sort(contract.key)
        .rows()
    )


def test_columns_that_were_added_renamed_retyped_and_dropped(landed: tuple[str, Lake, Catalog]):
    found = {row[0]: row[1:] for row in rows(landed, "evolve")}
    # Rows that no event touched after a column came keep what their last event said: nothing.
    assert found == {
        1: ("1", "after add", 42, None), 2: ("now text", "b2", 42, None), 10: ("10", "b10", None, None), 11: ("11", "renamed", 42, None),
        12: ("5000000000", None, 42, None), 13: ("dropped c", None, 42, None), 14: (None, None, 42, "ok"), 15: (None, None, 42, "ecstatic"),
    }  # fmt: skip


def test_a_row_that_moves_between_partitions(landed: tuple[str, Lake, Catalog]):
    assert rows(landed, "part") == [
        (1, date(2026, 2, 2), "p25"),
        (2, date(2026, 6, 1), "p26"),
        (3, date(2026, 3, 3), "new"),
    ]


def test_names_that_are_no_identifiers(landed: tuple[str, Lake, Catalog]):
    assert rows(landed, "Mixed_Case") == [(1, "ö")]


def test_a_table_born_while_the_connector_ran(landed: tuple[str, Lake, Catalog]):
    assert rows(landed, "born_later") == [(1, "late")]


def test_what_nothing_holds_is_null_and_says_so(landed: tuple[str, Lake, Catalog]):
    form, *_ = landed
    found = {row[0]: row[1:] for row in rows(landed, "special", "quality_issues")}
    assert found[5] == (Decimal(5), Decimal(5), None, None, [])
    told = {key: row[-1] for key, row in found.items()}
    assert told[1] == []
    # Precise mode sends null for what is no number, and says so in the connector's log only.
    numbers = form in ("alt", "altc")
    assert told[2] == (["special:n", "special:n2"] if numbers else [])
    assert told[3] == (["special:n"] if numbers else []) + ["special:ts", "special:tz"]
    assert told[4] == ["special:ts", "special:tz"]
    assert all(value is None for row in (found[2], found[4]) for value in row[:-1])


def test_every_form_knows_when_the_row_was_made(landed: tuple[str, Lake, Catalog]):
    form, *_ = landed
    ((stamp,),) = [row[3:4] for row in rows(landed, "special") if row[0] == 1]
    assert isinstance(stamp, datetime)
    assert stamp.microsecond % 1000 == 0 or form != "altc"  # milliseconds in Connect's own times
    assert pl.Series([stamp]).dtype == pl.Datetime("us")
