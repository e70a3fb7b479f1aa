"""Upkeep changes no row, stands aside for writers, and deletes nothing that a version still names."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from pipelines.bronze import Bronze
from pipelines.delta import Snapshot, commit_changes, fold, live_rows, read_snapshot
from pipelines.errors import ConflictError
from pipelines.replay import check
from pipelines.silver import apply
from pipelines.storage import Lake
from pipelines.upkeep import keep_up
from tests.spec.test_partitions import batch
from tests.spec.test_snapshots import TABLE, catalog_of, event, held

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = {"id": pl.Int64(), "v": pl.String()}
TABLE_OF_ROWS = "silver.x.rows"


class Rows:
    """A table with vectors, and what it must hold."""

    def __init__(self, folder: Path) -> None:
        self.lake = Lake(str(folder))
        self.lake.create(
            TABLE_OF_ROWS,
            SCHEMA,
            stats_columns=["id"],
            configuration={"delta.enableDeletionVectors": "true"},
        )
        self.wanted = dict[int, str]()

    @property
    def snapshot(self) -> Snapshot:
        return read_snapshot(self.lake.path(TABLE_OF_ROWS), {})

    def put(self, rows: dict[int, str], at: Snapshot | None = None) -> None:
        snapshot = at or self.snapshot
        old = live_rows(snapshot, ["id"], predicate=pl.col("id").is_in(list(rows))).collect()
        commit_changes(
            snapshot,
            removed=old.select("_file", "_row"),
            added=pl.DataFrame(list(rows.items()), schema=SCHEMA, orient="row"),
            app_transactions={},
            metadata={},
            stats_columns=["id"],
        )
        self.wanted |= rows

    def fold(self, at: Snapshot | None = None, small: int = 10) -> int:
        done = fold(at or self.snapshot, stats_columns=["id"], small_rows=small, many_small=3)
        return done.files

    def check(self) -> None:
        rows = self.lake.scan(TABLE_OF_ROWS).collect()
        assert dict(rows.iter_rows()) == self.wanted
        assert len(rows) == len(self.wanted)
        assert (
            dict(live_rows(self.snapshot, ["id", "v"]).select("id", "v").collect().iter_rows())
            == self.wanted
        )


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    made = Rows(tmp_path)
    made.put(dict.fromkeys(range(100), "a"))
    for number in range(5):
        made.put({number: "b", 1000 + number: "new"})
    return made


def test_small_files_become_one_and_the_rows_stay(rows: Rows):
    assert rows.fold() == 5
    assert [file.num_records for file in rows.snapshot.files] == [100, 10]
    rows.check()
    assert rows.fold() == 0


def test_dead_rows_are_taken_out_once_there_are_many(rows: Rows):
    rows.put(dict.fromkeys(range(50), "c"))
    assert rows.fold(small=0) >= 1
    assert all(file.vector is None for file in rows.snapshot.files)
    rows.check()


def test_a_fold_changes_nothing_for_readers_of_changes(rows: Rows):
    rows.fold()
    newest = rows.lake.handle(TABLE_OF_ROWS).history(1)[0]
    assert (newest["operation"], newest["operationMetrics"]["num_added_rows"]) == ("OPTIMIZE", 0)


def test_a_writer_that_marked_rows_in_a_folded_file_starts_again(rows: Rows):
    before = rows.snapshot
    rows.fold()
    with pytest.raises(ConflictError):
        rows.put({1000: "late"}, at=before)
    rows.check()


def test_a_writer_goes_on_beside_a_fold_of_other_files(rows: Rows):
    before = rows.snapshot
    rows.fold()
    rows.put({50: "beside"}, at=before)
    rows.check()


def test_a_fold_stands_aside_for_who_touched_its_files_alone(rows: Rows):
    before = rows.snapshot
    rows.put({2000: "appended"})
    assert rows.fold(at=before) == 5
    rows.check()
    for number in range(4):
        rows.put({3000 + number: "more"})
    before = rows.snapshot
    rows.put({3001: "marked"})
    with pytest.raises(ConflictError):
        rows.fold(at=before)
    rows.check()


def test_a_vacuum_keeps_what_the_newest_version_names(rows: Rows):
    rows.fold()
    kept = keep_up(rows.lake, [TABLE_OF_ROWS], retention_hours=0)
    assert kept[0].deleted > 0
    rows.check()
    rows.put({7: "after"})
    rows.check()


def test_bronze_compacted_and_vacuumed_still_makes_silver_again(tmp_path: Path):
    lake, catalog, offsets = Lake(str(tmp_path)), catalog_of(), dict[int, int]()
    events = [event("c", key, "a", at=10 + key) for key in range(6)]
    for each in events[:4]:
        Bronze(lake, catalog).land(batch([each], offsets))
    apply(lake, catalog, TABLE, now=NOW)
    for each in events[4:]:
        Bronze(lake, catalog).land(batch([each], offsets))
    before = lake.scan("bronze.x.t").sort("kafka_offset").collect()
    kept = keep_up(lake, ["bronze.x.t"], retention_hours=0)
    assert (kept[0].files, kept[0].into, kept[0].deleted) == (6, 1, 6)
    assert lake.scan("bronze.x.t").sort("kafka_offset").collect().equals(before)
    apply(lake, catalog, TABLE, now=NOW, chunk_events=2)
    assert held(lake) == dict.fromkeys(range(6), "a")
    Bronze(lake, catalog).land(batch([event("u", 3, "b", at=90)], offsets))
    assert apply(lake, catalog, TABLE, now=NOW).events == 1
    assert held(lake) == {**dict.fromkeys(range(6), "a"), 3: "b"}
    replayed = check(lake, catalog, TABLE, now=NOW)
    assert (replayed.differing, replayed.differences) == (0, ())
