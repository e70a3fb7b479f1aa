"""Rows of large tables are found and read without the rest, whatever happened to what lies beside them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from pipelines.delta import (
    DIGEST,
    Snapshot,
    columns,
    commit_changes,
    live_rows,
    lookup,
    purge,
    read_digests,
    read_scattered,
    read_snapshot,
    with_digests,
)
from pipelines.storage import Lake

TABLE = "silver.x.rows"
SCHEMA = {
    "id": pl.Int64(),
    "group": pl.String(),
    "of": pl.Int64(),
    "amount": pl.Decimal(12, 2),
    "at": pl.Datetime("us", "UTC"),
    "on": pl.Date(),
    "is_new": pl.Boolean(),
    "tags": pl.List(pl.String()),
}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rows_of(*numbers: int) -> pl.DataFrame:
    rows = [
        (
            number,
            ["a", "b", None, ""][number % 4],
            [None, 1, 2][number % 3],
            None if number % 5 == 0 else Decimal(number) / 100,
            NOW,
            date(2026, 1, 1 + number % 28),
            number % 2 == 0,
            None if number % 7 == 0 else ["x"] * (number % 3),
        )
        for number in numbers
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setattr(columns, "WORTH_ROWS", 1)
    lake = Lake(str(tmp_path))
    lake.create(TABLE, SCHEMA, configuration={"delta.enableDeletionVectors": "true"})
    put(lake, rows_of(*range(40)))
    put(lake, rows_of(*range(30, 50)))
    return lake


def put(lake: Lake, rows: pl.DataFrame) -> None:
    """The rows, in place of those with their ids."""
    at = snapshot(lake)
    old = live_rows(at, ["id"], predicate=pl.col("id").is_in(rows["id"].to_list())).collect()
    commit_changes(
        at,
        removed=old.select("_file", "_row"),
        added=rows,
        app_transactions={},
        metadata={},
        stats_columns=["id"],
    )


def snapshot(lake: Lake) -> Snapshot:
    return read_snapshot(lake.path(TABLE), {})


def folder(lake: Lake) -> Path:
    return Path(lake.path(TABLE)) / "_columns"


def some(lake: Lake) -> pl.DataFrame:
    """Every third row, scattered over the files."""
    places = live_rows(snapshot(lake), ["id"]).collect().filter(pl.col("id") % 3 == 0)
    found = read_scattered(snapshot(lake), places.select("_file", "_row").sort("_row"), [*SCHEMA])
    return found.select(SCHEMA.keys()).sort("id")


def test_rows_are_the_same_from_parquet_and_from_mapped_columns(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
):
    mapped = [some(lake), some(lake)]
    assert len(list(folder(lake).glob("*/*.arrow"))) == 2 * len(SCHEMA)
    monkeypatch.setattr(columns, "WORTH_ROWS", 1_000_000)
    assert some(lake).equals(mapped[0])
    assert mapped[0].equals(mapped[1])
    assert mapped[0].schema == SCHEMA
    assert mapped[0]["id"].to_list() == list(range(0, 50, 3))


def test_rows_are_equal_where_their_digests_are(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    told = [name for name in SCHEMA if not SCHEMA[name].is_nested()]
    places = live_rows(snapshot(lake), told).collect()
    for worth in (1, 1_000_000):
        monkeypatch.setattr(columns, "WORTH_ROWS", worth)
        found = read_digests(snapshot(lake), places.sample(fraction=1, shuffle=True, seed=1), told)
        both = places.join(found, on=["_file", "_row"])
        assert both.select(DIGEST).equals(with_digests(both.select(told), told).select(DIGEST))
    assert both.select(DIGEST).n_unique() == 50


def test_rows_that_differ_in_little_have_other_digests():
    """Small numbers side by side, as in a table of counts: what a weak hash would fold together."""
    few = pl.DataFrame({"a": range(40)}, schema={"a": pl.Int64})
    rows = few.join(few.rename({"a": "b"}), how="cross").join(few.rename({"a": "c"}), how="cross")
    rows = rows.with_columns(d=pl.when(pl.col("a") > 20).then("b"))
    for half in DIGEST:
        assert with_digests(rows, ["a", "b", "c", "d"])[half].n_unique() == len(rows)
    zeros = pl.DataFrame({"a": [0.0, -0.0, float("nan"), -float("nan")]})
    assert with_digests(zeros, ["a"])[DIGEST[0]].n_unique() == 2


def test_a_column_cut_short_is_laid_out_again(lake: Lake):
    whole = some(lake)
    for path in folder(lake).glob("*/*.arrow"):
        path.write_bytes(path.read_bytes()[:-20])
    assert some(lake).equals(whole)
    for path in folder(lake).glob("*/amount.arrow"):
        path.write_bytes(b"")
    assert some(lake).equals(whole)


def test_what_lies_beside_files_that_are_gone_is_deleted_with_them(lake: Lake):
    some(lake)
    assert lookup(snapshot(lake), rows_of(3), ["id"], worth_rows=0) is not None
    assert purge(snapshot(lake)) == 0
    put(lake, rows_of(*range(50)))
    assert purge(snapshot(lake)) == 3, "the columns of two files, and the run that names them"
    assert not list(folder(lake).glob("*/*"))


@pytest.mark.parametrize("on", [["group"], ["of"], ["group", "of"], ["on", "of"], ["amount"]])
def test_rows_are_found_by_columns_that_are_no_key(lake: Lake, on: list[str]):
    held = live_rows(snapshot(lake), [*SCHEMA]).collect()
    for sought in (rows_of(5), rows_of(0, 2), rows_of(31, 44, 3)):
        found = lookup(snapshot(lake), sought, on, worth_rows=0, nulls=True)
        assert found is not None
        wanted = held.join(sought, on=on, how="semi", nulls_equal=True)
        assert set(found.select("_file", "_row").rows()) == set(
            wanted.select("_file", "_row").rows()
        )
        without = lookup(snapshot(lake), sought, on, worth_rows=0)
        assert without is not None
        assert without[on[0]].null_count() == 0
        assert len(without) == len(held.join(sought, on=on, how="semi"))


def test_a_value_that_most_rows_have_is_not_looked_up(lake: Lake):
    some_group = rows_of(1)
    assert lookup(snapshot(lake), some_group, ["group"], worth_rows=0, most=5) is None
    assert lookup(snapshot(lake), some_group, ["group"], worth_rows=0, most=50) is not None
