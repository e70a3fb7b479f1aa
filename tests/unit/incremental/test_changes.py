"""What one version of a table has that another has not, whatever was done to the files between."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.delta import commit_changes, locate, read_snapshot
from pipelines.incremental import changes
from pipelines.incremental.changes import changes_between
from pipelines.incremental.errors import NotProvable
from pipelines.storage import Lake

TABLE = "silver.shop.rows"
SCHEMA = {"id": pl.Int64(), "v": pl.Int64(), "note": pl.String()}
Rows = dict[int, int]


def make(root: Path, **schema: pl.DataType) -> Lake:
    lake = Lake(str(root))
    lake.create(TABLE, {**SCHEMA, **schema}, configuration={"delta.enableDeletionVectors": "true"})
    return lake


def frame(values: Rows, note: str = "n") -> pl.DataFrame:
    return pl.DataFrame(
        {"id": list(values), "v": list(values.values()), "note": [note] * len(values)},
        schema=SCHEMA,
    )


def upsert(lake: Lake, values: Rows, deleted: set[int] = frozenset(), note: str = "n") -> None:  # pyright: ignore[reportArgumentType]
    snapshot = read_snapshot(lake.path(TABLE), {})
    keys = pl.DataFrame({"id": [*values, *deleted]}, schema={"id": pl.Int64})
    commit_changes(
        snapshot,
        removed=locate(snapshot, keys, ["id"], []).select("_file", "_row"),
        added=frame(values, note),
        app_transactions={},
        metadata={},
        stats_columns=["id"],
    )


def between(lake: Lake, old: int, columns: tuple[str, ...] = ("id", "v")) -> tuple[Rows, Rows]:
    found = changes_between(
        read_snapshot(lake.path(TABLE), {}, old), read_snapshot(lake.path(TABLE), {}), columns
    )
    return dict(found.removed(columns).rows()), dict(found.added(columns).rows())


def test_an_updated_row_is_removed_and_added(tmp_path: Path):
    lake = make(tmp_path)
    upsert(lake, {1: 10, 2: 20})
    upsert(lake, {2: 21, 3: 30})
    assert between(lake, 1) == ({2: 20}, {2: 21, 3: 30})
    assert between(lake, 2) == ({}, {})


def test_a_change_of_other_columns_is_none(tmp_path: Path):
    lake = make(tmp_path)
    upsert(lake, {1: 10, 2: 20})
    upsert(lake, {1: 10, 2: 20}, note="another")
    assert between(lake, 1) == ({}, {})


def test_rows_are_counted_as_often_as_they_are_there(tmp_path: Path):
    lake = make(tmp_path)
    upsert(lake, {1: 5, 2: 5, 3: 6})
    upsert(lake, {4: 5, 5: 5}, deleted={1, 3})
    old, new = (read_snapshot(lake.path(TABLE), {}, version) for version in (1, 2))
    found = changes_between(old, new, ["v"])
    assert (found.removed(["v"])["v"].to_list(), found.added(["v"])["v"].to_list()) == ([6], [5])


def test_a_compaction_between_changes_nothing(tmp_path: Path):
    lake = make(tmp_path)
    upsert(lake, {1: 10, 2: 20})
    upsert(lake, {2: 21, 3: 30})
    lake.handle(TABLE).optimize.compact()
    assert between(lake, 2) == ({}, {})
    assert between(lake, 1) == ({2: 20}, {2: 21, 3: 30})


def test_files_that_did_not_change_are_not_opened(tmp_path: Path):
    lake = make(tmp_path)
    upsert(lake, {1: 10})
    for file in Path(lake.path(TABLE)).glob("*.parquet"):
        file.unlink()
    upsert(lake, {}, deleted=set())
    upsert(lake, {7: 70})
    assert between(lake, 1) == ({}, {7: 70})


def test_a_version_whose_files_were_vacuumed_is_said_to_be_gone(tmp_path: Path):
    lake = make(tmp_path)
    upsert(lake, {1: 10, 2: 20})
    lake.write(lake.handle(TABLE), frame({1: 11}), mode="overwrite")
    old = {file.path for file in read_snapshot(lake.path(TABLE), {}, 1).files}
    for path in old:
        (Path(lake.path(TABLE)) / path).unlink()
    with pytest.raises(
        NotProvable, match=r"silver\.shop\.rows: files of its last version are gone"
    ):
        between(lake, 1)


def test_a_table_that_was_mostly_rewritten_is_not_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lake = make(tmp_path)
    upsert(lake, {1: 10, 2: 20})
    upsert(lake, {1: 11, 2: 21})
    monkeypatch.setattr(changes, "_FEW_ROWS", 1)
    with pytest.raises(NotProvable, match="4 rows were written since the last build"):
        between(lake, 1)


def test_a_column_of_another_type_is_not_compared(tmp_path: Path):
    lake = make(tmp_path)
    upsert(lake, {1: 10})
    other = frame({1: 10}).with_columns(pl.col("v").cast(pl.String))
    lake.write(lake.handle(TABLE), other, mode="overwrite", reshape=True)
    with pytest.raises(NotProvable, match="column 'v' has another type"):
        between(lake, 1)
    assert between(lake, 1, ("id", "note")) == ({}, {})


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["upsert", "compact", "overwrite"]),
        st.dictionaries(st.integers(0, 8), st.integers(0, 3), max_size=4),
        st.sets(st.integers(0, 8), max_size=3),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=15)
@given(steps=STEPS, data=st.data())
def test_old_less_removed_plus_added_is_new(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, Rows, set[int]]],
    data: st.DataObject,
):
    lake = make(tmp_path_factory.mktemp("lake"))
    for kind, values, deleted in steps:
        if kind == "upsert":
            upsert(lake, values, deleted - values.keys())
        elif kind == "compact":
            lake.handle(TABLE).optimize.compact()
        else:
            lake.write(lake.handle(TABLE), frame(values), mode="overwrite")
    newest = lake.version(TABLE) or 0
    version = data.draw(st.integers(0, newest))
    snapshots = [read_snapshot(lake.path(TABLE), {}, at) for at in (version, newest)]
    found = changes_between(*snapshots, ["id", "v"]).net()
    was, now = (
        Counter(lake.scan(TABLE, at).select("id", "v").collect().rows()) for at in (version, newest)
    )
    assert was - Counter(found.gone.rows()) + Counter(found.come.rows()) == now
    assert Counter(found.gone.rows()) == was - now
