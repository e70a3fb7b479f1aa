"""Law: every version of a table that we change is, to Spark, DuckDB, Polars and delta-rs, what was meant."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from pipelines.delta import commit_changes, fold, live_rows, locate, read_snapshot
from pipelines.storage import Lake
from tests.readers.asking import Engines, started
from tests.stack.parts import StackError

pytestmark = pytest.mark.slow

SCHEMA = {
    "id": pl.Int64(),
    "name": pl.String(),
    "price": pl.Decimal(12, 2),
    "at": pl.Datetime("us", "UTC"),
    "tags": pl.List(pl.String()),
}
TABLE, KEYS = "silver.test.rows", 40


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    try:
        with started() as running:
            yield running
    except StackError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, dict[int, pl.DataFrame]]:
    """A table changed in every way that it can be, and what each of its versions holds."""
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    vectors = {"delta.enableDeletionVectors": "true"}
    lake.create(TABLE, SCHEMA, stats_columns=["id", "name"], configuration=vectors)
    draw, rows, meant = random.Random(5), dict[int, int](), dict[int, pl.DataFrame]()
    meant[0] = _frame(rows)
    for step in range(20):
        if step % 5 == 3:
            snapshot = read_snapshot(lake.path(TABLE), {})
            fold(snapshot, stats_columns=["id"], small_rows=draw.choice([0, 100]), many_small=3)
        elif step % 10 == 9:
            lake.handle(TABLE).optimize.compact()
        elif step == 14:
            lake.handle(TABLE).create_checkpoint()
        else:
            upserts = {draw.randrange(KEYS): step * 100 + n for n in range(draw.randrange(8))}
            deletes = {draw.randrange(KEYS) for _ in range(draw.randrange(4))} - set(upserts)
            _change(lake, upserts, deletes, step)
            rows = {key: value for key, value in rows.items() if key not in deletes} | upserts
        meant[lake.version(TABLE) or 0] = _frame(rows)
    return lake, meant


def _frame(values: dict[int, int]) -> pl.DataFrame:
    keys, told = pl.Series(sorted(values), dtype=pl.Int64), [values[key] for key in sorted(values)]
    number = pl.Series(told, dtype=pl.Int64)
    return pl.DataFrame(
        {
            "id": keys,
            "name": pl.Series([None if n % 7 == 0 else f"ü{n}" for n in told], dtype=pl.String),
            "price": number.cast(pl.Decimal(12, 2)),
            "at": number.cast(pl.Datetime("us", "UTC")),
            "tags": pl.Series([[str(n)] * (n % 3) for n in told], dtype=pl.List(pl.String)),
        }
    )


def _change(lake: Lake, upserts: dict[int, int], deletes: set[int], step: int) -> None:
    snapshot = read_snapshot(lake.path(TABLE), {})
    touched = pl.DataFrame({"id": [*upserts, *deletes]}, schema={"id": pl.Int64})
    found = locate(snapshot, touched, ["id"], [])
    commit_changes(
        snapshot,
        removed=found.select("_file", "_row"),
        added=_frame(upserts),
        app_transactions={"step": step},
        metadata={},
        stats_columns=["id", "name"],
    )


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items()).sort("id")


def test_our_readers_see_each_version(history: tuple[Lake, dict[int, pl.DataFrame]]):
    lake, meant = history
    assert len(meant) > 12
    for version, rows in meant.items():
        table = DeltaTable(lake.path(TABLE), version=version)
        engine = QueryBuilder().register("t", table)
        by_delta_rs = pl.from_arrow(pa.table(engine.execute("SELECT * FROM t").read_all()))
        assert isinstance(by_delta_rs, pl.DataFrame)
        assert _typed(by_delta_rs).equals(rows)
        assert lake.scan(TABLE, version).sort("id").collect().equals(rows)
        own = live_rows(read_snapshot(lake.path(TABLE), {}, version), list(SCHEMA))
        assert own.select(*SCHEMA).sort("id").collect().equals(rows)


@pytest.mark.parametrize("engine", ["duckdb", "spark"])
def test_other_engines_see_each_version(
    engine: str,
    engines: Engines,
    history: tuple[Lake, dict[int, pl.DataFrame]],
    tmp_path: Path,
):
    lake, meant = history
    for version, rows in meant.items():
        into = tmp_path / f"{version}.parquet"
        engines.read(engine, Path(lake.path(TABLE)), version, into)
        read = pl.read_parquet(into / "*.parquet" if into.is_dir() else into)
        assert _typed(read).equals(rows), f"{engine} reads version {version} otherwise"


def test_what_spark_merged_is_read_and_changed_by_us(
    engines: Engines, history: tuple[Lake, dict[int, pl.DataFrame]], tmp_path: Path
):
    lake, meant = history
    before = meant[max(meant)]
    changes = _frame({number: 9_000 + number for number in range(0, KEYS, 3)})
    changes.write_parquet(tmp_path / "changes.parquet")
    engines.merge(Path(lake.path(TABLE)), tmp_path / "changes.parquet", "id")
    merged = pl.concat([before.join(changes, on="id", how="anti"), changes]).sort("id")
    assert lake.scan(TABLE).sort("id").collect().equals(merged)
    _change(lake, {1: 1}, {0}, 1_000)
    ours = pl.concat([merged.filter(~pl.col("id").is_in([0, 1])), _frame({1: 1})]).sort("id")
    version = lake.version(TABLE) or 0
    for engine in ("duckdb", "spark"):
        into = tmp_path / f"{engine}.parquet"
        engines.read(engine, Path(lake.path(TABLE)), version, into)
        read = pl.read_parquet(into / "*.parquet" if into.is_dir() else into)
        assert _typed(read).equals(ours)
