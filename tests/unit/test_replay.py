"""Replay: silver made once more from bronze is what is stored, and what was altered is found and named."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings

from pipelines.bronze import Bronze
from pipelines.contract import Catalog
from pipelines.contract.rule_spec import RuleSpec
from pipelines.replay import Replayed, check, make
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.properties.test_laws import CATALOG, CONTRACT, CUTS, HISTORY, NOW, TABLE, batch, play
from tests.unit.test_cli import CONTRACT as NOTES
from tests.unit.test_cli import Bench, event

SECRET = CONTRACT.model_copy(
    update={
        "columns": {
            **CONTRACT.columns,
            "id": CONTRACT.columns["id"].model_copy(update={"classification": "restricted"}),
        }
    }
)


def landed(root: str, sent: list, cuts: list[int], catalog: Catalog = CATALOG) -> Lake:
    lake, at = Lake(root), 0
    for size in itertools.cycle(cuts):
        if at >= len(sent):
            return lake
        Bronze(lake, catalog).land(batch(sent[at : at + size], at))
        apply(lake, catalog, TABLE, now=NOW)
        at += size
    raise AssertionError


@settings(max_examples=15)
@given(HISTORY, CUTS)
def test_any_cut_of_bronze_makes_the_same_tables(history, cuts):
    source = play(history)
    if not source.sent:
        return
    with tempfile.TemporaryDirectory() as folder:
        lake = landed(folder, source.sent, cuts)
        before = {table: lake.version(table) for table in lake.tables()}
        done = check(lake, CATALOG, TABLE, now=NOW)
        assert (done.differing, done.differences, done.by_parents) == (0, (), 0)
        assert done.events == len(source.sent)
        assert {table: lake.version(table) for table in lake.tables()} == before


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two rows kept, one in quarantine, one deleted; the first has a past."""
    source = play(
        [
            ("transact", [("put", 1, 100, 1), ("put", 2, 200, 2), ("put", 3, -5, 3)]),
            ("transact", [("put", 1, 150, None), ("put", 4, 400, 0)]),
            ("transact", [("drop", 4)]),
        ]
    )
    return landed(str(tmp_path / "lake"), source.sent, [2])


def alter(lake: Lake, table: str, change: pl.Expr | None = None, *, without: pl.Expr | None = None):
    """Writes a stored table anew, as somebody with other tools might."""
    handle, rows = lake.handle(table), lake.scan(table).collect()
    if without is not None:
        rows = rows.filter(~without)
    rows = rows if change is None else rows.with_columns(change)
    lake.write(handle, rows, mode="overwrite")


def found(lake: Lake, catalog: Catalog = CATALOG) -> list[tuple[str, str, str]]:
    done: Replayed = check(lake, catalog, TABLE, now=NOW)
    assert done.differing == len(done.differences)
    return sorted((each.place, each.key, each.what) for each in done.differences)


ONE = pl.col("id") == 1


def test_an_altered_value_is_named_by_its_column_and_not_shown(lake: Lake):
    alter(lake, TABLE, pl.when(ONE).then(pl.lit("mine")).otherwise("note").alias("note"))
    assert found(lake) == [(TABLE, "id=1", "differs in note")]


def test_a_lost_row_is_named(lake: Lake):
    alter(lake, TABLE, without=ONE)
    assert found(lake) == [(TABLE, "id=1", "is lost")]


def test_a_row_that_bronze_does_not_make_is_named(lake: Lake):
    alter(lake, TABLE, pl.when(ONE).then(9).otherwise("id").cast(pl.Int32).alias("id"))
    assert found(lake) == [
        (TABLE, "id=1", "is lost"),
        (TABLE, "id=9", "is not in what bronze makes"),
    ]


def test_a_row_that_stands_twice_is_named(lake: Lake):
    rows = lake.scan(TABLE).filter(ONE).collect()
    lake.write(lake.handle(TABLE), rows, mode="append")
    assert found(lake) == [(TABLE, "id=1", "is not in what bronze makes")]


def test_a_wrong_interval_is_named(lake: Lake):
    first = ONE & ~pl.col("is_current")
    later = pl.col("valid_to") + pl.duration(microseconds=1)
    alter(
        lake,
        "history.shop.items",
        pl.when(first).then(later).otherwise("valid_to").alias("valid_to"),
    )
    assert found(lake) == [("history.shop.items", "id=1", "differs in valid_to")]


