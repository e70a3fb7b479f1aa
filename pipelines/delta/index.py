"""An index from keys to places, so that finding rows does not grow with the table.

Beside a local table, in a folder that Delta's readers pass over (`_index`), runs of sorted keys say in
which data file, and where in it, each key lies. Data files never change, so that a run is right for
ever of the files it names: nothing is updated, files without a run are read and get one, entries of
files that a snapshot no longer has are passed over, and rows that a vector marks are left out. It can
be deleted at any time. Cost: two binary searches a key and run; 12 bytes a row, 20 where the key is
not one whole number.

A key of one integer column stands for itself. Any other is told by 128 bits of hash: that two of 100
million keys share them is less likely than 1 in 10^22.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from pyroaring import BitMap64

from pipelines.delta.columns import forget_columns
from pipelines.delta.kept import Kept
from pipelines.delta.rows import location_of
from pipelines.delta.snapshot import ActiveFile, Snapshot

#: Below this many rows the key columns are read faster than an index is kept.
WORTH_ROWS = 500_000
#: Rows of a run at most, which bounds what building and merging holds: some 30 bytes each.
_RUN_ROWS = 16_000_000
#: So many runs of a size are merged into one.
_RUNS = 4
_SEEDS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
_FORMAT = 1

_Ints = npt.NDArray[np.signedinteger[Any]]


def lookup(
    snapshot: Snapshot,
    keys: pl.DataFrame,
    on: Sequence[str],
    *,
    worth_rows: int | None = None,
    nulls: bool = False,
    most: int | None = None,
) -> pl.DataFrame | None:
    """The places of the live rows whose `on` columns equal a row of `keys`: `on`, `_file`, `_row`.

    The columns need not be a key: each row that has the values is found. With `nulls` a null equals
    a null; else it equals nothing.

    None where there is no index to be had: a table that is small, or not on this machine's disk, or
    whose runs another process is just merging; and where more than `most` rows may have the values.
    """
    root, worth = _root(snapshot), WORTH_ROWS if worth_rows is None else worth_rows
    if root is None or sum(file.num_records for file in snapshot.files) < worth:
        return None
    sought = keys.select(on).unique()
    if not nulls:
        sought = sought.drop_nulls()
    how = _How(snapshot, tuple(on), nulls=bool(sum(sought.null_count().row(0))))
    high, low = how.told(sought)
    order = np.argsort(high, kind="stable")
    files = {file.path: file for file in snapshot.files}
    found, left = list[tuple[_Ints, str, _Ints]](), most
    try:
        for run in _runs(root, how):
            hits = run.find(high[order], None if low is None else low[order], left)
            if hits is None:
                return None
            for which, path, rows in hits:
                if path in files:
                    found.append((order[which], path, rows))
                left = None if left is None else left - len(rows)
    except FileNotFoundError:
        return None
    frames = [_live(snapshot, files[path], sought[which], rows) for which, path, rows in found]
    none = sought.clear().with_columns(
        pl.lit(None, pl.String).alias("_file"), pl.lit(None, pl.Int64).alias("_row")
    )
    # Two processes may have made a run of the same file.
    return pl.concat([none, *frames]).unique(["_file", "_row"])


def purge(snapshot: Snapshot) -> int:
    """Deletes what lies beside the table of files that the snapshot no longer has; how many pieces.

    They hold values of rows that are gone.
    """
    root, live = _root(snapshot), {file.path for file in snapshot.files}
    gone = forget_columns(snapshot)
    for described in root.glob("*/*.json") if root is not None and root.is_dir() else ():
        if not live.issuperset(json.loads(described.read_text())["files"]):
            _delete(described)
            gone += 1
    return gone


def _root(snapshot: Snapshot) -> Path | None:
    location = snapshot.uri.removeprefix("file://")
    return None if "://" in location else Path(location) / "_index"


def _live(snapshot: Snapshot, file: ActiveFile, keys: pl.DataFrame, rows: _Ints) -> pl.DataFrame:
    """Places in one file without those that its vector marks."""
    found = keys.with_columns(pl.lit(file.path).alias("_file"), pl.Series("_row", rows))
    if file.vector is None:
        return found
    dead = snapshot.marked(file) & BitMap64(rows.astype(np.uint64))
    return found.filter(~pl.col("_row").is_in(list(dead))) if dead else found


# ---- KEYS AS NUMBERS ---- #


@dataclass(frozen=True, slots=True)
class _How:
    """How keys are told: by which columns of which table, and whether by null too."""

    snapshot: Snapshot
    on: tuple[str, ...]
    nulls: bool = False

    @property
    def is_number(self) -> bool:
        """Whether a key is one number that stands for itself."""
        one = len(self.on) == 1 and not self.nulls
        return one and self.snapshot.schema[self.on[0]].is_signed_integer()

    @property
    def kind(self) -> str:
        """What a run must have been made by to be used: hashes differ between versions of Polars."""
        how = "number" if self.is_number else f"hash/polars-{pl.__version__}"
        types = [str(self.snapshot.schema[name]) for name in self.on]
        return f"{_FORMAT}/{how}/{types}" + ("/nulls" if self.nulls else "")

    def told(self, keys: pl.DataFrame) -> tuple[_Ints, _Ints | None]:
        """Each key as one number that tells it, or as two that together do."""
        typed = keys.select(pl.col(name).cast(self.snapshot.schema[name]) for name in self.on)
        if self.is_number:
            return typed.to_series().cast(pl.Int64).to_numpy(), None
        row = pl.struct(self.on)
        first, second = (
            typed.select(row.hash(seed).reinterpret(signed=True)).to_series().to_numpy()
            for seed in _SEEDS
        )
        return first, second


# ---- RUNS ---- #


#: Arrays stay mapped from one batch to the next: to map one anew costs a page fault a page that is read
#: again. The pages are the file's own, which the system takes back when it wants memory.
_mapped = Kept[Path, _Ints](64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Sorted keys of some data files; arrays lie in files and are read where they are searched."""

    folder: Path
    name: str
    files: tuple[str, ...]
    rows: int
    has_low: bool

    def array(self, part: str) -> _Ints:
        """One of the run's columns: `high`, `low`, `file`, `row`."""
        path = self.folder / f"{self.name}.{part}.npy"
        held = _mapped.get(path)
        if held is None:
            held = np.load(path, mmap_mode="r")
            _mapped.put(path, held)
        return held

    def find(
        self, high: _Ints, low: _Ints | None, most: int | None
    ) -> Iterator[tuple[_Ints, str, _Ints]] | None:
        """For each file with hits: which of the sorted keys, and the rows they lie at; None: over `most`."""
        keys = self.array("high")
        first = np.searchsorted(keys, high, "left")
        count = np.searchsorted(keys, high, "right") - first
        if most is not None and count.sum() > most:
            return None
        return self._hits(low, first, count)

    def _hits(
        self, low: _Ints | None, first: _Ints, count: _Ints
    ) -> Iterator[tuple[_Ints, str, _Ints]]:
        which = np.repeat(np.arange(len(count)), count)
        start = np.repeat(first - np.concatenate(([0], np.cumsum(count)[:-1])), count)
        at = start + np.arange(len(which))
        if low is not None and len(at):
            same = self.array("low")[at] == low[which]
            which, at = which[same], at[same]
        in_file, row = self.array("file")[at], self.array("row")[at].astype(np.int64)
        for number in np.unique(in_file):
            here = in_file == number
            yield which[here], self.files[int(number)], row[here]


