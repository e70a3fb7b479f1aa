"""The rows that went and the rows that came between two versions of a table.

A commit of ours adds files and marks rows of older files, so two versions differ in the files that
only one of them has and in what their vectors mark. Files that both have with equal vectors are not
opened: the cost follows the change. A rewrite (compaction, overwrite) shows the same rows on both
sides; they cancel out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import polars as pl
from pyroaring import BitMap64

from pipelines.delta import ActiveFile, Snapshot, live_rows, read_scattered
from pipelines.errors import LakeError
from pipelines.incremental.errors import NotProvable

#: Where more than this part of a table's rows would be read, computing gold whole costs no more.
_MOST = 0.3
#: Below this many rows a table is read whatever part of it they are.
_FEW_ROWS = 100_000
#: A table of so few rows is read at once for what really changed in it.
_SMALL_TABLE = 100_000


class Changes(Protocol):
    """What one table lost and gained; a row that changed is in both, with its old and new values.

    A row that was written again as it was may be in both too, except in what `net` gives.
    """

    @property
    def rows(self) -> int:
        """How many rows that is."""
        ...

    def removed(self, columns: Sequence[str]) -> pl.DataFrame:
        """The rows that went, by their old values."""
        ...

    def added(self, columns: Sequence[str]) -> pl.DataFrame:
        """The rows that came."""
        ...

    def net(self) -> Changes:
        """The rows that only one side has, over all columns that are read."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Changes that are at hand; rows that both sides have cancelled out."""

    gone: pl.DataFrame
    come: pl.DataFrame

    @property
    def rows(self) -> int:
        """How many rows went and came."""
        return len(self.gone) + len(self.come)

    def removed(self, columns: Sequence[str]) -> pl.DataFrame:
        """The rows that went."""
        return self.gone.select(columns)

    def added(self, columns: Sequence[str]) -> pl.DataFrame:
        """The rows that came."""
        return self.come.select(columns)

    def net(self) -> Rows:
        """Themselves."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Changes between two snapshots, whose columns are read when they are asked for.

    The old values of scattered rows cost a pass over each column: most questions need a key alone.
    """

    old: Snapshot
    new: Snapshot
    columns: tuple[str, ...]
    gone: tuple[_Part, ...]
    come: tuple[_Part, ...]
    _read: dict[tuple[str, tuple[str, ...]], pl.DataFrame] = field(
        default_factory=dict[tuple[str, tuple[str, ...]], pl.DataFrame], repr=False
    )

    @property
    def rows(self) -> int:
        """How many rows the files and the vectors name."""
        return sum(part.rows for part in (*self.gone, *self.come))

    def removed(self, columns: Sequence[str]) -> pl.DataFrame:
        """The rows that went.

        Raises:
            NotProvable: when their files are there no more.
        """
        return self._once("removed", self.old, self.gone, columns)

    def added(self, columns: Sequence[str]) -> pl.DataFrame:
        """The rows that came."""
        return self._once("added", self.new, self.come, columns)

    def net(self) -> Rows:
        """The rows that only one side has, as bags over all the columns.

        Raises:
            NotProvable: when their files are there no more.
        """
        return _cancelled(self.removed(self.columns), self.added(self.columns))

    def _once(
        self, side: str, snapshot: Snapshot, parts: Sequence[_Part], columns: Sequence[str]
    ) -> pl.DataFrame:
        asked = (side, tuple(columns))
        if asked not in self._read:
            self._read[asked] = _read(snapshot, parts, columns)
        return self._read[asked]


def changes_between(old: Snapshot, new: Snapshot, columns: Sequence[str]) -> Changes:
    """The rows of `old` that `new` has not, and the other way round, over `columns`.

    What rewrote whole files (a compaction, an overwrite) and what is little is read at once and
    cancelled.

    Raises:
        NotProvable: when the old version can no longer be read, has other columns, or shares so
            little with the new one that reading both costs more than it saves.
    """
    _refuse_other_columns(old, new, columns)
    before = {file.path: file for file in old.files}
    after = {file.path: file for file in new.files}
    gone = [_Part(before[path], None) for path in before.keys() - after.keys()]
    come = [_Part(after[path], None) for path in after.keys() - before.keys()]
    rewritten = bool(gone)
    for path in sorted(before.keys() & after.keys()):
        lost, regained = _remarked(old, before[path], new, after[path])
        gone += [_Part(before[path], lost)] if lost else []
        come += [_Part(after[path], regained)] if regained else []
    _refuse_too_many(new, sum(part.rows for part in (*gone, *come)))
    found = Difference(old=old, new=new, columns=tuple(columns), gone=tuple(gone), come=tuple(come))
    return found.net() if rewritten or new.num_rows <= _SMALL_TABLE else found


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


def _remarked(
    old: Snapshot, before: ActiveFile, new: Snapshot, after: ActiveFile
) -> tuple[BitMap64, BitMap64]:
    """The rows of one file that only the new vector marks, and those that only the old one did."""
    same = (before.vector and before.vector.identity) == (after.vector and after.vector.identity)
    if same:
        return BitMap64(), BitMap64()
    try:
        was, now = (snapshot.marked(file) for snapshot, file in ((old, before), (new, after)))
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
    try:
        return pl.concat([_whole(snapshot, parts, columns), _marked(snapshot, parts, columns)])
    except (pl.exceptions.PolarsError, OSError) as error:
        raise NotProvable(f"{_name(snapshot)}: files of its last version are gone") from error


def _whole(snapshot: Snapshot, parts: Sequence[_Part], columns: Sequence[str]) -> pl.DataFrame:
    files = tuple(part.file for part in parts if part.marks is None)
    rows = live_rows(replace(snapshot, files=files), columns)
    return rows.select(columns).collect(engine="streaming")


def _marked(snapshot: Snapshot, parts: Sequence[_Part], columns: Sequence[str]) -> pl.DataFrame:
    places = [
        pl.DataFrame({"_row": pl.Series(np.fromiter(part.marks, np.int64, len(part.marks)))})
        .with_columns(pl.lit(part.file.path).alias("_file"))
        for part in parts
        if part.marks is not None
    ]  # fmt: skip
    none = pl.DataFrame(schema={"_row": pl.Int64(), "_file": pl.String()})
    return read_scattered(snapshot, pl.concat([none, *places]), columns).select(columns)


def _cancelled(removed: pl.DataFrame, added: pl.DataFrame) -> Rows:
    """Without the rows that both sides have, as often as both have them."""
    schema = removed.schema
    uncertain = [name for name, dtype in schema.items() if dtype.is_float() or dtype.is_nested()]
    if uncertain or not len(removed) or not len(added):
        return Rows(gone=removed, come=added)  # 0.0 and -0.0 group as one value
    names = schema.names()
    net = (
        pl.concat(
            [
                removed.with_columns(pl.lit(-1).alias("_net")),
                added.with_columns(pl.lit(1).alias("_net")),
            ]
        )
        .group_by(names)
        .agg(pl.col("_net").sum())
    )
    return Rows(
        gone=_repeated(net.filter(pl.col("_net") < 0), names),
        come=_repeated(net.filter(pl.col("_net") > 0), names),
    )


def _repeated(net: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Each row as often as its net count says."""
    index = pl.int_range(pl.len()).repeat_by(pl.col("_net").abs()).explode()
    return net.select(pl.col(names).gather(index))