def test_a_verdict_that_is_not_the_rules_is_named(lake: Lake):
    waiting = lake.scan("quarantine.shop.items").collect()
    rows = waiting.drop("raw_payload", "first_seen_at", "times_seen")
    lake.write(lake.handle(TABLE), rows, mode="append")
    alter(lake, "quarantine.shop.items", without=pl.lit(value=True))
    assert found(lake) == [(TABLE, "id=3", "differs in verdict, raw_payload")]


def test_a_lost_delete_is_named(lake: Lake):
    alter(lake, "tombstones.shop.items", without=pl.col("id") == 4)
    assert found(lake) == [("tombstones.shop.items", "id=4", "is lost")]


def test_a_classified_key_is_only_a_hash(lake: Lake):
    alter(lake, TABLE, without=ONE)
    ((_, key, _),) = found(lake, Catalog(Path(), {TABLE: SECRET}))
    assert key.startswith("id=#")
    assert len(key) == len("id=#") + 12


def test_only_what_was_applied_is_replayed(lake: Lake):
    source = play([("transact", [("put", 7, 1, 1)])])
    Bronze(lake, CATALOG).land(batch(source.sent, 100))
    assert found(lake) == []


def test_rows_that_a_missing_parent_kept_back_are_counted_apart(tmp_path: Path):
    source = CONTRACT.source and CONTRACT.source.model_copy(update={"topic": "p.public.parents"})
    parent = CONTRACT.model_copy(update={"table": "silver.shop.parents", "source": source})
    rule = {
        "name": "known",
        "reference": {"column": "note", "table": parent.table, "column_there": "note"},
    }
    child = CONTRACT.model_copy(update={"rules": (RuleSpec.model_validate(rule),)})
    catalog = Catalog(Path(), {TABLE: child, parent.table: parent})
    sent = play([("transact", [("put", 1, 100, 1)])]).sent
    lake = landed(str(tmp_path / "lake"), sent, [5], catalog)
    rows = pl.DataFrame({"note": ["n1"]})
    lake.write(lake.create(parent.table, dict(rows.schema)), rows, mode="append")
    done = check(lake, catalog, TABLE, now=NOW)
    assert (done.differing, done.by_parents) == (0, 2)  # where it stands, and what history says


def test_the_folder_holds_what_bronze_makes(lake: Lake, tmp_path: Path):
    made = make(lake, CATALOG, TABLE, str(tmp_path / "made"), now=NOW)
    columns = ["id", "price", "note"]
    assert made.tables() == [
        f"{layer}.shop.items" for layer in ("history", "quarantine", "silver", "tombstones")
    ]
    assert (
        made.scan(TABLE)
        .select(columns)
        .sort("id")
        .collect()
        .equals(lake.scan(TABLE).select(columns).sort("id").collect())
    )


def test_the_command_says_what_differs_and_ends_with_its_code(tmp_path: Path):
    bench = Bench(tmp_path)
    bench.record(event(1, 10, "a"), event(2, 11, "b"), event(1, 12, "c", "u"))
    bench.told("run", "--from-file", str(bench.stream), "--json")
    (equal,) = bench.told("replay", "silver.shop.notes", "--check", "--json")
    assert (equal["differing"], equal["events"], equal["rows"]) == (0, 3, 2)
    text = pl.when(pl.col("id") == 1).then(pl.lit("secret")).otherwise("text").alias("text")
    alter(Lake(str(bench.lake)), "silver.shop.notes", text)
    done = bench.run("replay", "--check", "--json")
    assert done.returncode == 25
    assert json.loads(done.stdout)[0]["differing"] == 1
    assert "silver.shop.notes id=1" in done.stderr
    assert "secret" not in done.stdout + done.stderr
    assert "confidential" in NOTES
    refused = bench.run("replay", "silver.shop.notes")
    assert (refused.returncode, "--check" in refused.stderr) == (10, True)


def test_a_table_that_nothing_has_come_of_is_left_out(tmp_path: Path):
    bench = Bench(tmp_path)
    notes = bench.assets / "shop" / "silver" / "notes.yaml"
    later = notes.read_text().replace("silver.shop.notes", "silver.shop.later")
    notes.with_name("later.yaml").write_text(later.replace("p.public.notes", "p.public.later"))
    bench.record(event(1, 10, "a"))
    bench.told("run", "--from-file", str(bench.stream), "--json")
    assert Lake(str(bench.lake)).version("silver.shop.later") is not None  # gold may read it
    (only,) = bench.told("replay", "--check", "--json")
    assert only["table"] == "silver.shop.notes"
    assert bench.run("replay", "silver.shop.later", "--check").returncode == 14