def _runs(root: Path, how: _How) -> list[_Run]:
    """Runs that together name every file of the snapshot; made and merged where they do not yet."""
    folder = root / "-".join(how.on)
    live = {file.path: file for file in how.snapshot.files}
    runs = [run for run in _known(folder, how.kind) if live.keys() & set(run.files)]
    covered = {path for run in runs for path in run.files}
    lacking = [file for path, file in live.items() if path not in covered]
    made = [_make(folder, how, group) for group in _groups(lacking)]
    return _merged(folder, how.kind, [*runs, *made], set(live))


def _known(folder: Path, kind: str) -> Iterator[_Run]:
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        with suppress(OSError, ValueError, KeyError):  # a run that is being merged away
            told = json.loads(path.read_text())
            if told["kind"] == kind:
                yield _Run(
                    folder=folder,
                    name=path.stem,
                    files=tuple(told["files"]),
                    rows=told["rows"],
                    has_low=told["has_low"],
                )


def _groups(files: Sequence[ActiveFile]) -> Iterator[list[ActiveFile]]:
    """The files in groups of one run each."""
    group, rows = list[ActiveFile](), 0
    for file in files:
        if group and rows + file.num_records > _RUN_ROWS:
            yield group
            group, rows = [], 0
        group.append(file)
        rows += file.num_records
    if group:
        yield group


