"""Law: the index finds what reading every file finds, whatever was written, folded, merged or deleted."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.delta import (
    Snapshot,
    commit_changes,
    fold,
    index,
    locate,
    lookup,
    purge,
    read_snapshot,
)
from pipelines.delta.kept import Kept
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.spec.test_snapshots import NOW, TABLE, catalog_of, event, held, land

KEYS = {
    "number": ({"id": pl.Int32()}, lambda number: (number - 3,)),
    "texts": ({"a": pl.String(), "b": pl.Int64()}, lambda number: (f"k{number % 4}", number)),
    "nullable": (
        {"a": pl.String(), "b": pl.String()},
        lambda number: (None if number % 3 == 0 else "x", str(number)),
    ),
}
STEP = st.one_of(
    st.tuples(st.just("put"), st.lists(st.integers(0, 20), min_size=1, max_size=8, unique=True)),
    st.tuples(st.just("drop"), st.lists(st.integers(0, 20), min_size=1, max_size=8, unique=True)),
    st.tuples(st.sampled_from(["fold", "purge", "forget"]), st.just([])),
)
NAME = "silver.test.keys"


def snapshot_of(lake: Lake) -> Snapshot:
    return read_snapshot(lake.path(NAME), {})


def step(lake: Lake, kind: str, what: str, numbers: list[int]) -> None:
    schema, key_of = KEYS[kind]
    snapshot = snapshot_of(lake)
    if what == "fold":
        fold(snapshot, stats_columns=[], small_rows=50, many_small=2)
    elif what == "purge":
        purge(snapshot)
    elif what == "forget":
        shutil.rmtree(Path(lake.path(NAME)) / "_index", ignore_errors=True)
    else:
        rows = pl.DataFrame([key_of(number) for number in numbers], schema=schema, orient="row")
        commit_changes(
            snapshot,
            removed=locate(snapshot, rows, list(schema), []).select("_file", "_row"),
            added=rows if what == "put" else rows.clear(),
            app_transactions={},
            metadata={},
            stats_columns=[],
        )


@pytest.mark.parametrize("kind", KEYS)
@settings(max_examples=25)
@given(st.lists(STEP, max_size=14))
def test_the_index_finds_what_reading_finds(kind: str, steps: list[tuple[str, list[int]]]):
    schema, key_of = KEYS[kind]
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        lake.create(NAME, schema, configuration={"delta.enableDeletionVectors": "true"})
        sought = pl.DataFrame([key_of(n) for n in range(22)], schema=schema, orient="row")
        for what, numbers in steps:
            step(lake, kind, what, numbers)
            snapshot = snapshot_of(lake)
            found = lookup(snapshot, sought, list(schema), worth_rows=0)
            assert found is not None
            wanted = locate(snapshot, sought, list(schema), [])
            by = ["_file", "_row"]
            assert found.sort(by).equals(wanted.select(found.columns).sort(by))


def test_a_small_table_needs_none(tmp_path: Path):
    lake = Lake(str(tmp_path))
    lake.create(NAME, {"id": pl.Int32()})
    keys = pl.DataFrame({"id": [1]}, schema={"id": pl.Int32})
    assert lookup(snapshot_of(lake), keys, ["id"]) is None


def test_two_runs_of_one_file_tell_a_place_once_and_a_lost_one_sends_to_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lake = Lake(str(tmp_path))
    lake.create(NAME, {"id": pl.Int32()}, configuration={"delta.enableDeletionVectors": "true"})
    step(lake, "number", "put", [5, 6])
    keys = pl.DataFrame({"id": [2, 3, 9]}, schema={"id": pl.Int32})
    first = lookup(snapshot_of(lake), keys, ["id"], worth_rows=0)
    folder = Path(lake.path(NAME)) / "_index" / "id"
    for path in list(folder.iterdir()):
        shutil.copy(path, folder / f"twin{path.name}")
    twice = lookup(snapshot_of(lake), keys, ["id"], worth_rows=0)
    assert first is not None
    assert twice is not None
    assert sorted(twice.rows()) == sorted(first.rows())
    assert sorted(first["id"]) == [2, 3]
    for path in folder.glob("*.row.npy"):
        path.unlink()
    # Who has a lost one open goes on with it; who has not is sent to the files.
    held = lookup(snapshot_of(lake), keys, ["id"], worth_rows=0)
    assert held is not None
    assert sorted(held.rows()) == sorted(first.rows())
    monkeypatch.setattr(index, "_mapped", Kept(64))
    assert lookup(snapshot_of(lake), keys, ["id"], worth_rows=0) is None


def test_late_events_find_their_place_through_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The bound of a file stands for its rows only where that decides."""
    monkeypatch.setattr("pipelines.delta.index.WORTH_ROWS", 0)
    lake, catalog, offsets = Lake(str(tmp_path)), catalog_of(), dict[int, int]()
    land(
        lake,
        catalog,
        [event("c", key, "a", at=10 * key, partition=key) for key in range(1, 6)],
        offsets,
    )
    late = [
        event("u", 1, "late, but newer than its own row", at=15, partition=1),
        event("u", 2, "older", at=5, partition=6),
        event("d", 3, None, at=35, partition=3),
        event("u", 5, "newest", at=99, partition=5),
    ]
    land(lake, catalog, late, offsets)
    wanted = {1: "late, but newer than its own row", 2: "a", 4: "a", 5: "newest"}
    assert held(lake) == wanted
    land(lake, catalog, [event("u", 3, "before its delete", at=33, partition=7)], offsets)
    assert held(lake) == wanted
    assert list((Path(lake.path(TABLE)) / "_index" / "id").glob("*.json"))
    apply(lake, catalog, TABLE, now=NOW)
    assert held(lake) == wanted
