"""Law: a table changed by deletion vectors is, to every reader, the table that was meant."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.delta import commit_changes, live_rows, locate, read_snapshot
from pipelines.errors import ConflictError, LossError
from pipelines.storage import Lake

SCHEMA = {
    "id": pl.Int64(),
    "name": pl.String(),
    "price": pl.Decimal(12, 2),
    "at": pl.Datetime("us", "UTC"),
    "tags": pl.List(pl.String()),
}
TABLE = "silver.test.rows"


def make(root: Path) -> Lake:
    lake = Lake(str(root))
    lake.create(
        TABLE,
        SCHEMA,
        stats_columns=["id", "name"],
        configuration={"delta.enableDeletionVectors": "true"},
    )
    return lake


def rows(values: dict[int, int]) -> pl.DataFrame:
    raw = [(k, f"n{v}", str(v), v, [str(v)] * (v % 3)) for k, v in values.items()]
    loose = {
        "id": pl.Int64,
        "name": pl.String,
        "price": pl.String,
        "at": pl.Int64,
        "tags": pl.List(pl.String),
    }
    frame = pl.DataFrame(raw, schema=loose, orient="row")
    return frame.with_columns(
        pl.col("price").cast(pl.Decimal(12, 2)), pl.col("at").cast(pl.Datetime("us", "UTC"))
    )


def upsert(lake: Lake, upserts: dict[int, int], deletes: set[int], app: int) -> int:
    snapshot = read_snapshot(lake.path(TABLE), {})
    touched = pl.DataFrame({"id": [*upserts, *deletes]}, schema={"id": pl.Int64})
    found = locate(snapshot, touched, ["id"], [])
    return commit_changes(
        snapshot,
        removed=found.select("_file", "_row"),
        added=rows(upserts),
        app_transactions={"a": app},
        metadata={"k": "v"},
        stats_columns=["id", "name"],
    )


def read_by_delta_rs(lake: Lake) -> pl.DataFrame:
    result = (
        QueryBuilder()
        .register("t", DeltaTable(lake.path(TABLE)))
        .execute("select * from t order by id")
    )
    frame = pl.from_arrow(pa.table(result.read_all()))
    return frame.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())


STEP = st.one_of(
    st.tuples(
        st.just("change"),
        st.dictionaries(st.integers(0, 30), st.integers(0, 10**6), max_size=12),
        st.sets(st.integers(0, 30), max_size=8),
    ),
    st.tuples(
        st.sampled_from(["compact", "checkpoint", "append", "vacuum"]), st.just({}), st.just(set())
    ),
)


@settings(max_examples=25)
@given(st.lists(STEP, min_size=1, max_size=12))
def test_every_reader_sees_the_oracle(steps):
    with tempfile.TemporaryDirectory() as folder:
        lake, oracle, extra = make(Path(folder)), {}, 1000
        for number, (kind, upserts, deletes) in enumerate(steps):
            if kind == "change":
                upsert(lake, upserts, deletes - set(upserts), number)
                oracle = {k: v for k, v in oracle.items() if k not in deletes} | upserts
            elif kind == "compact":
                lake.handle(TABLE).optimize.compact()
            elif kind == "checkpoint":
                lake.handle(TABLE).create_checkpoint()
            elif kind == "vacuum":
                lake.handle(TABLE).vacuum(
                    retention_hours=0, enforce_retention_duration=False, dry_run=False
                )
            else:
                extra += 1
                lake.write(lake.handle(TABLE), rows({extra: number}), mode="append")
                oracle[extra] = number
            expected = rows(dict(sorted(oracle.items())))
            assert lake.scan(TABLE).sort("id").collect().equals(expected)
            assert read_by_delta_rs(lake).equals(expected)
            snapshot = read_snapshot(lake.path(TABLE), {})
            assert snapshot.num_rows == len(oracle)
            assert live_rows(snapshot, ["id"]).collect()["id"].sort().to_list() == sorted(oracle)


def test_a_second_writer_of_the_same_version_loses_and_nothing_is_lost(tmp_path):
    lake = make(tmp_path)
    upsert(lake, {1: 1, 2: 2}, set(), 1)
    stale = read_snapshot(lake.path(TABLE), {})
    upsert(lake, {2: 20}, set(), 2)
    found = locate(stale, pl.DataFrame({"id": [1]}), ["id"], [])
    with pytest.raises(ConflictError):
        commit_changes(
            stale,
            removed=found.select("_file", "_row"),
            added=rows({1: 10}),
            app_transactions={"a": 2},
            metadata={},
            stats_columns=["id"],
        )
    assert lake.scan(TABLE).sort("id").collect().equals(rows({1: 1, 2: 20}))


def test_a_compaction_of_other_files_is_no_conflict(tmp_path):
    lake = make(tmp_path)
    for number in range(3):
        upsert(lake, {number: number}, set(), number)
    stale = read_snapshot(lake.path(TABLE), {})
    lake.handle(TABLE).optimize.compact()
    none = pl.DataFrame(schema={"_file": pl.String, "_row": pl.Int64})
    version = commit_changes(
        stale,
        removed=none,
        added=rows({9: 9}),
        app_transactions={"a": 9},
        metadata={},
        stats_columns=["id"],
    )
    assert version > stale.version + 1
    assert lake.scan(TABLE).collect()["id"].sort().to_list() == [0, 1, 2, 9]
    gone = locate(stale, pl.DataFrame({"id": [1]}), ["id"], []).select("_file", "_row")
    with pytest.raises(ConflictError):
        commit_changes(
            stale,
            removed=gone,
            added=rows({}),
            app_transactions={},
            metadata={},
            stats_columns=["id"],
        )


def test_other_types_are_refused_before_anything_is_written(tmp_path):
    lake = make(tmp_path)
    snapshot = read_snapshot(lake.path(TABLE), {})
    before = sorted(p.name for p in Path(lake.path(TABLE)).iterdir())
    none = pl.DataFrame(schema={"_file": pl.String, "_row": pl.Int64})
    wider = rows({1: 1}).with_columns(pl.col("price").cast(pl.Decimal(14, 4)))
    with pytest.raises(LossError, match="price"):
        commit_changes(
            snapshot,
            removed=none,
            added=wider,
            app_transactions={},
            metadata={},
            stats_columns=["id"],
        )
    assert sorted(p.name for p in Path(lake.path(TABLE)).iterdir()) == before


def test_app_transactions_are_read_back_through_checkpoints(tmp_path):
    lake = make(tmp_path)
    for number in range(60):
        upsert(lake, {number % 7: number}, set(), number)
    snapshot = read_snapshot(lake.path(TABLE), {})
    assert snapshot.app_versions["a"] == 59
    assert lake.handle(TABLE).transaction_version("a") == 59
    assert len(list((Path(lake.path(TABLE)) / "_delta_log").glob("*.checkpoint.parquet"))) >= 2
