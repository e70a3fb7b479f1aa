"""Columns of large data files as they lie in memory, so that scattered rows are read without the rest.

Parquet gives a row only with the page around it: ten thousand rows of ten million cost a pass over each
column that is asked for. Beside a local table, in a folder that Delta's readers pass over (`_columns`),
lies each column that was asked for once, uncompressed, and is mapped into memory: a row costs the
memory page it lies in. Data files never change, so that a column is right for ever of the file it
names. It can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from pyarrow import ipc

from pipelines.delta.rows import location_of, read_places
from pipelines.delta.snapshot import ActiveFile, Snapshot

#: A file of fewer rows is read as quickly from Parquet.
WORTH_ROWS = 200_000

#: The two halves of a row's digest.
DIGEST = ("_digest", "_digest2")
_SEEDS = (0xD1B54A32D192ED03, 0x94D049BB133111EB)


def read_scattered(
    snapshot: Snapshot, places: pl.DataFrame, columns: Sequence[str]
) -> pl.DataFrame:
    """`columns`, `_file` and `_row` of the rows at these places, marked or not; in no order.

    What it reads of a large file on this machine's disk is laid out beside it the first time, which
    costs a pass over the column and its size in memory on disk.
    """
    files = {file.path: file for file in snapshot.files}
    found, small = list[pl.DataFrame](), list[str]()
    for (path,), rows in places.group_by("_file"):
        file = files[str(path)]
        folder = _folder(snapshot, file)
        if folder is None:
            small.append(file.path)
        else:
            found.append(_gathered(snapshot, file, folder, columns, rows["_row"].sort()))
    rest = places.filter(pl.col("_file").is_in(small))
    return pl.concat([read_places(snapshot, rest, [], columns), *found])


def read_digests(snapshot: Snapshot, places: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """`_file`, `_row` and `DIGEST` of the rows at these places: whether they are equal costs one look, not one a column.

    Those of a large file are laid out as its columns are.
    """
    files = {file.path: file for file in snapshot.files}
    found, small = list[pl.DataFrame](), list[str]()
    for (path,), rows in places.group_by("_file"):
        file = files[str(path)]
        folder = _folder(snapshot, file)
        if folder is None:
            small.append(file.path)
        else:
            at = rows["_row"].sort()
            told = _digests(snapshot, file, folder, columns)[at.to_numpy()]
            here = pl.DataFrame(told, schema=dict.fromkeys(DIGEST, pl.Int64()))
            found.append(here.select(pl.lit(file.path).alias("_file"), at, *DIGEST))
    rest = read_places(snapshot, places.filter(pl.col("_file").is_in(small)), [], columns)
    return pl.concat([with_digests(rest, columns).select("_file", "_row", *DIGEST), *found])


def with_digests(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The rows with 128 bits of hash over one column or more, as `DIGEST`; null and -0.0 as `eq_missing` has them.

    Another version of Polars may tell other digests.
    """
    row = pl.struct(columns)
    return rows.with_columns(
        row.hash(seed).reinterpret(signed=True).alias(name)
        for name, seed in zip(DIGEST, _SEEDS, strict=True)
    )


def forget_columns(snapshot: Snapshot) -> int:
    """Deletes the columns of files that the snapshot no longer has; of how many files."""
    root, kept, gone = _root(snapshot), {_name(file.path) for file in snapshot.files}, 0
    for folder in root.glob("*") if root is not None else ():
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)
            gone += 1
    return gone


def _folder(snapshot: Snapshot, file: ActiveFile) -> Path | None:
    """Where the file's columns lie; None where they are not worth it."""
    root = _root(snapshot)
    return None if root is None or file.num_records < WORTH_ROWS else root / _name(file.path)


def _root(snapshot: Snapshot) -> Path | None:
    location = snapshot.uri.removeprefix("file://")
    return None if "://" in location else Path(location) / "_columns"


def _name(path: str) -> str:
    return quote(path, safe="")


def _gathered(
    snapshot: Snapshot, file: ActiveFile, folder: Path, columns: Sequence[str], rows: pl.Series
) -> pl.DataFrame:
    found = [
        _column(snapshot, file, folder, name).gather(rows).cast(snapshot.schema[name])
        for name in columns
    ]
    return pl.DataFrame([*found, rows.alias("_row")]).select(
        *columns, pl.lit(file.path).alias("_file"), "_row"
    )


def _column(snapshot: Snapshot, file: ActiveFile, folder: Path, name: str) -> pl.Series:
    """The whole column, mapped."""
    path = folder / f"{quote(name, safe='')}.arrow"
    try:
        return _mapped(path)
    except (FileNotFoundError, pa.ArrowInvalid):  # none yet, or cut short by a crash of the machine
        _lay_out(snapshot, file, path, name)
        return _mapped(path)


def _digests(
    snapshot: Snapshot, file: ActiveFile, folder: Path, columns: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Both halves of each row's digest, mapped."""
    made_of = [pl.__version__, *(f"{name}: {snapshot.schema[name]}" for name in columns)]
    path = folder / f"{hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]}.npy"
    try:
        return np.load(path, mmap_mode="r")
    except (FileNotFoundError, ValueError):
        values = _read(snapshot, file, columns)
        told = with_digests(values, columns).select(DIGEST).to_numpy(order="c")
        with _draft(path) as draft, draft.open("wb") as to:
            np.save(to, told)
    return np.load(path, mmap_mode="r")


def _mapped(path: Path) -> pl.Series:
    with pa.memory_map(str(path)) as mapped:
        return pl.DataFrame(ipc.open_file(mapped).read_all()).to_series()


def _lay_out(snapshot: Snapshot, file: ActiveFile, path: Path, name: str) -> None:
    values = _read(snapshot, file, [name]).rechunk()
    with _draft(path) as draft:
        values.write_ipc(draft, record_batch_size=max(1, file.num_records))


def _read(snapshot: Snapshot, file: ActiveFile, columns: Sequence[str]) -> pl.DataFrame:
    rows = pl.scan_parquet(location_of(snapshot, file), glob=False)
    return rows.select(pl.col(name).cast(snapshot.schema[name]) for name in columns).collect()


@contextmanager
def _draft(path: Path) -> Generator[Path]:
    """A file that gets its name last, so that a crash leaves none that is not whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{uuid.uuid4().hex}")
    yield draft
    draft.rename(path)
