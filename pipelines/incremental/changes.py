"""The rows that went and the rows that came between two versions of a table.

A commit of ours adds files and marks rows of older files, so two versions differ in the files that
only one of them has and in what their vectors mark. Files that both have with equal vectors are not
opened: the cost follows the change. A rewrite (compaction, overwrite) shows the same rows on both
sides; they cancel out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl
from pyroaring import BitMap64

from pipelines.delta import ActiveFile, Snapshot, live_rows
from pipelines.delta.vectors import read_vector
from pipelines.errors import LakeError
from pipelines.incremental.errors import NotProvable

#: Where more than this part of a table's rows would be read, computing gold whole costs no more.
_MOST = 0.3
#: Below this many rows a table is read whatever part of it they are.
_FEW_ROWS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What one table lost and gained; a row that changed is in both, with its old and new values."""

    removed: pl.DataFrame
    added: pl.DataFrame

    @property
    def rows(self) -> int:
        """How many rows that is."""
        return len(self.removed) + len(self.added)

    def both(self) -> pl.DataFrame:
        """Every row that is in one of the two versions and not in the other."""
        return pl.concat([self.removed, self.added])


def changes_between(old: Snapshot, new: Snapshot, columns: Sequence[str]) -> Changes:
    """The rows of `old` that `new` has not, and the other way round, as bags over `columns`.

    Raises:
        NotProvable: when the old version can no longer be read, has other columns, or shares so
            little with the new one that reading both costs more than it saves.
    """
    _refuse_other_columns(old, new, columns)
    before = {file.path: file for file in old.files}
    after = {file.path: file for file in new.files}
    gone = [_whole(before[path]) for path in before.keys() - after.keys()]
    come = [_whole(after[path]) for path in after.keys() - before.keys()]
    for path in sorted(before.keys() & after.keys()):
        lost, regained = _remarked(old, before[path], new, after[path])
        gone += [_Part(before[path], lost)] if lost else []
        come += [_Part(after[path], regained)] if regained else []
    _refuse_too_many(new, sum(part.rows for part in (*gone, *come)))
    try:
        changes = Changes(removed=_read(old, gone, columns), added=_read(new, come, columns))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise NotProvable(f"{_name(new)}: files of its last version are gone") from error
    return _cancelled(changes)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows of a file; None: all that its own vector leaves."""

    file: ActiveFile
    marks: BitMap64 | None

    @property
    def rows(self) -> int:
        if self.marks is not None:
            return len(self.marks)
        return self.file.num_records - (self.file.vector.cardinality if self.file.vector else 0)


def _whole(file: ActiveFile) -> _Part:
    return _Part(file, None)


def _remarked(
    old: Snapshot, before: ActiveFile, new: Snapshot, after: ActiveFile
) -> tuple[BitMap64, BitMap64]:
    """The rows of one file that only the new vector marks, and those that only the old one did."""
    same = (before.vector and before.vector.identity) == (after.vector and after.vector.identity)
    if same:
        return BitMap64(), BitMap64()
    try:
        was, now = (
            read_vector(file.vector, snapshot.store().get) if file.vector else BitMap64()
            for snapshot, file in ((old, before), (new, after))
        )
    except LakeError as error:
        raise NotProvable(f"{_name(new)}: files of its last version are gone") from error
    return now - was, was - now


def _refuse_other_columns(old: Snapshot, new: Snapshot, columns: Sequence[str]) -> None:
    for name in columns:
        if old.schema.get(name) != new.schema.get(name):
            raise NotProvable(
                f"{_name(new)}: column '{name}' has another type than at the last build"
            )


def _refuse_too_many(new: Snapshot, rows: int) -> None:
    if rows > max(_FEW_ROWS, _MOST * new.num_rows):
        raise NotProvable(f"{_name(new)}: {rows:,} rows were written since the last build")


def _name(snapshot: Snapshot) -> str:
    return ".".join(snapshot.uri.rstrip("/").split("/")[-3:])


# ---- READ ---- #


def _read(snapshot: Snapshot, parts: Sequence[_Part], columns: Sequence[str]) -> pl.DataFrame:
    return pl.concat(_frames(snapshot, parts, columns)).collect(engine="streaming")


def _frames(
    snapshot: Snapshot, parts: Sequence[_Part], columns: Sequence[str]
) -> Iterator[pl.LazyFrame]:
    yield pl.LazyFrame(schema={name: snapshot.schema[name] for name in columns})
    whole = tuple(part.file for part in parts if part.marks is None)
    yield live_rows(replace(snapshot, files=whole), columns).select(columns)
    for part in parts:
        if part.marks is not None:
            # The vector must not hide the very rows that are asked for.
            bare = replace(snapshot, files=(replace(part.file, vector=None),))
            places = pl.Series(list(part.marks), dtype=pl.Int64)
            is_marked = pl.col("_row").is_in(places.implode())
            yield live_rows(bare, columns, predicate=is_marked).select(columns)


def _cancelled(changes: Changes) -> Changes:
    """Without the rows that both sides have, as often as both have them."""
    schema = changes.removed.schema
    uncertain = [name for name, dtype in schema.items() if dtype.is_float() or dtype.is_nested()]
    if uncertain or not len(changes.removed) or not len(changes.added):
        return changes  # 0.0 and -0.0 group as one value
    names = schema.names()
    net = (
        pl.concat(
            [
                changes.removed.with_columns(pl.lit(-1).alias("_net")),
                changes.added.with_columns(pl.lit(1).alias("_net")),
            ]
        )
        .group_by(names)
        .agg(pl.col("_net").sum())
    )
    return Changes(
        removed=_repeated(net.filter(pl.col("_net") < 0), names),
        added=_repeated(net.filter(pl.col("_net") > 0), names),
    )


def _repeated(net: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Each row as often as its net count says."""
    index = pl.int_range(pl.len()).repeat_by(pl.col("_net").abs()).explode()
    return net.select(pl.col(names).gather(index))
