"""A silver table made once more from bronze, in a folder of its own beside the lake.

Bronze is not copied: the new lake sees some tables of the old one, and writes none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from pipelines.applying import apply_chunk, close_snapshots
from pipelines.bronze import SCHEMAS
from pipelines.change.decode import BRONZE_COLUMNS
from pipelines.contract import Catalog, Contract
from pipelines.delta import read_snapshot
from pipelines.errors import LakeError
from pipelines.feed import CHUNK_EVENTS, Chunk, no_rows
from pipelines.storage import Lake


@dataclass(frozen=True, slots=True)
class Overlay(Lake):
    """A lake in which the tables of `shared` are those of the lake `below`; they are only read."""

    below: Lake = Lake("")  # noqa: RUF009 - frozen
    shared: frozenset[str] = frozenset()

    def path(self, table: str) -> str:
        """Where a table lies: below when it is shared.

        Raises:
            LakeError: when the name is not a table's.
        """
        # The zero-argument super() does not know a class that slots made anew.
        return self.below.path(table) if table in self.shared else Lake.path(self, table)

    def create(
        self, table: str, schema: Mapping[str, pl.DataType], **settings: object
    ) -> DeltaTable:
        """Like `Lake.create`, for the tables of this lake alone.

        Raises:
            LakeError: when the table is a shared one.
        """
        if table in self.shared:
            raise LakeError(f"{table}: belongs to {self.below.root}, which is only read here")
        return Lake.create(self, table, schema, **settings)  # pyright: ignore[reportArgumentType] - handed on


def overlay(lake: Lake, contract: Contract, root: str, *, parents: frozenset[str]) -> Overlay:
    """A lake at `root` that sees the contract's bronze table, the schema blocks and the parents."""
    return Overlay(root, lake.options, lake, frozenset({contract.bronze, SCHEMAS}) | parents)


def rebuild(
    lake: Overlay,
    catalog: Catalog,
    table: str,
    *,
    now: datetime,
    until: int,
    keep: pl.Expr | None = None,
    piece_events: int = CHUNK_EVENTS,
    before_epoch: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Makes a silver table (and what belongs to it) from bronze in the order it landed; the events.

    `until` is the version of bronze to stop at, `keep` says which of its rows count. What full
    snapshots no longer brought is deleted as it was in the lake below, up to `before_epoch`. A piece has
    `piece_events` events, wherever bronze's versions end. At last what waits is judged again, as a
    run without news would.

    Raises:
        LakeError: when bronze cannot be read, or the folder not written.
    """
    bronze, events, number = lake.handle(catalog[table].bronze), 0, 0
    for number, rows in enumerate(landed(bronze, until, piece_events, keep), start=1):
        apply_chunk(lake, catalog, table, Chunk(rows=rows, version=number), now=now)
        events += len(rows)
        progress(len(rows))
    closed = _closed(lake, table)
    upto = closed if before_epoch is None else min(closed, before_epoch)
    close_snapshots(lake, catalog, table, now=now, upto=upto)
    apply_chunk(lake, catalog, table, Chunk(rows=no_rows(), version=number + 1), now=now)
    return events


def _closed(lake: Overlay, table: str) -> int:
    """The last full snapshot whose missing rows the lake below has deleted."""
    if lake.below.version(table) is None:
        return 0
    snapshot = read_snapshot(lake.below.path(table), lake.below.options)
    return snapshot.app_versions.get(f"closed/{table}", 0)


def landed(
    handle: DeltaTable, until: int, size: int, keep: pl.Expr | None = None
) -> Iterator[pl.DataFrame]:
    """The rows of bronze up to a version, in the order they landed, in pieces of `size` rows.

    Memory holds a piece and a Delta commit.
    """
    held = no_rows()
    for batch in _commits(handle, until):
        held = pl.concat([held, batch if keep is None else batch.filter(keep)])
        while len(held) >= size:
            yield held.head(size)
            held = held.tail(-size)
    if len(held):
        yield held


#: Rows of bronze read at once.
_AT_ONCE = CHUNK_EVENTS


def _commits(handle: DeltaTable, until: int) -> Iterator[pl.DataFrame]:
    """Rows in the order of the commits, within one by partition and offset."""
    first, held, sizes = 0, 0, _sizes(handle)
    for version in range(until + 1):
        held += sizes.get(version, 0)
        if held >= _AT_ONCE or version == until:
            if held:
                yield _between(handle, first, version)
            first, held = version + 1, 0


def _sizes(handle: DeltaTable) -> dict[int, int]:
    """Rows that each version added."""
    metrics = {entry["version"]: entry.get("operationMetrics") or {} for entry in handle.history()}
    return {
        version: int(each.get("num_added_rows", 0))
        for version, each in metrics.items()
        if each.get("num_added_rows")
    }


def _between(handle: DeltaTable, first: int, last: int) -> pl.DataFrame:
    marks = ["_change_type", "_commit_version"]
    reader = handle.load_cdf(
        starting_version=first, ending_version=last, columns=[*BRONZE_COLUMNS, *marks]
    )
    frame = pl.from_arrow(pa.RecordBatchReader.from_stream(reader).read_all())
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table comes in
    inserted = frame.filter(pl.col("_change_type") == "insert")
    return inserted.sort("_commit_version", "kafka_partition", "kafka_offset").drop(marks)
