"""Masks and group sizes: what the build takes out of gold's rows."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.contract import Contract, load_catalog
from pipelines.errors import ContractError, QualityError, SettingsError
from pipelines.gold import Built, build
from pipelines.masks import release, reveal, salt_mark
from pipelines.storage import Lake

SALT = "0123456789abcdef"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MAIL = "ada@example.org"


@pytest.fixture(autouse=True)
def _salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_MASK_SALT", SALT)


def contract(mask: object, kind: str = "string", **more: Any) -> Contract:
    return Contract.model_validate(
        {
            "table": "gold.shop.a",
            "description": "d",
            "owner": "o",
            "key": ["id"],
            "columns": {
                "id": {"type": "string"},
                "x": {"type": kind, "mask": mask},
                "n": {"type": "int64"},
            },
            **more,
        }
    )


def shown(
    mask: object, values: list[Any], kind: str = "string", dtype: pl.DataType | None = None
) -> list[Any]:
    rows = pl.DataFrame({"x": pl.Series(values, dtype=dtype)})
    return release(contract(mask, kind), rows)["x"].to_list()


def test_a_hash_is_keyed_by_the_salt_and_the_same_for_the_same_value() -> None:
    key = hmac.digest(SALT.encode(), b"medallion hash", hashlib.sha512)
    expected = hmac.digest(key, MAIL.encode(), "sha256").hex()
    assert shown("hash", [MAIL, None, MAIL]) == [expected, None, expected]
    assert hashlib.sha256(MAIL.encode()).hexdigest() != expected


def test_another_salt_makes_another_hash_and_another_table(monkeypatch: pytest.MonkeyPatch) -> None:
    before, mark = shown("hash", [MAIL]), salt_mark(contract("hash"))
    monkeypatch.setenv("MEDALLION_MASK_SALT", SALT[::-1])
    assert shown("hash", [MAIL]) != before
    assert salt_mark(contract("hash")) != mark
    assert salt_mark(contract("redact")) is None


def test_a_token_is_turned_back_by_who_has_the_salt_alone() -> None:
    tokens = pl.Series(shown("tokenise", [MAIL, "ünï", "", None, MAIL]))
    assert tokens[0] == tokens[4] != tokens[1]
    assert not tokens.drop_nulls().str.contains("ada").any()
    assert reveal(tokens).to_list() == [MAIL, "ünï", "", None, MAIL]
    with pytest.raises(SettingsError, match="not made with this salt"):
        reveal(tokens, b"another salt of sixteen")


@pytest.mark.parametrize(
    ("mask", "values", "kind", "expected"),
    [
        ({"truncate": 3}, ["abcdefgh", "abcd", "ab", "a", "", "Ünïcode", None], "string", ["abc", "ab", "a", "", "", "Ünï", None]),
        ({"truncate": 1}, [12345, None], "string", ["1", None]),
        ("redact", ["a", None], "string", [None, None]),
        ("redact", [1, 2], "int64", [None, None]),
        ("redact", [], "int64", []),
        ({"generalise": 10}, [0, 9, 10, -1, None], "int64", [0, 0, 10, -10, None]),
        ({"generalise": 10}, [Decimal("19.99"), Decimal("-0.01")], "decimal(10,2)", [Decimal("10.00"), Decimal("-10.00")]),
        ({"generalise": "month"}, [date(2024, 5, 17), None], "date", [date(2024, 5, 1), None]),
        ({"generalise": "quarter"}, [date(2024, 5, 17)], "date", [date(2024, 4, 1)]),
        ({"generalise": "year"}, [datetime(2024, 5, 17, 3)], "timestamp_ntz", [datetime(2024, 1, 1)]),
    ],
)  # fmt: skip
def test_a_mask_leaves_what_it_promises(
    mask: object, values: list[Any], kind: str, expected: list[Any]
) -> None:
    assert shown(mask, values, kind) == expected


@pytest.mark.parametrize(
    ("mask", "kind", "message"),
    [
        ("hash", "int64", "'hash' makes a string, not int64"),
        ("truncate", "string", "says how many characters stay"),
        ({"truncate": 0}, "string", "greater than or equal to 1"),
        ({"generalise": "month"}, "string", "says how far"),
        ({"generalise": "day"}, "date", "says how far"),
        ({"generalise": 1}, "int64", "steps of 2 or more"),
        ("shred", "string", "'hash', 'tokenise'"),
    ],
)
def test_a_mask_that_would_not_mask_is_refused(mask: object, kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        contract(mask, kind)


def test_redacted_columns_cannot_be_required() -> None:
    with pytest.raises(ValueError, match="leaves null, but the column is required"):
        contract(None, columns={"id": {"type": "string", "mask": "redact"}})


@pytest.mark.parametrize("salt", ["", "short"])
def test_without_a_salt_that_cannot_be_guessed_nothing_is_hashed(
    salt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_MASK_SALT", salt)
    with pytest.raises(SettingsError, match="MEDALLION_MASK_SALT") as raised:
        shown("hash", [MAIL])
    assert MAIL not in str(raised.value)
    assert not salt or salt not in str(raised.value)


def test_a_mask_for_other_values_than_the_sqls_is_refused() -> None:
    with pytest.raises(ContractError, match=r"'generalise \(month\)' cannot be put on the String"):
        shown({"generalise": "month"}, ["2024-05-17"], "date")
    with pytest.raises(ContractError, match="'hash' cannot be put on the List"):
        shown("hash", [["a"]])


GROUPS = pl.DataFrame(
    {"id": ["a", "b", "c"], "n": [10, 9, None]}, schema={"id": pl.String, "n": pl.Int64}
)


def test_small_groups_are_refused_or_dropped() -> None:
    refusing = contract(None, group_size={"column": "n", "minimum": 10})
    with pytest.raises(QualityError, match=r"2 of 3 groups are of fewer than 10 \(n\)"):
        release(refusing, GROUPS)
    dropping = contract(None, group_size={"column": "n", "minimum": 10, "smaller": "drop"})
    assert release(dropping, GROUPS)["id"].to_list() == ["a"]


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"column": "m", "minimum": 10}, "group_size names column 'm'"),
        ({"column": "n", "minimum": 1}, "greater than or equal to 2"),
        ({"column": "n", "minimum": 5, "smaller": "hide"}, "'refuse' or 'drop'"),
    ],
)
def test_a_group_size_that_promises_nothing_is_refused(
    size: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        contract(None, group_size=size)


def test_the_build_writes_masked_rows_and_no_value(tmp_path: Path) -> None:
    folder, lake = tmp_path / "assets" / "shop" / "gold", Lake(str(tmp_path / "lake"))
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text(
        "table: gold.shop.a\ndescription: d\nowner: o\nkey: [id]\n"
        "group_size: {column: n, minimum: 2, smaller: drop}\n"
        "columns: {id: {type: string, mask: hash}, n: {type: int64}}\n"
    )
    (folder / "a.sql").write_text(
        "SELECT email AS id, CAST(COUNT(*) AS BIGINT) AS n FROM silver.shop.c GROUP BY email"
    )
    people = pl.DataFrame({"email": [MAIL, MAIL, "lonely@example.org"]})
    lake.write(lake.create("silver.shop.c", people.schema), people, mode="append")
    catalog = load_catalog(tmp_path / "assets")

    def run(batch: str) -> Built:
        return build(lake, catalog, "gold.shop.a", batch_id=batch, now=NOW)

    first = run("b1")
    assert (first.rows, first.dropped, first.changed) == (1, 1, True)
    assert lake.scan("gold.shop.a").collect().rows() == [(shown("hash", [MAIL])[0], 2)]
    written = b"".join(
        p.read_bytes() for p in (tmp_path / "lake" / "gold").rglob("*") if p.is_file()
    )
    assert MAIL.encode() not in written
    assert SALT.encode() not in written
    assert run("b2").changed is False


def test_the_mask_of_a_contract_is_written_as_it_is_read() -> None:
    terms = json.loads(contract({"truncate": 3}).model_dump_json())["columns"]["x"]["mask"]
    assert terms == {"method": "truncate", "keep": 3, "to": None}
