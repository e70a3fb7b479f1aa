"""Exports: files that hold what their SQL says, whole or not at all, and nothing personal unsaid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from pipelines.contract import Contract
from pipelines.contract.load import load_contract
from pipelines.errors import ContractError, LossError
from pipelines.export import written
from tests.unit.openlineage.parts import Listening, Shop

EXPORT = """table: export.shop.notes
description: Notes for others.
owner: shop-data
export: {format: csv}
key: [id]
columns:
  id: {type: int32, description: Number}
  kind: {type: string}
"""

SQL = "SELECT id, kind FROM silver.shop.notes"


@pytest.fixture
def listening() -> Iterator[Listening]:
    server = Listening()
    yield server
    server.stop()


@pytest.fixture
def shop(tmp_path: Path, listening: Listening) -> Shop:
    made = Shop(tmp_path, f"http://127.0.0.1:{listening.port}")
    put(made)
    return made


def put(shop: Shop, contract: str = EXPORT, sql: str = SQL, name: str = "notes") -> Path:
    folder = shop.root / "assets" / "shop" / "export"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.sql").write_text(sql)
    (folder / f"{name}.yaml").write_text(contract)
    return folder / f"{name}.yaml"


def exported(shop: Shop, *arguments: str) -> dict[str, object]:
    done = shop.run("export", *(arguments or ("--all",)), "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.output)[0]


def test_an_export_holds_its_rows_by_key_and_is_written_once(shop: Shop) -> None:
    shop.record(("b", 2), ("a", 1))
    shop.run_all()
    first = exported(shop, "export.shop.notes")
    file = shop.root / "lake" / "export" / "shop" / "notes.csv"
    assert file.read_text() == "id,kind\n1,k\n2,k\n"
    assert (first["file"], first["rows"], first["changed"]) == ("shop/notes.csv", 2, True)
    before = file.stat()
    again = exported(shop)
    assert (again["changed"], again["sha256"]) == (False, first["sha256"])
    assert file.stat() == before
    shop.record(("b", 2), ("a", 1), ("c", 3))
    shop.run_all()
    assert exported(shop)["changed"] is True
    assert file.read_text() == "id,kind\n1,k\n2,k\n3,k\n"


def test_an_export_lies_where_the_operator_says(shop: Shop, tmp_path: Path) -> None:
    put(shop, EXPORT.replace("{format: csv}", "{format: parquet, path: finance/all-notes.parquet}"))
    shop.environment["MEDALLION_EXPORTS"] = str(tmp_path / "out")
    shop.run_all()
    exported(shop)
    assert pl.read_parquet(tmp_path / "out" / "finance" / "all-notes.parquet")["id"].to_list() == [
        1,
        3,
    ]
    assert shop.run("status").exit_code == 0  # no table of the lake


def test_a_failed_export_leaves_the_file_that_was_there(shop: Shop) -> None:
    shop.run_all()
    exported(shop)
    file = shop.root / "lake" / "export" / "shop" / "notes.csv"
    before = file.read_bytes()
    put(shop, sql="SELECT CAST(1 AS INT) AS id, kind FROM silver.shop.notes")
    failed = shop.run("export", "--all")
    assert failed.exit_code == 18
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir()] == ["notes.csv"]


# ---- PRIVACY ---- #

TEXT = "  text: {type: string%s}\n"
LEAKING = "WITH all_notes AS (SELECT id, kind, text FROM silver.shop.notes)\nSELECT id, kind, text FROM all_notes"


def test_a_classified_column_leaves_under_its_class_or_masked_or_not(shop: Shop) -> None:
    shop.run_all()
    put(shop, EXPORT + TEXT % "", LEAKING)
    for command in (("contract", "check"), ("export", "--all")):
        refused = shop.run(*command)
        text = " ".join(f"{refused.output}{refused.exception}".split())
        assert refused.exit_code or refused.exception
        assert "'text' is internal, but shows confidential silver.shop.notes.text" in text
        assert "all_notes.text" in text
    assert not (shop.root / "lake" / "export").exists()
    put(shop, EXPORT + TEXT % ", classification: confidential", LEAKING)
    exported(shop)
    file = shop.root / "lake" / "export" / "shop" / "notes.csv"
    assert "a note" in file.read_text()
    put(shop, EXPORT + TEXT % ", mask: hash", LEAKING)
    shop.environment["MEDALLION_MASK_SALT"] = "0123456789abcdef0123"
    exported(shop)
    assert "a note" not in file.read_text()
    assert len(file.read_text().splitlines()[1].rpartition(",")[2]) == 64


def test_lineage_leads_from_the_source_to_the_export(shop: Shop) -> None:
    shown = shop.run("lineage", "postgres:p.public.notes.kind", "--down").output
    assert "export.shop.notes.kind" in shown
    up = json.loads(shop.run("lineage", "export.shop.notes", "--format", "json").output)
    assert "postgres:p.public.notes" in json.dumps(up)


def test_an_export_is_told_to_openlineage(shop: Shop, listening: Listening) -> None:
    shop.run_all()
    exported(shop)
    listening.wait_for("export.export.shop.notes", "COMPLETE")
    assert listening.faults == []
    event = listening.told("export.export.shop.notes", "COMPLETE")
    (made,) = event["outputs"]
    assert made["name"] == f"{shop.root}/lake/export/shop/notes.csv"
    assert made["facets"]["storage"]["fileFormat"] == "csv"
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 2
    (origin,) = made["facets"]["columnLineage"]["fields"]["kind"]["inputFields"]
    assert origin["name"] == f"{shop.root}/lake/silver/shop/notes"
    assert event["inputs"][0]["facets"]["version"]["datasetVersion"].isdigit()


# ---- CONTRACTS ---- #


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (("{format: csv}", "{format: csv, path: ../up.csv}"), "no name below the folder"),
        (("{format: csv}", "{format: csv, path: /etc/x.csv}"), "no name below the folder"),
        (("{format: csv}", "{format: csv, path: a/.x}"), "no name below the folder"),
        (("{format: csv}", "{format: csv, path: 's3://b/x'}"), "no name below the folder"),
        (("{format: csv}", "{format: xlsx}"), "'csv', 'parquet' or 'jsonl'"),
        (("export: {format: csv}\n", ""), "says its 'export: {format: ...}'"),
        (("type: string", "type: list<string>"), "csv has no form for list<string>"),
        (("type: string", "type: binary"), "csv has no form for binary"),
        (("type: string", "type: string, required: true"), "an export has no rules, as 'required'"),
        (("key: [id]", "key: [id]\nhistory: true"), "an export has no 'history'"),
    ],
)
def test_a_contract_that_no_file_can_keep_is_refused_with_its_line(
    shop: Shop, spoilt: tuple[str, str], said: str
) -> None:
    path = put(shop, EXPORT.replace(*spoilt))
    with pytest.raises(ContractError, match=r"notes\.yaml:\d+: ") as refused:
        load_contract(path)
    assert said in str(refused.value)


def test_two_exports_do_not_share_a_file(shop: Shop) -> None:
    other = EXPORT.replace("export.shop.notes", "export.shop.others")
    put(shop, other.replace("csv}", "csv, path: shop/notes.csv}"), name="others")
    refused = shop.run("contract", "check")
    assert "writes 'shop/notes.csv' already" in str(refused.exception)


@pytest.mark.parametrize("arguments", [(), ("export.shop.notes", "--all"), ("export.shop.note",)])
def test_what_to_export_is_said_once_and_known(shop: Shop, arguments: tuple[str, ...]) -> None:
    refused = shop.run("export", *arguments)
    assert refused.exception is not None
    assert "Hint" in str(refused.exception)


# ---- FORMATS ---- #

EVERY = {
    "text": pl.Series(["", None, 'a "b",\nc'], dtype=pl.String),
    "amount": pl.Series([Decimal("1.50"), None, Decimal("99999999999999.25")], dtype=pl.Decimal(18, 2)),
    "at": pl.Series([datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC), None, None], dtype=pl.Datetime("us", "UTC")),
    "seen": pl.Series([datetime(2024, 1, 2), None, None], dtype=pl.Datetime("us")),
    "large": pl.Series([2**63 - 1, None, None], dtype=pl.Int64),
    "ratio": pl.Series([0.1, None, 1e300], dtype=pl.Float64),
}  # fmt: skip


def contract_of(shop: Shop, form: str) -> Contract:
    return load_contract(put(shop, EXPORT.replace("csv", form)))


def test_csv_tells_null_from_empty_and_keeps_every_digit(shop: Shop) -> None:
    text = written(contract_of(shop, "csv"), pl.DataFrame(EVERY)).decode()
    assert text == (
        "text,amount,at,seen,large,ratio\n"
        '"",1.50,2024-01-02T03:04:05.000006Z,2024-01-02T00:00:00.000000,9223372036854775807,0.1\n'
        ",,,,,\n"
        '"a ""b"",\nc",99999999999999.25,,,,1e+300\n'
    )


def test_json_lines_keep_every_digit(shop: Shop) -> None:
    lines = written(contract_of(shop, "jsonl"), pl.DataFrame(EVERY)).decode().splitlines()
    assert json.loads(lines[0]) == {
        "text": "",
        "amount": "1.50",
        "at": "2024-01-02T03:04:05.000006Z",
        "seen": "2024-01-02T00:00:00.000000",
        "large": 2**63 - 1,
        "ratio": 0.1,
    }
    assert set(json.loads(lines[1]).values()) == {None}


def test_json_refuses_what_is_no_number(shop: Shop) -> None:
    with pytest.raises(LossError, match="'ratio' holds NaN or infinity"):
        written(contract_of(shop, "jsonl"), pl.DataFrame({"ratio": [1.0, None, float("nan")]}))


def test_parquet_is_the_rows(shop: Shop) -> None:
    rows = pl.DataFrame(EVERY)
    assert pl.read_parquet(BytesIO(written(contract_of(shop, "parquet"), rows))).equals(rows)


def test_the_catalog_shows_an_export_with_its_file_and_where_it_comes_from(shop: Shop) -> None:
    site = shop.root / "site"
    done = shop.run("catalog", "--out", str(site))
    assert done.exit_code == 0, (done.output, done.exception)
    (page,) = (site / "tables").glob("export.shop.notes*")
    text = page.read_text()
    assert "shop/notes.csv" in text
    assert "silver.shop.notes.html" in text
    assert "layer-export" in text
    assert '"export.shop.notes","export"' in (site / "data" / "search.js").read_text()