def _make(folder: Path, how: _How, files: Sequence[ActiveFile]) -> _Run:
    """A run of files that have none, from their key columns; dead rows too, since vectors only grow."""
    parts = [_keys_of(how, file) for file in files]
    columns = dict[str, _Ints]()
    for name in ("high", "low", "row"):
        if name in parts[0]:
            columns[name] = np.concatenate([part[name] for part in parts])
    columns["file"] = np.repeat(
        np.arange(len(files), dtype=np.int32), [len(part["row"]) for part in parts]
    )
    return _write(folder, how.kind, columns, [file.path for file in files])


def _keys_of(how: _How, file: ActiveFile) -> dict[str, _Ints]:
    location = location_of(how.snapshot, file)
    rows = pl.scan_parquet(location, glob=False, row_index_name="_row").select(*how.on, "_row")
    read = rows.collect()
    if not how.nulls:
        read = read.drop_nulls(how.on)
    high, low = how.told(read)
    told = {"high": high, "row": read["_row"].cast(pl.Int32).to_numpy()}
    return told if low is None else {**told, "low": low}


def _merged(folder: Path, kind: str, runs: list[_Run], live: set[str]) -> list[_Run]:
    """Runs of like size made one, so that there are few; entries of files that are gone are dropped."""
    ordered = sorted(runs, key=lambda run: run.rows)
    for first in range(len(ordered) - _RUNS + 1):
        group = ordered[first : first + _RUNS]
        total = sum(run.rows for run in group)
        if total <= _RUN_ROWS and group[-1].rows <= max(100_000, 4 * group[0].rows):
            one = _merge(folder, kind, group, live)
            return _merged(folder, kind, [run for run in ordered if run not in group] + [one], live)
    return ordered


def _merge(folder: Path, kind: str, runs: Sequence[_Run], alive: set[str]) -> _Run:
    files = [path for run in runs for path in run.files if path in alive]
    number = {path: at for at, path in enumerate(files)}
    columns: dict[str, list[_Ints]] = {}
    for run in runs:
        known = np.array([number.get(path, -1) for path in run.files], dtype=np.int32)
        to = known[run.array("file")]
        keep = to >= 0
        columns.setdefault("file", []).append(to[keep])
        for name in ("high", "row", *(("low",) if run.has_low else ())):
            columns.setdefault(name, []).append(run.array(name)[keep])
    one = _write(
        folder, kind, {name: np.concatenate(parts) for name, parts in columns.items()}, files
    )
    for run in runs:  # a reader that has it open goes on; one that comes too late reads the files
        _delete(folder / f"{run.name}.json")
    return one


def _delete(described: Path) -> None:
    """A run's description first, so that nobody begins to read what is going."""
    described.unlink(missing_ok=True)
    for path in described.parent.glob(f"{described.stem}.*"):
        _mapped.drop(path)
        path.unlink(missing_ok=True)


def _write(folder: Path, kind: str, columns: dict[str, _Ints], files: Sequence[str]) -> _Run:
    """The run on disk; its description comes last, so that a crash leaves none that is not whole."""
    order = np.argsort(columns["high"], kind="stable")
    name, rows = uuid.uuid4().hex, len(order)
    folder.mkdir(parents=True, exist_ok=True)
    for part, values in columns.items():
        np.save(folder / f"{name}.{part}.npy", values[order])
    told = {"kind": kind, "files": list(files), "rows": rows, "has_low": "low" in columns}
    draft = folder / f"{name}.draft"
    draft.write_text(json.dumps(told))
    draft.rename(folder / f"{name}.json")
    return _Run(folder=folder, name=name, files=tuple(files), rows=rows, has_low="low" in columns)
